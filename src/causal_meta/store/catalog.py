"""Indexes of the store: the catalog of targets, the list of runs of each target, the names, and the
folders of links by name. All of it can be rebuilt, except the names."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from causal_meta.store import disk
from causal_meta.store.artifact import Artifact
from causal_meta.store.key import StoreError, check_name, identity_part, is_id

CATALOG, RUNS, NAMES = "_catalog.jsonl", "_runs.jsonl", "names.json"


def target_line(artifact: Artifact) -> dict[str, Any]:
    """The line of a target in `_catalog.jsonl`."""
    meta = artifact.meta
    return {
        "target_id": artifact.id,
        "created_at": meta["created_at"],
        "kind": artifact.kind,
        "model": _short(meta.get("model_cfg")),
        "data": _short(meta.get("data_cfg"))
        or _pair(meta.get("first_cfg"), meta.get("second_cfg")),
        "seed": meta["seed"],
    }


def _short(tree: Any) -> str | None:
    """A short name of a model or of data: the tag, for a family its seed name or the tag of its
    graphs too, for a table its title."""
    if not isinstance(tree, dict):
        return None
    if isinstance(tree.get("train"), dict):
        return _short(tree["train"])
    if isinstance(tree.get("graph"), dict):
        return tree.get("seed_name") or f"{tree.get('kind')}:{tree['graph'].get('kind')}"
    return str(tree.get("title") or tree.get("kind"))


def _pair(first: Any, second: Any) -> str | None:
    return f"{_short(first)} | {_short(second)}" if first and second else None


def run_line(artifact: Artifact, root: Path) -> dict[str, Any]:
    """The line of a run in its target's `_runs.jsonl`; the path is relative to the store."""
    return {
        "target_id": artifact.folder.parent.name,
        "sampler": artifact.kind,
        "hyperparams": {
            key: value
            for key, value in identity_part(artifact.stored_tree()).items()
            if key != "kind"
        },
        "walltime_sec": artifact.meta.get("walltime_sec"),
        "artifact_path": artifact.folder.relative_to(root).as_posix(),
        "created_at": artifact.meta["created_at"],
    }


def add(artifact: Artifact, root: Path) -> None:
    """Enter a published artifact."""
    if artifact.is_target:
        disk.append_line(root / "targets" / CATALOG, target_line(artifact))
    else:
        disk.append_line(artifact.folder.parent / RUNS, run_line(artifact, root))


def read_lines(root: Path) -> list[dict[str, Any]]:
    """The whole lines of `_catalog.jsonl`."""
    return [
        line
        for line in disk.read_lines(root / "targets" / CATALOG)
        if {"target_id", "created_at"} <= line.keys()
    ]


def write_lines(root: Path, path: Path, lines: list[dict[str, Any]]) -> None:
    """Replace a file of lines; a crash leaves no other file beside it, among an artifact's
    files."""
    ordered = sorted(lines, key=lambda line: line["created_at"])
    disk.write_atomic(
        path,
        "".join(json.dumps(line, allow_nan=False) + "\n" for line in ordered),
        drafts=root / ".staging",
    )


def leave_out(root: Path, artifact_id: str) -> None:
    """Remove the lines of a target whose folder was deleted by hand, before it is published again;
    after a crash they would be mistaken for those of the new one."""
    path = root / "targets" / CATALOG
    if path.exists() and artifact_id.encode() in path.read_bytes():
        write_lines(
            root, path, [line for line in read_lines(root) if line["target_id"] != artifact_id]
        )


# -------------------------------------------------------------------------------------------- names


def read_names(root: Path) -> dict[str, str]:
    """Human name -> id; raises `StoreError` if `names.json` is not such a mapping."""
    path = root / NAMES
    try:
        with disk.disk_errors(root):
            tree = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(
            f"{path} cannot be read ({error}); repair or delete it; the artifacts are not affected."
        ) from None
    if not isinstance(tree, dict) or not all(
        isinstance(value, str) and is_id(value) for value in tree.values()
    ):
        raise StoreError(
            f"{path} does not map names to ids; repair or delete it; the artifacts are not "
            "affected."
        )
    return tree


