"""What samplers share whose step nothing corrects: gradients of minibatches, the step that the
largest curvature allows, and how far off it is.

Twice during a chain's life its curvature is looked at: along the warm-up, where the largest
eigenvalue of the Hessian of U in the sampler's own coordinates sets the step, and at every
`check_every`-th draw, where it is recorded beside the acceptance that a step on all rows would have
had if it were corrected (MALA): both tell how far the step is from small.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from causal_meta.conf.samplers import StepConfig
from causal_meta.llc.landscapes.landscape import Rows
from causal_meta.llc.samplers.checkpoint import Arrays
from causal_meta.llc.samplers.prepared import Prepared, Start, minibatch
from causal_meta.llc.samplers.segment import View

C = TypeVar("C", bound=StepConfig)

_SMALLER = 0.25  # of the step that threw a chain out
# quantile of the curvatures met in the warm-up that the step is made for: the largest of them is a
# matter of chance where valleys narrow
MET = 0.99
# Langevin step times curvature above which a step of second order is not trusted either
STIFF = 1.0
LOOKS = 0.5  # gradients of the warm-up's looks at the curvature in terms of those of its steps
PRODUCTS = 10  # curvature products of a look at a chain on its way, two gradients each


class Point(NamedTuple):
    """A point of each chain with what is known there: w - w* [C, P], L_n(w) - L_n(w*) [C], the
    gradient of L_n over the rows of this step [C, P]."""

    away: Any
    excess: Any
    gradient: Any


class Stepping(Generic[C]):
    """Base of the samplers with an uncorrected step.

    The tuning is a tuple with `step`, the step size ε of all chains, and `most`, the largest that
    it may be: a part of the smallest that has thrown a chain out of the numbers.
    """

    learns_shape = False
    tells: frozenset[str] = frozenset()

    def __init__(self, prepared: Prepared, config: C) -> None:
        self.prepared, self.config = prepared, config
        self.size = prepared.landscape.n_parameters
        self.rows = minibatch(prepared.landscape, config.batch_size, config.kind)
        self.work = self.first_work = self.rows / prepared.landscape.n if self.rows else 1.0

    def step_of(self, curvature: Any) -> Any:
        """The step that `step_rule` gives where the largest curvature in the sampler's coordinates
        is `curvature`."""
        if self.config.step_rule == "fixed":
            return 0 * curvature + self.config.step_size
        return self.size_of(self.config.fraction, curvature)

    def size_of(self, fraction: float, curvature: Any) -> Any:
        """The step whose product with the curvature is `fraction`."""
        return fraction / curvature

    def langevin_step(self, tuning: Any) -> Any:
        """The Langevin step that a step stands for, for the acceptance that it would have."""
        return tuning.step

    def metric(self, state: Any, tuning: Any) -> Any:
        """The diagonal G of the sampler's coordinates, [C, P]."""
        return jnp.ones_like(state.away)

    # ------------------------------------------------------------------------------------ gradients

    def look(self, key: Any, away: Any, data: Rows) -> tuple[Any, Any]:
        """L_n - L_n(w*) and the gradient of L_n at w* + away [C, P], over this step's rows of each
        chain (or all); the rows depend on the key."""
        centre, mean = self.prepared.centre, self.prepared.posterior.centre_loss

        def one(key: Any, away: Any) -> tuple[Any, Any]:
            loss, gradient = jax.value_and_grad(self.step_loss(key, data))(centre + away)
            return loss - mean, gradient

        return jax.vmap(one)(self.keys(key, len(away)), away)

    def step_loss(self, key: Any, data: Rows) -> Callable[[Any], Any]:
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
    def keys(key: Any, chains: int) -> Any:
        """A key of each chain."""
        return jax.vmap(lambda c: jax.random.fold_in(key, c))(jnp.arange(chains))

    def noise(self, key: Any, away: Any) -> Any:
        """Standard normal numbers [C, P]."""
        return jax.vmap(
            lambda one: jax.random.normal(jax.random.fold_in(one, 2), away.shape[1:], away.dtype)
        )(self.keys(key, len(away)))

    def slope(self, point: Point) -> Any:
        """nβ g + γ (w - w*): the gradient of U, as the rows of this step see it."""
        return (
            self.prepared.posterior.n_beta * point.gradient
            + self.prepared.posterior.gamma * point.away
        )

    # --------------------------------------------------------------------------------------- record

    def pulse(self, state: Any) -> Any:
        """Not finite where a chain is not."""
        return jnp.sum(state.away, axis=1) + state.seen.excess

    def view(self, key: Any, due: Any, state: Any, tuning: Any, data: Rows) -> View:
        """Where the chains were when the last gradient was taken, if it was over all rows; else
        where they are, with one gradient over all rows."""
        if self.rows:
            point = Point(state.away, *self._whole(state.away, data))
            work = 1.0
        else:
            point, work = state.seen, 0.0
        curvature, acceptance = jax.lax.cond(
            due,
            lambda: (
                self.curvature(key, point.away, state, tuning, data),
                self._corrected(key, point, state, tuning, data),
            ),
            lambda: (jnp.full_like(point.excess, jnp.nan), jnp.full_like(point.excess, jnp.nan)),
        )
        checks = {"curvature": curvature, "corrected": acceptance}
        return View(
            point.away,
            point.excess,
            self.slope(point),
            work + jnp.where(due, 2.0 * PRODUCTS + 1, 0.0),
            checks,
        )

    def every(self, warm_thin: int) -> int:
        """As `check_every` says, and in the warm-up as often as a part of its gradients pays
        for."""
        if not warm_thin:
            return self.config.check_every
        return max(
            1,
            math.ceil(
                (2 * PRODUCTS + 1) / (LOOKS * (warm_thin * self.work + (1.0 if self.rows else 0.0)))
            ),
        )

    def _whole(self, away: Any, data: Rows) -> tuple[Any, Any]:
        """L_n - L_n(w*) and the gradient of L_n over all rows."""
        centre, mean = self.prepared.centre, self.prepared.posterior.centre_loss
        loss, gradient = jax.vmap(
            lambda one: jax.value_and_grad(self.prepared.loss)(centre + one, data)
        )(away)
        return loss - mean, gradient

    def curvature(self, key: Any, away: Any, state: Any, tuning: Any, data: Rows) -> Any:
        """The largest eigenvalue of sqrt(G) H sqrt(G), H the Hessian of U at w* + away, of each
        chain [C], in absolute value."""
        root = jnp.sqrt(self.metric(state, tuning))

        def one(key: Any, away: Any, root: Any) -> Any:
            def turn(_: Any, inner: Any) -> Any:
                vector = inner[0] / jnp.linalg.norm(inner[0])
                image = root * self.prepared.curvature_product(
                    self.prepared.centre + away, root * vector, data
                )
                return image, jnp.linalg.norm(image)

            vector = jax.random.normal(jax.random.fold_in(key, 3), away.shape, away.dtype)
            return jax.lax.fori_loop(0, PRODUCTS, turn, (vector, jnp.zeros((), away.dtype)))[1]

        return jax.vmap(one)(self.keys(key, len(away)), away, root)

    def _corrected(self, key: Any, point: Point, state: Any, tuning: Any, data: Rows) -> Any:
        """The probability with which one Langevin step over all rows from here would be accepted
        (Roberts and Tweedie 1996), [C]."""
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

    def _exponent(self, point: Point) -> Any:
        posterior = self.prepared.posterior
        return posterior.n_beta * point.excess + 0.5 * posterior.gamma * jnp.sum(point.away**2, -1)

    # --------------------------------------------------------------------------------------- tuning

    def first_step(self, start: Start, curvature: Any) -> Any:
        """The step of the first window: for the largest curvature at w* and where the chains
        start."""
        return jnp.asarray(
            self.step_of(jnp.maximum(start.curvature, jnp.max(curvature))),
            self.prepared.centre.dtype,
        )

    def retune(
        self, state: Any, tuning: Any, windows: list[Arrays], part: float
    ) -> tuple[Any, Any]:
        """The step for the curvature that only few draws of the last windows exceed, where chains
        that were thrown out on their way do not count."""
        met = np.concatenate(
            [
                window["check.curvature"][:, np.isfinite(window["excess"][-1])].ravel()
                for window in windows
            ]
        )
        met = met[np.isfinite(met)]
        step = np.asarray(
            self.step_of(np.quantile(met, MET)) if len(met) else tuning.step, tuning.step.dtype
        )
        lost = ~np.isfinite(self.pulse(state))
        # a step that was asked for is neither changed nor helped
        if self.config.step_rule == "fixed":
            return state, tuning._replace(step=step)
        if lost.any() and part < 1:
            state = jax.tree.map(
                lambda values, fresh: np.where(
                    lost.reshape(-1, *[1] * (values.ndim - 1)), fresh, values
                ),
                state,
                self.fresh(state),
            )
            tuning = tuning._replace(
                most=np.minimum(tuning.most, tuning.step * np.asarray(_SMALLER, step.dtype))
            )
        return state, tuning._replace(step=np.minimum(step, tuning.most))

    def fresh(self, state: Any) -> Any:
        """What a chain of the warm-up goes on from that a step too large has thrown out of the
        numbers: at rest at w*."""
        return jax.tree.map(np.zeros_like, state)

    def told(self, tuning: Any, records: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
        """Langevin step, largest and mean curvature met while sampling, and the mean acceptance
        that corrected steps would have had."""
        met, corrected = records["check.curvature"], records["check.corrected"]
        counted = np.isfinite(corrected)
        mean = np.where(counted, corrected, 0.0).sum(1) / np.maximum(counted.sum(1), 1)
        met = met[np.isfinite(met)]
        largest, mean_met = float(np.max(met, initial=0.0)), float(met.mean()) if len(met) else 0.0
        step = float(self.langevin_step(tuning))
        adapted = {
            "step_size": step,
            "curvature": largest,
            "mean_curvature": mean_met,
            "step_order": self.config.step_order,
        }
        adapted["stiff_share"] = float((step * met > STIFF).mean()) if len(met) else 0.0
        return adapted, {"corrected_acceptance": mean.tolist(), "largest_step": step * largest}
