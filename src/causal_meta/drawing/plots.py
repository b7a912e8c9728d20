"""Matrices, curves, calibration, distributions and bars, from arrays."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from causal_meta.drawing import canvas

Floats = NDArray[np.float64]


def matrix(
    values: Float[ArrayLike, "D D"],
    columns: Sequence[str],
    *,
    title: str = "",
    note: str = "row causes column",
    truth: Float[ArrayLike, "D D"] | None = None,
    colours: Colormap | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
    label: str = "probability of the edge",
) -> Figure:
    """Heat map of a number for every ordered pair of variables: rows are causes, columns effects,
    the diagonal stays blank. Up to 14 variables the numbers stand in the cells.

    Args:
        values: entry (i, j) belongs to the edge from i to j.
        columns: the names of the variables.
        title: stands above the picture.
        note: stands under the title, in grey.
        truth: the true graph, whose edges are framed.
        colours: colour map of the values.
        limits: values of the first and the last colour.
        label: what the values are, beside the colour bar.

    Raises:
        ValueError: the matrix is not square or the names do not fit.
    """
    p = np.asarray(values, dtype=float)
    canvas.check_square(p, columns, "The matrix")
    n = len(p)
    cell = 0.42 if n <= 14 else max(0.16, 5.2 / n)
    longest = max(len(canvas.plain(name, 16)) for name in columns)
    with canvas.style():
        figure = canvas.new_figure(
            cell * n + 0.075 * longest + 1.6, cell * n + 0.075 * longest + 1.1, layout="compressed"
        )
        axes = figure.add_subplot()
        shown = np.where(np.eye(n, dtype=bool), np.nan, p)
        image = axes.imshow(
            shown, cmap=colours or canvas.PROBABILITY, vmin=limits[0], vmax=limits[1]
        )
        for k in range(n):
            axes.add_patch(
                Rectangle((k - 0.5, k - 0.5), 1, 1, facecolor="#eef1f4", edgecolor="none")
            )
        axes.set_xticks(
            range(n),
            [canvas.plain(name, 16) for name in columns],
            rotation=90 if longest > 3 or n > 14 else 0,
        )
        axes.set_yticks(range(n), [canvas.plain(name, 16) for name in columns])
        axes.set(xlabel="effect", ylabel="cause")
        axes.tick_params(length=0, labelsize=8.5 if n <= 25 else 6)
        axes.spines[:].set_visible(False)
        axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.2)
        axes.tick_params(which="minor", length=0)
        if n <= 14:
            _numbers(axes, shown, limits)
        if truth is not None:
            for i, j in np.argwhere(np.asarray(truth) > 0).tolist():
                axes.add_patch(
                    Rectangle(
                        (j - 0.44, i - 0.44),
                        0.88,
                        0.88,
                        fill=False,
                        edgecolor=canvas.PALETTE[1],
                        linewidth=1.6,
                    )
                )
            note = f"{note}; framed: edges of the true graph"
        canvas.heading(axes, title, note)
        bar = figure.colorbar(image, ax=axes, shrink=0.7, aspect=24, pad=0.02, label=label)
        bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


def _numbers(axes: Axes, shown: Floats, limits: tuple[float, float]) -> None:
    middle = limits[0] + 0.55 * (limits[1] - limits[0])
    for i, j in np.argwhere(np.isfinite(shown)).tolist():
        text = (
            f"{shown[i, j]:.2f}".replace("0.", ".", 1)
            if abs(shown[i, j]) < 0.995
            else f"{shown[i, j]:.1f}"
        )
        faint = abs(shown[i, j]) < 0.05 * limits[1]
        colour = "white" if shown[i, j] > middle else canvas.FAINT if faint else canvas.INK
        axes.text(j, i, text, ha="center", va="center", fontsize=7.5, color=colour)


def curves(
    panels: Mapping[str, Mapping[str, tuple[Float[ArrayLike, " T"], Float[ArrayLike, " T"]]]],
    *,
    x_label: str = "training step",
    title: str = "",
    note: str = "",
    smooth: float = 0.0,
) -> Figure:
    """Curves over steps, one panel per entry of `panels`. Values that are not finite leave a gap.

    Args:
        panels: by title of the panel and name of the curve, its steps and values.
        x_label: what the steps are.
        title: stands above all panels.
        note: stands below them, in grey.
        smooth: if in (0, 1), noisy curves of more than 60 points are drawn faintly, and over them
            the mean of each point's neighbours with weights smooth^distance.

    Raises:
        ValueError: there are no panels.
    """
    if not panels:
        raise ValueError("There are no curves to draw; give at least one panel.")
    n_columns = min(3, len(panels))
    n_rows = -(-len(panels) // n_columns)
    with canvas.style():
        figure = canvas.new_figure(
            (4.1 if n_columns > 1 else 6.4) * n_columns, 2.9 * n_rows + 0.35 * bool(title)
        )
        grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        for axes, (name, members) in zip(grid, panels.items(), strict=False):
            for k, (label, (steps, values)) in enumerate(members.items()):
                _curve(
                    axes,
                    np.asarray(steps, float),
                    np.asarray(values, float),
                    label,
                    canvas.PALETTE[k % len(canvas.PALETTE)],
                    smooth,
                )
            axes.grid(axis="y")
            axes.set_xlabel(x_label)
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            canvas.heading(axes, name)
            if len(members) > 1:
                axes.legend(loc="best", handlelength=1.4)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        canvas.super_heading(figure, title, note)
    return figure


def _curve(
    axes: Axes, steps: Floats, values: Floats, label: str, colour: str, smooth: float
) -> None:
    values = np.where(np.isfinite(values), values, np.nan)
    if smooth and _is_noisy(values):
        axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.3)
        values = _weighted_mean(values, smooth)
    few = np.isfinite(values).sum() <= 30
    axes.plot(
        steps,
        values,
        color=colour,
        label=canvas.plain(label, 32),
        marker="o" if few else None,
        markersize=3.2,
    )


def _weighted_mean(values: Floats, keep: float) -> Floats:
    """Mean of each value's neighbours on both sides with weights keep^distance; missing values are
    skipped."""
    is_finite = np.isfinite(values)
    total = _two_sided(np.where(is_finite, values, 0.0), keep)
    weight = _two_sided(is_finite.astype(float), keep)
    return np.where(is_finite, total / np.maximum(weight, 1e-12), np.nan)


def _two_sided(values: Floats, keep: float) -> Floats:
    """Sum over k of keep^|k| values[t + k]."""
    from scipy.signal import lfilter

    before, after = (lfilter([1.0], [1.0, -keep], part) for part in (values, values[::-1]))
    return before + after[::-1] - values


def _is_noisy(values: Floats) -> bool:
    """Whether a curve has more than 60 points and the median of its second differences exceeds 0.2
    % of its range."""
    finite = values[np.isfinite(values)]
    return len(finite) > 60 and float(np.median(np.abs(np.diff(finite, 2)))) > 0.002 * float(
        np.ptp(finite)
    )


def reliability(
    models: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    title: str = "Calibration of edge probabilities",
    ours: Collection[str] = (),
) -> Figure:
    """How often an edge of a stated probability is there: frequency against mean probability per
    bin, and how many edges each bin holds.

    `models` maps a name to its bins, each {low, high, count, mean_probability, frequency}. Whiskers
    are one binomial standard error; a bin of fewer than five edges is drawn hollow. The methods in
    `ours` are drawn boldly.
    """
    with canvas.style():
        figure = canvas.new_figure(4.9, 5.7)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 1])
        upper.plot([0, 1], [0, 1], color=canvas.FAINT, linewidth=1, linestyle=(0, (4, 3)))
        upper.text(
            0.985,
            0.02,
            "below the dashed line: overconfident",
            color=canvas.MUTED,
            fontsize=8,
            ha="right",
            va="bottom",
        )
        for k, (name, bins) in enumerate(models.items()):
            colour, bold = canvas.PALETTE[k % len(canvas.PALETTE)], name in ours
            count, p, f = _bins(bins)
            error = np.sqrt(np.maximum(f * (1 - f), 0) / count)
            upper.plot(
                p,
                f,
                color=colour,
                linewidth=2.2 if bold else 1.1,
                label=canvas.plain(name, 36),
                zorder=5 if bold else 3,
            )
            upper.errorbar(p, f, error, fmt="none", ecolor=colour, elinewidth=1, zorder=4)
            for few in (False, True):
                chosen = (count < 5) == few
                upper.plot(
                    p[chosen],
                    f[chosen],
                    "o",
                    color=colour,
                    markersize=5 if bold else 3.6,
                    markerfacecolor="white" if few else colour,
                    zorder=6,
                )
            edges = np.array([[b["low"], b["high"]] for b in bins if b["count"] > 0], dtype=float)
            lower.plot(
                edges.mean(1),
                count,
                drawstyle="steps-mid",
                color=colour,
                linewidth=2 if bold else 1.0,
                marker=".",
                markersize=4,
            )
        upper.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share that are true edges")
        lower.set(yscale="log", xlabel="stated probability of the edge", ylabel="pairs in bin")
        lower.set_ylim(bottom=0.7)
        for axes in (upper, lower):
            axes.grid()
        if models:
            upper.legend(loc="upper left", handlelength=1.4)
        canvas.heading(upper, title, "whiskers: one standard error; hollow: fewer than 5 pairs")
    return figure


def _bins(bins: Sequence[Mapping[str, Any]]) -> tuple[Floats, Floats, Floats]:
    full = [(b["count"], b["mean_probability"], b["frequency"]) for b in bins if b["count"] > 0]
    count, p, f = np.array(full, dtype=float).reshape(-1, 3).T
    return count, p, f


def degrees(
    counts: Mapping[str, Float[ArrayLike, " degrees"]], *, title: str = "Degrees", note: str = ""
) -> Figure:
    """Share of nodes by degree; `counts` maps a name (causes per node, effects per node) to the
    number of nodes of degree 0, 1, 2, …"""
    with canvas.style():
        figure = canvas.new_figure(6.0, 3.2)
        axes = figure.add_subplot()
        width = 0.84 / max(1, len(counts))
        for k, (name, values) in enumerate(counts.items()):
            heights = np.asarray(values, dtype=float)
            at = np.arange(len(heights)) + (k - (len(counts) - 1) / 2) * width
            axes.bar(
                at,
                heights / max(heights.sum(), 1.0),
                width * 0.94,
                color=canvas.PALETTE[k],
                label=canvas.plain(name, 32),
            )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="degree", ylabel="share of nodes")
        axes.grid(axis="y")
        axes.legend()
        canvas.heading(axes, title, note)
    return figure


def adjacencies(
    graphs: Sequence[Float[ArrayLike, "D D"]], *, title: str = "", labels: Sequence[str] = ()
) -> Figure:
    """Small black-and-white adjacency matrices side by side (row causes column)."""
    n_columns = min(4, max(1, len(graphs)))
    n_rows = -(-len(graphs) // n_columns)
    with canvas.style():
        figure = canvas.new_figure(2.2 * n_columns, 2.35 * n_rows + 0.5)
        grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        for k, axes in enumerate(grid):
            axes.set_visible(k < len(graphs))
            if k < len(graphs):
                axes.imshow(
                    np.asarray(graphs[k], dtype=float), cmap=canvas.PROBABILITY, vmin=0, vmax=1.15
                )
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(True)
                axes.set_title(
                    canvas.plain(labels[k]) if labels else "",
                    fontsize=8.5,
                    fontweight="normal",
                    color=canvas.MUTED,
                )
        canvas.super_heading(figure, title, "row causes column")
    return figure


def marginals(x: Float[ArrayLike, "N D"], columns: Sequence[str], *, title: str = "") -> Figure:
    """Histogram of every column of a table; values that are not finite are left out."""
    values = np.asarray(x, dtype=float)
    n = values.shape[1]
    n_rows = -(-n // 5)
    n_columns = -(-n // n_rows)
    with canvas.style():
        figure = canvas.new_figure(1.9 * n_columns, 1.55 * n_rows + 0.45)
        grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        for k, axes in enumerate(grid):
            axes.set_visible(k < n)
            if k < n:
                column = values[:, k][np.isfinite(values[:, k])]
                axes.hist(
                    column,
                    bins=min(40, max(8, int(np.sqrt(len(column))))),
                    color=canvas.PALETTE[0],
                    alpha=0.85,
                )
                axes.set_yticks([])
                axes.spines["left"].set_visible(False)
                axes.xaxis.set_major_locator(MaxNLocator(3))
                axes.set_title(canvas.plain(columns[k], 18), fontsize=8.5)
        canvas.super_heading(figure, title)
    return figure


def pairs(
    x: Float[ArrayLike, "N D"],
    columns: Sequence[str],
    *,
    adjacency: Float[ArrayLike, "D D"] | None = None,
    most: int = 6,
    title: str = "",
) -> Figure:
    """Scatter plots of every pair of the first `most` columns of a table, of at most 400 rows;
    panels of the edges in `adjacency` are coloured."""
    values = np.asarray(x, dtype=float)[:400, :most]
    n = values.shape[1]
    edges = np.zeros((n, n), dtype=bool) if adjacency is None else np.asarray(adjacency)[:n, :n] > 0
    with canvas.style():
        figure = canvas.new_figure(1.5 * n + 0.4, 1.4 * n + 0.7)
        grid = figure.subplots(n, n, squeeze=False)
        for i in range(n):
            for j in range(n):
                axes = grid[i, j]
                if i == j:
                    axes.hist(values[:, j], bins=20, color=canvas.FAINT)
                else:
                    is_edge = edges[j, i]
                    axes.plot(
                        values[:, j],
                        values[:, i],
                        ".",
                        markersize=1.8,
                        alpha=0.6,
                        color=canvas.PALETTE[1] if is_edge else canvas.MUTED,
                    )
                axes.set(xticks=[], yticks=[])
                if i == n - 1:
                    axes.set_xlabel(canvas.plain(columns[j], 16))
                if j == 0:
                    axes.set_ylabel(canvas.plain(columns[i], 16))
        canvas.super_heading(
            figure,
            title,
            "orange: the column's variable causes the row's" if adjacency is not None else "",
        )
    return figure


def bars(
    metrics: Mapping[str, Mapping[str, tuple[float, float]]],
    *,
    title: str = "",
    notes: Mapping[str, str] | None = None,
    ours: Collection[str] = (),
) -> Figure:
    """Horizontal bars with whiskers of one standard error: `metrics` maps metric -> method ->
    (mean, standard error), one panel per metric.

    The methods in `ours` are drawn in our colour, the others in grey.
    """
    names = list(dict.fromkeys(name for members in metrics.values() for name in members))
    n_columns = min(2, max(1, len(metrics)))
    n_rows = -(-len(metrics) // n_columns)
    with canvas.style():
        longest = max((len(canvas.plain(name, 36)) for name in names), default=0)
        figure = canvas.new_figure(
            1.4 * n_columns + 0.066 * longest + 0.3,
            (0.24 * len(names) + 0.85) * n_rows + 0.35 * bool(title),
        )
        grid = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True).ravel()
        at = np.arange(len(names))
        for k, axes in enumerate(grid):
            axes.set_visible(k < len(metrics))
        for axes, (metric, members) in zip(grid, metrics.items(), strict=False):
            mean, error = (
                np.array([members.get(name, (np.nan, np.nan))[part] for name in names], dtype=float)
                for part in (0, 1)
            )
            colours = [canvas.PALETTE[0] if name in ours else "#a9b8c5" for name in names]
            axes.barh(at, np.nan_to_num(mean), 0.68, color=colours)
            axes.errorbar(
                mean, at, xerr=error, fmt="none", ecolor=canvas.INK, elinewidth=1, capsize=2
            )
            axes.set_yticks(at, [canvas.plain(name, 36) for name in names])
            axes.invert_yaxis() if not axes.yaxis_inverted() else None
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x")
            axes.xaxis.set_major_locator(MaxNLocator(4))
            for y in at[~np.isfinite(mean)]:
                axes.text(0, y, " missing", va="center", color=canvas.MUTED, fontsize=8)
            canvas.heading(axes, metric, (notes or {}).get(metric, ""))
        canvas.super_heading(figure, title)
    return figure
