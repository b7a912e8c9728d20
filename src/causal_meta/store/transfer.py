"""Export to a folder, and installation of such a folder in another store."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from causal_meta.store import attempts, catalog, disk
from causal_meta.store.artifact import Artifact, artifact_digest, read_artifact, stored_key
from causal_meta.store.key import StoreError
from causal_meta.store.shelf import Shelf


def export(artifact: Artifact, folder: Path) -> Path:
    """Copy the results, `config.yaml`, facts and `meta.json` of an artifact into the new or empty
    `folder`; returns it."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} exists and is not empty; give a new folder for the export.")
    check_content(artifact)
    with disk.disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _copy(artifact.folder, folder)
    return folder


def _copy(source: Path, destination: Path) -> None:
    for relative, path in disk.results(source):
        goal = destination / relative
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, goal, follow_symlinks=False)
        disk.sync_file(goal)
    shutil.copyfile(source / "meta.json", destination / "meta.json")
    disk.sync_file(destination / "meta.json")


def check_content(artifact: Artifact) -> None:
    """Raise `StoreError` unless the files are those that were published and the id is that of the
    configuration."""
    wrong = [*changed_files(artifact), *changed_id(artifact)]
    if wrong:
        raise StoreError(f"{artifact.folder} cannot be used: {'; '.join(wrong)}.")


def changed_files(artifact: Artifact) -> list[str]:
    """Descriptions of files that are missing, changed or extra compared with the digests in
    `meta.json`."""
    try:
        actual = disk.digests(artifact.folder)
    except (StoreError, OSError) as error:
        return [str(error).rstrip(".")]
    known = artifact.meta["digests"]
    return [
        *(f"{path} is missing" for path in sorted(known.keys() - actual.keys())),
        *(
            f"{path} is changed"
            for path in sorted(known.keys() & actual.keys())
            if known[path] != actual[path]
        ),
        *(f"{path} is extra" for path in sorted(actual.keys() - known.keys())),
    ]


def changed_id(artifact: Artifact) -> list[str]:
    """A description of an id that does not follow from the configuration and the inputs, if so."""
    try:
        computed = stored_key(artifact).id
    except (ValueError, TypeError) as error:
        return [str(error).rstrip(".")]
    return (
        []
        if computed == artifact.id
        else [f"its id should be {computed} by its configuration and inputs"]
    )


@contextlib.contextmanager
def draft(staging: Path) -> Iterator[Path]:
    """A folder `import-<uuid>` in the staging area, gone at the end; the lock `import-<uuid>.lock`
    is held as long as it is in use."""
    folder = staging / f"import-{uuid.uuid4().hex}"
    lock = folder.with_suffix(".lock")
    staging.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        disk.try_lock(descriptor)
        folder.mkdir()
        yield folder
    finally:
        disk.remove_tree(folder)
        with contextlib.suppress(OSError):
            lock.unlink()
        os.close(descriptor)


def install(store: Shelf, staging: Path, folder: Path) -> Artifact:
    """Install the exported artifact in `folder` in `store`; an existing one with the same content
    is returned."""
    source = read_artifact(folder)
    check_content(source)
    place = (
        store.root
        / "targets"
        / (source.id if source.is_target else f"{source.inputs['of']}/{source.id}")
    )
    present = store.folder_of(source.id)
    if present is not None:
        return check_same(store.find(source.id), source)
    if not source.is_target and not place.parent.is_dir():
        raise StoreError(
            f"{source.id} is a run on {source.inputs['of']}, which is not in the store "
            f"{store.root}; install that first."
        )
    with draft(staging) as folder_of_copy:
        copy = folder_of_copy / source.id
        copy.mkdir()
        _copy(folder, copy)
        check_content(read_artifact(copy))
        place.parent.mkdir(parents=True, exist_ok=True)
        published = disk.rename_new(copy, place)
    attempts.clear(staging, source.id)
    if published:
        disk.sync_folder(place.parent)
        catalog.add(store.find(source.id), store.root)
    return check_same(store.find(source.id), source)


def check_same(present: Artifact, source: Artifact) -> Artifact:
    """Return `present`, or raise `StoreError` if the artifact of the same id to be imported has
    other content."""
    if artifact_digest(present) != artifact_digest(source):
        raise StoreError(
            f"{source.id} is in the store already with other content; delete that one, or use it."
        )
    return present
