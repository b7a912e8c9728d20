"""Checks of the assumptions behind a posterior, from what its graphs leave unexplained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int8
from scipy.special import ndtri

from causal_meta.scores.features import Features

#: A pair is tested if the probability of an edge between its variables is below this.
NOT_ADJACENT = 0.05
#: The probability of a false alarm of `residual_dependence` over all pairs of a table.
FALSE_ALARMS = 0.01


@dataclass(frozen=True)
class Dependence:
    """The dependence between residuals of pairs that the posterior holds for not adjacent.

    Args:
        tested: how many pairs were tested.
        dependent: how many are dependent at the level `FALSE_ALARMS` over all (Bonferroni).
        pair: the most dependent one.
        correlation: the rank correlation of its residuals.
    """

    tested: int
    dependent: int
    pair: tuple[int, int]
    correlation: float


def residuals(features: Features, graph: Int8[np.ndarray, "D D"]) -> Float[np.ndarray, "N D"]:
    """What a smooth function of its parents leaves of every variable: ridge regression of the
    standardised column on the parents' columns, smooth features and products of pairs, with the
    precisions of the additive score at s = 1. NaN where the variable was set. Of a categorical
    variable the first contrast."""
    table = features.table
    result = np.full((len(table.values), table.n_nodes), np.nan)
    for v in range(table.n_nodes):
        rows = table.rows(v)
        parents = np.flatnonzero(graph[:, v]).tolist()
        y = table.values[rows, table.blocks[v][0]]
        y = y - y.mean()
        if len(parents):
            columns = features.of(np.array([parents]), products=True)[0]
            columns = columns[columns != features.empty]
            x = features.columns[np.ix_(rows, columns)]
            x = x - x.mean(axis=0)
            ridge = features.precisions(1.0, len(parents))[columns]
            ridge = np.where(ridge > 0, ridge, features.prior.scale)
            y = y - x @ np.linalg.solve(x.T @ x + np.diag(ridge), x.T @ y)
        result[rows, v] = y
    return result


def residual_dependence(
    features: Features,
    graph: Int8[np.ndarray, "D D"],
    probabilities: Float[np.ndarray, "D D"],
) -> Dependence:
    """Test the residuals of every pair of variables that the posterior holds for not adjacent.

    Under the graph and additive mechanisms the residuals are independent. The test is that of the
    correlation r of normal scores: sqrt(N - 3) atanh(r) is nearly standard normal. A common cause
    that is not in the table makes residuals dependent, unless the posterior has explained the
    dependence by edges, which it often has; so no alarm is no proof.
    """
    left = residuals(features, graph)
    adjacent = probabilities + probabilities.T
    tested = np.triu(adjacent < NOT_ADJACENT, 1)
    strongest, dependent = (0.0, 0.0, (0, 0)), 0
    count = int(tested.sum())
    if not count:
        return Dependence(0, 0, (0, 0), 0.0)
    limit = -ndtri(FALSE_ALARMS / 2 / count)
    scores, known = normal_scores(left)
    for i, j in np.argwhere(tested).tolist():
        rows = known[:, i] & known[:, j]
        r, z = _correlation(scores[rows, i], scores[rows, j])
        dependent += abs(z) > limit
        strongest = max(strongest, (abs(z), r, (i, j)))
    return Dependence(count, dependent, strongest[2], strongest[1])


def normal_scores(
    values: Float[np.ndarray, "N D"],
) -> tuple[Float[np.ndarray, "N D"], Bool[np.ndarray, "N D"]]:
    """Normal quantiles of the ranks of each column, ties averaged, and which cells are known."""
    import pandas as pd  # its ranks: importing scipy.stats takes a second

    known = np.isfinite(values)
    ranks = pd.DataFrame(values).rank().to_numpy()
    return np.where(known, ndtri(ranks / (known.sum(axis=0) + 1)), 0.0), known


def _correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """r, and sqrt(n - 3) atanh(r); zeros for fewer than 10 rows or a constant column."""
    if len(a) < 10 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0, 0.0
    r = float(np.corrcoef(a, b)[0, 1])
    return r, float(np.sqrt(len(a) - 3) * np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12)))


def halves_disagree(
    first: Float[np.ndarray, "D D"], second: Float[np.ndarray, "D D"]
) -> tuple[float, float]:
    """How far the edge probabilities from two disjoint halves of the rows are apart, and how far
    they may be: sum (p - q)^2, and sum p (1 - p) + q (1 - q).

    If both are calibrated, the first is in expectation at most the second: for an edge indicator e
    E (p - e)^2 = E p (1 - p), and the errors of the halves are not negatively correlated.
    """
    apart = float(np.square(first - second).sum())
    return apart, float((first * (1 - first) + second * (1 - second)).sum())
