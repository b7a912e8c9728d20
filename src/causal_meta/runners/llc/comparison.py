"""Comparison of the samplers' runs on one target: a row for each. Reads artifacts only; loads
neither JAX nor torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from causal_meta.conf.labels import labels_of
from causal_meta.conf.samplers import SamplerConfig
from causal_meta.records.analyses import read_analysis
from causal_meta.store import Artifact, Store


@dataclass(frozen=True)
class Compared:
    """A sampler's run and its analysis, under a label that is unique in the comparison."""

    label: str
    run: Artifact
    analysis: dict[str, Any]


def sampler_runs(store: Store, target: Artifact, tasks: Artifact | None = None) -> list[Artifact]:
    """The samplers' runs on a target in the store, oldest first; only those over `tasks`, if
    any."""
    runs = [run for run in store.runs_of(target) if isinstance(run.config, SamplerConfig)]
    return [run for run in runs if tasks is None or run.inputs.get("tasks") == tasks.id]


def compared(runs: Sequence[Artifact]) -> list[Compared]:
    """The runs with their analyses, in the same order. Raises ValueError if an analysis cannot be
    read."""
    labels = labels_of([run.config for run in runs])
    return [
        Compared(label, run, read_analysis(run)) for label, run in zip(labels, runs, strict=True)
    ]


def exact_of(runs: Sequence[Compared]) -> dict[str, float]:
    """The exact values of the posterior; empty if none are known, or if the runs are on posteriors
    with different values."""
    exact = [item.analysis["exact"] for item in runs]
    return dict(exact[0]) if all(other == exact[0] for other in exact) else {}


def rows_of(runs: Sequence[Compared]) -> list[dict[str, Any]]:
    """A table row for each run: sampler, llc, its error (bias of the step included), ess, rhat,
    gradients, seconds (without compilation), ess per unit of work and time, flags."""
    return [_row(item) for item in runs]


def _row(item: Compared) -> dict[str, Any]:
    analysis = item.analysis
    seconds = sum(analysis[name] or 0.0 for name in ("warmup_sec", "sampling_sec")) or None
    ess, work = analysis["ess"], analysis["total_fges"]
    return {
        "sampler": item.label,
        "llc": analysis["llc_mean"],
        "error": analysis["llc_error"],
        "ess": ess,
        "rhat": analysis["rhat"],
        "gradients": work,
        "seconds": seconds,
        "compile_sec": analysis["compile_sec"],
        "ess_per_1000_gradients": 1000 * ess / work if ess and work else None,
        "ess_per_second": ess / seconds if ess and seconds else None,
        "flags": list(analysis["flags"]),
    }
