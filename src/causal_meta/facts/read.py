"""Reading facts: events, curves, and tables over many runs. Lines of schema version 1 are
converted; an unknown version is an error."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_meta.conf import yaml_1_2
from causal_meta.conf.convert import leaves
from causal_meta.conf.setting import ConfigError
from causal_meta.facts.upgrade import event_from_v1, rows_from_v1
from causal_meta.facts.write import COLUMNS, EVENTS, SCALARS, SCHEMA_VERSION, build_event_payload

if TYPE_CHECKING:
    import pandas as pd

_FIELDS = build_event_payload("on_start")

Row = tuple[Any, ...]  # attempt, step, split, name, value, wall_s, cpu_s
_TYPES = {
    "attempt": "int64",
    "step": "Int64",
    "value": "float64",
    "wall_s": "float64",
    "cpu_s": "float64",
}

Runs = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


class FactsError(ValueError):
    """Facts that cannot be read, in one sentence."""


class Events(list[dict[str, Any]]):
    """Events in the order of the file; `problems` says in words which lines could not be read."""

    def __init__(self, events: Iterable[dict[str, Any]] = (), problems: Iterable[str] = ()) -> None:
        super().__init__(events)
        self.problems = list(problems)


def read_events(folder: str | os.PathLike[str]) -> Events:
    """The events in `<folder>/facts/events.jsonl`, version 1 converted; empty if there is no file.

    A torn last line and other lines that are no JSON are left out and named in `.problems`. Raises
    `FactsError` for an unknown version.
    """
    path = Path(folder) / "facts" / EVENTS
    if not path.is_file():
        return Events()
    events = Events()
    lines = path.read_text("utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            what = "torn last line" if number == len(lines) else "no JSON object"
        else:
            event = _upgrade(event, f"{path}, line {number}")
            what = "" if event.keys() >= _FIELDS.keys() else "fields are missing"
        if what:
            events.problems.append(f"{path}, line {number}: {what}, left out.")
        else:
            events.append(event)
    return events


def _upgrade(event: dict[str, Any], where: str) -> dict[str, Any]:
    version = event.get("schema_version")
    major = str(version).split(".")[0]
    if major == str(SCHEMA_VERSION):
        return event
    if major == "1":
        return event_from_v1(event) if isinstance(event.get("moment"), str) else {}
    raise FactsError(
        f"{where} has schema_version {version!r}; this causal_meta reads versions 1 and "
        f"{SCHEMA_VERSION}, install a newer one."
    )


def read_scalars(folder: str | os.PathLike[str], *, all_attempts: bool = False) -> pd.DataFrame:
    """The curves in `<folder>/facts/scalars.csv`: columns attempt, step, split, name, value,
    wall_s, cpu_s, ordered by step.

    Of a (step, split, name) written by several attempts the highest attempt counts (the last row of
    it), unless `all_attempts`. Version 1 is converted (its epoch stands as the step).
    `frame.attrs["problems"]` names the lines that were torn or malformed and left out. Raises
    `FactsError` for an unknown header.
    """
    import pandas as pd

    path = Path(folder) / "facts" / SCALARS
    rows, problems = _scalar_rows(path) if path.is_file() else ([], [])
    frame = pd.DataFrame(_ordered(rows, all_attempts), columns=list(COLUMNS)).astype(_TYPES)
    frame.attrs["problems"] = problems
    return frame


def _ordered(rows: list[Row], all_attempts: bool = False) -> list[Row]:
    """Rows by step and attempt, those without a step last; of a (step, split, name) written twice
    the last one, unless `all_attempts`."""
    rows = sorted(rows, key=lambda row: (row[1] is None, row[1] or 0, row[0]))
    if all_attempts:
        return rows
    kept: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        kept.pop(row[1:4], None)  # the later one stands where it was written
        kept[row[1:4]] = row
    return list(kept.values())


def _scalar_rows(path: Path) -> tuple[list[Row], list[str]]:
    lines = path.read_text("utf-8", errors="replace").split("\n")
    problems = []
    if lines.pop():
        problems.append(f"{path}, line {len(lines) + 1}: torn last line, left out.")
    if not lines:
        return [], problems
    header = next(csv.reader([lines[0]]))
    if header[:2] == ["epoch", "split"]:
        rows, wrong = rows_from_v1(header, lines[1:])
    elif header == list(COLUMNS):
        rows, wrong = _rows(lines[1:])
    else:
        raise FactsError(
            f"{path} begins with {lines[0][:80]!r}; this causal_meta knows {','.join(COLUMNS)} "
            "and version 1, install a newer one."
        )
    return rows, [
        *problems,
        *(f"{path}, line {number + 2}: malformed row, left out." for number in wrong),
    ]


def _rows(lines: Sequence[str]) -> tuple[list[Row], list[int]]:
    rows: list[Row] = []
    wrong = []
    for number, line in enumerate(lines):
        try:
            attempt, step, split, name, value, wall, cpu = next(csv.reader([line]))
            rows.append(
                (
                    int(attempt),
                    int(step) if step else None,
                    split or None,
                    name,
                    float(value),
                    _number(wall),
                    _number(cpu),
                )
            )
        except (ValueError, StopIteration):
            wrong.append(number)
    return rows, wrong


def _number(text: str) -> float:
    return float(text) if text else math.nan


def natural(text: str) -> list[tuple[int, int | str]]:
    """Sort key in which job2 comes before job10.

    >>> sorted(["job10", "job2"], key=natural)
    ['job2', 'job10']
    """
    return [
        (0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", text) if part
    ]


def discover_runs(where: Runs) -> list[Path]:
    """The folders with facts: of a store (every target and every run in it), of a folder of runs,
    of one run, or of a list of these.

    Sorted by path with numbers in numerical order, a list in the order of its items; every folder
    once. Raises `FactsError` if a folder does not exist.
    """
    if not isinstance(where, str | os.PathLike):
        folders = [folder for item in where for folder in discover_runs(item)]
        return list(dict.fromkeys(folders))
    top = Path(where)
    if not top.is_dir():
        raise FactsError(
            f"{top} is not a folder; give a store, a folder of runs or a list of them."
        )
    if (top / "facts").is_dir() and not (top / "targets").is_dir():
        return [top, *_children(top)]
    inner = top / "targets" if (top / "targets").is_dir() else top
    return [
        folder
        for child in _children(inner, any_folder=True)
        for folder in ([child] if _has_facts(child) else []) + _children(child)
    ]


def _has_facts(folder: Path) -> bool:
    return (folder / "facts").is_dir()


def _children(folder: Path, *, any_folder: bool = False) -> list[Path]:
    children = (
        child
        for child in folder.iterdir()
        if child.is_dir() and not child.is_symlink() and not child.name.startswith(".")
    )
    return sorted(
        (child for child in children if any_folder or _has_facts(child)),
        key=lambda child: natural(child.name),
    )


def load_runs(
    runs: Runs, require_complete: bool = True
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Runs table, curves of all runs, and the order of the runs.

    The runs table has a row per run: run_dir, run_id, kind, seed, git_commit, attempts, complete,
    last_step, total_time_s, cpu_s, the last value of every curve as `<split>/<name>` and every
    setting of `config.yaml` by its dotted path. The curves are `read_scalars` with a column run_dir
    in front. A run is complete if it ended with on_train_end or was published by the store; others
    are left out if `require_complete`. `attrs["problems"]` of the runs table holds the lines that
    could not be read.
    """
    import pandas as pd

    records: list[dict[str, Any]] = []
    curves: list[Row] = []
    problems: list[str] = []
    for folder in discover_runs(runs):
        path = folder / "facts" / SCALARS
        events, (rows, torn) = (
            read_events(folder),
            _scalar_rows(path) if path.is_file() else ([], []),
        )
        problems += [*events.problems, *torn]
        rows = _ordered(rows)
        record = _record(folder, events, rows)
        record |= {
            key: value for key, value in _settings(folder, problems).items() if key not in record
        }
        if record["complete"] or not require_complete:
            records.append(record)
            curves += [(record["run_dir"], *row) for row in rows]
    table = pd.DataFrame(records)
    table.attrs["problems"] = problems
    return (
        table,
        pd.DataFrame(curves, columns=["run_dir", *COLUMNS]).astype(_TYPES),
        [record["run_dir"] for record in records],
    )


