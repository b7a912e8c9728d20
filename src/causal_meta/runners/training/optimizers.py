"""Optimisers of the training loop, each taking its configuration, and the learning rate at a
step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from causal_meta.conf.training import AdamWConfig, LambConfig, TrainerConfig


class WholeUpdate(torch.optim.Optimizer, ABC):
    """Base of optimisers that update all parameters of a group in one call."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [w for w in group["params"] if w.grad is not None]
            if weights:
                self._update(weights, float(group["lr"]))
        return loss

    @abstractmethod
    def _update(self, weights: list[Tensor], rate: float) -> None:
        """Move `weights`, which all have gradients, by one step of this rate."""


class Lamb(WholeUpdate):
    """LAMB: Adam's direction with decoupled weight decay, scaled tensor by tensor to the norm of
    the weights.

    At step t, for every tensor w with gradient g (all operations elementwise but the norms):
    m = β1 m + (1-β1) g,  v = β2 v + (1-β2) g²,  u = [m / (1-β1^t)] / ([v / (1-β2^t)]^½ + ε) +
    weight_decay w, w = w - rate φ u  with  φ = ‖w‖ / ‖u‖, and φ = 1 where either norm is zero.

    Source: You et al. 2020, "Large batch optimization for deep learning", algorithm 2. This one
    takes the norm itself for the paper's φ(‖w‖) and the trust ratio 1 at a zero norm, as optax does
    (AVICI's reference training): a bias that starts at zero can leave it. Sparse gradients are not
    supported.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> optimizer = Lamb(LambConfig(learning_rate=0.1), [w])
    >>> w.grad = torch.tensor([1.0, -1.0])
    >>> _ = optimizer.step()   # the direction is (1, -1) of norm √2, scaled to the norm 5 of w
    >>> w.detach().round(decimals=3).tolist()
    [2.6459999084472656, 4.354000091552734]
    """

    def __init__(self, config: LambConfig, parameters: Iterable[Tensor]) -> None:
        self.config = config
        self._directions: dict[Tensor, Tensor] = {}
        super().__init__(parameters, {"lr": config.learning_rate, "fused": True})

    def _update(self, weights: list[Tensor], rate: float) -> None:
        direction = self._adam(weights)
        if self.config.weight_decay:
            torch._foreach_add_(direction, weights, alpha=self.config.weight_decay)
        weight_norm = torch.stack(torch._foreach_norm(weights))
        update_norm = torch.stack(torch._foreach_norm(direction))
        one = torch.ones_like(weight_norm)
        trust = torch.where(
            (weight_norm > 0) & (update_norm > 0),
            weight_norm / update_norm.where(update_norm > 0, one),
            one,
        )
        torch._foreach_mul_(direction, list((-rate * trust).unbind()))
        torch._foreach_add_(weights, direction)

    def _adam(self, weights: list[Tensor]) -> list[Tensor]:
        """Adam's direction for each tensor: torch's kernel, one pass over memory, moves zeros by a
        rate of -1. The tensors are kept: allocating them anew costs more than all the
        arithmetic."""
        for w in weights:
            if w not in self._directions:
                self._directions[w] = torch.zeros_like(w)
            if not self.state[w]:
                self.state[w] = {
                    "step": w.new_zeros(()),
                    "exp_avg": torch.zeros_like(w),
                    "exp_avg_sq": torch.zeros_like(w),
                }
        states = [self.state[w] for w in weights]
        direction = [self._directions[w] for w in weights]
        gradients = [w.grad for w in weights if w.grad is not None]
        first, second, counts = (
            [s[name] for s in states] for name in ("exp_avg", "exp_avg_sq", "step")
        )
        torch._foreach_zero_(direction)
        torch._foreach_add_(counts, 1.0)
        c = self.config
        torch._fused_adam_(
            direction,
            gradients,
            first,
            second,
            [],
            counts,
            lr=-1.0,
            beta1=c.beta1,
            beta2=c.beta2,
            weight_decay=0.0,
            eps=c.epsilon,
            amsgrad=False,
            maximize=False,
        )
        return direction


class AdamW(torch.optim.AdamW):
    """AdamW (Loshchilov & Hutter 2019): torch's own, fused into one pass over memory, taking our
    configuration."""

    def __init__(self, config: AdamWConfig, parameters: Iterable[Tensor]) -> None:
        super().__init__(
            parameters,
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            eps=config.epsilon,
            weight_decay=config.weight_decay,
            fused=True,
        )


def rate(trainer: TrainerConfig, step: int) -> float:
    """The learning rate of step `step` (0-based): a linear warm-up, then constant or half a cosine
    down to `final_rate`.

    With W warm-up steps, M = max_steps and r the configured rate: r (step+1)/W for step < W; after
    it r, or r [f + (1-f) (1 + cos(π (step-W) / (M-1-W))) / 2], so that the last step has the rate f
    r.

    >>> from causal_meta.conf.training import AdamWConfig
    >>> trainer = TrainerConfig(max_steps=11, warmup_steps=2, schedule="cosine", final_rate=0.1,
    ... optimizer=AdamWConfig(learning_rate=1.0))
    >>> [round(rate(trainer, step), 3) for step in (0, 1, 2, 6, 10)]
    [0.5, 1.0, 1.0, 0.55, 0.1]
    """
    full = trainer.optimizer.learning_rate
    if step < trainer.warmup_steps:
        return full * (step + 1) / trainer.warmup_steps
    if trainer.schedule == "constant":
        return full
    last = trainer.max_steps - 1 - trainer.warmup_steps
    share = min(1.0, (step - trainer.warmup_steps) / last) if last > 0 else 0.0
    return full * (
        trainer.final_rate + (1 - trainer.final_rate) * 0.5 * (1 + math.cos(math.pi * share))
    )
