"""Which cells of a user's table were set by an intervention: from columns that name the variables,
or from a table of 0 and 1."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from causal_meta.conf.spelling import nearest
from causal_meta.datasets.table_files import TableError, format_of, parse, read_bytes

if TYPE_CHECKING:
    import pandas as pd

OBSERVATIONAL = ("", "none", "obs", "observational", "nan", "na", "-")
_BETWEEN = re.compile(r"[+;,|]")


def labels(
    frame: pd.DataFrame, names: Sequence[str], interventions: Sequence[str], title: str
) -> list[list[str]]:
    """The words in the columns `interventions` of a frame with columns `names`, a list per row;
    raises `TableError` for unknown columns."""
    for name in interventions:
        if name not in names:
            raise TableError(
                f"{title} has no column {name!r} to name the interventions{nearest(name, names)}"
            )
    if len(set(interventions)) < len(interventions):
        raise TableError(
            f"{title}: a column of interventions is named twice in {', '.join(interventions)}; "
            "name each once."
        )
    columns = [
        [_word(value) for value in frame.iloc[:, list(names).index(name)]] for name in interventions
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _word(value: object) -> str:
    if value is None or value != value:  # NaN is not itself
        return ""
    # whole numbers beside empty cells are read as floats
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def intervened_cells(
    words: Sequence[Sequence[str]], used: Sequence[str], known: Sequence[str], title: str
) -> np.ndarray:
    """Bool [N, D]: the cells of the columns `used` that the words of each row name.

    A word is a variable, or several joined by one of + ; , | (a name that holds such a sign is
    taken whole first). An empty word, none, obs, observational, NA or - means that nothing was set.
    Raises `TableError` for a word that is no variable (`known`: all columns of the table), and for
    a variable that is not among the columns used: without it the row would pass for observational.
    """
    mask = np.zeros((len(words), len(used)), dtype=bool)
    place = {name: i for i, name in enumerate(used)}
    for row, cells in enumerate(words):
        for cell in cells:
            for name in _variables(cell, known):
                if name not in known:
                    raise TableError(
                        f"{title}: data row {row + 1} names an intervention on {name!r}, which is "
                        f"no variable{nearest(name, known)}"
                    )
                if name not in place:
                    raise TableError(
                        f"{title}: data row {row + 1} is an intervention on {name!r}, which is "
                        "not among the columns used; add it to the columns, "
                        "or leave such rows out."
                    )
                mask[row, place[name]] = True
    return mask


def _variables(cell: str, known: Sequence[str]) -> list[str]:
    if cell in known:
        return [cell]
    parts = [part.strip() for part in _BETWEEN.split(cell)]
    return [part for part in parts if part in known or part.lower() not in OBSERVATIONAL]


def read_mask(path: str | Path, columns: Sequence[str], n_rows: int) -> tuple[np.ndarray, str]:
    """Bool [N, D] in the order of `columns`, and the SHA-256 of the file: a table with a header, 1
    where a cell was set by an intervention.

    Columns that the file does not have were never set. Raises `TableError`.
    """
    path = Path(path)
    data = read_bytes(path)
    frame = parse(data, format_of(path), path.name)
    names = [str(name).strip() for name in frame.columns]
    for name in names:
        if name not in columns:
            raise TableError(
                f"{path.name}: its column {name!r} is none of the table's{nearest(name, columns)}"
            )
    if len(set(names)) < len(names):
        raise TableError(
            f"{path.name}: a column name stands more than once in the header; make the names "
            "distinct."
        )
    if len(frame) != n_rows:
        raise TableError(
            f"{path.name} has {len(frame)} rows and the table {n_rows}; give a row of 0 and 1 for "
            "every row of the table."
        )
    try:
        values = frame.to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        values = np.full(frame.shape, np.nan)
    if not np.isin(values, (0.0, 1.0)).all():
        raise TableError(
            f"{path.name} holds other entries than 0 and 1; write 1 where the cell was set by an "
            "intervention, else 0."
        )
    mask = np.zeros((n_rows, len(columns)), dtype=bool)
    mask[:, [list(columns).index(name) for name in names]] = values > 0
    return mask, hashlib.sha256(data).hexdigest()


def is_intervention_column(values: Sequence[object], others: Sequence[str]) -> bool:
    """Whether a column of text looks as if it named the variables intervened on: every word names
    other columns, or nothing."""
    words = {_word(value) for value in values}
    named = [name for word in words for name in _variables(word, others)]
    return bool(named) and all(name in others for name in named)
