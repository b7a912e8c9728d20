"""Metrics of graphs and of posteriors over graphs against the truth: pure functions on arrays, no
artifacts.

Everywhere `adjacency[i, j] = 1` means *i causes j*; the diagonal is ignored; D counts real
variables (padding is cut before). A value that is not defined (SID of a cyclic graph, AUROC without
a true edge) is missing: NaN in arrays, None in dictionaries, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import NDArray

from causal_meta.graphs import cpdag, is_acyclic
from causal_meta.posteriors.optimal_graph import optimal_graph

Array = NDArray[Any]

#: The threshold above which an edge of the marginals is drawn.
THRESHOLD = 0.5
#: Pairs whose marginal lies strictly between these bounds enter `ece_mid`.
MID = (0.05, 0.95)
#: At most this many acyclic samples of a task (the first ones) enter SID, AID and CPDAG-SHD.
MAX_ADJUSTMENT_SAMPLES = 200

METRICS = (
    *(
        "e_shd",
        "shd",
        "optimal_shd",
        "e_cpdag_shd",
        "sid",
        "e_sid",
        "parent_aid",
        "e_parent_aid",
        "ancestor_aid",
        "e_ancestor_aid",
    ),
    *(
        "auroc",
        "auprc",
        "density",
        "precision",
        "recall",
        "f1",
        "e_f1",
        "graph_nll",
        "log_loss",
        "ece",
        "ece_mid",
        "brier",
        "edge_entropy",
    ),
    *("acyclic_share", "n_edges", "e_edges"),
)

CONVENTIONS: dict[str, str] = {
    "direction": "adjacency[i, j] = 1 means variable i causes variable j",
    "pairs": "off-diagonal ordered pairs of real variables, D (D - 1) of them; padding and the "
    "diagonal never count",
    "averaging": "over samples first, then over tasks; se is the standard error over tasks (ddof "
    "= 1), null for a single task",
    "missing": "null where a metric is not defined, and left out of its mean: n counts what is "
    "there; never 0",
    "shd": f"unordered pairs whose edge differs, of the graph of marginals above {THRESHOLD}",
    "optimal_shd": "the same of the acyclic graph of least expected distance under the marginals",
    "e_shd": "mean of the structural Hamming distance over all samples, cyclic ones included",
    "e_cpdag_shd": "as e_shd, between the completed partially "
    "directed graphs, over acyclic samples",
    "sid": "structural intervention distance, a count of 0..D (D - 1), truth first, of the "
    "thresholded graph; null if that is cyclic",
    "e_sid": f"mean over the acyclic samples (the first {MAX_ADJUSTMENT_SAMPLES}); null if there "
    "is none",
    "aid": "parent_aid and ancestor_aid: adjustment identification distances divided by D (D - "
    "1), truth first; acyclic graphs as for sid",
    "auroc": "of the marginals over ordered pairs, ties counted half; null without both an edge "
    "and a non-edge in the truth",
    "auprc": "average precision of the marginals, tied pairs taken together; its chance level is "
    "the density; null without a true edge",
    "f1": "directed edges of the thresholded graph; 1 for empty against empty; precision is null "
    "without a drawn edge, recall without a true one",
    "e_f1": "mean of the directed F1 over all samples",
    "graph_nll": "-log q(truth) in nats; particles: independent marginals smoothed to (k + 1) / "
    "(S + 2), so epsilon = 1 / (S + 2)",
    "log_loss": "graph_nll per ordered pair, in nats",
    "ece": "expected calibration error per task over equal bins of the marginals; reliability "
    "pools the pairs of all tasks",
    "ece_mid": f"the same over pairs with {MID[0]} < marginal < {MID[1]}; null if there is none",
    "brier": "mean squared difference of marginal and truth over ordered pairs",
    "edge_entropy": "mean over ordered pairs of the entropy of the marginal, in nats",
    "acyclic_share": "share of the samples that are acyclic; nothing is repaired",
    "e_edges": "mean number of edges of a sample; n_edges is that of the thresholded graph",
}


# ------------------------------------------------------------------------------- one graph, or many


def shd(
    prediction: Shaped[np.ndarray, "*S D D"],
    truth: Shaped[np.ndarray, "*S D D"],
    *,
    reversal: int = 1,
) -> Int[np.ndarray, "*S"]:
    """Structural Hamming distance of graphs.

    SHD = #{i < j : (A_ij, A_ji) != (B_ij, B_ji)} with `reversal=1`, and sum |A - B| with
    `reversal=2`, where a reversed edge costs 2 (Tsamardinos et al. 2006 against the count of some
    later papers). Works on CPDAGs too, whose undirected edges hold 1 in both directions.
    """
    differs = _off_diagonal(prediction) != _off_diagonal(truth)
    if reversal == 2:
        return differs.sum((-2, -1))
    return (differs | np.swapaxes(differs, -2, -1)).sum((-2, -1)) // 2


def confusion(
    prediction: Shaped[np.ndarray, "*S D D"], truth: Shaped[np.ndarray, "*S D D"]
) -> tuple[Int[np.ndarray, "*S"], Int[np.ndarray, "*S"], Int[np.ndarray, "*S"]]:
    """Numbers of true positive, false positive and false negative directed edges."""
    drawn, true = _off_diagonal(prediction), _off_diagonal(truth)
    counts = [(drawn & true), (drawn & ~true), (~drawn & true)]
    return tuple(item.sum((-2, -1)) for item in counts)  # type: ignore[return-value]


def f1(
    prediction: Shaped[np.ndarray, "*S D D"], truth: Shaped[np.ndarray, "*S D D"]
) -> Float[np.ndarray, "*S"]:
    """F1 = 2 TP / (2 TP + FP + FN) over directed edges; 1 where neither graph has an edge."""
    true, false, missed = confusion(prediction, truth)
    total = 2 * true + false + missed
    return np.where(total > 0, 2 * true / np.maximum(total, 1), 1.0)


def acyclic(graphs: Shaped[np.ndarray, "*S D D"]) -> Bool[np.ndarray, "*S"]:
    """Which graphs are acyclic."""
    return is_acyclic(
        torch.from_numpy(np.ascontiguousarray(_off_diagonal(graphs), dtype=np.int8))
    ).numpy()


def adjustment_distances(
    prediction: Shaped[np.ndarray, "S D D"], truth: Shaped[np.ndarray, "D D"]
) -> dict[str, Float[np.ndarray, " S"]]:
    """SID, parent-AID and ancestor-AID of graphs against one truth; NaN where either is cyclic.

    SID counts the ordered pairs (i, j) whose effect is wrong when the predicted parents of i
    are adjusted for (Peters & Bühlmann 2015); the adjustment identification distances (Henckel,
    Würtzer & Weichwald 2024) are divided by D (D - 1). Computed by gadjid, once per distinct graph.
    """
    import gadjid

    measures: dict[str, Callable[..., tuple[float, int]]] = {
        "sid": gadjid.sid,
        "parent_aid": gadjid.parent_aid,
        "ancestor_aid": gadjid.ancestor_aid,
    }
    distinct, where = np.unique(
        _off_diagonal(prediction).astype(np.int8), axis=0, return_inverse=True
    )
    true = np.ascontiguousarray(_off_diagonal(truth).astype(np.int8))
    # gadjid panics on a cyclic graph, past `except Exception`
    possible = acyclic(distinct) & acyclic(true)
    values = {name: np.full(len(distinct), np.nan) for name in measures}
    for index in np.flatnonzero(possible):
        for name, measure in measures.items():
            fraction, count = measure(
                true, np.ascontiguousarray(distinct[index]), edge_direction="from row to column"
            )
            values[name][index] = count if name == "sid" else fraction
    return {name: value[where.reshape(-1)] for name, value in values.items()}


def compute_graph_metrics(pred_adj: Any, true_adj: Any, *, shd_reversal: int = 1) -> dict[str, Any]:
    """Compare graphs with the truth.

    `pred_adj` and `true_adj` are arrays or tensors of zeros and ones, [D, D] or [B, D, D]; one [D,
    D] side is compared with every graph of the other. Returns shd, sid, parent_aid, ancestor_aid,
    precision, recall, f1, density (of the truth), n_edges and acyclic: numbers for a single pair,
    lists of B numbers for a batch, None where a metric is not defined (see `CONVENTIONS`). Raises
    `ValueError`.

    >>> compute_graph_metrics([[0, 1], [0, 0]], [[0, 0], [1, 0]])["shd"]
    1.0
    >>> compute_graph_metrics([[0, 1], [0, 0]], [[0, 0], [1, 0]], shd_reversal=2)["shd"]
    2.0
    """
    prediction, truth = _graphs(pred_adj, "pred_adj"), _graphs(true_adj, "true_adj")
    if prediction.shape[-1] != truth.shape[-1] or (
        prediction.ndim == truth.ndim == 3 and len(prediction) != len(truth)
    ):
        raise ValueError(
            f"pred_adj has shape {prediction.shape} and true_adj {truth.shape}; give graphs over "
            "the same variables, pairwise."
        )
    if shd_reversal not in (1, 2):
        raise ValueError(f"shd_reversal is {shd_reversal!r}; a reversed edge counts 1 or 2.")
    single = prediction.ndim == truth.ndim == 2
    count = max(len(side) if side.ndim == 3 else 1 for side in (prediction, truth))
    prediction, truth = (
        np.broadcast_to(side, (count, *side.shape[-2:])) for side in (prediction, truth)
    )
    true, false, missed = confusion(prediction, truth)
    n_nodes = truth.shape[-1]
    distances = [
        adjustment_distances(one[None], other) for one, other in zip(prediction, truth, strict=True)
    ]
    values: dict[str, Array] = {
        "shd": shd(prediction, truth, reversal=shd_reversal),
        **{
            name: np.array([item[name][0] for item in distances])
            for name in ("sid", "parent_aid", "ancestor_aid")
        },
        "precision": _ratio(true, true + false),
        "recall": _ratio(true, true + missed),
        "f1": f1(prediction, truth),
        "density": _ratio(true + missed, np.full(count, n_nodes * (n_nodes - 1))),
        "n_edges": true + false,
        "acyclic": acyclic(prediction),
    }
    lists = {name: [or_none(float(item)) for item in value] for name, value in values.items()}
    return (
        {name: value[0] for name, value in lists.items()} if single else cast(dict[str, Any], lists)
    )


# ---------------------------------------------------------------------------------------- marginals


def auroc(scores: Float[np.ndarray, " M"], outcomes: Shaped[np.ndarray, " M"]) -> float:
    """Area under the ROC curve of `scores` for `outcomes` (0 or 1): P(score of an edge > of
    a non-edge), ties half; NaN without both."""
    positive = np.asarray(outcomes, dtype=bool)
    from scipy.stats import rankdata  # takes a second, and not every command computes metrics

    n_true, n_false = int(positive.sum()), int((~positive).sum())
    if n_true == 0 or n_false == 0:
        return math.nan
    rank_sum = float(rankdata(scores)[positive].sum())
    return (rank_sum - n_true * (n_true + 1) / 2) / (n_true * n_false)


def average_precision(scores: Float[np.ndarray, " M"], outcomes: Shaped[np.ndarray, " M"]) -> float:
    """AUPRC as average precision, sum over distinct thresholds of (R_k - R_{k-1}) P_k; tied scores
    count as one threshold; NaN without an edge."""
    positive = np.asarray(outcomes, dtype=bool)
    if not positive.any():
        return math.nan
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    ranked = np.asarray(scores, dtype=np.float64)[order]
    # the end of every block of equal scores
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)
    hits = np.cumsum(positive[order])[last]
    return float(np.sum(np.diff(hits, prepend=0) / positive.sum() * hits / (last + 1)))


def reliability_bins(
    probabilities: Float[np.ndarray, " M"], outcomes: Shaped[np.ndarray, " M"], bins: int = 10
) -> list[dict[str, float | int | None]]:
    """Predicted probability against observed frequency in `bins` equal bins [low, high) of [0, 1],
    the last one closed.

    Returns one record {low, high, count, mean_probability, frequency} per bin, the last two None in
    an empty bin.
    """
    # 0.7 in float32 belongs to [0.7, 0.8)
    which = np.clip(np.floor(probabilities * bins + 1e-6).astype(int), 0, bins - 1)
    count = np.bincount(which, minlength=bins)
    mean = _ratio(np.bincount(which, weights=probabilities, minlength=bins), count)
    frequency = _ratio(np.bincount(which, weights=outcomes, minlength=bins), count)
    edges = np.arange(bins + 1) / bins
    return [
        {
            "low": float(edges[k]),
            "high": float(edges[k + 1]),
            "count": int(count[k]),
            "mean_probability": or_none(float(mean[k])),
            "frequency": or_none(float(frequency[k])),
        }
        for k in range(bins)
    ]


def expected_calibration_error(
    probabilities: Float[np.ndarray, " M"], outcomes: Shaped[np.ndarray, " M"], bins: int = 10
) -> float:
    """ECE = sum over bins of (count / M) |mean probability - frequency|; NaN for M = 0."""
    records = [bin for bin in reliability_bins(probabilities, outcomes, bins) if bin["count"]]
    gaps = [
        cast(int, item["count"])
        * abs(cast(float, item["mean_probability"]) - cast(float, item["frequency"]))
        for item in records
    ]
    return sum(gaps) / len(probabilities) if len(probabilities) else math.nan


def marginal_metrics(
    probabilities: Float[np.ndarray, "D D"], truth: Shaped[np.ndarray, "D D"], *, ece_bins: int = 10
) -> dict[str, float]:
    """AUROC, AUPRC, density, ECE, Brier score and entropy of edge marginals against a truth, over
    the ordered pairs."""
    p, edge = (
        ordered_pairs(probabilities).astype(np.float64),
        ordered_pairs(truth).astype(np.float64),
    )
    mid = (p > MID[0]) & (p < MID[1])
    inner = p[(p > 0) & (p < 1)]
    entropy = -(inner * np.log(inner) + (1 - inner) * np.log1p(-inner)).sum()
    return {
        "auroc": auroc(p, edge),
        "auprc": average_precision(p, edge),
        "density": float(edge.mean()),
        "ece": expected_calibration_error(p, edge, ece_bins),
        "ece_mid": expected_calibration_error(p[mid], edge[mid], ece_bins),
        "brier": float(np.mean((p - edge) ** 2)),
        "edge_entropy": float(entropy / len(p)),
    }


# --------------------------------------------------------------------------------------- posteriors


def posterior_metrics(
    samples: Shaped[np.ndarray, "S D D"],
    probabilities: Float[np.ndarray, "D D"],
    truth: Shaped[np.ndarray, "D D"],
    log_prob: float,
    *,
    shd_reversal: int = 1,
    ece_bins: int = 10,
) -> dict[str, float | None]:
    """Every metric of `METRICS` for one task.

    E-SHD and E-F1 average all samples; SID, AID and CPDAG-SHD the acyclic ones (at most
    `MAX_ADJUSTMENT_SAMPLES`).

    Args:
        samples: graphs of the posterior.
        probabilities: its marginals.
        truth: the true graph.
        log_prob: log q(truth) in nats.
        shd_reversal: the cost of a reversed edge, 1 or 2.
        ece_bins: bins of the calibration error.
    """
    drawn = probabilities > THRESHOLD
    point = compute_graph_metrics(drawn, truth, shd_reversal=shd_reversal)
    is_dag = acyclic(samples)
    dags = samples[is_dag][:MAX_ADJUSTMENT_SAMPLES]
    distances = adjustment_distances(dags, truth) if len(dags) else {}
    values = {
        **{
            name: point[name]
            for name in (
                "shd",
                "sid",
                "parent_aid",
                "ancestor_aid",
                "precision",
                "recall",
                "f1",
                "n_edges",
            )
        },
        **{f"e_{name}": float(np.mean(value)) for name, value in distances.items()},
        **marginal_metrics(probabilities, truth, ece_bins=ece_bins),
        "optimal_shd": float(shd(optimal_graph(probabilities), truth, reversal=shd_reversal)),
        "e_shd": float(np.mean(shd(samples, truth, reversal=shd_reversal))),
        "e_cpdag_shd": _e_cpdag_shd(dags, truth, shd_reversal),
        "e_f1": float(np.mean(f1(samples, truth))),
        "graph_nll": -log_prob,
        "log_loss": -log_prob / (len(truth) * (len(truth) - 1)),
        "acyclic_share": float(np.mean(is_dag)),
        "e_edges": float(np.mean(_off_diagonal(samples).sum((-2, -1)))),
    }
    return {name: or_none(values.get(name)) for name in METRICS}


def _e_cpdag_shd(dags: Array, truth: Array, reversal: int) -> float:
    if not len(dags) or not acyclic(truth):
        return math.nan
    distinct, count = np.unique(_off_diagonal(dags).astype(np.int8), axis=0, return_counts=True)
    classes = cpdag(torch.from_numpy(distinct)).numpy()
    true_class = cpdag(torch.from_numpy(_off_diagonal(truth).astype(np.int8))).numpy()
    return float(np.average(shd(classes, true_class, reversal=reversal), weights=count))


def summary(
    per_task: Mapping[str, Sequence[float | None]],
) -> dict[str, dict[str, float | int | None]]:
    """Mean over tasks, its standard error s / sqrt(n) with ddof = 1, and the number n of tasks
    where the metric is defined.

    >>> summary({"shd": [1.0, 3.0, None]})["shd"]
    {'mean': 2.0, 'se': 1.0, 'n': 2}
    """
    result: dict[str, dict[str, float | int | None]] = {}
    for name, values in per_task.items():
        present = np.array([value for value in values if value is not None], dtype=np.float64)
        n = len(present)
        error = float(present.std(ddof=1) / math.sqrt(n)) if n > 1 else None
        result[name] = {"mean": float(present.mean()) if n else None, "se": error, "n": n}
    return result


# -------------------------------------------------------------------------------------------- parts


def ordered_pairs(matrix: Shaped[np.ndarray, "D D"]) -> Shaped[np.ndarray, " M"]:
    """The M = D (D - 1) off-diagonal entries, row by row."""
    return matrix[~np.eye(matrix.shape[-1], dtype=bool)]


def or_none(value: float | None) -> float | None:
    """`value`, or None where it is not a finite number."""
    return value if value is not None and math.isfinite(value) else None


def _off_diagonal(graphs: Array) -> NDArray[np.bool_]:
    return (np.asarray(graphs) != 0) & ~np.eye(np.shape(graphs)[-1], dtype=bool)


def _ratio(numerator: Array, denominator: Array) -> Array:
    return np.where(denominator > 0, numerator / np.maximum(denominator, 1), np.nan)


def _graphs(value: Any, name: str) -> Array:
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    if array.ndim not in (2, 3) or array.shape[-1] != array.shape[-2]:
        raise ValueError(
            f"{name} has shape {array.shape}; give one graph [D, D] or a batch [B, D, D]."
        )
    if not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"{name} holds values other than 0 and 1; threshold probabilities first, for example "
            "p > 0.5."
        )
    return array