def _record(folder: Path, events: Events, rows: Sequence[Row]) -> dict[str, Any]:
    meta = _json(folder / "meta.json", [])
    first = next((event.get("meta") or {} for event in events if event.get("meta")), {})
    last = {(row[2] or "", row[3]): float(row[4]) for row in rows}
    record: dict[str, Any] = {
        "run_dir": str(folder),
        "run_id": meta.get("run_id")
        or meta.get("target_id")
        or (events[0]["run_id"] if events else ""),
        "kind": meta.get("kind"),
        "seed": meta.get("seed", first.get("seed")),
        "git_commit": meta.get("code_sha", first.get("git_commit")),
        "attempts": max((event["attempt"] for event in events), default=0),
        "complete": bool(meta) or any(event["moment"] == "on_train_end" for event in events),
        "last_step": max((row[1] for row in rows if row[1] is not None), default=None),
        "total_time_s": meta.get(
            "walltime_sec", max((event["wall_s"] or 0.0 for event in events), default=None)
        ),
        "cpu_s": meta.get(
            "cpu_sec", max((event["cpu_s"] or 0.0 for event in events), default=None)
        ),
    }
    for (split, name), value in sorted(last.items()):
        record[f"{split}/{name}" if split else name] = value
    return record


def _settings(folder: Path, problems: list[str]) -> dict[str, Any]:
    path = folder / "config.yaml"
    try:
        tree = (
            yaml_1_2.load(path.read_text("utf-8", errors="replace"), str(path))
            if path.is_file()
            else {}
        )
    except ConfigError as error:
        problems.append(f"{str(error).rstrip('.')}, left out.")
        return {}
    return {key: value for key, value in leaves(tree) if key}


