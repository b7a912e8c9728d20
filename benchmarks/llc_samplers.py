"""Effective draws per gradient and per CPU second, ours beside plain BlackJAX in one run: `python
benchmarks/llc_samplers.py [TARGET…]`.

The targets of the reference's table, γ = 1, nβ = n / log n, float64, 4 chains. Plain BlackJAX: 1000
warm-up and 2000 draws of HMC with 10 leapfrogs and of NUTS, window adaptation of each chain; MCLMC
tuned for 10,000 steps, then 40,000, every 10th kept. Ours: every kind with its defaults, with 2000
draws. ESS is the bulk ESS of the trace of λ̂; gradients and CPU seconds are those of sampling
alone, on both sides. For VI, whose draws are independent, it is that of its weights, and all its
gradients and seconds count, fits and adaptation too, since they take most of them. Set
OMP_NUM_THREADS=1 and XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1".
"""

import sys
import time

import blackjax
import jax
import jax.numpy as jnp
import numpy as np

from causal_meta.conf import forms
from causal_meta.conf.samplers import HMCConfig, MCLMCConfig, NUTSConfig, VIConfig
from causal_meta.llc.estimates import diagnostics
from causal_meta.llc.estimates.estimators import estimate
from causal_meta.llc.landscapes.forms import form_landscape
from causal_meta.llc.landscapes.landscape import float_width
from causal_meta.llc.landscapes.local_posterior import tempered_rows
from causal_meta.llc.samplers import sample

TARGETS = {
    "regression": (forms.LinearRegressionConfig(n_parameters=10), 1000),
    "quartic": (forms.PowerSumConfig(exponents=(2, 4)), 10_000),
    "crossing": (forms.NormalCrossingConfig(exponents=(2, 2)), 10_000),
    "reduced_rank": (forms.ReducedRankConfig(), 10_000),
    "deep_linear": (forms.DeepLinearConfig(), 10_000),
}
TABLE = {
    "regression": (56.6, 9275),
    "quartic": (92.8, 4.1e5),
    "crossing": (50.7, 4.3e5),
    "reduced_rank": (13.8, 1.3e4),
    "deep_linear": (7.4, 6812),
}
OURS = {
    "hmc": HMCConfig(draws=2000),
    "mclmc": MCLMCConfig(draws=2000),
    "mclmc adjusted": MCLMCConfig(draws=2000, adjusted=True),
}
OURS |= {"nuts": NUTSConfig(draws=2000), "vi": VIConfig()}
CHAINS, WARM, DRAWS = 4, 1000, 2000


def show(name, llc, gradients, seconds, exact, more=""):
    size, cost = diagnostics.ess_bulk(llc), f"({1e6 * seconds / gradients:.2f} µs a gradient)"
    z = (llc.mean() - exact.value) / np.hypot(diagnostics.mcse(llc), exact.error)
    print(
        f"  {name:16s} {llc.mean():7.3f} ± {diagnostics.mcse(llc):.3f} ({z:+.1f}) ESS "
        f"{size:6.0f}, R-hat {diagnostics.rhat(llc):.3f}, "
        f"{1000 * size / gradients:6.1f} per 1000 gradients, {size / seconds:9.0f} per CPU second "
        f"{cost} {more}",
        flush=True,
    )


def peers(target, kinds, exact):
    """Plain BlackJAX."""
    with float_width("float64"):
        at = target.at_width("float64")
        n_beta, centre, lowest = tempered_rows(at.n), at.centre, at.mean_loss(at.centre, at.data)
        for kind in kinds:
            peer(at, n_beta, centre, lowest, kind, exact)


def peer(at, n_beta, centre, lowest, kind, exact):
    """One kernel of BlackJAX: warm-up of each chain, then the timed sampling."""

    def chain(key, data):
        def log_density(w):
            return -n_beta * (at.mean_loss(w, data) - lowest) - 0.5 * jnp.sum((w - centre) ** 2)

        start = centre + 0.01 * jax.random.normal(jax.random.fold_in(key, 0), centre.shape)
        return (steps_of_mclmc if kind == "mclmc" else adapted)(
            kind, jax.random.fold_in(key, 1), start, log_density
        )

    keys = jax.random.split(jax.random.key(0), CHAINS)
    warm, draw = (jax.vmap(part, (0, None)) for part in parts(chain))
    state = jax.jit(warm)(keys, at.data)
    program = (
        jax.jit(lambda keys, state, data: draw((keys, state), data))
        .lower(keys, state, at.data)
        .compile()
    )
    begun = time.process_time()
    log_density, gradients, position = jax.block_until_ready(program(keys, state, at.data))
    seconds = time.process_time() - begun
    away = np.asarray(position) - np.asarray(centre)
    show(
        f"BlackJAX {kind}",
        -np.asarray(log_density) - 0.5 * (away**2).sum(-1),
        int(np.sum(gradients)),
        seconds,
        exact,
    )


