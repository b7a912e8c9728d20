"""Limits of estimates: runs at several settings, the curve fitted through them, and its limit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from causal_meta.drawing import canvas


@dataclass(frozen=True)
class Fitted:
    """A fitted limit: where it lies on the axis (`at`), its `value` and standard `error`, and the
    fitted curve at the settings of the runs."""

    at: float
    value: float
    error: float
    curve: Float[ArrayLike, " points"]


def limit(
    x: Float[ArrayLike, " points"],
    values: Float[ArrayLike, " points"],
    errors: Float[ArrayLike, " points"],
    fitted: Fitted,
    *,
    exact: float | None = None,
    label: str = "",
    title: str = "",
    note: str = "",
) -> Figure:
    """Estimates over the settings they were made at, the curve fitted through them, and its limit.

    The curve continues to a limit that lies left of all points. Settings that span more than two
    decades get a logarithmic axis, on which a limit at 0 is drawn left of all points.

    Args:
        x: the settings, for example localisations γ.
        values: the estimates at these settings.
        errors: their standard errors; the whiskers are ± 1.96 of them.
        fitted: the limit and the curve that leads to it.
        exact: the exact limit, drawn as a dashed line, if it is known.
        label: name of the settings, under the horizontal axis.
        title: stands above the picture.
        note: stands under the title, in grey.
    """
    at, mean, error = (np.asarray(array, float) for array in (x, values, errors))
    positive = at[at > 0]
    logarithmic = len(positive) == len(at) and positive.max() / positive.min() > 100
    end = fitted.at
    if logarithmic and end <= 0:
        end = positive.min() ** 1.35 / positive.max() ** 0.35
    with canvas.style():
        figure = canvas.new_figure(6.4, 3.6)
        axes = figure.subplots()
        canvas.heading(axes, title, note)
        _fit(axes, at, fitted, end)
        runs: canvas.Properties = {
            "markersize": 4,
            "capsize": 2.5,
            "linewidth": 1.2,
            "label": "runs, 95 %",
        }
        axes.errorbar(at, mean, 1.96 * error, fmt="o", color=canvas.PALETTE[0], **runs)
        _end(axes, fitted, end)
        if exact is not None:
            line: canvas.Properties = {"color": canvas.INK, "linestyle": "--", "linewidth": 1.0}
            axes.axhline(exact, label=f"exact {exact:.4g}", **line)
        axes.set(xlabel=label, ylabel="λ̂", xscale="log" if logarithmic else "linear")
        if not logarithmic:
            axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.grid(axis="y")
        axes.legend(loc="best")
    return figure


def _fit(axes: Axes, at: NDArray[np.float64], fitted: Fitted, end: float) -> None:
    """The fitted curve, continued to a limit that lies left of all points."""
    order = np.argsort(at)
    x, curve = at[order], np.asarray(fitted.curve, float)[order]
    if end < at.min():
        x, curve = np.insert(x, 0, end), np.insert(curve, 0, fitted.value)
    axes.plot(x, curve, color=canvas.PALETTE[0], linewidth=1.2, label="fit")


def _end(axes: Axes, fitted: Fitted, end: float) -> None:
    """The limit with its interval, and where it lies if it is not drawn there."""
    marker: canvas.Properties = {
        "markersize": 5,
        "capsize": 3,
        "linewidth": 1.4,
        "label": "limit, 95 %",
    }
    interval, colour = [1.96 * fitted.error], canvas.PALETTE[1]
    axes.errorbar([end], [fitted.value], interval, fmt="s", color=colour, **marker)
    if end != fitted.at:
        place: canvas.Properties = {"xytext": (6, -12), "textcoords": "offset points"}
        text = f"at {fitted.at:g}"
        axes.annotate(text, (end, fitted.value), fontsize=8, color=colour, **place)
