"""Stochastic gradient Langevin dynamics, plain and preconditioned."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from causal_meta.conf.samplers import SGLDConfig
from causal_meta.draws import Draws
from causal_meta.llc.landscapes.landscape import Landscape, Rows
from causal_meta.llc.samplers.arrays import Array, Key
from causal_meta.llc.samplers.chains import Progress, run_chains
from causal_meta.llc.samplers.checkpoint import Arrays, Checkpoint
from causal_meta.llc.samplers.prepared import Start
from causal_meta.llc.samplers.segment import Info
from causal_meta.llc.samplers.stepping import Point, Stepping

FIXED = 0.5  # part of the warm-up after which a preconditioner of precond_until=warmup is constant
# part of the warm-up over which the logarithm of v is averaged until then: v at one time varies by
# chance
MEMORY = 0.15


class State(NamedTuple):
    """Chains first: position, point of the last gradient, v, the running mean of log v (`level`),
    the derivative of v, the drift of Adam and the last noise ([C, 0] where unused)."""

    away: Array
    last: Point
    square: Array
    level: Array
    square_slope: Array
    drift: Array
    noise: Array


class Tuning(NamedTuple):
    """The step size, the largest allowed one, and the number of windows of the warm-up since v is
    constant."""

    step: Array
    most: Array
    still: Array


def draw(
    landscape: Landscape,
    config: SGLDConfig,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
) -> Draws:
    """Draws by stochastic gradient Langevin dynamics."""
    return run_chains(
        landscape,
        config,
        lambda prepared: Langevin(prepared, config),
        config.warmup,
        checkpoint=checkpoint,
        progress=progress,
    )


class Langevin(Stepping[SGLDConfig, State, Tuning]):
    """SGLD (Welling and Teh 2011): w += -(ε/2) (G (nβ g + γ (w - w*)) - Γ) + sqrt(ε G) η, with the
    diagonal preconditioner G.

    With averaged noise η is (η_t + η_{t+1}) / 2 (Leimkuhler and Matthews 2013, the limit of their
    BAOAB for large friction): on a quadratic the stationary law is then exact at every stable step,
    εh < 4.

    `rmsprop`: v = b2 v + (1 - b2) (nβ g)², v_0 = (nβ g_0)² of the chain's first gradient, and G = 1
    / (sqrt v + a r + sqrt γ), r the root mean square of sqrt v over the parameters and a = `floor`;
    sqrt γ, the gradient of the localisation one of its standard deviations from w*, bounds G where
    the loss is flat. The scale of G does not matter where the step is set by the curvature of sqrt
    G H sqrt G. v is computed from the gradient of the loss alone, while drift and noise are
    preconditioned as a whole. `adam` has m = b1 m + (1 - b1) nβ g, m_0 = nβ g_0, in place of nβ g:
    a drift that lags by b1 / (1 - b1) steps, which adds to the bias.

    Where G is constant, from the middle of the warm-up on (log v is then a mean over the path of a
    chain, and the median over chains), the law is the stated one up to the error of the step. Where
    G follows the chain, v tends to g² at the present point in the limit of small steps, so that the
    diffusion depends on the position and its law is p(w) / G(w) unless the divergence term Γ_i =
    dG_i/dw_i is added (Girolami and Calderhead 2011, section 5). dv_i/dw_i = 2 (nβ)² g_i H_ii is
    averaged as v is, with H_ii estimated by one random direction (Hutchinson 1989), which costs two
    gradients. Li et al. (2016, equation 8) have the factor 1 - b2 on it and then leave it out: with
    that factor the term vanishes as b2 tends to 1, but the error that it should cancel does not.
    """

    def tuning(self, start: Start, data: Rows) -> Tuning:
        """The step for the curvature at the start, without preconditioner."""
        dtype = self.prepared.centre.dtype
        return Tuning(
            jnp.asarray(self.step_of(start.curvature), dtype),
            jnp.asarray(jnp.inf, dtype),
            jnp.zeros((), dtype),
        )

    def begin(self, key: Key, start: Start, tuning: Tuning, data: Rows) -> State:
        """v and Adam's drift from the first gradient."""
        away = start.positions - self.prepared.centre
        excess, gradient = self.loss_and_gradient(key, away, data)
        tempered = self.prepared.posterior.n_beta * gradient
        none = away[:, :0]
        plain, config = self.config.precond == "none", self.config
        return State(
            away,
            Point(away, excess, gradient),
            none if plain else tempered**2,
            self._log(tempered**2) if self._stops else none,
            jnp.zeros_like(away) if config.divergence_correction and not plain else none,
            tempered if config.precond == "adam" else none,
            self.noise(jax.random.fold_in(key, 6), away) if config.averages else none,
        )

    def metric(self, state: State, tuning: Tuning) -> Array:
        """G [C, P]."""
        if self.config.precond == "none":
            return jnp.ones_like(state.away)
        return 1 / (jnp.sqrt(state.square) + self._floor(state))

    @property
    def _stops(self) -> bool:
        """Whether G is constant after the warm-up."""
        return self.config.precond != "none" and self.config.precond_until == "warmup"

    @staticmethod
    def _log(square: Array) -> jax.Array:
        return jnp.log(jnp.maximum(square, jnp.finfo(square.dtype).tiny))

    def _floor(self, state: State) -> Array:
        level = self.config.floor * jnp.sqrt(jnp.mean(state.square, axis=1, keepdims=True))
        return level + self.prepared.posterior.gamma**0.5 + jnp.finfo(state.away.dtype).tiny

    def transition(
        self, key: Key, state: State, tuning: Tuning, data: Rows, adapting: Array
    ) -> tuple[State, Tuning, Info]:
        """One step of every chain."""
        excess, gradient = self.loss_and_gradient(key, state.away, data)
        point = Point(state.away, excess, gradient)
        tempered, work = self.prepared.posterior.n_beta * gradient, self.work
        state, work = self._with_squares(key, state._replace(last=point), tempered, tuning, data)
        drift = tempered
        if self.config.precond == "adam":
            drift = self.config.b1 * state.drift + (1 - self.config.b1) * tempered
            state = state._replace(drift=drift)
        metric = self.metric(state, tuning)
        drift = metric * (drift + self.prepared.posterior.gamma * state.away)
        if state.square_slope.shape[1]:
            drift = drift - jnp.where(tuning.still > 0, 0.0, self._divergence(state, metric))
        noise = self.noise(key, state.away)
        if self.config.averages:
            mean = (state.noise + noise) / 2
            state, noise = state._replace(noise=noise), jnp.asarray(mean)
        away = state.away - 0.5 * tuning.step * drift + jnp.sqrt(tuning.step * metric) * noise
        none = jnp.zeros_like(excess)
        return state._replace(away=away), tuning, Info(none, none, none, work)

    def _with_squares(
        self, key: Key, state: State, tempered: Array, tuning: Tuning, data: Rows
    ) -> tuple[State, float]:
        """v and its derivative after a gradient, and the gradients that the step takes."""
        if self.config.precond == "none":
            return state, self.work
        b2, follows = self.config.b2, tuning.still == 0
        square = jnp.where(follows, b2 * state.square + (1 - b2) * tempered**2, state.square)
        if self._stops:
            rate = 1 / max(MEMORY * self.config.warmup, 1.0)
            state = state._replace(level=(1 - rate) * state.level + rate * self._log(square))
        if not state.square_slope.shape[1]:
            return state._replace(square=square), self.work
        normal = self.noise(jax.random.fold_in(key, 5), state.away)
        sign = jnp.where(normal < 0, -1.0, 1.0).astype(state.away.dtype)

        def product(key: Key, away: Array, sign: Array) -> Array:
            slope = jax.grad(self.step_loss(key, data))
            image: Array = jax.jvp(slope, (self.prepared.centre + away,), (sign,))[1]
            return image

        products = jax.vmap(product)(self.keys(key, len(sign)), state.away, sign)
        diagonal = self.prepared.posterior.n_beta * sign * products
        slope = b2 * state.square_slope + (1 - b2) * 2 * tempered * diagonal
        return state._replace(square=square, square_slope=slope), self.work * 3

    def _divergence(self, state: State, metric: Array) -> Array:
        """Γ_i = -G_i² (d sqrt(v_i)/dw_i + a dr/dw_i)."""
        tiny = jnp.finfo(state.away.dtype).tiny
        level = jnp.sqrt(jnp.mean(state.square, axis=1, keepdims=True)) + tiny
        first = state.square_slope / (2 * (jnp.sqrt(state.square) + tiny))
        return -(metric**2) * (
            first + self.config.floor * state.square_slope / (2 * level * self.size)
        )

    def restarted(self, state: State) -> State:
        """At rest at w*, with the median v of the chains that are still finite, or 1."""
        finite = np.asarray(self.finite(state)) & np.isfinite(state.square).all(1)
        square = (
            np.median(state.square[finite], 0) if finite.any() else np.ones_like(state.square[0])
        )
        fresh = super().restarted(state)
        fresh = fresh._replace(square=np.broadcast_to(square, state.square.shape))
        return fresh._replace(level=np.asarray(self._log(fresh.square))) if self._stops else fresh

    def retune(
        self, state: State, tuning: Tuning, windows: list[Arrays], part: float
    ) -> tuple[State, Tuning]:
        """The step for the curvatures of the last windows; in the middle of the warm-up v becomes
        its geometric mean over the path, and stays constant with precond_until=warmup.

        The last windows then measure the curvature in the coordinates of the draws.
        """
        # the coordinates in which curvatures are measured changed until v was constant
        if self.config.precond != "none":
            windows = windows[-max(int(tuning.still), 1) :]
        state, tuning = super().retune(state, tuning, windows, part)
        if not self._stops or part < FIXED:
            return state, tuning
        if not tuning.still:
            finite = np.isfinite(state.level).all(1)
            # the median, as a mean would follow a single diverging chain
            level = np.median(state.level[finite], 0) if finite.any() else state.level[0]
            square = np.broadcast_to(np.exp(level), state.square.shape).astype(state.square.dtype)
            state = state._replace(square=square)
        return state, tuning._replace(still=tuning.still + 1)
