"""Hamiltonian Monte Carlo and the Metropolis-adjusted Langevin algorithm in torch: trajectories
that are accepted or refused, and so have no bias."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from causal_meta.conf.samplers import HMCConfig, MALAConfig
from causal_meta.llc.samplers.on_torch.metric import Metric, Window, learned
from causal_meta.llc.samplers.on_torch.posterior import TorchPosterior
from causal_meta.llc.samplers.on_torch.record import Observation
from causal_meta.llc.samplers.on_torch.streams import Streams

DIVERGENT = 1000.0  # a larger energy error is a divergence
# a quarter period of a round Gaussian, after which draws are independent
_ROUND_TIME = math.pi / 2
_MOVING = 0.1  # least mean acceptance of a window from which a metric is learned
_GAIN, _SLOWEST, _DECAY = 0.05, 10.0, 0.75  # dual averaging (Hoffman and Gelman 2014, section 3.2)


@dataclass
class HamiltonianState:
    """All that a transition depends on, chains first; the numbers are those of dual averaging, the
    fields `window_…` those of the present window."""

    w: Tensor
    loss: Tensor
    gradient: Tensor
    energy: Tensor
    acceptance: Tensor
    divergent: Tensor
    scale: Tensor
    vectors: Tensor
    values: Tensor
    log_step: float
    log_step_mean: float
    log_step_centre: float
    error: float
    tried: float
    leapfrogs: float
    window_count: float
    window_mean: Tensor
    window_squares: Tensor
    window_some: Tensor
    window_accepted: float


class Hamiltonian:
    """HMC: new momenta, L leapfrogs of step ε in the whitened coordinates of the learned metric,
    accepted with probability min(1, exp(-ΔH)) (Duane et al. 1987).

    L is uniform between (1 - j) and (1 + j) times its mean, one for all chains (j =
    `length_jitter`), or 1 in MALA (Roberts and Tweedie 1996), whose Langevin step is ε². The
    warm-up tunes ε by dual averaging of the mean acceptance of all chains, and learns the metric
    from the draws of windows of growing length, as Stan does. With `leapfrogs` 0 the mean length is
    a quarter period of a round Gaussian, (π/2) / ε leapfrogs, at most `max_leapfrogs`. A trajectory
    whose energy is not finite is refused.
    """

    def __init__(
        self,
        posterior: TorchPosterior,
        config: HMCConfig | MALAConfig,
        streams: Streams,
        start: Tensor,
        curvature: float,
    ) -> None:
        self.posterior, self.config, self.streams = posterior, config, streams
        loss, gradient = posterior.landscape.value_and_gradient(start)
        self.gradients = torch.ones(len(start), dtype=torch.float64)
        step = (0.5 if config.kind == "hmc" else 1.0) / math.sqrt(curvature)
        zeros, like = torch.zeros_like(loss), start[0]
        empty, metric = Window.empty(like), Metric.identity(like)
        self.state = HamiltonianState(
            w=start,
            loss=loss,
            gradient=gradient,
            energy=zeros,
            acceptance=zeros,
            divergent=torch.zeros_like(zeros, dtype=torch.bool),
            scale=metric.scale,
            vectors=metric.vectors,
            values=metric.values,
            log_step=math.log(step),
            log_step_mean=math.log(step),
            log_step_centre=math.log(10 * step),
            error=0.0,
            tried=0.0,
            leapfrogs=1.0,
            window_count=empty.count,
            window_mean=empty.mean,
            window_squares=empty.squares,
            window_some=empty.some,
            window_accepted=0.0,
        )
        self._set_length()
        self._ends = windows(config.warmup)

    def transition(self, number: int, warming: bool) -> None:
        """One trajectory of every chain."""
        state, streams = self.state, self.streams
        metric = Metric(state.scale, state.vectors, state.values)
        size = math.exp(state.log_step if warming else state.log_step_mean)
        momentum = streams.normals("momentum", len(state.scale))
        before = self.posterior.exponent(state.loss, state.w) + 0.5 * momentum.square().sum(1)
        count = self._count(float(streams.uniforms("length")[0]))
        w, loss, gradient, momentum = self._trajectory(metric, momentum, size, count)
        after = self.posterior.exponent(loss, w) + 0.5 * momentum.square().sum(1)
        gap = torch.nan_to_num(after - before, nan=torch.inf)
        chance = torch.exp(-gap.clamp(min=0))
        accepted = streams.uniforms("accept") < chance
        state.w = torch.where(accepted[:, None], w, state.w)
        state.gradient = torch.where(accepted[:, None], gradient, state.gradient)
        state.loss = torch.where(accepted, loss, state.loss)
        state.energy, state.acceptance, state.divergent = (
            torch.where(accepted, after, before),
            chance,
            gap > DIVERGENT,
        )
        self.gradients += count
        if warming:
            self._learn(number, float(chance.mean()))

    def _trajectory(
        self, metric: Metric, momentum: Tensor, size: float, count: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        w, loss, gradient = self.state.w, self.state.loss, self.state.gradient
        momentum = momentum - 0.5 * size * metric.inward(self.posterior.slope(gradient, w))
        for leapfrog in range(count):
            w = w + size * metric.outward(momentum)
            loss, gradient = self.posterior.landscape.value_and_gradient(w)
            last = 0.5 if leapfrog + 1 == count else 1.0
            momentum = momentum - last * size * metric.inward(self.posterior.slope(gradient, w))
        return w, loss, gradient, momentum

    def _count(self, uniform: float) -> int:
        """The number of leapfrogs, from a uniform number that all chains share."""
        if isinstance(self.config, MALAConfig):
            return 1
        jitter = self.config.length_jitter
        return max(1, round(self.state.leapfrogs * (1 + jitter * (2 * uniform - 1))))

    def _set_length(self) -> None:
        if isinstance(self.config, HMCConfig):
            chosen = min(
                self.config.max_leapfrogs,
                max(1, round(_ROUND_TIME / math.exp(self.state.log_step))),
            )
            self.state.leapfrogs = float(self.config.leapfrogs or chosen)

    def _learn(self, number: int, acceptance: float) -> None:
        """Dual averaging, and at the end of a window its metric."""
        state, target = self.state, self.config.target_acceptance
        state.tried += 1
        weight = 1 / (state.tried + _SLOWEST)
        state.error = (1 - weight) * state.error + weight * (target - acceptance)
        state.log_step = state.log_step_centre - math.sqrt(state.tried) / _GAIN * state.error
        forget = state.tried**-_DECAY
        state.log_step_mean = forget * state.log_step + (1 - forget) * state.log_step_mean
        if self._ends[0] <= number < self._ends[-1]:
            window = Window(
                state.window_count, state.window_mean, state.window_squares, state.window_some
            )
            window.add(state.w, self.config.mass == "low_rank")
            state.window_accepted += acceptance * len(state.w)
            if number + 1 in self._ends[1:]:
                if state.window_accepted > _MOVING * window.count:
                    metric = Metric(state.scale, state.vectors, state.values)
                    self._set_metric(learned(metric, window, self.config.mass, self.config.rank))
                window, state.window_accepted = Window.empty(state.scale), 0.0
            state.window_count, state.window_mean, state.window_squares, state.window_some = (
                window.count,
                window.mean,
                window.squares,
                window.some,
            )
        self._set_length()

    def _set_metric(self, metric: Metric) -> None:
        """Continue with another metric, and with a first step that fits whitened coordinates."""
        state = self.state
        state.scale, state.vectors, state.values = metric.scale, metric.vectors, metric.values
        if self.config.mass != "identity":
            state.log_step = state.log_step_mean = math.log(0.5)
            state.log_step_centre, state.error, state.tried = math.log(5.0), 0.0, 0.0

    def end_warmup(self) -> None:
        """Set the averaged step and the length that follows from it."""
        self.state = replace(self.state, log_step=self.state.log_step_mean)
        self._set_length()

    def observe(self) -> Observation:
        """The chains; refused trajectories keep them finite."""
        s = self.state
        return Observation(
            s.w,
            s.loss,
            s.gradient,
            torch.ones_like(s.divergent),
            s.energy,
            s.acceptance,
            s.divergent,
        )

    def adapted(self) -> dict[str, Any]:
        """Step size (for MALA the Langevin step, ε²), leapfrogs, and the range of the metric's
        scales."""
        step = math.exp(self.state.log_step_mean)
        scale = self.state.scale
        return {
            "step_size": step if self.config.kind == "hmc" else step**2,
            "leapfrogs": self.state.leapfrogs if self.config.kind == "hmc" else 1.0,
            "metric_scale": [float(scale.min()), float(scale.max())],
            "metric_directions": len(self.state.values),
        }

    def statistics(self) -> dict[str, Any]:
        """None."""
        return {}


def windows(warmup: int) -> list[int]:
    """The boundaries of the windows of a warm-up: they begin after 15 % of the transitions, double
    in length, and end before the last 10 %, which tune the step alone.

    >>> windows(1000)
    [150, 200, 300, 500, 900]
    """
    begin, end = round(0.15 * warmup), round(0.9 * warmup)
    length, ends = max(5, round(0.05 * warmup)), [begin]
    while ends[-1] + 3 * length < end:
        ends.append(ends[-1] + length)
        length *= 2
    return [*ends, end]
