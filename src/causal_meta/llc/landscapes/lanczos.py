"""Extreme eigenvalues of a symmetric matrix that is only known by its products with vectors
(Lanczos 1950), in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """Ritz values in rising order [K]: each lies within its `error` of an eigenvalue, and none
    outside the spectrum's range.

    So `lowest` is never below the lowest eigenvalue and `highest` never above the highest.
    `vectors` [K, P] are the Ritz vectors of the lowest and the highest value alone, in this order
    (one row where K is 1). `products` counts the products that were taken. `weights` [K], summing
    to 1, give the estimate P Σ weights f(values) of a sum Σ f(eigenvalue) over the spectrum, from
    the one random start (Ubaru, Chen and Saad 2017).
    """

    values: Floats
    error: Floats
    vectors: Floats
    products: int
    weights: Floats

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
    """The spectrum of a symmetric matrix [size, size] as Lanczos sees it from a random start in at
    most `steps` products.

    Every new direction is made orthogonal to all earlier ones twice, which keeps the method honest
    in float64 and takes [steps, size] numbers of memory. It stops early where the highest and the
    lowest value are known to `tolerance` times the largest size of both. Raises ValueError for
    products that are not finite.

    >>> found = spectrum(lambda v: np.array([-1.0, 0.5, 3.0]) * v, 3, np.random.default_rng(0))
    >>> found.values.round(6).tolist(), found.products
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
