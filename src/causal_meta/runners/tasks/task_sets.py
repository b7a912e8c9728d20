"""Fixed sets of tasks as artifacts: draws of a family with their true graphs, or one real table,
with or without a truth.

`data.npz` holds x float32 [B, N, D], adjacency int8 [B, D, D] (absent without a truth), node_mask
bool [B, D], row_mask bool [B, N], intervened bool [B, N, D] and seeds int64 [B]; `columns.json` the
D names. Rows are raw, not standardised. A table's columns are centred (float64, before the rounding
to float32), and `location` and `scale` [D] give its values back: value = location + scale * x;
`categorical` and `context` bool [D] are there if the table has such columns. Of a family's tasks
`registry.json` holds the seeds, the hashes of the graphs and of their classes, and statistics.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta.conf.data import FamilyConfig, TableConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.datasets.real import Table
from causal_meta.datasets.scm import SCMFamily
from causal_meta.datasets.task_registry import registry_of
from causal_meta.datasets.truths import truth_digest
from causal_meta.randomness import seeds_of
from causal_meta.records.task_sets import read_columns, read_task_arrays
from causal_meta.runners.build import make
from causal_meta.runners.tasks.table_sources import table_config
from causal_meta.tasks import TaskBatch, full_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from causal_meta.store import Artifact, Attempt, Store

_LARGEST, _SMALLEST = 1e15, 1e-15  # beyond these, squares leave the range of float32
_BLOCK = 64


def build_tasks(config: TasksConfig, attempt: Attempt) -> dict[str, Any]:
    """Write the task set that `config` describes into the attempt's folder; the builder of kind
    `tasks`.

    A family gives `n_tasks` tasks whose seeds are hashes of (config.seed, "tasks", number), or of
    (config.seed, "tasks", seed_name, number) if it has a seed name. The contents of a table come in
    the options `table` (a `Table`) and `truth` (int8 [D, D]) and must have the digests in the
    configuration: where the files lie is not part of the artifact's identity. Returns the dims for
    `meta.json`. Raises ValueError.
    """
    if isinstance(config.data, TableConfig):
        batch, columns, extra = _table_batch(
            config.data, attempt.options.get("table"), attempt.options.get("truth")
        )
    else:
        family = cast(FamilyConfig, config.data)
        named = (family.seed_name,) if family.seed_name else ()
        seeds = seeds_of(config.seed, "tasks", *named, start=0, count=config.n_tasks)
        batch, columns, extra = (
            _drawn(SCMFamily(family), seeds),
            [f"X{i + 1}" for i in range(family.n_nodes.high)],
            {},
        )
        columns = columns[: batch.n_nodes]
        (attempt.folder / "registry.json").write_text(
            json.dumps(registry_of(batch), indent=1) + "\n", "utf-8"
        )
    arrays = batch_arrays(batch) | extra
    np.savez(attempt.folder / "data.npz", **arrays)  # type: ignore[arg-type]
    (attempt.folder / "columns.json").write_text(
        json.dumps(columns, ensure_ascii=False) + "\n", "utf-8"
    )
    dims = {
        "n_tasks": len(batch),
        "n_rows": batch.n_rows,
        "n_nodes": batch.n_nodes,
        "has_truth": batch.adjacency is not None,
    }
    return {"dims": dims}


def store_table(
    store: Store,
    table: Table,
    columns: Sequence[str] = (),
    truth: np.ndarray | None = None,
    *,
    name: str = "",
    force: bool = False,
    **recorded: Any,
) -> Artifact:
    """The task set of one table, from the store or written there. `recorded` goes to `make`
    (overrides, subscribers)."""
    options = {"table": table, "truth": truth}
    return make(
        store,
        table_config(table, columns, truth),
        name=name,
        force=force,
        options=options,
        **recorded,
    )


def _drawn(family: SCMFamily, seeds: list[int]) -> TaskBatch:
    """The tasks of `seeds`, padded to the largest of them; drawn in blocks to bound the memory."""
    blocks = [
        family.sample_tasks(seeds[start : start + _BLOCK]) for start in range(0, len(seeds), _BLOCK)
    ]
    rows, nodes = max(block.n_rows for block in blocks), max(block.n_nodes for block in blocks)

    def joined(name: str, *sizes: int) -> Tensor:
        values = [getattr(block, name) for block in blocks]
        out = values[0].new_zeros(len(seeds), *sizes)
        for start, value in zip(range(0, len(seeds), _BLOCK), values, strict=True):
            out[(slice(start, start + len(value)), *(slice(size) for size in value.shape[1:]))] = (
                value
            )
        return out

    return TaskBatch(
        x=joined("x", rows, nodes),
        adjacency=joined("adjacency", nodes, nodes),
        intervened=joined("intervened", rows, nodes),
        node_mask=joined("node_mask", nodes),
        row_mask=joined("row_mask", rows),
        seeds=joined("seeds"),
    )


def _table_batch(
    config: TableConfig, table: Table | None, truth: np.ndarray | None
) -> tuple[TaskBatch, list[str], dict[str, np.ndarray]]:
    if table is None or table.sha256 != config.sha256:
        raise ValueError(
            f"The bytes of the table {config.sha256[:12]}… are not available: build it from its "
            "file, causal-meta build tasks data.table=FILE."
        )
    if bool(config.truth_sha256) != (truth is not None) or (
        truth is not None and truth_digest(truth, table.columns) != config.truth_sha256
    ):
        raise ValueError(
            "The true graph is not the one that the configuration names: give the file again, "
            "data.truth=FILE."
        )
    if (table.categorical, table.context) != (config.categorical, config.context):
        raise ValueError(
            "The categorical columns or contexts of the table are not those that the configuration "
            "names: read it again with them."
        )
    if (table.interventions, table.mask_sha256) != (config.interventions, config.mask_sha256):
        raise ValueError(
            "The interventions of the table are not those that the configuration names: read "
            "it again with them."
        )
    x, location, scale = centred(table.x)
    adjacency = (
        None if truth is None else torch.from_numpy(np.asarray(truth, dtype=np.float32))[None]
    )
    batch = full_batch(torch.from_numpy(x)[None], adjacency, [-1])
    if table.intervened is not None:
        batch.intervened = torch.from_numpy(table.intervened)[None]
    extra = {"location": location, "scale": scale}
    for kind, named in (("categorical", table.categorical), ("context", table.context)):
        if named:
            extra[kind] = np.isin(table.columns, named)
    return batch, list(table.columns), extra


def centred(
    x: Float[np.ndarray, "N D"],
) -> tuple[Float[np.ndarray, "N D"], Float[np.ndarray, " D"], Float[np.ndarray, " D"]]:
    """A table in float64 as float32 without its means, with location and scale: value = location +
    scale * x.

    Units stay (scale 1) unless squares would leave float32; then every column gets spread 1. So a
    column near 1e9 that varies by 1 keeps its digits.

    >>> centred(np.array([[1e9, 0.0], [1e9 + 1, 4.0]]))[0].tolist()
    [[-0.5, -2.0], [0.5, 2.0]]
    """
    location = x.mean(axis=0)
    if not np.isfinite(location).all():  # the sum overflowed
        location = (x / len(x)).sum(axis=0)
    moved = x - location
    spread = np.abs(moved).max(axis=0)
    unsafe = spread.max() > _LARGEST or spread.min() < _SMALLEST
    scale = np.where(spread > 0, spread, 1.0) if unsafe else np.ones_like(spread)
    return (moved / scale).astype(np.float32), location, scale


def batch_arrays(batch: TaskBatch) -> dict[str, np.ndarray]:
    """A batch as arrays for `numpy.savez`."""
    arrays = {
        name: getattr(batch, name).numpy()
        for name in ("x", "node_mask", "row_mask", "intervened", "seeds")
    }
    if batch.adjacency is not None:
        arrays["adjacency"] = batch.adjacency.numpy().astype(np.int8)
    return arrays


def load_tasks(artifact: Artifact) -> TaskBatch:
    """The tasks of a `tasks` target, raw rows, with their truth if there is one. Raises ValueError
    if the artifact is of another kind."""
    check_is_tasks(artifact)
    names = ("x", "node_mask", "row_mask", "intervened", "seeds", "adjacency")
    arrays = read_task_arrays(artifact, *names)
    graphs = arrays.pop("adjacency", None)
    adjacency = None if graphs is None else torch.from_numpy(graphs).to(torch.float32)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    return TaskBatch(adjacency=adjacency, **tensors)


def columns_of(artifact: Artifact) -> list[str]:
    """The names of a task set's D variables (the first ones, for a task with fewer)."""
    check_is_tasks(artifact)
    return read_columns(artifact)


def check_is_tasks(artifact: Artifact) -> None:
    """Raise ValueError unless the artifact is a task set."""
    if artifact.kind != "tasks":
        raise ValueError(
            f"{artifact.id} is of kind {artifact.kind!r}; give a task set (causal-meta build "
            "tasks …)."
        )
