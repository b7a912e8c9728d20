"""The true graphs that come with a few tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from causal_meta.conf.spelling import nearest
from causal_meta.datasets.table_files import TableError, listed, parse, read_bytes

EDGE_HEADER = ("cause", "effect")


def read_truth(path: str | Path, columns: Sequence[str]) -> np.ndarray:
    """The true graph of a table: int8 [D, D] in the order of `columns`, entry [i, j] = 1 if i
    causes j.

    A square CSV of 0 and 1 with the table's column names as header (in any order; the first column
    may repeat the names), row causes column; or a list of edges with the header cause,effect.
    Raises `TableError`, also when the graph has a cycle.
    """
    path = Path(path)
    frame = parse(read_bytes(path), "csv", path.name)
    names = [str(name).strip() for name in frame.columns]
    if tuple(names) == EDGE_HEADER and sorted(names) != sorted(columns):
        return edges_truth(
            [
                (str(cause).strip(), str(effect).strip())
                for cause, effect in frame.itertuples(index=False)
            ],
            columns,
            path.name,
        )
    if len(names) == len(frame) + 1 and names[0] not in columns:
        rows = [str(value).strip() for value in frame.iloc[:, 0]]
        if rows != names[1:]:
            raise TableError(
                f"{path.name}: the names of its rows are not those of its header in the same "
                "order; make them equal."
            )
        frame, names = frame.iloc[:, 1:], names[1:]
    if len(frame) != len(names):
        raise TableError(
            f"{path.name} has {len(frame)} rows and {len(names)} columns; a true graph is square, "
            "a row and a column per variable."
        )
    if sorted(names) != sorted(columns):
        missing = [name for name in columns if name not in names] or [
            name for name in names if name not in columns
        ]
        raise TableError(
            f"{path.name}: its header and the table's do not agree (see{listed(missing)}); name "
            "the same variables in both."
        )
    try:
        values = frame.to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        values = np.full(frame.shape, np.nan)
    if not np.isin(values, (0.0, 1.0)).all():
        raise TableError(
            f"{path.name} holds other entries than 0 and 1; write 1 where the row's variable "
            "causes the column's, else 0."
        )
    order = [names.index(name) for name in columns]
    adjacency = values[np.ix_(order, order)].astype(np.int8)
    _acyclic(adjacency, columns, path.name)
    return adjacency


def edges_truth(edges: Sequence[tuple[str, str]], columns: Sequence[str], title: str) -> np.ndarray:
    """The graph with the edges (cause, effect), int8 [D, D] in the order of `columns`; raises
    `TableError`, also when it has a cycle."""
    adjacency = np.zeros((len(columns), len(columns)), dtype=np.int8)
    for cause, effect in edges:
        for name in (cause, effect):
            if name not in columns:
                raise TableError(
                    f"{title}: the edge {cause} -> {effect} names {name!r}, which is no column of "
                    f"the table{nearest(name, columns)}"
                )
        adjacency[list(columns).index(cause), list(columns).index(effect)] = 1
    _acyclic(adjacency, columns, title)
    return adjacency


def _acyclic(adjacency: np.ndarray, columns: Sequence[str], title: str) -> None:
    """Remove nodes without parents until none is left; the remaining nodes contain a cycle."""
    left = np.ones(len(adjacency), dtype=bool)
    while left.any():
        free = left & (adjacency[left].sum(axis=0) == 0)
        if not free.any():
            stuck = [name for name, inside in zip(columns, left, strict=True) if inside]
            raise TableError(
                f"{title}: the true graph has a cycle (among{listed(stuck)}); give a directed "
                "acyclic graph."
            )
        left &= ~free


def truth_digest(adjacency: np.ndarray, columns: Sequence[str]) -> str:
    """SHA-256 of a true graph: its names in the table's order and its entries."""
    return hashlib.sha256(
        json.dumps([list(columns), adjacency.astype(int).tolist()]).encode()
    ).hexdigest()
