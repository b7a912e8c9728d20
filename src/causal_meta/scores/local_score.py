"""What every local score answers: families in batches, and all subsets of a node's candidates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

_CHUNK = 4096  # families that `table` asks for at once


class LocalScore(ABC):
    """log p(x_v | x_P) for families (v, P) of D variables.

    A score is a pure function of the node and the *set* of its parents: neither the order of the
    parents nor the other families of the batch change it beyond rounding.
    """

    n_nodes: int

    @abstractmethod
    def families(self, node: int, parents: Int[np.ndarray, "F p"]) -> Float[np.ndarray, " F"]:
        """The score of `node` with each row of `parents` as its parents, in nats."""

    def table(
        self, node: int, candidates: Int[np.ndarray, " K"], max_parents: int | None = None
    ) -> Float[np.ndarray, " 2**K"]:
        """The scores of all subsets of `candidates`: entry b has the candidates of the set bits of
        b as parents; -inf where these are more than `max_parents`."""
        candidates = np.asarray(candidates, np.int64)
        table = np.full(1 << len(candidates), -np.inf)
        for subsets, parents in subsets_by_size(candidates, max_parents):
            for start in range(0, len(subsets), _CHUNK):
                chunk = slice(start, start + _CHUNK)
                table[subsets[chunk]] = self.families(node, parents[chunk])
        return table


def subsets_by_size(
    candidates: Int[np.ndarray, " K"], max_parents: int | None = None
) -> Iterator[tuple[Int[np.ndarray, " F"], Int[np.ndarray, "F p"]]]:
    """For p = 0, 1, ... up to `max_parents`: the numbers b of the subsets with p members (bit k of
    b: candidate k is a member), rising, and their members."""
    n = len(candidates)
    bits = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1
    size = bits.sum(axis=1)
    most = n if max_parents is None else min(n, max_parents)
    for p in range(most + 1):
        subsets = np.flatnonzero(size == p)
        members = np.nonzero(bits[subsets])[1].reshape(len(subsets), p)
        yield subsets, np.asarray(candidates, np.int64)[members]


def subset_sums(values: Int[np.ndarray, " K"]) -> Int[np.ndarray, " 2**K"]:
    """Entry b: the sum of the values of the set bits of b.

    >>> subset_sums(np.array([1, 10])).tolist()
    [0, 1, 10, 11]
    """
    out = np.zeros(1, np.int64)
    for value in values:
        out = np.concatenate([out, out + value])
    return out


def subset_numbers(
    names: Int[np.ndarray, " K"], some: Int[np.ndarray, " k"]
) -> Int[np.ndarray, " 2**k"]:
    """The numbers that the subsets of `some` have among those of `names`, which hold them.

    >>> subset_numbers(np.array([5, 7, 8]), np.array([8, 5])).tolist()
    [0, 4, 1, 5]
    """
    return subset_sums(subset_bits(names, int(names.max(initial=0)) + 1)[some])


def subset_bits(names: Int[np.ndarray, " K"], n_nodes: int) -> Int[np.ndarray, " D"]:
    """The bit of each variable in the numbers of subsets of `names`; 0 for those that are none."""
    bits = np.zeros(n_nodes, np.int64)
    bits[names] = 1 << np.arange(len(names))
    return bits


def checked_families(
    node: int, parents: Int[np.ndarray, "F p"], n_nodes: int
) -> Int[np.ndarray, "F p"]:
    """The parents of each family, rising.

    Raises:
        ValueError: a node that does not exist, is its own parent, or is a parent twice.
    """
    rows = np.sort(np.asarray(parents, np.int64).reshape(len(parents), -1), axis=1)
    if not 0 <= node < n_nodes or (rows.size and (rows.min() < 0 or rows.max() >= n_nodes)):
        raise ValueError(f"node {node} or a parent of it is not one of the variables 0 to D - 1 "
                         f"with D = {n_nodes}")  # fmt: skip
    if (rows == node).any():
        raise ValueError(f"node {node} cannot be its own parent")
    if (rows[:, 1:] == rows[:, :-1]).any():
        raise ValueError(f"a family of node {node} has the same parent twice")
    return rows
