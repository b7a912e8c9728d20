"""Stochastic gradient Langevin dynamics, plain and preconditioned."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from causal_meta.conf.samplers import SGLDConfig
from causal_meta.draws import Draws
from causal_meta.llc.landscapes.landscape import Landscape, Rows
from causal_meta.llc.samplers.chains import Tell, run_chains
from causal_meta.llc.samplers.checkpoint import Arrays, Checkpoint
from causal_meta.llc.samplers.prepared import Start
from causal_meta.llc.samplers.segment import Info
from causal_meta.llc.samplers.stepping import Point, Stepping

STILL = 0.5  # part of the warm-up after which a preconditioner that is to stand still does
# part of the warm-up over which the logarithm of v is averaged until then: a snapshot of v is a
# matter of chance
MEMORY = 0.15


class State(NamedTuple):
    """Chains first: where they are, where the last gradient was taken, v, the running mean of log v
    (`level`), the derivative of v, the drift of Adam and the last noise ([C, 0] if not)."""

    away: Any
    seen: Point
    square: Any
    level: Any
    square_slope: Any
    drift: Any
    noise: Any


class Tuning(NamedTuple):
    """The step size, the largest that it may be, and for how many windows of the warm-up v has
    stood still."""

    step: Any
    most: Any
    still: Any


def draw(
    landscape: Landscape,
    config: SGLDConfig,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Tell | None = None,
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


class Langevin(Stepping[SGLDConfig]):
    """SGLD (Welling and Teh 2011): w += -(ε/2) (G (nβ g + γ (w - w*)) - Γ) + sqrt(ε G) η, with the
    diagonal preconditioner G.

    With averaged noise η is (η_t + η_{t+1}) / 2 (Leimkuhler and Matthews 2013, the limit of their
    BAOAB for large friction): on a quadratic the stationary law is then exact at every stable step,
    εh < 4.

    `rmsprop`: v = b2 v + (1 - b2) (nβ g)², v_0 = (nβ g_0)² of the chain's first gradient, and G = 1
    / (sqrt v + a r + sqrt γ), r the root mean square of sqrt v over the parameters and a = `floor`;
    sqrt γ, the gradient of the localisation at its own width, bounds G where the loss has none. The
    scale of G does not matter where the step is taken from the curvature of sqrt G H sqrt G. v
    comes from the gradient of the loss alone, while drift and noise are preconditioned whole.
    `adam` puts m = b1 m + (1 - b1) nβ g, m_0 = nβ g_0, in place of nβ g: a drift that lags by b1 /
    (1 - b1) steps, which adds to the bias.

    Where G stands still, from the middle of the warm-up on (log v is then a mean over the way of a
    chain, and the median over chains), the law is the stated one up to the step. Where it follows
    the chain, v follows g² at the present place in the limit of small steps, so that the diffusion
    is position dependent and its law is p(w) / G(w) but for Γ_i = dG_i/dw_i, the divergence term
    (Girolami and Calderhead 2011, section 5). dv_i/dw_i = 2 (nβ)² g_i H_ii is remembered as v is,
    with H_ii estimated by one random direction (Hutchinson 1989), which costs two gradients. Li et
    al. (2016, equation 8) have the factor 1 - b2 on it and then leave it out: with that factor the
    term vanishes as b2 goes to 1, but the error that it should cancel does not.
    """

    def tuning(self, start: Start, data: Rows) -> Tuning:
        """The step for the curvature at the start, unpreconditioned until `begin` is known."""
        dtype = self.prepared.centre.dtype
        return Tuning(
            jnp.asarray(self.step_of(start.curvature), dtype),
            jnp.asarray(jnp.inf, dtype),
            jnp.zeros((), dtype),
        )

    def begin(self, key: Any, start: Start, tuning: Tuning, data: Rows) -> State:
        """The first gradient fills v and Adam's drift."""
        away = start.positions - self.prepared.centre
        excess, gradient = self.look(key, away, data)
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

    def metric(self, state: State, tuning: Tuning) -> Any:
        """G [C, P]."""
        if self.config.precond == "none":
            return jnp.ones_like(state.away)
        return 1 / (jnp.sqrt(state.square) + self._floor(state))

    @property
    def _stops(self) -> bool:
        return self.config.precond != "none" and self.config.precond_until == "warmup"

    @staticmethod
    def _log(square: Any) -> Any:
        return jnp.log(jnp.maximum(square, jnp.finfo(square.dtype).tiny))

    def _floor(self, state: State) -> Any:
        level = self.config.floor * jnp.sqrt(jnp.mean(state.square, axis=1, keepdims=True))
        return level + self.prepared.posterior.gamma**0.5 + jnp.finfo(state.away.dtype).tiny

    def step(
        self, key: Any, state: State, tuning: Tuning, data: Rows, adapting: Any
    ) -> tuple[State, Tuning, Info]:
        """One step of every chain."""
        excess, gradient = self.look(key, state.away, data)
        point = Point(state.away, excess, gradient)
        tempered, work = self.prepared.posterior.n_beta * gradient, self.work
        state, work = self._followed(key, state._replace(seen=point), tempered, tuning, data)
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
            noise, state = (state.noise + noise) / 2, state._replace(noise=noise)
        away = state.away - 0.5 * tuning.step * drift + jnp.sqrt(tuning.step * metric) * noise
        nothing = jnp.zeros_like(excess)
        return state._replace(away=away), tuning, Info(nothing, nothing, nothing, work)

    def _followed(
        self, key: Any, state: State, tempered: Any, tuning: Tuning, data: Rows
    ) -> tuple[State, Any]:
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
        sign = jnp.where(self.noise(jax.random.fold_in(key, 5), state.away) < 0, -1.0, 1.0).astype(
            state.away.dtype
        )

        def product(key: Any, away: Any, sign: Any) -> Any:
            return jax.jvp(
                jax.grad(self.step_loss(key, data)), (self.prepared.centre + away,), (sign,)
            )[1]

        diagonal = (
            self.prepared.posterior.n_beta
            * sign
            * jax.vmap(product)(self.keys(key, len(sign)), state.away, sign)
        )
        slope = b2 * state.square_slope + (1 - b2) * 2 * tempered * diagonal
        return state._replace(square=square, square_slope=slope), self.work * 3

    def _divergence(self, state: State, metric: Any) -> Any:
        """Γ_i = -G_i² (d sqrt(v_i)/dw_i + a dr/dw_i)."""
        tiny = jnp.finfo(state.away.dtype).tiny
        level = jnp.sqrt(jnp.mean(state.square, axis=1, keepdims=True)) + tiny
        own = state.square_slope / (2 * (jnp.sqrt(state.square) + tiny))
        return -(metric**2) * (
            own + self.config.floor * state.square_slope / (2 * level * self.size)
        )

    def fresh(self, state: State) -> State:
        """With v and its slope of the chains that are numbers, or 1."""
        fine = np.isfinite(self.pulse(state)) & np.isfinite(state.square).all(1)
        square = np.median(state.square[fine], 0) if fine.any() else np.ones_like(state.square[0])
        fresh = super().fresh(state)._replace(square=np.broadcast_to(square, state.square.shape))
        return fresh._replace(level=np.asarray(self._log(fresh.square))) if self._stops else fresh

    def retune(
        self, state: State, tuning: Tuning, windows: list[Arrays], part: float
    ) -> tuple[State, Tuning]:
        """The step for the curvatures met; in the middle of the warm-up v becomes the geometric
        mean of its way, and stands still if it is to.

        So the last windows measure the curvature in the coordinates of the draws.
        """
        # curvatures are measured in coordinates that moved until v stood still
        if self.config.precond != "none":
            windows = windows[-max(int(tuning.still), 1) :]
        state, tuning = super().retune(state, tuning, windows, part)
        if not self._stops or part < STILL:
            return state, tuning
        if not tuning.still:
            fine = np.isfinite(state.level).all(1)
            # a chain on its way out would rule a mean
            shared = np.exp(np.median(state.level[fine], 0) if fine.any() else state.level[0])
            state = state._replace(
                square=np.broadcast_to(shared, state.square.shape).astype(state.square.dtype)
            )
        return state, tuning._replace(still=tuning.still + 1)
