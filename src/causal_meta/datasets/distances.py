"""Distances between two families of structural causal models: of their graphs, their mechanisms and
their tables, each with a standard error.

Every distance is estimated without bias (or with its leading bias removed), so that the
distance of a family from itself is 0 within the error (for a classifier, AUROC 1/2).
Tasks are the independent units: errors are jackknife errors over tasks. The number of rows is
no property of a family here: both are drawn with the same number, without interventions.

spectrum: energy distance of the graphs' spectra: E W(a, b) - E W(a, a')/2 - E W(b, b')/2, W the
    Wasserstein-1 distance of the eigenvalues of the normalised Laplacian (in [0, 2]) of two tasks.
degree_kl_{causes,effects,neighbours}: Kullback-Leibler divergence (nats, mean of both
    directions) of the number of causes, effects and neighbours of a node, each law mixed with 1 %
    of the uniform law over 0 … D_max - 1.
mmd2_rows: squared maximum mean discrepancy of the laws of standardised rows, by pairs of columns.
mmd2_tables: the same of the tables' features (`summaries.table_summary`, log D).
classifier_auroc: cross-validated AUROC of a random forest that distinguishes the families by these
    features.
nonlinearity_gap: second minus first, in the R² that a flexible curve on a node's true parents has
    beyond that of a line.
linear_residual_gap: second minus first, in the share of variance that the line leaves unexplained
    (1 - R²).
{var,r2_}sortability_gap, edges_per_node_gap: second minus first.

Both kernels are Gaussian with the median distance of pooled points as bandwidth. The gaps change
sign with the order of the families, all others are symmetric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from causal_meta.conf.data import FamilyConfig
from causal_meta.datasets.diagnostics import mean_and_error
from causal_meta.datasets.family_features import (
    DEGREES,
    STATISTICS,
    FamilyFeatures,
    family_features,
    pair_embedding,
    pair_frequencies,
    pair_points,
)
from causal_meta.randomness import generator, seeds_of

if TYPE_CHECKING:
    from jaxtyping import Float

    from causal_meta.datasets.scm import SCMFamily

MIN_TASKS = 20
SMOOTHING = 0.01
_FOLDS = 5
_TREES = 100  # of a forest
GAPS = {
    "nonlinearity_gap": "nonlinearity",
    "linear_residual_gap": "linear_residual",
    "varsortability_gap": "varsortability",
    "r2_sortability_gap": "r2_sortability",
    "edges_per_node_gap": "edges_per_node",
}
Estimate = dict[str, float]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two families side by side.

    `distances`: name -> {value, se, null}, `null` being the value for equal families; `families`:
    for the first and the second, name of a statistic -> {mean, se, n}; `arrays`: what pictures are
    drawn from (spectra and degrees of both).
    """

    distances: dict[str, Estimate]
    families: tuple[dict[str, Estimate], dict[str, Estimate]]
    arrays: dict[str, np.ndarray]


def family_distances(
    a: FamilyConfig | SCMFamily,
    b: FamilyConfig | SCMFamily,
    n_tasks: int = 200,
    seed: int = 0,
    n_rows: int = 200,
) -> dict[str, Estimate]:
    """The distances of the module's table between families `a` and `b`: name -> {value, se, null},
    from `n_tasks` independent tasks of each.

    A value is NaN where it is not defined (the nonlinearity of graphs without edges). Raises
    ValueError for fewer than 20 tasks or rows.
    """
    return compare_families(a, b, n_tasks, seed, n_rows).distances


def compare_families(
    a: FamilyConfig | SCMFamily,
    b: FamilyConfig | SCMFamily,
    n_tasks: int = 200,
    seed: int = 0,
    n_rows: int = 200,
) -> Comparison:
    """`family_distances`, with the statistics and arrays they were computed from."""
    if min(n_tasks, n_rows) < MIN_TASKS:
        raise ValueError(
            f"{n_tasks} tasks of {n_rows} rows are too few; distances need at least "
            f"{MIN_TASKS} of both."
        )
    configs = [family if isinstance(family, FamilyConfig) else family.config for family in (a, b)]
    most = max(config.n_nodes.high for config in configs)
    one, two = (
        family_features(c, n_tasks, n_rows, seed, role, most)
        for c, role in zip(configs, ("first", "second"), strict=True)
    )
    distances = {"spectrum": spectrum_distance(one.spectra, two.spectra)}
    distances |= {
        f"degree_kl_{name}": degree_divergence(one.degrees[name], two.degrees[name])
        for name in DEGREES
    }
    distances["mmd2_rows"] = rows_discrepancy(one.rows, two.rows, seed)
    distances["mmd2_tables"] = tables_discrepancy(one.tables, two.tables)
    distances["classifier_auroc"] = classifier_auroc(one.tables, two.tables, seed)
    distances |= {name: gap(one.statistics[of], two.statistics[of]) for name, of in GAPS.items()}
    return Comparison(distances, (_statistics(one), _statistics(two)), _arrays(one, two))


