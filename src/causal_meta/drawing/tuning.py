"""A search for settings: the objective and the estimate of every trial against each setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from causal_meta.drawing import canvas

Floats = NDArray[np.float64]


def search(
    trials: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    *,
    reference: tuple[float, float],
    objective: str,
    title: str = "",
    note: str = "",
) -> Figure:
    """A column per setting: above the objective of each trial over it, below λ̂ with its 95 %
    interval and the reference's band.

    A trial is a mapping with `settings`, `state`, `objective`, `llc_mean` and `llc_mcse`, numbers
    that are missing None. Crosses are trials that are flagged, the ring is the best of the others.
    Trials without an estimate are short lines at the foot.
    """
    good, bad = (
        [
            trial
            for trial in trials
            if (trial["state"] == "ok") == sound and trial["objective"] is not None
        ]
        for sound in (True, False)
    )
    lost = [trial for trial in trials if trial["objective"] is None]
    best = min(good, key=lambda trial: trial["objective"], default=None)
    with canvas.style():
        figure = canvas.new_figure(1.4 + 4.0 * len(names), 5.4)
        canvas.super_heading(figure, title, note)
        sheet = figure.subplots(2, len(names), squeeze=False, sharex="col")
        for column, name in enumerate(names):
            upper, lower = sheet[0, column], sheet[1, column]
            for axes in (upper, lower):
                _axis(axes, [float(trial["settings"][name]) for trial in trials])
                for trial in lost:
                    axes.axvline(
                        trial["settings"][name], ymax=0.04, color=canvas.MUTED, linewidth=1.2
                    )
                axes.grid(axis="y")
                axes.margins(y=0.12)
            for found, marker, colour in (
                (good, "o", canvas.PALETTE[0]),
                (bad, "x", canvas.PALETTE[1]),
            ):
                x = np.array([trial["settings"][name] for trial in found], float)
                upper.plot(
                    x, [trial["objective"] for trial in found], marker, color=colour, markersize=4.5
                )
                mean, error = (
                    np.array([trial[key] for trial in found], float)
                    for key in ("llc_mean", "llc_mcse")
                )
                lower.errorbar(
                    x, mean, 1.96 * error, fmt=marker, color=colour, markersize=4.5, elinewidth=0.9
                )
            if best is not None:
                upper.plot(
                    best["settings"][name],
                    best["objective"],
                    "o",
                    markersize=11,
                    markerfacecolor="none",
                    markeredgecolor=canvas.INK,
                )
                lower.plot(
                    best["settings"][name],
                    best["llc_mean"],
                    "o",
                    markersize=11,
                    markerfacecolor="none",
                    markeredgecolor=canvas.INK,
                )
            value, spread = reference
            lower.axhspan(value - 1.96 * spread, value + 1.96 * spread, color=canvas.GRID)
            lower.axhline(
                value,
                color=canvas.INK,
                linestyle="--",
                linewidth=1.0,
                label=f"reference {value:.4g}",
            )
            lower.set_ylim(_limits([*good, *bad], value))
            lower.set_xlabel(canvas.plain(name))
        sheet[0, 0].set_ylabel(canvas.plain(objective))
        sheet[1, 0].set_ylabel("λ̂")
        sheet[1, 0].legend(loc="best")
    return figure


def _axis(axes: Axes, values: Sequence[float]) -> None:
    """By the logarithm where the values span a factor of ten."""
    if values and min(values) > 0 and max(values) >= 10 * min(values):
        axes.set_xscale("log")


def _limits(trials: Sequence[Mapping[str, Any]], reference: float) -> tuple[float, float] | None:
    """Limits that show the reference and the nearer nine tenths of the estimates; those far off are
    cut."""
    values = np.array([trial["llc_mean"] for trial in trials], float)
    if values.size == 0:
        return None
    far = float(np.quantile(np.abs(values - reference), 0.9)) or 0.05 * abs(reference) or 1.0
    return reference - 1.3 * far, reference + 1.3 * far
