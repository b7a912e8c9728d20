"""The plot family `search`: the trials of a search for a sampler's settings, from `tune.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_meta.records.files import read_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TUNING = "tune.json"


def search(folder: Path, event: Mapping[str, Any]) -> dict[str, Figure]:
    """The picture `tuning`: objective and estimate of every trial against each setting; none for
    other artifacts."""
    if not (folder / TUNING).is_file():
        return {}
    from causal_meta.drawing import tuning

    record = read_json(folder / TUNING)
    reference, trials = record["reference"], record["trials"]
    source = "the exact value" if reference["source"] == "exact" else reference["source"]
    objective = "standard errors from the reference"
    if record["objective"] == "error":
        objective = "log10 of the relative error"
    figure = tuning.search(
        trials,
        list(record["searched"]),
        reference=(reference["value"], reference["error"]),
        objective=objective,
        title=f"{record['method']['kind']}: {len(trials)} trials",
        note=f"against {source}; crosses are trials with flags",
    )
    return {"tuning": figure}
