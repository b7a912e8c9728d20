"""What samplers without a Metropolis correction share: gradients of minibatches, the step that the
largest curvature allows, and measurements of the error of the step.

The curvature of each chain is measured along the warm-up, where the largest eigenvalue of the
Hessian of U in the sampler's coordinates sets the step, and at every `check_every`-th draw, where
it is recorded together with the acceptance probability of one Metropolis-adjusted step (MALA) over
all rows: both show how far the step is from small.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from causal_meta.conf.samplers import StepConfig
from causal_meta.llc.landscapes.landscape import Rows
from causal_meta.llc.samplers.arrays import Array, Key
from causal_meta.llc.samplers.checkpoint import Arrays
from causal_meta.llc.samplers.prepared import Prepared, minibatch
from causal_meta.llc.samplers.segment import Observation

_SMALLER = 0.25  # the largest allowed step, in terms of one after which a chain was not finite
# quantile of the curvatures in the warm-up that sets the step: the largest one is a matter of
# chance where valleys narrow
QUANTILE = 0.99
# Langevin step times curvature above which a step of second order is not trusted either
STIFF = 1.0
MEASURING = 0.5  # gradients for curvatures in the warm-up, in terms of those for its steps
PRODUCTS = 10  # curvature products of a measurement at a draw, two gradients each


class Point(NamedTuple):
    """A point of each chain with its values: w - w* [C, P], L_n(w) - L_n(w*) [C], the gradient of
    L_n over the rows of this step [C, P]."""

    away: Array
    excess: Array
    gradient: Array


class StepState(Protocol):
    """What the states of these samplers have in common: positions w - w* [C, P], and the point of
    the last gradient."""

    @property
    def away(self) -> Array:
        """Positions."""

    @property
    def last(self) -> Point:
        """The point of the last gradient."""


class StepTuning(Protocol):
    """What their tunings have in common: the step size of all chains, and the largest allowed one,
    a part of the smallest after which a chain was not finite."""

    @property
    def step(self) -> Array:
        """The step size."""

    @property
    def most(self) -> Array:
        """The largest allowed one."""

    def _replace(self, *, step: Array = ..., most: Array = ...) -> Self:
        """The named tuple with other values."""


Config = TypeVar("Config", bound=StepConfig)
State = TypeVar("State", bound=StepState)
Tuning = TypeVar("Tuning", bound=StepTuning)


class Stepping(Generic[Config, State, Tuning]):
    """Base of the samplers without a Metropolis correction; states and tunings are named tuples."""

    learns_shape = False
    reports: frozenset[str] = frozenset()

    def __init__(self, prepared: Prepared, config: Config) -> None:
        self.prepared, self.config = prepared, config
        self.size = prepared.landscape.n_parameters
        self.rows = minibatch(prepared.landscape, config.batch_size, config.kind)
        self.work = self.first_work = self.rows / prepared.landscape.n if self.rows else 1.0

    def step_of(self, curvature: Array) -> Array:
        """The step that `step_rule` gives for the largest curvature in the sampler's
        coordinates."""
        if self.config.step_rule == "fixed":
            return 0 * curvature + self.config.step_size
        return self.size_of(self.config.fraction, curvature)

    def size_of(self, fraction: float, curvature: Array) -> Array:
        """The step whose product with the curvature is `fraction`."""
        return fraction / curvature

    def langevin_step(self, tuning: Tuning) -> Array:
        """The size of the Langevin step that a step corresponds to."""
        return tuning.step

    def metric(self, state: State, tuning: Tuning) -> Array:
        """The diagonal preconditioner G, [C, P]."""
        return jnp.ones_like(state.away)

    # ------------------------------------------------------------------------------------ gradients

    def loss_and_gradient(self, key: Key, away: Array, data: Rows) -> tuple[Array, Array]:
        """L_n - L_n(w*) [C] and the gradient of L_n [C, P] at w* + away, over the rows that `key`
        chooses for each chain (or all)."""
        centre, mean = self.prepared.centre, self.prepared.posterior.centre_loss

        def one(key: Key, away: Array) -> tuple[Array, Array]:
            loss, gradient = jax.value_and_grad(self.step_loss(key, data))(centre + away)
            return loss - mean, gradient

        return jax.vmap(one)(self.keys(key, len(away)), away)

    def step_loss(self, key: Key, data: Rows) -> Callable[[jax.Array], jax.Array]:
        """The loss whose gradient a step of one chain takes: over rows drawn with replacement, or
        over all of them."""
        if not self.rows:
            return lambda w: self.prepared.loss(w, data)
        chosen = jax.random.randint(
            jax.random.fold_in(key, 1), (self.rows,), 0, self.prepared.landscape.n
        )
        batch = {name: values[chosen] for name, values in data.items()}
        return lambda w: self.prepared.landscape.mean_loss(w, batch)

    @staticmethod
    def keys(key: Key, chains: int) -> Key:
        """A key of each chain."""
        return jax.vmap(lambda c: jax.random.fold_in(key, c))(jnp.arange(chains))

    def noise(self, key: Key, away: Array) -> jax.Array:
        """Standard normal numbers [C, P]."""
        return jax.vmap(
            lambda one: jax.random.normal(jax.random.fold_in(one, 2), away.shape[1:], away.dtype)
        )(self.keys(key, len(away)))

    def slope(self, point: Point) -> Array:
        """nβ g + γ (w - w*): the gradient of U over the rows of the point's gradient."""
        return (
            self.prepared.posterior.n_beta * point.gradient
            + self.prepared.posterior.gamma * point.away
        )

    # --------------------------------------------------------------------------------------- record

    def finite(self, state: State) -> Array:
        """Whether position and loss of each chain are finite."""
        return jnp.isfinite(jnp.sum(state.away, axis=1) + state.last.excess)

    def observe(
        self, key: Key, due: Array, state: State, tuning: Tuning, data: Rows
    ) -> Observation:
        """The point of the last gradient, if that was over all rows; else the present point, with
        one gradient over all rows. Where `due`, curvature and acceptance are measured there."""
        if self.rows:
            point = Point(state.away, *self._whole(state.away, data))
            work = 1.0
        else:
            point, work = state.last, 0.0
        curvature, acceptance = jax.lax.cond(
            due,
            lambda: (
                self.curvature(key, point.away, state, tuning, data),
                self._corrected(key, point, state, tuning, data),
            ),
            lambda: (jnp.full_like(point.excess, jnp.nan), jnp.full_like(point.excess, jnp.nan)),
        )
        return Observation(
            point.away,
            point.excess,
            self.slope(point),
            work + jnp.where(due, 2.0 * PRODUCTS + 1, 0.0),
            {"curvature": curvature, "corrected": acceptance},
        )

    def check_interval(self, warm_thin: int) -> int:
        """`check_every`; in the warm-up, the interval at which measurements take `MEASURING` times
        the gradients of its steps."""
        if not warm_thin:
            return self.config.check_every
        each = warm_thin * self.work + (1.0 if self.rows else 0.0)
        return max(1, math.ceil((2 * PRODUCTS + 1) / (MEASURING * each)))

    def _whole(self, away: Array, data: Rows) -> tuple[Array, Array]:
        """L_n - L_n(w*) [C] and the gradient of L_n [C, P] over all rows."""
        centre, mean = self.prepared.centre, self.prepared.posterior.centre_loss
        loss, gradient = jax.vmap(
            lambda one: jax.value_and_grad(self.prepared.loss)(centre + one, data)
        )(away)
        return loss - mean, gradient

    def curvature(self, key: Key, away: Array, state: State, tuning: Tuning, data: Rows) -> Array:
        """The largest eigenvalue of sqrt(G) H sqrt(G), H the Hessian of U at w* + away, of each
        chain [C], in absolute value."""
        root = jnp.sqrt(self.metric(state, tuning))

        def one(key: Key, away: Array, root: Array) -> Array:
            def iterate(_: Array, pair: tuple[Array, Array]) -> tuple[Array, Array]:
                vector = pair[0] / jnp.linalg.norm(pair[0])
                image = root * self.prepared.curvature_product(
                    self.prepared.centre + away, root * vector, data
                )
                return image, jnp.linalg.norm(image)

            vector = jax.random.normal(jax.random.fold_in(key, 3), away.shape, away.dtype)
            start = (vector, jnp.zeros((), away.dtype))
            size: Array = jax.lax.fori_loop(0, PRODUCTS, iterate, start)[1]
            return size

        return jax.vmap(one)(self.keys(key, len(away)), away, root)

    def _corrected(self, key: Key, point: Point, state: State, tuning: Tuning, data: Rows) -> Array:
        """The acceptance probability of one Metropolis-adjusted Langevin step over all rows from
        `point` (Roberts and Tweedie 1996), [C]."""
        variance = self.langevin_step(tuning) * self.metric(state, tuning)
        noise, slope = self.noise(jax.random.fold_in(key, 4), point.away), self.slope(point)
        away = point.away - 0.5 * variance * slope + jnp.sqrt(variance) * noise
        there = Point(away, *self._whole(away, data))
        back = point.away - away + 0.5 * variance * self.slope(there)
        gap = (
            self._exponent(there)
            - self._exponent(point)
            + 0.5 * jnp.sum(back**2 / variance, -1)
            - 0.5 * jnp.sum(noise**2, -1)
        )
        return jnp.exp(-jnp.maximum(jnp.nan_to_num(gap, nan=jnp.inf), 0.0))

    def _exponent(self, point: Point) -> Array:
        posterior = self.prepared.posterior
        return posterior.n_beta * point.excess + 0.5 * posterior.gamma * jnp.sum(point.away**2, -1)

    # --------------------------------------------------------------------------------------- tuning

    def retune(
        self, state: State, tuning: Tuning, windows: list[Arrays], part: float
    ) -> tuple[State, Tuning]:
        """The step for the `QUANTILE` of the curvatures in the last windows, those of chains that
        are no longer finite left out; such chains are restarted with a smaller step."""
        curvatures = np.concatenate(
            [w["check.curvature"][:, np.isfinite(w["excess"][-1])].ravel() for w in windows]
        )
        curvatures = curvatures[np.isfinite(curvatures)]
        step = np.asarray(
            self.step_of(np.quantile(curvatures, QUANTILE)) if len(curvatures) else tuning.step,
            tuning.step.dtype,
        )
        # a configured step is neither changed nor are its chains restarted
        if self.config.step_rule == "fixed":
            return state, tuning._replace(step=step)
        lost = ~np.asarray(self.finite(state))
        if lost.any() and part < 1:
            state = jax.tree.map(
                lambda values, fresh: np.where(
                    lost.reshape(-1, *[1] * (values.ndim - 1)), fresh, values
                ),
                state,
                self.restarted(state),
            )
            smaller = tuning.step * np.asarray(_SMALLER, step.dtype)
            tuning = tuning._replace(most=np.minimum(tuning.most, smaller))
        return state, tuning._replace(step=np.minimum(step, tuning.most))

    def restarted(self, state: State) -> State:
        """The state from which the warm-up restarts a chain that is no longer finite: at rest at
        w*."""
        zeros: State = jax.tree.map(np.zeros_like, state)
        return zeros

    def summary(self, tuning: Tuning, records: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
        """Langevin step, largest and mean curvature while sampling, and the mean acceptance of
        corrected steps [C]."""
        curvatures, corrected = records["check.curvature"], records["check.corrected"]
        counted = np.isfinite(corrected)
        acceptance = np.where(counted, corrected, 0.0).sum(1) / np.maximum(counted.sum(1), 1)
        curvatures = curvatures[np.isfinite(curvatures)]
        largest, step = float(np.max(curvatures, initial=0.0)), float(self.langevin_step(tuning))
        adapted = {
            "step_size": step,
            "curvature": largest,
            "mean_curvature": float(curvatures.mean()) if len(curvatures) else 0.0,
            "step_order": self.config.step_order,
            "stiff_share": float((step * curvatures > STIFF).mean()) if len(curvatures) else 0.0,
        }
        return adapted, {
            "corrected_acceptance": acceptance.tolist(),
            "largest_step": step * largest,
        }
