"""Checkpoints of samplers: what a sampler requires of the owner of its checkpoints."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


class Checkpoint(Protocol):
    """Storage for the state of all chains between two compiled segments, as plain arrays (random
    keys as their words)."""

    def load(self) -> Arrays | None:
        """The arrays saved last for this very configuration; None where nothing was saved."""

    def save(self, arrays: Arrays, done: int) -> None:
        """Replace the arrays saved before by `arrays`; `done` segments of the run are complete."""


class Kept:
    """A checkpoint in memory, to resume chains within one process."""

    def __init__(self) -> None:
        self.arrays: Arrays | None = None
        self.done = 0

    def load(self) -> Arrays | None:
        """The arrays saved last."""
        return self.arrays

    def save(self, arrays: Arrays, done: int) -> None:
        """Keep copies of the arrays."""
        self.arrays, self.done = {name: np.array(values) for name, values in arrays.items()}, done
