"""Gaussian approximations of the local posterior, and independent draws of their mixture with their
importance ratios.

The ratio of each draw is to the density of the whole mixture, so that no chain depends on one fit
alone. With few parameters the mixture is adapted first (`llc.samplers.mixture`), and where fresh
draws have a small effective share, draws are annealed instead (`llc.samplers.annealing`). The draws
for the estimate are made afresh.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float
from numpy.typing import NDArray

from causal_meta.conf.samplers import VIConfig
from causal_meta.draws import Draws, virial_groups
from causal_meta.llc.landscapes.landscape import Landscape, Rows, float_width
from causal_meta.llc.samplers.annealing import LEAPFROGS, PARTICLES, SEGMENTS, Annealing, Path
from causal_meta.llc.samplers.arrays import Array, Key
from causal_meta.llc.samplers.chains import Progress, compiled_quickly
from causal_meta.llc.samplers.checkpoint import Arrays, Checkpoint
from causal_meta.llc.samplers.mixture import MOST_PARAMETERS, Adaptation, Dense, Mixture
from causal_meta.llc.samplers.prepared import Prepared, minibatch, prepare, stream
from causal_meta.llc.samplers.segment import directions, group_sums

_SEGMENTS = 10  # parts of the fit, between which its state can be kept
_PROBES = 8  # random directions that estimate the diagonal of the Hessian at w*
# effective share of the mixture's draws below which they are annealed: it is 0.001 to 0.05 or above
# 0.7 on forms
_ENOUGH = 0.2
_START = 0.1  # standard deviation of the starts of the fits, in posterior widths


class Gaussian(NamedTuple):
    """N(w* + s m, S (diag(e^{2r}) + F F') S), S = diag(s): `mean` m [P], `log_width` r [P],
    `factors` F [P, K] (K is 0 for a mean field)."""

    mean: Array
    log_width: Array
    factors: Array

    @property
    def covariance(self) -> Float[Array, "P P"]:
        """diag(e^{2r}) + F F', in units of s."""
        return jnp.diag(jnp.exp(2 * self.log_width)) + self.factors @ self.factors.T

    @property
    def numbers(self) -> int:
        """Normal numbers that a draw takes."""
        return sum(self.factors.shape[-2:])

    def draw(self, normal: Array) -> Array:
        """The draw [P], in units of s, made from `numbers` independent normal numbers."""
        size = len(self.mean)
        return self.mean + jnp.exp(self.log_width) * normal[:size] + self.factors @ normal[size:]

    def log_density(self, u: Array) -> Array:
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


Fits = tuple[Gaussian, optax.OptState]
"""The fits of all starts, and the states of their optimisers."""


@dataclass(frozen=True)
class Fit:
    """Maximisation of the evidence lower bound E_q[log p - log q] by Adam, with reparameterised
    draws (Kingma and Welling 2014).

    log q is differentiated along the draws alone (sticking the landing, Roeder, Wu and Duvenaud
    2017), so that the gradient has no noise where q is the posterior. Parameters have units s_i =
    1 / sqrt(max(H_ii, 0) + γ), H the Hessian of nβ L_n at w*. The learning rate falls to 0 along a
    cosine.
    """

    prepared: Prepared
    config: VIConfig

    @property
    def rank(self) -> int:
        """The number of factors of the family."""
        if self.config.family == "mean_field":
            return 0
        return min(self.config.rank, self.prepared.landscape.n_parameters)

    @property
    def adaptation(self) -> Adaptation | None:
        """The adaptation of a mixture that starts from the fits; None where the fits are used as
        they are."""
        few = self.prepared.landscape.n_parameters <= MOST_PARAMETERS
        if self.config.family != "mixture" or not few:
            return None
        return Adaptation(self.prepared, self.config, measured=self.annealing.most > 0)

    @property
    def annealing(self) -> Annealing:
        """The annealed draws for posteriors to which no mixture comes close."""
        return Annealing(self.prepared, self.config)

    @property
    def work(self) -> float:
        """Gradients over all rows before the first draw, of each chain."""
        config, n = self.config, self.prepared.landscape.n
        part = config.batch_size / n if config.batch_size else 1.0
        shared = 2 * _PROBES + (self.adaptation.work if self.adaptation else 0.0)
        return config.steps * config.elbo_samples * part + shared / config.chains

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam with a falling learning rate and clipped gradients."""
        rate = optax.cosine_decay_schedule(self.config.learning_rate, self.config.steps)
        return optax.chain(
            optax.clip_by_global_norm(10.0 * self.prepared.landscape.n_parameters**0.5),
            optax.adam(rate),
        )

    def opening(self, data: Rows) -> tuple[Array | float, Array, Fits]:
        """L_n(w*), the units s, and the fits with their optimisers at their start."""
        ready = self.prepared.centred(self.prepared.loss(self.prepared.centre, data))
        size, dtype = ready.landscape.n_parameters, ready.centre.dtype
        key = stream(self.config.seed, "vi", "start")
        signs = jnp.where(
            jax.random.bernoulli(jax.random.fold_in(key, 0), shape=(_PROBES, size)), 1.0, -1.0
        ).astype(dtype)
        products = jax.lax.map(
            lambda sign: sign * ready.curvature_product(ready.centre, sign, data), signs
        )
        diagonal = jnp.mean(products, axis=0)
        units = 1 / jnp.sqrt(jnp.maximum(diagonal, ready.posterior.gamma) + jnp.finfo(dtype).tiny)

        def start(normal: Array) -> tuple[Gaussian, optax.OptState]:
            factors = normal[:, 1:] / max(self.rank, 1) ** 0.5
            fit = Gaussian(normal[:, 0], jnp.zeros(size, dtype), factors)
            return fit, self.optimiser.init(fit)

        normal = _START * jax.random.normal(
            jax.random.fold_in(key, 1), (self.config.chains, size, 1 + self.rank), dtype
        )
        return ready.posterior.centre_loss, units, jax.vmap(start)(normal)

    def climb(
        self, key: Key, state: Fits, first: Array, last: Array, units: Array, data: Rows
    ) -> tuple[Fits, Array]:
        """Steps `first` to `last` - 1 of every fit: fits with their optimisers, and the bound of
        the last step [C]."""

        def step(number: Array, loop: tuple[Fits, Array]) -> tuple[Fits, Array]:
            (fits, inner), _ = loop
            numbers, choice = jax.random.split(jax.random.fold_in(key, number))
            normal = jax.random.normal(
                numbers, (self.config.chains, self.config.elbo_samples, fits.numbers), units.dtype
            )
            rows = jax.random.split(choice, self.config.chains)
            bound, slope = jax.vmap(jax.value_and_grad(self._loss), (0, 0, 0, None, None))(
                fits, normal, rows, units, data
            )
            change, inner = jax.vmap(self.optimiser.update)(slope, inner, fits)
            return (optax.apply_updates(fits, change), inner), -bound

        zero = jnp.zeros(self.config.chains, units.dtype)
        end: tuple[Fits, Array] = jax.lax.fori_loop(first, last, step, (state, zero))
        return end

    def _loss(self, fit: Gaussian, normal: Array, key: Key, units: Array, data: Rows) -> Array:
        """Minus the bound, estimated by draws made from `normal` [M, P + K], over all rows or those
        that `key` chooses."""
        loss = self.prepared.loss
        if self.config.batch_size:
            chosen = jax.random.randint(
                key, (self.config.batch_size,), 0, self.prepared.landscape.n
            )
            data = {name: values[chosen] for name, values in data.items()}
            loss = self.prepared.landscape.mean_loss
        still = jax.lax.stop_gradient(fit)

        def one(normal: Array) -> Array:
            u = fit.draw(normal)
            w = self.prepared.centre + units * u
            return self.prepared.posterior.tempered(loss(w, data), w) - still.log_density(u)

        return -jnp.mean(jax.vmap(one)(normal))

    def mixture(self, key: Key, fits: Gaussian, units: Array, data: Rows) -> tuple[Mixture, Array]:
        """The mixture for the draws, adapted or of the fits with equal shares, and its effective
        share (1 where that is not measured)."""
        if self.adaptation is None:
            return Mixture.equal(fits), jnp.ones((), units.dtype)
        covariances = jax.vmap(lambda fit: fit.covariance)(fits)
        return self.adaptation.mixture(key, fits.mean, covariances, units, data)

    def draws(self, key: Key, mixture: Mixture, units: Array, data: Rows) -> dict[str, Array]:
        """Independent draws of the mixture: name -> array [T, C, ...]."""
        config = self.config
        lines = directions(config, len(units))

        def one(u: Array) -> dict[str, Array]:
            away = units * u
            log_density, slope = jax.value_and_grad(self.prepared.log_density)(
                self.prepared.centre + away, data
            )
            record = {
                "excess": self.prepared.excess(log_density, away),
                "weights": log_density - mixture.log_density(u),
                "distance": jnp.linalg.norm(away),
                "projection": away @ lines,
                "product": -away * slope,
            }
            return record | ({"away": away} if config.keep_parameters else {})

        def of_all_chains(t: Array) -> dict[str, Array]:
            record = jax.vmap(one)(mixture.draws(jax.random.fold_in(key, t), config.chains))
            return record | {"product": group_sums(record["product"])}

        records: dict[str, Array] = jax.lax.map(of_all_chains, jnp.arange(config.draws))
        return records


@dataclass
class _Run:
    """A run up to now: the fits, the mixture and its effective share, the path of annealed draws,
    and draws.

    Each program is compiled when it is first used.
    """

    fit: Fit
    units: Array
    state: Fits
    begun: float
    mixture: Mixture
    path: Path = Path(np.zeros(0), np.zeros(0), np.zeros((), np.int32))
    bound: Array | float = np.nan
    share: Array | float = 1.0
    records: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(
        default_factory=lambda: {"compile": 0.0, "warmup": 0.0, "sampling": 0.0}
    )
    programs: dict[str, Callable[..., Any]] = field(default_factory=dict)
    done: int = 0

    @property
    def plan(self) -> tuple[str, ...]:
        """The steps of the run, as far as they are known."""
        begin = ("climb",) * _SEGMENTS + ("adapt",)
        if not self.share < _ENOUGH:
            return (*begin, "draw")
        failed = self.done > len(begin) and not self.path.reaches
        return (*begin, "path", "draw") if failed else (*begin, "path", *("anneal",) * SEGMENTS)

    def advance(self) -> None:
        """Carry out the next step."""
        step, fit, data = self.plan[self.done], self.fit, self.fit.prepared.landscape.data
        seed = fit.config.seed
        if step == "climb":
            parts = (self.done, self.done + 1)
            ends = np.array([fit.config.steps * part // _SEGMENTS for part in parts], np.int32)
            key = stream(seed, "vi", "fit")
            self.state, self.bound = self.call(
                "warmup", fit.climb, key, self.state, *ends, self.units, data
            )
        elif step == "adapt":
            key = stream(seed, "vi", "mixture")
            self.mixture, self.share = self.call(
                "warmup", fit.mixture, key, self.state[0], self.units, data
            )
        elif step == "path":
            self.path = self.call("warmup", fit.annealing.path, stream(seed, "vi", "path"), data)
        else:
            key = stream(seed, "vi", "draws")
            if step == "draw":
                records = self.call("sampling", fit.draws, key, self.mixture, self.units, data)
            else:
                number = np.int32(self.done - self.plan.index("anneal"))
                records = self.call("sampling", fit.annealing.draws, key, number, self.path, data)
            for name, values in records.items():
                self.records.setdefault(name, []).append(values)
        self.done += 1

    def call(self, part: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """The results of a function as plain arrays, compiled at its first call; the seconds after
        that are those of `part`."""
        name = function.__qualname__
        if name not in self.programs:
            self.programs[name] = jax.jit(function).lower(*arguments).compile()
            self.lap("compile")
        results = jax.tree.map(np.asarray, self.programs[name](*arguments))
        self.lap(part)
        return results

    def lap(self, part: str) -> None:
        """Add the seconds since the last lap to those of a part."""
        now = time.perf_counter()
        self.seconds[part] += now - self.begun
        self.begun = now

    def arrays(self) -> Arrays:
        """All of it as plain arrays."""
        leaves = jax.tree.leaves((self.state, self.mixture, self.path))
        arrays: Arrays = {f"state.{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        arrays |= {f"record.{name}": np.concatenate(parts) for name, parts in self.records.items()}
        return arrays | {
            "bound": np.asarray(self.bound),
            "share": np.asarray(self.share),
            "done": np.array(self.done),
            "seconds": np.array(list(self.seconds.values())),
        }

    def resume(self, arrays: Arrays) -> None:
        """Continue from `arrays`."""
        leaves, structure = jax.tree.flatten((self.state, self.mixture, self.path))
        self.state, self.mixture, self.path = jax.tree.unflatten(
            structure, [arrays[f"state.{i}"] for i in range(len(leaves))]
        )
        self.records = {
            name.removeprefix("record."): [values]
            for name, values in arrays.items()
            if name.startswith("record.")
        }
        self.bound, self.share, self.done = arrays["bound"], arrays["share"], int(arrays["done"])
        for name, before in zip(self.seconds, arrays["seconds"], strict=True):
            self.seconds[name] += float(before)


def draw(
    landscape: Landscape,
    config: VIConfig,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
) -> Draws:
    """`chains` Gaussian fits and, for each, `draws` independent draws of their mixture, or
    `annealed` draws where its effective share is small.

    Raises ValueError where L_n(w*) is not finite.
    """
    with float_width(config.precision):
        run = _opened(landscape, config)
        saved = checkpoint.load() if checkpoint else None
        if saved is not None:
            run.resume(saved)
        while run.done < len(run.plan):
            run.advance()
            if checkpoint and run.done < len(run.plan):
                checkpoint.save(run.arrays(), run.done)
            if progress:
                progress(run.done, len(run.plan))
        return _draws(run)


def _opened(landscape: Landscape, config: VIConfig) -> _Run:
    """The run at its start."""
    begun = time.perf_counter()
    prepared = prepare(landscape, config, config.row_chunk)
    minibatch(prepared.landscape, config.batch_size, config.kind)
    data = prepared.landscape.data
    opening = compiled_quickly(jax.jit(Fit(prepared, config).opening).lower(data))
    centre_loss, units, state = jax.tree.map(np.asarray, opening(data))
    if not np.isfinite(centre_loss):
        raise ValueError(
            f"The loss of {landscape.name} at w* is {centre_loss}; no posterior around it can be "
            "approximated."
        )
    fit = Fit(prepared.centred(centre_loss), config)
    none = np.zeros(())
    component = Dense(none, none, none) if fit.adaptation else Gaussian(none, none, none)
    run = _Run(fit, units, state, begun, Mixture(none, component))
    run.lap("compile")
    return run


def _draws(run: _Run) -> Draws:
    """The records as `Draws`: independent, with their log importance ratios."""
    fit, annealed = run.fit, run.plan[-1] == "anneal"
    config, posterior, landscape = fit.config, fit.prepared.posterior, fit.prepared.landscape
    length = fit.annealing.length if annealed else None
    records = {
        name: np.swapaxes(np.concatenate(parts)[:length], 0, 1)
        for name, parts in run.records.items()
    }
    climbed = 1.0 + LEAPFROGS * int(run.path.length)  # gradients of a particle on the path
    work = fit.work + (PARTICLES * climbed / config.chains if "path" in run.plan else 0.0)
    bounds = np.asarray(run.bound).tolist()
    adapted: dict[str, Any] = {
        "family": config.family,
        "rank": fit.rank,
        "steps": config.steps,
        "components": len(run.mixture.log_share),
        "annealed": annealed,
    }
    if fit.adaptation and fit.adaptation.measured:
        adapted |= {"mixture_share": float(run.share), "temperatures": int(run.path.length)}
    shape = records["excess"].shape
    each = climbed if annealed else 1.0
    return Draws(
        loss=np.asarray(posterior.centre_loss + records["excess"], config.precision),
        centre_loss=float(posterior.centre_loss),
        n_beta=posterior.n_beta,
        gamma=posterior.gamma,
        distance=records["distance"],
        projection=records["projection"],
        gradients=np.broadcast_to(work + each * np.arange(1, shape[1] + 1), shape),
        parameters=records["away"] + np.asarray(fit.prepared.centre)
        if config.keep_parameters
        else None,
        weights=records["weights"],
        virial=records["product"],
        virial_sizes=tuple(np.bincount(virial_groups(landscape.n_parameters)).tolist()),
        independent=True,
        seconds=run.seconds,
        adapted=adapted,
        statistics={
            "evidence_bound": bounds,
            "failed_chains": {
                str(chain): config.steps for chain, b in enumerate(bounds) if not np.isfinite(b)
            },
        },
    )
