"""Tables with more rows than a model was trained on: answers for random parts of them, averaged."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Int

from causal_meta.models.base import BaseModel
from causal_meta.posteriors import GraphPosterior
from causal_meta.randomness import generator
from causal_meta.tasks import TaskBatch

MAX_PARTS = 16


def parts(n_rows: int, most_rows: int, seed: int) -> Int[np.ndarray, "K M"]:
    """Rows of each of K parts of M = `most_rows` rows: windows of one random circular order, spread
    evenly, so that rows are used about equally often.

    K = ceil(n_rows / most_rows), at most `MAX_PARTS`; with K = 1 the rows in their order.

    >>> parts(3, 5, seed=0)
    array([[0, 1, 2]])
    """
    if n_rows <= most_rows:
        return np.arange(n_rows)[None]
    count = min(-(-n_rows // most_rows), MAX_PARTS)
    order = generator(seed, "table", "parts").permutation(n_rows)
    starts = np.arange(count) * n_rows // count
    return order[(starts[:, None] + np.arange(most_rows)) % n_rows]


def table_posterior(
    model: BaseModel, batch: TaskBatch, most_rows: int, seed: int = 0
) -> GraphPosterior:
    """The posterior of one raw table (B = 1): of all its rows, or, with more than `most_rows`,
    pooled over parts (`GraphPosterior.pooled`: for independent edges the mean of the log odds).

    Pooling uses more rows than one part holds but is no more certain than one part allows; the
    parts are not multiplied as if independent, because the model's error is the same on all of
    them. Raises ValueError for a batch of several tables, or with padding.
    """
    if len(batch) != 1 or not bool(batch.row_mask.all()):
        raise ValueError(f"{len(batch)} tables came; give one table without padded rows.")
    rows = torch.from_numpy(parts(batch.n_rows, most_rows, seed))
    if len(rows) == 1:
        return model.posterior(batch)
    windows = dataclasses.replace(
        batch,
        x=batch.x[0][rows],
        adjacency=None,
        intervened=batch.intervened[0][rows],
        row_mask=torch.ones(rows.shape, dtype=torch.bool),
        node_mask=batch.node_mask.expand(len(rows), -1),
        seeds=batch.seeds.expand(len(rows)),
    )
    return model.posterior(windows).pooled()


def parts_warning(n_rows: int, most_rows: int) -> list[str]:
    """The warning about a table that is answered in parts; none for another table."""
    if n_rows <= most_rows:
        return []
    count = min(-(-n_rows // most_rows), MAX_PARTS)
    left = " (the other rows are not used)" if count * most_rows < n_rows else ""
    return [
        f"The table has {n_rows} rows, and the model was trained on at most {most_rows}: the "
        f"answer is the mean log odds over {count} random parts "
        f"of {most_rows} rows{left}, and no surer than one part allows."
    ]