def _json(path: Path, problems: list[str]) -> dict[str, Any]:
    """The JSON object in `path`; empty if the file is absent, or if it holds none, which becomes a
    problem."""
    try:
        tree = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError):
        tree = None
    if not isinstance(tree, dict):
        problems.append(f"{path}: no readable JSON object, left out.")
        return {}
    return tree


def aggregate_results(runs_root: str | os.PathLike[str] = "runs") -> pd.DataFrame:
    """One row per run of a store: what its target is, how it was made, and every number of its
    `analysis.json` or `metrics.json`.

    Columns: target_id, target_kind, model, data, seed (of the target), dims and metrics of the
    target as `target.<name>`, run_id, sampler (the run's kind), run_seed, walltime_sec, cpu_sec,
    then the numbers by dotted path (`summary.shd.mean`; lists are left out). `attrs["problems"]`
    names the files that were torn or damaged and left out.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    problems: list[str] = []
    targets = Path(runs_root) / "targets"
    folders = (
        [folder for folder in _children(targets, any_folder=True) if folder.name.startswith("tgt_")]
        if targets.is_dir()
        else []
    )
    for folder in folders:
        target = _json(folder / "meta.json", problems)
        for run in _children(folder, any_folder=True):
            meta = _json(run / "meta.json", problems) if run.name.startswith("run_") else {}
            if target and meta:
                rows.append(
                    _result(
                        target,
                        meta,
                        _json(run / "analysis.json", problems)
                        | _json(run / "metrics.json", problems),
                    )
                )
    frame = pd.DataFrame(rows)
    frame.attrs["problems"] = problems
    return frame


def _result(
    target: dict[str, Any], run: dict[str, Any], analysis: dict[str, Any]
) -> dict[str, Any]:
    described = {
        f"target.{key}": value
        for key, value in leaves({**target.get("dims", {}), **target.get("metrics", {})})
        if key
    }
    return {
        "target_id": target.get("target_id"),
        "target_kind": target.get("kind"),
        "model": target.get("model_cfg", {}).get("kind"),
        "data": target.get("data_cfg", {}).get("kind"),
        "seed": target.get("seed"),
        **described,
        "run_id": run.get("run_id"),
        "sampler": run.get("kind"),
        "run_seed": run.get("seed"),
        "walltime_sec": run.get("walltime_sec"),
        "cpu_sec": run.get("cpu_sec"),
        **{
            key: value
            for key, value in leaves(analysis)
            if key and not isinstance(value, list | dict)
        },
    }
