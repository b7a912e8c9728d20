"""Task sets, read back from `data.npz` and `columns.json`. Loads neither torch nor JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from causal_meta.records.files import read_arrays, read_json

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int8
    from numpy.typing import NDArray

    from causal_meta.store import Artifact


def read_columns(tasks: Artifact) -> list[str]:
    """The names of a task set's D variables (the first ones, for a task with fewer)."""
    return [str(name) for name in read_json(tasks.folder / "columns.json")]


def read_task_arrays(tasks: Artifact, *names: str) -> dict[str, NDArray[Any]]:
    """The arrays x [B, N, D], node_mask [B, D], row_mask [B, N], intervened [B, N, D], seeds [B]
    and, where the true graphs are known, adjacency [B, D, D] of a task set; only those in `names`
    if any are named."""
    return read_arrays(tasks.folder / "data.npz", *names)


def read_true_graphs(tasks: Artifact) -> Int8[np.ndarray, "B D D"] | None:
    """The true graphs of a task set; None where they are unknown."""
    return read_task_arrays(tasks, "adjacency").get("adjacency")
