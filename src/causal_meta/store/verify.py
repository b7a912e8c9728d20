"""Checks that the content of the store is what was published."""

from __future__ import annotations

from pathlib import Path

from causal_meta.store import disk, transfer
from causal_meta.store.artifact import Artifact, read_artifact, runs_in
from causal_meta.store.catalog import CATALOG, RUNS
from causal_meta.store.key import TARGET_ID, StoreError, is_id
from causal_meta.store.shelf import Shelf


def problems(store: Shelf, token: str | None = None) -> list[str]:
    """One sentence per problem, of the artifact `token` and the runs in it or of the whole store.

    Checked: `meta.json` can be read, id and folder agree and follow from configuration and
    inputs, every digest, files missing, changed or extra, runs whose inputs have changed (stale) or
    no longer exist, names without an artifact, and torn lines in the lists of targets and runs.
    """
    if token is None:
        folders, sentences = (
            store.folders(),
            [*_names(store), *_strangers(store), *_torn(store, store.root / "targets" / CATALOG)],
        )
    else:
        top = store.locate(token)
        folders, sentences = [top, *(runs_in(top) if TARGET_ID.fullmatch(top.name) else [])], []
    for folder in folders:
        sentences += _artifact(store, folder)
    return sentences


def _artifact(store: Shelf, folder: Path) -> list[str]:
    if folder.is_symlink():
        return [f"{folder.name} is a link; an artifact is a folder inside the store."]
    try:
        artifact = read_artifact(folder)
    except StoreError as error:
        return [str(error)]
    torn = _torn(store, folder / RUNS) if artifact.is_target else []
    wrong = torn + [
        f"{folder.name}: {problem}."
        for problem in (*transfer.changed_files(artifact), *transfer.changed_id(artifact))
    ]
    if artifact.id != folder.name:
        wrong.append(f"{folder.name}: its meta.json claims to be {artifact.id}.")
    if not artifact.is_target and artifact.inputs.get("of") != folder.parent.name:
        wrong.append(
            f"{folder.name}: it is in {folder.parent.name}, but was computed on "
            f"{artifact.inputs.get('of')}."
        )
    return wrong + _inputs(store, artifact)


def _torn(store: Shelf, file: Path) -> list[str]:
    lines = disk.torn_lines(file)
    if not lines:
        return []
    which = (
        f"line{'s' * (len(lines) > 1)} {', '.join(map(str, lines[:5]))}{', …' * (len(lines) > 5)}"
    )
    return [
        f"{file.relative_to(store.root)}: {which} cannot be read; causal-meta store "
        "rebuild-catalog writes the list again."
    ]


def _inputs(store: Shelf, artifact: Artifact) -> list[str]:
    wrong = []
    for role, entry in artifact.meta["inputs"].items():
        folder = store.folder_of(entry["id"])
        if folder is None:
            # a target may have been installed without the one it was started from
            if not artifact.is_target:
                wrong.append(
                    f"{artifact.id}: its input {role}, {entry['id']}, is no longer in the store."
                )
            continue
        try:
            same = read_artifact(folder).digest == entry["digest"]
        except StoreError:
            continue  # reported at its own folder
        if not same:
            wrong.append(
                f"{artifact.id} is stale: its input {role}, {entry['id']}, has changed since; run "
                "it again."
            )
    return wrong


def _names(store: Shelf) -> list[str]:
    try:
        names = store.names()
    except StoreError as error:
        return [str(error)]
    return [
        f"names.json: {name!r} means {id_}, which is not in the store."
        for name, id_ in names.items()
        if store.folder_of(id_) is None
    ]


def _strangers(store: Shelf) -> list[str]:
    """Folders among the artifacts that are not artifacts."""
    top = store.root / "targets"
    targets = [path for path in top.iterdir() if path.is_dir()] if top.is_dir() else []
    wrong = [path for path in targets if not TARGET_ID.fullmatch(path.name)]
    wrong += [
        run
        for path in targets
        if path not in wrong
        for run in path.iterdir()
        if run.name.startswith("run_") and not is_id(run.name)
    ]
    return [
        f"{path.relative_to(store.root)} is not the name of an artifact; remove or rename it."
        for path in sorted(wrong)
    ]
