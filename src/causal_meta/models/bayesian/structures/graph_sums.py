"""Exact posteriors over the directed acyclic graphs of few variables: what all of them answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int8, Int64

from causal_meta.models.bayesian.structures.family_tables import FamilyTables, ancestors_or_self
from causal_meta.models.bayesian.structures.set_functions import (
    members_of,
    over_supersets,
    sums_of_members,
)

_GRAPHS_AT_ONCE = 1 << 12
_ENTRIES_AT_ONCE = 1 << 20


class GraphSums(ABC):
    """A posterior over directed acyclic graphs whose evidence, marginals and draws are exact.

    Attributes:
        tables: the weights of families.
        log_evidence: the log of the sum of the weights of all graphs, in nats. Where the prior of
            the tables is not normalised over acyclic graphs (none of them is), evidences of
            different priors cannot be compared, those of different scores under one prior can.
    """

    log_evidence: float

    def __init__(self, tables: FamilyTables) -> None:
        self.tables = tables
        self.n_nodes = tables.n_nodes

    @abstractmethod
    def family_log_probabilities(self) -> Float[np.ndarray, "D M"]:
        """Entry (v, b): the log of the posterior probability that the parents of v are the
        candidates of the bits b."""

    @abstractmethod
    def sample(self, n: int, generator: np.random.Generator) -> Int8[np.ndarray, "n D D"]:
        """`n` independent draws."""

    @abstractmethod
    def log_prob(self, graphs: Int8[np.ndarray, "S D D"]) -> Float[np.ndarray, " S"]:
        """The log posterior probability of acyclic graphs, in nats."""

    @cached_property
    def edge_probabilities(self) -> Float[np.ndarray, "D D"]:
        """The posterior probability of every edge, a sum of positive terms: probabilities near 0
        keep their digits."""
        out = np.zeros((self.n_nodes,) * 2)
        families = np.exp(self.family_log_probabilities())
        for v in range(self.n_nodes):
            for k, u in enumerate(self.tables.candidates[v].tolist()):
                if u >= 0:
                    out[u, v] = families[v].reshape(-1, 2, 1 << k)[:, 1].sum()
        return np.minimum(out, 1.0)

    def ancestor_probabilities(
        self, n: int, generator: np.random.Generator
    ) -> Float[np.ndarray, "D D"]:
        """Entry (i, j): the probability that a directed path leads from i to j; 0 for i = j.

        Here the share among `n` exact draws: its standard error is sqrt(p (1 - p) / n), at most
        1 / (2 sqrt(n)). Exact recursions exist but need 4^D steps or more (Chen, Meng and Tian
        2015; Pensar et al. 2020).
        """
        return ancestor_shares(self.sample(n, generator), np.full(n, 1 / n))

    def log_weights(self, graphs: Int8[np.ndarray, "S D D"]) -> Float[np.ndarray, " S"]:
        """The log weight of acyclic graphs; -inf with an edge from outside the candidates."""
        outside = ((np.asarray(graphs) != 0) & (self.tables.place.T < 0)).any(axis=(1, 2))
        log_weights = self.tables.log_weights(self.tables.chosen(graphs))
        return np.where(outside, -np.inf, log_weights)

    def draw_parents(
        self,
        node: int,
        now: Int64[np.ndarray, " n"],
        earlier: Int64[np.ndarray, " n"],
        generator: np.random.Generator,
    ) -> Int64[np.ndarray, " n"]:
        """Draws of parent sets of `node` with probabilities proportional to their weights, each
        within the set `now` of variables and not within its subset `earlier` (-1: no second
        condition), as masks of the candidates."""
        place = self.tables.place[node]
        bits = np.where(place >= 0, np.int64(1) << np.maximum(place, 0), 0)
        inside = (now[:, None] >> np.arange(self.n_nodes) & 1) @ bits
        old = np.where(earlier < 0, -1, (earlier[:, None] >> np.arange(self.n_nodes) & 1) @ bits)
        states, group = np.unique(np.stack([inside, old], axis=1), axis=0, return_inverse=True)
        out = np.zeros(len(now), np.int64)
        group = group.reshape(-1)
        members = members_of(states[:, 0], self.tables.n_candidates)
        count = members.sum(axis=1)
        for c in np.unique(count).tolist():
            which = np.flatnonzero(count == c)
            step = max(1, _ENTRIES_AT_ONCE >> c)
            for start in range(0, len(which), step):
                part = which[start : start + step]
                rows = np.flatnonzero(np.isin(group, part))
                which_bits = np.nonzero(members[part])[1].reshape(len(part), c)
                sets = sums_of_members(np.int64(1) << which_bits)
                log_weights = self.tables.scores[node, sets]
                before = states[part, 1][:, None]
                log_weights[(before >= 0) & (sets & ~before == 0)] = -np.inf
                place_in = np.searchsorted(part, group[rows])
                out[rows] = sets[place_in, draw_entries(log_weights, place_in, generator)]
        return out


def draw_entries(
    log_weights: Float[np.ndarray, "G M"],
    group: Int64[np.ndarray, " n"],
    generator: np.random.Generator,
) -> Int64[np.ndarray, " n"]:
    """Independent draws, the i-th from row `group[i]`, of entries with probabilities proportional
    to exp(log_weights)."""
    largest = log_weights.max(axis=1, keepdims=True)
    cumulated = np.cumsum(np.exp(log_weights - largest), axis=1)
    points = generator.random(len(group)) * cumulated[group, -1]
    order = np.argsort(group, kind="stable")
    ends = np.searchsorted(group[order], np.arange(len(log_weights) + 1))
    out = np.zeros(len(group), np.int64)
    for row, first, last in zip(cumulated, ends[:-1], ends[1:], strict=True):
        rows = order[first:last]
        out[rows] = np.searchsorted(row, points[rows], side="right")
    return np.minimum(out, log_weights.shape[1] - 1)


def ancestor_shares(
    graphs: Int8[np.ndarray, "S D D"], probabilities: Float[np.ndarray, " S"]
) -> Float[np.ndarray, "D D"]:
    """Entry (i, j): the probability of a directed path from i to j, over graphs with these
    probabilities; 0 for i = j."""
    out = np.zeros(graphs.shape[1:])
    for start in range(0, len(graphs), _GRAPHS_AT_ONCE):
        part = slice(start, start + _GRAPHS_AT_ONCE)
        out += np.tensordot(probabilities[part], ancestors_or_self(graphs[part]), axes=1)
    np.fill_diagonal(out, 0.0)
    return out


def family_log_probabilities(
    tables: FamilyTables, released: Float[np.ndarray, "D M"]
) -> Float[np.ndarray, "D M"]:
    """The posterior of each family from the sums that all families within a set share.

    If the parents of v lie in S, their distribution is w(v, P) / W_v(S) whatever else is true of
    the graph. So with r_v(S) the probability that S is the set `released` for v (exactly one is,
    for each graph and v),

        p(v, P) = w(v, P) sum over S with P in S: r_v(S) / W_v(S).
    """
    out = np.empty_like(tables.scores)
    for v in range(tables.n_nodes):
        place = tables.place[v]
        masks = sums_of_members(np.where(place >= 0, np.int64(1) << np.maximum(place, 0), 0))
        shares = np.bincount(masks, weights=released[v], minlength=out.shape[1])
        with np.errstate(divide="ignore"):
            log_shares = np.log(shares) - tables.sums[v]
        out[v] = over_supersets(log_shares) + tables.scores[v]
    return out
