"""Looking up artifacts; nothing here writes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causal_meta.conf.artifacts import ArtifactConfig, TargetConfig
from causal_meta.conf.convert import difference
from causal_meta.conf.spelling import nearest
from causal_meta.store import catalog, disk, format_file
from causal_meta.store.artifact import Artifact, read_artifact, runs_in
from causal_meta.store.key import (
    TARGET_ID,
    Key,
    StoreError,
    check_name,
    identity_part,
    is_id,
    is_id_start,
    key_of,
)


class Shelf:
    """The artifacts under a folder, looked up by name, id or configuration. The object writes
    nothing."""

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        """`root`: the folder; None takes the environment's CAUSAL_META_STORE, else ./runs. Raises
        `StoreError` for a store of a newer format."""
        self.root = Path(
            root if root is not None else os.environ.get("CAUSAL_META_STORE") or "runs"
        ).absolute()
        format_file.check(self.root)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r})"

    def key(self, config: ArtifactConfig, inputs: Mapping[str, Artifact] | None = None) -> Key:
        """The identity of the artifact that `config` and `inputs` by role describe; raises
        `StoreError` if the roles do not fit."""
        by_role = dict(inputs or {})
        _check_roles(config, by_role)
        return key_of(config, {role: artifact.id for role, artifact in by_role.items()})

    def lookup(
        self, config: ArtifactConfig, inputs: Mapping[str, Artifact] | None = None
    ) -> Artifact | None:
        """The artifact if it has been built, None if not or if it is a stale run (an input's
        content has changed since).

        Raises `StoreError` with a diff if the stored configuration is not the one asked for.
        """
        with disk.disk_errors(self.root):
            return self.ready(self.key(config, inputs), config, inputs or {})

    def ready(
        self, key: Key, config: ArtifactConfig, inputs: Mapping[str, Artifact]
    ) -> Artifact | None:
        """`lookup` for a key that is known already."""
        artifact = self.stored(key, config, inputs)
        return None if artifact is None or is_stale(artifact, inputs) else artifact

    def stored(
        self, key: Key, config: ArtifactConfig, inputs: Mapping[str, Artifact]
    ) -> Artifact | None:
        """The artifact of a key if there is one, stale or not; raises `StoreError` with a diff if
        its stored configuration is another one."""
        folder = self.place_of(config, key.id, inputs)
        self.refuse_links(folder)
        if not folder.exists():
            return None
        artifact = self.read(folder)
        tree = {
            "kind": artifact.kind,
            "revision": artifact.meta["revision"],
            "config": identity_part(artifact.stored_tree()),
            "inputs": artifact.inputs,
        }
        changes = difference(tree, {name: key.tree[name] for name in tree})
        if changes:
            raise StoreError(
                f"{key.id} in the store was made from another configuration than the one asked "
                f"for: {'; '.join(changes)}."
            )
        return artifact

    def place_of(
        self, config: ArtifactConfig, artifact_id: str, inputs: Mapping[str, Artifact]
    ) -> Path:
        """The folder that an artifact has, or would have."""
        if isinstance(config, TargetConfig):
            return self.root / "targets" / artifact_id
        return self.root / "targets" / inputs["of"].id / artifact_id

    def folder_of(self, artifact_id: str) -> Path | None:
        """The folder of a complete id, readable or not; None if there is none."""
        if TARGET_ID.fullmatch(artifact_id):
            candidates = [self.root / "targets" / artifact_id]
        elif is_id(artifact_id):
            candidates = [target / artifact_id for target in self._targets()]
        else:
            return None
        return next((folder for folder in candidates if os.path.lexists(folder)), None)

    def read(self, folder: Path) -> Artifact:
        """The artifact in a folder of this store."""
        self.refuse_links(folder)
        artifact = read_artifact(folder)
        if artifact.id != folder.name:
            raise StoreError(
                f"{folder} claims to be {artifact.id}; it was moved or altered, so delete it to "
                "have it built again."
            )
        return artifact

    def refuse_links(self, folder: Path) -> None:
        """Raise `StoreError` if a link between the root and `folder` could lead out of the
        store."""
        parts = [folder, *folder.parents]
        for part in parts[: parts.index(self.root)]:
            if part.is_symlink():
                raise StoreError(
                    f"{part} is a link; an artifact is a folder inside the store, so remove the "
                    "link."
                )

    def _targets(self) -> list[Path]:
        top = self.root / "targets"
        return (
            sorted(path for path in top.iterdir() if TARGET_ID.fullmatch(path.name))
            if top.is_dir()
            else []
        )

    def folders(self) -> list[Path]:
        """The folder of every artifact, readable or not: each target, then its runs."""
        return [folder for target in self._targets() for folder in (target, *runs_in(target))]

    def find(self, token: str) -> Artifact:
        """The artifact that `token` means: a name, an id or the unique beginning of an id. Raises
        `StoreError` with the nearest names."""
        with disk.disk_errors(self.root):
            return self.read(self.locate(token))

    def locate(self, token: str) -> Path:
        """The folder that `token` means, as in `find`, without reading its content."""
        names = self.names()
        if token in names:
            folder = self.folder_of(names[token])
            if folder is None:
                raise StoreError(
                    f"The name {token!r} means {names[token]}, which is not in the store "
                    f"{self.root}; build it again."
                )
            return folder
        if not is_id_start(token):
            check_name(token)
        whole = self.folder_of(token)
        if whole is not None:
            return whole
        known = sorted({folder.name for folder in self.folders()})
        matches = (
            [token]
            if token in known
            else [name for name in known if is_id_start(token) and name.startswith(token)]
        )
        if len(matches) == 1:
            folder = self.folder_of(matches[0])
            assert folder is not None  # it was listed
            return folder
        if matches:
            raise StoreError(
                f"{token!r} is the beginning of {len(matches)} ids: {', '.join(matches[:5])}; "
                "write more of it."
            )
        raise StoreError(
            f"The store {self.root} holds nothing called "
            f"{token!r}{nearest(token, [*names, *known])}"
        )

    def inputs_of(self, artifact: Artifact) -> dict[str, Artifact]:
        """The inputs of an artifact by role; raises `StoreError` if one is no longer in the
        store."""
        return {role: self.find(id_) for role, id_ in artifact.inputs.items()}

    def artifacts(self) -> list[Artifact]:
        """Every artifact that can be read: each target, then its runs, oldest first (`verify` lists
        the others)."""
        artifacts = []
        for folder in self.folders():
            with contextlib.suppress(StoreError):
                artifacts.append(self.read(folder))
        runs: dict[str, list[Artifact]] = {}
        for item in artifacts:
            if not item.is_target:
                runs.setdefault(item.folder.parent.name, []).append(item)
        targets = sorted((item for item in artifacts if item.is_target), key=_age)
        return [
            item
            for target in targets
            for item in (target, *sorted(runs.get(target.id, ()), key=_age))
        ]

    def runs_of(self, artifact: Artifact) -> list[Artifact]:
        """The runs in a target's folder that can be read, oldest first."""
        runs = []
        for folder in runs_in(artifact.folder):
            with contextlib.suppress(StoreError):
                runs.append(self.read(folder))
        return sorted(runs, key=_age)

    def names(self) -> dict[str, str]:
        """Human name -> id."""
        return catalog.read_names(self.root)

    def catalog(self) -> list[dict[str, Any]]:
        """The lines of `targets/_catalog.jsonl` whose targets exist, and those of targets that lack
        one (a crash between publication and entry)."""
        lines = {line["target_id"]: line for line in catalog.read_lines(self.root)}
        entries = []
        for folder in self._targets():
            with contextlib.suppress(StoreError):
                entries.append(lines.get(folder.name) or catalog.target_line(self.read(folder)))
        return sorted(entries, key=lambda line: line["created_at"])


def _age(artifact: Artifact) -> float:
    return float(artifact.meta["created_at"])


def is_stale(run: Artifact, inputs: Mapping[str, Artifact]) -> bool:
    """Whether a run was computed from inputs whose content has changed since."""
    return not run.is_target and any(
        run.meta["inputs"][role]["digest"] != artifact.digest for role, artifact in inputs.items()
    )


def _check_roles(config: ArtifactConfig, inputs: Mapping[str, Artifact]) -> None:
    allowed = [role.removesuffix("?") for role in config.inputs]
    for role, artifact in inputs.items():
        if role not in allowed:
            raise StoreError(f"{config.kind} has no input {role!r}{nearest(role, allowed)}")
        if role == "of" and not artifact.is_target:
            raise StoreError(
                f"{config.kind} is computed on a target, and {artifact.id} is a run; give the id "
                "or name of a target."
            )
    missing = [role for role in config.inputs if not role.endswith("?") and role not in inputs]
    if missing:
        raise StoreError(
            f"{config.kind} needs the input {missing[0]}; give {missing[0]}=ID or a name."
        )