def _statistics(features: FamilyFeatures) -> dict[str, Estimate]:
    return {
        name: dict(zip(("mean", "se", "n"), mean_and_error(features.statistics[name]), strict=True))
        for name in STATISTICS
    }


def _arrays(one: FamilyFeatures, two: FamilyFeatures) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for role, features in (("first", one), ("second", two)):
        arrays[f"{role}_spectra"] = features.spectra.astype(np.float32)
        arrays |= {
            f"{role}_degrees_{name}": counts.sum(axis=0)
            for name, counts in features.degrees.items()
        }
        arrays |= {f"{role}_{name}": values for name, values in features.statistics.items()}
    return arrays


# --------------------------------------------------------------------------- estimators with errors


def energy(distances: Float[np.ndarray, "U U"], n: int) -> tuple[float, float]:
    """E d(a, b) - E d(a, a')/2 - E d(b, b')/2 without bias, and its jackknife error.

    `distances` (U = n + m) is symmetric, between and within the n units of one sample and the m
    of the other; its diagonal is not read.
    """
    d = np.array(distances, dtype=np.float64)
    np.fill_diagonal(d, 0.0)
    m = len(d) - n
    within_a, within_b, between = d[:n, :n].sum(1), d[n:, n:].sum(1), d[:n, n:]

    def value(s_ab: np.ndarray, s_aa: np.ndarray, s_bb: np.ndarray, n: int, m: int) -> np.ndarray:
        return np.asarray(s_ab / (n * m) - s_aa / (2 * n * (n - 1)) - s_bb / (2 * m * (m - 1)))

    s_ab, s_aa, s_bb = between.sum(), within_a.sum(), within_b.sum()
    without_a = value(s_ab - between.sum(1), s_aa - 2 * within_a, s_bb, n - 1, m)
    without_b = value(s_ab - between.sum(0), s_aa, s_bb - 2 * within_b, n, m - 1)
    return float(value(s_ab, s_aa, s_bb, n, m)), jackknife_error(without_a, without_b)


def jackknife_error(*without: np.ndarray) -> float:
    """Standard error of an estimate from independent samples, from its values without each unit of
    each sample."""
    return float(
        np.sqrt(sum((len(w) - 1) / len(w) * np.square(w - w.mean()).sum() for w in without))
    )


def _estimate(value: float, se: float, null: float = 0.0) -> Estimate:
    return {"value": float(value), "se": float(se), "null": null}


def spectrum_distance(a: Float[np.ndarray, "n Q"], b: Float[np.ndarray, "m Q"]) -> Estimate:
    """Energy distance of spectra under the Wasserstein-1 distance (mean absolute
    difference of the quantiles)."""
    from scipy.spatial.distance import cdist

    both = np.concatenate([a, b])
    return _estimate(*energy(cdist(both, both, "cityblock") / both.shape[1], len(a)))


