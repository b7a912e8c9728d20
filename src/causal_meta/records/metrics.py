"""Scores of evaluations, read back from `metrics.json`. Loads neither torch nor JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from causal_meta.records.files import read_json

if TYPE_CHECKING:
    from causal_meta.store import Artifact

METRICS = "metrics.json"


def has_metrics(run: Artifact) -> bool:
    """Whether the run holds scores."""
    return (run.folder / METRICS).is_file()


def read_metrics(run: Artifact) -> dict[str, Any]:
    """The scores of an evaluation: `summary` with {mean, se, n} over tasks for each metric,
    `conventions` in words, `reliability` bins, numbers per task. Raises ValueError if the run holds
    none or they cannot be read."""
    return dict(read_json(run.folder / METRICS))
