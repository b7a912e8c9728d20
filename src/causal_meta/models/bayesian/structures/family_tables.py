"""The weights of all families of every variable, in the form that exact sums, searches and chains
look up.

The posterior of a graph with parent sets P_v is proportional to the product over v of

    w(v, P_v) = p(x_v | x_{P_v}) prior(P_v),

zero where knowledge forbids it. Here log w(v, P) is a table over the subsets P of up to K candidate
causes of v, as bit masks; with the sums of w over the subsets of each set, the weight of all parent
sets within a set of predecessors is one look-up (Friedman and Koller 2003, section 3; Koivisto and
Sood 2004, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, Int8, Int64
from scipy.special import expit

from causal_meta.knowledge import Knowledge, KnowledgeError
from causal_meta.models.bayesian.structures.set_functions import (
    masks_of,
    members_of,
    over_subsets,
    sizes,
)
from causal_meta.scores.graph_prior import GraphPrior
from causal_meta.scores.local_score import LocalScore

#: Nats; stands for -inf in `sums` and `bests`, of which differences are taken.
IMPOSSIBLE = -1e9


@dataclass(frozen=True, eq=False)
class FamilyTables:
    """log w(v, P) for all subsets P of the candidates of each of D variables. Made by `build`.

    Args:
        candidates: entry (v, k) is the k-th candidate of v; -1 fills rows with fewer than K, at
            their ends.
        scores: entry (v, b) is log w of v with the candidates of the set bits of b as parents, less
            `offsets[v]`; -inf where that family is not allowed. The largest entry of a row is 0.
        offsets: the largest log w of each variable.
        score, prior, knowledge: what `scores` were made from.
    """

    candidates: Int64[np.ndarray, "D K"]
    scores: Float[np.ndarray, "D M"]
    offsets: Float[np.ndarray, " D"]
    score: LocalScore = field(repr=False)
    prior: GraphPrior
    knowledge: Knowledge = field(repr=False)

    @classmethod
    def build(
        cls,
        score: LocalScore,
        prior: GraphPrior,
        knowledge: Knowledge,
        candidates: Sequence[Sequence[int]] | None = None,
        max_parents: int | None = None,
    ) -> FamilyTables:
        """The tables of D variables with 2^K families each.

        Args:
            score: the local score.
            prior: the log prior of a family.
            knowledge: forbidden candidates are dropped; families without a required parent, or with
                more than `knowledge.max_parents`, have weight 0.
            candidates: for each variable its candidate causes (-1 is skipped); None for all others.
            max_parents: a further bound on the number of parents; None for none.

        Raises:
            KnowledgeError: a required cause is not among the candidates, or `max_parents` is too
                small for the required causes.
        """
        n_nodes = score.n_nodes
        rows = [range(n_nodes)] * n_nodes if candidates is None else candidates
        chosen = [
            [int(u) for u in row if u >= 0 and not knowledge.forbidden[u, v]]
            for v, row in enumerate(rows)
        ]
        bounds = [m for m in (max_parents, knowledge.max_parents) if m is not None]
        tables = [
            family_row(score, prior, knowledge, v, names, min(bounds, default=None))
            for v, names in enumerate(chosen)
        ]
        return cls.assembled(chosen, tables, score, prior, knowledge)

    @classmethod
    def assembled(
        cls,
        candidates: Sequence[Sequence[int]],
        rows: Sequence[Float[np.ndarray, " M"]],
        score: LocalScore,
        prior: GraphPrior,
        knowledge: Knowledge,
    ) -> FamilyTables:
        """The tables from the `family_row` of each variable, padded to the widest: so that a search
        that changes the candidates of one variable computes one row."""
        width = max((len(names) for names in candidates), default=0)
        chosen = np.full((len(rows), width), -1, np.int64)
        scores = np.full((len(rows), 1 << width), -np.inf)
        offsets = np.array([row.max() for row in rows])
        for v, (row, names) in enumerate(zip(rows, candidates, strict=True)):
            chosen[v, : len(names)] = names
            scores[v, : len(row)] = row - offsets[v]
        return cls(chosen, scores, offsets, score, prior, knowledge)

    # ------------------------------------------------------------------------------------- look-ups

    @property
    def n_nodes(self) -> int:
        """D."""
        return len(self.candidates)

    @property
    def n_candidates(self) -> int:
        """K, the largest number of candidates of a variable."""
        return self.candidates.shape[1]

    @cached_property
    def place(self) -> Int64[np.ndarray, "D D"]:
        """Entry (v, u): the bit of u among the candidates of v, or -1."""
        place = np.full((self.n_nodes,) * 2, -1, np.int64)
        v, k = np.nonzero(self.candidates >= 0)
        place[v, self.candidates[v, k]] = k
        return place

    @cached_property
    def sums(self) -> Float[np.ndarray, "D M"]:
        """Entry (v, m): the log of the sum of w(v, P) over P within m, less `offsets[v]`; at least
        `IMPOSSIBLE`."""
        return np.maximum(over_subsets(self.scores), IMPOSSIBLE)

    @cached_property
    def bests(self) -> Float[np.ndarray, "D M"]:
        """Entry (v, m): the largest log w(v, P) over P within m, less `offsets[v]`; at least
        `IMPOSSIBLE`."""
        return np.maximum(over_subsets(self.scores, np.maximum), IMPOSSIBLE)

    def masks(self, sets: Bool[np.ndarray, "*S D"], node: int) -> Int64[np.ndarray, "*S"]:
        """The bits of `node`'s candidates that lie in each set of variables; others are ignored."""
        real = self.candidates[node][self.candidates[node] >= 0]
        return masks_of(np.asarray(sets, bool)[..., real])

    def chosen(self, graphs: Int8[np.ndarray, "*S D D"]) -> Int64[np.ndarray, "*S D"]:
        """The parent sets of graphs, as masks; edges from outside the candidates are left out."""
        graphs = np.asarray(graphs)
        columns = [self.masks(graphs[..., :, v] != 0, v) for v in range(self.n_nodes)]
        return np.stack(columns, axis=-1)

    def adjacency(self, chosen: Int64[np.ndarray, "*S D"]) -> Int8[np.ndarray, "*S D D"]:
        """The graphs whose parent sets are the masks `chosen`: the inverse of `chosen`."""
        graphs = np.zeros((*chosen.shape, self.n_nodes), np.int8)
        for v in range(self.n_nodes):
            real = self.candidates[v][self.candidates[v] >= 0]
            graphs[..., real, v] = members_of(chosen[..., v], len(real))
        return graphs

    def log_weights(self, chosen: Int64[np.ndarray, "*S D"]) -> Float[np.ndarray, "*S"]:
        """The log weight, sum of log w, of graphs by their parent sets, `offsets` included."""
        return self.scores[np.arange(self.n_nodes), chosen].sum(axis=-1) + self.offsets.sum()

    def log_weights_of_graphs(self, graphs: Int8[np.ndarray, "*S D D"]) -> Float[np.ndarray, "*S"]:
        """The log weight of any graphs, edges from outside the candidates included (these families
        are scored now); -inf for what knowledge forbids. Cycles are not looked for."""
        graphs = np.asarray(graphs) != 0
        outside = graphs & (self.place.T < 0)
        total = np.array(self.log_weights(self.chosen(graphs)))
        for v in np.flatnonzero(
            outside.any(axis=-2).reshape(-1, self.n_nodes).any(axis=0)
        ).tolist():
            mixed = outside[..., v].any(axis=-1)
            inside = self.scores[v, self.masks(graphs[mixed][:, :, v], v)] + self.offsets[v]
            with np.errstate(invalid="ignore"):
                total[mixed] += self.weights(v, graphs[mixed][:, :, v]) - inside
        return total

    # --------------------------------------------------------------------- beyond the candidates

    def weights(self, node: int, parents: Bool[np.ndarray, "F D"]) -> Float[np.ndarray, " F"]:
        """log w of `node` with any sets of parents, scored now; -inf for what knowledge
        forbids. A bound of the tables that is not knowledge's does not apply."""
        counts = parents.sum(axis=1)
        allowed = ~(parents & self.knowledge.forbidden[:, node]).any(axis=1)
        allowed &= ~(~parents & self.knowledge.required[:, node]).any(axis=1)
        if self.knowledge.max_parents is not None:
            allowed &= counts <= self.knowledge.max_parents
        out = np.full(len(parents), -np.inf)
        for p in np.unique(counts[allowed]):
            rows = np.flatnonzero(allowed & (counts == p))
            families = np.nonzero(parents[rows])[1].reshape(len(rows), p)
            out[rows] = self.score.families(node, families)
        return out + self.prior.families(counts)

    def additions(self, node: int, chosen: Int64[np.ndarray, " F"]) -> Float[np.ndarray, "F D"]:
        """The plus-one extension: log w(v, P + u) - log w(v, P) for each parent set P of v = `node`
        (a mask with w > 0) and every variable u, candidate or not.

        -inf where u is v or in P, and where knowledge forbids the larger family. Costs a score per
        pair: give each set once (`np.unique`).
        """
        real = self.candidates[node][self.candidates[node] >= 0]
        parents = np.zeros((len(chosen), self.n_nodes), bool)
        parents[:, real] = members_of(chosen, len(real))
        new = ~parents & ~self.knowledge.forbidden[:, node]
        row, u = np.nonzero(new)
        larger = parents[row]
        larger[np.arange(len(row)), u] = True
        out = np.full(new.shape, -np.inf)
        out[row, u] = self.weights(node, larger)
        return out - (self.scores[node, chosen] + self.offsets[node])[:, None]

    def plus_one_probabilities(
        self, chosen: Int64[np.ndarray, "S D"], possible: Bool[np.ndarray, "S D D"]
    ) -> Float[np.ndarray, "D D"]:
        """For every u that is no candidate of v, the probability of u -> v averaged over sampled
        graphs: the mean over s of

            possible[s, u, v] w(v, P_v + u) / (w(v, P_v) + w(v, P_v + u)),

        which is one Gibbs update of this edge in each graph, in the space of the sampled graphs and
        those with this edge more. It is above 0 unless knowledge or every sampled graph excludes
        the edge. Entries of candidates are 0.

        Args:
            chosen: the parent sets of S graphs, as masks.
            possible: entry (s, u, v): the edge u -> v keeps graph s acyclic (`can_cause`), or u
                precedes v in its order.
        """
        out = np.zeros((self.n_nodes,) * 2)
        for v in range(self.n_nodes):
            sets, row = np.unique(chosen[:, v], return_inverse=True)
            shares = expit(self.additions(v, sets))[row.reshape(-1)]
            out[:, v] = (shares * possible[:, :, v]).mean(axis=0)
        return np.where(self.place.T < 0, out, 0.0)


