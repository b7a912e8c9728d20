"""The scales of a posterior, learned in the warm-up: a linear map from coordinates z, in which all
directions are about equally wide, to w - w*."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import DTypeLike, NDArray

from causal_meta.llc.samplers.arrays import Array

Floats = NDArray[np.floating]

_PRIOR_DRAWS = 5.0  # the weight of the unit covariance, in draws
_DRAWS_PER_DIRECTION = 4  # with fewer draws than these times P, only scales are learned
_ROUND = 1.25  # directions whose variance differs from one by less than this factor are kept


class Whitening(NamedTuple):
    """w - w* = A z with A = diag(scale) (I + V (diag(stretch) - 1) V'): `scale` [P], V =
    `directions` [P, K] orthonormal, `stretch` [K].

    The maps take arrays [..., P] of NumPy or JAX. Samplers run in z alone; with A constant the law
    of w is the stated one whatever A is, and a unit mass in z is the mass (A A')⁻¹ in w.
    """

    scale: Array
    directions: Array
    stretch: Array

    @classmethod
    def round(cls, size: int, width: float, dtype: DTypeLike, rank: int = 0) -> Whitening:
        """The same width in all directions, with space for `rank` directions to be learned."""
        return cls(np.full(size, width, dtype), np.zeros((size, rank), dtype), np.ones(rank, dtype))

    def outward(self, z: Float[Array, "... P"]) -> Float[Array, "... P"]:
        """A z: from whitened coordinates to w - w*."""
        return self.scale * self._stretched(z, self.stretch)

    def inward(self, away: Float[Array, "... P"]) -> Float[Array, "... P"]:
        """A⁻¹ (w - w*)."""
        return self._stretched(away / self.scale, 1 / self.stretch)

    def slope_inward(self, slope: Float[Array, "... P"]) -> Float[Array, "... P"]:
        """A' g: a gradient with respect to w as one with respect to z."""
        return self._stretched(self.scale * slope, self.stretch)

    def slope_outward(self, slope: Float[Array, "... P"]) -> Float[Array, "... P"]:
        """A⁻ᵀ g: a gradient with respect to z as one with respect to w."""
        return self._stretched(slope, 1 / self.stretch) / self.scale

    def _stretched(self, z: Array, stretch: Array) -> Array:
        if self.directions.shape[-1] == 0:
            return z
        return z + ((z @ self.directions) * (stretch - 1)) @ self.directions.T


def learned(
    away: Float[np.ndarray, "M P"],
    slopes: Float[np.ndarray, "M P"],
    mass: Literal["diagonal", "low_rank"],
    rank: int,
) -> Whitening:
    """The whitening estimated from draws `away` = w - w* and the gradients of the exponent there,
    `slopes`.

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
    directions, stretch = np.zeros((size, rank), away.dtype), np.ones(rank, away.dtype)
    whitening = Whitening(scale.astype(away.dtype), directions, stretch)
    if mass == "diagonal" or len(away) < _DRAWS_PER_DIRECTION * size:
        return whitening
    covariance = _shrunk(away / scale)
    root, inverse_root = _powers(_shrunk(slopes * scale), 0.5, -0.5)
    middle = inverse_root @ _powers(root @ covariance @ root, 0.5)[0] @ inverse_root
    values, vectors = np.linalg.eigh((middle + middle.T) / 2)
    values = np.maximum(values, np.finfo(float).tiny)
    order = np.argsort(-np.abs(np.log(values)))[:rank]
    chosen = np.abs(np.log(values[order])) > np.log(_ROUND)
    directions[:, : len(order)] = vectors[:, order]
    stretch[: len(order)] = np.where(chosen, np.sqrt(values[order]), 1.0)
    return whitening


def _shrunk(values: Floats) -> Floats:
    """Covariance of the rows of `values`, shrunk towards the unit matrix."""
    centred = np.asarray(values, np.float64) - values.mean(0)
    return (centred.T @ centred + _PRIOR_DRAWS * np.eye(values.shape[1])) / (
        len(values) + _PRIOR_DRAWS
    )


def _powers(matrix: Floats, *exponents: float) -> list[Floats]:
    """Powers of a symmetric positive matrix."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    values = np.maximum(values, 1e-12 * values[-1])
    return [(vectors * values**exponent) @ vectors.T for exponent in exponents]
