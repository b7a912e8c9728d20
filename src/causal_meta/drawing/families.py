"""Two families of structural causal models compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from causal_meta.drawing import canvas

_CLEAR = 4.5  # standard errors


def comparison(
    distances: Mapping[str, Mapping[str, Any]],
    spectra: Mapping[str, Float[ArrayLike, "B Q"]],
    degrees: Mapping[str, Mapping[str, Float[ArrayLike, " degrees"]]],
    *,
    title: str = "",
    note: str = "",
) -> Figure:
    """Distances in standard errors, spectra and degrees of two families.

    Args:
        distances: by name {value, se, null}: the distance, its standard error, and its expectation
            for two equal families.
        spectra: by family Q quantiles of the spectrum of each of B graphs.
        degrees: by kind of degree and family the number of nodes of degree 0, 1, 2, …
        title: stands above the picture.
        note: stands below it, in grey.
    """
    with canvas.style():
        height = 0.27 * len(distances) + 1.1
        figure = canvas.new_figure(10.4, height + 3.1)
        parts: Any = figure.subfigures(2, 1, height_ratios=[height, 2.4])
        upper, lower = parts
        left, right = upper.subplots(1, 2, width_ratios=[1, 1])
        _distances(left, distances)
        _spectra(right, spectra)
        panels = lower.subplots(1, len(degrees), sharey=True, squeeze=False).ravel()
        for axes, (name, members) in zip(panels, degrees.items(), strict=True):
            _degrees(axes, name, members)
        panels[0].set_ylabel("share of nodes")
        canvas.super_heading(figure, title, note)
    return figure


def _distances(axes: Axes, distances: Mapping[str, Mapping[str, Any]]) -> None:
    """Dots at the number of standard errors from the expectation of equal families, with the values
    beside them."""
    at = np.arange(len(distances))
    off = np.array([_errors(entry) for entry in distances.values()])
    shown = np.clip(off, -100, 100)
    axes.axvspan(-_CLEAR, _CLEAR, color=canvas.GRID, zorder=0)
    axes.axvline(0, color=canvas.FAINT, linewidth=0.8)
    colours = [canvas.INK if abs(z) > _CLEAR else canvas.FAINT for z in off]
    axes.hlines(at, 0, shown, color=colours, linewidth=1.6)
    axes.scatter(shown, at, s=22, color=colours, zorder=3)
    axes.set_xscale("symlog", linthresh=5, linscale=1.2)
    axes.set_xlim(-140, 140)
    axes.set_xticks([-100, -10, 0, 10, 100], ["-100", "-10", "0", "10", "100"])
    axes.minorticks_off()
    axes.set_yticks(at, [canvas.plain(name.replace("_", " "), 30) for name in distances])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(distances) - 0.4, -0.6)
    axes.set_xlabel("standard errors from equal families")
    for y, entry in zip(at, distances.values(), strict=True):
        words = (
            "missing"
            if entry["value"] is None or not np.isfinite(entry["value"])
            else f"{entry['value']:.3g} ± {entry['se']:.1g}"
        )
        axes.annotate(
            words,
            (1, y),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=7.5,
            va="center",
        )
    axes.spines["left"].set_visible(False)
    canvas.heading(
        axes,
        "Distances",
        f"in the grey band (up to {_CLEAR:g} standard errors) they cannot be distinguished",
    )


def _errors(entry: Mapping[str, Any]) -> float:
    value, se = entry["value"], entry["se"]
    if value is None or se is None or not np.isfinite(value):
        return 0.0
    off = value - entry["null"]
    return off / se if se > 0 else float(np.sign(off)) * 100.0


def _spectra(axes: Axes, spectra: Mapping[str, ArrayLike]) -> None:
    for k, (name, values) in enumerate(spectra.items()):
        quantiles = np.asarray(values, dtype=float)
        share = (np.arange(quantiles.shape[1]) + 0.5) / quantiles.shape[1]
        low, high = np.quantile(quantiles, [0.1, 0.9], axis=0)
        axes.fill_between(share, low, high, color=canvas.PALETTE[k], alpha=0.16, linewidth=0)
        axes.plot(
            share, quantiles.mean(axis=0), color=canvas.PALETTE[k], label=canvas.plain(name, 32)
        )
    axes.set(
        xlabel="share of the eigenvalues", ylabel="eigenvalue", xlim=(0, 1), ylim=(-0.03, 2.03)
    )
    axes.grid()
    axes.legend(loc="upper left")
    canvas.heading(
        axes, "Spectra of the graphs", "normalised Laplacian: mean, and 10 to 90 % of the tasks"
    )


def _degrees(axes: Axes, name: str, members: Mapping[str, ArrayLike]) -> None:
    last = max((_reach(values) for values in members.values()), default=0)
    for k, values in enumerate(members.values()):
        heights = np.zeros(last + 1)
        counts = np.asarray(values, dtype=float)[: last + 1]
        heights[: len(counts)] = counts / max(np.asarray(values, dtype=float).sum(), 1.0)
        at = np.arange(last + 1) + (k - (len(members) - 1) / 2) * 0.42
        axes.bar(at, heights, 0.4, color=canvas.PALETTE[k])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.set_xlabel(f"{name} of a node")
    axes.grid(axis="y")


def _reach(values: ArrayLike) -> int:
    """The degree below which all but a thousandth of the nodes lie."""
    counts: Sequence[float] = np.asarray(values, dtype=float)  # type: ignore[assignment]
    total = np.cumsum(counts)
    return int(np.searchsorted(total, 0.999 * total[-1])) if len(total) and total[-1] else 0
