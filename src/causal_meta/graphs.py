"""Batched pure functions on adjacency matrices. In every adjacency [..., D, D] of this package,
`adjacency[i, j] = 1` means i causes j.

Functions take any number of leading dimensions and any numeric dtype; an entry counts as an edge
when it is not zero.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int8, Int64, Shaped
from torch import Tensor

if TYPE_CHECKING:
    import networkx

# numbers held at once by the third Meek rule, whose workspace is D^3 per graph
_WORKSPACE = 1 << 24


def _edges(adjacency: Tensor) -> Tensor:
    if adjacency.ndim < 2 or adjacency.shape[-1] != adjacency.shape[-2]:
        raise ValueError(
            f"An adjacency has shape {tuple(adjacency.shape)}; its last two dimensions must be "
            "equal."
        )
    return (adjacency != 0).to(torch.float32)


def ancestors(adjacency: Shaped[Tensor, "*batch D D"]) -> Int8[Tensor, "*batch D D"]:
    """The ancestors of every node: entry [i, j] is 1 when a directed path of at least one edge
    leads from i to j (Warshall's closure, by squaring).

    >>> ancestors(torch.tensor([[0, 1, 0], [0, 0, 1], [0, 0, 0]])).tolist()
    [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    """
    reach = _edges(adjacency)
    for _ in range(max(1, (adjacency.shape[-1] - 1).bit_length())):
        reach = (reach + reach @ reach).clamp_(max=1)
    return reach.to(torch.int8)


def is_acyclic(adjacency: Shaped[Tensor, "*batch D D"]) -> Bool[Tensor, "*batch"]:
    """Whether no node is its own ancestor. A self-loop is a cycle."""
    return (ancestors(adjacency).diagonal(dim1=-2, dim2=-1) == 0).all(dim=-1)


def topological_order(adjacency: Shaped[Tensor, "*batch D D"]) -> Int64[Tensor, "*batch D"]:
    """The nodes, causes before effects: sorted by their number of ancestors, then by index.

    Raises ValueError if a graph has a cycle.
    """
    reach = ancestors(adjacency)
    if bool((reach.diagonal(dim1=-2, dim2=-1) != 0).any()):
        raise ValueError(
            "The graph has a cycle, so its nodes have no causal order; give a directed acyclic "
            "graph."
        )
    return torch.argsort(reach.sum(dim=-2), dim=-1, stable=True)


def depths(adjacency: Shaped[Tensor, "*batch D D"]) -> Int64[Tensor, "*batch D"]:
    """The number of edges of the longest directed path that ends at each node; 0 at roots. A
    cause has a smaller depth than its effects.

    Raises ValueError if a graph has a cycle.
    """
    edges = _edges(adjacency)
    depth = torch.zeros(edges.shape[:-1])
    for _ in range(adjacency.shape[-1]):
        deeper = (edges * (depth[..., None] + 1)).amax(dim=-2)
        if torch.equal(deeper, depth):
            return depth.to(torch.int64)
        depth = deeper
    raise ValueError(
        "The graph has a cycle, so its nodes have no depth; give a directed acyclic graph."
    )


def permute(
    adjacency: Shaped[Tensor, "*batch D D"], permutation: Int64[Tensor, "*#batch D"]
) -> Shaped[Tensor, "*batch D D"]:
    """Renumber the nodes: entry [a, b] of the result is `adjacency[permutation[a],
    permutation[b]]`."""
    rows = permutation[..., :, None].expand(adjacency.shape)
    columns = permutation[..., None, :].expand(adjacency.shape)
    return adjacency.gather(-2, rows).gather(-1, columns)


def cpdag(adjacency: Shaped[Tensor, "*batch D D"]) -> Int8[Tensor, "*batch D D"]:
    """The completed partially directed graph of each DAG's Markov equivalence
    class (Andersson, Madigan & Perlman 1997).

    A directed edge i -> j (equal in every member of the class) has [i, j] = 1, [j, i] = 0; a
    reversible one has both 1. Edges of v-structures are directed, then Meek's rules 1-3 (1995,
    theorem 3) are applied until nothing changes; since the DAG is known, each rule only decides
    whether an edge that is there is compelled. Raises ValueError if a graph has a cycle.
    """
    if not bool(is_acyclic(adjacency).all()):
        raise ValueError(
            "A graph has a cycle, so it has no Markov equivalence class; give directed acyclic "
            "graphs."
        )
    size = adjacency.shape[-1]
    flat = _edges(adjacency).reshape(-1, size, size)
    step = max(1, _WORKSPACE // max(1, size**3))
    parts = [_cpdag(flat[first : first + step]) for first in range(0, len(flat), step)]
    return (
        torch.cat(parts).reshape(adjacency.shape)
        if parts
        else torch.zeros(adjacency.shape, dtype=torch.int8)
    )


def _cpdag(edges: Tensor) -> Tensor:
    skeleton = edges + edges.mT
    apart = 1 - skeleton - torch.eye(edges.shape[-1])  # not adjacent, not equal
    directed = edges * (apart @ edges > 0)  # i -> j <- k with i and k apart
    while True:
        chain = directed.mT @ apart > 0  # rule 1: a -> b, b - c, a and c apart
        shortcut = directed @ directed > 0  # rule 2: a -> b -> c, a - c
        grown = torch.maximum(directed, edges * (chain | shortcut))
        undirected = skeleton - directed - directed.mT
        # rule 3, the most expensive, once the others are done: a - c -> b <- d - a, c and d apart
        if torch.equal(grown, directed):
            # [a, b, c]: a - c -> b
            between = undirected[:, :, None, :] * directed.mT[:, None, :, :]
            diamond = ((between @ apart[:, None]) * between).sum(dim=-1) > 0
            grown = torch.maximum(directed, edges * diamond)
            if torch.equal(grown, directed):
                return (directed + undirected).to(torch.int8)
        directed = grown


def graph_hashes(adjacency: Shaped[Tensor, "B D D"]) -> list[str]:
    """The `graph_hash` of each graph."""
    size = adjacency.shape[-1]
    packed = np.packbits((adjacency != 0).flatten(1).numpy(force=True), axis=1, bitorder="big")
    start = hashlib.sha256(b"graph %d:" % size)
    hashes = []
    for row in packed:
        digest = start.copy()
        digest.update(row.tobytes())
        hashes.append(digest.hexdigest())
    return hashes


def graph_hash(adjacency: Shaped[Tensor, "D D"]) -> str:
    """64 hex digits of SHA-256 over D and the row-major edge bits of one graph: the same on
    every platform and for every dtype.

    Labelled: two graphs that differ in their numbering differ in their hash.
    """
    if adjacency.ndim != 2:
        raise ValueError(
            f"graph_hash takes one graph [D, D], not shape {tuple(adjacency.shape)}; use "
            "graph_hashes for a batch."
        )
    return graph_hashes(adjacency[None])[0]


def to_networkx(
    adjacency: Shaped[Tensor, "D D"],
    columns: Sequence[str],
    probabilities: Float[Tensor, "D D"] | None = None,
) -> networkx.DiGraph:
    """One graph as a networkx DiGraph on the named columns; with `probabilities` each edge has the
    attribute `probability`.

    >>> to_networkx(torch.tensor([[0, 1], [0, 0]]), ["age", "bmi"]).edges
    OutEdgeView([('age', 'bmi')])
    """
    import networkx  # takes a quarter of a second to load

    if len(columns) != adjacency.shape[-1] or len(set(columns)) != len(columns):
        raise ValueError(
            f"There are {len(set(columns))} distinct column names for {adjacency.shape[-1]} "
            "nodes; give one name per node."
        )
    graph = networkx.DiGraph()
    graph.add_nodes_from(columns)
    for i, j in torch.nonzero(adjacency).tolist():
        graph.add_edge(
            columns[i],
            columns[j],
            **({} if probabilities is None else {"probability": float(probabilities[i, j])}),
        )
    return graph
