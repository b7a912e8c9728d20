"""A published artifact, read from its folder."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from causal_meta.conf import yaml_1_2
from causal_meta.conf.artifacts import ArtifactConfig
from causal_meta.conf.convert import from_plain
from causal_meta.conf.setting import ConfigError
from causal_meta.store.key import Key, StoreError, canonical, identity, identity_part, is_id

# Files that record how a result was made; they differ between two builds of the same bytes.
_RECORDS = ("config.yaml",)
_RECORD_FOLDERS = ("facts/",)


@dataclass(frozen=True)
class Artifact:
    """A target or a run on the disk. `meta` is its `meta.json`."""

    id: str
    kind: str
    folder: Path
    meta: dict[str, Any] = field(compare=False, repr=False)

    @property
    def is_target(self) -> bool:
        """Whether this is a target (and not a run)."""
        return self.id.startswith("tgt_")

    @property
    def inputs(self) -> dict[str, str]:
        """Id of the artifact in each role."""
        return {role: entry["id"] for role, entry in self.meta.get("inputs", {}).items()}

    @property
    def seed(self) -> int:
        """The seed of the configuration."""
        return int(self.meta["seed"])

    @functools.cached_property
    def config(self) -> ArtifactConfig:
        """The configuration it was made from; raises `StoreError` if `config.yaml` cannot be
        read."""
        try:
            return from_plain(ArtifactConfig, self.stored_tree())
        except ConfigError as error:
            raise StoreError(f"The configuration of {self.id} cannot be read: {error}") from None

    @functools.cached_property
    def digest(self) -> str:
        """`artifact_digest` of this artifact."""
        return artifact_digest(self)

    def stored_tree(self) -> Any:
        """The tree in `config.yaml`, unchanged."""
        try:
            text = (self.folder / "config.yaml").read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"The configuration of {self.id} cannot be read: {error}.") from None
        return yaml_1_2.load(text, f"config.yaml of {self.id}")


def artifact_digest(artifact: Artifact) -> str:
    """SHA-256 of the canonical JSON of {relative path: SHA-256} over the result files of an
    artifact, as recorded when it was made.

    Left out are `config.yaml` and `facts/`: they hold times and settings outside the identity, so
    that runs stay valid when a deleted artifact is rebuilt to the same bytes.
    """
    covered = {
        path: value
        for path, value in artifact.meta["digests"].items()
        if path not in _RECORDS and not path.startswith(_RECORD_FOLDERS)
    }
    return hashlib.sha256(canonical(covered).encode("ascii")).hexdigest()


def read_artifact(folder: Path) -> Artifact:
    """The artifact in `folder` (in a store, or exported); raises `StoreError` if its `meta.json` is
    missing, unreadable or incomplete."""
    path = Path(folder) / "meta.json"
    try:
        meta = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise StoreError(
            f"{folder} holds no meta.json, so it is not an artifact; delete it to have it built "
            "again."
        ) from None
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path} cannot be read ({error}); delete the folder to have it built again."
        ) from None
    if not isinstance(meta, dict) or not _is_complete(meta):
        raise StoreError(
            f"{path} is incomplete or altered; delete the folder to have it built again."
        )
    return Artifact(
        id=meta.get("target_id") or meta["run_id"],
        kind=meta["kind"],
        folder=Path(folder),
        meta=meta,
    )


def _is_complete(meta: dict[str, Any]) -> bool:
    artifact_id = meta.get("target_id") or meta.get("run_id")
    inputs, digests = meta.get("inputs"), meta.get("digests")
    return (
        isinstance(artifact_id, str)
        and is_id(artifact_id)
        and ("target_id" in meta) == artifact_id.startswith("tgt_")
        and isinstance(meta.get("kind"), str)
        and type(meta.get("revision")) is int
        and type(meta.get("seed")) is int
        and isinstance(meta.get("created_at"), int | float)
        and isinstance(digests, dict)
        and all(isinstance(value, str) for value in digests.values())
        and isinstance(inputs, dict)
        and all(
            isinstance(entry, dict)
            and is_id(str(entry.get("id")))
            and isinstance(entry.get("digest"), str)
            for entry in inputs.values()
        )
        and ("target_id" in meta or ("of" in inputs and inputs["of"]["id"].startswith("tgt_")))
    )


def stored_key(artifact: Artifact) -> Key:
    """The key computed again from what the folder holds: kind, revision, configuration and
    inputs."""
    return identity(
        artifact.kind,
        artifact.meta["revision"],
        identity_part(artifact.stored_tree()),
        artifact.inputs,
        is_target=artifact.is_target,
    )


def runs_in(target: Path) -> list[Path]:
    """The folders of the runs in a target's folder."""
    if not target.is_dir():
        return []
    return sorted(
        path for path in target.iterdir() if path.name.startswith("run_") and is_id(path.name)
    )
