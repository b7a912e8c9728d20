"""Are the estimates of the default samplers right? Every target with an exact finite-n value x
every sampler x fresh seeds.

    python benchmarks/llc_calibration.py [--seeds 20] [--first-seed 0] [--targets …] [--samplers …]
    [--results FILE] [--table]

Each run is a default run of a sampler (four chains) and its default analysis. z is (λ̂ - exact) /
error with the exact value at this n, β and γ (closed forms, quadrature, or Gibbs sampling whose
own error is counted). Coverage is the share of runs without flags whose 95 % interval holds the
exact value, so a flagged run is a miss; beside it stands the share among runs without flags. Both
have Wilson's interval. Effective samples are those of the bare λ̂ (ArviZ's bulk), gradients
include the warm-up, seconds are the sampling alone (one thread).

Results are records, one line of JSON each, and runs that the file has are not made again; --table
prints from them alone. The programs of a (target, sampler) are compiled once and used for all
seeds, which are arguments of them.
"""

import argparse
import contextlib
import dataclasses
import importlib
import json
import math
import pkgutil
import statistics
import sys
import time
from pathlib import Path

from causal_meta.conf import forms, samplers
from causal_meta.conf.networks import NetworkModelConfig
from causal_meta.conf.samplers import SamplerConfig
from causal_meta.llc.estimates.estimators import estimate
from causal_meta.llc.landscapes.forms import form_landscape

TARGETS: dict[str, tuple[NetworkModelConfig, int]] = {
    "regression": (forms.LinearRegressionConfig(), 1000),
    "stiff": (forms.QuadraticConfig(n_parameters=20, condition_number=1000.0, rotated=True), 1000),
    "flat": (forms.QuadraticConfig(n_parameters=10, flat=5, rotated=True), 1000),
    "powers": (forms.PowerSumConfig(exponents=(2, 4)), 10_000),
    "sixth": (forms.PowerSumConfig(exponents=(6, 4)), 10_000),
    "crossing": (forms.NormalCrossingConfig(exponents=(2, 2)), 10_000),
    "crossing3": (forms.NormalCrossingConfig(exponents=(2, 4, 2)), 10_000),
    "monomial": (forms.MonomialRegressionConfig(powers=(1, 1), sample="noiseless"), 1000),
    "monomial2": (forms.MonomialRegressionConfig(powers=(1, 2), sample="noiseless"), 1000),
    "zero_map": (forms.ReducedRankConfig(n_inputs=3, n_hidden=2, n_outputs=3, rank=0), 10_000),
    "reduced_rank": (forms.ReducedRankConfig(), 10_000),
    "deep_linear": (forms.DeepLinearConfig(), 10_000),
}
SAMPLERS: dict[str, SamplerConfig] = {
    "hmc": samplers.HMCConfig(),
    "nuts": samplers.NUTSConfig(),
    "mclmc": samplers.MCLMCConfig(),
    "mclmc adjusted": samplers.MCLMCConfig(adjusted=True),
    "mala": samplers.MALAConfig(),
    "sgld": samplers.SGLDConfig(),
    "sgld rmsprop": samplers.SGLDConfig(precond="rmsprop"),
    "sgnht": samplers.SGNHTConfig(),
    "vi": samplers.VIConfig(),
}
KEPT = [
    "llc_mean",
    "llc_mcse",
    "llc_error",
    "interval",
    "llc_mean_plain",
    "llc_mcse_plain",
    "ess_bulk",
    "ess",
    "rhat",
    "divergences",
    "acceptance",
    "total_fges",
    "virial_score",
    "bias_estimate",
    "pareto_k",
    "distance_rhat",
    "distance_ess",
    "flags",
]


class Once:
    """A compiled program in the place of `jax.jit(function)`: traced and compiled at its first
    call, and the same for every later function."""

    def __init__(self, function, options):
        import jax

        self.jitted, self.lowered, self.compiled = jax.jit(function, **options), None, None

    def lower(self, *arguments):
        if self.compiled is None:
            self.lowered = self.jitted.lower(*arguments)
        return self

    def compile(self, options=None):
        if self.compiled is None:
            self.compiled = self.lowered.compile(options)
        return self.compiled

    def __call__(self, *arguments):
        return self.lower(*arguments).compile()(*arguments)


