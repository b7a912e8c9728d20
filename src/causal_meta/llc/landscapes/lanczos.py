"""Extreme eigenvalues of a symmetric matrix from its products with vectors alone (Lanczos 1950), in
NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """Ritz values: approximate eigenvalues after K steps of Lanczos.

    Fields:
        values: Ritz values in ascending order, none outside the range of the spectrum; so `lowest`
            is never below the lowest eigenvalue and `highest` never above the highest.
        error: each value lies within its error of an eigenvalue.
        vectors: the Ritz vectors of the lowest and of the highest value (one row where K is 1).
        products: the number of products that were computed.
        weights: sum to 1; P Σ weights f(values) estimates Σ f(eigenvalue) over the spectrum, from
            one random start (Ubaru, Chen and Saad 2017).
    """

    values: Float[np.ndarray, " K"]
    error: Float[np.ndarray, " K"]
    vectors: Float[np.ndarray, "ends P"]
    products: int
    weights: Float[np.ndarray, " K"]

    @property
    def lowest(self) -> float:
        """The lowest Ritz value."""
        return float(self.values[0])

    @property
    def highest(self) -> float:
        """The highest Ritz value."""
        return float(self.values[-1])


def spectrum(
    product: Callable[[Floats], Floats],
    size: int,
    generator: np.random.Generator,
    *,
    steps: int = 40,
    tolerance: float = 1e-3,
) -> Spectrum:
    """The Ritz values of a symmetric matrix [size, size], by Lanczos from a random start in at most
    `steps` products.

    Every new direction is orthogonalised twice against all earlier ones, which keeps the method
    stable in float64 and takes [steps, size] numbers of memory.

    Args:
        product: the matrix times a vector [size].
        generator: of the random start.
        tolerance: the iteration stops early where the errors of the lowest and highest value are at
            most this times the larger of their magnitudes.

    Raises:
        ValueError: for products that are not finite.

    >>> ritz = spectrum(lambda v: np.array([-1.0, 0.5, 3.0]) * v, 3, np.random.default_rng(0))
    >>> ritz.values.round(6).tolist(), ritz.products
    ([-1.0, 0.5, 3.0], 3)
    """
    basis = np.zeros((min(steps, size), size))
    diagonal, beside = np.zeros(len(basis)), np.zeros(len(basis))
    vector = generator.standard_normal(size)
    vector /= np.linalg.norm(vector)
    for k in range(len(basis)):
        basis[k] = vector
        image = np.asarray(product(vector), dtype=np.float64)
        if not np.isfinite(image).all():
            raise ValueError(
                "The product of the matrix with a vector is not finite; the loss has no second "
                "derivative there."
            )
        diagonal[k] = vector @ image
        for _ in range(2):
            image = image - basis[: k + 1].T @ (basis[: k + 1] @ image)
        beside[k] = np.linalg.norm(image)
        values, weights = np.linalg.eigh(
            np.diag(diagonal[: k + 1]) + np.diag(beside[:k], 1) + np.diag(beside[:k], -1)
        )
        error = beside[k] * np.abs(weights[-1])
        scale = max(abs(values[0]), abs(values[-1]))
        if beside[k] <= 1e-12 * scale or (k >= 2 and max(error[0], error[-1]) <= tolerance * scale):
            break
        vector = image / beside[k]
    ends = [0] if k == 0 else [0, k]
    return Spectrum(values, error, weights[:, ends].T @ basis[: k + 1], k + 1, weights[0] ** 2)
