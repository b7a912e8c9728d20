"""Gaussian approximations of the local posterior, and independent draws of their mixture with their importance ratios.

Each draw is of all fits together, and its ratio is to the density of all: no chain depends on one fit alone. Of few parameters the mixture is adapted
first (`llc.samplers.mixture`); what is drawn for the estimate is drawn afresh.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from causal_meta.conf.samplers import VIConfig
from causal_meta.llc.draws import Draws, virial_groups
from causal_meta.llc.landscape import Landscape, Rows, float_width
from causal_meta.llc.samplers.chains import Tell
from causal_meta.llc.samplers.checkpoint import Arrays, Checkpoint
from causal_meta.llc.samplers.mixture import MOST_PARAMETERS, Following, Mixture
from causal_meta.llc.samplers.prepared import Prepared, minibatch, prepare, stream
from causal_meta.llc.samplers.segment import directions, group_sums

_SEGMENTS = 10  # parts of the fit, between which its state can be kept
_PROBES = 8  # random directions that measure the diagonal of the Hessian at w*
_START = 0.1  # standard deviation of the starts of the fits, in posterior widths


class Gaussian(NamedTuple):
    """N(w* + s m, S (diag(e^{2r}) + F F') S), S = diag(s): `mean` m [P], `log_width` r [P], `factors` F [P, K] (K is 0 for a mean field)."""

    mean: Any
    log_width: Any
    factors: Any

    @property
    def covariance(self) -> Any:
        """diag(e^{2r}) + F F', in units of s, [P, P]."""
        return jnp.diag(jnp.exp(2 * self.log_width)) + self.factors @ self.factors.T

    def draw(self, key: Any) -> Any:
        """A draw in units of s, [P]."""
        own, common = jax.random.split(key)
        size, rank = self.factors.shape
        noise = jnp.exp(self.log_width) * jax.random.normal(own, (size,), self.mean.dtype)
        return self.mean + noise + self.factors @ jax.random.normal(common, (rank,), self.mean.dtype)

    def log_density(self, u: Any) -> Any:
        """The normalised log density at u [P], in units of s (Woodbury's identity: K by K matrices only)."""
        away = (u - self.mean) * jnp.exp(-self.log_width)
        turned = self.factors * jnp.exp(-self.log_width)[:, None]
        inner = jnp.eye(turned.shape[1], dtype=u.dtype) + turned.T @ turned
        root = jnp.linalg.cholesky(inner)
        along = jax.scipy.linalg.solve_triangular(root, turned.T @ away, lower=True)
        volume = jnp.sum(self.log_width) + jnp.sum(jnp.log(jnp.diagonal(root))) + 0.5 * len(u) * jnp.log(2 * jnp.pi)
        return -0.5 * (jnp.sum(away**2) - jnp.sum(along**2)) - volume


@dataclass(frozen=True)
class Fit:
    """Maximising the evidence lower bound E_q[log p - log q] by Adam, with reparameterised draws (Kingma and Welling 2014).

    log q is differentiated along the draws alone (sticking the landing, Roeder, Wu and Duvenaud 2017), so that the gradient has no noise left where
    q is the posterior. Parameters are measured in units s_i = 1 / sqrt(max(H_ii, 0) + γ), H the Hessian of nβ L_n at w*. The rate falls to nothing
    along a cosine.
    """

    prepared: Prepared
    config: VIConfig

    @property
    def rank(self) -> int:
        """Factors of the family."""
        return 0 if self.config.family == "mean_field" else min(self.config.rank, self.prepared.landscape.n_parameters)

    @property
    def following(self) -> Following | None:
        """How a mixture goes on from the fits; None where the fits are all."""
        adapted = self.config.family == "mixture" and self.prepared.landscape.n_parameters <= MOST_PARAMETERS
        return Following(self.prepared, self.config) if adapted else None

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam with a falling rate; long gradients are shortened."""
        rate = optax.cosine_decay_schedule(self.config.learning_rate, self.config.steps)
        return optax.chain(optax.clip_by_global_norm(10.0 * self.prepared.landscape.n_parameters**0.5), optax.adam(rate))

    def opening(self, data: Rows) -> Any:
        """L_n(w*), the units s, and the fits with their optimisers at their start."""
        ready = self.prepared.centred(self.prepared.loss(self.prepared.centre, data))
        size, dtype = ready.landscape.n_parameters, ready.centre.dtype
        key = stream(self.config.seed, "vi", "start")
        signs = jnp.where(jax.random.bernoulli(jax.random.fold_in(key, 0), shape=(_PROBES, size)), 1.0, -1.0).astype(dtype)
        diagonal = jnp.mean(jax.lax.map(lambda sign: sign * ready.curvature_product(ready.centre, sign, data), signs), axis=0)
        units = 1 / jnp.sqrt(jnp.maximum(diagonal, ready.posterior.gamma) + jnp.finfo(dtype).tiny)

        def start(chain: Any) -> Any:
            one, two = jax.random.split(jax.random.fold_in(key, 1 + chain))
            mean = _START * jax.random.normal(one, (size,), dtype)
            fit = Gaussian(mean, jnp.zeros(size, dtype), _START * jax.random.normal(two, (size, self.rank), dtype) / max(self.rank, 1) ** 0.5)
            return fit, self.optimiser.init(fit)

        return ready.posterior.centre_loss, units, jax.vmap(start)(jnp.arange(self.config.chains))

    def climb(self, key: Any, state: Any, first: Any, last: Any, units: Any, data: Rows) -> tuple[Any, Any]:
        """Steps `first` to `last` - 1 of every fit: state and the bound of the last step [C]."""

        def step(number: Any, carry: Any) -> Any:
            (fits, inner), _ = carry
            fresh = jax.random.fold_in(key, number)
            keys = jax.vmap(lambda c: jax.random.fold_in(fresh, c))(jnp.arange(self.config.chains))
            bound, slope = jax.vmap(jax.value_and_grad(self._loss), (0, 0, None, None))(fits, keys, units, data)
            change, inner = jax.vmap(self.optimiser.update)(slope, inner, fits)
            return (optax.apply_updates(fits, change), inner), -bound

        zero = jnp.zeros(self.config.chains, units.dtype)
        found: tuple[Any, Any] = jax.lax.fori_loop(first, last, step, (state, zero))
        return found

    def _loss(self, fit: Gaussian, key: Any, units: Any, data: Rows) -> Any:
        rows = self.config.batch_size
        loss = self.prepared.loss
        if rows:
            chosen = jax.random.randint(jax.random.fold_in(key, 0), (rows,), 0, self.prepared.landscape.n)
            data = {name: values[chosen] for name, values in data.items()}
            loss = self.prepared.landscape.mean_loss
        still = jax.lax.stop_gradient(fit)

        def one(key: Any) -> Any:
            u = fit.draw(key)
            w = self.prepared.centre + units * u
            return self.prepared.posterior.tempered(loss(w, data), w) - still.log_density(u)

        return -jnp.mean(jax.vmap(one)(jax.random.split(jax.random.fold_in(key, 1), self.config.elbo_samples)))

    def mixture(self, key: Any, fits: Gaussian, units: Any, data: Rows) -> Mixture:
        """What is drawn from: the fits with equal shares, or the mixture that went on from them."""
        if self.following is None:
            return Mixture.equal(fits)
        return self.following.mixture(key, fits.mean, jax.vmap(lambda fit: fit.covariance)(fits), units, data)

    def draws(self, key: Any, mixture: Mixture, units: Any, data: Rows) -> dict[str, Any]:
        """Independent draws of the mixture: name -> array [C, T, ...]."""
        config = self.config
        lines = directions(config, len(units))

        def one(key: Any) -> dict[str, Any]:
            u = mixture.draw(key)
            away = units * u
            log_density, slope = jax.value_and_grad(self.prepared.log_density)(self.prepared.centre + away, data)
            found = {"excess": self.prepared.excess(log_density, away), "weights": log_density - mixture.log_density(u)}
            found |= {"distance": jnp.linalg.norm(away), "projection": away @ lines, "product": -away * slope}
            return found | ({"away": away} if config.keep_parameters else {})

        def together(t: Any) -> dict[str, Any]:
            fresh = jax.random.fold_in(key, t)
            found = jax.vmap(one)(jax.vmap(lambda c: jax.random.fold_in(fresh, c))(jnp.arange(config.chains)))
            return found | {"product": group_sums(found["product"])}

        made = jax.lax.map(together, jnp.arange(config.draws))
        return {name: jnp.swapaxes(values, 0, 1) for name, values in made.items()}


def draw(landscape: Landscape, config: VIConfig, *, checkpoint: Checkpoint | None = None, progress: Tell | None = None) -> Draws:
    """`chains` Gaussian fits and, for each, `draws` independent draws of their mixture. Raises ValueError where L_n(w*) is not finite."""
    with float_width(config.precision):
        clock = _Clock()
        prepared = prepare(landscape, config, config.row_chunk)
        minibatch(prepared.landscape, config.batch_size, config.kind)
        data = prepared.landscape.data
        centre_loss, units, state = jax.tree.map(np.asarray, jax.jit(Fit(prepared, config).opening)(data))
        if not np.isfinite(centre_loss):
            raise ValueError(f"The loss of {landscape.name} at w* is {centre_loss}; no posterior around it can be approximated.")
        fit = Fit(prepared.centred(centre_loss), config)
        key = stream(config.seed, "vi", "fit")
        climb = jax.jit(fit.climb).lower(key, state, np.int32(0), np.int32(1), units, data).compile()
        follow = jax.jit(fit.mixture).lower(key, state[0], units, data).compile()
        mixture = jax.tree.map(lambda spec: np.zeros(spec.shape, spec.dtype), jax.eval_shape(fit.mixture, key, state[0], units, data))
        sample = jax.jit(fit.draws).lower(key, mixture, units, data).compile()
        clock.lap("compile")
        done, (state, mixture), bound, clock.seconds = _taken_up(checkpoint, (state, mixture), np.zeros(config.chains), clock.seconds)
        ends = [config.steps * (part + 1) // _SEGMENTS for part in range(_SEGMENTS)]
        for part in range(done, _SEGMENTS + 1):
            if part < _SEGMENTS:
                first = ends[part - 1] if part else 0
                state, bound = jax.tree.map(np.asarray, climb(key, state, np.int32(first), np.int32(ends[part]), units, data))
            else:
                mixture = jax.tree.map(np.asarray, follow(stream(config.seed, "vi", "mixture"), state[0], units, data))
            clock.lap("warmup")
            if checkpoint:
                checkpoint.save(_kept((state, mixture), bound, clock.seconds, part + 1), part + 1)
            if progress:
                progress(part + 1, _SEGMENTS + 2)
        made = jax.tree.map(np.asarray, sample(stream(config.seed, "vi", "draws"), mixture, units, data))
        clock.lap("sampling")
        if progress:
            progress(_SEGMENTS + 2, _SEGMENTS + 2)
        return _as_draws(fit, made, mixture, bound, clock.seconds)


class _Clock:
    """Wall seconds of the parts of a run."""

    def __init__(self) -> None:
        self.seconds = {"compile": 0.0, "warmup": 0.0, "sampling": 0.0}
        self.begun = time.perf_counter()

    def lap(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part] += now - self.begun
        self.begun = now


def _kept(state: Any, bound: Any, seconds: dict[str, float], done: int) -> Arrays:
    leaves = {f"state.{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    return leaves | {"bound": np.asarray(bound), "seconds": np.array(list(seconds.values())), "done": np.array(done)}


def _taken_up(checkpoint: Checkpoint | None, state: Any, bound: Any, seconds: dict[str, float]) -> tuple[int, Any, Any, dict[str, float]]:
    """Segments done, state, bound and seconds: those of the checkpoint, if there is one."""
    kept = checkpoint.load() if checkpoint else None
    if kept is None:
        return 0, state, bound, seconds
    leaves, shape = jax.tree.flatten(state)
    state = jax.tree.unflatten(shape, [kept[f"state.{i}"] for i in range(len(leaves))])
    spent = {name: seconds[name] + float(before) for name, before in zip(seconds, kept["seconds"], strict=True)}
    return int(kept["done"]), state, kept["bound"], spent


def _as_draws(fit: Fit, made: dict[str, Any], mixture: Mixture, bound: Any, seconds: dict[str, float]) -> Draws:
    """The draws as `Draws`: independent, with their log importance ratios."""
    config, posterior, landscape = fit.config, fit.prepared.posterior, fit.prepared.landscape
    each = config.steps * config.elbo_samples * (config.batch_size / landscape.n if config.batch_size else 1.0) + 2 * _PROBES / config.chains
    each += fit.following.work / config.chains if fit.following else 0.0
    failed = {str(chain): config.steps for chain, value in enumerate(bound) if not np.isfinite(value)}
    draws = Draws(
        loss=np.asarray(posterior.centre_loss + made["excess"], config.precision),
        centre_loss=float(posterior.centre_loss),
        n_beta=posterior.n_beta,
        gamma=posterior.gamma,
        distance=made["distance"],
        projection=made["projection"],
        gradients=np.broadcast_to(each + 1.0 + np.arange(config.draws), (config.chains, config.draws)),
        weights=made["weights"],
        virial=made["product"],
        virial_sizes=tuple(np.bincount(virial_groups(landscape.n_parameters)).tolist()),
        independent=True,
        seconds=seconds,
        adapted={"family": config.family, "rank": fit.rank, "steps": config.steps, "components": len(mixture.log_share)},
        statistics={"evidence_bound": np.asarray(bound).tolist(), "failed_chains": failed},
    )
    return replace(draws, parameters=made["away"] + np.asarray(fit.prepared.centre)) if config.keep_parameters else draws
