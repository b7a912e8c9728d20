"""Positions of the nodes and edges of a drawn graph: layers from left to right if few edges point
backwards, else a circle.

Layers follow Sugiyama, Tagawa and Toda (1981): an order with little weight pointing backwards
(Eades, Lin and Smyth 1993), longest-path layers, crossings reduced by barycentre sweeps over nodes
and the bends of long edges, then heights by isotonic least squares. Lengths in inches.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

Edge = tuple[int, int]
Floats = NDArray[np.float64]


@dataclass
class Layout:
    """Centres of the nodes [D, 2] (NaN for the unplaced ones) and the bends of every edge, from its
    cause to its effect [M, 2]."""

    centres: Floats
    bends: dict[Edge, Floats]
    is_layered: bool


def causal_order(weights: Float[np.ndarray, "D D"]) -> list[int]:
    """An order of the nodes in which little of the weight of the edges points backwards.

    Greedy: sinks go to the end and sources to the front as long as there are any; of the rest, the
    node with the largest weight out minus weight in goes to the front. Exact for acyclic graphs.
    """
    left = list(range(len(weights)))
    front: list[int] = []
    back: list[int] = []
    while left:
        inside = weights[np.ix_(left, left)]
        out, into = inside.sum(1), inside.sum(0)
        if (out == 0).any() and not (into[out == 0] == 0).all():
            sinks = [node for node, o, i in zip(left, out, into, strict=True) if o == 0 and i > 0]
            back = sinks + back
        elif (into == 0).any():
            sinks = [node for node, i in zip(left, into, strict=True) if i == 0]
            front += sinks
        else:
            sinks = [left[int(np.argmax(out - into))]]
            front += sinks
        left = [node for node in left if node not in sinks]
    return front + back


def backward_share(weights: Float[np.ndarray, "D D"], order: list[int]) -> float:
    """Share of the weight of edges that point backwards in `order`; of a pair with edges in both
    directions only the stronger one counts."""
    position = np.argsort(order)
    alone = np.where(
        (weights < weights.T)
        | ((weights == weights.T) & (weights > 0) & (position[:, None] > position[None])),
        0.0,
        weights,
    )
    backward = alone[position[:, None] > position[None]].sum()
    return float(backward / alone.sum()) if alone.sum() > 0 else 0.0


def layered(
    weights: Floats,
    order: list[int],
    sizes: Floats,
    *,
    downwards: bool = False,
    gap: float = 0.55,
    row: float = 0.22,
) -> Layout:
    """Layers from left to right, or `downwards`, of the nodes that have an edge; `sizes` [D, 2] are
    the widths and heights of their boxes."""
    n = len(weights)
    if downwards:
        across = layered(weights, order, sizes[:, ::-1], gap=gap * 0.8, row=row)
        turn = np.array([[0.0, -1.0], [-1.0, 0.0]])
        return Layout(
            across.centres @ turn, {edge: path @ turn for edge, path in across.bends.items()}, True
        )
    position = np.argsort(order)
    forward = {
        (i, j) if position[i] < position[j] else (j, i)
        for i, j in np.argwhere(weights > 0).tolist()
    }
    layer = _layers(forward, order)
    chains: dict[Edge, list[Any]] = {
        (i, j): [i, *((i, j, k) for k in range(layer[i] + 1, layer[j])), j]
        for i, j in sorted(forward)
    }
    columns = _order_columns(chains, layer, order)
    widths = [
        max([sizes[v, 0] for v in column if isinstance(v, int)] or [0.3]) for column in columns
    ]
    x = (
        np.concatenate([[0.0], np.cumsum(np.add(widths[:-1], widths[1:]) / 2 + gap)])
        if widths
        else np.zeros(0)
    )
    y = _heights(columns, chains, sizes[:, 1], row)
    centres = np.full((n, 2), np.nan)
    for c, column in enumerate(columns):
        for vertex in column:
            if isinstance(vertex, int):
                centres[vertex] = x[c], y[vertex]
    bends = {}
    for (i, j), chain in chains.items():
        whole = np.array([centres[i], *((x[v[2]], y[v]) for v in chain[1:-1]), centres[j]])
        path = min(
            (_pulled(whole, centres, sizes, (i, j)), whole),
            key=lambda p: _hits(smooth(p), centres, sizes, (i, j), 0.04),
        )[1:-1]
        bends[i, j], bends[j, i] = path, path[::-1]
    return Layout(centres, bends, True)


def _pulled(path: Floats, centres: Floats, sizes: Floats, edge: Edge) -> Floats:
    """The points [M, 2] that are left when the line is pulled tight between the boxes it must not
    touch."""
    t = np.linspace(0, 1, 60)[:, None]
    kept, start = [0], 0
    while start < len(path) - 1:
        for end in range(len(path) - 1, start, -1):
            if end == start + 1 or not _hits(
                path[start] * (1 - t) + path[end] * t, centres, sizes, edge, 0.11
            ):
                break
        kept.append(end)
        start = end
    return path[kept]


def _hits(line: Floats, centres: Floats, sizes: Floats, edge: Edge, margin: float) -> int:
    """Boxes other than the ends of `edge` that `line` [M, 2] comes nearer to than `margin`."""
    others = np.isfinite(centres[:, 0])
    others[list(edge)] = False
    return int(
        (np.abs(line[:, None] - centres[others]) < sizes[others] / 2 + margin).all(2).any(0).sum()
    )


def smooth(points: Float[np.ndarray, "M 2"], step: float = 0.025) -> Float[np.ndarray, "L 2"]:
    """A curve through `points` [M, 2] (Hermite pieces, Catmull-Rom directions), a point per `step`;
    two points give a straight line."""
    tangents = (
        np.gradient(points, axis=0) if len(points) > 2 else np.tile(points[1] - points[0], (2, 1))
    )
    pieces = []
    for k in range(len(points) - 1):
        chord = np.linalg.norm(points[k + 1] - points[k])
        t = np.linspace(0, 1, 2 + int(chord / step))[:, None]
        m0, m1 = (
            v / max(np.linalg.norm(v), 1e-9) * chord * 0.8 for v in (tangents[k], tangents[k + 1])
        )
        h = (2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, -2 * t**3 + 3 * t**2, t**3 - t**2)
        pieces.append(h[0] * points[k] + h[1] * m0 + h[2] * points[k + 1] + h[3] * m1)
    return np.concatenate(pieces)


def _layers(edges: set[Edge], order: list[int]) -> dict[int, int]:
    """Longest-path layers of the nodes that have an edge; a node with more effects than causes then
    moves right, towards its effects."""
    parents = {v: [i for i, j in edges if j == v] for v in order}
    children = {v: [j for i, j in edges if i == v] for v in order}
    layer: dict[int, int] = {}
    for v in order:
        if parents[v] or children[v]:
            layer[v] = max((layer[p] + 1 for p in parents[v]), default=0)
    for v in reversed(order):
        if len(children[v]) > len(parents[v]):
            layer[v] = min(layer[c] for c in children[v]) - 1
    first = min(layer.values(), default=0)
    return {v: k - first for v, k in layer.items()}


def _order_columns(
    chains: dict[Edge, list[Any]], layer: dict[int, int], order: list[int]
) -> list[list]:
    """Vertices (nodes and bends) per layer, top to bottom, with few crossings: 24 barycentre
    sweeps, the best state is kept."""
    n_layers = max(layer.values(), default=-1) + 1
    columns: list[list] = [[v for v in order if layer.get(v) == k] for k in range(n_layers)]
    links = [pair for chain in chains.values() for pair in itertools.pairwise(chain)]
    for chain in chains.values():
        for bend in chain[1:-1]:
            columns[bend[2]].append(bend)
    before: dict = {v: [a for a, b in links if b == v] for column in columns for v in column}
    after: dict = {v: [b for a, b in links if a == v] for column in columns for v in column}
    best, fewest = [list(c) for c in columns], _crossings(columns, after)
    for sweep in range(24):
        neighbours = before if sweep % 2 == 0 else after
        for k in range(n_layers) if sweep % 2 == 0 else reversed(range(n_layers)):
            rank = {v: r / max(1, len(c) - 1) for c in columns for r, v in enumerate(c)}
            columns[k].sort(
                key=lambda v: (
                    np.mean([rank[u] for u in neighbours[v]]) if neighbours[v] else rank[v]
                )
            )
        crossings = _crossings(columns, after)
        if crossings < fewest:
            best, fewest = [list(c) for c in columns], crossings
    return best


def _crossings(columns: list[list], after: dict) -> int:
    total = 0
    for left, right in itertools.pairwise(columns):
        rank = {v: r for r, v in enumerate(right)}
        ends = np.array([(a, rank[b]) for a, v in enumerate(left) for b in after[v]]).reshape(-1, 2)
        total += int(
            ((ends[:, None, 0] < ends[None, :, 0]) & (ends[:, None, 1] > ends[None, :, 1])).sum()
        )
    return total


def _heights(columns: list[list], chains: dict[Edge, list[Any]], box: Floats, row: float) -> dict:
    """Height of every vertex: near the mean of its neighbours, apart by its size within its layer
    (isotonic least squares).

    Links between two bends weigh eight times as much as links between two nodes, so that long edges
    run straight.
    """
    from scipy.optimize import isotonic_regression  # half of the time that drawing takes to load

    links = [pair for chain in chains.values() for pair in itertools.pairwise(chain)]
    vertices = [v for column in columns for v in column]
    near: dict = {
        v: [a for a, b in links if b == v] + [b for a, b in links if a == v] for v in vertices
    }
    pull: dict = {
        v: [2.0 ** (3 * (not isinstance(u, int) and not isinstance(v, int))) for u in near[v]]
        for v in vertices
    }
    half = {v: (box[v] / 2 + row / 2 if isinstance(v, int) else row * 0.75) for v in vertices}
    y: dict = {}
    offsets = []
    for column in columns:
        sizes = np.array([half[v] for v in column])
        offset = np.concatenate([[0.0], np.cumsum(sizes[:-1] + sizes[1:])])
        offsets.append(offset)
        y |= dict(zip(column, offset - offset.mean(), strict=True))
    for sweep in range(60):
        for k in range(len(columns)) if sweep % 2 == 0 else reversed(range(len(columns))):
            column, offset = columns[k], offsets[k]
            heights = np.array(
                [
                    np.average([y[u] for u in near[v]], weights=pull[v]) if near[v] else y[v]
                    for v in column
                ]
            )
            weight = np.array([4.0 if not isinstance(v, int) else 1.0 for v in column])
            fitted = isotonic_regression(heights - offset, weights=weight).x + offset
            y |= dict(zip(column, fitted, strict=True))
    return {v: -float(value) for v, value in y.items()}


def circular(weights: Float[np.ndarray, "D D"], order: list[int]) -> Layout:
    """All nodes on a circle, clockwise from the top in `order`; edges bend towards the centre."""
    n = len(weights)
    radius = max(1.1, 0.19 * n)
    angle = np.pi / 2 - 2 * np.pi * np.argsort(order) / n
    centres = radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    bends = {}
    for i, j in np.argwhere(weights > 0).tolist():
        middle, across = (centres[i] + centres[j]) / 2, centres[j] - centres[i]
        side = np.array([-across[1], across[0]]) * (0.09 if weights[j, i] > 0 else 0.0)
        bends[i, j] = (0.72 * middle + side)[None]
    return Layout(centres, bends, False)
