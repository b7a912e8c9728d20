"""Local score and log prior of families together, under what is known beforehand; each family is
computed once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Int8

from causal_meta.knowledge import Knowledge
from causal_meta.models.bayesian.structures.family_tables import FamilyTables, family_row
from causal_meta.scores.graph_prior import GraphPrior
from causal_meta.scores.local_score import LocalScore


class FamilyScores:
    """log p(x_v | x_P) + log prior of P, in nats; -inf where the knowledge forbids (v, P).

    Args:
        score: the local score.
        prior: the prior of a family.
        knowledge: forbidden and required edges.
        max_parents: the largest number of parents; that of the knowledge counts where it is
            smaller.
    """

    def __init__(
        self, score: LocalScore, prior: GraphPrior, knowledge: Knowledge, max_parents: int
    ) -> None:
        self.score, self.prior, self.knowledge = score, prior, knowledge
        bound = max_parents if knowledge.max_parents is None else knowledge.max_parents
        self.max_parents = min(max_parents, bound, score.n_nodes - 1)
        self._additions: dict[tuple[int, tuple[int, ...]], Float[np.ndarray, " D"]] = {}
        self._rows: dict[tuple[int, tuple[int, ...]], Float[np.ndarray, " M"]] = {}

    @property
    def n_nodes(self) -> int:
        """D."""
        return self.score.n_nodes

    def family(self, node: int, parents: Iterable[int]) -> float:
        """The score of one family, whatever the knowledge says of it."""
        return float(self.several(node, [list(parents)])[0])

    def several(self, node: int, parents: Sequence[Sequence[int]]) -> Float[np.ndarray, " F"]:
        """The scores of families with equally many parents."""
        rows = np.array(parents, np.int64).reshape(len(parents), -1)
        return self.score.families(node, rows) + self._log_prior(rows.shape[1])

    def graph(self, adjacency: Int8[np.ndarray, "D D"]) -> float:
        """The log posterior of a graph up to a constant, whatever the knowledge says of it."""
        parents = [np.flatnonzero(adjacency[:, v]) for v in range(self.n_nodes)]
        return float(sum(self.family(v, members) for v, members in enumerate(parents)))

    def _log_prior(self, size: int) -> float:
        return float(self.prior.families(np.array(size)))

    def additions(self, node: int, parents: Iterable[int]) -> Float[np.ndarray, " D"]:
        """For each variable u, the score of `node` with `parents` and u as its parents; -inf for u
        that is one already, is `node`, or is forbidden."""
        key = (node, tuple(sorted(int(u) for u in parents)))
        if key not in self._additions:
            values = np.full(self.n_nodes, -np.inf)
            others = np.flatnonzero(~self.knowledge.forbidden[:, node])
            others = others[~np.isin(others, key[1])]
            others = others[others != node]
            size = len(key[1]) + 1
            if len(others) and size <= self.max_parents:
                families = np.empty((len(others), size), np.int64)
                families[:, :-1] = key[1]
                families[:, -1] = others
                values[others] = self.score.families(node, families) + self._log_prior(size)
            self._additions[key] = values
        return self._additions[key]

    def row(self, node: int, candidates: Sequence[int]) -> Float[np.ndarray, " M"]:
        """The score of `node` with every subset of `candidates` (bit k: candidate k); -inf without
        its required parents and beyond `max_parents`."""
        key = (node, tuple(int(u) for u in candidates))
        if key not in self._rows:
            row = family_row(self.score, self.prior, self.knowledge, node, key[1], self.max_parents)
            self._rows[key] = row
        return self._rows[key]

    def tables(self, candidates: Sequence[Sequence[int]]) -> FamilyTables:
        """The tables of all variables with these candidates. Rows of earlier calls with other
        candidates are forgotten."""
        rows = [self.row(v, names) for v, names in enumerate(candidates)]
        kept = {(v, tuple(int(u) for u in names)) for v, names in enumerate(candidates)}
        self._rows = {key: row for key, row in self._rows.items() if key in kept}
        return FamilyTables.assembled(candidates, rows, self.score, self.prior, self.knowledge)
