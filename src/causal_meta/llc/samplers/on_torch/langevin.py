"""Stochastic gradient Langevin dynamics in torch, plain and preconditioned."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from causal_meta.conf.samplers import SGLDConfig
from causal_meta.llc.samplers.on_torch.stepping import Stepping

# part of the warm-up after which a preconditioner of precond_until=warmup is constant: the last
# curvatures are those in the coordinates of the draws
FIXED = 0.75


class Langevin(Stepping[SGLDConfig]):
    """SGLD (Welling and Teh 2011): w += -(ε/2) (G (γ (w - w*) + nβ g) - Γ) + sqrt(ε G) η, G the
    preconditioner of the configuration.

    With averaged noise η is (η_t + η_{t+1}) / 2 (Leimkuhler and Matthews 2013), as
    `llc/samplers/langevin.py` has it.

    `rmsprop`: v = b2 v + (1 - b2) (nβ g)², beginning at the first (nβ g)², averaged over all
    chains where G is constant after the warm-up, and G = 1 / (sqrt v + a r + sqrt γ), r the root
    mean square of sqrt v over the parameters and a = `floor`: the scale of G does not matter, as
    the step is set by the curvature of sqrt G H sqrt G (Li et al. 2016 have a constant floor).
    `adam` has m = b1 m + (1 - b1) nβ g in place of nβ g: its delay widens a direction of curvature
    h by about 1 + (εh/2) b1 / (1 - b1), far more than the step itself, so it needs ten times
    smaller ones. With `divergence_correction` Γ_i = dG_i/dw_i, where dv_i/dw_i = 2 (nβ)² g_i H_ii
    is averaged as v is: with small steps v tends to g² at the present point. The diagonal of the
    Hessian is estimated by one random direction (Hutchinson 1989), two gradients more. Li et al.
    (2016, equation 8) have the factor 1 - b2 on it: then the term vanishes as b2 tends to 1, but
    the error that it should cancel does not."""

    def _begin(self) -> None:
        tempered = self._noisy_gradient()
        self.state.memory, self.state.second = self._squares(tempered), tempered
        self.state.noise = self.streams.normals("noise", tempered.shape[1]).clone()

    def _squares(self, tempered: Tensor) -> Tensor:
        """(nβ g)² of each chain, or its mean over all finite ones where G is constant after the
        warm-up, so that all chains have one G."""
        squares = tempered.square()
        finite = torch.isfinite(squares).all(1)
        if self.config.precond_until == "always" or not bool(finite.any()):
            return squares
        return squares[finite].mean(0).expand_as(squares)

    def _metric(self) -> Tensor:
        if self.config.precond == "none":
            return torch.ones_like(self.state.w)
        level = self.config.floor * self.state.memory.mean(1, keepdim=True).sqrt() + math.sqrt(
            self.posterior.gamma
        )
        return 1 / (self.state.memory.sqrt() + level)

    def _product(self, direction: Tensor) -> Tensor:
        root = self._metric().sqrt()
        return root * self.posterior.curvature(self.state.w, root * direction)

    def _move(self, number: int, warming: bool) -> None:
        state, config = self.state, self.config
        tempered = self._noisy_gradient()
        shaping = config.precond_until == "always" or (warming and number < FIXED * self.warmup)
        follows = config.precond != "none" and shaping
        if follows and number > 0:
            state.memory = config.b2 * state.memory + (1 - config.b2) * self._squares(tempered)
        if follows and config.divergence_correction:
            state.slope = config.b2 * state.slope + (1 - config.b2) * self._slope_of_squares(
                tempered
            )
        drift = tempered
        if config.precond == "adam":
            drift = state.second = config.b1 * state.second + (1 - config.b1) * tempered
        drift = drift + self.posterior.gamma * (state.w - self.posterior.landscape.centre)
        noise = self._noise()
        if config.precond == "none":
            state.w = state.w - 0.5 * state.step * drift + math.sqrt(state.step) * noise
            return
        metric = self._metric()
        drift = metric * drift
        if follows and config.divergence_correction:
            drift = drift - self._divergence(metric)
        state.w = state.w - 0.5 * state.step * drift + (state.step * metric).sqrt() * noise

    def _noise(self) -> Tensor:
        """Standard normal numbers [C, P], or the means of neighbouring ones."""
        fresh = self.streams.normals("noise", self.state.w.shape[1])
        if not self.config.averages:
            return fresh
        before, self.state.noise = self.state.noise, fresh.clone()
        return (before + fresh) / 2

    def _slope_of_squares(self, tempered: Tensor) -> Tensor:
        """d(nβ g_i)²/dw_i = 2 nβ g_i nβ H_ii, the diagonal of the Hessian estimated by one
        random direction."""
        sign = self.streams.signs("signs", self.state.w.shape[1]).to(self.state.w)
        rows = None if self.full else self._rows
        self.gradients += 2.0 if rows is None else 2.0 * rows.shape[1] / self.posterior.landscape.n
        return (
            2
            * tempered
            * sign
            * self.posterior.n_beta
            * self.posterior.landscape.curvature(self.state.w, sign, rows)
        )

    def _divergence(self, metric: Tensor) -> Tensor:
        """Γ_i = -G_i² (dsqrt(v_i)/dw_i + a dr/dw_i)."""
        state = self.state
        level = state.memory.mean(1, keepdim=True).sqrt()
        first = state.slope / (2 * state.memory.sqrt().clamp(min=torch.finfo(level.dtype).tiny))
        return -metric.square() * (
            first + self.config.floor * state.slope / (2 * level * state.w.shape[1])
        )
