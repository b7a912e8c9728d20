"""Methods that answer with particles: a finite set of equally likely graphs per task."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections import Counter

import numpy as np
import torch
from jaxtyping import Float, Int8

from causal_meta.conf.inference import MethodConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.datasets.real import MIN_ROWS
from causal_meta.knowledge import Knowledge
from causal_meta.method_diagnostics import MethodDiagnostics
from causal_meta.models.task_method import NO_CHECKPOINT, C, Checkpoint, TaskMethod
from causal_meta.posteriors import EmpiricalGraphs
from causal_meta.tasks import Task, full_batch


class ParticleMethod(TaskMethod[C]):
    """A method that takes its rows for independent draws from one distribution.

    Rows under interventions are therefore left out, and counted in the diagnostics. The others are
    standardised per column, except for a method that reads their scale.
    """

    #: Whether the method reads the scale of the columns, which standardising would remove.
    needs_scale: bool = False

    def check(self, task: Task) -> None:
        """Raise `ConfigError` if too few rows are without interventions, or the task holds
        knowledge that the method cannot use."""
        check_knowledge(self.config, task)
        observational(task)

    def answer(
        self, task: Task, generator: np.random.Generator, checkpoint: Checkpoint = NO_CHECKPOINT
    ) -> EmpiricalGraphs:
        """The particles of a task. Each task is quick: the checkpoint is not used."""
        rows = observational(task)
        batch = full_batch(rows.x[None], None, [rows.seed])
        if not self.needs_scale:
            batch = batch.standardised()
        x = batch.x[0].to(torch.float64).numpy()
        graphs, record = self.particles(x, generator, task.knowledge)
        posterior = EmpiricalGraphs(torch.from_numpy(graphs)[None], batch.node_mask)
        posterior.diagnostics = MethodDiagnostics(
            len(task.x) - len(rows.x),
            restarts=record.pop("restarts", 0),
            searches=record.pop("searches", 0),
            best_reached=record.pop("best_reached", 0),
            mended=dict(record),
        )
        return posterior

    @abstractmethod
    def particles(
        self,
        x: Float[np.ndarray, "N D"],
        generator: np.random.Generator,
        knowledge: Knowledge | None = None,
    ) -> tuple[Int8[np.ndarray, "S D D"], Counter[str]]:
        """S = `config.n_samples` acyclic graphs that obey the knowledge, and counts of what had to
        be repaired and of starts of a search, by name. A function of its arguments alone."""


def check_knowledge(config: MethodConfig, task: Task) -> None:
    """Raise `ConfigError` if the task holds knowledge and the method does not obey any."""
    if task.knowledge is not None and not config.uses_knowledge:
        raise ConfigError(
            f"{config.kind} cannot use knowledge about the graph; leave it out, or use another "
            "method."
        )


def observational(task: Task) -> Task:
    """The task without its rows under interventions.

    Raises:
        ConfigError: there are such rows, and fewer than `MIN_ROWS` others.
    """
    if not bool(task.intervened.any()):
        return task
    kept = ~task.intervened.any(dim=1)
    if int(kept.sum()) < MIN_ROWS:
        raise ConfigError(
            f"{int(kept.sum())} rows are without interventions; a baseline reads only those and "
            f"needs at least {MIN_ROWS}: use a model that was trained on interventions "
            "(causal-meta discover), or give more observational rows."
        )
    return dataclasses.replace(task, x=task.x[kept], intervened=task.intervened[kept])
