"""Drawing the parts of a named mixture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from causal_meta import randomness


def draw_parts(
    seeds: Sequence[int],
    names: tuple[str | int, ...],
    weights: Sequence[float],
    shape: tuple[int, ...],
) -> Tensor:
    """Int64 [B, *shape]: part numbers, independent, each with probability proportional to its
    weight; task b depends on seeds[b] alone."""
    if len(weights) == 1:
        return torch.zeros(len(seeds), *shape, dtype=torch.int64)
    bounds = torch.tensor(weights, dtype=torch.float64).cumsum(0)
    u = randomness.uniforms(seeds, names, shape).to(torch.float64)
    return torch.searchsorted(bounds / bounds[-1], u, right=True).clamp_(max=len(weights) - 1)


def tasks_by_part(
    parts: Int64[Tensor, " B"],
) -> Iterator[tuple[int, Int64[Tensor, " b"]]]:
    """Each part number that occurs, with the positions of its tasks."""
    for part in torch.unique(parts).tolist():
        yield part, torch.nonzero(parts == part)[:, 0]
