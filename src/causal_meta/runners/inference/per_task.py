"""Posteriors of methods that answer one task at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool

from causal_meta.clock import cpu_seconds
from causal_meta.conf import registry
from causal_meta.conf.inference import MethodConfig
from causal_meta.conf.registry import implementation
from causal_meta.conf.setting import ConfigError
from causal_meta.knowledge import Knowledge, KnowledgeError
from causal_meta.method_diagnostics import MethodDiagnostics
from causal_meta.models.task_method import State, TaskMethod
from causal_meta.posteriors import GraphPosterior, load_posterior, stack
from causal_meta.randomness import generator, torch_generator
from causal_meta.records.task_sets import read_task_arrays
from causal_meta.runners.inference.posterior_files import dims, write_posterior
from causal_meta.runners.progress import stages, watched
from causal_meta.runners.tasks.task_sets import columns_of, load_tasks
from causal_meta.tasks import Task, TaskBatch

if TYPE_CHECKING:
    from causal_meta.store import Attempt

#: After a kill about this many seconds of work are lost.
SECONDS_BETWEEN_CHECKPOINTS = 10.0


def infer_per_task(config: MethodConfig, attempt: Attempt) -> dict[str, Any]:
    """Answer every task of `attempt.inputs["of"]`; the builder of all `MethodConfig` kinds. Writes
    `posterior.npz`.

    Task b has random numbers of its own, so a killed run that resumes from its checkpoint gives the
    same answers. Returns entries of `meta.json`: dims and the method's diagnostics.

    Raises:
        ConfigError: the method cannot answer one of the tasks.
    """
    batch = load_tasks(attempt.inputs["of"]).without_truth()
    method: TaskMethod[Any] = implementation(config)(config)
    target = attempt.inputs["of"]
    kinds = read_task_arrays(target, "categorical", "context")
    tasks = informed_tasks(config, batch, columns_of(target), **kinds)
    for b, task in enumerate(tasks):
        try:
            method.check(task)
        except ConfigError as error:
            raise ConfigError(f"Task {b} cannot be answered: {error}") from None
    with stages(config.kind if len(batch) == 1 else "") as show:
        work = _Work(attempt, show)
        for b in watched(range(len(work.answers), len(batch)), config.kind):
            work.begin_task()
            source = generator(config.seed, config.kind, "task", b)
            work.finish_task(method.answer(tasks[b], source, work))
            if attempt.seconds_since_save() > SECONDS_BETWEEN_CHECKPOINTS and b + 1 < len(batch):
                work.write()
                attempt.facts.event("heartbeat", step=b + 1, tasks=len(batch))
    posterior = stack(work.answers).padded(batch.n_nodes)
    graphs = posterior.representative_graphs(
        config.n_samples, torch_generator(config.seed, config.kind, "graphs")
    )
    write_posterior(attempt, posterior, graphs, np.array(work.seconds))
    attempt.discard_checkpoints()
    return {"dims": dims(posterior, config.n_samples), **posterior.diagnostics.entries()}


def informed_tasks(
    config: MethodConfig,
    batch: TaskBatch,
    names: Sequence[str],
    categorical: Bool[np.ndarray, " D"] | None = None,
    context: Bool[np.ndarray, " D"] | None = None,
) -> list[Task]:
    """The tasks of a batch with what is known about their graphs and the kinds of their columns.

    Args:
        config: the method, with its knowledge.
        batch: the tasks.
        names: of the D variables; a task with fewer has the first ones.
        categorical: columns that hold numbers of categories.
        context: columns that have no causes.

    Raises:
        ConfigError: knowledge that names no variable or that no graph satisfies, and knowledge,
            contexts or categories where the method of `config` cannot use them.
    """
    _check_use(config, context is not None)
    result = []
    for b in range(len(batch)):
        task = batch.task(b)
        columns = names[: task.x.shape[1]]
        known = config.knowledge.resolved(columns)
        if context is not None:
            known = _with_contexts(known, np.flatnonzero(context).tolist())
        task.knowledge = None if known.is_empty else known
        if categorical is not None:
            task.categorical = torch.from_numpy(categorical)
            if not config.reads_categories:
                _check_binary(config, task, columns)
        result.append(task)
    return result


def _with_contexts(known: Knowledge, contexts: list[int]) -> Knowledge:
    try:
        return known.with_exogenous(contexts)
    except KnowledgeError as error:
        raise ConfigError(f"A context has no causes: {error}") from None


def _check_use(config: MethodConfig, has_context: bool) -> None:
    able = ", ".join(sorted(cls.kind for cls in registry.kinds(MethodConfig) if cls.uses_knowledge))
    if not config.knowledge.is_empty and not config.uses_knowledge:
        raise ConfigError(
            f"{config.kind} cannot use knowledge about the graph; leave it out, or use one of "
            f"{able}."
        )
    if has_context and not config.uses_knowledge:
        raise ConfigError(
            f"{config.kind} cannot use contexts and would treat them as variables that may have "
            f"causes; leave them out of the table, or use one of {able}."
        )


def _check_binary(config: MethodConfig, task: Task, columns: Sequence[str]) -> None:
    assert task.categorical is not None
    for place in torch.nonzero(task.categorical).flatten().tolist():
        if len(task.x[:, place].unique()) > 2:
            able = ", ".join(
                sorted(cls.kind for cls in registry.kinds(MethodConfig) if cls.reads_categories)
            )
            raise ConfigError(
                f"{config.kind} reads numbers, and column {columns[place]!r} holds more than two "
                f"categories; leave it out, or use one of {able or 'none'}."
            )


class _Work:
    """The answers so far with their CPU seconds, and the state of the task at work: the method's
    `Checkpoint`, kept in the attempt's.

    As arrays: `answer.B.NAME` for the arrays of the answer to task B, `state.NAME` for the state,
    `progress` for the rest, in JSON.

    Args:
        attempt: keeps it.
        stage: shows where the task at work stands.
    """

    def __init__(self, attempt: Attempt, stage: Callable[[str], None]) -> None:
        self._attempt, self.stage = attempt, stage
        arrays = attempt.load("arrays") or {}
        progress = json.loads(str(arrays["progress"])) if arrays else {}
        self.seconds: list[float] = progress.get("seconds", [])
        self.answers: list[GraphPosterior] = []
        for b, entries in enumerate(progress.get("diagnostics", [])):
            answer = load_posterior(_named(arrays, f"answer.{b}."))
            answer.diagnostics = MethodDiagnostics.from_entries(entries)
            self.answers.append(answer)
        self._state: State | None = _named(arrays, "state.") or None
        self._spent: float = progress.get("spent", 0.0)  # on the task at work, by earlier attempts

    def begin_task(self) -> None:
        """Start the clock of the next task."""
        self._began = cpu_seconds() - self._spent
        self._spent = 0.0

    def finish_task(self, answer: GraphPosterior) -> None:
        """Keep the answer to the task at work."""
        self.answers.append(answer)
        self.seconds.append(cpu_seconds() - self._began)
        self._state = None

    def load(self) -> State | None:
        """The state of the task at work."""
        return self._state

    def save(self, state: State) -> None:
        """Keep the state of the task at work, durably."""
        self._state = dict(state)
        self.write()

    def write(self) -> None:
        """Replace the attempt's checkpoint."""
        progress = {
            "seconds": self.seconds,
            "diagnostics": [answer.diagnostics.entries() for answer in self.answers],
            "spent": 0.0 if self._state is None else cpu_seconds() - self._began,
        }
        arrays = {f"state.{name}": value for name, value in (self._state or {}).items()}
        for b, answer in enumerate(self.answers):
            arrays |= {f"answer.{b}.{name}": value for name, value in answer.arrays().items()}
        arrays["progress"] = np.array(json.dumps(progress))
        self._attempt.save(arrays, len(self.answers), "arrays")


def _named(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The arrays whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in arrays.items()
        if name.startswith(prefix)
    }
