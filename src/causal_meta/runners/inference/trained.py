"""Pre-trained models by name, id or folder: their weights, and the summary of their training
stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.datasets.real import Table, as_table
from causal_meta.datasets.summaries import check_table
from causal_meta.posteriors import GraphPosterior
from causal_meta.records.stream_summaries import read_stream_summary
from causal_meta.runners.inference.large_tables import parts, parts_warning, table_posterior
from causal_meta.runners.inference.named_models import find_model
from causal_meta.runners.tasks.task_sets import centred
from causal_meta.runners.training.pre_training import load_weights
from causal_meta.store import Artifact, Store
from causal_meta.tasks import TaskBatch, full_batch

if TYPE_CHECKING:
    from causal_meta.models.base import BaseModel


@dataclass(frozen=True)
class TrainedModel:
    """A pre-trained model: its artifact, the network, and the summary of its training stream (None
    if absent)."""

    artifact: Artifact
    model: BaseModel
    summary: dict[str, np.ndarray] | None

    @property
    def id(self) -> str:
        """The artifact's id."""
        return self.artifact.id

    @property
    def config(self) -> ExperimentConfig:
        """What it was trained on and how."""
        return experiment_of(self.artifact)

    @property
    def most_rows(self) -> int:
        """The most rows of a training table."""
        return self.config.data.train.n_rows.high

    def posterior(self, table: Any, seed: int = 0) -> GraphPosterior:
        """The posterior (B = 1) for a DataFrame, a `Table` or rows [N, D]; `seed` picks the parts
        of a table with very many rows."""
        return table_posterior(self.model, batch_of(as_table(table)), self.most_rows, seed)

    def warnings(self, table: Table, seed: int = 0) -> list[str]:
        """What is unusual about a table for this model, in sentences."""
        return self.warnings_for(
            table.x,
            table.columns,
            seed,
            table.intervened is not None and bool(table.intervened.any()),
        )

    def warnings_for(
        self, x: np.ndarray, columns: Sequence[str], seed: int = 0, interventional: bool = False
    ) -> list[str]:
        """The same for bare rows [N, D] with the names of their columns; `interventional`: some
        cells were set."""
        if self.summary is None:
            unusual = [
                "The model stores no summary of its training stream, so it was not checked "
                "whether the table is like it."
            ]
        else:
            unusual = check_table(x[parts(len(x), self.most_rows, seed)[0]], self.summary, columns)
        if interventional and self.config.data.train.interventions is None:
            unusual.append(
                "Some rows are marked as interventions, but the model was trained on "
                "observational rows only and has not learnt their use."
            )
        return parts_warning(len(x), self.most_rows) + unusual


def experiment_of(artifact: Artifact) -> ExperimentConfig:
    """The configuration of a pre-trained model; raises ValueError for any other artifact."""
    config = artifact.config
    if not isinstance(config, ExperimentConfig):
        raise ValueError(
            f"{artifact.id} is of kind {artifact.kind!r}; give a pre-trained model (causal-meta "
            "build amortised …)."
        )
    return config


def load_model(
    token: str | Path | None = None, store: Store | str | Path | None = None
) -> TrainedModel:
    """A pre-trained model by name, id, unique prefix, or folder of an exported artifact; without
    one the embedded default, read where it lies.

    Raises ValueError (a StoreError where it is not found) in one sentence.
    """
    return trained_model(find_model(token, store if isinstance(store, Store) else Store(store)))


def trained_model(artifact: Artifact) -> TrainedModel:
    """The model in a pre-trained artifact, with its weights; raises ValueError for any other
    artifact or an unreadable checkpoint."""
    experiment_of(artifact)
    return TrainedModel(artifact, load_weights(artifact), read_stream_summary(artifact))


def batch_of(table: Table) -> TaskBatch:
    """A table as a batch of one task, centred, with its interventions and without truth."""
    batch = full_batch(torch.from_numpy(centred(table.x)[0])[None], None, [-1])
    if table.intervened is not None:
        batch.intervened = torch.from_numpy(table.intervened)[None]
    return batch
