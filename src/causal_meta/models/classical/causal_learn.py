"""The boundary to causal-learn: imports, global random numbers, and its matrices of endpoints."""

from __future__ import annotations

import contextlib
import importlib
import random
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Int, Int8

from causal_meta.conf.setting import ConfigError


def load(module: str) -> Any:
    """A module of causal-learn, imported now. Raises `ConfigError` if the extra is not
    installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"PC needs causal-learn ({error}); install it with: pip install "
            "'causal-meta[baselines]'"
        ) from None


@contextlib.contextmanager
def quiet_globals(generator: np.random.Generator) -> Iterator[None]:
    """Lend the process-wide generators of `random` and NumPy, in a state drawn from `generator`, to
    code that uses no others, and restore them.

    Warnings raised inside (fewer rows than columns, divisions by zero on degenerate replicates) are
    suppressed.
    """
    python, legacy = random.getstate(), np.random.get_state()
    seed = int(generator.integers(2**32))
    random.setstate(random.Random(seed).getstate())
    np.random.set_state(np.random.RandomState(seed).get_state())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


def from_endpoints(graph: Int[np.ndarray, "D D"]) -> Int8[np.ndarray, "D D"]:
    """The adjacency matrix of causal-learn's matrix of endpoints.

    In it `graph[j, i] = 1, graph[i, j] = -1` is i -> j, -1 twice is i - j and 1 twice i <-> j
    (counted as undirected).
    """
    tail = graph == -1
    both_arrows = (graph == 1) & (graph.T == 1)
    return (tail | both_arrows).astype(np.int8)
