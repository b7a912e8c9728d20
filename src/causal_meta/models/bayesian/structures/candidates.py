"""Which variables may be parents of which: greedy growth, then refinement from sampled graphs.

A parent set outside the candidates has probability zero in all that follows, so that the candidates
decide what a search can reach. Growth alone misses parents that matter only jointly with others,
and children that a node must keep as candidates so that an edge can be reversed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int8, Int64

from causal_meta.models.bayesian.structures.family_scores import FamilyScores

#: A candidate is kept while an edge with it has this probability, in either direction.
WORTH = 0.02
#: Refinement ends after this many rounds in a row that do not raise the best score.
_STALE = 4
#: Growth ends after this many additions in a row that do not raise the score.
_PATIENCE = 2

Candidates = list[list[int]]


@dataclass(frozen=True)
class CandidateBounds:
    """Up to `usual` candidates of each variable, up to `largest` where more have an edge with it of
    probability above `WORTH`."""

    usual: int
    largest: int


@dataclass(frozen=True)
class Sampled:
    """What a search with given candidates reaches: graphs and orders, the best first, orders away
    from the best one, and the best score of a graph."""

    graphs: Int8[np.ndarray, "S D D"]
    orders: Int64[np.ndarray, "T D"]
    away: Int64[np.ndarray, "R D"]
    best: float


def grown(families: FamilyScores, bounds: CandidateBounds) -> Candidates:
    """The candidates by greedy growth: to the required parents of each variable, the one that
    raises its score most is added in turn. After two additions that do not raise it, the rest is
    filled up by the last scores."""
    return [_grown(families, v, bounds) for v in range(families.n_nodes)]


def _joined(
    families: FamilyScores,
    names: Candidates,
    good: Int8[np.ndarray, "R D D"],
    bounds: CandidateBounds,
) -> Candidates:
    """The parents of each variable in the good graphs, its children that may be its parents, then
    its candidates, as many as there may be."""
    parents: Bool[np.ndarray, "D D"] = np.any(good, axis=0)
    either = (parents | parents.T) & ~families.knowledge.forbidden
    result = []
    for v, row in enumerate(names):
        first = [*np.flatnonzero(parents[:, v]), *np.flatnonzero(either[:, v]), *row]
        room = max(len(row), min(bounds.largest, int(either[:, v].sum())))
        result.append([int(u) for u in dict.fromkeys(first)][:room])
    return result


def _grown(families: FamilyScores, node: int, bounds: CandidateBounds) -> list[int]:
    parents = [int(u) for u in np.flatnonzero(families.knowledge.required[:, node])]
    room = max(bounds.usual, len(parents))
    best = families.family(node, parents)
    values = np.full(families.n_nodes, -np.inf)
    stale = 0
    while len(parents) < min(room, families.max_parents) and stale < _PATIENCE:
        values = families.additions(node, parents)
        u = int(np.argmax(values))
        if values[u] == -np.inf:
            break
        parents.append(u)
        stale = 0 if values[u] > best else stale + 1
        best = max(best, float(values[u]))
    ranking = np.argsort(-values, kind="stable")
    rest = [int(u) for u in ranking if values[u] > -np.inf and u not in parents]
    return parents + rest[: room - len(parents)]


def refined(
    families: FamilyScores,
    graphs: Int8[np.ndarray, "S D D"],
    orders: Int64[np.ndarray, "T D"],
    bounds: CandidateBounds,
    noise: Float[np.ndarray, "D D"] | None = None,
    present: Candidates | None = None,
) -> Candidates:
    """The candidates that sampled graphs and orders speak for.

    u is kept for v while P(u -> v) + P(v -> u) > .02 over the graphs (both directions, as an edge
    could not be reversed otherwise), and where u or v is among the parents that the other one grows
    when any of its predecessors in an order may be its parents. Others fill up the number by the
    highest log ratio that a sampled parent set reaches by taking u in, as one more or for one of
    its members; `noise` is added to it, so that others have a chance. With `present` candidates,
    two variables that have v as their candidate may also join together: causes that nearly cancel
    raise the score of v only so, but v is a good predictor of each.
    """
    frequency = graphs.mean(axis=0)
    for order in orders:
        frequency = np.maximum(frequency, _grown_in(families, order))
    together = frequency + frequency.T
    result = []
    for v in range(families.n_nodes):
        required = families.knowledge.required[:, v]
        values = _exchanges(families, v, graphs[:, :, v])
        if present is not None:
            joint = [u for u, row in enumerate(present) if v in row]
            values = np.maximum(values, _pairs(families, v, graphs[-1, :, v], joint))
        allowed = ~families.knowledge.forbidden[:, v]
        allowed[v] = False
        kept = allowed & (required | (together[:, v] > WORTH))
        # edges that are there come first, their reversals next
        weight = np.where(kept, 2 * required + together[:, v] + frequency[:, v], 0.0)
        worth = np.log(WORTH)
        room = max(
            int(required.sum()),
            bounds.usual,
            min(bounds.largest, int((kept | (values > worth)).sum())),
        )
        if noise is not None:
            values = np.minimum(values, worth) + noise[:, v]
        ranking = np.lexsort((-values, -weight))
        result.append([int(u) for u in ranking if allowed[u]][:room])
    return result


def _grown_in(families: FamilyScores, order: Int64[np.ndarray, " D"]) -> Int8[np.ndarray, "D D"]:
    """The graph in which each variable grows parents among its predecessors, the best one at a
    time, and then drops those without which its score is higher."""
    graph = np.zeros((families.n_nodes,) * 2, np.int8)
    before = np.zeros(families.n_nodes, bool)
    for v in order:
        parents = [int(u) for u in np.flatnonzero(families.knowledge.required[:, v])]
        level = families.family(v, parents)
        while True:
            values = np.where(before, families.additions(v, parents), -np.inf)
            u = int(np.argmax(values))
            if values[u] <= level:
                break
            parents.append(u)
            level = values[u]
        graph[_shrunk(families, v, parents, level), v] = 1
        before[v] = True
    return graph


def _shrunk(families: FamilyScores, node: int, parents: list[int], level: float) -> list[int]:
    """The parents without those whose removal, the best one at a time, raises the score."""
    while True:
        free = [u for u in parents if not families.knowledge.required[u, node]]
        fewer = [[w for w in parents if w != u] for u in free]
        if not fewer:
            return parents
        values = families.several(node, fewer)
        best = int(np.argmax(values))
        if values[best] <= level:
            return parents
        parents, level = fewer[best], float(values[best])


def _exchanges(
    families: FamilyScores, node: int, columns: Int8[np.ndarray, "S D"], most: int = 3
) -> Float[np.ndarray, " D"]:
    """For each u, the best log ratio of a parent set with u to a sampled one without: the sampled
    set with u, or with u for one of its members; of the `most` frequent sampled sets."""
    sets, counts = np.unique(columns, axis=0, return_counts=True)
    values = np.full(families.n_nodes, -np.inf)
    for s in np.argsort(-counts, kind="stable")[:most]:
        base = [int(u) for u in np.flatnonzero(sets[s])]
        level = families.family(node, base)
        for without in [None, *base]:
            smaller = [u for u in base if u != without]
            ratios = families.additions(node, smaller) - level
            if without is not None:
                ratios[without] = 0.0  # the sampled set itself: rounding must not rank its members
            values = np.maximum(values, ratios)
    return values


def _pairs(
    families: FamilyScores, node: int, column: Int8[np.ndarray, " D"], joint: list[int]
) -> Float[np.ndarray, " D"]:
    """For each u of `joint`, the best log ratio of the parents `column` with u and another one of
    them to those without."""
    base = [int(u) for u in np.flatnonzero(column)]
    values = np.full(families.n_nodes, -np.inf)
    allowed = [u for u in joint if u not in base and not families.knowledge.forbidden[u, node]]
    pairs = list(itertools.combinations(allowed, 2))
    if pairs and len(base) + 2 <= families.max_parents:
        ratios = families.several(node, [[*base, *pair] for pair in pairs])
        ratios = ratios - families.family(node, base)
        for pair, ratio in zip(pairs, ratios, strict=True):
            values[list(pair)] = np.maximum(values[list(pair)], ratio)
    return values


def chosen_candidates(
    families: FamilyScores,
    bounds: CandidateBounds,
    sample: Callable[[Candidates, Sampled | None], Sampled],
    generator: np.random.Generator,
    start: Sequence[Sequence[int]] | None = None,
    rounds: int = 12,
    good: Int8[np.ndarray, "R D D"] | None = None,
) -> tuple[Candidates, Sampled]:
    """The candidates after refinement, and what the search reached with them.

    Args:
        families: the scores.
        bounds: how many.
        sample: what a search with given candidates reaches; its second argument is the best that
            was reached before, with other candidates.
        generator: the source of random numbers.
        start: candidates to begin from; by default those that are grown.
        rounds: the largest number of refinements. They end when four in a row have not raised the
            best score; in the second the candidates are filled up at random in part.
        good: graphs of another search, whose edges are kept in both directions.
    """
    good = np.zeros((0, *(families.n_nodes,) * 2), np.int8) if good is None else good
    if start is not None:
        current = [list(names) for names in start]
    else:
        current = _joined(families, grown(families, bounds), good, bounds)
    best, winner = sample(current, None), current
    stale, latest = 0, best
    for _ in range(rounds):
        # the best graph always counts, so that its edges are not lost
        graphs = np.concatenate([latest.graphs, best.graphs[:1], good])
        orders = np.concatenate([best.orders[:1], latest.orders[:2], latest.away])
        noise = generator.gumbel(size=(families.n_nodes,) * 2) if stale == 2 else None
        present = current if stale else None
        current = refined(families, graphs, orders, bounds, noise, present)
        latest = sample(current, best)
        stale = 0 if latest.best > best.best + 1e-6 else stale + 1
        if latest.best >= best.best - 1e-6:
            best, winner = latest, current
        if stale == _STALE or _complete(families, current):
            break
    return winner, best


def _complete(families: FamilyScores, names: Candidates) -> bool:
    """Whether all variables that may be parents are candidates."""
    allowed = ~families.knowledge.forbidden
    return all(len(row) == allowed[:, v].sum() for v, row in enumerate(names))
