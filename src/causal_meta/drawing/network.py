"""A graph drawn by the probabilities of its edges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path as Outline
from numpy.typing import ArrayLike

from causal_meta.drawing import canvas
from causal_meta.drawing.layout import (
    Edge,
    Floats,
    Layout,
    backward_share,
    causal_order,
    circular,
    layered,
    smooth,
)

_TEXT = 9.5
_MARGIN = 0.3
# inches between the first and the last layer; beyond it the layers go downwards, so that the
# picture fits a page
_WIDEST = 7.5


def chosen_edges(
    probabilities: Float[ArrayLike, "D D"], threshold: float = 0.25, most: int | None = None
) -> list[tuple[int, int, float]]:
    """The edges with a probability of at least `threshold` as (cause, effect, probability), most
    probable first, at most `most` of them."""
    p = np.asarray(probabilities, dtype=float)
    i, j = np.nonzero((p >= threshold) & ~np.eye(len(p), dtype=bool))
    order = np.lexsort((j, i, -p[i, j]))[:most]
    return [(int(i[k]), int(j[k]), float(p[i[k], j[k]])) for k in order]


def graph(
    probabilities: Float[ArrayLike, "D D"],
    columns: Sequence[str],
    *,
    threshold: float = 0.25,
    most: int | None = None,
    truth: Float[ArrayLike, "D D"] | None = None,
    title: str = "",
) -> Figure:
    """The graph over `columns` with edges as wide, dark and opaque as they are probable.

    Args:
        probabilities: entry (i, j) is the probability that i causes j; the diagonal is not read.
        columns: the names of the variables.
        threshold: edges below this probability are not drawn.
        most: the largest number of edges, the most probable ones (default 3 D); the note under the
            title says what is left out.
        truth: the true graph, if known: drawn edges that it lacks are orange, its edges that are
            not drawn are dashed.
        title: stands above the picture.

    Raises:
        ValueError: the matrix is not square or the names do not fit.
    """
    p = np.nan_to_num(np.asarray(probabilities, dtype=float))
    canvas.check_square(p, columns, "The matrix of edge probabilities")
    edges = chosen_edges(p, threshold, 3 * len(p) if most is None else most)
    true = None if truth is None else np.asarray(truth) > 0
    missed = (
        []
        if true is None
        else [
            (i, j)
            for i, j in np.argwhere(true).tolist()
            if (i, j) not in {(a, b) for a, b, _ in edges}
        ]
    )
    weights = np.zeros_like(p)
    for i, j, value in edges:
        weights[i, j] = value
    for i, j in missed:
        weights[i, j] = max(weights[i, j], 1e-3)
    with canvas.style():
        names = [canvas.plain(name, 16) for name in columns]
        boxes = _box_sizes(names)
        layout = _layout(weights, boxes)
        axes, bounds = _sheet(
            layout, boxes, names, _note(p, edges, threshold), title, true is not None
        )
        for i, j in missed:
            _edge(axes, _route(layout, (i, j), boxes, weights), None, 0.5)
        for i, j, value in reversed(edges):
            colours = canvas.EDGE_RIGHT if true is None or true[i, j] else canvas.EDGE_WRONG
            _edge(axes, _route(layout, (i, j), boxes, weights), colours, value)
        _nodes(axes, layout, boxes, names)
        _legend(axes, bounds, threshold, true is not None)
    return axes.figure  # type: ignore[return-value]


def _note(p: Floats, edges: list[tuple[int, int, float]], threshold: float) -> str:
    possible = len(p) * (len(p) - 1)
    reached = len(chosen_edges(p, threshold))
    if not edges:
        highest = (p - np.eye(len(p))).max() if possible else 0.0
        return (
            f"No edge reaches probability {threshold:.2f}; the highest is {max(highest, 0.0):.2f}."
        )
    if len(edges) < reached:
        return (
            f"The {len(edges)} most probable of {possible} possible edges (at least "
            f"{edges[-1][2]:.2f})"
        )
    return (
        f"Edges with probability of at least {threshold:.2f}: {len(edges)} of {possible} possible"
    )


def _box_sizes(names: list[str]) -> Floats:
    """Width and height [D, 2] in inches of the boxes around the names."""
    figure = canvas.new_figure(1, 1, layout=None)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    text = figure.text(0, 0, "", fontsize=_TEXT)
    widths = []
    for name in names:
        text.set_text(name)
        widths.append(text.get_window_extent(renderer).width / canvas.DPI)
    return np.stack([np.maximum(widths, 0.2) + 0.2, np.full(len(names), 0.31)], 1)


def _layout(weights: Floats, boxes: Floats) -> Layout:
    order = causal_order(weights)
    if backward_share(weights, order) > 0.15:
        return circular(weights, order)
    layout = layered(weights, order, boxes)
    if _span(layout.centres) > _WIDEST:
        layout = layered(weights, order, boxes, downwards=True)
    return _with_loners(layout, boxes)


def _span(centres: Floats) -> float:
    placed = centres[np.isfinite(centres[:, 0]), 0]
    return float(np.ptp(placed)) if len(placed) else 0.0


def _with_loners(layout: Layout, boxes: Floats) -> Layout:
    """Nodes without a drawn edge go into rows below the picture."""
    loners = np.flatnonzero(np.isnan(layout.centres[:, 0]))
    placed = np.isfinite(layout.centres[:, 0])
    left = (layout.centres[placed, 0] - boxes[placed, 0] / 2).min() if placed.any() else 0.0
    right = max(
        (layout.centres[placed, 0] + boxes[placed, 0] / 2).max() if placed.any() else 0.0,
        left + 4.0,
    )
    floor = layout.centres[placed, 1].min() if placed.any() else 0.0
    bends = [path[:, 1].min() for path in layout.bends.values() if len(path)]
    x, y = left, min([floor, *bends]) - 0.6
    for node in loners:
        if x > left and x + boxes[node, 0] > right:
            x, y = left, y - 0.42
        layout.centres[node] = x + boxes[node, 0] / 2, y
        x += boxes[node, 0] + 0.15
    return layout


def _sheet(
    layout: Layout, boxes: Floats, names: list[str], note: str, title: str, has_truth: bool
) -> tuple[Axes, tuple[float, float]]:
    """Axes whose unit is an inch, large enough for nodes, bends, title and legend."""
    reach = boxes / 2 if layout.is_layered else np.stack([boxes[:, 0] + 0.15, boxes[:, 1]], 1)
    points = (
        [layout.centres - reach, layout.centres + reach, *layout.bends.values()]
        if layout.is_layered
        else []
    )
    if not layout.is_layered:
        side = np.sign(np.round(layout.centres[:, :1], 6))
        points = [
            layout.centres - 0.3,
            layout.centres + 0.3,
            layout.centres + side * reach * [1, 0],
        ]
    everything = np.concatenate(points)
    low, high = everything.min(0) - _MARGIN, everything.max(0) + _MARGIN
    low[1] -= 0.45
    high[1] += 0.42 if title else 0.15
    width = max(
        high[0] - low[0],
        0.073 * len(note) + 2 * _MARGIN,
        0.1 * len(title) + 2 * _MARGIN,
        7.3 if has_truth else 4.6,
    )
    extra = (width - (high[0] - low[0])) / 2
    low[0], high[0] = low[0] - extra, high[0] + extra
    figure = canvas.new_figure(high[0] - low[0], high[1] - low[1], layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    axes.set_axis_off()
    top = high[1] - 0.24
    if title:
        axes.text(
            low[0] + _MARGIN * 0.7,
            top,
            canvas.plain(title, 90),
            fontsize=11.5,
            fontweight="bold",
            va="center",
        )
        top -= 0.25
    axes.text(low[0] + _MARGIN * 0.7, top, note, fontsize=8.5, color=canvas.MUTED, va="center")
    return axes, (float(low[0]), float(low[1]))


def _route(layout: Layout, edge: Edge, boxes: Floats, weights: Floats) -> Floats:
    """The line of an edge [M, 2] from the border of its cause to the border of its effect, moved
    aside where both directions are drawn."""
    i, j = edge
    points = np.concatenate(
        [layout.centres[i][None], layout.bends.get(edge, np.zeros((0, 2))), layout.centres[j][None]]
    )
    if layout.is_layered:
        line = smooth(points)
        if weights[j, i] > 0 and weights[i, j] > 0:
            along = np.gradient(line, axis=0)
            normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.maximum(
                np.linalg.norm(along, axis=1, keepdims=True), 1e-9
            )
            line = (
                line + 0.07 * normal * np.sin(np.linspace(0.15, np.pi - 0.15, len(line)))[:, None]
            )
        outside = [(np.abs(line - layout.centres[v]) > boxes[v] / 2 + 0.03).any(1) for v in edge]
    else:
        t = np.linspace(0, 1, 80)[:, None]
        line = (1 - t) ** 2 * points[0] + 2 * t * (1 - t) * points[1] + t**2 * points[2]
        outside = [np.linalg.norm(line - layout.centres[v], axis=1) > 0.12 for v in edge]
    inside = np.flatnonzero(outside[0] & outside[1])
    return line[inside[0] : inside[-1] + 1] if len(inside) > 2 else line


def _edge(axes: Axes, line: Floats, colours: Colormap | None, p: float) -> None:
    """One arrow; `colours` None draws a dashed grey one (an edge of the truth that is not in the
    picture)."""
    width = 0.7 + 2.6 * p if colours else 1.0
    colour, opacity = (colours(p), 0.45 + 0.55 * p) if colours else (canvas.FAINT, 1.0)
    length = 0.085 + 0.018 * width
    distance = np.linalg.norm(line - line[-1], axis=1)
    keep = np.flatnonzero(distance > length)
    direction = line[-1] - (line[keep[-1]] if len(keep) else line[0])
    direction = direction / max(np.linalg.norm(direction), 1e-9)
    normal = np.array([-direction[1], direction[0]])
    base = line[-1] - direction * length
    shaft = np.concatenate([line[: keep[-1] + 1] if len(keep) else line[:1], base[None]])
    head = [line[-1], base + normal * length * 0.42, base - normal * length * 0.42]
    path = PathPatch(
        Outline(shaft),
        fill=False,
        edgecolor=colour,
        linewidth=width,
        alpha=opacity,
        capstyle="butt",
        zorder=2 + p,
    )
    if colours is None:
        path.set_linestyle((0, (4, 2.5)))
    axes.add_patch(path)
    axes.add_patch(
        Polygon(head, closed=True, facecolor=colour, edgecolor="none", alpha=opacity, zorder=2 + p)
    )


def _nodes(axes: Axes, layout: Layout, boxes: Floats, names: list[str]) -> None:
    for (x, y), (width, height), name in zip(layout.centres, boxes, names, strict=True):
        if layout.is_layered:
            shape = FancyBboxPatch(
                (x - width / 2, y - height / 2),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=0.09",
            )
            shape.set(facecolor="#f5f8fa", edgecolor="#8794a0", linewidth=0.9, zorder=5)
            axes.add_patch(shape)
            axes.text(
                x, y - 0.005, name, fontsize=_TEXT, ha="center", va="center_baseline", zorder=6
            )
            continue
        axes.add_patch(
            Circle((x, y), 0.065, facecolor=canvas.INK, edgecolor="white", linewidth=0.8, zorder=5)
        )
        outward = np.array([x, y]) / np.hypot(x, y)
        align = "center" if abs(outward[0]) < 0.15 else "left" if outward[0] > 0 else "right"
        axes.text(
            x + 0.16 * outward[0],
            y + 0.2 * outward[1],
            name,
            fontsize=_TEXT,
            ha=align,
            va="center",
            zorder=6,
        )


def _legend(axes: Axes, corner: tuple[float, float], threshold: float, has_truth: bool) -> None:
    """Sample arrows along the lower edge: what width and colour mean."""
    x, y = corner[0] + _MARGIN * 0.7, corner[1] + 0.24
    values = [value for value in (0.25, 0.5, 0.75, 1.0) if value >= threshold] or [1.0]
    text = axes.text(x, y, "probability of an edge", fontsize=8, color=canvas.MUTED, va="center")
    x += 1.36
    for value in values:
        _edge(axes, np.linspace((x, y), (x + 0.36, y), 30), canvas.EDGE_RIGHT, value)
        axes.text(x + 0.42, y, f"{value:g}", fontsize=8, color=canvas.INK, va="center")
        x += 0.74
    if has_truth:
        _edge(axes, np.linspace((x, y), (x + 0.36, y), 30), canvas.EDGE_WRONG, 0.75)
        axes.text(x + 0.42, y, "not in the true graph", fontsize=8, va="center")
        x += 1.66
        axes.add_line(
            Line2D(
                [x, x + 0.36], [y, y], color=canvas.FAINT, linewidth=1.0, linestyle=(0, (4, 2.5))
            )
        )
        axes.text(x + 0.42, y, "missed", fontsize=8, va="center")
    text.set_zorder(6)