def family_row(
    score: LocalScore,
    prior: GraphPrior,
    knowledge: Knowledge,
    node: int,
    candidates: Sequence[int],
    max_parents: int | None,
) -> Float[np.ndarray, " M"]:
    """log w of `node` with every subset of `candidates` as its parents: local score + log prior;
    -inf without its required parents and beyond `max_parents` (None: no bound).

    Raises:
        KnowledgeError: a required cause is not among the candidates, or the bound is too small for
            the required causes.
    """
    required = np.flatnonzero(knowledge.required[:, node])
    if not set(required.tolist()) <= set(candidates):
        raise KnowledgeError(
            f"Variable {node} requires the direct causes {required.tolist()}, and its candidates "
            f"are {list(candidates)}; add the missing ones."
        )
    if max_parents is not None and len(required) > max_parents:
        raise KnowledgeError(
            f"Variable {node} has {len(required)} required direct causes, at most {max_parents} "
            "are allowed; raise the bound."
        )
    row = score.table(node, np.asarray(candidates, np.int64), max_parents)
    row = row + prior.families(sizes(len(candidates)))
    needed = int(masks_of(np.isin(candidates, required)))
    row[np.arange(len(row)) & needed != needed] = -np.inf
    return row


def can_cause(graphs: Int8[np.ndarray, "S D D"]) -> Bool[np.ndarray, "S D D"]:
    """Entry (s, u, v): an edge u -> v leaves the acyclic graph s acyclic: v is neither u nor an
    ancestor of u."""
    return ~np.swapaxes(ancestors_or_self(graphs), 1, 2)


def ancestors_or_self(graphs: Int[np.ndarray, "S D D"]) -> Bool[np.ndarray, "S D D"]:
    """Entry (s, u, v): u is v or an ancestor of v in graph s, by repeated squaring."""
    reach = (np.asarray(graphs) != 0) | np.eye(graphs.shape[-1], dtype=bool)
    for _ in range(max(1, (graphs.shape[-1] - 1).bit_length())):
        reach = np.matmul(reach.astype(np.float32), reach.astype(np.float32)) > 0
    return reach
