"""Diagnostics of C chains of T draws: traces, ranks, energies, running estimates, work per error,
and a comparison of samplers. Axes are placed by hand, since matplotlib's layout solvers take longer
than the drawing itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from causal_meta.drawing import canvas

Floats = NDArray[np.float64]
LLC = "λ̂"
_POINTS = 600  # of a line; more are not visible
_MARGINS = {"left": 0.09, "right": 0.975, "bottom": 0.155, "top": 0.83, "wspace": 0.24}


def _sheet(
    panels: int, title: str, note: str, *, width: float = 8.2, height: float = 3.1
) -> tuple[Figure, list[Axes]]:
    figure = canvas.new_figure(width, height, layout=None)
    figure.subplots_adjust(**_MARGINS)
    figure.text(0.012, 0.985, canvas.plain(title), fontsize=10.5, fontweight="bold", va="top")
    figure.text(0.012, 0.915, canvas.plain(note), fontsize=8.5, color=canvas.MUTED, va="top")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _colour(chain: int) -> str:
    return canvas.PALETTE[chain % len(canvas.PALETTE)]


def _level(axes: Axes, value: float | None, *, label: str = "exact") -> None:
    """A dashed line at the exact value, if it is known."""
    if value is not None:
        axes.axhline(
            value, color=canvas.INK, linestyle="--", linewidth=1.0, label=f"{label} {value:.4g}"
        )


def trace(
    series: Float[ArrayLike, "C T"], *, title: str = "", note: str = "", label: str = LLC
) -> Figure:
    """A line per chain over its draws, at most 600 points of each, and beside it the histogram of
    each chain."""
    values = np.asarray(series, float)
    every = max(1, values.shape[1] // _POINTS)
    with canvas.style():
        figure, (left, right) = _sheet(2, title, note)
        left.set_position((0.09, 0.155, 0.62, 0.675))
        right.set_position((0.755, 0.155, 0.22, 0.675))
        sound = values[np.isfinite(values)]
        edges = np.linspace(*_limits(sound), 41)
        for chain, row in enumerate(values):
            left.plot(
                np.arange(0, len(row), every),
                row[::every],
                color=_colour(chain),
                linewidth=0.5,
                alpha=0.75,
            )
            right.stairs(
                _density(row, edges),
                edges,
                orientation="horizontal",
                color=_colour(chain),
                linewidth=1.1,
            )
        left.set(xlabel="draw", ylabel=label, xlim=(0, values.shape[1]), ylim=(edges[0], edges[-1]))
        right.set(xlabel="density", ylim=(edges[0], edges[-1]), xticks=[])
        right.tick_params(labelleft=False)
    return figure


def _density(values: Floats, edges: Floats) -> Floats:
    """Share of the finite values in each bin per width; zeros where there are none."""
    counts = np.histogram(values[np.isfinite(values)], edges)[0]
    return counts / max(int(counts.sum()), 1) / np.diff(edges)


def _limits(values: Floats) -> tuple[float, float]:
    """The range of the values with a small margin; (0, 1) where there are none."""
    if values.size == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    room = 0.03 * (high - low) or 0.5 * (abs(high) or 1.0)
    return low - room, high + room


def rank(series: Float[ArrayLike, "C T"], *, title: str = "", note: str = "") -> Figure:
    """Histograms of the ranks of each chain's values among those of all chains, a step line per
    chain: flat where chains agree.

    The grey band holds 95 % of the bars of independent draws (Vehtari, Gelman, Simpson, Carpenter
    and Bürkner 2021, "Rank-normalization, folding, and localization", section 4).
    """
    values = np.asarray(series, float)
    chains, length = values.shape
    bins = int(np.clip(length // 25, 4, 20))
    ranks = (
        np.argsort(np.argsort(values, axis=None, kind="stable"), kind="stable").reshape(
            values.shape
        )
        / values.size
    )
    edges = np.linspace(0, 1, bins + 1)
    expected = length / bins
    spread = 1.96 * np.sqrt(expected * (1 - 1 / bins))
    with canvas.style():
        figure, (axes,) = _sheet(1, title, note)
        axes.axhspan(expected - spread, expected + spread, color=canvas.GRID)
        for chain in range(chains):
            bars = np.histogram(ranks[chain], edges)[0]
            axes.stairs(
                bars,
                edges * values.size,
                baseline=None,
                color=_colour(chain),
                linewidth=1.3,
                label=f"chain {chain}",
            )
        axes.set(
            xlabel="rank among all draws", ylabel="draws", xlim=(0, values.size), ylim=(0, None)
        )
        if 1 < chains <= 8:
            axes.legend(loc="lower right", ncols=4, handlelength=1.2)
    return figure


def energy(energies: Float[ArrayLike, "C T"], *, title: str = "", note: str = "") -> Figure:
    """The distribution of the energy about its mean, and that of its changes from draw to draw:
    changes much narrower than the energy mean slow exploration (Betancourt 2016, "Diagnosing
    suboptimal cotangent disintegrations in Hamiltonian Monte Carlo")."""
    values = np.asarray(energies, float)
    values = values[np.isfinite(values).all(1)]
    centred = (values - values.mean(1, keepdims=True)).ravel() if values.size else np.zeros(1)
    changes = np.diff(values, axis=1).ravel() if values.size else np.zeros(1)
    edges = np.linspace(*_limits(np.concatenate([centred, changes])), 61)
    with canvas.style():
        figure, (axes,) = _sheet(1, title, note)
        for k, (name, part) in enumerate(
            (("energy less its mean", centred), ("change from draw to draw", changes))
        ):
            density = _density(part, edges)
            axes.stairs(density, edges, color=_colour(k), fill=True, alpha=0.18)
            axes.stairs(density, edges, color=_colour(k), linewidth=1.4, label=name)
        axes.set(xlabel="energy", ylabel="density", xlim=(edges[0], edges[-1]), ylim=(0, None))
        axes.legend(loc="upper right")
    return figure


@dataclass(frozen=True)
class Running:
    """An estimate at several lengths of its chains: draws of each chain, gradients (and seconds, if
    known) of all chains together, the mean and its standard error."""

    draws: Float[ArrayLike, " points"]
    gradients: Float[ArrayLike, " points"]
    mean: Float[ArrayLike, " points"]
    error: Float[ArrayLike, " points"]
    seconds: Float[ArrayLike, " points"] | None = None


def running(
    series: Float[ArrayLike, "C T"],
    estimate: Running,
    *,
    exact: float | None = None,
    title: str = "",
    note: str = "",
    label: str = LLC,
) -> Figure:
    """The running mean of each chain over its draws, and the estimate from all of them with its
    95 % band over gradients."""
    values = np.asarray(series, float)
    length = values.shape[1]
    at = np.unique(np.linspace(1, length, min(length, 200)).astype(int))
    means = np.cumsum(values, axis=1)[:, at - 1] / at
    with canvas.style():
        figure, (left, right) = _sheet(2, title, note)
        for chain, row in enumerate(means):
            left.plot(at, row, color=_colour(chain), linewidth=1.1)
        _level(left, exact)
        left.set(xlabel="draw", ylabel=f"running mean of {label}", xlim=(0, length))
        _band(
            right, np.asarray(estimate.gradients, float), estimate, canvas.PALETTE[0], "all chains"
        )
        _level(right, exact)
        right.set(xlabel="gradients of all chains, warm-up included", ylim=_around(estimate, exact))
        right.xaxis.set_major_locator(MaxNLocator(5))
        right.legend(loc="best")
    return figure


def _band(axes: Axes, x: Floats, estimate: Running, colour: str, label: str) -> None:
    mean, error = np.asarray(estimate.mean, float), np.asarray(estimate.error, float)
    axes.fill_between(
        x, mean - 1.96 * error, mean + 1.96 * error, color=colour, alpha=0.16, linewidth=0
    )
    axes.plot(
        x, mean, color=colour, label=canvas.plain(label), marker="o", markersize=2.4, linewidth=1.2
    )


def _around(estimate: Running, exact: float | None) -> tuple[float, float] | None:
    """Limits of the axis that show the later two thirds of a band; the first points may lie far
    off."""
    mean, error = np.asarray(estimate.mean, float), np.asarray(estimate.error, float)
    half = slice(len(mean) // 3, None)
    edges = np.concatenate(
        [(mean - 2.5 * error)[half], (mean + 2.5 * error)[half], [] if exact is None else [exact]]
    )
    edges = edges[np.isfinite(edges)]
    return _limits(edges) if edges.size else None


def wnv(estimate: Running, *, title: str = "", note: str = "") -> Figure:
    """Work-normalised variance, error² times gradients (and times seconds), as the chains grow:
    constant once longer chains reduce the error at the full rate."""
    error = np.asarray(estimate.error, float)
    panels = [("gradients", np.asarray(estimate.gradients, float))]
    if estimate.seconds is not None:
        panels.append(("seconds", np.asarray(estimate.seconds, float)))
    with canvas.style():
        figure, sheet = _sheet(len(panels), title, note)
        for k, (axes, (unit, work)) in enumerate(zip(sheet, panels, strict=True)):
            axes.plot(
                work, error**2 * work, color=_colour(k), marker="o", markersize=2.6, linewidth=1.2
            )
            axes.set(
                xlabel=f"{unit} of all chains, warm-up included",
                ylabel=f"error² × {unit}",
                ylim=(0, None),
            )
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.grid(axis="y")
    return figure


def compare(
    samplers: Mapping[str, Running],
    *,
    exact: float | None = None,
    title: str = "",
    note: str = "",
    label: str = LLC,
) -> Figure:
    """The running estimate of each sampler with its 95 % band over gradients and over seconds, and
    the exact value where it is known."""
    if not samplers:
        raise ValueError("There are no samplers to compare; give at least one.")
    with canvas.style():
        figure, sheet = _sheet(2, title, note, width=9.6, height=4.0)
        figure.subplots_adjust(bottom=0.13, top=0.85, wspace=0.12, right=0.86)
        for axes, unit in zip(sheet, ("gradients", "seconds"), strict=True):
            for k, (name, estimate) in enumerate(samplers.items()):
                work = estimate.gradients if unit == "gradients" else estimate.seconds
                if work is not None:
                    _band(axes, np.asarray(work, float), estimate, _colour(k), name)
            _level(axes, exact)
            axes.set(
                xlabel=f"{unit} of all chains, warm-up included",
                ylabel=label if unit == "gradients" else "",
                xscale="log",
            )
            axes.set_ylim(_spans([_around(estimate, exact) for estimate in samplers.values()]))
            axes.grid(axis="y")
        sheet[1].tick_params(labelleft=False)
        sheet[1].legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), handlelength=1.4)
    return figure


def _spans(limits: Sequence[tuple[float, float] | None]) -> tuple[float, float] | None:
    known = [pair for pair in limits if pair is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None
