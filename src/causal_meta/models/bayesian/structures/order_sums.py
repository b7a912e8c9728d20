"""Sums over all orders of the variables: the order-modular posterior over graphs."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int8

from causal_meta.models.bayesian.structures.family_tables import FamilyTables
from causal_meta.models.bayesian.structures.graph_sums import GraphSums, family_log_probabilities
from causal_meta.models.bayesian.structures.subset_sums import chain_sums, predecessor_sums


class OrderSums(GraphSums):
    """The posterior in which every order of the variables counts once, so that a graph counts once
    for each of its topological orders:

        p(G) proportional to (number of topological orders of G) prod_v w(v, P_v),

    the distribution of order MCMC without a correction. It favours graphs with few edges or with
    many unrelated variables, and is not the same for Markov equivalent graphs; at D=4 it differs
    from the modular posterior by about 0.2 in total variation. Its sums have D 2^D positive terms,
    where the modular ones have 3^D (Koivisto and Sood 2004, section 3).

    Raises:
        ValueError: no acyclic graph has a positive weight.
    """

    def __init__(self, tables: FamilyTables) -> None:
        super().__init__(tables)
        self._within = predecessor_sums(tables)
        self._first, self._last = chain_sums(self._within, np.logaddexp)
        self.log_evidence = float(self._first[-1] + tables.offsets.sum())

    def family_log_probabilities(self) -> Float[np.ndarray, "D M"]:
        """Entry (v, b): the log of the posterior probability that the parents of v are the
        candidates of the bits b."""
        sets = np.arange(1 << self.n_nodes)
        released = np.zeros_like(self._within)
        for v in range(self.n_nodes):
            before = sets[sets >> v & 1 == 0]
            logs = self._first[before] + self._within[v, before] + self._last[before | (1 << v)]
            released[v, before] = np.exp(logs - self._first[-1])
        return family_log_probabilities(self.tables, released)

    def log_prob(self, graphs: Int8[np.ndarray, "S D D"]) -> Float[np.ndarray, " S"]:
        """The log posterior probability of acyclic graphs, in nats; D 2^D steps a graph, for the
        number of its topological orders."""
        orders = np.array([log_topological_orders(graph) for graph in graphs])
        return orders + self.log_weights(graphs) - self.log_evidence

    def sample(self, n: int, generator: np.random.Generator) -> Int8[np.ndarray, "n D D"]:
        """`n` independent draws: an order from its last variable to its first, then the parents of
        each variable among its predecessors."""
        left = np.full(n, (1 << self.n_nodes) - 1, np.int64)
        before = np.zeros((n, self.n_nodes), np.int64)
        for _ in range(self.n_nodes):
            member = left[:, None] >> np.arange(self.n_nodes) & 1 == 1
            rest = left[:, None] & ~(np.int64(1) << np.arange(self.n_nodes))
            logs = self._first[rest] + self._within[np.arange(self.n_nodes), rest]
            logs = np.where(member, logs, -np.inf)
            weights = np.cumsum(np.exp(logs - logs.max(axis=1, keepdims=True)), axis=1)
            point = generator.random((n, 1)) * weights[:, -1:]
            last = (weights <= point).sum(axis=1)
            left = rest[np.arange(n), last]
            before[np.arange(n), last] = left
        chosen = np.zeros_like(before)
        everything = np.full(n, -1, np.int64)
        for v in range(self.n_nodes):
            chosen[:, v] = self.draw_parents(v, before[:, v], everything, generator)
        return self.tables.adjacency(chosen)


def log_topological_orders(graph: Int8[np.ndarray, "D D"]) -> float:
    """The log of the number of topological orders of an acyclic graph, by D 2^D steps."""
    n_nodes = len(graph)
    parents = [int(sum(1 << u for u in np.flatnonzero(graph[:, v]))) for v in range(n_nodes)]
    sets = np.arange(1 << n_nodes)
    allowed = np.stack([np.where(sets & p == p, 0.0, -np.inf) for p in parents])
    return float(chain_sums(allowed, np.logaddexp)[0][-1])
