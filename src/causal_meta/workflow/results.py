"""The folder of a study, `experiments/<name>/`: its file, links to its artifacts, and the table of
its results.

    config.yaml      the study file as it was carried out
    targets/         links to targets, by name or id
    results/         links to runs that score something
    inference/       links to other runs
    results.parquet  a row for every run of the study, with its settings and metrics; results.csv
    holds the same study.log        what workers and libraries printed

Where links are not possible, a file `<name>.json` holds the path. Running the study again rebuilds
all of it.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_meta.conf.convert import leaves, to_plain
from causal_meta.conf.evaluation import EvaluateConfig
from causal_meta.conf.samplers import SamplerConfig
from causal_meta.records.analyses import read_analysis
from causal_meta.records.metrics import has_metrics, read_metrics
from causal_meta.store import Artifact, Store, StoreError
from causal_meta.store.catalog import link
from causal_meta.store.disk import disk_errors, write_atomic
from causal_meta.workflow.cells import Cell
from causal_meta.workflow.execute import Outcome
from causal_meta.workflow.plan import Plan

if TYPE_CHECKING:
    import pandas as pd

RESULTS = "results.parquet"
ESTIMATES = (
    *(
        "llc_mean",
        "llc_std",
        "llc_mcse",
        "llc_error",
        "bias_estimate",
        "ess",
        "ess_bulk",
        "ess_tail",
        "rhat",
        "divergences",
        "acceptance",
    ),
    *("pareto_k", "total_fges", "compile_sec", "warmup_sec", "sampling_sec", "wnv", "wnv_sec"),
)
_PARTS = ("targets", "results", "inference")


def folder_of(store: Store, name: str) -> Path:
    """The folder of a study."""
    return store.root / "experiments" / name


def write_file(plan: Plan, store: Store) -> None:
    """Copy the study file into the folder of the study, so that the study can be found by its
    name."""
    home = folder_of(store, plan.study.name)
    with disk_errors(store.root):
        home.mkdir(parents=True, exist_ok=True)
        write_atomic(home / "config.yaml", plan.study.text)


def write_results(plan: Plan, outcome: Outcome, store: Store) -> pd.DataFrame:
    """Write the folder of the study again, over all of its cells that exist; returns the table of
    its runs."""
    artifacts = _existing(plan, outcome, store)
    table = results_table(plan, artifacts)
    home = folder_of(store, plan.study.name)
    write_file(plan, store)
    with disk_errors(store.root):
        _links(plan, artifacts, store, home)
        temporary = home / f".{RESULTS}.{uuid.uuid4().hex}.tmp"
        try:
            table.to_parquet(temporary, index=False)
            os.replace(temporary, home / RESULTS)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
        write_atomic(home / "results.csv", table.to_csv(index=False))
    return table


def _existing(plan: Plan, outcome: Outcome, store: Store) -> dict[str, Artifact]:
    """Every artifact of the study that exists now, by id."""
    artifacts = dict(plan.study.others)
    for cell in plan.study.cells:
        if outcome.states.get(cell.id) == "exists":
            artifacts[cell.id] = plan.artifacts[cell.id]
        elif outcome.states.get(cell.id) in ("built", "found", None):
            with contextlib.suppress(StoreError):
                artifacts[cell.id] = store.read(store.root / cell.path)
    return artifacts


def _links(plan: Plan, artifacts: dict[str, Artifact], store: Store, home: Path) -> None:
    links: dict[Path, Path] = {}
    for cell in plan.study.cells:
        if cell.id in artifacts:
            part = (
                "targets"
                if cell.is_target
                else "results"
                if isinstance(cell.config, EvaluateConfig)
                else "inference"
            )
            links[home / part / (cell.name or cell.id)] = store.root / cell.path
    for part in _PARTS:
        (home / part).mkdir(exist_ok=True)
        for old in (home / part).iterdir():
            if old.is_symlink() and (
                old not in links or os.readlink(old) != os.path.relpath(links[old], old.parent)
            ):
                old.unlink()
    for place, goal in links.items():
        link(place, os.path.relpath(goal, place.parent))


# -------------------------------------------------------------------------------------------- table


def results_table(plan: Plan, artifacts: dict[str, Artifact]) -> pd.DataFrame:
    """A row for every run of the study that exists, in the order of the study.

    Columns: id, kind, name; of and on (the target, and the tasks that were answered, by name);
    method (the kind of what answered); seed; walltime_sec; every setting of the kinds of run that a
    sweep or the file sets; metrics as NAME and NAME_se, over tasks; of samplers the numbers of
    their analysis that `ESTIMATES` names, `failed_chains` (how many) and `flags`.
    """
    import pandas as pd

    names = plan.study.words | {cell.id: cell.name or cell.id for cell in plan.study.cells}
    rows = []
    for cell in plan.study.cells:
        if cell.is_target or cell.id not in artifacts:
            continue
        rows.append(_row(cell, artifacts[cell.id], artifacts, names))
    table = pd.DataFrame(rows)
    first = [
        name
        for name in ("id", "kind", "name", "method", "of", "on", "seed", "walltime_sec")
        if name in table
    ]
    return table[[*first, *(name for name in table if name not in first)]]


def _row(
    cell: Cell, run: Artifact, artifacts: dict[str, Artifact], names: dict[str, str]
) -> dict[str, Any]:
    inputs = {role: names.get(value, value) for role, value in cell.inputs.items()}
    answered = artifacts.get(cell.inputs.get("posterior", cell.inputs["of"]))
    row: dict[str, Any] = {
        "id": cell.id,
        "kind": cell.kind,
        "name": cell.name,
        "method": cell.kind,
        "of": inputs["of"],
        "on": inputs.get("tasks", inputs["of"]),
        "seed": run.seed,
        "walltime_sec": run.meta.get("walltime_sec"),
    }
    if isinstance(cell.config, EvaluateConfig) and answered is not None:
        row["method"] = answered.kind
        row["method_seed"] = answered.seed
    for key, value in leaves(to_plain(cell.config)):
        if key not in ("kind", "seed") and isinstance(value, str | int | float):
            row[f"setting.{key}"] = value
    return row | _metrics(run)


def _metrics(run: Artifact) -> dict[str, Any]:
    """Mean and standard error over tasks of every metric of a run; the numbers of a sampler's
    analysis."""
    if isinstance(run.config, SamplerConfig):
        return _estimate(run)
    if not has_metrics(run):
        return {}
    row: dict[str, float | None] = {}
    for name, entry in read_metrics(run).get("summary", {}).items():
        row[name], row[f"{name}_se"] = entry.get("mean"), entry.get("se")
    return row


def _estimate(run: Artifact) -> dict[str, Any]:
    analysis = read_analysis(run)
    words = {"failed_chains": len(analysis["failed_chains"]), "flags": ", ".join(analysis["flags"])}
    return (
        {name: analysis.get(name) for name in ESTIMATES}
        | {"exact_lambda": analysis["exact"].get("lambda")}
        | words
    )
