"""Saying that code is compiled, while the user waits for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from numba.core import event

from causal_meta.models.task_method import Checkpoint

_WORDS = " (compiling once, about 15 s)"


@contextlib.contextmanager
def announced(checkpoint: Checkpoint) -> Iterator[Checkpoint]:
    """The checkpoint, whose stage says so while functions are compiled inside."""
    listener = _Compilations(checkpoint)
    event.register("numba:compile", listener)
    try:
        yield listener
    finally:
        event.unregister("numba:compile", listener)


class _Compilations(event.Listener):  # type: ignore[misc]
    """A checkpoint that hears when the outermost of nested compilations begins and ends."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.load, self.save = checkpoint.load, checkpoint.save
        self._stage, self._words, self._depth = checkpoint.stage, "", 0

    def stage(self, words: str) -> None:
        self._words = words
        self._stage(words)

    def on_start(self, event: event.Event) -> None:
        if self._depth == 0:
            self._stage(self._words + _WORDS)
        self._depth += 1

    def on_end(self, event: event.Event) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._stage(self._words)
