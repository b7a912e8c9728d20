"""The stochastic gradient Nosé-Hoover thermostat."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from causal_meta.conf.samplers import SGNHTConfig
from causal_meta.draws import Draws
from causal_meta.llc.landscapes.landscape import Landscape, Rows
from causal_meta.llc.samplers.arrays import Array, Key
from causal_meta.llc.samplers.chains import Progress, run_chains
from causal_meta.llc.samplers.checkpoint import Arrays, Checkpoint
from causal_meta.llc.samplers.prepared import Start
from causal_meta.llc.samplers.segment import Info
from causal_meta.llc.samplers.stepping import Point, Stepping


class State(NamedTuple):
    """Chains first: position, point of the last gradient, momenta p [C, P], and the friction ξ [C,
    1]."""

    away: Array
    last: Point
    momentum: Array
    friction: Array


class Tuning(NamedTuple):
    """The time step, and the largest allowed one."""

    step: Array
    most: Array


def draw(
    landscape: Landscape,
    config: SGNHTConfig,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
) -> Draws:
    """Draws by the stochastic gradient Nosé-Hoover thermostat."""
    return run_chains(
        landscape,
        config,
        lambda prepared: Thermostat(prepared, config),
        config.warmup,
        checkpoint=checkpoint,
        progress=progress,
    )


class Thermostat(Stepping[SGNHTConfig, State, Tuning]):
    """SGNHT (Ding et al. 2014): dw = p dt, dp = -(grad U + ξ p) dt + sqrt(2A) dB, dξ = (|p|²/P - 1)
    dt; the friction ξ adapts to the noise of minibatches and removes its heat.

    One step of size h is B A D O D A B of Leimkuhler and Shang (2016): the last kick (B) of a step
    and the first of the next in one gradient, half a drift (A), half a step of ξ (D), friction and
    noise exactly (O), and the same backwards. BlackJAX has Ding's explicit Euler step, which heats
    a direction of curvature h_i by h h_i / (2 ξ), more where it is stiffer; one ξ cannot cool all
    of them at once. h is sqrt(`step_fraction` / h_max), A is `friction` times sqrt γ (or 1 where γ
    is 0).
    """

    @property
    def rest(self) -> float:
        """A, the mean friction where gradients have no noise."""
        return self.config.friction * (math.sqrt(self.prepared.posterior.gamma) or 1.0)

    def size_of(self, fraction: float, curvature: Array) -> Array:
        """The time step, whose square times the curvature is `fraction`."""
        return (fraction / curvature) ** 0.5

    def langevin_step(self, tuning: Tuning) -> Array:
        """h²: with momenta of unit variance a time step h is a Langevin step of that size."""
        return tuning.step**2

    def tuning(self, start: Start, data: Rows) -> Tuning:
        """The step for the curvature at the start."""
        dtype = self.prepared.centre.dtype
        return Tuning(
            jnp.asarray(self.step_of(start.curvature), dtype), jnp.asarray(jnp.inf, dtype)
        )

    def begin(self, key: Key, start: Start, tuning: Tuning, data: Rows) -> State:
        """Momenta of unit variance, friction at rest."""
        away = start.positions - self.prepared.centre
        excess, gradient = self.loss_and_gradient(key, away, data)
        momentum = self.noise(jax.random.fold_in(key, 6), away)
        return State(
            away, Point(away, excess, gradient), momentum, jnp.full_like(away[:, :1], self.rest)
        )

    def transition(
        self, key: Key, state: State, tuning: Tuning, data: Rows, adapting: Array
    ) -> tuple[State, Tuning, Info]:
        """One step of every chain."""
        h = tuning.step
        point = Point(state.away, *self.loss_and_gradient(key, state.away, data))
        p = state.momentum - h * self.slope(point)
        away = state.away + 0.5 * h * p
        xi = state.friction + 0.5 * h * (jnp.mean(p**2, axis=1, keepdims=True) - 1)
        small = jnp.where(jnp.abs(xi) < 1e-8, 1e-8, xi)
        noise = jnp.sqrt(-self.rest * jnp.expm1(-2 * h * small) / small) * self.noise(key, away)
        p = jnp.exp(-h * xi) * p + noise
        xi = xi + 0.5 * h * (jnp.mean(p**2, axis=1, keepdims=True) - 1)
        away = away + 0.5 * h * p
        none = jnp.zeros_like(point.excess)
        return State(away, point, p, xi), tuning, Info(none, none, none, self.work)

    def restarted(self, state: State) -> State:
        """At rest at w*, with the friction at its mean."""
        return super().restarted(state)._replace(friction=np.full_like(state.friction, self.rest))

    def summary(self, tuning: Tuning, records: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
        """With the time step beside the Langevin step that it corresponds to."""
        adapted, statistics = super().summary(tuning, records)
        return adapted | {
            "time_step": float(tuning.step),
            "friction_at_rest": self.rest,
        }, statistics
