"""A summary of the tables a model was trained on, and a warning in words about a table that is
unlike them.

A table is described by a short vector of features that do not change when its rows or columns are
permuted or its columns are shifted and rescaled: shape of the marginals, tails, ties, correlations,
nonlinearity and changing spread of pairs. On a grid of sizes (D, N) that spans the stream's, every
feature f gets a mean m_f and a scale s_f over tasks of the stream; between the grid's points both
are bilinear in log D and log N. Then

    z_f = (phi_f(x) - m_f(D, N)) / s_f(D, N),    score(x) = max_f z_f^± / q_f^±,

where q_f^+ and q_f^- are the far quantiles of z_f on either side. A table is unusual when its score
is beyond the 99 % quantile of the scores of separate tasks of the stream, so about one table in a
hundred from the training families causes a warning. The warning names the features that exceed the
threshold. It reads marginals and pairs only, so a table may differ in other properties without a
warning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from causal_meta.randomness import seeds_of

if TYPE_CHECKING:
    from jaxtyping import Float

    from causal_meta.datasets.scm import SCMFamily

N_TASKS = 6400
_MOST_PER_SIZE = 2000
_GRID = (5, 4)  # sizes D and sizes N
_FAR = 0.998
_THRESHOLD = 0.99
_CELLS = 1 << 17  # numbers of tables drawn at once
_TINY = 1e-12


@dataclass(frozen=True)
class Feature:
    """One entry of a table's vector: its name in words, the function that returns it to natural
    units, and the smallest scale that counts as a difference."""

    name: str
    words: str
    natural: Callable[[float], float]
    floor: float


def _same(value: float) -> float:
    return value


def _fisher(value: float) -> float:
    return float(np.tanh(value))


def _gain(value: float) -> float:
    return float(np.exp(value) - 0.01)


FEATURES: tuple[Feature, ...] = (
    Feature("skewness_middle", "skewness of the middle column", lambda v: float(np.expm1(v)), 0.02),
    Feature(
        "skewness_largest", "skewness of the most skewed column", lambda v: float(np.expm1(v)), 0.02
    ),
    Feature(
        "skewness_smallest",
        "skewness of the least skewed column",
        lambda v: float(np.expm1(v)),
        0.02,
    ),
    Feature(
        "asymmetry_middle",
        "asymmetry of the 5 and 95 % quantiles of the middle column",
        _same,
        0.02,
    ),
    Feature(
        "asymmetry_smallest",
        "asymmetry of the 5 and 95 % quantiles of the least asymmetric column",
        _same,
        0.02,
    ),
    Feature("kurtosis_middle", "kurtosis of the middle column", lambda v: float(np.exp(v)), 0.02),
    Feature(
        "kurtosis_largest",
        "kurtosis of the heaviest-tailed column",
        lambda v: float(np.exp(v)),
        0.02,
    ),
    Feature(
        "kurtosis_smallest",
        "kurtosis of the lightest-tailed column",
        lambda v: float(np.exp(v)),
        0.02,
    ),
    Feature(
        "extreme_middle",
        "largest value of the middle column in standard deviations",
        lambda v: float(np.exp(v)),
        0.02,
    ),
    Feature(
        "core_middle",
        "spread of the middle half of the middle column (1 for a Gaussian)",
        lambda v: float(np.exp(v)),
        0.02,
    ),
    Feature(
        "core_smallest",
        "spread of the middle half of the most peaked column (1 for a Gaussian)",
        lambda v: float(np.exp(v)),
        0.02,
    ),
    Feature("ties_mean", "share of repeated values over all columns", _same, 0.01),
    Feature(
        "ties_largest", "share of repeated values in the column with most of them", _same, 0.01
    ),
    Feature("correlation_mean", "mean absolute correlation of two columns", _fisher, 0.02),
    Feature("correlation_largest", "largest absolute correlation of two columns", _fisher, 0.05),
    Feature(
        "rank",
        "effective number of independent directions per column",
        lambda v: float(np.exp(v)),
        0.02,
    ),
    Feature(
        "smallest_eigenvalue",
        "smallest eigenvalue of the correlation matrix",
        lambda v: float(np.exp(v)),
        0.1,
    ),
    Feature(
        "curvature_mean", "mean gain in R² from a squared term between two columns", _gain, 0.05
    ),
    Feature(
        "curvature_largest",
        "largest gain in R² from a squared term between two columns",
        _gain,
        0.05,
    ),
    Feature(
        "spread_mean",
        "mean correlation of a column with the squared residual of another",
        _same,
        0.02,
    ),
    Feature(
        "spread_largest",
        "largest correlation of a column with the squared residual of another",
        _same,
        0.02,
    ),
)


# -------------------------------------------------------------------------------- vector of a table


def table_summary(x: Float[np.ndarray, "*K N D"]) -> Float[np.ndarray, "*K F"]:
    """The F features of a table, or of each of K tables of one size.

    They are the same for any permutation of rows or columns, and for any shift and factor of a
    column.

    >>> table_summary(np.eye(12)).shape == (len(FEATURES),)
    True
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim == 2:
        return table_summary(x[None])[0]
    z = _standardised(x)
    return np.stack([*_marginals(x, z), *_pairs(z)], axis=1)


