"""The store: artifacts named after what decides their content, built once, published whole."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from causal_meta.conf import yaml_1_2
from causal_meta.conf.artifacts import ArtifactConfig, TargetConfig
from causal_meta.conf.convert import difference, to_plain
from causal_meta.conf.registry import nearest
from causal_meta.facts import Facts
from causal_meta.facts.write import Subscriber
from causal_meta.store import attempts, catalog, disk, meta, transfer, verify
from causal_meta.store.artifact import Artifact, read_artifact, runs_in
from causal_meta.store.attempts import Attempt
from causal_meta.store.key import TARGET_ID, Key, StoreError, check_name, identity_part, is_id, is_id_start, key_of

Builder = Callable[[Any, Attempt], Mapping[str, Any] | None]


class Store:
    """Artifacts under a folder, laid out as in the architecture §3. Making the object and looking things up writes nothing."""

    def __init__(self, root: str | os.PathLike[str] | None = None, *, patience: float = 30.0) -> None:
        """`root`: the folder; None takes the environment's CAUSAL_META_STORE, else ./runs.

        `patience`: seconds for which a silent builder of the same artifact in another process is waited for before this one begins too;
        0 never waits. It saves work and changes no result.
        """
        self.root = Path(root if root is not None else os.environ.get("CAUSAL_META_STORE") or "runs").absolute()
        self.patience = patience

    def __repr__(self) -> str:
        return f"Store({str(self.root)!r})"

    @property
    def staging(self) -> Path:
        """Where work in progress lies: on the file system of the store, so that publication is a rename."""
        return self.root / ".staging"

    # ------------------------------------------------------------------------------------------------------------- looking up

    def key(self, config: ArtifactConfig, inputs: Mapping[str, Artifact] | None = None) -> Key:
        """The identity of the artifact that `config` and `inputs` by role describe; raises `StoreError` if the roles do not fit."""
        given = dict(inputs or {})
        _check_roles(config, given)
        return key_of(config, {role: artifact.id for role, artifact in given.items()})

    def lookup(self, config: ArtifactConfig, inputs: Mapping[str, Artifact] | None = None) -> Artifact | None:
        """The artifact if it has been built, None if not or if it is a stale run (an input's content has changed since).

        Raises `StoreError` with a diff if the stored configuration is not the one asked for.
        """
        with disk.disk_errors(self.root):
            return self._ready(self.key(config, inputs), config, inputs or {})

    def _ready(self, key: Key, config: ArtifactConfig, inputs: Mapping[str, Artifact]) -> Artifact | None:
        found = self._stored(key, config, inputs)
        return None if found is None or _is_stale(found, inputs) else found

    def _stored(self, key: Key, config: ArtifactConfig, inputs: Mapping[str, Artifact]) -> Artifact | None:
        folder = self._place(config, key.id, inputs)
        if not os.path.lexists(folder):
            return None
        found = self._read(folder)
        tree = {"kind": found.kind, "revision": found.meta["revision"], "config": identity_part(found.stored_tree()), "inputs": found.inputs}
        changes = difference(tree, {name: key.tree[name] for name in tree})
        if changes:
            raise StoreError(f"{key.id} in the store was made from another configuration than the one asked for: {'; '.join(changes)}.")
        return found

    def _place(self, config: ArtifactConfig, artifact_id: str, inputs: Mapping[str, Artifact]) -> Path:
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

    def _read(self, folder: Path) -> Artifact:
        """The artifact in a folder of this store; refuses links, which could lead out of it."""
        parts = [folder, *folder.parents]
        for part in parts[: parts.index(self.root)]:
            if part.is_symlink():
                raise StoreError(f"{part} is a link; an artifact is a folder inside the store, so remove the link.")
        found = read_artifact(folder)
        if found.id != folder.name:
            raise StoreError(f"{folder} says that it is {found.id}; it was moved or altered, so delete it to have it built again.")
        return found

    def _targets(self) -> list[Path]:
        top = self.root / "targets"
        return sorted(path for path in top.iterdir() if TARGET_ID.fullmatch(path.name)) if top.is_dir() else []

    def folders(self) -> list[Path]:
        """The folder of every artifact, readable or not: each target, then its runs."""
        return [folder for target in self._targets() for folder in (target, *runs_in(target))]

    def find(self, token: str) -> Artifact:
        """The artifact that `token` means: a name, an id or the unique beginning of an id. Raises `StoreError` with the nearest names."""
        with disk.disk_errors(self.root):
            return self._read(self.locate(token))

    def locate(self, token: str) -> Path:
        """The folder that `token` means, as `find`, without reading what lies in it."""
        names = self.names()
        if token in names:
            folder = self.folder_of(names[token])
            if folder is None:
                raise StoreError(f"The name {token!r} means {names[token]}, which is not in the store {self.root}; build it again.")
            return folder
        if not is_id_start(token):
            check_name(token)
        known = sorted({folder.name for folder in self.folders()})
        matches = [token] if token in known else [name for name in known if is_id_start(token) and name.startswith(token)]
        if len(matches) == 1:
            folder = self.folder_of(matches[0])
            assert folder is not None  # it was listed
            return folder
        if matches:
            raise StoreError(f"{token!r} is the beginning of {len(matches)} ids: {', '.join(matches[:5])}; write more of it.")
        raise StoreError(f"The store {self.root} holds nothing called {token!r}{nearest(token, [*names, *known])}")

    def inputs_of(self, artifact: Artifact) -> dict[str, Artifact]:
        """The inputs of an artifact by role; raises `StoreError` if one is no longer in the store."""
        return {role: self.find(found) for role, found in artifact.inputs.items()}

    def artifacts(self) -> list[Artifact]:
        """Every artifact that can be read: each target, then its runs, oldest first (`verify` tells of the others)."""
        found = []
        for folder in self.folders():
            with contextlib.suppress(StoreError):
                found.append(self._read(folder))
        targets = sorted((item for item in found if item.is_target), key=_age)
        return [item for target in targets for item in (target, *sorted((run for run in found if run.folder.parent == target.folder), key=_age))]

    def runs_of(self, artifact: Artifact) -> list[Artifact]:
        """The runs in a target's folder that can be read, oldest first."""
        found = []
        for folder in runs_in(artifact.folder):
            with contextlib.suppress(StoreError):
                found.append(self._read(folder))
        return sorted(found, key=_age)

    def names(self) -> dict[str, str]:
        """Human name -> id."""
        return catalog.read_names(self.root)

    def catalog(self) -> list[dict[str, Any]]:
        """The lines of `targets/_catalog.jsonl` whose targets exist, and those of targets that lack one (a crash between publication and entry)."""
        lines = {line.get("target_id"): line for line in disk.read_lines(self.root / "targets" / catalog.CATALOG)}
        found = []
        for folder in self._targets():
            with contextlib.suppress(StoreError):
                found.append(lines.get(folder.name) or catalog.target_line(self._read(folder)))
        return sorted(found, key=lambda line: line["created_at"])

    # --------------------------------------------------------------------------------------------------------------- building

    def build(
        self,
        config: ArtifactConfig,
        inputs: Mapping[str, Artifact] | None,
        builder: Builder,
        *,
        name: str = "",
        force: bool = False,
        overrides: Sequence[str] = (),
        subscribers: Sequence[Subscriber] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Artifact:
        """The artifact of `config` and `inputs`: found in the store, or made by `builder(config, attempt)` and published.

        The builder writes results into `attempt.folder`; what it returns is merged into `meta.json`. If it raises, the attempt stays (the
        next one goes on from its last verified checkpoint) and the error goes on to the caller. `name` will mean the artifact (`force` takes
        it from another one). Raises `StoreError` for a disk that is full or read-only, a taken name, roles that do not fit, or a stored
        configuration that differs.
        """
        given = dict(inputs or {})
        key = self.key(config, given)
        with disk.disk_errors(self.root):
            for role, artifact in given.items():
                self._check_present(role, artifact)
            if name:
                catalog.check_free(self.root, name, key.id, force)
            found = self._ready(key, config, given)
        if found is None:
            found = self._make(key, config, given, builder, tuple(overrides), tuple(subscribers), options or {})
        if name:
            self.name(found, name, force=force)
        return found

    def _check_present(self, role: str, artifact: Artifact) -> None:
        folder = self.folder_of(artifact.id)
        if folder is None:
            raise StoreError(f"The input {role}, {artifact.id}, is not in the store {self.root}; build or install it there first.")
        if self._read(folder).digest != artifact.digest:
            raise StoreError(f"The input {role}, {artifact.id}, has other content in the store {self.root}; look it up again.")

    def _reserve(self, artifact_id: str) -> tuple[Path, int, int]:
        """The folder, number and lock of a new attempt, as soon as nobody else is seen at work on the artifact."""
        pause = 0.05
        while (reserved := attempts.reserve(self.staging, artifact_id, self.patience)) is None:
            time.sleep(pause)
            pause = min(1.0, pause * 1.5)
        return reserved

    def _make(
        self,
        key: Key,
        config: ArtifactConfig,
        inputs: dict[str, Artifact],
        builder: Builder,
        overrides: tuple[str, ...],
        subscribers: tuple[Subscriber, ...],
        options: Mapping[str, Any],
    ) -> Artifact:
        with disk.disk_errors(self.root):
            folder, number, lock = self._reserve(key.id)
        try:
            with disk.disk_errors(self.root):
                disk.write_atomic(folder / "config.yaml", yaml_1_2.dump(to_plain(config)))
                resumed = attempts.resume(self.staging, key.id, folder)
                found = self._ready(key, config, inputs)
            if found is not None:  # published while we waited or copied
                disk.remove_tree(folder)
            else:
                facts = Facts(folder, key.id, number, config.seed, subscribers)
                attempt = Attempt(folder, key.id, number, inputs, facts, resumed, options)
                extra = self._run(builder, config, attempt)
                with disk.disk_errors(self.root):
                    found = self._publish(config, attempt, extra, overrides)
        finally:
            os.close(lock)
        with disk.disk_errors(self.root):
            attempts.clear(self.staging, key.id)
            self._refresh_views(found)
        return found

    def _run(self, builder: Builder, config: ArtifactConfig, attempt: Attempt) -> Mapping[str, Any]:
        try:
            extra = builder(config, attempt) or {}
            attempt.facts.ensure_started()
        except BaseException as error:
            with contextlib.suppress(OSError):
                attempt.facts.exception(error)
            if isinstance(error, Exception) and not isinstance(error, ValueError):
                disk.probe(attempt.folder, self.root, error)
            raise
        return extra

    def _publish(self, config: ArtifactConfig, attempt: Attempt, extra: Mapping[str, Any], overrides: tuple[str, ...]) -> Artifact:
        """Digests, `meta.json` last, then one rename: a folder in place is complete. The loser of a race takes the winner's."""
        digests = disk.digests(attempt.folder, sync=True)
        tree = meta.record(config, attempt, extra, digests, created_at=time.time(), overrides=overrides)
        disk.write_json(attempt.folder / "meta.json", tree)
        place = self._place(config, attempt.artifact_id, attempt.inputs)
        if isinstance(config, TargetConfig):
            place.parent.mkdir(parents=True, exist_ok=True)
        key = self.key(config, attempt.inputs)
        found = self._stored(key, config, attempt.inputs)
        if found is not None and _is_stale(found, attempt.inputs):
            with contextlib.suppress(FileNotFoundError):
                os.rename(place, self.staging / attempt.artifact_id / f"stale-{uuid.uuid4().hex}")
        if disk.rename_new(attempt.folder, place):
            disk.sync_folder(place.parent)
            found = self._read(place)
            catalog.add(found, self.root)
            return found
        winner = self._stored(key, config, attempt.inputs)
        if winner is None:
            raise StoreError(f"{place} could not be published, since {place.parent} changed meanwhile; run the command again.")
        disk.remove_tree(attempt.folder)
        return winner

    # ------------------------------------------------------------------------------------------------------- names and upkeep

    def name(self, artifact: Artifact, name: str, *, force: bool = False) -> None:
        """Let `name` mean `artifact`; raises `StoreError` if it means another one and `force` is not given."""
        if not catalog.check_free(self.root, name, artifact.id, force):
            return
        with disk.disk_errors(self.root):
            catalog.point(self.root, name, artifact.id, force)
            catalog.view(self.root, name, artifact)

    def _refresh_views(self, artifact: Artifact) -> None:
        for name, artifact_id in self.names().items():
            if not artifact.is_target and artifact_id == artifact.folder.parent.name:
                catalog.view(self.root, name, self.find(artifact_id))

    def verify(self, token: str | None = None) -> list[str]:
        """What is wrong with one artifact and the runs in it, or with everything: one sentence per problem, none if all is well."""
        return verify.problems(self, token)

    def rebuild_catalog(self) -> None:
        """Write `_catalog.jsonl` and every `_runs.jsonl` again from the artifacts."""
        with disk.disk_errors(self.root):
            found = self.artifacts()
            if found:
                catalog.write_lines(self.root / "targets" / catalog.CATALOG, [catalog.target_line(item) for item in found if item.is_target])
            for target in (item for item in found if item.is_target):
                runs = [item for item in found if item.folder.parent == target.folder]
                if runs or (target.folder / catalog.RUNS).exists():
                    catalog.write_lines(target.folder / catalog.RUNS, [catalog.run_line(item, self.root) for item in runs])

    def export(self, artifact: Artifact, folder: str | os.PathLike[str]) -> Path:
        """Write the artifact alone (no figures, no runs in it) to the new or empty `folder`; `install` and `read_artifact` take it."""
        return transfer.export(artifact, Path(folder))

    def install(self, folder: str | os.PathLike[str]) -> Artifact:
        """Copy an exported artifact into this store, digests and id checked; one that is there already is returned."""
        with disk.disk_errors(self.root):
            return transfer.install(self, Path(folder))


def _age(artifact: Artifact) -> float:
    return float(artifact.meta["created_at"])


def _is_stale(found: Artifact, inputs: Mapping[str, Artifact]) -> bool:
    """Whether a run was computed from inputs whose content was another one."""
    return not found.is_target and any(found.meta["inputs"][role]["digest"] != artifact.digest for role, artifact in inputs.items())


def _check_roles(config: ArtifactConfig, inputs: Mapping[str, Artifact]) -> None:
    allowed = [role.removesuffix("?") for role in config.inputs]
    for role, artifact in inputs.items():
        if role not in allowed:
            raise StoreError(f"{config.kind} has no input {role!r}{nearest(role, allowed)}")
        if role == "of" and not artifact.is_target:
            raise StoreError(f"{config.kind} is computed of a target, and {artifact.id} is a run; give the id or name of a target.")
    missing = [role for role in config.inputs if not role.endswith("?") and role not in inputs]
    if missing:
        raise StoreError(f"{config.kind} needs the input {missing[0]}; give {missing[0]}=ID or a name.")
