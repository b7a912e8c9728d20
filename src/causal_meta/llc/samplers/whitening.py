"""The shape of a posterior as the warm-up shows it: a linear map from coordinates z, in which all
directions are about equally wide, to w - w*."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

_PRIOR_DRAWS = 5.0  # as many draws as the unit covariance counts for
_DRAWS_PER_DIRECTION = 4  # fewer draws than these times P show no directions, only scales
_ROUND = 1.25  # directions whose variance differs from one by less than this factor are left alone


class Whitening(NamedTuple):
    """w - w* = A z with A = diag(scale) (I + V (diag(stretch) - 1) V'): `scale` [P], V =
    `directions` [P, K] orthonormal, `stretch` [K].

    The maps take arrays [..., P] of NumPy or JAX. Samplers see z alone; with A constant the law of
    w is the stated one whatever A is, and a unit mass in z is the mass (A A')⁻¹ in w.
    """

    scale: Any
    directions: Any
    stretch: Any

    @classmethod
    def round(cls, size: int, width: float, dtype: Any, rank: int = 0) -> Whitening:
        """The same width in all directions, with room for `rank` directions to be learned."""
        return cls(np.full(size, width, dtype), np.zeros((size, rank), dtype), np.ones(rank, dtype))

    def outward(self, z: Any) -> Any:
        """A z: from whitened coordinates to w - w*."""
        return self.scale * self._stretched(z, self.stretch)

    def inward(self, away: Any) -> Any:
        """A⁻¹ (w - w*)."""
        return self._stretched(away / self.scale, 1 / self.stretch)

    def slope_inward(self, slope: Any) -> Any:
        """A' g: a gradient with respect to w as one with respect to z."""
        return self._stretched(self.scale * slope, self.stretch)

    def slope_outward(self, slope: Any) -> Any:
        """A⁻ᵀ g: a gradient with respect to z as one with respect to w."""
        return self._stretched(slope, 1 / self.stretch) / self.scale

    def _stretched(self, z: Any, stretch: Any) -> Any:
        if self.directions.shape[-1] == 0:
            return z
        return z + ((z @ self.directions) * (stretch - 1)) @ self.directions.T


def learned(
    away: Floats, slopes: Floats, mass: Literal["diagonal", "low_rank"], rank: int
) -> Whitening:
    """The whitening that draws `away` = w - w* [M, P] and the gradients of the exponent `slopes`
    [M, P] there show.

    The scales are (var w_i / var g_i)^(1/4), which is the standard deviation for a Gaussian, and
    for other laws a balance of extent and stiffness (Seyboldt et al. 2024, the Fisher divergence of
    a diagonal Gaussian). `low_rank` adds the directions in which the geometric mean of the
    covariance of draws and the inverse covariance of gradients differs most from the diagonal, at
    most `rank` of them; with fewer than 4 P draws it stays diagonal.
    """
    size = away.shape[1]
    width = np.var(away, axis=0, dtype=np.float64)
    steepness = np.var(slopes, axis=0, dtype=np.float64)
    scale = (
        np.maximum(width, np.finfo(float).tiny) / np.maximum(steepness, np.finfo(float).tiny)
    ) ** 0.25
    found = Whitening(
        scale.astype(away.dtype), np.zeros((size, rank), away.dtype), np.ones(rank, away.dtype)
    )
    if mass == "diagonal" or len(away) < _DRAWS_PER_DIRECTION * size:
        return found
    covariance = _shrunk(away / scale)
    root, inverse_root = _powers(_shrunk(slopes * scale), 0.5, -0.5)
    middle = inverse_root @ _powers(root @ covariance @ root, 0.5)[0] @ inverse_root
    values, vectors = np.linalg.eigh((middle + middle.T) / 2)
    values = np.maximum(values, np.finfo(float).tiny)
    order = np.argsort(-np.abs(np.log(values)))[:rank]
    stretch = np.where(np.abs(np.log(values[order])) > np.log(_ROUND), np.sqrt(values[order]), 1.0)
    found.directions[:, : len(order)] = vectors[:, order]
    found.stretch[: len(order)] = stretch
    return found


def _shrunk(values: Floats) -> Floats:
    """Covariance of the rows of `values`, drawn towards the unit matrix as by a few draws."""
    centred = np.asarray(values, np.float64) - values.mean(0)
    return (centred.T @ centred + _PRIOR_DRAWS * np.eye(values.shape[1])) / (
        len(values) + _PRIOR_DRAWS
    )


def _powers(matrix: Floats, *exponents: float) -> list[Floats]:
    """Powers of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    values = np.maximum(values, 1e-12 * values[-1])
    return [(vectors * values**exponent) @ vectors.T for exponent in exponents]
