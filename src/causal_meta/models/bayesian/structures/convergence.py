"""Whether chains agree: potential scale reduction, and chains that stay in a worse mode."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

#: Nats by which a chain must be worse than the best one to be left out.
WORSE = 2.0
_BATCHES = 5  # parts of a chain from which the error of its mean is estimated


def split_r_hat(values: Float[np.ndarray, "C T *rest"]) -> Float[np.ndarray, "*rest"]:
    """Potential scale reduction of chains cut in halves (Gelman et al. 2013, section 11.4):

        R-hat = sqrt(((n - 1)/n W + B/n) / W)

    with n draws in each half, W the mean of the variances within and B/n the variance of the means
    of the halves. 1 where all values are equal, infinite where only the halves differ, nan for
    chains of fewer than 4 draws.
    """
    n = values.shape[1] // 2
    if n < 2:
        return np.full(values.shape[2:], np.nan)
    halves = np.concatenate([values[:, :n], values[:, -n:]]).astype(np.float64)
    within = halves.var(axis=1, ddof=1).mean(axis=0)
    between = halves.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.sqrt(((n - 1) / n * within + between) / within)
    return np.where((within == 0) & (between == 0), 1.0, np.where(within == 0, np.inf, ratio))


def worse_chains(
    log_scores: Float[np.ndarray, "C T"], peaks: Float[np.ndarray, " C"]
) -> dict[int, float]:
    """The chains that stay in a worse mode: how many nats the best graph of each is below the best
    of all.

    A chain is one of them when both its best graph and the mean log posterior of its draws are more
    than `WORSE` nats below those of the chain with the best graph, the latter beyond twice the
    standard error of the difference (from batches of draws).
    """
    means = log_scores.mean(axis=1)
    parts = np.array_split(log_scores, min(_BATCHES, log_scores.shape[1]), axis=1)
    batches = np.stack([part.mean(axis=1) for part in parts])
    squared = batches.var(axis=0) / max(1, len(batches) - 1)
    top = int(np.argmax(peaks))
    bound = WORSE + 2 * np.sqrt(squared + squared[top])
    worse = (peaks < peaks[top] - WORSE) & (means < means[top] - bound)
    return {int(c): float(peaks[top] - peaks[c]) for c in np.flatnonzero(worse)}
