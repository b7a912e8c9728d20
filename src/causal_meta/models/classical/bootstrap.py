"""Methods that answer a table with one, possibly partially directed, graph: plain or bootstrapped.

For each bootstrap replicate rows are drawn with replacement, the columns are shuffled, the method
is fitted, the columns are put back, and one random directed acyclic graph of the resulting class is
taken. The plain method is fitted once, to the rows as they are, and the graphs are taken from its
class. The columns are shuffled because searches may start from their order, and the order of a file
can give the answer away.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float, Int, Int8

from causal_meta.conf.inference import BootstrapConfig
from causal_meta.knowledge import Knowledge
from causal_meta.models.classical.particle_method import ParticleMethod

#: How often a bootstrap replicate with a constant column is drawn again before noise is added
#: instead.
REDRAWS = 20
#: The noise, in standard deviations of a column, that makes a degenerate replicate regular.
JITTER = 1e-3
#: A correlation matrix with a smaller eigenvalue counts as singular.
SINGULAR = 1e-9
#: A variable has at most one parent for every so many different rows (and may always have one).
ROWS_PER_PARENT = 5

B = TypeVar("B", bound=BootstrapConfig)


class Bootstrap(ParticleMethod[B]):
    """A method that answers a table with one, possibly partially directed, graph; bootstrapped, or
    with `bootstrap: false` plain.

    Searches with a score get a bound on the number of parents from the rows: `ROWS_PER_PARENT`
    different rows for each. Without it, where rows are few, the largest families fit noise
    perfectly (a bootstrap replicate of 12 rows holds about 8 different ones) and the search takes
    exponential time. Graphs that meet the bound are counted.
    """

    #: Whether the method takes the bound on the number of parents.
    bounds_parents: bool = False

    def particles(
        self,
        x: Float[np.ndarray, "N D"],
        generator: np.random.Generator,
        knowledge: Knowledge | None = None,
    ) -> tuple[Int8[np.ndarray, "S D D"], Counter[str]]:
        x = np.asarray(x, dtype=np.float64)
        known = Knowledge.none(x.shape[1]) if knowledge is None else knowledge
        record: Counter[str] = Counter()
        count, n_nodes = self.config.n_samples, x.shape[1]
        fitted = np.zeros((count, n_nodes, n_nodes), dtype=np.int8)
        bounds = np.zeros(count, dtype=np.int64)
        for s in range(count if self.config.bootstrap else 1):
            if self.config.bootstrap:
                rows, different = resample(x, generator, record)
            else:
                rows, different = regular(x, generator, record), len(x)
            bounds[s] = max(1, different // ROWS_PER_PARENT)
            shuffle = generator.permutation(n_nodes)
            bounded = shuffled(known, shuffle, int(bounds[s]))
            fitted[s][np.ix_(shuffle, shuffle)] = self.fit(
                rows[:, shuffle], generator, bounded, record
            )
        if not self.config.bootstrap:
            fitted[:], bounds[:] = fitted[0], bounds[0]
        graphs, inconsistent = consistent_extension(fitted, generator, knowledge)
        record["without_consistent_extension"] += int(inconsistent.sum())
        if self.bounds_parents:
            at_bound = (graphs.sum(axis=1).max(axis=1) >= bounds) & (bounds < n_nodes - 1)
            record["parents_at_bound"] += int(at_bound.sum())
        return graphs, record

    @abstractmethod
    def fit(
        self,
        rows: Float[np.ndarray, "N D"],
        generator: np.random.Generator,
        knowledge: Knowledge,
        record: Counter[str],
    ) -> Int8[np.ndarray, "D D"]:
        """The graph of the rows; an undirected edge holds 1 in both directions. `knowledge` bounds
        the number of parents; what the method did is counted in `record`."""


def shuffled(knowledge: Knowledge, order: Int[np.ndarray, " D"], bound: int) -> Knowledge:
    """The knowledge about variables in another order, with at most `bound` parents where it
    requires no more."""
    required = knowledge.required[np.ix_(order, order)]
    bound = max(bound, int(required.sum(axis=0).max()))
    if knowledge.max_parents is not None:
        bound = min(bound, knowledge.max_parents)
    return Knowledge(knowledge.forbidden[np.ix_(order, order)], required, bound)


def resample(
    x: Float[np.ndarray, "N D"],
    generator: np.random.Generator,
    record: Counter[str] | None = None,
) -> tuple[Float[np.ndarray, "N D"], int]:
    """N rows of `x` drawn with replacement, regular enough for every method, and how many
    different rows they are.

    A replicate with a constant column is drawn again, up to `REDRAWS` times, which is counted in
    `record`; then it is made `regular`.
    """
    record = Counter() if record is None else record
    for _ in range(1 + REDRAWS):
        places = generator.integers(len(x), size=len(x))
        rows = x[places]
        if np.ptp(rows, axis=0).all():
            break
        record["redrawn"] += 1
    return regular(rows, generator, record), len(np.unique(places))


def regular(
    rows: Float[np.ndarray, "N D"], generator: np.random.Generator, record: Counter[str]
) -> Float[np.ndarray, "N D"]:
    """The rows without constant columns and singular correlations.

    If a column is constant, or the correlations are singular (a duplicated column, fewer rows than
    variables), normal noise of `JITTER` standard deviations is added to every cell (of 1, in a
    constant column), which is counted in `record`.
    """
    spread = rows.std(axis=0)
    constant = np.ptp(rows, axis=0) == 0
    if constant.any() or np.linalg.eigvalsh(np.corrcoef(rows.T))[0] < SINGULAR:
        record["jittered"] += 1
        rows = rows + JITTER * np.where(constant, 1.0, spread) * generator.standard_normal(
            rows.shape
        )
    return rows


def consistent_extension(
    pdag: Int8[np.ndarray, "S D D"],
    generator: np.random.Generator,
    knowledge: Knowledge | None = None,
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

    With knowledge, required edges are added and forbidden ones reversed or removed first. Then a
    node with a required outgoing edge is never taken, and one with an outgoing edge whose reversal
    is forbidden only if all others have such edges too: that edge is left out.
    """
    count, n_nodes = pdag.shape[:2]
    known = Knowledge.none(n_nodes) if knowledge is None else knowledge
    left = obeying(pdag.astype(bool), known)
    each, itself = np.arange(count), np.eye(n_nodes, dtype=bool)
    dag = np.zeros((count, n_nodes, n_nodes), dtype=np.int8)
    present = np.ones((count, n_nodes), dtype=bool)
    inconsistent = np.zeros(count, dtype=bool)
    for _ in range(n_nodes):
        adjacent = left | left.swapaxes(1, 2)
        undirected = left & left.swapaxes(1, 2)
        directed = left & ~undirected
        lost = (directed & known.forbidden.T).sum(2)
        # [x, y]: neighbours of x that y lacks
        unlinked = adjacent.astype(np.float32) @ (~adjacent & ~itself).astype(np.float32)
        colliders = (unlinked * undirected).sum(2)
        cost = lost * n_nodes**5 + directed.sum(2) * n_nodes**3 + colliders
        cost = np.where(present & ~(left & known.required).any(2), cost, np.inf)
        least = cost.min(1, keepdims=True)
        inconsistent |= least[:, 0] > 0
        sink = np.argmax((cost == least) * (1 + generator.random((count, n_nodes))), axis=1)
        allowed = adjacent[each, :, sink] & ~known.forbidden[:, sink].T
        dag[each, :, sink] |= allowed.astype(np.int8)
        left[each, sink, :] = False
        left[each, :, sink] = False
        present[each, sink] = False
    return dag, inconsistent


def obeying(pdag: Bool[np.ndarray, "S D D"], knowledge: Knowledge) -> Bool[np.ndarray, "S D D"]:
    """Partially directed graphs with every required edge, and without edges that are forbidden in
    their direction: these are reversed where that is allowed, and else removed."""
    graph = (pdag | knowledge.required) & ~knowledge.required.T
    return (graph | (graph & knowledge.forbidden).swapaxes(1, 2)) & ~knowledge.forbidden
