"""Statistics of a family of structural causal models: sortabilities, degrees, spreads and shapes of
its variables; the pictures of `data show`.

Sortability asks whether a number computed from each variable alone grows along causal paths. Where
it does, sorting by that number reveals the causal order, and a benchmark can be won without any
causal reasoning. Varsortability uses the variance (Reisach, Seiler and Weichwald, 2021, "Beware of
the simulated DAG"), which standardising removes; R²-sortability the coefficient of determination of
each variable on all others (Reisach et al., 2023, "A scale-invariant sorting criterion"), which no
rescaling changes. At 0.5 the number carries no information about the order, at 1 or 0 it determines
the order.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Shaped
from torch import Tensor

from causal_meta.datasets.scm import SCMFamily
from causal_meta.randomness import seeds_of
from causal_meta.tasks import TaskBatch, standardise

if TYPE_CHECKING:
    from collections.abc import Sequence

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def sortability(
    criterion: Float[Tensor, "B D"], adjacency: Shaped[Tensor, "B D D"], tolerance: float = 1e-5
) -> Float64[Tensor, " B"]:
    """Share of causal paths along which `criterion` grows; NaN for a graph without edges.

    For every k >= 1 and every ordered pair (i, j) joined by at least one directed path of length k,
    the pair counts once: 1 if criterion_i < criterion_j, 1/2 if they are equal, 0 otherwise; the
    sum is divided by the number of such (k, i, j).

    Args:
        criterion: a number per variable.
        adjacency: acyclic graphs; padded variables have no edges.
        tolerance: numbers count as equal when they differ by at most this share of the larger
            absolute value.

    Raises:
        ValueError: the shapes do not fit, or a graph has a cycle.
    """
    if (
        adjacency.ndim != 3
        or adjacency.shape[1] != adjacency.shape[2]
        or criterion.shape != adjacency.shape[:2]
    ):
        raise ValueError(
            f"Criterion {tuple(criterion.shape)} and adjacency {tuple(adjacency.shape)} do not "
            "fit; give [B, D] and [B, D, D]."
        )
    value = criterion.to(torch.float64)
    cause, effect = value[:, :, None], value[:, None, :]
    equal = (effect - cause).abs() <= tolerance * torch.maximum(cause.abs(), effect.abs())
    score = torch.where(equal, 0.5, (effect > cause).to(torch.float64))
    edges = (adjacency != 0).to(torch.float64)
    paths, total, count = (
        edges,
        torch.zeros(len(edges), dtype=torch.float64),
        torch.zeros(len(edges), dtype=torch.float64),
    )
    for _ in range(edges.shape[1]):
        total = total + (paths * score).sum((1, 2))
        count = count + paths.sum((1, 2))
        paths = ((paths @ edges) > 0).to(torch.float64)
        if not paths.any():
            return total / count
    raise ValueError(
        "A graph has a directed cycle, so its paths have no end; sortability needs acyclic graphs."
    )


def moments(
    x: Float[Tensor, "B N D"], row_mask: Bool[Tensor, "B N"] | None = None
) -> tuple[Float64[Tensor, "B D"], Float64[Tensor, "B D"], Float64[Tensor, "B D D"]]:
    """Mean, variance (divided by N) and correlation of the real rows of x.

    A column that does not vary is uncorrelated with the others.
    """
    values = x.to(torch.float64)
    weight = (
        torch.ones(x.shape[:2], dtype=torch.float64)
        if row_mask is None
        else row_mask.to(torch.float64)
    )
    weight = weight / weight.sum(1, keepdim=True)
    mean = torch.einsum("bn,bnd->bd", weight, values)
    centred = values - mean[:, None]
    covariance = torch.einsum("bn,bnd,bne->bde", weight, centred, centred)
    variance = covariance.diagonal(dim1=1, dim2=2)
    spread = variance.clamp_min(0).sqrt()
    scale = torch.where(spread > 0, 1 / spread, 0.0)
    correlation = covariance * scale[:, :, None] * scale[:, None, :]
    return mean, variance, correlation.diagonal_scatter(torch.ones_like(variance), dim1=1, dim2=2)


def r_squared(
    x: Float[Tensor, "B N D"], row_mask: Bool[Tensor, "B N"] | None = None
) -> Float64[Tensor, "B D"]:
    """R² of the linear regression of each variable on all others: 1 - 1 / (inverse correlation
    matrix)_jj, in [0, 1].

    Eigenvalues below the rounding of float64 are raised to it, so that a variable determined by the
    others has R² = 1; with fewer rows than variables all have.
    """
    correlation = moments(x, row_mask)[2]
    values, vectors = torch.linalg.eigh(correlation)
    floor = correlation.shape[-1] * torch.finfo(torch.float64).eps
    precision = (vectors.square() / values.clamp_min(floor)[:, None, :]).sum(-1)
    return (1 - 1 / precision).clamp(0, 1)


def varsortability(
    x: Float[Tensor, "B N D"],
    adjacency: Shaped[Tensor, "B D D"],
    row_mask: Bool[Tensor, "B N"] | None = None,
) -> Float64[Tensor, " B"]:
    """Sortability by variance; 0.5 for standardised columns, whose variances are all equal.

    >>> x = torch.tensor([[[1.0, 9.0], [-1.0, -7.0], [0.5, 2.0]]])
    >>> varsortability(x, torch.tensor([[[0, 1], [0, 0]]])).item()
    1.0
    """
    return sortability(moments(x, row_mask)[1], adjacency)


def r2_sortability(
    x: Float[Tensor, "B N D"],
    adjacency: Shaped[Tensor, "B D D"],
    row_mask: Bool[Tensor, "B N"] | None = None,
) -> Float64[Tensor, " B"]:
    """Sortability by `r_squared`; unchanged when columns are scaled or shifted."""
    return sortability(r_squared(x, row_mask), adjacency)


def degree_counts(
    adjacency: Shaped[Tensor, "B D D"], node_mask: Bool[Tensor, "B D"] | None = None
) -> dict[str, np.ndarray]:
    """Number of nodes of all graphs with 0, 1, 2, … causes (`causes`), effects (`effects`) and both
    together (`neighbours`)."""
    edges = (adjacency != 0).long()
    real = torch.ones(edges.shape[:2], dtype=torch.bool) if node_mask is None else node_mask
    into, out = edges.sum(1), edges.sum(2)
    return {
        name: torch.bincount(k[real]).numpy()
        for name, k in (("causes", into), ("effects", out), ("neighbours", into + out))
    }


def mean_and_error(values: Sequence[float] | np.ndarray | Tensor) -> tuple[float, float, int]:
    """Mean, standard error of the mean (NaN for fewer than two) and number of the values that are
    not NaN."""
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    mean = float(array.mean()) if len(array) else float("nan")
    error = float(array.std(ddof=1) / np.sqrt(len(array))) if len(array) > 1 else float("nan")
    return mean, error, len(array)


def family_summary(family: SCMFamily, seed: int, n_tasks: int = 200) -> dict[str, np.ndarray]:
    """`n_tasks` tasks of `family`, drawn from (seed, "show"), in numbers, per task where no other
    shape is named [B]:

    n_nodes, n_rows, n_edges, edges_per_node, density; varsortability (raw),
    varsortability_standardised, r2_sortability (observational rows); degrees_causes,
    degrees_effects, degrees_neighbours (nodes by degree); std_quantiles, skewness_quantiles,
    kurtosis_quantiles (over all variables of all tasks, at `QUANTILES`; excess kurtosis); seeds.
    """
    if n_tasks < 1:
        raise ValueError(f"n_tasks is {n_tasks}; give at least 1.")
    blocks = [
        _block_summary(family.sample_tasks(seeds))
        for seeds in _blocks(seeds_of(seed, "show", start=0, count=n_tasks))
    ]
    statistics = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    shapes = {
        f"{name}_quantiles": np.quantile(statistics.pop(name), QUANTILES)
        for name in ("std", "skewness", "kurtosis")
    }
    into, out = statistics.pop("into"), statistics.pop("out")
    degrees = {
        name: np.bincount(k)
        for name, k in (("causes", into), ("effects", out), ("neighbours", into + out))
    }
    return statistics | shapes | {f"degrees_{name}": counts for name, counts in degrees.items()}


def _blocks(seeds: list[int], size: int = 50) -> list[list[int]]:
    return [seeds[start : start + size] for start in range(0, len(seeds), size)]


def _block_summary(batch: TaskBatch) -> dict[str, np.ndarray]:
    assert batch.adjacency is not None
    real, nodes, edges = batch.node_mask, batch.node_mask.sum(1), (batch.adjacency != 0).sum((1, 2))
    mean, variance, _ = moments(batch.x, batch.row_mask)
    z = (batch.x.double() - mean[:, None]) / variance.sqrt().clamp_min(1e-300)[:, None]
    weight = batch.row_mask.double() / batch.row_mask.sum(1, keepdim=True)
    third, fourth = (torch.einsum("bn,bnd->bd", weight, z**power) for power in (3, 4))
    into, out = (batch.adjacency != 0).sum(1), (batch.adjacency != 0).sum(2)
    rows = observational_rows(batch)
    tensors = {
        "seeds": batch.seeds,
        "n_nodes": nodes,
        "n_rows": batch.row_mask.sum(1),
        "n_edges": edges,
        "edges_per_node": edges / nodes,
        "density": edges / (nodes * (nodes - 1)),
        "varsortability": varsortability(batch.x, batch.adjacency, rows),
        "varsortability_standardised": varsortability(
            standardise(batch.x, real, rows), batch.adjacency, rows
        ),
        "r2_sortability": r2_sortability(batch.x, batch.adjacency, rows),
        "std": variance.sqrt()[real],
        "skewness": third[real],
        "kurtosis": fourth[real] - 3,
        "into": into[real],
        "out": out[real],
    }
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def observational_rows(batch: TaskBatch) -> Bool[Tensor, "B N"]:
    """The real rows of each task in which nothing was set; all real rows of a task
    that has no such row."""
    quiet = batch.row_mask & ~batch.intervened.any(2)
    return torch.where(quiet.any(1, keepdim=True), quiet, batch.row_mask)


def show_family(
    family: SCMFamily, folder: str | Path, seed: int = 0, n_tasks: int = 200
) -> dict[str, Any]:
    """Draw a family into `folder` (degrees.png, adjacency.png, marginals.png, pairs.png) and return
    numbers to print.

    Each of n_edges, edges_per_node, density, varsortability, varsortability_standardised and
    r2_sortability is {mean, se, n} over the tasks; std is a mapping quantile -> value; files lists
    the pictures.
    """
    from causal_meta import drawing  # not loaded where only numbers are needed

    target = Path(folder)
    summary = family_summary(family, seed, n_tasks)
    batch = family.sample_tasks([int(s) for s in summary["seeds"][:8]])
    tasks = [batch.task(b) for b in range(len(batch))]
    first = tasks[0]
    names = [f"X{j + 1}" for j in range(first.x.shape[1])]
    note = (
        f"{len(summary['n_edges'])} tasks, {summary['n_edges'].mean():.1f} edges and "
        f"{summary['n_nodes'].mean():.1f} variables on average"
    )
    degrees = {
        "causes of a node": summary["degrees_causes"],
        "effects of a node": summary["degrees_effects"],
    }
    graphs = [
        np.zeros((1, 1)) if task.adjacency is None else task.adjacency.numpy() for task in tasks
    ]
    labels = [f"{len(graph)} variables, {int(graph.sum())} edges" for graph in graphs]
    pictures = {
        "degrees.png": drawing.degrees(degrees, title="Degrees", note=note),
        "adjacency.png": drawing.adjacencies(
            graphs, title="Graphs of the first tasks", labels=labels
        ),
        "marginals.png": drawing.marginals(
            first.x.numpy(), names, title="Values of the first task's variables, as drawn"
        ),
        "pairs.png": drawing.pairs(
            first.x.numpy(), names, adjacency=graphs[0], title="Pairs of the first task's variables"
        ),
    }
    files = [drawing.save(figure, target / name) for name, figure in pictures.items()]
    per_task = (
        "n_edges",
        "edges_per_node",
        "density",
        "varsortability",
        "varsortability_standardised",
        "r2_sortability",
    )
    numbers: dict[str, Any] = {
        name: dict(zip(("mean", "se", "n"), mean_and_error(summary[name]), strict=True))
        for name in per_task
    }
    numbers["std"] = dict(
        zip((f"{q:.0%}" for q in QUANTILES), summary["std_quantiles"].tolist(), strict=True)
    )
    numbers["files"] = [str(path) for path in files]
    return numbers
