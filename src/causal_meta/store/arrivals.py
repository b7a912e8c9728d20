"""Importing an archive: it is checked as a whole in the staging area, then installed artifact by
artifact."""

from __future__ import annotations

import shutil
from pathlib import Path

from causal_meta.store import archive, transfer
from causal_meta.store.artifact import Artifact, read_artifact
from causal_meta.store.key import StoreError
from causal_meta.store.shelf import Shelf


def take(
    store: Shelf, staging: Path, file: Path, *, largest: int | None = None
) -> tuple[list[Artifact], dict[str, str]]:
    """Install the artifacts of an archive into `store`; returns them, and the names that they had
    (this function sets no names).

    The whole archive is checked, and every artifact against its digests, its id and what the store
    holds, before the first is published. Each is published whole; existing artifacts are kept, so
    an interrupted import can simply be repeated. `largest`: the most bytes that it may take; None
    is the free space of the store's disk.
    """
    if not file.is_file():
        raise StoreError(f"There is no archive {file}; give a file that `store export` wrote.")
    with transfer.draft(staging) as folder:
        free = shutil.disk_usage(folder).free
        folders, names = archive.unpack(
            file, folder, largest=free if largest is None else min(free, largest)
        )
        coming = {path.name for path in folders}
        sources = [_checked(store, path, coming) for path in folders]
        return [
            transfer.install(store, staging, source.folder)
            for source in sorted(sources, key=lambda source: not source.is_target)
        ], names


def _checked(store: Shelf, folder: Path, coming: set[str]) -> Artifact:
    source = read_artifact(folder)
    if source.id != folder.name:
        raise StoreError(
            f"{folder.name} in the archive claims to be {source.id}; it was altered, so get "
            "another copy."
        )
    transfer.check_content(source)
    present = store.folder_of(source.id)
    if present is not None:
        transfer.check_same(store.read(present), source)
    elif (
        not source.is_target
        and source.inputs["of"] not in coming
        and store.folder_of(source.inputs["of"]) is None
    ):
        raise StoreError(
            f"{source.id} is a run on {source.inputs['of']}, which is neither in the archive nor "
            f"in {store.root}; import that first."
        )
    return source
