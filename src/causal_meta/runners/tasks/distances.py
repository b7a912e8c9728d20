"""Distances between families of worlds as artifacts: computed once per pair, then read.

`distances.json` holds `distances` (name -> {value, se, null}), the `first` and `second` family in
numbers, the names of the `signed` distances and the conventions; `arrays.npz` the spectra, degrees
and per-task statistics of both. Reading loads neither torch nor matplotlib; `monitoring.worlds`
draws the picture, `figures/distance.png`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_meta.conf.convert import to_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.task_sets import DistanceConfig
from causal_meta.records.files import read_arrays, read_json
from causal_meta.store.key import canonical

if TYPE_CHECKING:
    from causal_meta.store import Artifact, Attempt

FIGURE = "distance.png"
_CONVENTIONS = {
    "null": "the value for equal families; value - null is at 0 within the standard error se",
    "order": "gaps are second minus first; all other distances are symmetric",
    "errors": "jackknife over tasks; of the classifier DeLong's, corrected for folds that share "
    "training tasks (Nadeau and Bengio)",
    "rows": "the same number of observational rows for both families, whatever theirs are",
}


def distance_config(
    a: FamilyConfig, b: FamilyConfig, **settings: Any
) -> tuple[DistanceConfig, bool]:
    """The configuration of the distance between two families, and whether they were swapped: a pair
    has one order, that of their identities."""
    swapped = canonical(to_plain(a, identity_only=True)) > canonical(
        to_plain(b, identity_only=True)
    )
    first, second = (b, a) if swapped else (a, b)
    return DistanceConfig(first=first, second=second, **settings), swapped


def build_distance(config: DistanceConfig, attempt: Attempt) -> dict[str, Any]:
    """Compare the two families and write the result into the attempt's folder; the builder of kind
    `distance`."""
    from causal_meta.datasets.distances import GAPS, SMOOTHING, compare_families

    comparison = compare_families(
        config.first, config.second, config.n_tasks, config.seed, config.n_rows
    )
    tree: dict[str, Any] = {
        "distances": _without_nan(comparison.distances),
        "first": _without_nan(comparison.families[0]),
        "second": _without_nan(comparison.families[1]),
        "n_tasks": config.n_tasks,
        "n_rows": config.n_rows,
        "signed": list(GAPS),
        "conventions": _CONVENTIONS
        | {"smoothing": f"degree laws are mixed with {SMOOTHING:g} of the uniform law"},
    }
    (attempt.folder / "distances.json").write_text(
        json.dumps(tree, indent=1, allow_nan=False) + "\n", "utf-8"
    )
    np.savez_compressed(attempt.folder / "arrays.npz", **comparison.arrays)  # type: ignore[arg-type]
    metrics = {name: entry["value"] for name, entry in tree["distances"].items()}
    return {"dims": {"n_tasks": config.n_tasks, "n_rows": config.n_rows}, "metrics": metrics}


def _without_nan(tree: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    return {
        name: {key: value if math.isfinite(value) else None for key, value in entry.items()}
        for name, entry in tree.items()
    }


@dataclass(frozen=True)
class FamilyDistance:
    """A stored distance, in the order of the families that the caller named.

    `distances` name -> {value, se, null}; `families` the statistics of both in that order;
    `figure` the path of the picture, which may have been deleted.
    """

    distances: dict[str, dict[str, Any]]
    families: tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]
    arrays: dict[str, np.ndarray]
    figure: Path


def load_distance(artifact: Artifact, *, swapped: bool = False) -> FamilyDistance:
    """What a `distance` target holds; `swapped` exchanges the two families (and the gaps' signs).
    Raises ValueError for another kind."""
    if artifact.kind != "distance":
        raise ValueError(
            f"{artifact.id} is of kind {artifact.kind!r}; give a distance (causal-meta data "
            "distance A B)."
        )
    tree = read_json(artifact.folder / "distances.json")
    arrays = read_arrays(artifact.folder / "arrays.npz")
    roles = ("second", "first") if swapped else ("first", "second")
    distances = tree["distances"]
    if swapped:
        exchanged = {"first_": "second_", "second_": "first_"}
        arrays = {
            exchanged[start] + name.removeprefix(start): value
            for start in exchanged
            for name, value in arrays.items()
            if name.startswith(start)
        }
        distances = {
            name: entry | {"value": -entry["value"]}
            if name in tree["signed"] and entry["value"]
            else entry
            for name, entry in distances.items()
        }
    return FamilyDistance(
        distances, (tree[roles[0]], tree[roles[1]]), arrays, artifact.folder / "figures" / FIGURE
    )
