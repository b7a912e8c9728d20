"""Files: atomic writing, locks, digests, copies that follow no links, and disk errors in one
sentence."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from causal_meta.facts.write import append_text
from causal_meta.store.key import StoreError

try:
    import fcntl
# not on Windows: there the lock is a no-op, and publication by rename alone keeps the store right
except ImportError:
    fcntl = None  # type: ignore[assignment]

_FULL = ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO")
_REFUSED = ("EACCES", "EPERM")
_IN_THE_WAY = ("ENOTDIR", "EISDIR", "EEXIST", "ENAMETOOLONG", "ELOOP", "EXDEV")

# Parts of an artifact's folder that can be made again from the rest.
DERIVED_FOLDERS = ("figures", "diagnostics")
DERIVED_FILES = ("_runs.jsonl",)


@contextlib.contextmanager
def disk_errors(root: Path) -> Iterator[None]:
    """Turn an `OSError` of the disk under `root` (full, read-only, a file where a folder should be)
    into a `StoreError` of one sentence."""
    try:
        yield
    except OSError as error:
        if not is_disk_error(error, root):
            raise
        raise StoreError(disk_sentence(error, root)) from error


def is_disk_error(error: BaseException, root: Path, *, ours: bool = True) -> bool:
    """Whether `error` is a disk error under `root`: it has an error number of disks and names a
    file under `root` (or none, if the disk is full).

    `ours`: the error comes from writing by the store itself; then a file in the place of a folder
    counts too.
    """
    if not isinstance(error, OSError):
        return False
    name = errno.errorcode.get(error.errno or 0, "")
    if error.filename is None or isinstance(error.filename, int):
        return name in _FULL
    if name not in (*_FULL, *_REFUSED, *(_IN_THE_WAY if ours else ())):
        return False
    named, top = os.path.abspath(os.fsdecode(error.filename)), os.path.abspath(root)
    return named == top or named.startswith(top + os.sep) or top.startswith(named + os.sep)


def disk_sentence(error: OSError, root: Path) -> str:
    """The sentence for the user about a disk error under `root`."""
    where = ""
    if isinstance(error.filename, str | bytes | os.PathLike):
        where = f" ({os.path.relpath(os.fsdecode(error.filename), root)})"
    reason = (error.strerror or str(error)).lower()
    return (
        f"The store {root} cannot be used: {reason}{where}; free or repair the disk, or choose "
        "another store with --store; nothing was lost."
    )


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, made if absent, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file if no process holds it; False if one does, or if locks are not
    available."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def is_held(lock: Path) -> bool:
    """Whether a living process holds the lock file; not if there is none."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except OSError:
        return False
    try:
        return not try_lock(descriptor)
    finally:
        os.close(descriptor)


def clock(file: Path) -> float:
    """The time by the clock of the file system, which on a network may be another machine's: `file`
    is touched and its time is read."""
    try:
        os.utime(file)
        return os.stat(file).st_mtime
    except OSError:
        return time.time()


def sync_folder(folder: Path) -> None:
    """Flush the names in `folder` to the disk, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_file(path: Path) -> None:
    """Flush the bytes of `path` to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, text: str, *, drafts: Path | None = None) -> None:
    """Replace the content of `path` by `text` atomically: a reader sees the old or the new content.

    The new content is first a file `.<name>.<uuid>.tmp` in `drafts`, a folder on the same file
    system, or beside `path`.
    """
    if drafts is not None:
        drafts.mkdir(parents=True, exist_ok=True)
    temporary = (drafts or path.parent) / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line under a lock; a torn line left by a crash is closed first, so that it
    spoils no other."""
    append_text(path, json.dumps(record, allow_nan=False) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file of lines; other lines (torn by a crash) are skipped, since such
    files can be rebuilt."""
    records = []
    try:
        text = path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    for line in text.splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            record = json.loads(line)
            if isinstance(record, dict):
                records.append(record)
    return records


def torn_lines(path: Path) -> list[int]:
    """The numbers of the lines that `read_lines` skips, from 1; none for a missing file."""
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [number for number, line in enumerate(lines, 1) if line.strip() and not _is_object(line)]


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except json.JSONDecodeError:
        return False


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def results(folder: Path) -> Iterator[tuple[str, Path]]:
    """Relative path and path of every result file in an artifact's folder, sorted; not the derived
    parts, the runs in it or `meta.json`.

    Raises `StoreError` at a link or anything else that is not a plain file or folder.
    """
    yield from _walk(folder, folder)


def _walk(folder: Path, top: Path) -> Iterator[tuple[str, Path]]:
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        path = Path(entry.path)
        relative = path.relative_to(top).as_posix()
        if folder == top and (
            entry.name in ("meta.json", *DERIVED_FILES)
            or (entry.is_dir() and _is_derived(entry.name))
        ):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, top)
        elif entry.is_file(follow_symlinks=False):
            yield relative, path
        else:
            raise StoreError(
                f"{top.name} holds {relative}, which is not a plain file; an artifact consists of "
                "plain files."
            )


def _is_derived(name: str) -> bool:
    return name in DERIVED_FOLDERS or name.startswith("run_")


def digests(folder: Path, *, sync: bool = False) -> dict[str, str]:
    """Relative path -> SHA-256 of every result file in `folder`; with `sync` each is flushed to the
    disk first."""
    by_path = {}
    for relative, path in results(folder):
        if sync:
            sync_file(path)
        by_path[relative] = sha256(path)
    return by_path


def entries(folder: Path) -> list[Path]:
    """The entries of a folder, by name; none if there is no such folder, or if another process has
    just removed it."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def copy_files(source: Path, destination: Path) -> None:
    """Copy the plain files and folders in `source` (no links, nothing named *.tmp) into
    `destination`."""
    destination.mkdir(parents=True, exist_ok=True)
    with os.scandir(source) as entries:
        listed = list(entries)
    for entry in listed:
        if entry.is_dir(follow_symlinks=False):
            copy_files(Path(entry.path), destination / entry.name)
        elif entry.is_file(follow_symlinks=False) and not entry.name.endswith(".tmp"):
            shutil.copyfile(entry.path, destination / entry.name, follow_symlinks=False)


def remove_tree(folder: Path) -> None:
    """Remove a folder; what cannot be removed stays (in the staging area it does no harm)."""
    shutil.rmtree(folder, ignore_errors=True)


def write_json(path: Path, tree: Any) -> None:
    """Write a JSON file and flush it to the disk."""
    write_atomic(path, json.dumps(tree, indent=1, allow_nan=False) + "\n")


def rename_new(source: Path, destination: Path) -> bool:
    """Rename the folder `source` to `destination` unless that exists; False if it does, or if its
    parent does not."""
    try:
        os.rename(source, destination)
    except OSError as error:
        if (
            error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.ENOENT)
            and source.is_dir()
        ):
            return False
        raise
    return True


def probe(folder: Path, root: Path, error: BaseException) -> None:
    """Raise a `StoreError` in place of `error` if it is a disk error, or if the disk cannot take
    another file.

    Libraries report a full disk in various ways.
    """
    if is_disk_error(error, root, ours=False):
        raise StoreError(disk_sentence(error, root)) from error  # type: ignore[arg-type]
    path = folder / f".probe-{uuid.uuid4().hex}.tmp"
    try:
        path.write_bytes(bytes(65536))
    except OSError as full:
        if is_disk_error(full, root):
            raise StoreError(disk_sentence(full, root)) from error
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
