"""Determinants for all subsets of a node's candidates, by elimination along a tree of subsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

_CELLS = 1 << 18  # numbers of the matrices that are eliminated at once

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def subset_log_determinants(
    gram: Float[np.ndarray, "C C"],
    target: Int[np.ndarray, " b"],
    blocks: Sequence[Int[np.ndarray, " c"]],
    ridges: Float[np.ndarray, "S C"],
    most: int,
) -> tuple[Float[np.ndarray, "S 2**K"], Float[np.ndarray, "S 2**K"]]:
    """`log_determinants` of the union P of every subset of K blocks of columns: for each of S
    ridges log det M_PP and log det(G_vv - G_vP M_PP^-1 G_Pv), with the columns v of `target`; -inf
    for subsets of more than `most` blocks.

    The blocks are decided one after another. What is carried along is the Schur complement of the
    columns taken so far in those of the target and the blocks to come, log det its sum of log
    pivots: half of all subsets differ in the last block alone, so that most steps are on matrices
    of one block. The columns are eliminated one by one, as by Cholesky, hence as accurately.
    """
    out = np.full((2, len(ridges), 1 << len(blocks)), -np.inf)
    # the next block is the last in the matrix
    columns = np.concatenate([target, *blocks[::-1]]).astype(np.int64)
    start = np.repeat(gram[np.ix_(columns, columns)][None], len(ridges), axis=0)
    diagonal = np.arange(len(target), len(columns))
    start[:, diagonal, diagonal] += ridges[:, columns[len(target) :]]
    todo = [_Branch(0, start, *_labels(len(ridges)))]
    while todo:
        branch = todo.pop()
        if branch.decided == len(blocks):
            out[0, branch.ridge, branch.subset] = branch.log_det
            out[1, branch.ridge, branch.subset] = np.linalg.slogdet(branch.matrices)[1]
        elif branch.matrices.size > _CELLS and len(branch.matrices) > 1:
            half = len(branch.matrices) // 2
            todo += [branch.part(slice(half)), branch.part(slice(half, None))]
        else:
            todo.append(branch.grown(len(blocks[branch.decided]), most))
    return out[0], out[1]


def _labels(n_ridges: int) -> tuple[Floats, Ints, Ints, Ints]:
    none = np.zeros(n_ridges, np.int64)
    return np.zeros(n_ridges), np.arange(n_ridges), none, none


@dataclass(frozen=True, eq=False)
class _Branch:
    """Matrices for which the first blocks are decided: how many, and of each matrix the sum of log
    pivots so far, the number of its ridge, its subset and the number of members."""

    decided: int
    matrices: Floats
    log_det: Floats
    ridge: Ints
    subset: Ints
    count: Ints

    def part(self, rows: slice) -> _Branch:
        """Some of the matrices."""
        return _Branch(
            self.decided,
            self.matrices[rows],
            self.log_det[rows],
            self.ridge[rows],
            self.subset[rows],
            self.count[rows],
        )

    def grown(self, width: int, most: int) -> _Branch:
        """Without the next block, and with it where fewer than `most` are taken."""
        rest = self.matrices.shape[1] - width
        room = self.count < most
        left, gained = _eliminated(self.matrices[room], width)
        return _Branch(
            self.decided + 1,
            np.concatenate([self.matrices[:, :rest, :rest], left]),
            np.concatenate([self.log_det, self.log_det[room] + gained]),
            np.concatenate([self.ridge, self.ridge[room]]),
            np.concatenate([self.subset, self.subset[room] | 1 << self.decided]),
            np.concatenate([self.count, self.count[room] + 1]),
        )


def _eliminated(matrices: Floats, width: int) -> tuple[Floats, Floats]:
    """The Schur complements of the last `width` columns, and the logs of these columns'
    determinants."""
    rest = matrices.shape[1] - width
    panel = matrices[:, rest:].copy()
    pivots = np.empty((len(matrices), width))
    for i in range(width):
        pivots[:, i] = panel[:, i, rest + i]
        panel[:, i] /= np.sqrt(pivots[:, i, None])
        if i + 1 < width:
            panel[:, i + 1 :] -= panel[:, i, rest + i + 1 :, None] * panel[:, i, None, :]
    rows = panel[:, :, :rest]
    left = matrices[:, :rest, :rest] - rows.transpose(0, 2, 1) @ rows
    return left, np.log(pivots).sum(axis=1)
