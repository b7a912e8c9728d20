"""Where a half-done chain waits: what a sampler needs of whoever keeps its state between two
segments."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


class Checkpoint(Protocol):
    """A place for the state of all chains between two compiled segments, as plain arrays (random
    keys as their words)."""

    def load(self) -> Arrays | None:
        """What `save` was given last for this very configuration, or None where there is
        nothing."""

    def save(self, arrays: Arrays, done: int) -> None:
        """Keep `arrays` in place of what was kept before; `done` of the sampler's segments are
        behind."""


class Kept:
    """A checkpoint in memory: for tests, and for whoever wants to go on with a chain in the same
    process."""

    def __init__(self) -> None:
        self.arrays: Arrays | None = None
        self.done = 0

    def load(self) -> Arrays | None:
        """The arrays saved last."""
        return self.arrays

    def save(self, arrays: Arrays, done: int) -> None:
        """Keep copies of the arrays."""
        self.arrays, self.done = {name: np.array(values) for name, values in arrays.items()}, done
