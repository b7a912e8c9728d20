"""The stochastic gradient Nosé-Hoover thermostat in torch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from causal_meta.conf.samplers import SGNHTConfig
from causal_meta.llc.samplers.on_torch.stepping import Stepping


class Thermostat(Stepping[SGNHTConfig]):
    """SGNHT (Ding et al. 2014): dw = p dt, dp = -(grad U + ξ p) dt + sqrt(2A) dB, dξ = (|p|²/P - 1)
    dt; the friction ξ adapts to the noise of minibatches and removes its heat.

    One step of size h in the symmetric order B A D O D A B of Leimkuhler and Shang (2016), in
    which O solves friction and noise exactly and the last B of a step shares its gradient with the
    first of the next: of second order in h, where Ding's own step is of first. The step is
    sqrt(`step_fraction` / h_max) and A is `friction` times sqrt γ (or 1 where γ is 0). `memory`
    holds p, `second` [C, 1] holds ξ.
    """

    def _begin(self) -> None:
        self.state.memory = self.streams.normals("momentum", self.state.w.shape[1]).clone()
        self.state.second = torch.full_like(self.state.w[:, :1], self._rest())

    def _rest(self) -> float:
        return self.config.friction * (math.sqrt(self.posterior.gamma) or 1.0)

    def _size(self, fraction: float, curvature: float) -> float:
        return math.sqrt(fraction / curvature)

    def _langevin_step(self) -> float:
        return self.state.step**2

    def _slope(self) -> Tensor:
        away = self.state.w - self.posterior.landscape.centre
        return self._noisy_gradient() + self.posterior.gamma * away

    def _move(self, number: int, warming: bool) -> None:
        state, h = self.state, self.state.step
        # the last B of the step before and the first of this one
        state.memory = state.memory - h * self._slope()
        state.w = state.w + 0.5 * h * state.memory
        state.second = state.second + 0.5 * h * (state.memory.square().mean(1, keepdim=True) - 1)
        friction = torch.where(
            state.second.abs() < 1e-8, torch.full_like(state.second, 1e-8), state.second
        )
        noise = (-self._rest() * torch.expm1(-2 * h * friction) / friction).sqrt()
        state.memory = torch.exp(-h * friction) * state.memory + noise * self.streams.normals(
            "noise", state.w.shape[1]
        )
        state.second = state.second + 0.5 * h * (state.memory.square().mean(1, keepdim=True) - 1)
        state.w = state.w + 0.5 * h * state.memory

    def adapted(self) -> dict[str, Any]:
        """The time step, its square as the Langevin step that it corresponds to, the curvature, and
        the present friction [C] beside that at rest."""
        state = self.state
        return {
            "time_step": state.step,
            "step_size": self._langevin_step(),
            "curvature": state.curvature,
            "step_order": self.config.step_order,
            "friction": state.second[:, 0].tolist(),
            "friction_at_rest": self._rest(),
        }
