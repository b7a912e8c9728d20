"""The store: artifacts whose ids follow from what decides their content, built once and published
whole."""

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
from causal_meta.conf.convert import to_plain
from causal_meta.facts import Facts
from causal_meta.facts.write import Subscriber
from causal_meta.store import (
    archive,
    arrivals,
    attempts,
    catalog,
    disk,
    format_file,
    meta,
    removal,
    transfer,
    verify,
)
from causal_meta.store.artifact import Artifact
from causal_meta.store.attempts import Attempt
from causal_meta.store.key import Key, StoreError
from causal_meta.store.removal import Leftover, Removal
from causal_meta.store.shelf import Shelf, is_stale

Builder = Callable[[Any, Attempt], Mapping[str, Any] | None]


class Store(Shelf):
    """Artifacts under a folder, looked up (by `Shelf`, which writes nothing), built, named and
    moved."""

    def __init__(
        self, root: str | os.PathLike[str] | None = None, *, patience: float = 60.0
    ) -> None:
        """`root`: the folder; None takes the environment's CAUSAL_META_STORE, else ./runs.

        `patience`: seconds to wait for a silent builder of the same artifact in another process
        before building here too; 0 never waits. It saves work and changes no result.
        """
        super().__init__(root)
        self.patience = patience

    @property
    def staging(self) -> Path:
        """The folder of work in progress, on the file system of the store, so that publication is a
        rename."""
        return self.root / ".staging"

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
        """The artifact of `config` and `inputs`: found in the store, or made by `builder(config,
        attempt)` and published.

        The builder writes results into `attempt.folder`; what it returns is merged into
        `meta.json`. If it raises, the attempt stays (the next one resumes from its last verified
        checkpoint) and the error is raised. `name` becomes the name of the artifact (`force` takes
        it from another one). Raises `StoreError` for a disk that is full or read-only, a taken
        name, roles that do not fit, or a stored configuration that differs.
        """
        by_role = dict(inputs or {})
        key = self.key(config, by_role)
        with disk.disk_errors(self.root):
            for role, item in by_role.items():
                self._check_present(role, item)
            if name:
                catalog.check_free(self.root, name, key.id, force)
            artifact = self.ready(key, config, by_role)
        if artifact is None:
            artifact = self._make(
                key, config, by_role, builder, tuple(overrides), tuple(subscribers), options or {}
            )
        if name:
            self.name(artifact, name, force=force)
        return artifact

    def _check_present(self, role: str, artifact: Artifact) -> None:
        folder = self.folder_of(artifact.id)
        if folder is None:
            raise StoreError(
                f"The input {role}, {artifact.id}, is not in the store {self.root}; build or "
                "install it there first."
            )
        if self.read(folder).digest != artifact.digest:
            raise StoreError(
                f"The input {role}, {artifact.id}, has other content in the store {self.root}; "
                "read it from the store again."
            )

    def _reserve(self, artifact_id: str) -> tuple[Path, int, int]:
        """The folder, number and lock of a new attempt, as soon as no other attempt at the artifact
        is running.

        An attempt whose heartbeat has not changed during `patience` seconds of waiting is no longer
        waited for, whatever its clock.
        """
        pause, patience, before, since = 0.05, self.patience, [0.0], time.monotonic()
        while (reserved := attempts.reserve(self.staging, artifact_id, patience)) is None:
            time.sleep(pause)
            pause = min(1.0, pause * 1.5)
            beats = attempts.heartbeats(self.staging, artifact_id)
            if beats != before:
                before, since = beats, time.monotonic()
            elif time.monotonic() - since >= self.patience:
                patience = 0.0
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
        self.refuse_links(self.staging / key.id)
        with disk.disk_errors(self.root):
            format_file.mark(self.root)
            folder, number, lock = self._reserve(key.id)
        try:
            with disk.disk_errors(self.root):
                disk.write_atomic(folder / "config.yaml", yaml_1_2.dump(to_plain(config)))
                resumed = attempts.resume(self.staging, key.id, folder)
                artifact = self.ready(key, config, inputs)
            if artifact is not None:  # published during the wait or the copy
                disk.remove_tree(folder)
            else:
                facts = Facts(folder, key.id, number, config.seed, subscribers)
                attempt = Attempt(folder, key.id, number, inputs, facts, resumed, options)
                extra = self._run(builder, config, attempt)
                with disk.disk_errors(self.root):
                    artifact = self._publish(config, attempt, extra, overrides)
        finally:
            os.close(lock)
        with disk.disk_errors(self.root):
            attempts.clear(self.staging, key.id)
            self._refresh_views(artifact)
        return artifact

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

    def _publish(
        self,
        config: ArtifactConfig,
        attempt: Attempt,
        extra: Mapping[str, Any],
        overrides: tuple[str, ...],
    ) -> Artifact:
        """Write the digests and `meta.json`, then rename the folder into place. If another process
        published first, its artifact is used."""
        digests = disk.digests(attempt.folder, sync=True)
        tree = meta.record(
            config, attempt, extra, digests, created_at=time.time(), overrides=overrides
        )
        disk.write_json(attempt.folder / "meta.json", tree)
        place = self.place_of(config, attempt.artifact_id, attempt.inputs)
        if isinstance(config, TargetConfig):
            place.parent.mkdir(parents=True, exist_ok=True)
        key = self.key(config, attempt.inputs)
        artifact = self.stored(key, config, attempt.inputs)
        if artifact is not None and is_stale(artifact, attempt.inputs):
            with contextlib.suppress(FileNotFoundError):
                os.rename(place, self.staging / attempt.artifact_id / f"stale-{uuid.uuid4().hex}")
        if isinstance(config, TargetConfig) and not place.exists():
            catalog.leave_out(self.root, attempt.artifact_id)
        if disk.rename_new(attempt.folder, place):
            disk.sync_folder(place.parent)
            artifact = self.read(place)
            catalog.add(artifact, self.root)
            return artifact
        winner = self.stored(key, config, attempt.inputs)
        if winner is None:
            raise StoreError(
                f"{place} could not be published, since {place.parent} changed meanwhile; run the "
                "command again."
            )
        disk.remove_tree(attempt.folder)
        return winner

    # ----------------------------------------------------------------------------- names and upkeep

    def name(self, artifact: Artifact, name: str, *, force: bool = False) -> None:
        """Name `artifact`; raises `StoreError` if `name` means another artifact and `force` is
        False."""
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
        """The problems of one artifact and the runs in it, or of the whole store: one sentence
        each, none if all is well."""
        with disk.disk_errors(self.root):
            return verify.problems(self, token)

    def rebuild_catalog(self) -> None:
        """Write `_catalog.jsonl` and every `_runs.jsonl` again from the artifacts."""
        with disk.disk_errors(self.root):
            artifacts = self.artifacts()
            targets = [item for item in artifacts if item.is_target]
            path = self.root / "targets" / catalog.CATALOG
            if artifacts or path.exists():
                lines = [catalog.target_line(item) for item in targets]
                catalog.write_lines(self.root, path, lines)
            runs: dict[Path, list[Artifact]] = {item.folder: [] for item in targets}
            for item in artifacts:
                if not item.is_target:
                    runs[item.folder.parent].append(item)
            for folder, inside in runs.items():
                if inside or (folder / catalog.RUNS).exists():
                    lines = [catalog.run_line(item, self.root) for item in inside]
                    catalog.write_lines(self.root, folder / catalog.RUNS, lines)

    def export(self, artifact: Artifact, folder: str | os.PathLike[str]) -> Path:
        """Write the artifact alone (no figures, no runs in it) to the new or empty `folder`;
        `install` and `read_artifact` take it."""
        return transfer.export(artifact, Path(folder))

    def install(self, folder: str | os.PathLike[str]) -> Artifact:
        """Copy an exported artifact into this store, digests and id checked; one that is there
        already is returned."""
        self.refuse_links(self.staging)
        with disk.disk_errors(self.root):
            installed = transfer.install(self, self.staging, Path(folder))
            format_file.mark(self.root)
            return installed

    def pack(self, artifacts: Sequence[Artifact], file: str | os.PathLike[str]) -> Path:
        """Write artifacts into the new `file`, an archive that `take` of another store checks byte
        by byte; returns its path."""
        return archive.pack(self, artifacts, Path(file))

    def take(
        self, file: str | os.PathLike[str], *, largest: int | None = None
    ) -> tuple[list[Artifact], dict[str, str]]:
        """Install the artifacts of an archive, after checking all of them; returns the artifacts
        and the names that they had.

        `largest`: bytes that it may take on the disk (default: what is free).
        """
        self.refuse_links(self.staging)
        with disk.disk_errors(self.root):
            taken = arrivals.take(self, self.staging, Path(file), largest=largest)
            format_file.mark(self.root)
            return taken

    def plan_removal(self, *tokens: str) -> Removal:
        """The artifacts that removing these would remove, and those that depend on them; changes
        nothing."""
        with disk.disk_errors(self.root):
            return removal.plan(self, tokens)

    def remove(self, planned: Removal, *, force: bool = False) -> None:
        """Carry out `plan_removal`; raises `StoreError` if something depends on what goes, unless
        `force`."""
        with disk.disk_errors(self.root):
            removal.remove(self, self.staging, planned, force=force)

    def leftovers(self, *, idle: float = 3600.0) -> list[Leftover]:
        """Leftovers of interrupted commands, without anything in use or written to within `idle`
        seconds."""
        with disk.disk_errors(self.root):
            return removal.leftovers(self, self.staging, idle=idle)

    def sweep(self, chosen: Sequence[Leftover], *, idle: float = 3600.0) -> list[Leftover]:
        """Remove leftovers, each checked again first; returns those that were removed."""
        with disk.disk_errors(self.root):
            return removal.sweep(self, self.staging, chosen, idle=idle)
