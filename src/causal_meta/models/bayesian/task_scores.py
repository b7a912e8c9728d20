"""The local scores of a task: its table as scores read it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from causal_meta.scores.assumptions import assumption_scores
from causal_meta.scores.bge import BGe
from causal_meta.scores.local_score import LocalScore
from causal_meta.scores.statistics import prepare
from causal_meta.tasks import Task


def task_score(task: Task, name: str, rows: Int[np.ndarray, " n"] | None = None) -> LocalScore:
    """The score `name` (one of `scores.assumptions.ASSUMPTIONS`) of a task, or of some of its rows.

    Cells that were set by interventions are left out of the scores of their own variables;
    categorical columns become blocks of indicators.
    """
    x, categories, intervened = scored_table(task)
    if rows is not None:
        x, intervened = x[rows], intervened[rows]
    cells = intervened if intervened.any() else None
    if name == "linear":  # without the features of the others
        return BGe(prepare(x, categories, cells))
    return assumption_scores(x, categories, cells)[name]


def scored_table(
    task: Task,
) -> tuple[Float[np.ndarray, "N D"], list[int] | None, Bool[np.ndarray, "N D"]]:
    """The rows of a task with codes 0, 1, ... in categorical columns, the number of categories of
    each column (0: continuous; None: all are), and the cells that were set."""
    x = task.x.numpy().astype(np.float64)
    categories = None
    if task.categorical is not None:
        categories = [0] * x.shape[1]
        for v in np.flatnonzero(task.categorical.numpy()).tolist():
            values, codes = np.unique(x[:, v], return_inverse=True)
            x[:, v], categories[v] = codes.reshape(-1), len(values)
    return x, categories, task.intervened.numpy()
