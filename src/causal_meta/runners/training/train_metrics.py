"""Metrics of the training loop: validation of a batch at a time, and the likelihood of held-out
rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from causal_meta.conf.setting import ConfigError
from causal_meta.graphs import is_acyclic
from causal_meta.models.base import BaseModel
from causal_meta.posteriors import GraphPosterior, pair_mask
from causal_meta.randomness import torch_generator
from causal_meta.runners.training.loop import Direction
from causal_meta.tasks import TaskBatch, full_batch

#: Whether a validation metric is better when smaller ("min") or larger ("max"); the mean over
#: families and each family have the same names.
METRIC_DIRECTIONS: dict[str, Direction] = {
    "val/loss": "min",
    "val/auroc": "max",
    "val/auprc": "max",
    "val/ece": "min",
    "val/brier": "min",
    "val/graph_nll": "min",
}


def direction(monitor: str, families: Iterable[str] = ()) -> Direction:
    """ "min" or "max" for `val/<metric>` or `val/<family>/<metric>`; raises `ConfigError` for any
    other name.

    >>> direction("val/auroc"), direction("val/linear/loss", ["linear"])
    ('max', 'min')
    """
    names = dict(METRIC_DIRECTIONS)
    for family in families:
        names |= {
            f"val/{family}/{name.removeprefix('val/')}": smaller_or_larger
            for name, smaller_or_larger in METRIC_DIRECTIONS.items()
        }
    if monitor not in names:
        raise ConfigError(f"trainer.monitor is {monitor!r}; allowed are {', '.join(names)}.")
    return names[monitor]


def marginal_metrics(
    probabilities: Float[Tensor, "B D D"],
    adjacency: Float[Tensor, "B D D"] | Int[Tensor, "B D D"],
    node_mask: Bool[Tensor, "B D"],
    bins: int = 10,
) -> dict[str, Float[Tensor, " B"]]:
    """AUROC, AUPRC, expected calibration error (ECE) and Brier score of edge marginals, per task.

    Only ordered pairs of different real variables count. The conventions are those of
    `eval_metrics`: ties count half in AUROC and share one threshold in AUPRC (average precision);
    both are NaN for a task whose graph has no edge, or (AUROC) all edges. `bins` is the number of
    equal bins of the ECE. The results are float64.
    """
    pairs = pair_mask(node_mask).flatten(1)
    # padding sorts behind all real pairs
    score = probabilities.to(torch.float64).flatten(1).masked_fill(~pairs, -1.0)
    edge = (adjacency > 0.5).flatten(1) & pairs
    total, n_edges = pairs.sum(1), edge.sum(1)

    order = torch.argsort(score, dim=1, descending=True, stable=True)
    ranked, is_edge = score.gather(1, order), edge.gather(1, order).to(torch.float64)
    true = is_edge.cumsum(1)  # edges among the k+1 highest scores
    first, last = _tied(ranked)
    place = torch.arange(score.shape[1], device=score.device, dtype=torch.float64).expand_as(ranked)
    true_last, place_last = true.gather(1, last), place.gather(1, last) + 1
    true_before = (true - is_edge).gather(1, first)
    false_last = place_last - true_last
    false_before = place.gather(1, first) - true_before
    n_false = (total - n_edges).to(torch.float64)
    # non-edges below an edge, ties half
    beaten = (n_false[:, None] - false_last) + 0.5 * (false_last - false_before)
    known = (n_edges > 0) & (n_edges < total)
    auroc = _ratio((beaten * is_edge).sum(1), n_edges * n_false, known)
    auprc = _ratio((true_last / place_last * is_edge).sum(1), n_edges, n_edges > 0)

    squared = ((score - edge.to(score)).square() * pairs).sum(1)
    return {
        "auroc": auroc,
        "auprc": auprc,
        "ece": _calibration_error(score, edge, pairs, bins),
        "brier": _ratio(squared, total, total > 0),
    }


def _tied(ranked: Tensor) -> tuple[Tensor, Tensor]:
    """First and last position [B, M] of the block of equal values around each position of rows
    sorted downwards."""
    size = ranked.shape[1]
    place = torch.arange(size, device=ranked.device).expand_as(ranked)
    starts = torch.ones_like(ranked, dtype=torch.bool)
    starts[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    ends = torch.ones_like(starts)
    ends[:, :-1] = starts[:, 1:]
    first = torch.where(starts, place, torch.zeros_like(place)).cummax(1).values
    last = (
        torch.where(ends, place, torch.full_like(place, size - 1)).flip(1).cummin(1).values.flip(1)
    )
    return first, last


def _calibration_error(score: Tensor, edge: Tensor, pairs: Tensor, bins: int) -> Tensor:
    """ECE = sum over bins of (count / M) |mean probability - frequency| of every task, bins [low,
    high), the last one closed."""
    which = (score * bins + 1e-6).floor().clamp(0, bins - 1).to(torch.int64)
    gap = torch.zeros(len(score), bins, dtype=score.dtype, device=score.device)
    gap.scatter_add_(1, which, (score - edge.to(score)) * pairs)
    return _ratio(gap.abs().sum(1), pairs.sum(1), pairs.any(1))


def _ratio(numerator: Tensor, denominator: Tensor, known: Tensor) -> Tensor:
    return torch.where(known, numerator / denominator.clamp(min=1), torch.nan)


def posterior_metrics(
    posterior: GraphPosterior, batch: TaskBatch
) -> dict[str, Float[Tensor, " B"]]:
    """Validation metrics of a posterior for a batch with truth: `marginal_metrics` and the graph's
    negative log probability in nats."""
    if batch.adjacency is None:
        raise ValueError(
            "The validation batch has no true graphs; use test families, whose tasks have them."
        )
    nll = -posterior.log_prob(batch.adjacency).to(torch.float64)
    return marginal_metrics(posterior.edge_probabilities, batch.adjacency, batch.node_mask) | {
        "graph_nll": nll
    }


def means(per_task: Mapping[str, list[Tensor]]) -> dict[str, float]:
    """Mean over all tasks of all batches, tasks where a metric is not defined left out; NaN where
    it is defined for none."""
    return {name: float(torch.cat(values).nanmean()) for name, values in per_task.items()}


# ----------------------------------------------------------------------------------- predictive NLL


def compute_predictive_nll(
    model: BaseModel,
    x_test: TaskBatch | Tensor,
    x_train: TaskBatch | Tensor | None = None,
    *,
    n_samples: int = 100,
    seed: int = 0,
) -> float:
    """Mean negative log density of held-out rows, in nats per row, under the graphs that `model`
    infers.

    A model of graphs alone has no density over rows. So each of `n_samples` posterior graphs G
    given the training rows is fitted as a linear-Gaussian model by least squares on them, and the
    held-out rows are scored: NLL = - mean over G and rows n of  sum_j log N(x_nj ; a_j + w_j .
    x_n,pa(j), s_j²), averaged over the tasks, in the units of the training rows' z-scores (both
    tables are standardised by the training rows' mean and standard deviation). Cyclic graphs have
    no such density and are left out; a task with none but cyclic ones is left out, and the result
    is NaN if all are. It separates graphs of different Markov equivalence classes, not members of
    one.

    `x_test` and `x_train` are batches, or tensors [B, N, D] or [N, D] without padding. Without
    `x_train` the first half of each table's rows of `x_test` is the training part and only the
    second half is scored.

    Raises ValueError where a part has fewer than 2 rows or the tables do not fit.
    """
    train, test = _batches(x_test, x_train)
    mean, spread = _moments(train)
    known = train.node_mask[:, None, :]
    z_train, z_test = (
        (part.x - mean) / spread * (part.row_mask[:, :, None] & known) for part in (train, test)
    )
    graphs = model.sample(
        train.standardised().without_truth(), n_samples, torch_generator(seed, "predictive_nll")
    ).to(z_train.device)
    usable = is_acyclic(graphs)
    scores = linear_gaussian_nll(
        z_train.double(), z_test.double(), graphs, train.node_mask, train.row_mask, test.row_mask
    )
    per_task = torch.where(usable, scores, torch.nan).nanmean(1)
    return float(per_task.nanmean())


def linear_gaussian_nll(
    train: Float[Tensor, "B N D"],
    test: Float[Tensor, "B M D"],
    graphs: Int[Tensor, "B S D D"],
    node_mask: Bool[Tensor, "B D"],
    train_rows: Bool[Tensor, "B N"],
    test_rows: Bool[Tensor, "B M"],
) -> Float[Tensor, "B S"]:
    """Mean negative log density, in nats per row, of `test` under each graph fitted by least
    squares to `train`; both centred on the training mean, zero where padded. Variances are the mean
    squared residuals, at least 1e-6."""
    n = train_rows.sum(1).to(train)[:, None, None]
    m = test_rows.sum(1).to(test)[:, None, None]
    # second moments, enough for every regression
    fitted, held = train.mT @ train / n, test.mT @ test / m
    parents = graphs.to(train).mT  # [B, S, j, parents of j]
    keep = parents[..., :, None] * parents[..., None, :]  # [B, S, j, D, D]
    system = (
        keep * fitted[:, None, None]
        + torch.diag_embed(1 - parents)
        + 1e-9 * torch.eye(train.shape[-1], device=train.device)
    )
    weights = torch.linalg.solve(system, parents * fitted[:, None].mT)
    # row j: x_j minus its prediction
    residual = torch.eye(train.shape[-1], device=train.device, dtype=train.dtype) - weights
    variance = (torch.einsum("bsji,bik,bsjk->bsj", residual, fitted, residual)).clamp(min=1e-6)
    error = torch.einsum("bsji,bik,bsjk->bsj", residual, held, residual)
    terms = 0.5 * (torch.log(2 * torch.pi * variance) + error / variance)
    return (terms * node_mask[:, None]).sum(-1)


def _moments(batch: TaskBatch) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every column over the real rows, [B, 1, D]; a standard
    deviation of 0 becomes 1."""
    real = batch.row_mask[:, :, None].to(batch.x)
    n = real.sum(1, keepdim=True)
    mean = (batch.x * real).sum(1, keepdim=True) / n
    spread = (((batch.x - mean) * real).square().sum(1, keepdim=True) / n).sqrt()
    return mean, torch.where(spread > 0, spread, torch.ones_like(spread))


