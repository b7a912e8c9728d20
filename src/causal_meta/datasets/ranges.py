"""Drawing the numbers that a configuration gives as a range."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.ranges import FloatRange


def float_at(config: FloatRange, u: Tensor) -> Tensor:
    """The values of `config` at the quantiles u in (0, 1), of u's shape.

    >>> float_at(FloatRange(low=1, high=100, law="log_uniform"), torch.tensor([0.5]))
    tensor([10.])
    """
    if config.is_fixed:
        return torch.full_like(u, config.low)
    if config.law == "uniform":
        return config.low + (config.high - config.low) * u
    if config.law == "log_uniform":
        return config.low * (config.high / config.low) ** u
    return torch.exp(config.log_mean + config.log_std * torch.special.ndtri(u)).clamp_(config.low, config.high)


def draw_floats(config: FloatRange, seeds: Sequence[int], names: tuple[str | int, ...], shape: tuple[int, ...]) -> Tensor:
    """Float32 [B, *shape]: independent numbers of the law `config`; row b depends on seeds[b] and names only."""
    if config.is_fixed:
        return torch.full((len(seeds), *shape), config.low)
    return float_at(config, randomness.uniforms(seeds, names, shape))
