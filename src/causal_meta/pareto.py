"""Pareto-smoothed importance sampling (Vehtari, Simpson, Gelman, Yao and Gabry 2024): importance
weights of draws from an approximation of the posterior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from jaxtyping import Float

Floats = NDArray[np.floating]


def smoothed_weights(
    log_ratios: Float[np.ndarray, "*draws"],
) -> tuple[Float[np.ndarray, "*draws"], float]:
    """Importance weights, which sum to one, and the tail index k of the S importance ratios.

    The largest min(S / 5, 3 sqrt S) ratios are replaced by quantiles of the generalised Pareto
    distribution fitted to them. Above k = 0.7 weighted means cannot be trusted. k is infinite where
    the tail has fewer than 5 ratios, and 0 where all are equal.

    Args:
        log_ratios: log p - log q, up to a constant; those that are not finite get no weight.
    """
    flat = np.asarray(log_ratios, np.float64).reshape(-1)
    finite = np.isfinite(flat)
    if not finite.any():
        return np.full(np.shape(log_ratios), np.nan), float("inf")
    shifted = np.where(finite, flat - flat[finite].max(), -np.inf)
    if np.ptp(shifted) < 1e-12:
        return np.full(np.shape(log_ratios), 1 / flat.size), 0.0
    tail = int(np.ceil(min(0.2 * len(flat), 3 * np.sqrt(len(flat)))))
    order = np.argsort(shifted)
    cutoff = (
        max(float(shifted[order[-tail - 1]]), float(np.log(np.finfo(float).tiny)))
        if tail < len(flat)
        else -np.inf
    )
    above = order[-tail:][shifted[order[-tail:]] > cutoff]
    shape = float("inf")
    if len(above) > 4:
        exceedances = np.exp(shifted[above]) - np.exp(cutoff)
        shape, scale = fit_generalised_pareto(exceedances)
        if np.isfinite(shape):
            levels = (np.arange(len(above)) + 0.5) / len(above)
            shifted[above] = np.minimum(
                np.log(np.exp(cutoff) + scale * np.expm1(-shape * np.log1p(-levels)) / shape), 0.0
            )
    weights = np.exp(shifted)
    return (weights / weights.sum()).reshape(np.shape(log_ratios)), shape


def fit_generalised_pareto(ascending: Float[np.ndarray, " S"]) -> tuple[float, float]:
    """Shape k and scale of the generalised Pareto distribution fitted to sorted positive values
    (Zhang and Stephens 2009), with k shrunk towards 0.5 by a prior worth ten draws."""
    size = len(ascending)
    grid = 30 + int(np.sqrt(size))
    quartile = ascending[int(size / 4 + 0.5) - 1]
    theta = (1 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))) / (3 * quartile) + 1 / ascending[
        -1
    ]
    shapes = np.log1p(-theta[:, None] * ascending).mean(1)
    likelihood = size * (np.log(-theta / shapes) - shapes - 1)
    weights = 1 / np.exp(likelihood - likelihood[:, None]).sum(1)
    kept = weights >= 10 * np.finfo(float).eps
    mean = float((theta[kept] * weights[kept]).sum() / weights[kept].sum())
    shape = float(np.log1p(-mean * ascending).mean())
    scale = -shape / mean
    return (size * shape + 10 * 0.5) / (size + 10), scale
