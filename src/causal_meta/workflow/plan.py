"""Which cells of a study exist, are stale or are missing, and how long making the rest may take.
Nothing here writes."""

from __future__ import annotations

import fnmatch
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from causal_meta.conf.setting import ConfigError
from causal_meta.store import Artifact, Store, StoreError
from causal_meta.store.catalog import RUNS
from causal_meta.store.disk import read_lines
from causal_meta.store.shelf import is_stale
from causal_meta.workflow.cells import Cell, Study

Status = Literal["exists", "stale", "missing"]
RECENT = 50  # earlier artifacts of a kind from which its time is estimated


@dataclass(frozen=True)
class Plan:
    """The requested cells, in an order in which they can be made, with the status of each and the
    artifacts of those that exist.

    A run is stale if the content of an input has changed since, or if an input has to be made again
    (it is kept if that gives the same bytes).
    """

    study: Study
    cells: list[Cell]
    status: dict[str, Status]
    artifacts: dict[str, Artifact]

    @property
    def to_make(self) -> list[Cell]:
        """The cells that do not exist or are stale."""
        return [cell for cell in self.cells if self.status[cell.id] != "exists"]

    def counts(self) -> dict[str, Counter[str]]:
        """Kind -> how many cells exist, are stale, are missing; kinds in their order in the
        study."""
        by_kind: dict[str, Counter[str]] = {}
        for cell in self.cells:
            by_kind.setdefault(cell.kind, Counter())[self.status[cell.id]] += 1
        return by_kind


def plan_of(study: Study, store: Store, only: Sequence[str] = ()) -> Plan:
    """Look up every cell, or those that match all words of `only` (`kind=PATTERN`, `name=PATTERN`
    or `id=PATTERN`) and their inputs.

    Raises `ConfigError` for a word of another form or if nothing matches, and `StoreError` for an
    artifact in the store that cannot be read.
    """
    cells = _chosen(study, only)
    status: dict[str, Status] = {}
    artifacts = dict(study.others)
    for cell in cells:
        inputs = {role: artifacts[id_] for role, id_ in cell.inputs.items() if id_ in artifacts}
        status[cell.id] = "missing"
        if not cell.is_target and "of" not in inputs:
            continue  # its folder would be in that of its target
        artifact = store.stored(cell.key, cell.config, inputs)
        if artifact is not None:
            artifacts[cell.id] = artifact
            again = (
                any(status.get(i, "exists") != "exists" for i in cell.inputs.values())
                and not cell.is_target
            )
            status[cell.id] = "stale" if again or is_stale(artifact, inputs) else "exists"
    return Plan(study, cells, status, artifacts)


def _chosen(study: Study, only: Sequence[str]) -> list[Cell]:
    """The cells that match every word of `only`, and their inputs, in the order of the study."""
    chosen = {cell.id for cell in study.cells}
    for word in only:
        key, equals, pattern = word.partition("=")
        if not equals or key not in ("kind", "name", "id"):
            raise ConfigError(
                f"--only takes kind=PATTERN, name=PATTERN or id=PATTERN, and {word!r} came."
            )
        fitting = {
            cell.id
            for cell in study.cells
            if fnmatch.fnmatchcase(
                {"kind": cell.kind, "name": cell.name, "id": cell.id}[key], pattern
            )
        }
        if not fitting:
            values = {
                "kind": cell_kinds(study),
                "name": sorted(cell.name for cell in study.cells if cell.name),
            }.get(key, [])
            raise ConfigError(
                f"--only {word} matches nothing in the "
                f"study{'; there are ' + ', '.join(values[:20]) if values else ''}."
            )
        chosen &= fitting
    if not chosen:
        raise ConfigError(
            f"--only {' --only '.join(only)} matches nothing in the study; leave one of them out."
        )
    for cell in reversed(study.cells):  # inputs come before what needs them
        if cell.id in chosen:
            chosen |= set(cell.inputs.values())
    return [cell for cell in study.cells if cell.id in chosen]


def cell_kinds(study: Study) -> list[str]:
    """The kinds of a study in the order of their first cells."""
    return list(dict.fromkeys(cell.kind for cell in study.cells))


# ---------------------------------------------------------------------------------------- estimates


def estimate(plan: Plan, store: Store) -> tuple[float, int]:
    """Seconds that the missing and stale cells take one after the other, and the number of cells
    without an estimate.

    The median wall time of artifacts of the kind: those of this study, or else the latest of the
    store.
    """
    kinds = Counter(cell.kind for cell in plan.to_make)
    if not kinds:
        return 0.0, 0
    seconds_of = _of_the_plan(plan)
    lacking = kinds.keys() - seconds_of.keys()
    seconds_of |= _of_the_store(store, lacking) if lacking else {}
    medians = {kind: statistics.median(seconds) for kind, seconds in seconds_of.items() if seconds}
    return sum(medians.get(kind, 0.0) * count for kind, count in kinds.items()), sum(
        n for kind, n in kinds.items() if kind not in medians
    )


def _of_the_plan(plan: Plan) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {}
    for artifact in (plan.artifacts[cell.id] for cell in plan.cells if cell.id in plan.artifacts):
        if isinstance(artifact.meta.get("walltime_sec"), int | float):
            seconds.setdefault(artifact.kind, []).append(float(artifact.meta["walltime_sec"]))
    return seconds


def _of_the_store(store: Store, kinds: set[str]) -> Mapping[str, list[float]]:
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for line in reversed(store.catalog()):
        kind, folder = line["kind"], store.root / "targets" / line["target_id"]
        if kind in kinds and len(seconds[kind]) < RECENT:
            try:
                seconds[kind].append(float(store.read(folder).meta["walltime_sec"]))
            except (StoreError, KeyError, TypeError):
                continue
        for run in read_lines(folder / RUNS):
            if (
                run.get("sampler") in kinds
                and isinstance(run.get("walltime_sec"), int | float)
                and len(seconds[run["sampler"]]) < RECENT
            ):
                seconds[run["sampler"]].append(float(run["walltime_sec"]))
    return seconds
