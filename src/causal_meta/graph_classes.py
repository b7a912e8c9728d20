"""Classes of graphs that are equal up to the numbering of their nodes, or that no observational
data can distinguish.

Three levels: the labelled graph; its isomorphism class (all renumberings); its Markov equivalence
class (the labelled graphs with the same conditional independences). Each class has a stable hash,
64 hex digits of SHA-256, the same on every platform; equal hashes mean equal classes. Signatures
are cheap numbers that members of one class share, so that only graphs with equal signatures need
their hashes compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from causal_meta import graphs

Level = Literal["graph", "isomorphism", "equivalence"]

_CELLS = 1 << 22  # cells of adjacencies coloured at once
_BRANCHES = 20_000  # nodes tried in the search for one canonical order before it gives up
_SIGNATURE_ROUNDS = 1
_Certificate = tuple[tuple[int, tuple[int, ...]], ...]
_Neighbours = Mapping[int, frozenset[int]]


def class_hashes(adjacency: Shaped[Tensor, "B D D"], level: Level) -> list[str]:
    """The hash of the class of each graph at one level.

    >>> chains = torch.tensor([[[0, 1, 0], [0, 0, 1], [0, 0, 0]], [[0, 0, 0], [1, 0, 0], [0, 1,
    ... 0]]])  # 0 -> 1 -> 2 and 2 -> 1 -> 0
    >>> [len(set(class_hashes(chains, level))) for level in ("graph", "isomorphism", "equivalence")]
    [2, 1, 1]
    """
    if level == "graph":
        return graphs.graph_hashes(adjacency)
    return (
        isomorphism_hashes(adjacency) if level == "isomorphism" else equivalence_hashes(adjacency)
    )


def isomorphism_hashes(adjacency: Shaped[Tensor, "B D D"]) -> list[str]:
    """A hash of D and the canonical form of each directed graph. Raises ValueError as
    `canonical_order` does."""
    return _hashes(b"isomorphism", graphs.permute(adjacency, canonical_order(adjacency)))


def equivalence_hashes(adjacency: Shaped[Tensor, "B D D"]) -> list[str]:
    """A hash of D and the completed partially directed graph of each DAG. Raises
    ValueError if a graph has a cycle."""
    return _hashes(b"equivalence", graphs.cpdag(adjacency))


def unlabelled_equivalence_hashes(adjacency: Shaped[Tensor, "B D D"]) -> list[str]:
    """A hash of D and the canonical form of the completed partially directed graph: Markov
    equivalence after some renumbering.

    Raises ValueError if a graph has a cycle, and as `canonical_order` does.
    """
    classes = graphs.cpdag(adjacency)
    return _hashes(b"unlabelled equivalence", graphs.permute(classes, canonical_order(classes)))


def _hashes(level: bytes, adjacency: Tensor) -> list[str]:
    size = adjacency.shape[-1]
    packed = np.packbits((adjacency != 0).flatten(1).numpy(force=True), axis=1, bitorder="big")
    return [hashlib.sha256(b"%s %d:" % (level, size) + row.tobytes()).hexdigest() for row in packed]


def class_signatures(adjacency: Shaped[Tensor, "B D D"], level: Level) -> list[int]:
    """A 64-bit number per graph, equal for all graphs of one class and rarely for others.

    It is a hash of the edges (level "graph"), of the degrees of the nodes and of their neighbours
    ("isomorphism"), or of the skeleton ("equivalence").
    """
    edges = (adjacency != 0).numpy(force=True)
    if level == "isomorphism":
        colour = _colours(edges, rounds=_SIGNATURE_ROUNDS)
        total = _mixed(colour).sum(axis=1, dtype=np.uint64)
    else:
        if level == "equivalence":
            edges = edges | edges.swapaxes(1, 2)
        size = edges.shape[-1]
        cell = _mixed(np.arange(1, size * size + 1, dtype=np.uint64)).reshape(size, size)
        total = np.where(edges, cell, np.uint64(0)).sum(axis=(1, 2), dtype=np.uint64)
    return [int(value) for value in _mixed(total + np.uint64(edges.shape[-1]))]


# ----------------------------------------------------------------------------------- canonical form


def canonical_order(adjacency: Shaped[Tensor, "B D D"]) -> Int64[Tensor, "B D"]:
    """For each directed graph an order of its nodes such that `permute(adjacency, order)` is the
    same for isomorphic graphs, and different for all others.

    Colour refinement gives every node a number that does not depend on the numbering (Weisfeiler &
    Leman 1968). Where all numbers of a graph differ, as in most random graphs, the nodes are sorted
    by them. Otherwise the graph is divided: between two colours with more than half of their pairs
    joined, edges are replaced by the missing ones, and each connected part is then ordered by
    itself; so twins, isolated nodes, forests and repeated parts need no search. In a connected
    part, each node of the smallest colour that several nodes share gets a new colour in turn,
    and the smallest resulting graph is taken (McKay & Piperno 2014 describe this search); of nodes
    that a known automorphism exchanges only one is tried. The result is exact: refinement by
    hashing can only be too coarse, and the search then decides.

    Raises ValueError when a graph needs more than 20,000 tries, which happens only for large graphs
    of extreme regularity.
    """
    edges = (adjacency != 0).numpy(force=True)
    colour = _colours(edges)
    order = np.argsort(colour, axis=1, kind="stable")
    ordered = np.take_along_axis(colour, order, axis=1)
    for b in np.nonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))[0]:
        rank = np.unique(colour[b], return_inverse=True)[1].tolist()
        children = {i: frozenset(np.nonzero(row)[0].tolist()) for i, row in enumerate(edges[b])}
        parents = {
            j: frozenset(np.nonzero(column)[0].tolist()) for j, column in enumerate(edges[b].T)
        }
        order[b] = _Search().order(dict(enumerate(rank)), parents, children)
    return torch.from_numpy(order)


def _mixed(value: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014): 64 bits to 64 bits, one to one."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _colours(edges: np.ndarray, rounds: int | None = None) -> np.ndarray:
    """Uint64 [B, D]: colours that depend on a node's neighbourhood only: its degrees, refined until
    no graph gains a colour, or for `rounds` rounds.

    Each graph stops separately, so its colours do not depend on the others in the batch.
    """
    step = max(1, _CELLS // max(1, edges.shape[-1] ** 2))
    if len(edges) > step:
        return np.concatenate(
            [_colours(edges[first : first + step], rounds) for first in range(0, len(edges), step)]
        )
    size = np.uint64(edges.shape[-1] + 1)
    colour = _mixed(
        (edges.sum(axis=1, dtype=np.uint64) * size + edges.sum(axis=2, dtype=np.uint64)) * size
        + size
    )
    number = np.zeros(len(edges), dtype=np.int64)
    active = np.arange(len(edges))
    while len(active) and rounds != 0:
        some, mine = edges[active], colour[active]
        below = np.where(
            some, _mixed(mine ^ np.uint64(0x9E3779B97F4A7C15))[:, :, None], np.uint64(0)
        ).sum(axis=1, dtype=np.uint64)
        above = np.where(
            some, _mixed(mine ^ np.uint64(0xD1B54A32D192ED03))[:, None, :], np.uint64(0)
        ).sum(axis=2, dtype=np.uint64)
        new = _mixed(
            mine
            + _mixed(below ^ np.uint64(0x8CB92BA72F3D8DD7))
            + _mixed(above + np.uint64(0xABC98388FB8FAC03))
        )
        colour[active] = new
        if rounds is None:
            ordered = np.sort(new, axis=1)
            cells = 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)
            grown = cells > number[active]
            number[active] = cells
            active = active[grown]
        else:
            rounds -= 1
    return colour


class _Search:
    """The search for one canonical order. Graphs are neighbour sets by node, colours whole numbers
    by node."""

    def __init__(self) -> None:
        self.branches = 0

    def order(
        self, colour: Mapping[int, int], parents: _Neighbours, children: _Neighbours
    ) -> list[int]:
        """The nodes in canonical order, smaller colours before larger ones within every connected
        part."""
        colour = _refined(colour, parents, children)
        if len(set(colour.values())) == len(colour):
            return sorted(colour, key=colour.__getitem__)
        parents, children = _thinned(colour, parents, children)
        parts = _parts(parents, children)
        if len(parts) == 1:
            return self._branch(colour, parents, children)
        solved = []
        for part in parts:
            inner = {node: colour[node] for node in part}
            order = (
                part
                if len(part) == 1
                else self.order(
                    inner, {v: parents[v] for v in part}, {v: children[v] for v in part}
                )
            )
            solved.append((_certificate(order, colour, children), order))
        solved.sort(key=lambda item: item[0])
        return [node for _, order in solved for node in order]

    def _branch(
        self, colour: Mapping[int, int], parents: _Neighbours, children: _Neighbours
    ) -> list[int]:
        """The order with the smallest certificate among those in which one node of the smallest
        colour of several nodes comes first."""
        cells: dict[int, list[int]] = {}
        for node, value in colour.items():
            cells.setdefault(value, []).append(node)
        cell = min((len(nodes), value, nodes) for value, nodes in cells.items() if len(nodes) > 1)[
            2
        ]
        orbit = {node: node for node in colour}  # joined by the automorphisms found
        orders: dict[_Certificate, list[int]] = {}
        tried: set[int] = set()
        for node in cell:
            if _root(orbit, node) in {_root(orbit, other) for other in tried}:
                continue
            self.branches += 1
            if self.branches > _BRANCHES:
                raise ValueError(
                    "A graph is so regular that its isomorphism class takes too long to find; "
                    "tell graphs apart at level 'graph'."
                )
            tried.add(node)
            marked = {other: 2 * value + (other != node) for other, value in colour.items()}
            order = self.order(marked, parents, children)
            certificate = _certificate(order, colour, children)
            for a, b in zip(orders.setdefault(certificate, order), order, strict=True):
                orbit[_root(orbit, a)] = _root(orbit, b)
        return orders[min(orders)]


def _refined(
    colour: Mapping[int, int], parents: _Neighbours, children: _Neighbours
) -> dict[int, int]:
    """The coarsest finer colouring in which nodes of one colour have equally many parents and
    children of every colour; colours 0, 1, …"""
    while True:
        neighbourhood = {
            node: (
                value,
                sorted([colour[other] for other in parents[node]]),
                sorted([colour[other] for other in children[node]]),
            )
            for node, value in colour.items()
        }
        rank: dict[int, int] = {}
        number, last = -1, None
        for node in sorted(neighbourhood, key=neighbourhood.__getitem__):
            number, last = number + (neighbourhood[node] != last), neighbourhood[node]
            rank[node] = number
        if number + 1 == len(set(colour.values())):
            return rank
        colour = rank


def _thinned(
    colour: Mapping[int, int], parents: _Neighbours, children: _Neighbours
) -> tuple[_Neighbours, _Neighbours]:
    """The neighbours after edges and missing edges are exchanged between any two colours with more
    than half of their pairs joined in that direction.

    The colours determine where, so the symmetries stay the same; colours that are joined completely
    are no longer connected.
    """
    cells: dict[int, set[int]] = {}
    edges: dict[tuple[int, int], int] = {}
    for node, value in colour.items():
        cells.setdefault(value, set()).add(node)
        for child in children[node]:
            edges[value, colour[child]] = edges.get((value, colour[child]), 0) + 1
    dense = [
        (a, b)
        for (a, b), count in edges.items()
        if 2 * count > len(cells[a]) * (len(cells[b]) - (a == b))
    ]
    above, below = (
        {node: set(parents[node]) for node in colour},
        {node: set(children[node]) for node in colour},
    )
    for a, b in dense:
        for node in cells[a]:
            below[node] ^= cells[b] - {node}
        for node in cells[b]:
            above[node] ^= cells[a] - {node}
    return {node: frozenset(above[node]) for node in colour}, {
        node: frozenset(below[node]) for node in colour
    }


def _parts(parents: _Neighbours, children: _Neighbours) -> list[list[int]]:
    """The weakly connected components."""
    components, visited = [], set[int]()
    for start in parents:
        if start not in visited:
            part, waiting = {start}, [start]
            while waiting:
                node = waiting.pop()
                fresh = (parents[node] | children[node]) - part
                part |= fresh
                waiting.extend(fresh)
            visited |= part
            components.append(list(part))
    return components


def _certificate(
    order: Iterable[int], colour: Mapping[int, int], children: _Neighbours
) -> _Certificate:
    """The coloured graph written in this order: two coloured graphs with equal certificates are
    isomorphic."""
    place = {node: i for i, node in enumerate(order)}
    return tuple(
        (colour[node], tuple(sorted([place[child] for child in children[node]]))) for node in place
    )


def _root(orbit: dict[int, int], node: int) -> int:
    while orbit[node] != node:
        node = orbit[node] = orbit[orbit[node]]
    return node