def degree_divergence(a: np.ndarray, b: np.ndarray) -> Estimate:
    """Symmetrised Kullback-Leibler divergence (nats) of the degree laws behind counts [n, K] and
    [m, K], one row per task.

    p and q are the shares of nodes, each mixed with `SMOOTHING` of the uniform law on the K
    degrees; the value is (KL(p, q) + KL(q, p)) / 2 less its jackknife bias, so it may be a little
    below 0.
    """

    def divergence(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        p, q = (
            (1 - SMOOTHING) * c / c.sum(-1, keepdims=True) + SMOOTHING / c.shape[-1] for c in (p, q)
        )
        return np.asarray(((p - q) * (np.log(p) - np.log(q))).sum(-1) / 2)

    total_a, total_b = a.sum(0).astype(np.float64), b.sum(0).astype(np.float64)
    value = float(divergence(total_a, total_b))
    without_a, without_b = divergence(total_a - a, total_b), divergence(total_a, total_b - b)
    bias = sum((len(w) - 1) * (w.mean() - value) for w in (without_a, without_b))
    return _estimate(value - bias, jackknife_error(without_a, without_b))


def median_distance(points: Float[np.ndarray, "n F"], most: int = 800) -> float:
    """Median distance between two of the points, of about `most` evenly chosen ones where there are
    more; 1 where all coincide."""
    from scipy.spatial.distance import pdist

    median = float(np.median(pdist(points[:: max(1, len(points) // most)])))
    return median if median > 0 else 1.0


def rows_discrepancy(
    a: list[Float[np.ndarray, "N D"]], b: list[Float[np.ndarray, "N D"]], seed: int = 0
) -> Estimate:
    """Squared MMD between families of standardised tables, by the laws of their rows; a table
    is one point.

    The law of a table is embedded as `pair_embedding` does (the points are the values of two
    columns in one row, over all ordered pairs of columns), and a Gaussian kernel on the embeddings
    compares tables (Christmann and Steinwart, 2010). So neither the order of the columns nor their
    number matters, and families whose tables vary differently are at a distance even where their
    means agree.
    """
    bandwidth = median_distance(pair_points(a + b, generator(seed, "distance", "points")))
    frequencies = pair_frequencies(bandwidth, seed)
    return _discrepancy(np.stack([pair_embedding(z, frequencies) for z in a + b]), len(a))


def tables_discrepancy(a: Float[np.ndarray, "n F"], b: Float[np.ndarray, "m F"]) -> Estimate:
    """Squared MMD between the features of tables; each feature is scaled by its
    pooled standard deviation first."""
    both = np.concatenate([a, b])
    spread = both.std(axis=0)
    return _discrepancy(both / np.where(spread > 0, spread, 1.0), len(a))


def _discrepancy(points: np.ndarray, n: int) -> Estimate:
    """Unbiased squared MMD between the first n points and the others, with a Gaussian kernel as
    wide as the median distance of them all.

    The bandwidth does not depend on which sample a point is from, so the estimate is unbiased for
    equal families.
    """
    from scipy.spatial.distance import cdist

    kernel = np.exp(-cdist(points, points, "sqeuclidean") / (2 * median_distance(points) ** 2))
    value, se = energy(-kernel, n)
    return _estimate(2 * value, 2 * se)


def gap(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " m"]) -> Estimate:
    """Mean of b less mean of a, without the tasks that are NaN."""
    (mean_a, se_a, _), (mean_b, se_b, _) = mean_and_error(a), mean_and_error(b)
    return _estimate(mean_b - mean_a, float(np.hypot(se_a, se_b)))


def classifier_auroc(
    a: Float[np.ndarray, "n F"], b: Float[np.ndarray, "m F"], seed: int = 0
) -> Estimate:
    """AUROC of a random forest that distinguishes tasks of b from tasks of a by their features,
    mean over five stratified folds.

    No task of a fold was used to train its forest, so equal families give 1/2 in expectation.
    The variance is that of DeLong et al. (1988) of a fold, times 1/K + 1/(K - 1) instead of 1/K,
    since the K forests share tasks (Nadeau and Bengio, 2003); the error is at least half a task's
    worth, since forests that make no mistake would show none.
    """
    from sklearn.ensemble import RandomForestClassifier

    order = [
        generator(seed, "distance", "folds", role).permutation(len(part))
        for role, part in (("first", a), ("second", b))
    ]
    states = [s % (1 << 32) for s in seeds_of(seed, "distance", "forest", start=0, count=_FOLDS)]
    values, variances = [], []
    for fold in range(_FOLDS):
        held = [np.isin(np.arange(len(o)), o[fold::_FOLDS]) for o in order]
        x = np.concatenate([a[~held[0]], b[~held[1]]])
        y = np.repeat([0, 1], [(~held[0]).sum(), (~held[1]).sum()])
        forest = RandomForestClassifier(_TREES, min_samples_leaf=3, random_state=states[fold])
        forest.fit(x, y)
        low, high = (
            forest.predict_proba(part[inside])[:, 1]
            for part, inside in ((a, held[0]), (b, held[1]))
        )
        value, variance = auroc_with_variance(low, high)
        values.append(value)
        variances.append(variance)
    least = 0.5 / min(len(a), len(b))
    spread = float(np.sqrt(np.mean(variances) * (1 / _FOLDS + 1 / (_FOLDS - 1))))
    return _estimate(float(np.mean(values)), max(spread, least), 0.5)


def auroc_with_variance(
    low: Float[np.ndarray, " n"], high: Float[np.ndarray, " m"]
) -> tuple[float, float]:
    """P(high > low) + P(high = low)/2 over all pairs, and its variance by DeLong et al. (1988).

    >>> auroc_with_variance(np.array([0.0, 1.0]), np.array([1.0, 2.0]))[0]
    0.875
    """
    wins = (high[:, None] > low) + 0.5 * (high[:, None] == low)
    variance = wins.mean(1).var(ddof=1) / len(high) + wins.mean(0).var(ddof=1) / len(low)
    return float(wins.mean()), float(variance)