def _batches(
    x_test: TaskBatch | Tensor, x_train: TaskBatch | Tensor | None
) -> tuple[TaskBatch, TaskBatch]:
    test = _as_batch(x_test)
    if x_train is None:
        half = test.row_mask.sum(1, keepdim=True) // 2
        first = torch.arange(test.n_rows, device=half.device) < half
        parts = (_rows(test, test.row_mask & first), _rows(test, test.row_mask & ~first))
    else:
        parts = (_as_batch(x_train), test)
    train, test = parts
    if train.node_mask.shape != test.node_mask.shape or not torch.equal(
        train.node_mask, test.node_mask
    ):
        raise ValueError(
            f"x_train has variables {tuple(train.node_mask.shape)} and x_test "
            f"{tuple(test.node_mask.shape)}; give the same tables."
        )
    if int(train.row_mask.sum(1).min()) < 2 or int(test.row_mask.sum(1).min()) < 2:
        raise ValueError("Fitting and scoring need at least 2 rows each; give a longer table.")
    return train, test


def _rows(batch: TaskBatch, keep: Tensor) -> TaskBatch:
    """The rows of `keep` [B, N], moved to the front."""
    order = torch.argsort((~keep).to(torch.int8), dim=1, stable=True)[:, : int(keep.sum(1).max())]
    index = order[:, :, None].expand(-1, -1, batch.n_nodes)
    mask = keep.gather(1, order)
    x, intervened = (values.gather(1, index) for values in (batch.x, batch.intervened))
    return TaskBatch(
        x * mask[:, :, None],
        batch.adjacency,
        intervened & mask[:, :, None],
        batch.node_mask,
        mask,
        batch.seeds,
    )


def _as_batch(x: TaskBatch | Tensor) -> TaskBatch:
    if isinstance(x, TaskBatch):
        return x
    if x.ndim not in (2, 3):
        raise ValueError(f"The rows have shape {tuple(x.shape)}; give [N, D] or [B, N, D].")
    x = (x if x.ndim == 3 else x[None]).to(torch.float32)
    return full_batch(x, None, [-1] * len(x)).to(x.device)
