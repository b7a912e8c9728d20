"""The registry of a list of tasks: hashes of the classes of its graphs, and statistics of its
tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta.datasets.diagnostics import mean_and_error, r2_sortability, varsortability
from causal_meta.graph_classes import Level, class_hashes
from causal_meta.tasks import TaskBatch

_BLOCK = 64  # tasks summarised at once


def hashes_of(graphs: Sequence[Float[Tensor, "D D"]], level: Level) -> list[str]:
    """The hash of the class of every graph, of any sizes. Raises ValueError where a class
    takes too long to compute (see `class_hashes`)."""
    hashes: dict[int, str] = {}
    for size in {len(graph) for graph in graphs}:
        places = [b for b, graph in enumerate(graphs) if len(graph) == size]
        hashes |= dict(
            zip(places, class_hashes(torch.stack([graphs[b] for b in places]), level), strict=True)
        )
    return [hashes[b] for b in range(len(graphs))]


def hash_registry(graphs: Sequence[Float[Tensor, "D D"]]) -> dict[str, list[str]]:
    """The hashes at every level; a level at which some class takes too long to compute is left
    out."""
    registry = {}
    for level in get_args(Level):
        try:
            registry[level] = hashes_of(graphs, level)
        except ValueError:
            continue
    return registry


def task_statistics(batch: TaskBatch) -> dict[str, dict[str, float | int | None]]:
    """Mean, standard error and number of tasks of n_nodes, n_rows, n_edges, edges_per_node,
    varsortability and r2_sortability (raw rows).

    A number that does not exist (the sortability of graphs without edges, the error of one task) is
    None. Raises ValueError without truth.
    """
    if batch.adjacency is None:
        raise ValueError(
            "These tasks have no true graphs, so nothing can be said about them; give tasks of a "
            "family."
        )
    nodes, edges = batch.node_mask.sum(1), (batch.adjacency != 0).sum((1, 2))
    values = {
        "n_nodes": nodes,
        "n_rows": batch.row_mask.sum(1),
        "n_edges": edges,
        "edges_per_node": edges / nodes,
    }
    for name, criterion in (("varsortability", varsortability), ("r2_sortability", r2_sortability)):
        blocks = [batch.slice(first, first + _BLOCK) for first in range(0, len(batch), _BLOCK)]
        values[name] = torch.cat(
            [
                criterion(block.x, block.adjacency, block.row_mask)
                for block in blocks
                if block.adjacency is not None
            ]
        )
    statistics: dict[str, dict[str, float | int | None]] = {}
    for name, value in values.items():
        mean, error, count = mean_and_error(value)
        statistics[name] = {"mean": _shown(mean), "se": _shown(error), "n": count}
    return statistics


def _shown(value: float) -> float | None:
    """The number rounded to six digits, so that rounding in the last bit makes no difference."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def registry_of(batch: TaskBatch) -> dict[str, Any]:
    """Seeds, hash registry and statistics of a batch of drawn tasks, in plain values."""
    graphs = (
        [batch.adjacency[b, :size, :size] for b, size in enumerate(batch.node_mask.sum(1).tolist())]
        if batch.adjacency is not None
        else []
    )
    return {
        "seeds": batch.seeds.tolist(),
        "hashes": hash_registry(graphs),
        "statistics": task_statistics(batch),
    }
