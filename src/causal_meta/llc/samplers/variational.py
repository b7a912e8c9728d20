"""Gaussian approximations of the local posterior, and independent draws of their mixture with their
importance ratios.

Each draw is of all fits together, and its ratio is to the density of all: no chain depends on one
fit alone. Of few parameters the mixture is adapted first (`llc.samplers.mixture`), and where a
round of fresh draws shows that it does not follow, draws are annealed (`llc.samplers.annealing`).
What is drawn for the estimate is drawn afresh.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from causal_meta.conf.samplers import VIConfig
from causal_meta.draws import Draws, virial_groups
from causal_meta.llc.landscapes.landscape import Landscape, Rows, float_width
from causal_meta.llc.samplers.annealing import LEAPFROGS, PARTICLES, SEGMENTS, Annealing, Path
from causal_meta.llc.samplers.chains import Tell, hasty
from causal_meta.llc.samplers.checkpoint import Arrays, Checkpoint
from causal_meta.llc.samplers.mixture import MOST_PARAMETERS, Dense, Following, Mixture
from causal_meta.llc.samplers.prepared import Prepared, minibatch, prepare, stream
from causal_meta.llc.samplers.segment import directions, group_sums

_SEGMENTS = 10  # parts of the fit, between which its state can be kept
_PROBES = 8  # random directions that measure the diagonal of the Hessian at w*
# effective share of the mixture's draws below which they are annealed: it is 0.001 to 0.05 or above
# 0.7 on forms
_FOLLOWS = 0.2
_START = 0.1  # standard deviation of the starts of the fits, in posterior widths


class Gaussian(NamedTuple):
    """N(w* + s m, S (diag(e^{2r}) + F F') S), S = diag(s): `mean` m [P], `log_width` r [P],
    `factors` F [P, K] (K is 0 for a mean field)."""

    mean: Any
    log_width: Any
    factors: Any

    @property
    def covariance(self) -> Any:
        """diag(e^{2r}) + F F', in units of s, [P, P]."""
        return jnp.diag(jnp.exp(2 * self.log_width)) + self.factors @ self.factors.T

    @property
    def numbers(self) -> int:
        """Normal numbers that a draw takes."""
        return sum(self.factors.shape[-2:])

    def draw(self, normal: Any) -> Any:
        """The draw in units of s, [P], of `numbers` independent normal numbers."""
        size = len(self.mean)
        return self.mean + jnp.exp(self.log_width) * normal[:size] + self.factors @ normal[size:]

    def log_density(self, u: Any) -> Any:
        """The normalised log density at u [P], in units of s (Woodbury's identity: K by K matrices
        only)."""
        away = (u - self.mean) * jnp.exp(-self.log_width)
        turned = self.factors * jnp.exp(-self.log_width)[:, None]
        inner = jnp.eye(turned.shape[1], dtype=u.dtype) + turned.T @ turned
        root = jnp.linalg.cholesky(inner)
        along = jax.scipy.linalg.solve_triangular(root, turned.T @ away, lower=True)
        volume = (
            jnp.sum(self.log_width)
            + jnp.sum(jnp.log(jnp.diagonal(root)))
            + 0.5 * len(u) * jnp.log(2 * jnp.pi)
        )
        return -0.5 * (jnp.sum(away**2) - jnp.sum(along**2)) - volume


@dataclass(frozen=True)
class Fit:
    """Maximising the evidence lower bound E_q[log p - log q] by Adam, with reparameterised draws
    (Kingma and Welling 2014).

    log q is differentiated along the draws alone (sticking the landing, Roeder, Wu and Duvenaud
    2017), so that the gradient has no noise left where q is the posterior. Parameters are measured
    in units s_i = 1 / sqrt(max(H_ii, 0) + γ), H the Hessian of nβ L_n at w*. The rate falls to
    nothing along a cosine.
    """

    prepared: Prepared
    config: VIConfig

    @property
    def rank(self) -> int:
        """Factors of the family."""
        return (
            0
            if self.config.family == "mean_field"
            else min(self.config.rank, self.prepared.landscape.n_parameters)
        )

    @property
    def following(self) -> Following | None:
        """How a mixture goes on from the fits; None where the fits are all."""
        adapted = (
            self.config.family == "mixture"
            and self.prepared.landscape.n_parameters <= MOST_PARAMETERS
        )
        return (
            Following(self.prepared, self.config, measured=self.annealing.most > 0)
            if adapted
            else None
        )

    @property
    def annealing(self) -> Annealing:
        """How draws are annealed where the mixture does not follow."""
        return Annealing(self.prepared, self.config)

    @property
    def work(self) -> float:
        """Gradients over all rows before the first draw, of each chain."""
        config = self.config
        each = (
            config.steps
            * config.elbo_samples
            * (config.batch_size / self.prepared.landscape.n if config.batch_size else 1.0)
        )
        return (
            each + (2 * _PROBES + (self.following.work if self.following else 0.0)) / config.chains
        )

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam with a falling rate; long gradients are shortened."""
        rate = optax.cosine_decay_schedule(self.config.learning_rate, self.config.steps)
        return optax.chain(
            optax.clip_by_global_norm(10.0 * self.prepared.landscape.n_parameters**0.5),
            optax.adam(rate),
        )

    def opening(self, data: Rows) -> Any:
        """L_n(w*), the units s, and the fits with their optimisers at their start."""
        ready = self.prepared.centred(self.prepared.loss(self.prepared.centre, data))
        size, dtype = ready.landscape.n_parameters, ready.centre.dtype
        key = stream(self.config.seed, "vi", "start")
        signs = jnp.where(
            jax.random.bernoulli(jax.random.fold_in(key, 0), shape=(_PROBES, size)), 1.0, -1.0
        ).astype(dtype)
        diagonal = jnp.mean(
            jax.lax.map(
                lambda sign: sign * ready.curvature_product(ready.centre, sign, data), signs
            ),
            axis=0,
        )
        units = 1 / jnp.sqrt(jnp.maximum(diagonal, ready.posterior.gamma) + jnp.finfo(dtype).tiny)

        def start(normal: Any) -> Any:
            fit = Gaussian(
                normal[:, 0], jnp.zeros(size, dtype), normal[:, 1:] / max(self.rank, 1) ** 0.5
            )
            return fit, self.optimiser.init(fit)

        normal = _START * jax.random.normal(
            jax.random.fold_in(key, 1), (self.config.chains, size, 1 + self.rank), dtype
        )
        return ready.posterior.centre_loss, units, jax.vmap(start)(normal)

    def climb(
        self, key: Any, state: Any, first: Any, last: Any, units: Any, data: Rows
    ) -> tuple[Any, Any]:
        """Steps `first` to `last` - 1 of every fit: state and the bound of the last step [C]."""

        def step(number: Any, carry: Any) -> Any:
            (fits, inner), _ = carry
            drawn, choice = jax.random.split(jax.random.fold_in(key, number))
            normal = jax.random.normal(
                drawn, (self.config.chains, self.config.elbo_samples, fits.numbers), units.dtype
            )
            rows = jax.random.split(choice, self.config.chains)
            bound, slope = jax.vmap(jax.value_and_grad(self._loss), (0, 0, 0, None, None))(
                fits, normal, rows, units, data
            )
            change, inner = jax.vmap(self.optimiser.update)(slope, inner, fits)
            return (optax.apply_updates(fits, change), inner), -bound

        zero = jnp.zeros(self.config.chains, units.dtype)
        found: tuple[Any, Any] = jax.lax.fori_loop(first, last, step, (state, zero))
        return found

    def _loss(self, fit: Gaussian, normal: Any, key: Any, units: Any, data: Rows) -> Any:
        """Minus the bound by the draws of `normal` [M, P + K], over all rows or those that `key`
        chooses."""
        loss = self.prepared.loss
        if self.config.batch_size:
            chosen = jax.random.randint(
                key, (self.config.batch_size,), 0, self.prepared.landscape.n
            )
            data = {name: values[chosen] for name, values in data.items()}
            loss = self.prepared.landscape.mean_loss
        still = jax.lax.stop_gradient(fit)

        def one(normal: Any) -> Any:
            u = fit.draw(normal)
            w = self.prepared.centre + units * u
            return self.prepared.posterior.tempered(loss(w, data), w) - still.log_density(u)

        return -jnp.mean(jax.vmap(one)(normal))

    def mixture(self, key: Any, fits: Gaussian, units: Any, data: Rows) -> tuple[Mixture, Any]:
        """What is drawn from, the fits with equal shares or the mixture that went on from them, and
        its effective share where that is measured."""
        if self.following is None:
            return Mixture.equal(fits), jnp.ones((), units.dtype)
        return self.following.mixture(
            key, fits.mean, jax.vmap(lambda fit: fit.covariance)(fits), units, data
        )

    def draws(self, key: Any, mixture: Mixture, units: Any, data: Rows) -> dict[str, Any]:
        """Independent draws of the mixture: name -> array [T, C, ...]."""
        config = self.config
        lines = directions(config, len(units))

        def one(u: Any) -> dict[str, Any]:
            away = units * u
            log_density, slope = jax.value_and_grad(self.prepared.log_density)(
                self.prepared.centre + away, data
            )
            found = {
                "excess": self.prepared.excess(log_density, away),
                "weights": log_density - mixture.log_density(u),
            }
            found |= {
                "distance": jnp.linalg.norm(away),
                "projection": away @ lines,
                "product": -away * slope,
            }
            return found | ({"away": away} if config.keep_parameters else {})

        def together(t: Any) -> dict[str, Any]:
            found = jax.vmap(one)(mixture.draws(jax.random.fold_in(key, t), config.chains))
            return found | {"product": group_sums(found["product"])}

        made: dict[str, Any] = jax.lax.map(together, jnp.arange(config.draws))
        return made


@dataclass
class _Run:
    """What has come about so far: the fits, the mixture and its effective share, the path of
    annealed draws, and draws.

    Every program is compiled before its first use, and only then.
    """

    fit: Fit
    units: Any
    state: Any
    begun: float
    mixture: Mixture
    path: Path = Path(np.zeros(0), np.zeros(0), np.zeros((), np.int32))
    bound: Any = np.nan
    share: Any = 1.0
    records: dict[str, list[Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(
        default_factory=lambda: {"compile": 0.0, "warmup": 0.0, "sampling": 0.0}
    )
    programs: dict[str, Any] = field(default_factory=dict)
    done: int = 0

    @property
    def plan(self) -> tuple[str, ...]:
        """The steps of the run, as far as is known."""
        begin = ("climb",) * _SEGMENTS + ("follow",)
        if not self.share < _FOLLOWS:
            return (*begin, "draw")
        failed = self.done > len(begin) and not self.path.reaches
        return (*begin, "path", "draw") if failed else (*begin, "path", *("anneal",) * SEGMENTS)

    def go_on(self) -> None:
        """Carry out the next step."""
        step, fit, data = self.plan[self.done], self.fit, self.fit.prepared.landscape.data
        if step == "climb":
            ends = np.array(
                [fit.config.steps * part // _SEGMENTS for part in (self.done, self.done + 1)],
                np.int32,
            )
            key = stream(fit.config.seed, "vi", "fit")
            self.state, self.bound = self.call(
                "warmup", fit.climb, key, self.state, *ends, self.units, data
            )
        elif step == "follow":
            key = stream(fit.config.seed, "vi", "mixture")
            self.mixture, self.share = self.call(
                "warmup", fit.mixture, key, self.state[0], self.units, data
            )
        elif step == "path":
            self.path = self.call(
                "warmup", fit.annealing.path, stream(fit.config.seed, "vi", "path"), data
            )
        else:
            key = stream(fit.config.seed, "vi", "draws")
            if step == "draw":
                made = self.call("sampling", fit.draws, key, self.mixture, self.units, data)
            else:
                number = np.int32(self.done - self.plan.index("anneal"))
                made = self.call("sampling", fit.annealing.draws, key, number, self.path, data)
            for name, values in made.items():
                self.records.setdefault(name, []).append(values)
        self.done += 1

    def call(self, part: str, function: Any, *given: Any) -> Any:
        """What a program says, as plain arrays; its seconds are those of `part`, but for compiling
        it."""
        name = function.__qualname__
        if name not in self.programs:
            self.programs[name] = jax.jit(function).lower(*given).compile()
            self.lap("compile")
        found = jax.tree.map(np.asarray, self.programs[name](*given))
        self.lap(part)
        return found

    def lap(self, part: str) -> None:
        """Count the seconds since the last lap as those of a part."""
        now = time.perf_counter()
        self.seconds[part] += now - self.begun
        self.begun = now

    def arrays(self) -> Arrays:
        """All of it as plain arrays."""
        leaves = jax.tree.leaves((self.state, self.mixture, self.path))
        found: Arrays = {f"state.{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        found |= {f"record.{name}": np.concatenate(parts) for name, parts in self.records.items()}
        found |= {
            "bound": np.asarray(self.bound),
            "share": np.asarray(self.share),
            "done": np.array(self.done),
        }
        return found | {"seconds": np.array(list(self.seconds.values()))}

    def take_up(self, arrays: Arrays) -> None:
        """Go on from `arrays`."""
        leaves, shape = jax.tree.flatten((self.state, self.mixture, self.path))
        self.state, self.mixture, self.path = jax.tree.unflatten(
            shape, [arrays[f"state.{i}"] for i in range(len(leaves))]
        )
        self.records = {
            name.removeprefix("record."): [values]
            for name, values in arrays.items()
            if name.startswith("record.")
        }
        self.bound, self.share, self.done = arrays["bound"], arrays["share"], int(arrays["done"])
        self.seconds = {
            name: spent + float(before)
            for (name, spent), before in zip(self.seconds.items(), arrays["seconds"], strict=True)
        }


def draw(
    landscape: Landscape,
    config: VIConfig,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Tell | None = None,
) -> Draws:
    """`chains` Gaussian fits and, for each, `draws` independent draws of their mixture, or
    `annealed` draws where it does not follow the posterior.

    Raises ValueError where L_n(w*) is not finite.
    """
    with float_width(config.precision):
        run = _opened(landscape, config)
        kept = checkpoint.load() if checkpoint else None
        if kept is not None:
            run.take_up(kept)
        while run.done < len(run.plan):
            run.go_on()
            if checkpoint and run.done < len(run.plan):
                checkpoint.save(run.arrays(), run.done)
            if progress:
                progress(run.done, len(run.plan))
        return _as_draws(run)


def _opened(landscape: Landscape, config: VIConfig) -> _Run:
    """The run at its start."""
    begun = time.perf_counter()
    prepared = prepare(landscape, config, config.row_chunk)
    minibatch(prepared.landscape, config.batch_size, config.kind)
    data = prepared.landscape.data
    opening = hasty(jax.jit(Fit(prepared, config).opening).lower(data))
    centre_loss, units, state = jax.tree.map(np.asarray, opening(data))
    if not np.isfinite(centre_loss):
        raise ValueError(
            f"The loss of {landscape.name} at w* is {centre_loss}; no posterior around it can be "
            "approximated."
        )
    fit = Fit(prepared.centred(centre_loss), config)
    none = np.zeros(())
    run = _Run(
        fit,
        units,
        state,
        begun,
        Mixture(none, Dense(none, none, none) if fit.following else Gaussian(none, none, none)),
    )
    run.lap("compile")
    return run


def _as_draws(run: _Run) -> Draws:
    """The draws as `Draws`: independent, with their log importance ratios."""
    fit, annealed = run.fit, run.plan[-1] == "anneal"
    config, posterior, landscape = fit.config, fit.prepared.posterior, fit.prepared.landscape
    made = {
        name: np.swapaxes(np.concatenate(parts)[: fit.annealing.length if annealed else None], 0, 1)
        for name, parts in run.records.items()
    }
    climbed = 1.0 + LEAPFROGS * int(run.path.count)  # gradients of a particle on the path
    work = fit.work + (PARTICLES * climbed / config.chains if "path" in run.plan else 0.0)
    failed = {
        str(chain): config.steps for chain, value in enumerate(run.bound) if not np.isfinite(value)
    }
    adapted: dict[str, Any] = {
        "family": config.family,
        "rank": fit.rank,
        "steps": config.steps,
        "components": len(run.mixture.log_share),
        "annealed": annealed,
    }
    if fit.following and fit.following.measured:
        adapted |= {"mixture_share": float(run.share), "temperatures": int(run.path.count)}
    shape = made["excess"].shape
    draws = Draws(
        loss=np.asarray(posterior.centre_loss + made["excess"], config.precision),
        centre_loss=float(posterior.centre_loss),
        n_beta=posterior.n_beta,
        gamma=posterior.gamma,
        distance=made["distance"],
        projection=made["projection"],
        gradients=np.broadcast_to(
            work + (climbed if annealed else 1.0) * np.arange(1, shape[1] + 1), shape
        ),
        weights=made["weights"],
        virial=made["product"],
        virial_sizes=tuple(np.bincount(virial_groups(landscape.n_parameters)).tolist()),
        independent=True,
        seconds=run.seconds,
        adapted=adapted,
        statistics={"evidence_bound": np.asarray(run.bound).tolist(), "failed_chains": failed},
    )
    return (
        replace(draws, parameters=made["away"] + np.asarray(fit.prepared.centre))
        if config.keep_parameters
        else draws
    )