def check_free(root: Path, name: str, artifact_id: str, force: bool) -> bool:
    """Whether `name` still has to be set to the artifact; raises `StoreError` if it is the name of
    a study, or of another artifact without `force`."""
    held = read_names(root).get(check_name(name))
    if held is None and is_study(root, name):
        raise StoreError(
            f"The name {name!r} is that of a study in the store already; choose another name."
        )
    if held is not None and held != artifact_id and not force:
        raise StoreError(
            f"The name {name!r} means {held} already; choose another name, or give --force to "
            f"point it to {artifact_id}."
        )
    return held != artifact_id


def is_study(root: Path, name: str) -> bool:
    """Whether `experiments/<name>/` is the folder of a study: its config.yaml is a file, not a link
    as for an artifact."""
    file = root / "experiments" / name / "config.yaml"
    return file.is_file() and not file.is_symlink()


def point(root: Path, name: str, artifact_id: str, force: bool) -> None:
    """Give an artifact a name, under a lock."""
    if not check_free(root, name, artifact_id, force):
        return
    with disk.locked(root / ".staging" / "names.lock"):
        check_free(root, name, artifact_id, force)
        names = read_names(root) | {name: artifact_id}
        disk.write_atomic(root / NAMES, json.dumps(dict(sorted(names.items())), indent=1) + "\n")


def unname(root: Path, ids: Iterable[str]) -> list[str]:
    """Remove the names of the artifacts `ids`, under a lock; returns the removed names."""
    gone = set(ids)
    if gone.isdisjoint(read_names(root).values()):
        return []
    with disk.locked(root / ".staging" / "names.lock"):
        names = read_names(root)
        disk.write_atomic(
            root / NAMES,
            json.dumps({name: id_ for name, id_ in names.items() if id_ not in gone}, indent=1)
            + "\n",
        )
    return sorted(name for name, id_ in names.items() if id_ in gone)


# -------------------------------------------------------------------------------------------- views


def view(root: Path, name: str, artifact: Artifact) -> None:
    """Refresh `experiments/<name>/`: links to the configuration and the checkpoints, runs that
    score under results/, others under inference/."""
    home = root / "experiments" / name
    runs = (
        [artifact.folder]
        if not artifact.is_target
        else [path for path in artifact.folder.iterdir() if path.name.startswith("run_")]
    )
    links = {home / "config.yaml": artifact.folder / "config.yaml"}
    if (artifact.folder / "checkpoints").is_dir():
        links[home / "checkpoints"] = artifact.folder / "checkpoints"
    for run in runs:
        links[
            home / ("results" if (run / "metrics.json").is_file() else "inference") / run.name
        ] = run
    for folder in (home / "results", home / "inference"):
        folder.mkdir(parents=True, exist_ok=True)
    for old in [
        home / "config.yaml",
        home / "checkpoints",
        *(home / "results").iterdir(),
        *(home / "inference").iterdir(),
    ]:
        if old.is_symlink() and (
            old not in links or os.readlink(old) != os.path.relpath(links[old], old.parent)
        ):
            old.unlink()
    for place, goal in links.items():
        link(place, os.path.relpath(goal, place.parent))


def unview(root: Path, name: str) -> None:
    """Remove links without a target from `experiments/<name>/`, and its folders that are then
    empty."""
    home = root / "experiments" / name
    for folder in (home / "results", home / "inference", home):
        if folder.is_symlink() or not folder.is_dir():
            continue
        for path in folder.iterdir():
            if _leads_nowhere(path):
                path.unlink()
        with contextlib.suppress(OSError):
            folder.rmdir()


def _leads_nowhere(path: Path) -> bool:
    if path.is_symlink():
        return not path.exists()
    try:
        goal = (
            json.loads(path.read_text("utf-8"))
            if path.suffix == ".json" and path.is_file()
            else None
        )
    except (OSError, ValueError):
        return False
    return (
        isinstance(goal, dict)
        and goal.keys() == {"path"}
        and not (path.parent / str(goal["path"])).exists()
    )


def link(place: Path, goal: str) -> None:
    """Make `place` a link to the relative path `goal`, or write a file `<place>.json` where links
    are not possible. An existing file is kept."""
    try:
        with contextlib.suppress(FileExistsError):
            place.symlink_to(goal)
    except (OSError, NotImplementedError):
        disk.write_atomic(place.with_name(f"{place.name}.json"), json.dumps({"path": goal}) + "\n")
