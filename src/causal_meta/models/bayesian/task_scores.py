"""The local scores of a task: its table as scores read it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from causal_meta.conf.setting import ConfigError
from causal_meta.scores.assumptions import assumption_scores
from causal_meta.scores.bdeu import BDeu
from causal_meta.scores.bge import BGe, BGePrior
from causal_meta.scores.bic import BIC
from causal_meta.scores.degenerate_gaussian import DegenerateGaussian
from causal_meta.scores.local_score import LocalScore
from causal_meta.scores.statistics import prepare
from causal_meta.tasks import Task


def check_columns(task: Task, name: str) -> None:
    """Raise `ConfigError` if the score `name` cannot read the columns of a task."""
    if name == "bic" and task.categorical is not None and task.categorical.any():
        raise ConfigError(
            "score=bic reads numbers only, and the table has categorical columns; use "
            "score=degenerategaussian."
        )
    if name == "bdeu":
        counts = [len(values) for values, _ in _coded(task)]
        named = _named(task)
        for v in (v for v, count in enumerate(counts) if count > 2 and not named[v]):
            raise ConfigError(
                f"score=bdeu reads categories only, and variable {v} (counted from 0) has "
                f"{counts[v]} different numbers; name it as categorical, or use another score."
            )


#: The scores without a `BGePrior`.
WITHOUT_PRIOR = ("bic", "bdeu", "degenerategaussian")


def task_score(task: Task, name: str, prior: BGePrior | None = None) -> LocalScore:
    """The score `name` of a task: one of `scores.assumptions.ASSUMPTIONS`, `bic`, `bdeu` or
    `degenerategaussian`.

    Cells that were set by interventions are left out of the scores of their own variables;
    categorical columns become blocks of indicators. For `bdeu` every column is categorical.
    `prior` is that of all scores but `WITHOUT_PRIOR`.

    Raises:
        ConfigError: a score that cannot read the columns.
    """
    check_columns(task, name)
    x, categories, intervened = scored_table(task)
    cells = intervened if intervened.any() else None
    if name == "bdeu":
        coded = _coded(task)
        codes = np.stack([codes for _, codes in coded], axis=1).astype(np.float64)
        return BDeu(prepare(codes, [len(values) for values, _ in coded], cells))
    if name in ("bic", "degenerategaussian"):
        table = prepare(x, categories, cells)
        return BIC(table) if name == "bic" else DegenerateGaussian(table)
    if name == "linear":  # without the features of the others
        return BGe(prepare(x, categories, cells), prior)
    return assumption_scores(x, categories, cells, prior)[name]


def _named(task: Task) -> Bool[np.ndarray, " D"]:
    """The columns that are named categorical."""
    if task.categorical is None:
        return np.zeros(task.x.shape[1], bool)
    return task.categorical.numpy()


def _coded(task: Task) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """The different values of each column, and their numbers 0, 1, ... in each row."""
    pairs = (np.unique(column, return_inverse=True) for column in task.x.numpy().T)
    return [(values.astype(np.float64), codes.reshape(-1)) for values, codes in pairs]


def scored_table(
    task: Task,
) -> tuple[Float[np.ndarray, "N D"], list[int] | None, Bool[np.ndarray, "N D"]]:
    """The rows of a task with codes 0, 1, ... in categorical columns, the number of categories of
    each column (0: continuous; None: all are), and the cells that were set."""
    x = task.x.numpy().astype(np.float64)
    categories = None
    if task.categorical is not None:
        categories = [0] * x.shape[1]
        for v in np.flatnonzero(_named(task)).tolist():
            values, codes = np.unique(x[:, v], return_inverse=True)
            x[:, v], categories[v] = codes.reshape(-1), len(values)
    return x, categories, task.intervened.numpy()
