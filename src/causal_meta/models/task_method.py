"""Methods that infer a posterior for one data set at a time, without training on others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from causal_meta.conf.inference import MethodConfig
from causal_meta.posteriors import GraphPosterior
from causal_meta.tasks import Task

State = Mapping[str, NDArray[Any]]
C = TypeVar("C", bound=MethodConfig)


class Checkpoint(Protocol):
    """The saved state of a long computation of a method on one task, and where it stands."""

    def load(self) -> State | None:
        """The state that was saved last for this task; None at its beginning."""

    def save(self, state: State) -> None:
        """Replace the saved state. It must hold all that is needed to continue exactly, the state
        of the random numbers included."""

    def stage(self, words: str) -> None:
        """Say what is computed now, in a few words for the user."""


class _NoCheckpoint:
    """Saves and says nothing."""

    def load(self) -> State | None:
        return None

    def save(self, state: State) -> None:
        return None

    def stage(self, words: str) -> None:
        return None


NO_CHECKPOINT: Checkpoint = _NoCheckpoint()


class TaskMethod(ABC, Generic[C]):
    """Base of the methods that answer one task at a time.

    A caller gets the same kind of answer as from a trained `BaseModel`: a `GraphPosterior`, with
    its own marginals, log probabilities, mechanisms and diagnostics.
    """

    def __init__(self, config: C) -> None:
        self.config = config

    @property
    def needs_pretraining(self) -> bool:
        """Whether the method must be trained on a stream of tasks before it can answer: no."""
        return self.config.needs_pretraining

    def check(self, task: Task) -> None:
        """Raise `ConfigError` in one sentence if the method cannot answer this task. Called for
        every task of a set before the first is answered."""
        return None

    @abstractmethod
    def answer(
        self, task: Task, generator: np.random.Generator, checkpoint: Checkpoint = NO_CHECKPOINT
    ) -> GraphPosterior:
        """The posterior (B = 1) of one task without its truth, a function of task, generator and
        configuration alone.

        Args:
            task: rows as measured, with the mask of the cells that were set by interventions. The
                method declares what it does with them: it standardises, models interventions, or
                leaves rows out and counts them in the posterior's `diagnostics`.
            generator: the only source of random numbers.
            checkpoint: a long computation saves its state there and begins from what it loads.
        """
