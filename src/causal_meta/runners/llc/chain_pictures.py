"""`diagnostics/` of a sampler's run: drawn from its draws, or again from `trace.nc`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causal_meta.draws import Draws
from causal_meta.llc.estimates.pareto import smoothed_weights
from causal_meta.records.traces import read_trace

PICTURES = ("trace", "rank", "energy", "running_llc", "wnv")


def draw_diagnostics(folder: Path, draws: Draws | None = None) -> list[Path]:
    """Draw `diagnostics/*.png` of the run in `folder` from its draws (those in `trace.nc` if none
    are given) and its `analysis.json`.

    There is a picture of the energy only where the sampler has one, and none of ranks for
    independent draws, whose order means nothing. Raises ValueError if the trace cannot be read.
    """
    from causal_meta.drawing import canvas, chains

    found = read_trace(folder / "trace.nc") if draws is None else draws
    analysis = json.loads((folder / "analysis.json").read_text("utf-8"))
    run = chains.Running(
        **{name: np.asarray(values) for name, values in analysis["running"].items()}
    )
    who = f"{analysis['sampler']} on {analysis['target_id']}"
    exact = analysis["exact"].get("expected", analysis["exact"].get("lambda"))
    llc = _finite(found.llc)
    note = f"{_estimate(analysis)}; {llc.shape[0]} chains × {llc.shape[1]} draws"
    figures: dict[str, Any] = {"trace": chains.trace(llc, title=f"Trace: {who}", note=note)}
    if not found.independent:
        told = "" if analysis["rhat"] is None else f"R-hat {analysis['rhat']:.3f}, "
        figures["rank"] = chains.rank(
            llc, title=f"Ranks: {who}", note=f"{told}grey: 95 % of the bars where chains agree"
        )
    if found.energy is not None:
        figures["energy"] = chains.energy(
            found.energy,
            title=f"Energy: {who}",
            note="changes much narrower than the energy itself explore slowly",
        )
    if len(np.asarray(run.draws)):
        figures["running_llc"] = chains.running(
            _counted(found, llc), run, exact=exact, title=f"Running estimate: {who}", note=note
        )
        figures["wnv"] = chains.wnv(
            run,
            title=f"Work-normalised variance: {who}",
            note="level where longer chains pay in full; lower is better",
        )
    return [
        canvas.save(figure, folder / "diagnostics" / f"{name}.png")
        for name, figure in figures.items()
    ]


def _estimate(analysis: dict[str, Any]) -> str:
    if analysis["llc_mean"] is None:
        return "no chain is sound"
    error = "" if analysis["llc_error"] is None else f" ± {analysis['llc_error']:.2g}"
    return f"λ̂ = {analysis['llc_mean']:.4g}{error}"


def _counted(found: Draws, llc: NDArray[np.floating]) -> NDArray[np.floating]:
    """λ̂ of the draws, each as often as its weight counts it, so that bare means are those of the
    posterior."""
    return llc if found.weights is None else llc * smoothed_weights(found.weights)[0] * llc.size


def _finite(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.where(np.isfinite(values), values, np.nan)
