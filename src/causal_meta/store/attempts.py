"""Attempts: every builder works in a folder of its own, and goes on from the newest checkpoint that
can be verified.

`.staging/<id>/attempt-<n>-<uuid>/` is the folder, `.staging/<id>/attempt-<n>.lock` is held as long
as its process lives. Nothing depends on the lock being right: it only tells a newcomer whom to wait
for and which leftovers to clear away. What makes the store correct is that folders are never shared
and that publication is one rename, which the first one wins.

On a network file system. The lease is the lock and the heartbeat: the modification times of the
attempt's folder and facts. They are compared with that of a file touched just then on the same
disk, so clocks of machines that differ do not matter where the server sets times (NFS). If they do
differ after all, a builder that seems to have written in the future is waited for until `patience`
seconds have brought nothing new; one that seems to have written long ago is not waited for, which
costs doubled work and nothing else. Where locks do not reach other machines (NFS mounted with
nolock, some cluster file systems), a living builder elsewhere looks dead: again work may be done
twice, and whoever publishes later takes the first one's artifact. Where locks fail altogether
everybody looks alive, and is waited for as long as the heartbeat is fresh. What is needed of the
disk is that renaming a folder is one step for all machines, and that a file written and closed is
whole for who opens it afterwards, as NFS promises. `clear` removes nothing of an attempt whose lock
is held; where it cannot see a lock, a builder elsewhere may fail and be repeated.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from causal_meta.facts import Facts
from causal_meta.store import disk
from causal_meta.store.artifact import Artifact

_FOLDER = re.compile(r"attempt-(\d+)-[0-9a-f]{32}")
_SIDECAR = "last.json"


@dataclass
class Attempt:
    """One try at building an artifact: where the builder works and what it is given.

    `folder` takes the results, `inputs` holds the artifacts by role, `resumed` tells that
    `checkpoints/` holds a verified checkpoint of an earlier attempt, `options` carries what cannot
    change the result (a table's path, a progress bar).
    """

    folder: Path
    artifact_id: str
    number: int
    inputs: dict[str, Artifact]
    facts: Facts
    resumed: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


def reserve(staging: Path, artifact_id: str, patience: float = 0.0) -> tuple[Path, int, int] | None:
    """Make the folder of a new attempt under `staging`/<id>; returns it, its number and the
    descriptor of its held lock.

    None if somebody else is at work on the artifact and has given a sign of life within `patience`
    seconds.
    """
    home = staging / artifact_id
    with disk.locked(staging / "lock"):
        if busy(staging, artifact_id, patience, disk.clock(staging / "lock")):
            return None
        home.mkdir(parents=True, exist_ok=True)
        number = 1 + max((number_of(path.name) for path in home.iterdir()), default=0)
        descriptor = os.open(_lock_file(home, number), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            disk.try_lock(descriptor)
            folder = home / f"attempt-{number}-{uuid.uuid4().hex}"
            folder.mkdir()
        except BaseException:
            os.close(descriptor)
            raise
    return folder, number, descriptor


def number_of(name: str) -> int:
    """The number of the attempt that a folder or a lock belongs to; 0 for anything else."""
    found = re.match(r"attempt-(\d+)[-.]", name)
    return int(found.group(1)) if found else 0


def _lock_file(home: Path, number: int) -> Path:
    return home / f"attempt-{number}.lock"


def folders(staging: Path, artifact_id: str) -> list[tuple[int, Path]]:
    """Number and folder of every attempt at an artifact, oldest first."""
    matches = ((_FOLDER.fullmatch(path.name), path) for path in disk.entries(staging / artifact_id))
    return sorted(
        (int(match.group(1)), path) for match, path in matches if match and not path.is_symlink()
    )


def is_live(staging: Path, artifact_id: str, number: int) -> bool:
    """Whether the process of an attempt seems to live: its lock cannot be taken."""
    return disk.is_held(_lock_file(staging / artifact_id, number))


def heartbeat(folder: Path) -> float:
    """The time, by the clock of the disk, at which an attempt was begun or last wrote a fact."""
    beats = [0.0]
    for path in (folder, folder / "facts" / "events.jsonl", folder / "facts" / "scalars.csv"):
        with contextlib.suppress(OSError):
            beats.append(path.stat().st_mtime)
    return max(beats)


def seconds_silent(folder: Path, now: float) -> float:
    """Seconds since an attempt was begun or last wrote a fact."""
    return now - heartbeat(folder)


def heartbeats(staging: Path, artifact_id: str) -> list[float]:
    """The last sign of life of every attempt at an artifact, to be compared with an earlier
    answer."""
    return [heartbeat(path) for _, path in folders(staging, artifact_id)]


def busy(staging: Path, artifact_id: str, patience: float, now: float | None = None) -> bool:
    """Whether somebody else is at work on the artifact and has given a sign of life within
    `patience` seconds before `now` (None: by our clock)."""
    now = time.time() if now is None else now
    return patience > 0 and any(
        seconds_silent(path, now) < patience and is_live(staging, artifact_id, number)
        for number, path in folders(staging, artifact_id)
    )


def clear(staging: Path, artifact_id: str) -> None:
    """Remove what dead processes left of an artifact that is published now."""
    home = staging / artifact_id
    with disk.locked(staging / "lock"):
        if not home.is_dir():
            return
        for number, path in folders(staging, artifact_id):
            if not is_live(staging, artifact_id, number):
                disk.remove_tree(path)
        for path in list(home.iterdir()):
            if path.name.startswith("stale-"):
                disk.remove_tree(path)
            if path.suffix == ".lock" and not is_live(staging, artifact_id, number_of(path.name)):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            home.rmdir()


# -------------------------------------------------------------------------------------- checkpoints


def seal_checkpoint(temporary: Path, step: int) -> None:
    """Put a complete new checkpoint in place: `temporary` (named `<x>.tmp` in the same folder)
    becomes `last.pt`, vouched for by `last.json`.

    `last.json` is {"step", "sha256", "previous": {"step", "sha256"}}. It is replaced first and
    names both the new and the old file; then `last.pt` is replaced. So a process killed anywhere in
    between leaves a `last.pt` that one of the two entries vouches for.
    """
    folder = temporary.parent
    disk.sync_file(temporary)
    entry: dict[str, Any] = {"step": int(step), "sha256": disk.sha256(temporary)}
    before = _vouched(folder)
    if before is not None:
        entry["previous"] = before
    disk.write_atomic(folder / _SIDECAR, json.dumps(entry))
    os.replace(temporary, folder / "last.pt")
    disk.sync_folder(folder)


def verified_step(checkpoints: Path) -> int | None:
    """The step of `checkpoints`/last.pt if its digest is one that `last.json` vouches for; None if
    torn, unvouched or absent."""
    entry = _vouched(checkpoints)
    return None if entry is None else int(entry["step"])


def _entries(checkpoints: Path) -> list[dict[str, Any]]:
    try:
        tree = json.loads((checkpoints / _SIDECAR).read_text("utf-8"))
    except (OSError, ValueError):
        return []
    found = [tree, tree.get("previous")] if isinstance(tree, dict) else []
    return [
        {"step": entry["step"], "sha256": entry["sha256"]}
        for entry in found
        if isinstance(entry, dict)
        and type(entry.get("step")) is int
        and isinstance(entry.get("sha256"), str)
    ]


def _vouched(checkpoints: Path) -> dict[str, Any] | None:
    entries = _entries(checkpoints)
    try:
        digest = disk.sha256(checkpoints / "last.pt") if entries else ""
    except OSError:
        return None
    return next((entry for entry in entries if entry["sha256"] == digest), None)


def most_advanced(staging: Path, artifact_id: str) -> Path | None:
    """The folder of the attempt whose verified checkpoint is furthest: the one that `resume` would
    take; None if there is none."""
    steps = (
        (verified_step(path / "checkpoints"), path) for _, path in folders(staging, artifact_id)
    )
    return max(((step, path) for step, path in steps if step is not None), default=(0, None))[1]


def resume(staging: Path, artifact_id: str, into: Path) -> bool:
    """Copy `checkpoints/` and `facts/` of the most advanced earlier attempt whose checkpoint can be
    verified into the folder `into`.

    The copy is verified, not the original, which a living process may be replacing. Returns whether
    there was one.
    """
    claims = [
        (_entries(path / "checkpoints"), path)
        for _, path in folders(staging, artifact_id)
        if path != into
    ]
    ranked = sorted(
        ((max(entry["step"] for entry in entries), path) for entries, path in claims if entries),
        reverse=True,
    )
    for _, source in ranked:
        for _again in range(3):
            # cleared away, or replaced, while we copied
            with contextlib.suppress(FileNotFoundError):
                disk.copy_files(source / "checkpoints", into / "checkpoints")
                if verified_step(into / "checkpoints") is not None:
                    if (source / "facts").is_dir():
                        disk.copy_files(source / "facts", into / "facts")
                    return True
            disk.remove_tree(into / "checkpoints")
            if not is_live(staging, artifact_id, number_of(source.name)):
                break
    return False
