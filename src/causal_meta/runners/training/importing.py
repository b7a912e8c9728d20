"""Weights that were trained elsewhere, as targets of this store."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from causal_meta.conf.convert import from_plain
from causal_meta.conf.models import ModelConfig
from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.datasets.scm import SCMFamily
from causal_meta.datasets.summaries import stream_summary
from causal_meta.models.base import ModelFactory
from causal_meta.records.stream_summaries import STREAM_SUMMARY
from causal_meta.runners.training import checkpoints
from causal_meta.store import Artifact, Attempt, Store, StoreError


def import_artifact(
    store: Store,
    source: str | Path,
    config: ExperimentConfig,
    *,
    name: str = "",
    force: bool = False,
    **recorded: Any,
) -> Artifact:
    """Bring an exported artifact's folder, or a checkpoint file of this package, into the store.

    A folder is checked against its digests and its id. A checkpoint names its model itself;
    `config` says what it was trained on (data, seed), which cannot be checked. Its identity holds
    the digest of the file. Raises ValueError or StoreError in one sentence.
    """
    path = Path(source)
    if path.is_dir():
        artifact = store.install(path)
        if name:
            store.name(artifact, name, force=force)
        return artifact
    if not path.is_file():
        raise StoreError(
            f"There is no file or folder {path}; give a checkpoint (FILE.pt) or the folder of an "
            "exported artifact."
        )
    payload = checkpoints.read(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    imported = dataclasses.replace(
        config, model=_model_config(payload, path.name), weights_sha256=digest
    )
    checkpoints.load(
        ModelFactory.build(imported.model, imported.seed), payload["model"], whose=path.name
    )

    def builder(built: ExperimentConfig, attempt: Attempt) -> dict[str, Any]:
        return _take(built, attempt, path, payload)

    return store.build(imported, {}, builder, name=name, force=force, **recorded)


def _model_config(payload: dict[str, Any], title: str) -> ModelConfig:
    try:
        return from_plain(ModelConfig, json.loads(payload["config"]))
    except (KeyError, TypeError, ConfigError, json.JSONDecodeError):
        raise ValueError(
            f"{title} does not say which model its weights belong to; give a checkpoint that this "
            "package wrote."
        ) from None


def _take(
    config: ExperimentConfig, attempt: Attempt, path: Path, payload: dict[str, Any]
) -> dict[str, Any]:
    folder = attempt.folder / "checkpoints"
    folder.mkdir()
    shutil.copyfile(path, folder / "best.pt")
    if hashlib.sha256((folder / "best.pt").read_bytes()).hexdigest() != config.weights_sha256:
        raise StoreError(f"{path.name} changed while it was read; import it again.")
    np.savez_compressed(
        attempt.folder / STREAM_SUMMARY,
        **stream_summary(SCMFamily(config.data.train), config.seed),  # type: ignore[arg-type]
    )
    dims = {
        "p": sum(value.numel() for value in payload["model"].values()),
        "steps": int(payload.get("step", 0)),
    }
    return {"dims": dims, "imported": {"sha256": config.weights_sha256}}


def settings_words(words: Sequence[str]) -> list[str]:
    """The settings that may be given with an import; raises ConfigError for those that the file
    itself decides."""
    for word in words:
        if word.partition("=")[0].partition(".")[0] in (
            "model",
            "trainer",
            "init",
            "weights_sha256",
        ):
            raise ConfigError(
                f"{word!r} cannot be given with an import, since the checkpoint decides it; give "
                "data=… and seed=… only."
            )
    return list(words)
