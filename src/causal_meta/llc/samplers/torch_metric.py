"""The shape of a posterior as its warm-up shows it: a linear map to coordinates in which all
directions are about equally wide."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

_MOST_NUMBERS = 1 << 25  # numbers that the draws of a window may take
_SHRINK = 5.0  # as many draws as the shape of before counts for
# a logarithm of variances: how much narrower than before a direction can be called
_NARROWEST = 40.0


@dataclass
class Metric:
    """Covariance F F' with F = diag(scale) (I + V (sqrt(values) - 1) V'), V = `vectors` [P, K] of
    unit length and orthogonal, `values` [K]."""

    scale: Tensor
    vectors: Tensor
    values: Tensor

    @classmethod
    def identity(cls, like: Tensor) -> Metric:
        """The shape of a round posterior, for parameters [P]."""
        return cls(torch.ones_like(like), like.new_zeros(len(like), 0), like.new_zeros(0))

    def outward(self, z: Tensor) -> Tensor:
        """F z, from round coordinates [C, P] to steps of w."""
        return self.scale * self._stretched(z)

    def inward(self, slope: Tensor) -> Tensor:
        """F' g, the slope [C, P] in round coordinates."""
        return self._stretched(self.scale * slope)

    def _stretched(self, z: Tensor) -> Tensor:
        if len(self.values) == 0:
            return z
        return z + (z @ self.vectors * (self.values.sqrt() - 1)) @ self.vectors.T


@dataclass
class Window:
    """Draws of a stretch of the warm-up, of all chains together: their `count`, `mean` [P], sum of
    `squares` [P], and `some` [M, P] of them."""

    count: float
    mean: Tensor
    squares: Tensor
    some: Tensor

    @classmethod
    def empty(cls, like: Tensor) -> Window:
        """A window without draws, for parameters [P]."""
        return cls(
            0.0, torch.zeros_like(like), torch.zeros_like(like), like.new_zeros(0, len(like))
        )

    def add(self, w: Tensor, keep: bool) -> None:
        """Add a draw of every chain, [C, P]; `keep` keeps the draws too, for directions."""
        for point in w:
            self.count += 1
            gap = point - self.mean
            self.mean = self.mean + gap / self.count
            self.squares = self.squares + gap * (point - self.mean)
        if keep and (len(self.some) + len(w)) * w.shape[1] <= _MOST_NUMBERS:
            self.some = torch.cat((self.some, w))


def learnt(
    metric: Metric, window: Window, mass: Literal["identity", "diagonal", "low_rank"], rank: int
) -> Metric:
    """The shape that the draws of a window show; the logarithm of its scales is pulled towards that
    of before as by five draws.

    `low_rank` scales the diagonal first; of what is left it keeps those of the `rank` leading or
    trailing directions whose variance lies outside what as many draws of a round law would show by
    chance (Marchenko and Pastur 1967), and pulls it towards one.
    """
    if mass == "identity" or window.count < 2:
        return metric
    before = metric.scale.log()
    seen = 0.5 * (window.squares / (window.count - 1)).log().clamp(min=2 * before - _NARROWEST)
    found = replace(
        Metric.identity(before),
        scale=((window.count * seen + _SHRINK * before) / (window.count + _SHRINK)).exp(),
    )
    if mass == "diagonal" or len(window.some) < 8:
        return found
    round_draws = (window.some - window.mean) / found.scale
    draws, size = round_draws.shape
    _, singular, right = torch.linalg.svd(round_draws, full_matrices=False)
    values = singular.square() / draws
    edge = (size / draws) ** 0.5
    wide = values > (1 + edge) ** 2
    narrow = (values < (1 - edge) ** 2) & (values > 0) if edge < 1 else torch.zeros_like(wide)
    chosen = torch.nonzero(wide | narrow).flatten()
    chosen = chosen[values[chosen].log().abs().argsort(descending=True)[:rank]]
    pulled = (draws * values[chosen] + _SHRINK) / (draws + _SHRINK)
    return replace(found, vectors=right[chosen].T.contiguous(), values=pulled)
