"""From a table to a posterior over its causal graphs: the library functions `load_model` and
`discover`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from causal_meta.datasets.real import Table, TableError, as_table, read_truth
from causal_meta.randomness import torch_generator
from causal_meta.records.posteriors import read_graphs, read_posterior
from causal_meta.runners.evaluation.eval_metrics import acyclic
from causal_meta.runners.inference.answers import Discovery
from causal_meta.runners.inference.trained import TrainedModel, load_model
from causal_meta.store import Artifact, Store

__all__ = ["Discovery", "TrainedModel", "discover", "from_run", "load_model"]


def discover(
    table: Any,
    model: TrainedModel | str | Path | None = None,
    store: Store | str | Path | None = None,
    *,
    n_samples: int = 1000,
    seed: int = 0,
    truth: Any = None,
    transform: str = "none",
    columns: Sequence[str] = (),
    interventions: Sequence[str] = (),
    mask: str | Path | None = None,
) -> Discovery:
    """Which causal graphs could have made this table?

    `table` is a pandas DataFrame, rows [N, D], a file (CSV, TSV, Parquet, .npz) or
    `sklearn:diabetes`; `model` a `TrainedModel`, or what `load_model` takes (looked up in `store`);
    None means the embedded default. `truth` is an adjacency [D, D] in the table's order (row causes
    column) or the path of a CSV with names. `interventions` are columns that name the variables
    intervened on in each row, `mask` a file that marks the cells set (`read_table`). Writes
    nothing. Raises ValueError in one sentence.
    """
    data = as_table(
        table, columns=columns, transform=transform, interventions=interventions, mask=mask
    )
    true = _truth(truth, data)
    if n_samples < 1:
        raise ValueError(f"n_samples is {n_samples}; draw at least one graph.")
    trained = model if isinstance(model, TrainedModel) else load_model(model, store)
    posterior = trained.posterior(data, seed)
    graphs = posterior.sample(n_samples, torch_generator(seed, "discover", "graphs"))[0].numpy()
    return Discovery(
        posterior, graphs, data, trained.id, seed, tuple(trained.warnings(data, seed)), true
    )


def _truth(truth: Any, table: Table) -> np.ndarray | None:
    if truth is None:
        return None
    if isinstance(truth, str | Path):
        return read_truth(truth, table.columns)
    matrix = (
        truth.loc[list(table.columns), list(table.columns)].to_numpy()
        if hasattr(truth, "loc")
        else np.asarray(truth)
    )
    size = len(table.columns)
    if matrix.shape != (size, size) or not np.isin(matrix, (0, 1)).all():
        raise TableError(
            f"The true graph has shape {matrix.shape}; give {size} by {size} entries of 0 and 1, "
            "row causes column."
        )
    if not bool(acyclic(matrix)):
        raise TableError("The true graph has a cycle; give a directed acyclic graph.")
    return matrix.astype(np.int8)


def from_run(
    run: Artifact, trained: TrainedModel, table: Table, truth: np.ndarray | None = None
) -> Discovery:
    """The answer that a `discover` run of the store holds, for the table of its task set."""
    graphs = read_graphs(run)
    if graphs is None:
        raise ValueError(f"{run.id} holds a posterior without graphs; delete it and run it again.")
    warnings = tuple(trained.warnings(table, run.seed))
    return Discovery(read_posterior(run), graphs[0], table, trained.id, run.seed, warnings, truth)
