"""The bootstrap of a method that answers a table with one, possibly partially directed, graph.

For each replicate rows are drawn with replacement, the columns are shuffled, the method is fitted,
the columns are put back, and one random directed acyclic graph of the resulting class is taken.
The columns are shuffled because BOSS starts its search from their order, and the order of a file
can give the answer away.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter

import numpy as np
from jaxtyping import Bool, Float, Int8

from causal_meta.models.classical.particle_method import ParticleMethod
from causal_meta.models.task_method import C

#: How often a bootstrap replicate with a constant column is drawn again before noise is added
#: instead.
REDRAWS = 20
#: The noise, in standard deviations of a column, that makes a degenerate replicate regular.
JITTER = 1e-3
#: A correlation matrix with a smaller eigenvalue counts as singular.
SINGULAR = 1e-9


class Bootstrap(ParticleMethod[C]):
    """The bootstrap of a method that answers a table with one, possibly partially directed,
    graph."""

    def particles(
        self, x: Float[np.ndarray, "N D"], generator: np.random.Generator
    ) -> tuple[Int8[np.ndarray, "S D D"], Counter[str]]:
        count, n_nodes = self.config.n_samples, x.shape[1]
        fitted = np.zeros((count, n_nodes, n_nodes), dtype=np.int8)
        record: Counter[str] = Counter()
        for replicate in range(count):
            rows = resample(np.asarray(x, dtype=np.float64), generator, record)
            shuffle = generator.permutation(n_nodes)
            fitted[replicate][np.ix_(shuffle, shuffle)] = self.fit(rows[:, shuffle], generator)
        graphs, inconsistent = consistent_extension(fitted, generator)
        record["without_consistent_extension"] += int(inconsistent.sum())
        return graphs, record

    @abstractmethod
    def fit(
        self, rows: Float[np.ndarray, "N D"], generator: np.random.Generator
    ) -> Int8[np.ndarray, "D D"]:
        """The graph of the rows; an undirected edge holds 1 in both directions."""


def resample(
    x: Float[np.ndarray, "N D"],
    generator: np.random.Generator,
    record: Counter[str] | None = None,
) -> Float[np.ndarray, "N D"]:
    """N rows of `x` drawn with replacement, regular enough for every method: no constant
    column, no singular correlation.

    A replicate with a constant column is drawn again, up to `REDRAWS` times. If a column is still
    constant, or the correlations are singular (a duplicated column, fewer rows than variables),
    normal noise of `JITTER` standard deviations is added to every cell (of 1, in a constant
    column). Both are counted in `record`.
    """
    record = Counter() if record is None else record
    for _ in range(1 + REDRAWS):
        rows = x[generator.integers(len(x), size=len(x))]
        spread = rows.std(axis=0)
        constant = np.ptp(rows, axis=0) == 0
        if not constant.any():
            break
        record["redrawn"] += 1
    if constant.any() or np.linalg.eigvalsh(np.corrcoef(rows.T))[0] < SINGULAR:
        record["jittered"] += 1
        rows = rows + JITTER * np.where(constant, 1.0, spread) * generator.standard_normal(
            rows.shape
        )
    return rows


def consistent_extension(
    pdag: Int8[np.ndarray, "S D D"], generator: np.random.Generator
) -> tuple[Int8[np.ndarray, "S D D"], Bool[np.ndarray, " S"]]:
    """One random directed acyclic graph for each partially directed graph (an undirected edge holds
    1 in both directions), and which of them had no consistent extension.

    Dor & Tarsi (1992): take a node without outgoing edges whose undirected neighbours are adjacent
    to all its neighbours, point its undirected edges at it, remove it, repeat; among several such
    nodes one is chosen at random, so every member of a Markov equivalence class is possible (not
    with equal probability). A graph that has no consistent extension (PC on finite rows) has at
    some point no such node: then one is taken that has the fewest outgoing edges (these are
    reversed: they lie on a cycle) and, among those, makes the fewest new unshielded colliders. The
    skeleton is always kept.
    """
    left = pdag.astype(bool)
    count, n_nodes = left.shape[:2]
    each, itself = np.arange(count), np.eye(n_nodes, dtype=bool)
    dag = np.zeros((count, n_nodes, n_nodes), dtype=np.int8)
    present = np.ones((count, n_nodes), dtype=bool)
    inconsistent = np.zeros(count, dtype=bool)
    for _ in range(n_nodes):
        adjacent = left | left.swapaxes(1, 2)
        undirected = left & left.swapaxes(1, 2)
        outgoing = (left & ~undirected).sum(2)
        # [x, y]: neighbours of x that y lacks
        unlinked = adjacent.astype(np.float32) @ (~adjacent & ~itself).astype(np.float32)
        colliders = (unlinked * undirected).sum(2)
        cost = np.where(present, outgoing * n_nodes**3 + colliders, np.inf)
        least = cost.min(1, keepdims=True)
        inconsistent |= least[:, 0] > 0
        sink = np.argmax((cost == least) * (1 + generator.random((count, n_nodes))), axis=1)
        dag[each, :, sink] |= adjacent[each, :, sink].astype(np.int8)
        left[each, sink, :] = False
        left[each, :, sink] = False
        present[each, sink] = False
    return dag, inconsistent
