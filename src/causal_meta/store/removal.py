"""Removal of artifacts that a user names, and of leftovers that nothing needs.

Nothing is deleted in place. A folder is first renamed into `.staging/trash/`, which is atomic, and
then deleted there. What a crash leaves in the trash is deleted at the next sweep.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from causal_meta.store import attempts, catalog, disk
from causal_meta.store.artifact import Artifact, runs_in
from causal_meta.store.key import TARGET_ID, StoreError, is_id
from causal_meta.store.shelf import Shelf

TRASH = "trash"


def _discard(store: Shelf, staging: Path, folder: Path) -> Path | None:
    """Rename something in the store into the trash; returns its new path, None if it no longer
    exists."""
    store.refuse_links(folder.parent)
    store.refuse_links(staging)
    goal = staging / TRASH / f"{uuid.uuid4().hex}-{folder.name}"
    goal.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.rename(folder, goal)
    except FileNotFoundError:
        return None
    disk.sync_folder(folder.parent)
    return goal


def _empty(path: Path | None) -> None:
    if path is None:
        return
    if path.is_dir() and not path.is_symlink():
        disk.remove_tree(path)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


# ----------------------------------------------------------------------------------------------- rm


@dataclass(frozen=True)
class Removal:
    """A planned removal: `folders`, the ids in them (a target's runs are removed with it), and the
    ids that `depend` on these and are kept."""

    folders: tuple[Path, ...]
    ids: frozenset[str]
    depend: dict[str, tuple[str, ...]]


def plan(store: Shelf, tokens: Sequence[str]) -> Removal:
    """The removal of the artifacts that `tokens` mean, readable or not; changes nothing. Raises
    `StoreError` for an unknown one."""
    chosen = list(dict.fromkeys(store.locate(token) for token in tokens))
    for folder in chosen:
        store.refuse_links(folder)
    folders = tuple(folder for folder in chosen if folder.parent not in chosen)
    ids = frozenset(path.name for folder in folders for path in (folder, *_runs(folder)))
    depend = {
        artifact.id: tuple(sorted({*artifact.inputs.values()} & ids))
        for artifact in store.artifacts()
        if artifact.id not in ids and not ids.isdisjoint(artifact.inputs.values())
    }
    return Removal(folders, ids, depend)


def _runs(folder: Path) -> list[Path]:
    return runs_in(folder) if TARGET_ID.fullmatch(folder.name) else []


def remove(store: Shelf, staging: Path, removal: Removal, *, force: bool = False) -> None:
    """Carry out a removal, of names and lines in the catalog too.

    Raises `StoreError` without touching anything if there are runs in a target that were not chosen
    themselves, or artifacts elsewhere that depend on it, unless `force`; also if a run was
    published into a target meanwhile.
    """
    inside = sorted(removal.ids - {folder.name for folder in removal.folders})
    if (inside or removal.depend) and not force:
        going = _listed(sorted(folder.name for folder in removal.folders))
        raise StoreError(
            f"{going} cannot be removed: {_why(removal, inside)}; remove those first, "
            "or give --force."
        )
    gone: dict[Path, Path | None] = {}
    try:
        for folder in removal.folders:
            trashed = _discard(store, staging, folder)
            late = sorted({path.name for path in _runs_of_trashed(trashed, folder)} - removal.ids)
            if trashed is not None and late and disk.rename_new(trashed, folder):
                raise StoreError(
                    f"{_listed(late)} was published in {folder.name} meanwhile, so that was not "
                    "removed; run the command again."
                )
            gone[folder] = trashed
    finally:
        forget(
            store,
            tuple(gone),
            {
                path.name
                for folder, place in gone.items()
                for path in (folder, *_runs_of_trashed(place, folder))
            },
        )
        for trashed in gone.values():
            _empty(trashed)


def _runs_of_trashed(trashed: Path | None, folder: Path) -> list[Path]:
    return [] if trashed is None or not TARGET_ID.fullmatch(folder.name) else runs_in(trashed)


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(ids) if len(ids) <= 5 else f"{', '.join(ids[:5])} and {len(ids) - 5} more"


def _why(removal: Removal, inside: Sequence[str]) -> str:
    reasons = []
    if inside:
        reasons.append(f"{_listed(inside)} {'is' if len(inside) == 1 else 'are'} in it")
    if removal.depend:
        reasons.append(
            f"{_listed(sorted(removal.depend))} {'was' if len(removal.depend) == 1 else 'were'} "
            "made from it"
        )
    return " and ".join(reasons)


def forget(store: Shelf, folders: Sequence[Path], ids: set[str]) -> None:
    """Remove the names, links and catalog lines of artifacts that have been removed."""
    for name in catalog.unname(store.root, ids):
        catalog.unview(store.root, name)
    if any(TARGET_ID.fullmatch(folder.name) for folder in folders):
        path = store.root / "targets" / catalog.CATALOG
        catalog.write_lines(
            store.root,
            path,
            [line for line in catalog.read_lines(store.root) if line["target_id"] not in ids],
        )
    for parent in {folder.parent for folder in folders if not TARGET_ID.fullmatch(folder.name)}:
        path = parent / catalog.RUNS
        lines = [line for line in disk.read_lines(path) if "created_at" in line]
        kept = [
            line
            for line in lines
            if str(line.get("artifact_path", "")).rpartition("/")[2] not in ids
        ]
        if parent.is_dir() and kept != lines:
            catalog.write_lines(store.root, path, kept)


# ----------------------------------------------------------------------------------------------- gc


@dataclass(frozen=True)
class Leftover:
    """A leftover that nothing needs: its place, the reason why it can be removed, and its size in
    bytes.

    `kind`: `staging` and `view` are safe to remove; `work` is an attempt that the next build would
    resume; `orphan` is a run whose input is no longer in the store, or a folder without a record
    among the artifacts.
    """

    path: Path
    kind: str
    reason: str
    size: int


def leftovers(store: Shelf, staging: Path, *, idle: float = 3600.0) -> list[Leftover]:
    """The leftovers that can be removed, without those that hold their lock or were written to
    within `idle` seconds."""
    now = disk.clock(staging / "lock")
    items = [
        *_staged(store, staging, idle, now),
        *_drafts(store, idle, now),
        *_views(store),
        *_orphans(store),
    ]
    return [Leftover(path, kind, reason, _size(path)) for path, kind, reason in items]


def sweep(
    store: Shelf, staging: Path, chosen: Iterable[Leftover], *, idle: float = 3600.0
) -> list[Leftover]:
    """Remove leftovers, each checked again first (under the lock under which attempts start);
    returns those that were removed."""
    removed = []
    with disk.locked(staging / "lock"):
        still = {(item.path, item.kind) for item in leftovers(store, staging, idle=idle)}
        trashed = []
        for item in chosen:
            if (item.path, item.kind) in still:
                place = (
                    item.path
                    if item.path.parent == staging / TRASH
                    else _discard(store, staging, item.path)
                )
                trashed.append(place)
                removed.append(item)
        for home in _homes(staging):
            _tidy(staging, home)
    for place in trashed:
        _empty(place)
    return removed


Item = tuple[Path, str, str]


def _homes(staging: Path) -> list[Path]:
    return [
        path
        for path in disk.entries(staging)
        if is_id(path.name) and not path.is_symlink() and path.is_dir()
    ]


def _tidy(staging: Path, home: Path) -> None:
    """Remove the locks of dead attempts whose folders no longer exist, and the folder of an
    artifact if it is empty."""
    numbers = {number for number, _ in attempts.folders(staging, home.name)}
    for path in disk.entries(home):
        number = attempts.number_of(path.name)
        if (
            path.suffix == ".lock"
            and number not in numbers
            and not attempts.is_live(staging, home.name, number)
        ):
            path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        home.rmdir()


def _staged(store: Shelf, staging: Path, idle: float, now: float) -> Iterator[Item]:
    if not staging.is_dir() or staging.is_symlink():
        return
    for path in disk.entries(staging / TRASH):
        yield path, "staging", "was removed before"
    for path in sorted(
        [
            *disk.entries(staging),
            *store.root.glob(".*.tmp"),
            *(store.root / "targets").glob(".*.tmp"),
        ]
    ):
        if path.name.startswith(".") and path.suffix == ".tmp" and _silent(path, now) >= idle:
            yield path, "staging", "an unfinished file"
        is_import = path.name.startswith("import-") and path.is_dir() and not path.is_symlink()
        if is_import and _silent(path, now) >= idle and not disk.is_held(path.with_suffix(".lock")):
            yield path, "staging", "an interrupted import"
    for home in _homes(staging):
        published = store.folder_of(home.name) is not None
        best = None if published else attempts.most_advanced(staging, home.name)
        for number, path in attempts.folders(staging, home.name):
            if (
                attempts.is_live(staging, home.name, number)
                or attempts.seconds_silent(path, now) < idle
            ):
                continue
            if path == best:
                yield (
                    path,
                    "work",
                    "an interrupted attempt with a checkpoint, which building it again resumes",
                )
            else:
                yield (
                    path,
                    "staging",
                    "an interrupted attempt" + (" at what is published now" if published else ""),
                )
        for path in disk.entries(home):
            if path.name.startswith("stale-") and _silent(path, now) >= idle:
                yield path, "staging", "was replaced"


def _silent(folder: Path, now: float) -> float:
    """Seconds since a file, or anything in a folder, was written."""
    beats = [0.0]
    with contextlib.suppress(OSError):
        beats.append(os.lstat(folder).st_mtime)
    for top, _, names in os.walk(folder):
        for path in (top, *(os.path.join(top, name) for name in names)):
            with contextlib.suppress(OSError):
                beats.append(os.lstat(path).st_mtime)
    return now - max(beats)


def _drafts(store: Shelf, idle: float, now: float) -> Iterator[Item]:
    for path in sorted((store.root / "reports").glob(".draft-*")):
        if path.is_dir() and not path.is_symlink() and _silent(path, now) >= idle:
            yield path, "staging", "an unfinished report"


def _views(store: Shelf) -> Iterator[Item]:
    """Links in the folders by name whose target no longer exists."""
    for folder in sorted((store.root / "experiments").glob("*")):
        if folder.is_symlink() or not folder.is_dir():
            continue
        for path in sorted(
            (*disk.entries(folder), *folder.glob("results/*"), *folder.glob("inference/*"))
        ):
            if path.is_symlink() and not path.exists():
                yield path, "view", "a link whose target no longer exists"


def _orphans(store: Shelf) -> Iterator[Item]:
    there = {folder.name for folder in store.folders()}
    for folder in store.folders():
        if folder.is_symlink():
            continue
        try:
            artifact: Artifact = store.read(folder)
        except StoreError:
            if not (folder / "meta.json").exists() and not _runs(folder):
                yield folder, "orphan", "a folder without meta.json"
            continue
        lost = sorted({*artifact.inputs.values()} - there)
        # a target may have been installed without the one it was started from
        if lost and not artifact.is_target:
            yield folder, "orphan", f"made from {_listed(lost)}, no longer in the store"


def _size(path: Path) -> int:
    if path.is_symlink() or not path.is_dir():
        return 0
    total = 0
    for top, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(top, name)).st_size
    return total