@contextlib.contextmanager
def compiled_once(held):
    """The context in which samplers use the program that `held` has for a function's name."""
    import jax

    import causal_meta.llc.samplers as package

    for module in pkgutil.iter_modules(package.__path__):
        if module.ispkg:  # samplers in torch
            continue
        importlib.import_module(f"{package.__name__}.{module.name}")

    class Reusing:
        def __getattr__(self, name):
            return getattr(jax, name)

        def jit(self, function, **options):
            return held.setdefault(function.__qualname__, Once(function, options))

    modules = [
        module
        for name, module in sys.modules.items()
        if name.startswith(package.__name__ + ".") and getattr(module, "jax", None) is jax
    ]
    for module in modules:
        module.jax = Reusing()
    try:
        yield
    finally:
        for module in modules:
            module.jax = jax


def runs_of(target, kinds, seeds, done, write):
    """All runs on one target that are not done yet."""
    from causal_meta.llc.samplers import sample
    from causal_meta.llc.samplers.prepared import temperature

    config, n = TARGETS[target]
    missing = [(kind, seed) for kind in kinds for seed in seeds if (target, kind, seed) not in done]
    if not missing:
        return
    landscape = form_landscape(config, n, 0)
    n_beta, gamma = temperature(SAMPLERS["hmc"].posterior, n, landscape.n_parameters)
    exact = landscape.expectation(n_beta, gamma)
    print(
        f"{target}: P = {landscape.n_parameters}, n = {n}, λ = {landscape.exact.get('lambda')}, "
        f"exact {exact[0]:.5f} ± {exact[1]:.1e}",
        flush=True,
    )
    held = {kind: {} for kind in kinds}
    for kind, seed in missing:
        begun = time.process_time()
        with compiled_once(held[kind]):
            draws = sample(landscape, dataclasses.replace(SAMPLERS[kind], seed=seed))
        analysis = estimate(draws, n=n, n_parameters=landscape.n_parameters)
        record = {
            "target": target,
            "sampler": kind,
            "seed": seed,
            "exact": list(exact),
            "lambda": landscape.exact.get("lambda"),
            "p": landscape.n_parameters,
        }
        record |= {name: analysis[name] for name in KEPT} | {
            "seconds": dict(draws.seconds),
            "cpu": time.process_time() - begun,
        }
        write(record)
        z = score(record)
        print(
            f"  {kind:15} seed {seed:4}: {_show(analysis['llc_mean'])} ± "
            f"{_show(analysis['llc_error'])}  z {_show(z)}  ess {_show(analysis['ess'])}  "
            f"{record['cpu']:.1f} s  {', '.join(analysis['flags'])}",
            flush=True,
        )


def _show(value):
    return "—" if value is None else f"{value:.4g}"


def score(record):
    """z of a run, the exact value's own error counted; None without an estimate."""
    if record["llc_mean"] is None:
        return None
    return (record["llc_mean"] - record["exact"][0]) / math.hypot(
        record["llc_error"], record["exact"][1]
    )


def covers(record):
    """Whether the interval, widened by the exact value's own error, holds the exact value."""
    if record["llc_mean"] is None:
        return False
    half = (record["interval"][1] - record["interval"][0]) / 2
    widened = math.hypot(half, 1.96 * record["exact"][1])
    return abs(record["llc_mean"] - record["exact"][0]) <= widened


def wilson(hits, trials, z=1.96):
    """Wilson's 95 % interval of a share."""
    if trials == 0:
        return 0.0, 1.0
    share, room = hits / trials, z**2 / trials
    half = z * math.sqrt(share * (1 - share) / trials + room / trials / 4)
    return (share + room / 2 - half) / (1 + room), (share + room / 2 + half) / (1 + room)


