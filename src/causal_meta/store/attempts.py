"""Attempts at building an artifact: every builder works in its own folder, and resumes from the
newest checkpoint that can be verified.

`.staging/<id>/attempt-<n>-<uuid>/` is the folder; `.staging/<id>/attempt-<n>.lock` is held as long
as its process runs. Correctness does not depend on the lock: it only says which attempts to wait
for and which leftovers to remove. The store is correct because folders are never shared and
publication is a single rename, in which the first one wins.

On a network file system. Whether an attempt is alive is judged by its lock and by its heartbeat:
the modification times of its folder and facts. They are compared with that of a file touched at
that moment on the same disk, so the clocks of the machines may differ where the server sets times
(NFS). If the times differ all the same, a builder that seems to have written in the future is
waited for until nothing has changed for `patience` seconds; one that seems to have written long ago
is not waited for, which costs doubled work and nothing else. Where locks do not reach other
machines (NFS mounted with nolock, some cluster file systems), a living builder elsewhere seems
dead: again work may be done twice, and the later one to publish takes the artifact of the first.
Where locks fail altogether every attempt seems alive, and is waited for as long as its heartbeat is
fresh. The disk must rename a folder in one step for all machines, and a file that was written and
closed must be complete when it is opened afterwards, as NFS promises. `clear` removes nothing of an
attempt whose lock is held; where it cannot see a lock, a builder elsewhere may fail and be
repeated.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from causal_meta.facts import Facts
from causal_meta.store import checkpoints, disk
from causal_meta.store.artifact import Artifact
from causal_meta.store.checkpoints import Form

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FOLDER = re.compile(r"attempt-(\d+)-[0-9a-f]{32}")


@dataclass
class Attempt:
    """One try at building an artifact: where the builder works and what it works with.

    `folder` takes the results, `inputs` holds the artifacts by role, `resumed` says that
    `checkpoints/` holds a verified checkpoint of an earlier attempt, `options` carries what cannot
    change the result (a table's path, a progress bar).

    A long-running builder calls `load` first and `save` regularly; the next attempt after a killed
    build then resumes from the state saved last. `store.checkpoints` lists the forms of a state.
    """

    folder: Path
    artifact_id: str
    number: int
    inputs: dict[str, Artifact]
    facts: Facts
    resumed: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    _saved: float = field(default_factory=time.monotonic, repr=False)

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints; it need not exist."""
        return self.folder / "checkpoints"

    @overload
    def load(self, form: Literal["tensors"]) -> dict[str, Any] | None: ...
    @overload
    def load(self, form: Literal["arrays"]) -> dict[str, NDArray[Any]] | None: ...
    @overload
    def load(self, form: Literal["record"]) -> Any: ...
    def load(self, form: Form) -> Any:
        """The state that was saved last, by this attempt or the one it continues; None if there is
        none of this form, so that the work starts from the beginning."""
        return checkpoints.read(self.checkpoints, form)

    def save(self, state: Any, step: int, form: Form) -> None:
        """Replace the saved state, whole and durably, and record the event `on_checkpoint`.

        Args:
            state: a dictionary of tensors and plain values ("tensors"), a dictionary of arrays
                ("arrays"), or plain values ("record").
            step: the amount of work done; the attempt with the largest step is resumed.
            form: how the state is stored.
        """
        entry = checkpoints.write(self.checkpoints, state, step, form)
        self.facts.event(
            "on_checkpoint",
            step=entry.step,
            path=f"{self.checkpoints.name}/{entry.file}",
            digest=entry.sha256,
        )
        self._saved = time.monotonic()

    def seconds_since_save(self) -> float:
        """Seconds since the last `save`, or since the attempt started."""
        return time.monotonic() - self._saved

    def save_final(self, state: dict[str, Any], step: int) -> None:
        """Replace the saved state by tensors that are published with the artifact. No trace of
        earlier states is left, so the files depend on `state` and `step` alone."""
        entry = checkpoints.write(self.checkpoints, state, step, "tensors")
        checkpoints.forget_previous(self.checkpoints, entry)

    def discard_checkpoints(self) -> None:
        """Remove the checkpoints of a build that is complete and publishes none."""
        disk.remove_tree(self.checkpoints)


def reserve(staging: Path, artifact_id: str, patience: float = 0.0) -> tuple[Path, int, int] | None:
    """Make the folder of a new attempt under `staging`/<id>; returns it, its number and the
    descriptor of its held lock.

    None if another attempt is alive: its lock is held and its heartbeat is less than `patience`
    seconds old.
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
    match = re.match(r"attempt-(\d+)[-.]", name)
    return int(match.group(1)) if match else 0


def _lock_file(home: Path, number: int) -> Path:
    return home / f"attempt-{number}.lock"


def folders(staging: Path, artifact_id: str) -> list[tuple[int, Path]]:
    """Number and folder of every attempt at an artifact, oldest first."""
    matches = ((_FOLDER.fullmatch(path.name), path) for path in disk.entries(staging / artifact_id))
    return sorted(
        (int(match.group(1)), path) for match, path in matches if match and not path.is_symlink()
    )


def is_live(staging: Path, artifact_id: str, number: int) -> bool:
    """Whether the process of an attempt seems to be running: its lock cannot be taken."""
    return disk.is_held(_lock_file(staging / artifact_id, number))


def heartbeat(folder: Path) -> float:
    """The time, by the clock of the disk, at which an attempt started or last wrote a fact."""
    beats = [0.0]
    for path in (folder, folder / "facts" / "events.jsonl", folder / "facts" / "scalars.csv"):
        with contextlib.suppress(OSError):
            beats.append(path.stat().st_mtime)
    return max(beats)


def seconds_silent(folder: Path, now: float) -> float:
    """Seconds since an attempt started or last wrote a fact."""
    return now - heartbeat(folder)


def heartbeats(staging: Path, artifact_id: str) -> list[float]:
    """The heartbeat of every attempt at an artifact, to be compared with an earlier result."""
    return [heartbeat(path) for _, path in folders(staging, artifact_id)]


def busy(staging: Path, artifact_id: str, patience: float, now: float | None = None) -> bool:
    """Whether an attempt at the artifact is alive: its lock is held and its heartbeat is less than
    `patience` seconds before `now` (None: the clock of this machine)."""
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


def most_advanced(staging: Path, artifact_id: str) -> Path | None:
    """The folder of the attempt whose verified checkpoint is the most advanced, which `resume`
    would use; None if there is none."""
    paths = [path for _, path in folders(staging, artifact_id)]
    steps = ((checkpoints.verified_step(path / "checkpoints"), path) for path in paths)
    return max(((step, path) for step, path in steps if step is not None), default=(0, None))[1]


def resume(staging: Path, artifact_id: str, into: Path) -> bool:
    """Copy `checkpoints/` and `facts/` of the most advanced earlier attempt whose checkpoint can be
    verified into the folder `into`.

    The copy is verified, not the original, which a living process may be replacing. Returns whether
    there was one.
    """
    claims = [
        (checkpoints.entries(path / "checkpoints"), path)
        for _, path in folders(staging, artifact_id)
        if path != into
    ]
    ranked = sorted(
        ((max(entry.step for entry in entries), path) for entries, path in claims if entries),
        reverse=True,
    )
    for _, source in ranked:
        for _again in range(3):
            # removed or replaced during the copy
            with contextlib.suppress(FileNotFoundError):
                disk.copy_files(source / "checkpoints", into / "checkpoints")
                if checkpoints.verified_step(into / "checkpoints") is not None:
                    if (source / "facts").is_dir():
                        disk.copy_files(source / "facts", into / "facts")
                    return True
            disk.remove_tree(into / "checkpoints")
            if not is_live(staging, artifact_id, number_of(source.name)):
                break
    return False
