"""The samplers' runs on one target beside each other: a row for each, and one picture. Reads
artifacts alone; loads neither JAX nor torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from causal_meta.conf.labels import labels_of
from causal_meta.conf.samplers import SamplerConfig
from causal_meta.records.analyses import read_analysis
from causal_meta.store import Artifact, Store

PICTURE = "llc_compare.png"


@dataclass(frozen=True)
class Compared:
    """A sampler's run and what it found, under a name that no other run of the comparison has."""

    label: str
    run: Artifact
    analysis: dict[str, Any]


def sampler_runs(store: Store, target: Artifact, tasks: Artifact | None = None) -> list[Artifact]:
    """The samplers' runs on a target (over these tasks, if any are given) in the store, oldest
    first."""
    runs = [run for run in store.runs_of(target) if isinstance(run.config, SamplerConfig)]
    return [run for run in runs if tasks is None or run.inputs.get("tasks") == tasks.id]


def compared(runs: Sequence[Artifact]) -> list[Compared]:
    """The runs with their analyses, in the order given. Raises ValueError if one of them has none
    that can be read."""
    labels = labels_of([run.config for run in runs])
    return [
        Compared(label, run, read_analysis(run)) for label, run in zip(labels, runs, strict=True)
    ]


def exact_of(found: Sequence[Compared]) -> dict[str, Any]:
    """What is known exactly; nothing if that is nothing, or if the runs are about different
    posteriors and so about different values."""
    known = [item.analysis["exact"] for item in found]
    return dict(known[0]) if all(other == known[0] for other in known) else {}


def exact_value(found: Sequence[Compared]) -> float | None:
    """The exact expectation that the runs estimate, else its limit λ, else None."""
    exact = exact_of(found)
    value = exact.get("expected", exact.get("lambda"))
    return None if value is None else float(value)


def rows_of(found: Sequence[Compared]) -> list[dict[str, Any]]:
    """Of each run: sampler, llc, its error (bias of the step included), ess, rhat, gradients,
    seconds (compiling apart), ess per unit, flags."""
    return [_row(item) for item in found]


def _row(item: Compared) -> dict[str, Any]:
    told = item.analysis
    seconds = sum(told[name] or 0.0 for name in ("warmup_sec", "sampling_sec")) or None
    ess, work = told["ess"], told["total_fges"]
    return {
        "sampler": item.label,
        "llc": told["llc_mean"],
        "error": told["llc_error"],
        "ess": ess,
        "rhat": told["rhat"],
        "gradients": work,
        "seconds": seconds,
        "compile_sec": told["compile_sec"],
        "ess_per_1000_gradients": 1000 * ess / work if ess and work else None,
        "ess_per_second": ess / seconds if ess and seconds else None,
        "flags": list(told["flags"]),
    }


def draw_comparison(found: Sequence[Compared], target: Artifact, path: Path) -> Path:
    """Draw the running estimate of every run over gradients and over seconds, and the exact value
    where it is known, into the file `path`."""
    from causal_meta.drawing import canvas, chains

    drawn = {
        item.label: chains.Running(**item.analysis["running"])
        for item in found
        if item.analysis["running"]["draws"]
    }
    if not drawn:
        raise ValueError(
            f"None of the runs on {target.id} has an estimate to draw; see their failed chains in "
            "analysis.json."
        )
    title = f"Learning coefficient of {target.id}"
    note = (
        "running estimate with its 95 % band; the seconds are those of warm-up and sampling, "
        "without compiling"
    )
    return canvas.save(
        chains.compare(drawn, exact=exact_value(found), title=title, note=note), path
    )
