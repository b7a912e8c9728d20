"""Greedy equivalence search, bootstrapped or plain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, Int8

from causal_meta.conf.inference import GESConfig
from causal_meta.graphs import cpdag
from causal_meta.knowledge import Knowledge
from causal_meta.models.classical.bootstrap import Bootstrap, consistent_extension
from causal_meta.models.classical.gaussian_bic import GaussianBIC, bits, members, singles

#: Families computed by one fit after which its search ends (some 20 s on one core at D = 50).
WORK = 1_000_000
#: An operator must improve the score by more than this, in nats.
TOLERANCE = 1e-9


class GES(Bootstrap[GESConfig]):
    """Greedy equivalence search (Chickering 2002) with BIC, `penalty` log N per parameter: 0.5 is
    plain BIC.

    From the empty class the best valid insertion is made while one improves the score, then the
    best valid deletion; the classes are completed partially directed graphs. It makes the choices
    of causal-learn's `ges`, whose time doubles with every neighbour of a variable, because here
    only cliques are enumerated, of at most as many variables as there may be parents. A fit that
    has computed `WORK` families ends where it is, and this is counted.
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
        search = Classes(score)
        for step in (search.best_insertion, search.best_deletion):
            while score.work < WORK and (better := step()) is not None:
                search.replace(better, generator)
        record.update(work_bound=score.work >= WORK)
        return search.graph.astype(np.int8)


class Classes:
    """The walk through equivalence classes: the present one, and its best neighbours.

    Args:
        score: the score of families, equal for all members of a class.
    """

    def __init__(self, score: GaussianBIC) -> None:
        self._score = score
        self._set(np.zeros((score.n_nodes, score.n_nodes), dtype=bool))

    def replace(self, graph: Bool[np.ndarray, "D D"], generator: np.random.Generator) -> None:
        """Go on from the class of a partially directed graph."""
        extension = consistent_extension(graph[None].astype(np.int8), generator)[0][0]
        self._set(cpdag(torch.from_numpy(extension)).numpy().astype(bool))

    def _set(self, graph: Bool[np.ndarray, "D D"]) -> None:
        self.graph = graph
        undirected, directed = graph & graph.T, graph & ~graph.T
        self._neighbours = [bits(row) for row in undirected]
        self._parents = [bits(column) for column in directed.T]
        self._adjacent = [bits(row) for row in graph | graph.T]
        self._onwards = [bits(row) for row in graph]

    def best_insertion(self) -> Bool[np.ndarray, "D D"] | None:
        """The graph after the best Insert(x, y, T) (Chickering 2002, definition 12, theorem 15);
        None if none improves the score."""
        best, chosen = TOLERANCE, None
        for x in range(self._score.n_nodes):
            for y in range(self._score.n_nodes):
                if x == y or self._adjacent[x] >> y & 1:
                    continue
                common = self._neighbours[y] & self._adjacent[x]
                free = self._neighbours[y] & ~self._adjacent[x]
                room = self._score.max_parents - 1 - self._parents[y].bit_count()
                for clique in self._cliques(common, free, room):
                    family = clique | self._parents[y]
                    gain = self._score.score(y, family | 1 << x) - self._score.score(y, family)
                    if gain > best and not self._path(y, x, clique):
                        best, chosen = gain, (x, y, clique & ~common)
        if chosen is None:
            return None
        x, y, heads = chosen
        graph = self.graph.copy()
        graph[x, y] = True
        graph[y, members(heads)] = False
        return graph

    def best_deletion(self) -> Bool[np.ndarray, "D D"] | None:
        """The graph after the best Delete(x, y, H) (definition 13, theorem 17); None if none
        improves the score."""
        best, chosen = TOLERANCE, None
        for x in range(self._score.n_nodes):
            for y in members(self._onwards[x]):
                common = self._neighbours[y] & self._adjacent[x]
                for clique in self._cliques(0, common, self._score.max_parents):
                    rest = (clique | self._parents[y]) & ~(1 << x)
                    gain = self._score.score(y, rest) - self._score.score(y, rest | 1 << x)
                    if gain > best:
                        best, chosen = gain, (x, y, common & ~clique)
        if chosen is None:
            return None
        x, y, away = chosen
        graph = self.graph.copy()
        graph[x, y] = graph[y, x] = False
        for other in members(away):
            graph[other, y] = graph[other, x] = False
        return graph

    def _cliques(self, clique: int, free: int, room: int) -> Iterator[int]:
        """The cliques that consist of `clique` and variables of `free`, of at most `room`
        variables; none if `clique` is none."""
        if clique.bit_count() > room:
            return
        for u in members(clique):
            if clique & ~(1 << u) & ~self._adjacent[u]:
                return
            free &= self._adjacent[u]
        yield from self._larger(clique, free, room)

    def _larger(self, clique: int, free: int, room: int) -> Iterator[int]:
        yield clique
        if clique.bit_count() < room:
            for one in singles(free):
                free ^= one
                yield from self._larger(
                    clique | one, free & self._adjacent[one.bit_length() - 1], room
                )

    def _path(self, start: int, end: int, blocked: int) -> bool:
        """Whether a path of undirected edges and edges away from the start leads from `start` to
        `end` outside `blocked`."""
        reached = frontier = 1 << start
        while frontier:
            following = 0
            for node in members(frontier):
                following |= self._onwards[node]
            frontier = following & ~reached & ~blocked
            reached |= frontier
            if reached >> end & 1:
                return True
        return False