def _standardised(x: np.ndarray) -> np.ndarray:
    z = x - x.mean(axis=1, keepdims=True)
    return z / np.maximum(np.sqrt((z * z).mean(axis=1, keepdims=True)), _TINY)


def _marginals(x: np.ndarray, z: np.ndarray) -> list[np.ndarray]:
    """Features of single columns of K tables [K, N, D]: arrays [K]."""
    n = x.shape[1]
    z2 = z * z
    skewness = np.log1p(np.abs((z2 * z).mean(axis=1)))
    kurtosis = np.log(np.maximum((z2 * z2).mean(axis=1), 1.0))
    ordered = np.sort(z, axis=1)
    extreme = np.log(np.maximum(np.maximum(-ordered[:, 0], ordered[:, -1]), _TINY))
    low, middle, high = (
        ordered[:, n // 20],
        (ordered[:, n // 2] + ordered[:, (n - 1) // 2]) / 2,
        ordered[:, n - 1 - n // 20],
    )
    asymmetry = np.abs(high + low - 2 * middle) / np.maximum(high - low, _TINY)
    quarter = max(n // 4, 1)
    core = np.log(np.maximum((ordered[:, n - 1 - quarter] - ordered[:, quarter]) / 1.349, 0.01))
    ties = (np.diff(np.sort(x, axis=1), axis=1) == 0).mean(axis=1)
    return [
        np.median(skewness, axis=1), skewness.max(axis=1), skewness.min(axis=1),
        np.median(asymmetry, axis=1), asymmetry.min(axis=1),
        np.median(kurtosis, axis=1), kurtosis.max(axis=1), kurtosis.min(axis=1),
        np.median(extreme, axis=1), np.median(core, axis=1), core.min(axis=1),
        ties.mean(axis=1), ties.max(axis=1),
    ]  # fmt: skip


def _pairs(z: np.ndarray) -> list[np.ndarray]:
    """Features of pairs of standardised columns of K tables [K, N, D]: arrays [K]."""
    n, d = z.shape[1:]
    off = ~np.eye(d, dtype=bool)
    turned = np.ascontiguousarray(z.transpose(0, 2, 1))
    turned2 = turned * turned
    z2 = turned2.transpose(0, 2, 1)
    rho = turned @ z / n
    m21 = turned2 @ z / n  # [i, j]: E[x_i² x_j]
    m22, m31 = turned2 @ z2 / n, (turned2 * turned) @ z / n
    m12, m13 = m21.transpose(0, 2, 1), m31.transpose(0, 2, 1)
    m3, m4 = (np.diagonal(m, axis1=1, axis2=2)[:, :, None] for m in (m21, m22))
    fisher = np.arctanh(np.minimum(np.abs(rho[:, off]), 0.9999))
    eigenvalues = np.maximum(np.linalg.eigvalsh(rho), 1e-6)
    share = eigenvalues / eigenvalues.sum(axis=1, keepdims=True)
    rank = -(share * np.log(share)).sum(axis=1) - np.log(d)
    # x_j on x_i and the part of x_i² orthogonal to 1 and x_i: the square's gain in R²
    gain = (m21 - m3 * rho) ** 2 / np.maximum(m4 - 1 - m3**2, 1e-3)
    gain = np.log(np.minimum(gain[:, off], 1.0) + 0.01)
    # squared residual (x_j - rho x_i)² with mean 1 - rho²: its correlation with x_i and with x_i²
    with_x = m12 - 2 * rho * m21 + rho**2 * m3
    with_square = m22 - 2 * rho * m31 + rho**2 * m4 - (1 - rho**2)
    fourth = (
        m4.transpose(0, 2, 1) - 4 * rho * m13 + 6 * rho**2 * m22 - 4 * rho**3 * m31 + rho**4 * m4
    )
    spread = np.sqrt(np.maximum(fourth - (1 - rho**2) ** 2, 1e-6))
    changing = (
        np.maximum(np.abs(with_x), np.abs(with_square) / np.sqrt(np.maximum(m4 - 1, 1e-3))) / spread
    )
    changing = np.minimum(changing[:, off], 1.0)
    return [
        fisher.mean(axis=1), fisher.max(axis=1), rank, np.log(eigenvalues[:, 0]),
        gain.mean(axis=1), gain.max(axis=1), changing.mean(axis=1), changing.max(axis=1),
    ]  # fmt: skip


# ------------------------------------------------------------------------------ summary of a stream


def stream_summary(family: SCMFamily, seed: int, n_tasks: int = N_TASKS) -> dict[str, np.ndarray]:
    """Features of the tables of a family, as plain arrays: grid of sizes, mean and scale of every
    feature [5, 4, F], far quantiles, threshold.

    About `n_tasks` tasks are drawn, equally many at every size; half of them fit the features, the
    other half sets the threshold. They share no seed with training or testing.
    """
    nodes, rows = (
        _grid(bounds.low, bounds.high, most)
        for bounds, most in zip((family.n_nodes, family.n_rows), _GRID, strict=True)
    )
    each = max(4, min(n_tasks // (len(nodes) * len(rows)), _MOST_PER_SIZE))
    # [5, 4, each, F]
    vectors = np.stack(
        [
            np.stack([_stream_vectors(family, seed, int(d), int(n), each) for n in rows])
            for d in nodes
        ]
    )
    fit, rest = vectors[:, :, : each // 2], vectors[:, :, each // 2 :]
    mean = fit.mean(axis=2)
    scale = np.abs(fit - mean[:, :, None]).mean(axis=2) + np.array(
        [feature.floor for feature in FEATURES]
    )
    z = ((fit - mean[:, :, None]) / scale[:, :, None]).reshape(-1, len(FEATURES))
    far = np.maximum(np.stack([np.quantile(-z, _FAR, axis=0), np.quantile(z, _FAR, axis=0)]), 1.0)
    scores = _worst((rest - mean[:, :, None]) / scale[:, :, None], far).max(axis=-1)
    return {
        "features": np.array([feature.name for feature in FEATURES]),
        "n_nodes": nodes,
        "n_rows": rows,
        "mean": mean,
        "scale": scale,
        "far": far,
        "threshold": np.quantile(scores, _THRESHOLD),
    }


def _grid(low: int, high: int, most: int) -> np.ndarray:
    """At most `most` whole numbers from low to high, evenly on the logarithm.

    >>> _grid(3, 20, 5).tolist()
    [3, 5, 8, 12, 20]
    """
    return np.unique(np.round(np.geomspace(low, high, most)).astype(np.int64))


def _stream_vectors(
    family: SCMFamily, seed: int, n_nodes: int, n_rows: int, count: int
) -> np.ndarray:
    """Features [count, F] of `count` tasks of one size."""
    block = max(1, _CELLS // (n_nodes * n_rows))
    vectors = []
    for start in range(0, count, block):
        seeds = seeds_of(
            seed, "stream_summary", n_nodes, n_rows, start=start, count=min(block, count - start)
        )
        batch = family.sample_tasks(seeds, n_rows=n_rows, n_nodes=n_nodes)
        # false where tasks have different numbers of interventional rows in addition
        whole = bool(batch.row_mask.all())
        vectors.append(
            table_summary(batch.x.numpy())
            if whole
            else np.stack([table_summary(batch.task(b).x.numpy()) for b in range(len(batch))])
        )
    return np.concatenate(vectors)


def _expected(
    shape: tuple[int, ...], summary: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale [F] for a table of N rows and D columns; outside the grid those of its
    edge."""
    (i, a), (j, b) = (
        _place(size, summary[name]) for size, name in ((shape[1], "n_nodes"), (shape[0], "n_rows"))
    )
    corners = (
        (i, j, (1 - a) * (1 - b)),
        (i + 1, j, a * (1 - b)),
        (i, j + 1, (1 - a) * b),
        (i + 1, j + 1, a * b),
    )
    mean, scale = (
        sum(weight * summary[name][k, m] for k, m, weight in corners if weight)
        for name in ("mean", "scale")
    )
    return np.asarray(mean), np.asarray(scale)


def _place(size: int, grid: np.ndarray) -> tuple[int, float]:
    """The grid point below a size, and the fraction in [0, 1] of the distance to the next one, on a
    logarithmic axis."""
    if size <= grid[0] or len(grid) == 1:
        return 0, 0.0
    below = min(int(np.searchsorted(grid, size, side="right")) - 1, len(grid) - 2)
    return below, min(
        float(np.log(size / grid[below]) / np.log(grid[below + 1] / grid[below])), 1.0
    )


def _worst(z: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Each feature's distance in units of its far quantile on that side, [..., F]."""
    return np.maximum(-z / far[0], z / far[1])


# -------------------------------------------------------------------------------------- the warning


def table_score(x: Float[np.ndarray, "N D"], summary: Mapping[str, np.ndarray]) -> float:
    """The score of a table divided by the threshold: above 1 the table is unusual."""
    return float(_relative(x, summary)[0].max())


def _relative(x: np.ndarray, summary: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Each feature's distance in units of the threshold and the features' values, [F] both."""
    names = [str(name) for name in summary["features"]]
    if names != [feature.name for feature in FEATURES]:
        raise ValueError(
            "The stream summary was made with other features than this version's; build the "
            "model's summary again."
        )
    vector = table_summary(x)
    mean, scale = _expected(x.shape, summary)
    return _worst((vector - mean) / scale, summary["far"]) / float(summary["threshold"]), vector


def check_table(
    x: Float[np.ndarray, "N D"], summary: Mapping[str, np.ndarray], columns: Sequence[str] = ()
) -> list[str]:
    """Sentences about the unusual features of a table, for a model with this stream summary; none
    if nothing is unusual.

    With the D names in `columns` a sentence names the column that is extreme, if it is a single
    one.
    """
    sentences = []
    for noun, size, bounds in (
        ("columns", x.shape[1], summary["n_nodes"]),
        ("rows", x.shape[0], summary["n_rows"]),
    ):
        low, high = int(bounds[0]), int(bounds[-1])
        if not low <= size <= high:
            span = f"{low}" if low == high else f"{low} to {high}"
            sentences.append(f"The table has {size} {noun}; the model was trained on {span}.")
    relative, vector = _relative(x, summary)
    unusual = [int(f) for f in np.argsort(-relative) if relative[f] > 1]
    if unusual:
        descriptions = "; ".join(_description(f, x, vector, summary, columns) for f in unusual[:3])
        more = f"; and {len(unusual) - 3} more features" if len(unusual) > 3 else ""
        sentences.append(
            "The table is unlike the training worlds, so the probabilities may be off: "
            f"{descriptions}{more}."
        )
    return sentences


def _description(
    f: int,
    x: np.ndarray,
    vector: np.ndarray,
    summary: Mapping[str, np.ndarray],
    columns: Sequence[str],
) -> str:
    """`kurtosis of the heaviest-tailed column ('income') is 40 (training worlds: 1.8 to 9.1)`."""
    mean, scale = _expected(x.shape, summary)
    reach = scale[f] * float(summary["threshold"]) * summary["far"][:, f]
    low, high = mean[f] - reach[0], mean[f] + reach[1]
    natural = FEATURES[f].natural
    which = f" ({columns[place]!r})" if columns and (place := _column(f, x)) is not None else ""
    return (
        f"{FEATURES[f].words}{which} is {natural(vector[f]):.3g} (training worlds: "
        f"{max(natural(low), 0.0):.3g} to {natural(high):.3g})"
    )


def _column(f: int, x: np.ndarray) -> int | None:
    """The column that feature f is the largest or smallest of; None for other features."""
    alone = x.T[:, :, None]  # every column as a separate table
    values = _marginals(alone, _standardised(alone))
    pick = {"largest": np.argmax, "smallest": np.argmin}.get(FEATURES[f].name.rpartition("_")[2])
    return int(pick(values[f])) if pick is not None and f < len(values) else None
