"""Drawing the numbers that a configuration gives as a range."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.ranges import FloatRange, IntRange


def float_at(config: FloatRange, u: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The values of `config` at the quantiles u in (0, 1).

    >>> float_at(FloatRange(low=1, high=100, law="log_uniform"), torch.tensor([0.5]))
    tensor([10.])
    """
    if config.is_fixed:
        return torch.full_like(u, config.low)
    if config.law == "uniform":
        return config.low + (config.high - config.low) * u
    if config.law == "log_uniform":
        return config.low * torch.exp(u * math.log(config.high / config.low))
    return torch.exp(config.log_mean + config.log_std * torch.special.ndtri(u)).clamp_(
        config.low, config.high
    )


def draw_floats(
    config: FloatRange, seeds: Sequence[int], names: tuple[str | int, ...], shape: tuple[int, ...]
) -> Tensor:
    """Float32 [B, *shape]: independent numbers of the law `config`; row b depends on seeds[b] and
    names only."""
    if config.is_fixed:
        return torch.full((len(seeds), *shape), config.low)
    return float_at(config, randomness.uniforms(seeds, names, shape))


def whole_at(config: IntRange, u: Float[Tensor, "*shape"]) -> Int64[Tensor, "*shape"]:
    """The whole numbers of `config` at the quantiles u in (0, 1), P(n) ∝
    n^power for low <= n <= high.

    >>> whole_at(IntRange(low=3, high=6), torch.tensor([0.1, 0.3, 0.6, 0.9]))
    tensor([3, 4, 5, 6])
    """
    if config.is_fixed:
        return torch.full(u.shape, config.low, dtype=torch.int64)
    values = torch.arange(config.low, config.high + 1, dtype=torch.float64)
    mass = (values / config.low).pow(config.power).cumsum(0)
    return config.low + torch.searchsorted(mass, u.to(torch.float64) * mass[-1], right=True).clamp_(
        max=len(values) - 1
    )


def draw_wholes(
    config: IntRange, seeds: Sequence[int], names: tuple[str | int, ...], shape: tuple[int, ...]
) -> Tensor:
    """Int64 [B, *shape]: independent whole numbers of the law `config`; row b depends on seeds[b]
    and names only."""
    if config.is_fixed:
        return torch.full((len(seeds), *shape), config.low, dtype=torch.int64)
    return whole_at(config, randomness.uniforms(seeds, names, shape))
