"""Edges from outside the candidates, one at a time: what tables leave out is small, not zero."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int8, Int64, UInt64

from causal_meta.models.bayesian.structures.family_scores import FamilyScores

_SETS = 8  # parent sets of a variable, the most frequent ones, for which additions are scored


def log_ratios(
    families: FamilyScores, graphs: Int8[np.ndarray, "S D D"], inside: Bool[np.ndarray, "D D"]
) -> tuple[Float[np.ndarray, "D R D"], Int64[np.ndarray, "S D"]]:
    """For each variable v, log w(v, P + u) - log w(v, P) of every u from outside its candidates for
    its most frequent parent sets P; and which of them each graph has, the nearest one (in the
    number of different parents) where its own is rarer.

    Args:
        families: the scores.
        graphs: sampled graphs.
        inside: entry (u, v): u is a candidate of v.
    """
    ratios = np.full((families.n_nodes, _SETS, families.n_nodes), -np.inf)
    which = np.empty((len(graphs), families.n_nodes), np.int64)
    for v in range(families.n_nodes):
        sets, row, counts = np.unique(
            graphs[:, :, v], axis=0, return_inverse=True, return_counts=True
        )
        common = np.argsort(-counts, kind="stable")[:_SETS]
        distance = (sets[:, None, :] != sets[None, common, :]).sum(axis=2)
        which[:, v] = np.argmin(distance, axis=1)[row.reshape(-1)]
        if inside[:, v].sum() >= families.n_nodes - 1:
            continue  # nothing is outside
        for s, members in enumerate(sets[common]):
            parents = np.flatnonzero(members)
            ratios[v, s] = families.additions(v, parents) - families.family(v, parents)
        ratios[v][:, inside[:, v]] = -np.inf
    return ratios, which


def with_added_edges(
    families: FamilyScores,
    graphs: Int8[np.ndarray, "S D D"],
    inside: Bool[np.ndarray, "D D"],
    state: UInt64[np.ndarray, " 4"],
) -> tuple[Int8[np.ndarray, "S D D"], Float[np.ndarray, "D D"]]:
    """Graphs in which each variable may have one more parent from outside its candidates, and the
    probabilities of these edges. `state` is that of the random numbers.

    With r_u = w(v, P + u) / w(v, P) for the u that are no descendants of v, u is added with
    probability r_u / (1 + sum of r): one Gibbs update of v in the space of the graph and those with
    one such edge more. The probabilities are their means over the graphs.
    """
    from causal_meta.models.bayesian.structures.graph_kernels import add_edges

    ratios, which = log_ratios(families, graphs, inside)
    graphs = graphs.copy()
    totals = np.zeros((families.n_nodes,) * 2)
    size = families.n_nodes
    work = (np.empty(size, np.bool_), np.empty(size, np.int64), np.arange(size))
    add_edges(graphs, ratios, which, *work, state, totals)
    return graphs, totals.T / len(graphs)
