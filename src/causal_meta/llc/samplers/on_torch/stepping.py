"""What torch samplers without a Metropolis correction share: gradients of minibatches, and the step
that the largest curvature allows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from causal_meta.conf.samplers import StepConfig
from causal_meta.llc.samplers.on_torch.posterior import TorchPosterior
from causal_meta.llc.samplers.on_torch.record import Observation
from causal_meta.llc.samplers.on_torch.streams import Streams

MEASUREMENTS = 8  # of the largest curvature in the warm-up
_PRODUCTS, _FIRST_PRODUCTS = 2, 6  # of the power iteration, at each of them
C = TypeVar("C", bound=StepConfig)


@dataclass
class StepState:
    """The state of a stochastic gradient sampler, chains first: loss and gradient are those over
    all rows, where they are computed.

    `power` is the vector of the power iteration, `curvatures` [MEASUREMENTS] the measured ones (0:
    not yet), `memory`, `second` and `slope` belong to the sampler: v, m and dv/dw of a
    preconditioner, or momenta and friction; `noise` holds the last numbers of averaged noise.
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
    """Base of the samplers without a Metropolis correction: gradients over a minibatch or all rows,
    and a step ε set by the largest curvature.

    The curvature h is that of the exponent U in the sampler's coordinates, measured by power
    iterations at `MEASUREMENTS` times in the warm-up, the largest of all chains; in the warm-up the
    last four of them set the step, afterwards the largest of its second half.
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
        self.warmup = config.warmup
        loss, gradient = posterior.landscape.value_and_gradient(start)
        self.gradients = torch.ones(len(start), dtype=torch.float64)
        none = torch.zeros_like(start)
        self.state = StepState(
            w=start,
            loss=loss,
            gradient=gradient,
            alive=torch.ones_like(loss, dtype=torch.bool),
            power=streams.normals("power", start.shape[1]).clone(),
            curvatures=loss.new_zeros(MEASUREMENTS),
            memory=none,
            second=none.clone(),
            slope=none.clone(),
            noise=none.clone(),
            step=0.0,
            curvature=curvature,
            kept=0,
            corrected=torch.zeros_like(loss),
            compared=0,
        )
        self.full = config.batch_size == 0

    def transition(self, number: int, warming: bool) -> None:
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
        """Set the fields of the state that belong to the sampler at the start of the chains."""

    @abstractmethod
    def _move(self, number: int, warming: bool) -> None:
        """Move the chains."""

    def _product(self, direction: Tensor) -> Tensor:
        """The curvature of U in the sampler's coordinates times directions [C, P]."""
        return self.posterior.curvature(self.state.w, direction)

    def _size(self, fraction: float, curvature: float) -> float:
        """The step for `step_fraction` at a curvature."""
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
        sizes = state.loss
        for _ in range(products):
            unit = state.power / state.power.norm(dim=1, keepdim=True)
            state.power = self._product(unit)
            sizes = state.power.norm(dim=1)
        self.gradients += 2 * products
        finite = torch.isfinite(sizes)
        state.power = torch.where(finite[:, None], state.power, unit)
        if bool(finite.any()):
            state.curvatures[place] = sizes[finite].max()
            self._set_step(float(state.curvatures[max(0, place - 3) : place + 1].max()))

    def end_warmup(self) -> None:
        """Set the step for the largest curvature of the second half of the warm-up."""
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

    def observe(self) -> Observation:
        """The chains with loss and gradient over all rows; a chain that is no longer finite stays
        marked as such."""
        state = self.state
        if not self.full:
            state.loss, state.gradient = self.posterior.landscape.value_and_gradient(state.w)
            self.gradients += 1
        state.alive = state.alive & torch.isfinite(state.loss) & torch.isfinite(state.w).all(1)
        if state.kept % self.config.check_every == 0:
            self._compare()
        state.kept += 1
        return Observation(state.w, state.loss, state.gradient, state.alive)

    def _metric(self) -> Tensor:
        """The diagonal G of a Langevin step of size `_langevin_step`, [C, P]."""
        return torch.ones_like(self.state.w)

    def _langevin_step(self) -> float:
        return self.state.step

    def _compare(self) -> None:
        """Add the acceptance probability of one Metropolis-adjusted step (MALA) over all rows at
        this draw."""
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
        """The step size, the largest curvature in the sampler's coordinates, and the order in ε of
        the bias."""
        return {
            "step_size": self.state.step,
            "curvature": self.state.curvature,
            "step_order": self.config.step_order,
        }

    def statistics(self) -> dict[str, Any]:
        """`corrected_acceptance` [C]: the mean acceptance of Metropolis-adjusted steps."""
        mean = self.state.corrected / max(1, self.state.compared)
        return {"corrected_acceptance": mean.tolist()}
