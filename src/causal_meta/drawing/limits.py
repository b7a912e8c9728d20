"""Limits from arrays: estimates at several settings, the curve fitted through them, and where it
ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from causal_meta.drawing import canvas


@dataclass(frozen=True)
class Fitted:
    """A fitted limit: `at` (where it lies on the axis), its `value` and `error`, and the curve,
    [K], at the points drawn."""

    at: float
    value: float
    error: float
    curve: ArrayLike


def limit(
    x: ArrayLike,
    values: ArrayLike,
    errors: ArrayLike,
    fitted: Fitted,
    *,
    exact: float | None = None,
    label: str = "",
    title: str = "",
    note: str = "",
) -> Figure:
    """Estimates `values` ± 1.96 `errors` [K] over settings `x` [K], the curve fitted through them,
    and the limit with its interval.

    The curve goes on to a limit left of all points. The exact value, where it is known, is a dashed
    line. Settings that span more than two decades get a logarithmic axis, on which a limit at 0 is
    drawn left of all points.
    """
    where, mean, error = (np.asarray(array, float) for array in (x, values, errors))
    order = np.argsort(where)
    positive = where[where > 0]
    logarithmic = len(positive) == len(where) and positive.max() / positive.min() > 100
    end = (
        fitted.at
        if not logarithmic or fitted.at > 0
        else positive.min() ** 1.35 / positive.max() ** 0.35
    )
    with canvas.style():
        figure = canvas.new_figure(6.4, 3.6)
        axes = figure.subplots()
        canvas.heading(axes, title, note)
        curve = np.asarray(fitted.curve, float)[order]
        if end < where.min():
            axes.plot(
                np.insert(where[order], 0, end),
                np.insert(curve, 0, fitted.value),
                color=canvas.PALETTE[0],
                linewidth=1.2,
                label="fit",
            )
        else:
            axes.plot(where[order], curve, color=canvas.PALETTE[0], linewidth=1.2, label="fit")
        axes.errorbar(
            where,
            mean,
            1.96 * error,
            fmt="o",
            color=canvas.PALETTE[0],
            markersize=4,
            capsize=2.5,
            linewidth=1.2,
            label="runs, 95 %",
        )
        axes.errorbar(
            [end],
            [fitted.value],
            [1.96 * fitted.error],
            fmt="s",
            color=canvas.PALETTE[1],
            markersize=5,
            capsize=3,
            linewidth=1.4,
            label="limit, 95 %",
        )
        if end != fitted.at:
            axes.annotate(
                f"at {fitted.at:g}",
                (end, fitted.value),
                xytext=(6, -12),
                textcoords="offset points",
                fontsize=8,
                color=canvas.PALETTE[1],
            )
        if exact is not None:
            axes.axhline(
                exact, color=canvas.INK, linestyle="--", linewidth=1.0, label=f"exact {exact:.4g}"
            )
        axes.set(xlabel=label, ylabel="λ̂", xscale="log" if logarithmic else "linear")
        if not logarithmic:
            axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.grid(axis="y")
        axes.legend(loc="best")
    return figure
