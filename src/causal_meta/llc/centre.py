"""L_n(w*) from several minibatches, where evaluating all rows is too much, and how well that knows
it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class CentreLoss(NamedTuple):
    """An estimate of L_n(w*) and its standard error, which goes into λ̂ times nβ
    (`Draws.centre_error`)."""

    value: float
    error: float


def centre_loss(row_losses: ArrayLike, n: int) -> CentreLoss:
    """L_n(w*) from the losses at w* of k of the n rows, drawn without replacement (all rows of
    several minibatches together).

    The error is s sqrt((1 - k / n) / k): none when all rows were seen. Raises `ValueError` for
    fewer than two rows, more than n, or losses that are not finite.

    >>> centre_loss([1.0, 2.0, 3.0, 2.0], 4)
    CentreLoss(value=2.0, error=0.0)
    """
    losses = np.asarray(row_losses, np.float64).reshape(-1)
    if not 2 <= len(losses) <= n:
        raise ValueError(
            f"L_n(w*) came with losses of {len(losses)} rows; give those of 2 to {n} different "
            "ones."
        )
    if not np.isfinite(losses).all():
        raise ValueError("Some losses at w* are not finite; no posterior around it can be sampled.")
    return CentreLoss(
        float(losses.mean()),
        float(losses.std(ddof=1) * np.sqrt((1 - len(losses) / n) / len(losses))),
    )
