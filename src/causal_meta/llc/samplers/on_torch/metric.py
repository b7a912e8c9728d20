"""The covariance of a posterior, learned in the warm-up: a linear map to coordinates in which all
directions are about equally wide."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

_MOST_NUMBERS = 1 << 25  # numbers that the draws of a window may take
_SHRINK = 5.0  # the weight of the previous metric, in draws
# largest decrease of the logarithm of a variance by one window
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
        """The identity, for parameters [P]."""
        return cls(torch.ones_like(like), like.new_zeros(len(like), 0), like.new_zeros(0))

    def outward(self, z: Float[Tensor, "C P"]) -> Float[Tensor, "C P"]:
        """F z, from whitened coordinates to steps of w."""
        return self.scale * self._stretched(z)

    def inward(self, slope: Float[Tensor, "C P"]) -> Float[Tensor, "C P"]:
        """F' g, the gradient in whitened coordinates."""
        return self._stretched(self.scale * slope)

    def _stretched(self, z: Tensor) -> Tensor:
        if len(self.values) == 0:
            return z
        return z + (z @ self.vectors * (self.values.sqrt() - 1)) @ self.vectors.T


@dataclass
class Window:
    """Draws of all chains in one window of the warm-up: their `count`, `mean` [P], sum of `squares`
    of deviations [P], and `some` [M, P] of them."""

    count: float
    mean: Tensor
    squares: Tensor
    some: Tensor

    @classmethod
    def empty(cls, like: Tensor) -> Window:
        """A window without draws, for parameters [P]."""
        zeros = torch.zeros_like(like)
        return cls(0.0, zeros, torch.zeros_like(like), like.new_zeros(0, len(like)))

    def add(self, w: Tensor, keep: bool) -> None:
        """Add a draw of every chain, [C, P]; `keep` keeps the draws too, for directions."""
        for point in w:
            self.count += 1
            gap = point - self.mean
            self.mean = self.mean + gap / self.count
            self.squares = self.squares + gap * (point - self.mean)
        if keep and (len(self.some) + len(w)) * w.shape[1] <= _MOST_NUMBERS:
            self.some = torch.cat((self.some, w))


def learned(
    metric: Metric, window: Window, mass: Literal["identity", "diagonal", "low_rank"], rank: int
) -> Metric:
    """The metric estimated from the draws of a window; the logarithm of its scales is shrunk
    towards the previous one with a weight of five draws.

    `low_rank` scales the diagonal first; of the scaled draws it keeps those of the `rank` leading
    or trailing directions whose variance is outside the range that as many draws of a round law
    have by chance (Marchenko and Pastur 1967), and shrinks it towards one.
    """
    if mass == "identity" or window.count < 2:
        return metric
    before = metric.scale.log()
    estimated = 0.5 * (window.squares / (window.count - 1)).log().clamp(min=2 * before - _NARROWEST)
    diagonal = replace(
        Metric.identity(before),
        scale=((window.count * estimated + _SHRINK * before) / (window.count + _SHRINK)).exp(),
    )
    if mass == "diagonal" or len(window.some) < 8:
        return diagonal
    round_draws = (window.some - window.mean) / diagonal.scale
    draws, size = round_draws.shape
    _, singular, right = torch.linalg.svd(round_draws, full_matrices=False)
    values = singular.square() / draws
    edge = (size / draws) ** 0.5
    wide = values > (1 + edge) ** 2
    narrow = (values < (1 - edge) ** 2) & (values > 0) if edge < 1 else torch.zeros_like(wide)
    chosen = torch.nonzero(wide | narrow).flatten()
    chosen = chosen[values[chosen].log().abs().argsort(descending=True)[:rank]]
    pulled = (draws * values[chosen] + _SHRINK) / (draws + _SHRINK)
    return replace(diagonal, vectors=right[chosen].T.contiguous(), values=pulled)
