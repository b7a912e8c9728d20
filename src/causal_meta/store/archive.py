"""Artifacts in one file: a tar archive that another store imports completely or not at all.

Members, in this order and no others, all plain files: `archive.sha256`, the SHA-256 of the next
one; `archive.json`, {"format", "artifacts": [id, …], "names": {name: id}, "files": {path: [bytes,
SHA-256]}}; then exactly these files, `<id>/<path in the artifact's folder>`. Two zero blocks end
it. Headers hold name and size only, so the same artifacts always give the same bytes, and a reader
that compares every header with the one it would write detects any changed byte. Every tar program
can read it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from causal_meta.store import disk, transfer
from causal_meta.store.artifact import Artifact
from causal_meta.store.key import StoreError, check_name, is_id
from causal_meta.store.shelf import Shelf

FORMAT = "causal_meta archive 1"
SEAL, MANIFEST = "archive.sha256", "archive.json"
LARGEST_MANIFEST = 64 << 20  # bytes
_BLOCK, _CHUNK = 512, 1 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r'[^/\\\x00-\x1f\x7f:*?"<>|]{1,255}')


def closure(
    store: Shelf, chosen: Sequence[Artifact], *, runs: bool = False, inputs: bool = False
) -> list[Artifact]:
    """`chosen`, plus the runs of its targets if `runs`, plus the inputs of all these if `inputs`;
    each once, targets before runs.

    Raises `StoreError` if such an input is no longer in the store.
    """
    collected: dict[str, Artifact] = {}

    def take(artifact: Artifact) -> None:
        if artifact.id not in collected:
            collected[artifact.id] = artifact
            for other in store.inputs_of(artifact).values() if inputs else ():
                take(other)

    for artifact in chosen:
        take(artifact)
        for run in store.runs_of(artifact) if runs and artifact.is_target else ():
            take(run)
    return sorted(collected.values(), key=lambda artifact: not artifact.is_target)


# ---------------------------------------------------------------------------------------------- tar


def header(name: str, size: int) -> bytes:
    """The tar header (POSIX ustar, with a pax record where ustar has no room) of a plain file;
    depends on nothing else."""
    records = b""
    if len(name.encode("utf-8")) > 100 or not name.isascii():
        records += _record(f"path={name}")
    if size >= 8**11:
        records += _record(f"size={size}")
    block = _ustar(name.encode("ascii", "replace")[:100], size if size < 8**11 else 0, b"0")
    return (
        _ustar(b"pax", len(records), b"x") + records + _padding(len(records)) if records else b""
    ) + block


def _record(text: str) -> bytes:
    """A pax record "<length> key=value", whose length counts its own digits."""
    length = len(text.encode("utf-8")) + 2
    while length != (total := len(text.encode("utf-8")) + 2 + len(str(length))):
        length = total
    return f"{length} {text}\n".encode()


def _ustar(name: bytes, size: int, kind: bytes) -> bytes:
    fields = [
        name.ljust(100, b"\0"),
        b"0000644\0",
        b"0000000\0" * 2,
        b"%011o\0" % size,
        b"00000000000\0",
        b" " * 8,
        kind,
        b"\0" * 100,
    ]
    block = b"".join([*fields, b"ustar\x0000"]).ljust(_BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _padding(size: int) -> bytes:
    return b"\0" * (-size % _BLOCK)


# ------------------------------------------------------------------------------------------ writing


def pack(store: Shelf, artifacts: Sequence[Artifact], file: Path) -> Path:
    """Write an archive of `artifacts` to the new `file`; returns it.

    Every artifact is checked first. The file appears whole: it is written under a temporary name
    and renamed at the end.
    """
    if os.path.lexists(file):
        raise StoreError(f"{file} exists; give a new file for the archive.")
    for artifact in artifacts:
        transfer.check_content(artifact)
    members = {
        f"{artifact.id}/{name}": path for artifact in artifacts for name, path in _files(artifact)
    }
    known = {artifact.id for artifact in artifacts}
    manifest = {
        "format": FORMAT,
        "artifacts": [artifact.id for artifact in artifacts],
        "names": {name: id_ for name, id_ in sorted(store.names().items()) if id_ in known},
        "files": {name: [path.stat().st_size, disk.sha256(path)] for name, path in members.items()},
    }
    _check_manifest(manifest, lambda why: StoreError(f"{file} cannot be written: {why}."))
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as out:
            _write(out, manifest, members)
            out.flush()
            os.fsync(out.fileno())
        _put(temporary, file)
    except FileExistsError:
        raise StoreError(f"{file} exists; give a new file for the archive.") from None
    except OSError as error:
        raise StoreError(
            f"The archive cannot be written to {file}: {(error.strerror or str(error)).lower()}; "
            "give another place."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    disk.sync_folder(file.parent)
    return file


def _files(artifact: Artifact) -> list[tuple[str, Path]]:
    return [*disk.results(artifact.folder), ("meta.json", artifact.folder / "meta.json")]


def _put(temporary: Path, file: Path) -> None:
    """Give the finished file its name, without replacing a file created meanwhile, where the system
    can prevent that."""
    try:
        os.link(temporary, file)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        os.rename(temporary, file)


def _write(out: BinaryIO, manifest: dict[str, Any], members: dict[str, Path]) -> None:
    text = json.dumps(manifest, indent=1).encode("ascii")
    for name, content in ((SEAL, _seal(text)), (MANIFEST, text)):
        out.write(header(name, len(content)) + content + _padding(len(content)))
    for name, path in members.items():
        size, digest = manifest["files"][name]
        out.write(header(name, size))
        with path.open("rb") as content_of:
            if _copy(content_of, out, size) != digest:
                raise StoreError(
                    f"{path} changed while it was packed; verify the artifact and try again."
                )
        out.write(_padding(size))
    out.write(b"\0" * 2 * _BLOCK)


def _seal(manifest: bytes) -> bytes:
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode("ascii")


def _copy(source: BinaryIO, out: BinaryIO, size: int) -> str:
    """Copy `size` bytes, or as many as there are; returns their digest."""
    digest = hashlib.sha256()
    while size and (block := source.read(min(size, _CHUNK))):
        out.write(block)
        digest.update(block)
        size -= len(block)
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------ reading

Refusal = Callable[[str], StoreError]


def unpack(file: Path, into: Path, *, largest: int) -> tuple[list[Path], dict[str, str]]:
    """Check an archive and write its artifacts into the empty folder `into`: their folders in the
    archive's order, and the names they had.

    Raises `StoreError` in one sentence for anything that is not, byte for byte, an archive of plain
    files with plain relative paths inside its artifacts, with the digests that it lists, of at most
    `largest` bytes together. Nothing is written before the list is checked.
    """

    def refused(why: str) -> StoreError:
        return StoreError(f"{file} is refused: {why}.")

    try:
        raw = file.open("rb")
    except OSError as error:
        raise StoreError(
            f"{file} cannot be read: {(error.strerror or str(error)).lower()}."
        ) from None
    with raw:
        manifest = _manifest(raw, refused)
        total = sum(size for size, _ in manifest["files"].values())
        if total > largest:
            raise refused(f"it would take {total:,} bytes and {largest:,} are free or allowed")
        for name, (size, digest) in manifest["files"].items():
            _expect(raw, name, size, refused)
            goal = into / name
            goal.parent.mkdir(parents=True, exist_ok=True)
            with goal.open("xb") as out:
                copied = _copy(raw, out, size)
            if copied != digest or raw.read(-size % _BLOCK) != _padding(size):
                raise refused(f"{name} is changed or cut off")
        if raw.read(2 * _BLOCK) != b"\0" * 2 * _BLOCK or raw.read(1):
            raise refused("it does not end where its list of files ends")
    return [into / artifact_id for artifact_id in manifest["artifacts"]], manifest["names"]


def _expect(raw: BinaryIO, name: str, size: int, refused: Refusal) -> None:
    """Read the header of a member and check that it is the expected one."""
    expected = header(name, size)
    actual = raw.read(len(expected))
    if actual == expected:
        return
    if len(actual) < len(expected):
        raise refused(f"it is cut off before {name}")
    if actual[156:157] not in (b"0", b"\0", b"x"):
        raise refused(f"where {name} should be it holds a link, folder or special file")
    raise refused(f"where {name} should be it holds something else")


def _small(raw: BinaryIO, name: str, refused: Refusal) -> bytes:
    """The content of one of the first two members."""
    head = raw.read(_BLOCK)
    digits = head[124:135]
    size = int(digits, 8) if re.fullmatch(rb"[0-7]{11}", digits) else -1
    if size < 0 or head != header(name, size):
        raise refused(
            f"{name} is not where it should be, so this is not an archive of artifacts, or it is "
            "damaged"
        )
    if size > LARGEST_MANIFEST:
        raise refused(f"its {name} is larger than {LARGEST_MANIFEST:,} bytes")
    content = raw.read(size)
    if len(content) != size or raw.read(-size % _BLOCK) != _padding(size):
        raise refused(f"{name} is changed or cut off")
    return content


def _manifest(raw: BinaryIO, refused: Refusal) -> dict[str, Any]:
    seal, text = _small(raw, SEAL, refused), _small(raw, MANIFEST, refused)
    if seal != _seal(text):
        raise refused(f"{SEAL} or {MANIFEST} is changed")
    try:
        tree = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise refused(f"{MANIFEST} cannot be read")
    if tree.get("format") != FORMAT:
        raise refused(
            f"its format is {str(tree.get('format'))[:80]!r} and this causal_meta reads {FORMAT!r}"
        )
    _check_manifest(tree, refused)
    return tree


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("a key occurs twice")
    return tree


def _check_manifest(tree: dict[str, Any], refused: Refusal) -> None:
    """Raise unless ids, names, paths, sizes and digests are valid, and no two paths can coincide on
    any file system."""
    ids, names, files = tree.get("artifacts"), tree.get("names"), tree.get("files")
    if (
        not isinstance(ids, list)
        or not ids
        or not all(isinstance(artifact_id, str) and is_id(artifact_id) for artifact_id in ids)
        or len(set(ids)) != len(ids)
    ):
        raise refused("its artifacts are not a list of different ids")
    if not isinstance(names, dict) or not isinstance(files, dict):
        raise refused("it lists no names or no files")
    for name, artifact_id in names.items():
        try:
            check_name(name)
        except StoreError as error:
            raise refused(str(error).rstrip(".")) from None
        if artifact_id not in ids:
            raise refused(f"its name {name!r} refers to no artifact in it")
    taken: set[str] = set()
    for name, entry in files.items():
        _check_path(name, ids, refused)
        if (
            not isinstance(entry, list)
            or len(entry) != 2
            or type(entry[0]) is not int
            or entry[0] < 0
            or not _is_digest(entry[1])
        ):
            raise refused(f"it lacks the length or the digest of {name}")
        taken.add(name.casefold())
    if len(taken) != len(files) or any(
        parent in taken for name in taken for parent in _parents(name)
    ):
        raise refused("two of its paths lead to the same place")


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:length]) for length in range(1, len(parts))]


def _check_path(name: str, ids: Sequence[str], refused: Refusal) -> None:
    parts = name.split("/")
    if (
        len(parts) < 2
        or parts[0] not in ids
        or not all(_PART.fullmatch(part) and part not in (".", "..") for part in parts)
    ):
        raise refused(f"{name[:80]!r} is not the path of a file inside one of its artifacts")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise refused(f"{name[:80]!a} cannot be the name of a file") from None
