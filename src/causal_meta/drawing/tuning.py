"""A search for settings: the objective and the estimate of every trial against each setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from causal_meta.drawing import canvas


def search(
    trials: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    *,
    reference: tuple[float, float],
    objective: str,
    title: str = "",
    note: str = "",
) -> Figure:
    """Objective and estimate of every trial over each setting, a column of two panels per setting.

    Crosses are flagged trials, the ring marks the best of the others; trials without an estimate
    are short lines at the foot.

    Args:
        trials: mappings with `settings`, `state`, `objective`, `llc_mean` and `llc_mcse`, where a
            missing number is None.
        names: the settings to show.
        reference: λ and its standard error, drawn as a dashed line with its 95 % band.
        objective: what the objective is called, beside the upper panels.
        title: stands above the picture.
        note: stands below the picture, in grey.
    """
    known = [trial for trial in trials if trial["objective"] is not None]
    good = [trial for trial in known if trial["state"] == "ok"]
    flagged = [trial for trial in known if trial["state"] != "ok"]
    best = min(good, key=lambda trial: trial["objective"], default=None)
    value, error = reference
    with canvas.style():
        figure = canvas.new_figure(1.4 + 4.0 * len(names), 5.4)
        canvas.super_heading(figure, title, note)
        sheet = figure.subplots(2, len(names), squeeze=False, sharex="col")
        for (upper, lower), name in zip(sheet.T, names, strict=True):
            for axes in (upper, lower):
                _axis(axes, trials, name)
            _trials(upper, lower, good, name, "o", canvas.PALETTE[0])
            _trials(upper, lower, flagged, name, "x", canvas.PALETTE[1])
            if best is not None:
                ring: canvas.Properties = {
                    "markersize": 11,
                    "markerfacecolor": "none",
                    "markeredgecolor": canvas.INK,
                }
                upper.plot(best["settings"][name], best["objective"], "o", **ring)
                lower.plot(best["settings"][name], best["llc_mean"], "o", **ring)
            lower.axhspan(value - 1.96 * error, value + 1.96 * error, color=canvas.GRID)
            line: canvas.Properties = {"color": canvas.INK, "linestyle": "--", "linewidth": 1.0}
            lower.axhline(value, label=f"reference {value:.4g}", **line)
            lower.set_ylim(_limits([*good, *flagged], value))
            lower.set_xlabel(canvas.plain(name))
        sheet[0, 0].set_ylabel(canvas.plain(objective))
        sheet[1, 0].set_ylabel("λ̂")
        sheet[1, 0].legend(loc="best")
    return figure


def _axis(axes: Axes, trials: Sequence[Mapping[str, Any]], name: str) -> None:
    """The axis of a setting, logarithmic where its values span a factor of ten, with short lines at
    the foot for trials without an estimate."""
    values = [float(trial["settings"][name]) for trial in trials]
    if values and min(values) > 0 and max(values) >= 10 * min(values):
        axes.set_xscale("log")
    for trial, at in zip(trials, values, strict=True):
        if trial["objective"] is None:
            axes.axvline(at, ymax=0.04, color=canvas.MUTED, linewidth=1.2)
    axes.grid(axis="y")
    axes.margins(y=0.12)


def _trials(
    upper: Axes,
    lower: Axes,
    trials: Sequence[Mapping[str, Any]],
    name: str,
    marker: str,
    colour: str,
) -> None:
    """Objectives and estimates of some trials over one setting."""
    at, objective, mean, error = (
        np.array([column(trial) for trial in trials], float)
        for column in (
            lambda trial: trial["settings"][name],
            lambda trial: trial["objective"],
            lambda trial: trial["llc_mean"],
            lambda trial: trial["llc_mcse"],
        )
    )
    upper.plot(at, objective, marker, color=colour, markersize=4.5)
    bars: canvas.Properties = {"color": colour, "markersize": 4.5, "elinewidth": 0.9}
    lower.errorbar(at, mean, 1.96 * error, fmt=marker, **bars)


def _limits(trials: Sequence[Mapping[str, Any]], reference: float) -> tuple[float, float] | None:
    """Limits that show the reference and the nearest nine tenths of the estimates; the others are
    cut off."""
    values = np.array([trial["llc_mean"] for trial in trials], float)
    if values.size == 0:
        return None
    far = float(np.quantile(np.abs(values - reference), 0.9)) or 0.05 * abs(reference) or 1.0
    return reference - 1.3 * far, reference + 1.3 * far
