"""The plot family `chains`: diagnostics of a sampler's run, from its `trace.nc` and
`analysis.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_meta.records.analyses import ANALYSIS, TRACE
from causal_meta.records.files import read_json
from causal_meta.records.traces import read_trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def diagnostics(folder: Path, event: Mapping[str, Any]) -> dict[str, Figure]:
    """The pictures `trace`, `rank`, `energy`, `running_llc` and `wnv` of a sampler's run; none for
    other artifacts.

    The energy is drawn only where the sampler has one, ranks only for draws along chains, since
    independent draws have no order. Raises ValueError if trace or analysis cannot be read.
    """
    if not (folder / TRACE).is_file():
        return {}
    from causal_meta.drawing import chains

    draws, analysis = read_trace(folder / TRACE), read_json(folder / ANALYSIS)
    run = chains.Running(**{name: np.asarray(part) for name, part in analysis["running"].items()})
    subject = f"{analysis['sampler']} on {analysis['target_id']}"
    llc = np.where(np.isfinite(draws.llc), draws.llc, np.nan)
    note = f"{_estimate(analysis)}; {llc.shape[0]} chains × {llc.shape[1]} draws"
    figures = {"trace": chains.trace(llc, title=f"Trace: {subject}", note=note)}
    if not draws.independent:
        rhat = "" if analysis["rhat"] is None else f"R-hat {analysis['rhat']:.3f}, "
        words = f"{rhat}grey: 95 % of the bars where chains agree"
        figures["rank"] = chains.rank(llc, title=f"Ranks: {subject}", note=words)
    if draws.energy is not None:
        words = "changes much narrower than the energy itself explore slowly"
        figures["energy"] = chains.energy(draws.energy, title=f"Energy: {subject}", note=words)
    if len(np.asarray(run.draws)):
        exact = analysis["exact"].get("expected", analysis["exact"].get("lambda"))
        weighted = np.where(np.isfinite(draws.llc), draws.weighted_llc, np.nan)
        figures["running_llc"] = chains.running(
            weighted, run, exact=exact, title=f"Running estimate: {subject}", note=note
        )
        words = "level where longer chains pay in full; lower is better"
        title = f"Work-normalised variance: {subject}"
        figures["wnv"] = chains.wnv(run, title=title, note=words)
    return figures


def _estimate(analysis: Mapping[str, Any]) -> str:
    if analysis["llc_mean"] is None:
        return "no chain is sound"
    error = "" if analysis["llc_error"] is None else f" ± {analysis['llc_error']:.2g}"
    return f"λ̂ = {analysis['llc_mean']:.4g}{error}"
