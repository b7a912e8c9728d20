"""Stochastic gradient samplers in torch: Langevin dynamics, plain and preconditioned, and the
Nosé-Hoover thermostat. Nothing corrects their step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from causal_meta.conf.samplers import SGLDConfig, SGNHTConfig, StepConfig
from causal_meta.llc.samplers.torch_chains import Step, Streams, TorchPosterior

# part of the warm-up after which a preconditioner that is to stand still does: its last curvatures
# are those of the draws
STILL = 0.75
MEASUREMENTS = 8  # of the largest curvature along the warm-up
_PRODUCTS, _FIRST_PRODUCTS = 2, 6  # of the power iteration, at each of them
C = TypeVar("C", bound=StepConfig)


@dataclass
class StepState:
    """What every stochastic gradient sampler carries, chains first: the loss and gradient are those
    over all rows, where they are known.

    `power` is the vector of the power iteration, `curvatures` [MEASUREMENTS] what was measured so
    far (0: not yet), `memory`, `second` and `slope` the sampler's own: v, m and dv/dw of a
    preconditioner, or momenta and friction; `noise` the last numbers of a step with averaged noise.
    """

    w: Tensor
    loss: Tensor
    gradient: Tensor
    alive: Tensor
    power: Tensor
    curvatures: Tensor
    memory: Tensor
    second: Tensor
    slope: Tensor
    noise: Tensor
    step: float
    curvature: float
    kept: int
    corrected: Tensor
    compared: int


class Stepping(ABC, Generic[C]):
    """Base of the samplers whose step ε nothing corrects: gradients over a minibatch or all rows,
    and the choice of ε by the largest curvature.

    The curvature h is that of the exponent U in the sampler's coordinates, by power iterations at
    `MEASUREMENTS` places along the warm-up, the largest of all chains; the step in the warm-up
    follows the last four of them, and the largest of its second half sets the step for good.
    """

    def __init__(
        self,
        posterior: TorchPosterior,
        config: C,
        streams: Streams,
        start: Tensor,
        curvature: float,
    ) -> None:
        self.posterior, self.config, self.streams = posterior, config, streams
        self.warmup = int(getattr(config, "warmup", 0))
        loss, gradient = posterior.landscape.value_and_gradient(start)
        self.gradients = torch.ones(len(start), dtype=torch.float64)
        none = torch.zeros_like(start)
        self.state = StepState(
            start, loss, gradient, torch.ones_like(loss, dtype=torch.bool), streams.normals(
                "power", start.shape[1]).clone(),
            loss.new_zeros(MEASUREMENTS), none, none.clone(), none.clone(), none.clone(), 0.0,
                curvature, 0, torch.zeros_like(loss), 0,
        )  # fmt: skip
        self.full = config.batch_size == 0

    def step(self, number: int, warming: bool) -> None:
        """One step of every chain."""
        if number == 0:
            self._begin()
            self._set_step(self.state.curvature)
        every = max(1, self.warmup // MEASUREMENTS)
        if warming and number % every == 0 and number // every < MEASUREMENTS:
            self._measure(number // every)
        self._move(number, warming)
        if self.full:
            self.state.loss, self.state.gradient = self.posterior.landscape.value_and_gradient(
                self.state.w
            )
            self.gradients += 1

    @abstractmethod
    def _begin(self) -> None:
        """Prepare the sampler's own state at the start of the chains."""

    @abstractmethod
    def _move(self, number: int, warming: bool) -> None:
        """Move the chains."""

    def _product(self, direction: Tensor) -> Tensor:
        """The curvature of U in the sampler's coordinates times directions [C, P]."""
        return self.posterior.curvature(self.state.w, direction)

    def _size(self, fraction: float, curvature: float) -> float:
        """The step that `step_fraction` means."""
        return fraction / curvature

    def _set_step(self, curvature: float) -> None:
        self.state.curvature = curvature
        fixed = self.config.step_rule == "fixed"
        self.state.step = (
            self.config.step_size if fixed else self._size(self.config.fraction, curvature)
        )

    def _measure(self, place: int) -> None:
        state = self.state
        products = _PRODUCTS if place else _FIRST_PRODUCTS
        found = state.loss
        for _ in range(products):
            unit = state.power / state.power.norm(dim=1, keepdim=True)
            state.power = self._product(unit)
            found = state.power.norm(dim=1)
        self.gradients += 2 * products
        sound = torch.isfinite(found)
        state.power = torch.where(sound[:, None], state.power, unit)
        if bool(sound.any()):
            state.curvatures[place] = found[sound].max()
            self._set_step(float(state.curvatures[max(0, place - 3) : place + 1].max()))

    def end_warmup(self) -> None:
        """Take the step that the largest curvature of the second half of the warm-up allows."""
        late = float(self.state.curvatures[MEASUREMENTS // 2 :].max())
        self._set_step(late or self.state.curvature)

    def _noisy_gradient(self) -> Tensor:
        """nβ times the gradient of L_n over a minibatch, drawn with replacement for each chain, or
        over all rows."""
        if self.full:
            return self.posterior.n_beta * self.state.gradient
        n, size = self.posterior.landscape.n, self.config.batch_size
        self._rows = self.streams.indices("rows", n, size).to(self.state.w.device)
        _, gradient = self.posterior.landscape.value_and_gradient(self.state.w, self._rows)
        self.gradients += size / n
        return self.posterior.n_beta * gradient

    def told(self) -> Step:
        """Where the chains are, with loss and gradient over all rows; a chain that has left the
        numbers is dead from then on."""
        state = self.state
        if not self.full:
            state.loss, state.gradient = self.posterior.landscape.value_and_gradient(state.w)
            self.gradients += 1
        state.alive = state.alive & torch.isfinite(state.loss) & torch.isfinite(state.w).all(1)
        if state.kept % self.config.check_every == 0:
            self._compare()
        state.kept += 1
        return Step(state.w, state.loss, state.gradient, state.alive)

    def _metric(self) -> Tensor:
        """The diagonal G of a Langevin step of size `_langevin_step`, [C, P]."""
        return torch.ones_like(self.state.w)

    def _langevin_step(self) -> float:
        return self.state.step

    def _compare(self) -> None:
        """The acceptance that one step on all rows would have if it were corrected (MALA), at the
        draw of now."""
        state, posterior = self.state, self.posterior
        metric, step = self._metric(), self._langevin_step()
        noise = self.streams.normals("compare", state.w.shape[1])
        slope = posterior.slope(state.gradient, state.w)
        w = state.w - 0.5 * step * metric * slope + (step * metric).sqrt() * noise
        loss, gradient = posterior.landscape.value_and_gradient(w)
        self.gradients += 1
        back = state.w - w + 0.5 * step * metric * posterior.slope(gradient, w)
        gap = posterior.exponent(loss, w) - posterior.exponent(state.loss, state.w)
        gap = gap + 0.5 * (back.square() / (step * metric)).sum(1) - 0.5 * noise.square().sum(1)
        state.corrected = state.corrected + torch.exp(
            -torch.nan_to_num(gap, nan=torch.inf).clamp(min=0)
        )
        state.compared += 1

    def adapted(self) -> dict[str, Any]:
        """The step size, the largest curvature in the sampler's coordinates, and the power of ε
        that the bias goes as."""
        return {
            "step_size": self.state.step,
            "curvature": self.state.curvature,
            "step_order": self.config.step_order,
        }

    def statistics(self) -> dict[str, Any]:
        """`corrected_acceptance` [C]: the mean acceptance that corrected steps would have had."""
        return {
            "corrected_acceptance": (self.state.corrected / max(1, self.state.compared)).tolist()
        }


class Langevin(Stepping[SGLDConfig]):
    """SGLD (Welling and Teh 2011): w += -(ε/2) (G (γ (w - w*) + nβ g) - Γ) + sqrt(ε G) η, G the
    preconditioner of the configuration.

    With averaged noise η is (η_t + η_{t+1}) / 2 (Leimkuhler and Matthews 2013), as
    `llc/samplers/langevin.py` has it.

    `rmsprop`: v = b2 v + (1 - b2) (nβ g)², beginning at the first (nβ g)², means over all chains
    where the warm-up alone shapes G, and G = 1 / (sqrt v + a r + sqrt γ), r the root mean square of
    sqrt v over the parameters and a = `floor`: the scale of G does not matter, as the step is taken
    from the curvature of sqrt G H sqrt G (Li et al. 2016 have a constant floor). `adam` puts m = b1
    m + (1 - b1) nβ g in place of nβ g: its delay widens a direction of curvature h by about 1 +
    (εh/2) b1 / (1 - b1), far more than the step itself, so it needs ten times smaller ones. With
    `divergence_correction` Γ_i = dG_i/dw_i, where dv_i/dw_i = 2 (nβ)² g_i H_ii is remembered as v
    is: small steps let v follow g² at the present place. The diagonal of the Hessian is estimated
    by one random direction (Hutchinson 1989), two gradients more. Li et al. (2016, equation 8) have
    the factor 1 - b2 on it: then the term vanishes as b2 goes to 1, but the error that it should
    cancel does not.
    """

    def _begin(self) -> None:
        tempered = self._noisy_gradient()
        self.state.memory, self.state.second = self._squares(tempered), tempered
        self.state.noise = self.streams.normals("noise", tempered.shape[1]).clone()

    def _squares(self, tempered: Tensor) -> Tensor:
        """(nβ g)² of each chain, or its mean over all sound ones where the warm-up alone shapes G,
        so that all chains have one G."""
        squares = tempered.square()
        sound = torch.isfinite(squares).all(1)
        if self.config.precond_until == "always" or not bool(sound.any()):
            return squares
        return squares[sound].mean(0).expand_as(squares)

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
        shaping = config.precond_until == "always" or (warming and number < STILL * self.warmup)
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
        """d(nβ g_i)²/dw_i = 2 nβ g_i nβ H_ii, the diagonal of the Hessian seen along one random
        direction."""
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
        own = state.slope / (2 * state.memory.sqrt().clamp(min=torch.finfo(level.dtype).tiny))
        return -metric.square() * (
            own + self.config.floor * state.slope / (2 * level * state.w.shape[1])
        )


class Thermostat(Stepping[SGNHTConfig]):
    """SGNHT (Ding et al. 2014): dw = p dt, dp = -(grad U + ξ p) dt + sqrt(2A) dB, dξ = (|p|²/P - 1)
    dt; ξ learns the heat of minibatches away.

    One step of size h in the symmetric order B A D O D A B of Leimkuhler and Shang (2016), in which
    O solves friction and noise exactly and the gradient of the last B serves the next first one: of
    second order in h, where Ding's own step is of first. The step is sqrt(`step_fraction` / h_max)
    and A is `friction` times sqrt γ (or 1 where γ is 0). `memory` holds p, `second` [C, 1] holds ξ.
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
        """The time step, its square as the Langevin step that it stands for, the curvature, and the
        friction found, [C], beside that at rest."""
        state, found = self.state, self.state.second[:, 0].tolist()
        square = self._langevin_step()
        told = {
            "time_step": state.step,
            "step_size": square,
            "curvature": state.curvature,
            "step_order": self.config.step_order,
        }
        return told | {"friction": found, "friction_at_rest": self._rest()}
