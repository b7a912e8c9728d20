"""Exact finite-n expectations for any loss of at most three parameters, by adaptive cubature in
polar coordinates around w*."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from causal_meta.llc.exact.quadrature import Expectation

Floats = NDArray[np.float64]

# Gauss and Kronrod's rule of 7 nodes, with Gauss's 3 among them (Kronrod 1965)
_NODES = np.array([0.0, 0.4342437493468026, 0.7745966692414834, 0.9604912687080202])
_KRONROD = np.array(
    [0.4509165386584741, 0.4013974147759622, 0.2684880898683334, 0.1046562260264673]
)
_GAUSS = np.array([8 / 9, 0.0, 5 / 9, 0.0])
_X = np.concatenate([-_NODES[:0:-1], _NODES])
_K = np.concatenate([_KRONROD[:0:-1], _KRONROD])
_G = np.concatenate([_GAUSS[:0:-1], _GAUSS])
_AT_ONCE = 400_000  # points evaluated at once


def cubature(
    loss: Callable[[Floats], Floats],
    dimension: int,
    n_beta: float,
    gamma: float,
    *,
    tolerance: float = 1e-6,
    evaluations: int = 50_000_000,
) -> Expectation:
    """nβ E[K] for any K(w) of d <= 3 parameters with w* = 0, by adaptive cubature in log |w| and
    angles.

    The cells with the largest errors are halved, along the axis on which rules of 3 and of 7 nodes
    differ most, until these differences sum to less than `tolerance`. So that no narrow valley
    falls between the nodes, nβ is raised to its value by factors of 4 on the cells of the previous
    stage, which resolve a valley while it is still wide. This works for valleys in any direction;
    the cost grows with (nβ)^{1/2} in three dimensions.

    Args:
        loss: K(w [B, d]) -> [B].
        dimension: d.
        tolerance: of nβ E[K].
        evaluations: the largest number of evaluations of K.

    Raises:
        ValueError: if d or γ is out of range, or the evaluations do not suffice.
    """
    if not 1 <= dimension <= 3 or gamma <= 0:
        raise ValueError(
            f"Cubature takes 1 to 3 parameters and γ above 0, not {dimension} parameters and γ = "
            f"{gamma}."
        )
    lower, upper = _first_cells(dimension, n_beta, gamma)
    left, stages = evaluations, max(0, math.ceil(math.log(n_beta / gamma, 4)))
    for stage in range(stages, -1, -1):
        tempered = n_beta / 4**stage
        cells = _Cells(lower, upper, *_measure(loss, dimension, lower, upper, tempered, gamma))
        value, error = cells.expectation(dimension)
        while error.sum() > (tolerance if stage == 0 else max(tolerance, 1e-4)):
            chosen = error > 0.1 * error.max()
            lower, upper = _halved(
                cells.lower[chosen], cells.upper[chosen], cells.worst_axis(value, dimension)[chosen]
            )
            left -= len(lower) * 7 ** lower.shape[1]
            if left < 0:
                raise ValueError(
                    f"{evaluations} evaluations leave an error of {error.sum():.1e} at nβ = "
                    f"{tempered:g}; use a tolerance above {tolerance:g}."
                )
            cells = cells.without(chosen).joined(
                _Cells(lower, upper, *_measure(loss, dimension, lower, upper, tempered, gamma))
            )
            value, error = cells.expectation(dimension)
        lower, upper = cells.lower, cells.upper
    return Expectation(value, float(error.sum()))


def _first_cells(dimension: int, n_beta: float, gamma: float) -> tuple[Floats, Floats]:
    top = math.log(9 / math.sqrt(gamma))
    # two half-lines, or angles
    ends = {1: [2.0], 2: [2 * math.pi], 3: [math.pi, 2 * math.pi]}[dimension]
    lower = np.array(
        [[top - 40 / dimension - 0.5 * math.log1p(n_beta / gamma), *(0.0 for _ in ends)]]
    )
    upper = np.array([[top, *ends]])
    for axis in range(1 + len(ends)):
        lower, upper = _divided(lower, upper, axis, 16 if axis == 0 else 2 if dimension == 1 else 6)
    return lower, upper


class _Cells(NamedTuple):
    """Cells of the cubature with the integrals of the weight (mass) and of the weight times nβ K
    (moment), and the errors along each axis."""

    lower: Floats
    upper: Floats
    mass: Floats
    moment: Floats
    mass_error: Floats
    moment_error: Floats

    def _errors(self, value: float, dimension: int) -> Floats:
        """The contribution of each axis of each cell to the error of the expectation `value` =
        moment / mass."""
        total = float(np.sum(self.mass))
        errors: Floats = np.abs(self.moment_error - value * self.mass_error) / total
        # in one dimension the second axis is the sign of w
        return errors[:, :1] if dimension == 1 else errors

    def expectation(self, dimension: int) -> tuple[float, Floats]:
        """nβ E[K], and the error of each cell."""
        value = float(np.sum(self.moment) / np.sum(self.mass))
        return value, self._errors(value, dimension).max(1)

    def worst_axis(self, value: float, dimension: int) -> NDArray[np.integer]:
        return self._errors(value, dimension).argmax(1)

    def without(self, chosen: NDArray[np.bool_]) -> _Cells:
        return _Cells(*(part[~chosen] for part in self))

    def joined(self, other: _Cells) -> _Cells:
        return _Cells(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))


def _divided(lower: Floats, upper: Floats, axis: int, parts: int) -> tuple[Floats, Floats]:
    cuts = np.linspace(lower[:, axis], upper[:, axis], parts + 1)  # [parts + 1, cells]
    low, high = np.repeat(lower[None], parts, 0), np.repeat(upper[None], parts, 0)
    low[..., axis], high[..., axis] = cuts[:-1], cuts[1:]
    return low.reshape(-1, lower.shape[1]), high.reshape(-1, lower.shape[1])


def _halved(lower: Floats, upper: Floats, axis: NDArray[np.integer]) -> tuple[Floats, Floats]:
    rows = np.arange(len(lower))
    middle = 0.5 * (lower[rows, axis] + upper[rows, axis])
    below, above = upper.copy(), lower.copy()
    below[rows, axis], above[rows, axis] = middle, middle
    return np.concatenate([lower, above]), np.concatenate([below, upper])


def _measure(
    loss: Callable[[Floats], Floats],
    dimension: int,
    lower: Floats,
    upper: Floats,
    n_beta: float,
    gamma: float,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Mass and moment of each cell, and for each axis their change with three nodes instead of
    seven."""
    axes = lower.shape[1]
    grid = np.stack(np.meshgrid(*(_X,) * axes, indexing="ij"), -1).reshape(-1, axes)
    # the first is Kronrod's along all axes
    rules = np.stack(
        [_tensor([_G if a == b else _K for b in range(axes)]) for a in range(-1, axes)], 1
    )
    parts, many = [], max(1, _AT_ONCE // len(grid))
    for first in range(0, len(lower), many):
        half = 0.5 * (upper[first : first + many] - lower[first : first + many])
        points = (lower[first : first + many] + half)[:, None] + half[:, None] * grid
        w, log_volume = _cartesian(points.reshape(-1, axes), dimension)
        energy = n_beta * np.asarray(loss(w), np.float64)
        weight = np.exp(log_volume - energy - 0.5 * gamma * np.sum(w * w, 1)) * np.repeat(
            half.prod(1), len(grid)
        )
        # [2, cells, 1 + axes]
        parts.append(np.stack([weight, weight * energy]).reshape(2, len(half), len(grid)) @ rules)
    total = np.concatenate(parts, 1)
    return (
        total[0, :, 0],
        total[1, :, 0],
        total[0, :, 1:] - total[0, :, :1],
        total[1, :, 1:] - total[1, :, :1],
    )


def _tensor(rules: Sequence[Floats]) -> Floats:
    return np.array([math.prod(weights) for weights in itertools.product(*rules)])


def _cartesian(points: Floats, dimension: int) -> tuple[Floats, Floats]:
    """Points (log r, angles) as w [B, d], with the logarithm of the volume element."""
    log_r, r = points[:, 0], np.exp(points[:, 0])
    if dimension == 1:
        return (r * np.where(points[:, 1] < 1, 1.0, -1.0))[:, None], log_r
    if dimension == 2:
        return np.stack([np.cos(points[:, 1]), np.sin(points[:, 1])], 1) * r[:, None], 2 * log_r
    around = np.sin(points[:, 1])
    w = (
        np.stack(
            [around * np.cos(points[:, 2]), around * np.sin(points[:, 2]), np.cos(points[:, 1])], 1
        )
        * r[:, None]
    )
    return w, 3 * log_r + np.log(around)
