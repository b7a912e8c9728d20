"""Best order score search, bootstrapped or plain."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import torch
from jaxtyping import Float, Int8

from causal_meta.conf.inference import BOSSConfig
from causal_meta.graphs import cpdag
from causal_meta.knowledge import Knowledge
from causal_meta.models.classical.bootstrap import Bootstrap
from causal_meta.models.classical.gaussian_bic import GaussianBIC, members

#: Families computed by one fit after which its search ends (about 40 s on one core at D = 50).
WORK = 1_000_000
#: After so many starts no more are made once so many ended at the best score.
ENOUGH_STARTS, ENOUGH_AT_BEST = 10, 6
#: Scores closer than this, in nats, are equal.
TOLERANCE = 1e-6


class BOSS(Bootstrap[BOSSConfig]):
    """Best order score search (Andrews et al. 2023) with BIC, `penalty` log N per parameter, from
    several random orders.

    An order scores the sum over the variables of the best parents among those before it, chosen by
    growing, shrinking and exchanging (`GaussianBIC.best_parents`). A search moves one variable at a
    time to its best place until no move improves the score. One start ends in a local optimum in
    about half of the tasks with ten variables, so starts are repeated: `starts` of them, or fewer
    once ten were made and six ended at the best score. The best graph is the answer.

    Differences from the paper and causal-learn: the restarts, growth by pairs and exchanges. Where
    two causes nearly cancel, causal-learn's search misses the true graph's score however often it
    is started. A fit that has computed `WORK` families ends where it is, and this is counted.
    Forbidden parents are never candidates, required ones always parents, and only orders that allow
    these are scored.
    """

    bounds_parents = True

    def fit(
        self,
        rows: Float[np.ndarray, "N D"],
        generator: np.random.Generator,
        knowledge: Knowledge,
        record: Counter[str],
    ) -> Int8[np.ndarray, "D D"]:
        """The completed partially directed graph of the rows."""
        score = GaussianBIC(rows, self.config.penalty, knowledge)
        best, at_best, starts = -math.inf, 0, 0
        parents: list[int] = []
        while starts < self.config.starts and (not starts or _works(score)):
            if starts >= ENOUGH_STARTS and at_best >= ENOUGH_AT_BEST:
                break
            order = random_order(score, generator)
            improve(score, order, generator)
            total, chosen = graph_of(score, order)
            starts += 1
            at_best = at_best + 1 if total > best - TOLERANCE else at_best
            if total > best + TOLERANCE:
                best, parents, at_best = total, chosen, 1
        record.update(
            searches=1, restarts=starts - 1, best_reached=at_best, work_bound=not _works(score)
        )
        graph = np.zeros((score.n_nodes, score.n_nodes), dtype=np.int8)
        for node, causes in enumerate(parents):
            graph[members(causes), node] = 1
        return cpdag(torch.from_numpy(graph)).numpy()


def improve(score: GaussianBIC, order: list[int], generator: np.random.Generator) -> None:
    """Move variables, each to its best place, in sweeps of random order, until none moves."""
    moved = True
    while moved and _works(score):
        moved = False
        for node in generator.permutation(len(order)).tolist():
            moved |= relocate(score, node, order)


def relocate(score: GaussianBIC, node: int, order: list[int]) -> bool:
    """Move `node` to the place where the order scores best; whether that is a better place."""
    now = order.index(node)
    others = order[:now] + order[now + 1 :]
    values, before, total = [], 0, 0.0
    for other in others:
        values.append(score.best_parents(node, before)[1] + total)
        total += score.best_parents(other, before)[1]
        before |= 1 << other
    values.append(score.best_parents(node, before)[1] + total)
    before, total = before | 1 << node, 0.0
    for place in range(len(others) - 1, -1, -1):
        before &= ~(1 << others[place])
        total += score.best_parents(others[place], before)[1]
        values[place] += total
    best = int(np.argmax(values))
    if values[best] <= values[now] + TOLERANCE:
        return False
    order[:] = [*others[:best], node, *others[best:]]
    return True


def graph_of(score: GaussianBIC, order: list[int]) -> tuple[float, list[int]]:
    """The score of an order and each variable's parents, as sets."""
    before, total = 0, 0.0
    parents = [0] * len(order)
    for node in order:
        parents[node], value = score.best_parents(node, before)
        total += value
        before |= 1 << node
    return total, parents


def random_order(score: GaussianBIC, generator: np.random.Generator) -> list[int]:
    """A random order with required parents before their children."""
    left = generator.permutation(score.n_nodes).tolist()
    order: list[int] = []
    before = 0
    while left:
        node = next(node for node in left if not score.required[node] & ~before)
        left.remove(node)
        order.append(node)
        before |= 1 << node
    return order


def _works(score: GaussianBIC) -> bool:
    return score.work < WORK
