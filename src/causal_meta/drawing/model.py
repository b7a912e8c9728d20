"""A causal model: its graph and, beneath, what each variable does when one of its causes moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
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
    """One panel: how `effect` answers to `cause`, or, with cause None, how a variable without
    causes is distributed.

    x and y [n] are rows of the model (x is not read without a cause). grid, middle, low, high [G]
    are the curve and its band, all None where there is no curve.
    """

    cause: str | None
    effect: str
    y: Floats
    x: Floats | None = None
    grid: Floats | None = None
    middle: Floats | None = None
    low: Floats | None = None
    high: Floats | None = None


def model(
    adjacency: ArrayLike,
    names: Sequence[str],
    responses: Sequence[Response],
    *,
    title: str = "",
    note: str = "",
) -> Figure:
    """The graph over `names` and a panel for every response.

    Args:
        adjacency: [D, D], entry (i, j) not 0 where i causes j; acyclic.
        names: the D names.
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
        points = np.concatenate(
            [layout.centres - boxes / 2, layout.centres + boxes / 2, *layout.bends.values()]
        )
        low, high = points.min(0) - 0.25, points.max(0) + 0.25
        columns = max(1, min(_COLUMNS, len(responses)))
        lines = -(-len(responses) // columns)
        width = max(
            high[0] - low[0],
            columns * _WIDTH + 0.2,
            5.0,
            0.1 * len(title) + 0.6,
            0.073 * len(note) + 0.6,
        )
        height = high[1] - low[1] + lines * _HEIGHT + _HEAD + 0.1
        figure = canvas.new_figure(width, height, layout=None)
        axes = figure.add_axes(
            (0, (lines * _HEIGHT + 0.1) / height, 1, (high[1] - low[1]) / height)
        )
        middle = (low[0] + high[0]) / 2
        axes.set(xlim=(middle - width / 2, middle + width / 2), ylim=(low[1], high[1]))
        axes.set_axis_off()
        for i, j in np.argwhere(edges > 0).tolist():
            network._edge(
                axes, network._route(layout, (i, j), boxes, edges), canvas.EDGE_RIGHT, 0.55
            )
        network._nodes(axes, layout, boxes, labels)
        figure.text(
            0.21 / width,
            1 - 0.24 / height,
            canvas.plain(title, 90),
            fontsize=11.5,
            fontweight="bold",
            va="center",
        )
        figure.text(
            0.21 / width,
            1 - 0.49 / height,
            canvas.plain(note),
            fontsize=8.5,
            color=canvas.MUTED,
            va="center",
        )
        left = (width - columns * _WIDTH) / 2
        for k, response in enumerate(responses):
            x, y = (
                left + (k % columns) * _WIDTH + _LEFT,
                (lines - k // columns - 1) * _HEIGHT + 0.1 + _BOTTOM,
            )
            place = (
                x / width,
                y / height,
                (_WIDTH - _LEFT - _RIGHT) / width,
                (_HEIGHT - _BOTTOM - _TOP) / height,
            )
            _panel(figure.add_axes(place), response)
    return figure


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
    axes.plot(
        response.x[:_DOTS],
        response.y[:_DOTS],
        ".",
        color=canvas.FAINT,
        markersize=2.2,
        markeredgewidth=0,
        alpha=0.8,
        zorder=1,
    )
    if (
        response.grid is not None
        and response.middle is not None
        and response.low is not None
        and response.high is not None
    ):
        axes.fill_between(
            response.grid,
            response.low,
            response.high,
            color=canvas.PALETTE[0],
            alpha=0.2,
            linewidth=0,
            zorder=2,
        )
        axes.plot(response.grid, response.middle, color=canvas.PALETTE[0], linewidth=1.4, zorder=3)
        axes.set_xlim(*_limits(response.x, response.grid))
        axes.set_ylim(*_limits(response.y, response.low, response.high))
    axes.set_title(
        f"{canvas.plain(response.cause, 11)} → {canvas.plain(response.effect, 11)}",
        fontsize=8,
        pad=3,
    )


def _limits(rows: Floats, *shown: Floats) -> tuple[float, float]:
    """From the rows' 1 % to their 99 % quantile, wide enough for what is shown besides, and a
    margin."""
    low, high = np.quantile(rows[np.isfinite(rows)], [0.01, 0.99])
    low, high = (
        min(low, *(np.nanmin(part) for part in shown)),
        max(high, *(np.nanmax(part) for part in shown)),
    )
    margin = 0.06 * (high - low) or 1.0
    return float(low - margin), float(high + margin)
