"""Posteriors for task sets: the baselines, and the amortised models. Both read rows only and meet
the evaluation on disk.

`posterior.npz` holds what `GraphPosterior.arrays` says, with `graphs` uint8 [B, S, D, D]: the
particles themselves, or S samples. The CPU seconds per task are facts (scalars `cpu_seconds` of
split "infer", the task as the step): they differ between two makings of one result, which therefore
keeps its digest.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from causal_meta.clock import cpu_seconds
from causal_meta.conf.data import TableConfig
from causal_meta.conf.inference import DiscoverConfig, MethodConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.datasets.real import MIN_ROWS
from causal_meta.models.base import TOKENS_AT_ONCE, BaseModel
from causal_meta.models.classical.baselines import make_baseline
from causal_meta.posteriors import EmpiricalGraphs, GraphPosterior, stack
from causal_meta.randomness import generator, torch_generator
from causal_meta.runners.inference.large_tables import table_posterior
from causal_meta.runners.inference.trained import trained_model
from causal_meta.runners.tasks.task_sets import columns_of, load_tasks
from causal_meta.tasks import TaskBatch, collate

if TYPE_CHECKING:
    from causal_meta.store import Artifact, Attempt

#: A killed baseline loses at most about so many seconds of work.
SECONDS_BETWEEN_CHECKPOINTS = 10.0


# ---------------------------------------------------------------------------------------- baselines


def infer_baseline(config: MethodConfig, attempt: Attempt) -> dict[str, Any]:
    """Answer every task of `attempt.inputs["of"]` with a baseline; the builder of their kinds.
    Writes `posterior.npz`.

    Rows under interventions are left out: every baseline takes its rows for draws from one law. The
    others are standardised per task and column, except for a baseline that reads their scale. Task
    b has a random stream of its own, so a killed run that goes on from its checkpoint gives the
    same graphs. Returns dims, the number of rows left out, and counts of mended replicates, for
    `meta.json`. Raises `ConfigError` if too few rows are left.
    """
    given = load_tasks(attempt.inputs["of"]).without_truth()
    batch = observational(given)
    baseline = make_baseline(config)
    rows = batch if baseline.needs_scale else batch.standardised()
    work = _Unfinished.resumed(attempt)
    for b in watched(range(len(work.graphs), len(batch)), config.kind):
        begin = cpu_seconds()
        x = rows.task(b).x.to(torch.float64).numpy()
        graphs, mended = baseline.replicates(x, generator(config.seed, config.kind, "task", b))
        work.graphs.append(graphs)
        work.mended.update(mended)
        work.seconds.append(cpu_seconds() - begin)
        if attempt.seconds_since_save() > SECONDS_BETWEEN_CHECKPOINTS and b + 1 < len(batch):
            work.save(attempt)
            attempt.facts.event("heartbeat", step=b + 1, tasks=len(batch))
    graphs = np.zeros((len(batch), config.n_samples, batch.n_nodes, batch.n_nodes), dtype=np.int8)
    for b, found in enumerate(work.graphs):
        graphs[b, :, : found.shape[-1], : found.shape[-1]] = found
    posterior = EmpiricalGraphs(torch.from_numpy(graphs), batch.node_mask)
    write_posterior(attempt, posterior, posterior.graphs, np.array(work.seconds))
    attempt.discard_checkpoints()
    left_out = int(given.row_mask.sum() - batch.row_mask.sum())
    counts = {name: int(count) for name, count in sorted(work.mended.items())}
    return {
        "dims": _dims(posterior, config.n_samples),
        "interventional_rows_left_out": left_out,
        "mended": counts,
    }


def observational(batch: TaskBatch) -> TaskBatch:
    """The batch without its rows under interventions. Raises `ConfigError` if a task keeps fewer
    than `MIN_ROWS` rows."""
    if not bool(batch.intervened.any()):
        return batch
    tasks = []
    for b in range(len(batch)):
        task = batch.task(b)
        kept = ~task.intervened.any(dim=1)
        if int(kept.sum()) < MIN_ROWS:
            raise ConfigError(
                f"Task {b} has {int(kept.sum())} rows without interventions; a baseline reads "
                f"only those and needs at least {MIN_ROWS}: "
                "use a model that was trained on interventions (causal-meta discover), or give "
                "more observational rows."
            )
        tasks.append(dataclasses.replace(task, x=task.x[kept], intervened=task.intervened[kept]))
    return cast(TaskBatch, collate(tasks, standardise=False))


@dataclasses.dataclass
class _Unfinished:
    """The tasks that are done: their graphs [S, D, D], CPU seconds, and counts of mended replicates
    over all of them."""

    graphs: list[NDArray[np.int8]] = dataclasses.field(default_factory=list)
    seconds: list[float] = dataclasses.field(default_factory=list)
    mended: Counter[str] = dataclasses.field(default_factory=Counter)

    def save(self, attempt: Attempt) -> None:
        """Let a later attempt continue from here."""
        payload = {
            "graphs": [torch.from_numpy(graph) for graph in self.graphs],
            "seconds": self.seconds,
            "mended": dict(self.mended),
        }
        attempt.save(payload, len(self.graphs), "tensors")

    @classmethod
    def resumed(cls, attempt: Attempt) -> _Unfinished:
        """What an earlier attempt had done; nothing, if there was none."""
        payload = attempt.load("tensors")
        if payload is None:
            return cls()
        return cls(
            [graph.numpy() for graph in payload["graphs"]],
            list(payload["seconds"]),
            Counter(payload["mended"]),
        )


# --------------------------------------------------------------------------------- amortised models


def infer_amortised(config: DiscoverConfig, attempt: Attempt) -> dict[str, Any]:
    """Answer every table of the task set `attempt.inputs["tasks"]` with the model
    `attempt.inputs["of"]`. Writes `posterior.npz`.

    For a user's table `warnings` says what about it is unlike the training tables.
    """
    trained, tasks = trained_model(attempt.inputs["of"]), attempt.inputs["tasks"]
    batch = load_tasks(tasks).without_truth()
    posterior, seconds = amortised_posterior(
        trained.model, batch, most_rows=trained.most_rows, seed=config.seed
    )
    graphs = posterior.representative_graphs(
        config.n_samples, torch_generator(config.seed, config.kind, "graphs")
    )
    write_posterior(attempt, posterior, graphs, seconds)
    said: dict[str, Any] = {"dims": _dims(posterior, config.n_samples)}
    if isinstance(tasks.config, TasksConfig) and isinstance(tasks.config.data, TableConfig):
        said["warnings"] = trained.warnings_for(
            batch.x[0].numpy(), columns_of(tasks), config.seed, bool(batch.intervened.any())
        )
    return said


def artifact_posterior(
    artifact: Artifact, batch: TaskBatch, *, seed: int = 0
) -> tuple[GraphPosterior, NDArray[np.float64]]:
    """`amortised_posterior` with the best weights of an amortised target, which knows how many rows
    it was trained on."""
    trained = trained_model(artifact)
    return amortised_posterior(trained.model, batch, most_rows=trained.most_rows, seed=seed)


def amortised_posterior(
    model: BaseModel, batch: TaskBatch, *, most_rows: int, seed: int = 0
) -> tuple[GraphPosterior, NDArray[np.float64]]:
    """The posterior of `model` for the raw tables of `batch`, and CPU seconds per task [B] (a
    shared cost is split evenly).

    Tables of equal size are answered together and without padding; those with more than `most_rows`
    rows in parts, as `discover` does (see `large_tables`). The truth is not looked at.
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


# --------------------------------------------------------------------------------------- posteriors


def write_posterior(
    attempt: Attempt, posterior: GraphPosterior, graphs: Tensor, seconds: NDArray[np.float64]
) -> None:
    """Write `posterior.npz`, and the CPU seconds of each task as facts."""
    arrays = posterior.arrays() | {"graphs": graphs.to(torch.uint8).numpy()}
    np.savez_compressed(attempt.folder / "posterior.npz", **arrays)  # type: ignore[arg-type]
    for b, value in enumerate(seconds):
        attempt.facts.scalars(b, "infer", {"cpu_seconds": float(value)})


def _dims(posterior: GraphPosterior, n_samples: int) -> dict[str, int]:
    return {
        "n_tasks": len(posterior),
        "n_nodes": posterior.node_mask.shape[1],
        "n_samples": n_samples,
    }


def watched(items: Iterable[Any], title: str) -> Iterator[Any]:
    """`items`, with a progress bar on standard error where somebody watches."""
    listed = list(items)
    if not sys.stderr.isatty() or len(listed) < 2:
        yield from listed
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(listed, description=title, console=Console(stderr=True), transient=True)
