"""Posteriors of amortised models: trained once, then one forward pass for any table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float

from causal_meta.clock import cpu_seconds
from causal_meta.conf.data import TableConfig
from causal_meta.conf.inference import DiscoverConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.models.base import TOKENS_AT_ONCE, BaseModel
from causal_meta.posteriors import GraphPosterior, stack
from causal_meta.randomness import torch_generator
from causal_meta.runners.inference.large_tables import table_posterior
from causal_meta.runners.inference.posterior_files import dims, write_posterior
from causal_meta.runners.inference.trained import trained_model
from causal_meta.runners.progress import watched
from causal_meta.runners.tasks.task_sets import columns_of, load_tasks
from causal_meta.tasks import TaskBatch, collate

if TYPE_CHECKING:
    from causal_meta.store import Artifact, Attempt


def infer_amortised(config: DiscoverConfig, attempt: Attempt) -> dict[str, Any]:
    """Answer every table of the task set `attempt.inputs["tasks"]` with the model
    `attempt.inputs["of"]`. Writes `posterior.npz`.

    For a user's table `warnings` of the result names what about it is unlike the training tables.
    """
    trained, tasks = trained_model(attempt.inputs["of"]), attempt.inputs["tasks"]
    batch = load_tasks(tasks).without_truth()
    posterior, seconds = amortised_posterior(
        trained.model, batch, most_rows=trained.most_rows, seed=config.seed
    )
    source = torch_generator(config.seed, config.kind, "graphs")
    graphs = posterior.representative_graphs(config.n_samples, source)
    write_posterior(attempt, posterior, graphs, seconds)
    entries: dict[str, Any] = {"dims": dims(posterior, config.n_samples)}
    if isinstance(tasks.config, TasksConfig) and isinstance(tasks.config.data, TableConfig):
        entries["warnings"] = trained.warnings_for(
            batch.x[0].numpy(), columns_of(tasks), config.seed, bool(batch.intervened.any())
        )
    return entries


def artifact_posterior(
    artifact: Artifact, batch: TaskBatch, *, seed: int = 0
) -> tuple[GraphPosterior, Float[np.ndarray, " B"]]:
    """`amortised_posterior` with the best weights of an amortised target, which knows how many rows
    it was trained on."""
    trained = trained_model(artifact)
    return amortised_posterior(trained.model, batch, most_rows=trained.most_rows, seed=seed)


def amortised_posterior(
    model: BaseModel, batch: TaskBatch, *, most_rows: int, seed: int = 0
) -> tuple[GraphPosterior, Float[np.ndarray, " B"]]:
    """The posterior of `model` for the raw tables of `batch`, and CPU seconds per task (a
    shared cost is split evenly).

    Tables of equal size are answered together and without padding; those with more than `most_rows`
    rows in parts, as `discover` does (see `large_tables`). The truth is not read.
    """
    blind = batch.without_truth()
    answers: dict[int, GraphPosterior] = {}
    seconds = np.zeros(len(blind))
    for chunk in watched(list(_equal_sizes(blind, most_rows)), model.config.kind):
        begin = cpu_seconds()
        part = cast(TaskBatch, collate([blind.task(b) for b in chunk], standardise=False))
        answer = (
            table_posterior(model, part, most_rows, seed)
            if part.n_rows > most_rows
            else model.posterior(part)
        )
        answers |= {b: answer.task(place) for place, b in enumerate(chunk)}
        seconds[chunk] = (cpu_seconds() - begin) / len(chunk)
    posterior = stack([answers[b] for b in range(len(blind))])
    return posterior.padded(blind.n_nodes), seconds


def _equal_sizes(batch: TaskBatch, most_rows: int) -> Iterator[list[int]]:
    """The tasks in groups of one size (N, D), small enough for one forward pass; a table with more
    than `most_rows` rows stands alone."""
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for b, size in enumerate(
        zip(batch.row_mask.sum(1).tolist(), batch.node_mask.sum(1).tolist(), strict=True)
    ):
        groups[size].append(b)
    for (rows, nodes), members in sorted(groups.items()):
        at_once = max(1, TOKENS_AT_ONCE // (rows * nodes)) if rows <= most_rows else 1
        yield from (members[start : start + at_once] for start in range(0, len(members), at_once))
