"""Pre-training: from an experiment's configuration to an amortised model, and back from the
artifact to the model."""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np

from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.datasets.data_module import CausalMetaModule
from causal_meta.datasets.scm import SCMFamily
from causal_meta.datasets.summaries import stream_summary
from causal_meta.models.base import BaseModel, ModelFactory
from causal_meta.records.stream_summaries import STREAM_SUMMARY
from causal_meta.runners.training import checkpoints
from causal_meta.runners.training.graph_training import describe, train_graph_model
from causal_meta.store.artifact import Artifact
from causal_meta.store.attempts import Attempt


def build_amortised(config: ExperimentConfig, attempt: Attempt) -> dict[str, Any]:
    """Train the model of `config` and write checkpoints/{last,best}.pt, data.json (stream, test
    sets, reserved graphs and family statistics) and stream_summary.npz (what the training tables
    look like).

    The weights begin as drawn from (seed, "initialisation"), or as those of the artifact in the
    role `init`, which must have the same shape. The rest of that artifact's state (its dual
    multipliers, its optimiser) is not taken over. Raises `ConfigError`.
    """
    if not config.data.with_adjacency:
        raise ConfigError(
            "data.with_adjacency is false; training a graph model needs the graphs, so leave it "
            "true."
        )
    if config.weights_sha256:
        raise ConfigError(
            "weights_sha256 names an imported checkpoint, which cannot be trained; import its "
            "file, causal-meta store import FILE.pt."
        )
    module = CausalMetaModule(config.data, config.seed)
    model = ModelFactory.build(config.model, config.seed)
    if not model.needs_pretraining:
        raise ConfigError(
            f"model={config.model.kind} needs no training; give a model that is trained, such as "
            "avici."
        )
    if "init" in attempt.inputs:
        _start_from(model, attempt.inputs["init"])
    result = train_graph_model(model, module, config.trainer, attempt, config.seed)
    record = describe(module) | {"family_statistics": module.statistics()}
    (attempt.folder / "data.json").write_text(
        json.dumps(record, indent=1, sort_keys=True) + "\n", "utf-8"
    )
    np.savez_compressed(
        attempt.folder / STREAM_SUMMARY,
        **stream_summary(SCMFamily(config.data.train), config.seed),  # type: ignore[arg-type]
    )
    train = config.data.train
    dims = {
        "p": sum(parameter.numel() for parameter in model.parameters()),
        "n_nodes": [train.n_nodes.low, train.n_nodes.high],
        "n_rows": [train.n_rows.low, train.n_rows.high],
        "tasks_per_step": config.data.tasks_per_step,
    }
    return {"dims": dims, **result}


def _start_from(model: BaseModel, artifact: Artifact) -> None:
    try:
        checkpoints.load(
            model, _payload(artifact, "best")["model"], parameters_only=True, whose=artifact.id
        )
    except ValueError as error:
        raise ConfigError(f"init={artifact.id} cannot be taken. {error}") from None


def load_weights(artifact: Artifact, which: Literal["best", "last"] = "best") -> BaseModel:
    """The trained model of an amortised target, in evaluation mode; raises ValueError for another
    kind or a damaged file."""
    config = artifact.config
    if not isinstance(config, ExperimentConfig):
        raise ValueError(
            f"{artifact.id} is of kind {artifact.kind}, which holds no model; give an amortised "
            "target."
        )
    model = ModelFactory.build(config.model, config.seed)
    checkpoints.load(model, _payload(artifact, which)["model"], whose=artifact.id)
    return model.eval()


def _payload(artifact: Artifact, which: str) -> dict[str, Any]:
    return checkpoints.read(artifact.folder / "checkpoints" / f"{which}.pt")
