"""A table prepared once for all scores: standardised columns, blocks, rows, Gram matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

_ROWS = 4096  # rows centred at once
# a spread below this share of a column's size is rounding, not information
_ROUNDING = 16 * np.finfo(np.float64).eps


@dataclass(frozen=True, eq=False)
class Table:
    """A table as scores read it. Made by `prepare`.

    Attributes:
        values: the standardised columns; those of a categorical variable are uncorrelated contrasts
            of its indicators.
        blocks: for each of the D variables, the columns that it consists of.
        codes: the category of each row of a categorical variable; None for others.
        categories: the number of categories of each variable, 0 for a continuous one.
        groups: rows that share a score: `groups[group_of[v]]` are the rows in which v was not set.
    """

    values: Float[np.ndarray, "N C"]
    blocks: tuple[Int[np.ndarray, " c"], ...]
    codes: tuple[Int[np.ndarray, " N"] | None, ...]
    categories: tuple[int, ...]
    groups: tuple[Int[np.ndarray, " n"], ...]
    group_of: Int[np.ndarray, " D"]

    @property
    def n_nodes(self) -> int:
        """D."""
        return len(self.blocks)

    def rows(self, node: int) -> Int[np.ndarray, " n"]:
        """The rows in which `node` was not set by an intervention."""
        return self.groups[self.group_of[node]]

    def grams(self, values: Float[np.ndarray, "N C"]) -> list[Float[np.ndarray, "C C"]]:
        """For each group of rows, the sums of products of columns centred within the group."""
        n = len(values)
        return [gram(values, rows if len(rows) < n else None) for rows in self.groups]

    def sizes(self) -> Int[np.ndarray, " G"]:
        """The number of rows of each group."""
        return np.array([len(rows) for rows in self.groups])


def gram(
    values: Float[np.ndarray, "N C"], rows: Int[np.ndarray, " n"] | None = None
) -> Float[np.ndarray, "C C"]:
    """X'X of the centred columns, over all rows or some, in pieces of bounded memory; zeros for no
    rows."""
    n = len(values) if rows is None else len(rows)

    def part(start: int) -> Float[np.ndarray, "r C"]:
        chosen = slice(start, start + _ROWS)
        return values[chosen] if rows is None else values[rows[chosen]]

    starts = range(0, n, _ROWS)
    mean = sum((part(k).sum(axis=0) for k in starts), np.zeros(values.shape[1])) / max(1, n)
    out = np.zeros((values.shape[1],) * 2)
    for k in starts:
        centred = part(k) - mean
        out += centred.T @ centred
    return out


def prepare(
    x: Float[np.ndarray, "N D"],
    categories: Sequence[int] | None = None,
    intervened: Bool[np.ndarray, "N D"] | None = None,
) -> Table:
    """The table for the scores.

    A column is scaled by a power of two (squares of 1e300 would overflow), then centred and divided
    by its standard deviation, over the rows in which it was not set; a constant column becomes
    zeros. A categorical variable with k categories that occur becomes k - 1 columns (see
    `contrasts`).

    Args:
        x: the data; a categorical column holds codes.
        categories: per variable, the number of its categories, 0 for a continuous one; None if all
            are continuous.
        intervened: cells that were set by an intervention.

    Raises:
        ValueError: a shape that does not fit, cells that are not finite, or codes that are not
            integers from 0 to the number of categories less one.
    """
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or not x.size:
        raise ValueError(f"a table has rows and columns; the shape is {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("the table has cells that are missing or infinite; fill them first")
    kinds = [0] * x.shape[1] if categories is None else [int(k) for k in categories]
    if len(kinds) != x.shape[1]:
        raise ValueError(f"{len(kinds)} kinds of columns for {x.shape[1]} columns")
    free = np.ones(x.shape, bool) if intervened is None else ~np.asarray(intervened, bool)
    if free.shape != x.shape:
        raise ValueError(f"the mask of set cells has shape {free.shape}, the table {x.shape}")
    codes = tuple(_codes(x[:, v], k, v) if k else None for v, k in enumerate(kinds))
    columns = [
        standardised(x[:, v], free[:, v])[:, None] if code is None else contrasts(code)
        for v, code in enumerate(codes)
    ]
    ends = np.cumsum([0, *(c.shape[1] for c in columns)])
    masks, group_of = (
        (free[:, :1], np.zeros(free.shape[1], np.int64))
        if free.all()
        else np.unique(free, axis=1, return_inverse=True)
    )
    return Table(
        values=np.hstack(columns),
        blocks=tuple(np.arange(*ends[v : v + 2]) for v in range(len(columns))),
        codes=codes,
        categories=tuple(kinds),
        groups=tuple(np.flatnonzero(mask) for mask in masks.T),
        group_of=group_of.reshape(-1),
    )


def standardised(
    column: Float[np.ndarray, " N"], free: Bool[np.ndarray, " N"] | None = None
) -> Float[np.ndarray, " N"]:
    """The column with mean 0 and variance 1 over the rows `free` (all rows if these are constant
    or none); zeros if it is constant."""
    column = np.asarray(column, np.float64)
    size = np.abs(column).max()
    if size == 0:
        return np.zeros_like(column)
    column = np.ldexp(column, -np.frexp(size)[1])
    for rows in ([column[free]] if free is not None and free.any() else []) + [column]:
        mean, spread = rows.mean(), rows.std()
        if spread > _ROUNDING * np.abs(rows).max():
            return (column - mean) / spread
    return np.zeros_like(column)


def contrasts(codes: Int[np.ndarray, " N"]) -> Float[np.ndarray, "N k-1"]:
    """Columns of a categorical variable: mean 0, variance 1, uncorrelated.

    With P the shares of the k categories that occur, the scaled indicators 1{x = c} / sqrt(P_c)
    have the Gram matrix N (I - sqrt(P) sqrt(P)') after centring; the columns are their products
    with an orthonormal basis of the complement of sqrt(P). Another basis, or other names of the
    categories, is a rotation, which a score with a spherical prior does not notice.
    """
    _, codes, counts = np.unique(codes, return_inverse=True, return_counts=True)
    codes = codes.reshape(-1)
    root = np.sqrt(counts / len(codes))
    basis = np.linalg.qr(np.column_stack([root, np.eye(len(root))[:, 1:]]))[0][:, 1:]
    return (basis / root[:, None])[codes]


def _codes(column: Float[np.ndarray, " N"], k: int, v: int) -> Int[np.ndarray, " N"]:
    codes = column.astype(np.int64)
    if (codes != column).any() or codes.min() < 0 or codes.max() >= k:
        raise ValueError(
            f"column {v} has {k} categories, but its cells are not all integers from 0 to {k - 1}"
        )
    return codes
