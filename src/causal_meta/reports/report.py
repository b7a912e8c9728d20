"""Writing a report once, and returning it again as long as its manifest is the same.

reports/report_<timestamp>_<name>/ holds manifest.yaml, report.html (one file without external
resources), training/{summary.csv, summary.json, figures/} and inference/{summary.json, scores.csv,
figures/}. The manifest lists the artifacts by id and digest; its key is a hash of that list, of the
names shown and of the revision of this code; a report with the same key is not written again.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import causal_meta
from causal_meta.conf import yaml_1_2
from causal_meta.conf.convert import leaves, to_plain
from causal_meta.conf.setting import ConfigError
from causal_meta.reports import cards, coefficients, headline, sections
from causal_meta.reports.evidence import Evidence, gather, require_something
from causal_meta.reports.page import Part, Picture, notice, page, tag
from causal_meta.reports.tables import metric_frame, rows_of, write_csv
from causal_meta.store import Artifact, Store, StoreError, canonical, disk

REVISION = 1
FORMAT = "causal_meta report 1"


def run_report(
    store: Store,
    name: str = "",
    *,
    artifacts: Iterable[Artifact] | None = None,
    out: str | Path | None = None,
) -> Path:
    """The folder of the report on `name`, with `report.html` in it; written if there is none yet.

    Args:
        store: where the artifacts are.
        name: name, id or unique prefix of a target (or of a run, which stands for its target); the
            report covers all its runs, and everything else that was scored or answered on the
            same task sets. Empty means the whole store.
        artifacts: instead of `name`, exactly these and their inputs.
        out: the folder in which reports are kept (default `reports/` in the store).

    Raises:
        StoreError: the name is unknown, there is nothing to report, or the disk is full or
            read-only.
    """
    evidence = gather(store, name, artifacts)
    require_something(evidence, name)
    shelf = Path(out) if out is not None else store.root / "reports"
    title = _title(store, name, artifacts is not None, evidence)
    manifest = _manifest(evidence, title)
    evidence = replace(evidence, title=title, key=manifest["key"])
    report = find_report(shelf, manifest["key"])
    if report is not None:
        return report
    if out is None:
        with disk.disk_errors(store.root):
            return _write(evidence, manifest, shelf)
    try:
        return _write(evidence, manifest, shelf)
    except OSError as error:
        raise StoreError(
            f"The report cannot be written into {out}: {(error.strerror or str(error)).lower()}; "
            "give another folder."
        ) from error


def _title(store: Store, name: str, is_chosen: bool, evidence: Evidence) -> str:
    if is_chosen:
        return "selection"
    if not name:
        return "store"
    start = store.find(name)
    return evidence.names.get(start.id, start.id)


def _manifest(evidence: Evidence, title: str) -> dict[str, Any]:
    used = [
        {"id": item.id, "kind": item.kind, "digest": item.digest}
        for item in sorted(evidence.artifacts, key=lambda item: item.id)
    ]
    names = {
        item["id"]: evidence.names[item["id"]] for item in used if item["id"] in evidence.names
    }
    identity = {
        "format": FORMAT,
        "revision": REVISION,
        "report": title,
        "artifacts": used,
        "names": names,
        "problems": evidence.problems,
    }
    return {"key": hashlib.sha256(canonical(identity).encode("ascii")).hexdigest(), **identity}


def find_report(shelf: Path, key: str) -> Path | None:
    """The newest report with this key whose page is as it was written; None if there is none."""
    for path in sorted(shelf.glob("report_*/manifest.yaml"), reverse=True):
        try:
            manifest = yaml_1_2.load(path.read_text("utf-8"), str(path))
            if manifest["key"] == key and manifest["report_sha256"] == disk.sha256(
                path.with_name("report.html")
            ):
                return path.parent
        except (OSError, UnicodeDecodeError, ConfigError, KeyError, TypeError):
            continue  # not a report, or a damaged one: it is kept, and a new one is written
    return None


def _write(evidence: Evidence, manifest: dict[str, Any], shelf: Path) -> Path:
    """Write the report into a draft folder, then rename that into place."""
    now = datetime.datetime.now(datetime.UTC)
    shelf.mkdir(parents=True, exist_ok=True)
    draft = shelf / f".draft-{uuid.uuid4().hex}"
    try:
        text, pictures = render(evidence, now)
        for image in pictures:
            path = draft / image.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image.data)
        for part in ("training", "inference"):
            (draft / part / "figures").mkdir(parents=True, exist_ok=True)
        _summaries(evidence, draft)
        (draft / "report.html").write_text(text, "utf-8")
        written = {
            "created_at": now.isoformat(timespec="seconds"),
            "version": causal_meta.__version__,
        }
        record = manifest | written | {"report_sha256": disk.sha256(draft / "report.html")}
        (draft / "manifest.yaml").write_text(yaml_1_2.dump(record), "utf-8")
        return _publish(draft, shelf, f"report_{now:%Y%m%d-%H%M%S}_{manifest['report']}")
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _publish(draft: Path, shelf: Path, name: str) -> Path:
    for k in range(1, 1000):
        place = shelf / (name if k == 1 else f"{name}_{k}")
        if not os.path.lexists(place) and disk.rename_new(draft, place):
            disk.sync_folder(shelf)
            return place
    raise StoreError(f"{shelf} holds a thousand reports called {name}; delete some of them.")


#: The parts of a report in their order: each makes its parts from the evidence, or none.
SECTIONS: tuple[Callable[[Evidence], list[Part]], ...] = (
    sections.graphs_of_tables,
    sections.scores,
    coefficients.coefficients,
    cards.training,
    cards.model_cards,
    cards.provenance,
)
#: The parts before them: results in a sentence each, and warnings about the evidence.
FINDINGS = (coefficients.findings, headline.findings)
ALARMS = (headline.alarms, coefficients.alarms)


def render(evidence: Evidence, now: datetime.datetime) -> tuple[str, list[Picture]]:
    """The page, and the pictures in it."""
    parts = [part for make in SECTIONS for part in make(evidence)]
    alarms = [sentence for make in ALARMS for sentence in make(evidence)]
    findings = [finding for make in FINDINGS for finding in make(evidence)] or [headline.NOTHING]
    answer = tag(
        "section",
        (notice(tag("p", tag("strong", "Attention. "), words), loud=True) for words in alarms),
        (tag("p", tag("strong", f"{item.subject}. "), item.words) for item in findings),
        class_="answer",
        id="answer",
    )
    foot = (
        f"Written by causal_meta {causal_meta.__version__} on {now:%Y-%m-%d at %H:%M} UTC "
        f"from {len(evidence.artifacts)} artifacts."
    )
    title = "The whole store" if evidence.title == "store" else evidence.title
    contents = [(part.anchor, part.title) for part in parts]
    text = page(title, [answer, *(part.body for part in parts)], contents, foot)
    return text, [picture for part in parts for picture in part.pictures]


def _summaries(evidence: Evidence, folder: Path) -> None:
    """The numbers of the page as files: training/summary.{csv,json} with a record per model,
    inference/summary.json with scores, answers and learning coefficients."""
    import pandas as pd

    models = [_model_record(item, evidence) for item in evidence.models]
    write_csv(pd.DataFrame(models), folder / "training" / "summary.csv")
    disk.write_json(folder / "training" / "summary.json", {"models": models})
    scores = rows_of(evidence)
    answers = [
        {
            "tasks": tasks.title,
            "tasks_id": tasks.artifact.id,
            "run_id": answer.run.id,
            "method": answer.label,
            "columns": tasks.columns,
            "edge_probabilities": answer.probabilities.tolist(),
            "acyclic_share": answer.acyclic_share,
            "n_samples": answer.n_samples,
            "warnings": answer.warnings,
        }
        for tasks in evidence.task_sets
        for answer in tasks.answers
    ]
    networks = [coefficients.record(item) for item in coefficients.estimated(evidence)]
    disk.write_json(
        folder / "inference" / "summary.json",
        {"scores": scores, "answers": answers, "coefficients": networks},
    )
    write_csv(metric_frame(evidence), folder / "inference" / "scores.csv")


def _model_record(item: Artifact, evidence: Evidence) -> dict[str, Any]:
    meta = item.meta
    record = {
        "id": item.id,
        "name": evidence.names.get(item.id, ""),
        "seed": item.seed,
        "parameters": meta.get("dims", {}).get("p"),
    }
    record |= {
        key: meta.get(key)
        for key in ("steps", "best_step", "tasks", "walltime_sec", "cpu_sec", "code_sha")
    }
    settings = {
        key: value
        for key, value in leaves(to_plain(item.config))
        if key not in record and not isinstance(value, list | dict)
    }
    return record | meta.get("metrics", {}) | settings