def tables(records):
    """Print the results per sampler, then per target and sampler."""
    kinds = [kind for kind in SAMPLERS if any(record["sampler"] == kind for record in records)]
    print(
        "\n| sampler | intervals | covered and unflagged (Wilson 95 %) | covered, of unflagged "
        "(Wilson 95 %) | flagged | MCSE > 2 % | worst mean z |"
    )
    print("|---|---|---|---|---|---|---|")
    for kind in kinds:
        runs = [record for record in records if record["sampler"] == kind]
        unflagged = [record for record in runs if not record["flags"]]
        both, inside = sum(map(covers, unflagged)), len(unflagged)
        wide = sum("mcse_above_2_percent" in record["flags"] for record in runs)
        worst = max(
            (
                (abs(m), m, t)
                for t in TARGETS
                for m in [mean_score([record for record in unflagged if record["target"] == t])]
                if m is not None
            ),
            default=None,
        )
        extreme = "—" if worst is None else f"{worst[1]:+.1f} ({worst[2]})"
        shares = (
            f"{_share(both, len(runs))} | {_share(both, inside)} | "
            f"{1 - inside / len(runs):.0%} | {wide / len(runs):.0%}"
        )
        print(f"| {kind} | {len(runs)} | {shares} | {extreme} |")
    heads = [
        "target (exact)",
        "sampler",
        "runs",
        "mean z x √runs",
        "std of z",
        "median error / exact",
        "covered",
        "flagged",
    ]
    heads += ["ESS", "ESS/1k gradients", "ESS/s", "flags"]
    print("\n| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for target in TARGETS:
        for kind in kinds:
            runs = [
                record
                for record in records
                if record["sampler"] == kind and record["target"] == target
            ]
            if runs:
                print(row(target, kind, runs))


def row(target, kind, runs):
    """One row of the second table."""
    unflagged = [record for record in runs if not record["flags"]]
    scores = [score(record) for record in runs if record["llc_mean"] is not None]
    flags = sorted(
        {flag for record in runs for flag in record["flags"]},
        key=lambda flag: -sum(flag in record["flags"] for record in runs),
    )
    counts = ", ".join(
        f"{flag} {sum(flag in record['flags'] for record in runs)}" for flag in flags[:4]
    )
    error = (
        statistics.median(
            record["llc_error"] / record["exact"][0]
            for record in runs
            if record["llc_error"] is not None
        )
        if scores
        else math.nan
    )
    ess = statistics.median(record["ess_bulk"] or record["ess"] or 0 for record in runs)
    work = statistics.median(record["total_fges"] or math.nan for record in runs)
    seconds = statistics.median(record["seconds"].get("sampling", math.nan) for record in runs)
    mean = mean_score([record for record in runs if record["llc_mean"] is not None])
    spread = statistics.stdev(scores) if len(scores) > 1 else math.nan
    return (
        f"| {target} ({runs[0]['exact'][0]:.4f}) | {kind} | {len(runs)} | {_show(mean)} | "
        f"{spread:.2f} | {error:.2%} | {sum(map(covers, runs))} | "
        f"{len(runs) - len(unflagged)} | {ess:.0f} | {1000 * ess / work:.3g} | "
        f"{ess / seconds:.3g} | {counts} |"
    )


def mean_score(runs):
    """The mean z of runs in standard errors of the mean; None without runs."""
    scores = [score(record) for record in runs]
    return sum(scores) / math.sqrt(len(scores)) if scores else None


def _share(hits, trials):
    if trials == 0:
        return "—"
    low, high = wilson(hits, trials)
    return f"{hits}/{trials} = {hits / trials:.1%} ({low:.1%} to {high:.1%})"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--samplers", default=",".join(SAMPLERS))
    parser.add_argument("--results", type=Path, default=Path("llc_calibration.jsonl"))
    parser.add_argument(
        "--table", action="store_true", help="print the tables of the results alone"
    )
    args = parser.parse_args()
    records = (
        [json.loads(text) for text in args.results.read_text("utf-8").splitlines()]
        if args.results.exists()
        else []
    )
    if not args.table:
        done = {(record["target"], record["sampler"], record["seed"]) for record in records}
        with args.results.open("a", encoding="utf-8") as file:

            def write(record):
                records.append(record)
                file.write(json.dumps(record) + "\n")
                file.flush()

            for target in args.targets.split(","):
                runs_of(
                    target,
                    args.samplers.split(","),
                    range(args.first_seed, args.first_seed + args.seeds),
                    done,
                    write,
                )
    tables(records)


if __name__ == "__main__":
    main()