def parts(chain):
    """The warm-up and the sampling of a chain as two functions, so that they can be timed apart."""
    return (lambda key, data: chain(key, data)[0]()), (
        lambda pair, data: chain(pair[0], data)[1](pair[1])
    )


def adapted(kind, key, start, log_density):
    algorithm, extra = (
        (blackjax.hmc, {"num_integration_steps": 10}) if kind == "hmc" else (blackjax.nuts, {})
    )

    def warm():
        (state, tuned), _ = blackjax.window_adaptation(algorithm, log_density, **extra).run(
            key, start, WARM
        )
        return state, {name: tuned[name] for name in ("step_size", "inverse_mass_matrix")}

    def draw(carried):
        state, tuned = carried
        kernel = algorithm.build_kernel()

        def step(state, key):
            state, info = kernel(key, state, log_density, **tuned, **extra)
            return state, (state.logdensity, info.num_integration_steps, state.position)

        return jax.lax.scan(step, state, jax.random.split(jax.random.fold_in(key, 2), DRAWS))[1]

    return warm, draw


def steps_of_mclmc(kind, key, start, log_density):
    kernel = blackjax.mclmc.build_kernel()

    def warm():
        state = blackjax.mclmc.init(start, log_density, key)
        state, tuned, _ = blackjax.mclmc_find_L_and_step_size(
            kernel, 10_000, state, key, log_density, diagonal_preconditioning=False
        )
        return state, (tuned.inverse_mass_matrix, tuned.L, tuned.step_size)

    def draw(carried):
        state, tuned = carried

        def ten(state, key):
            state = jax.lax.fori_loop(
                0,
                10,
                lambda i, inner: kernel(jax.random.fold_in(key, i), inner, log_density, *tuned)[0],
                state,
            )
            return state, (state.logdensity, 20, state.position)

        return jax.lax.scan(ten, state, jax.random.split(jax.random.fold_in(key, 2), 2 * DRAWS))[1]

    return warm, draw


def main(names):
    for name in names or TARGETS:
        form, n = TARGETS[name]
        target = form_landscape(form, n, 0)
        exact = target.expectation(tempered_rows(n), 1.0)
        print(
            f"{name}: exact {exact.value:.4f} ± {exact.error:.4f}; best of the reference's table "
            f"{TABLE[name]}",
            flush=True,
        )
        peers(
            target,
            ("hmc", "mclmc")
            if name in ("reduced_rank", "deep_linear")
            else ("hmc", "nuts", "mclmc"),
            exact,
        )
        for kind, config in OURS.items():
            draws = sample(target, config)
            analysis = estimate(draws, n=n, n_parameters=target.n_parameters)
            more = (
                f"estimate {analysis['llc_mean']:.4f} ± {analysis['llc_error']:.4f} "
                f"{analysis['flags']}, distance R-hat {diagnostics.rhat(draws.distance):.2f}"
            )
            if draws.independent:
                spent = draws.seconds["warmup"] + draws.seconds["sampling"]
                work = (
                    f"{1000 * analysis['ess'] / analysis['total_fges']:.1f} per 1000 gradients, "
                    f"{analysis['ess'] / spent:.0f} per second of all"
                )
                print(f"  {kind:16s} ESS {analysis['ess']:.0f}, {work}, {more}", flush=True)
                continue
            gradients = (
                (draws.gradients[:, -1] - draws.gradients[:, 0]).sum()
                * config.draws
                / (config.draws - 1)
            )
            show(
                kind, draws.llc, gradients, draws.statistics["cpu_seconds"]["sampling"], exact, more
            )


if __name__ == "__main__":
    main(sys.argv[1:])
