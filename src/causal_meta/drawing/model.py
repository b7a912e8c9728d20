"""A structural causal model: its graph and, below, how each variable responds to each of its
causes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from causal_meta.drawing import canvas, network
from causal_meta.drawing.layout import Floats, causal_order

_WIDTH, _HEIGHT = 1.72, 1.42  # inches of a panel with its margins
_LEFT, _BOTTOM, _RIGHT, _TOP = 0.42, 0.24, 0.08, 0.3  # inches of these margins
_COLUMNS = 6
_HEAD = 0.62
_DOTS = 250


@dataclass(frozen=True, eq=False)
class Response:
    """One panel: how `effect` depends on `cause`, or, with cause None, how a variable without
    causes is distributed.

    x and y are N rows of the model (x is not read without a cause). grid, middle, low, high are the
    curve and its band at G points, all None where there is no curve.
    """

    cause: str | None
    effect: str
    y: Float[np.ndarray, " N"]
    x: Float[np.ndarray, " N"] | None = None
    grid: Float[np.ndarray, " G"] | None = None
    middle: Float[np.ndarray, " G"] | None = None
    low: Float[np.ndarray, " G"] | None = None
    high: Float[np.ndarray, " G"] | None = None


def model(
    adjacency: Float[ArrayLike, "D D"],
    names: Sequence[str],
    responses: Sequence[Response],
    *,
    title: str = "",
    note: str = "",
) -> Figure:
    """The graph over `names` and a panel for every response.

    Args:
        adjacency: entry (i, j) is not 0 where i causes j; acyclic.
        names: the names of the variables.
        responses: the panels, drawn in this order.
        title: stands above the picture.
        note: stands under the title, in grey.

    Raises:
        ValueError: the matrix is not square or the names do not fit.
    """
    edges = (np.asarray(adjacency) != 0).astype(float)
    canvas.check_square(edges, names, "The adjacency")
    with canvas.style():
        labels = [canvas.plain(name, 24) for name in names]
        boxes = network._box_sizes(labels)
        layout = network.layered(edges, causal_order(edges), boxes)
        if network._span(layout.centres) > network._WIDEST:
            layout = network.layered(edges, causal_order(edges), boxes, downwards=True)
        layout = network._with_loners(layout, boxes)
        points = [layout.centres - boxes / 2, layout.centres + boxes / 2, *layout.bends.values()]
        every = np.concatenate(points)
        low, high = every.min(0) - 0.25, every.max(0) + 0.25
        columns = max(1, min(_COLUMNS, len(responses)))
        lines = -(-len(responses) // columns)
        words = max(0.1 * len(title), 0.073 * len(note)) + 0.6
        width = max(high[0] - low[0], columns * _WIDTH + 0.2, 5.0, words)
        height = high[1] - low[1] + lines * _HEIGHT + _HEAD + 0.1
        figure = canvas.new_figure(width, height, layout=None)
        floor = lines * _HEIGHT + 0.1
        axes = figure.add_axes((0, floor / height, 1, (high[1] - low[1]) / height))
        middle = (low[0] + high[0]) / 2
        axes.set(xlim=(middle - width / 2, middle + width / 2), ylim=(low[1], high[1]))
        axes.set_axis_off()
        for i, j in np.argwhere(edges > 0).tolist():
            line = network._route(layout, (i, j), boxes, edges)
            network._edge(axes, line, canvas.EDGE_RIGHT, 0.55)
        network._nodes(axes, layout, boxes, labels)
        _head(figure, title, note)
        for k, response in enumerate(responses):
            x = (width - columns * _WIDTH) / 2 + (k % columns) * _WIDTH + _LEFT
            y = (lines - k // columns - 1) * _HEIGHT + 0.1 + _BOTTOM
            w, h = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _BOTTOM - _TOP
            _panel(figure.add_axes((x / width, y / height, w / width, h / height)), response)
    return figure


def _head(figure: Figure, title: str, note: str) -> None:
    """Title and note in the upper left corner, at distances in inches."""
    width, height = figure.get_size_inches()
    x = 0.21 / width
    bold: canvas.Properties = {"fontsize": 11.5, "fontweight": "bold"}
    figure.text(x, 1 - 0.24 / height, canvas.plain(title, 90), va="center", **bold)
    grey: canvas.Properties = {"fontsize": 8.5, "color": canvas.MUTED}
    figure.text(x, 1 - 0.49 / height, canvas.plain(note), va="center", **grey)


def _panel(axes: Axes, response: Response) -> None:
    axes.tick_params(labelsize=7, length=2, pad=2)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    y = response.y[np.isfinite(response.y)]
    if response.cause is None:
        axes.hist(y, bins=24 if len(np.unique(y)) > 2 else 9, color=canvas.FAINT)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_title(canvas.plain(response.effect, 22), fontsize=8, pad=3)
        return
    assert response.x is not None
    dots: canvas.Properties = {
        "color": canvas.FAINT,
        "markersize": 2.2,
        "markeredgewidth": 0,
        "alpha": 0.8,
    }
    axes.plot(response.x[:_DOTS], response.y[:_DOTS], ".", zorder=1, **dots)
    grid, middle, low, high = response.grid, response.middle, response.low, response.high
    if grid is not None and middle is not None and low is not None and high is not None:
        band: canvas.Properties = {"color": canvas.PALETTE[0], "alpha": 0.2, "linewidth": 0}
        axes.fill_between(grid, low, high, zorder=2, **band)
        axes.plot(grid, middle, color=canvas.PALETTE[0], linewidth=1.4, zorder=3)
        axes.set_xlim(*_limits(response.x, grid))
        axes.set_ylim(*_limits(response.y, low, high))
    words = f"{canvas.plain(response.cause, 11)} → {canvas.plain(response.effect, 11)}"
    axes.set_title(words, fontsize=8, pad=3)


def _limits(rows: Floats, *shown: Floats) -> tuple[float, float]:
    """From the 1 % to the 99 % quantile of the rows, wide enough for the curves, with a margin."""
    low, high = np.quantile(rows[np.isfinite(rows)], [0.01, 0.99])
    low = min(low, *(np.nanmin(part) for part in shown))
    high = max(high, *(np.nanmax(part) for part in shown))
    margin = 0.06 * (high - low) or 1.0
    return float(low - margin), float(high + margin)
