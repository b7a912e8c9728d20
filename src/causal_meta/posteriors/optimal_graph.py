"""The single graph of the least expected structural Hamming distance."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int8


def optimal_graph(probabilities: Float[np.ndarray, "D D"]) -> Int8[np.ndarray, "D D"]:
    """An acyclic graph whose expected structural Hamming distance (a reversed edge counts once) to
    a graph with these marginals is as small as a greedy choice makes it.

    Between i and j the expected distance is p_ij + p_ji without an edge and 1 - p_ij with i -> j,
    so the edge gains g_ij = 2 p_ij + p_ji - 1. Edges of positive gain are taken in the order of
    their gain, each unless it closes a cycle. Where no cycle arises, as nearly always, the graph
    is optimal.

    >>> optimal_graph(np.array([[0.0, 0.45, 0.0], [0.35, 0.0, 0.4], [0.0, 0.1, 0.0]])).tolist()
    [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    """
    p = np.array(probabilities, dtype=np.float64)
    np.fill_diagonal(p, 0.0)
    gain = 2 * p + p.T - 1
    gain[p < p.T] = 0.0  # the other direction gains more
    cause, effect = np.nonzero(gain > 0)
    graph = np.zeros(p.shape, dtype=np.int8)
    reaches = np.eye(len(p), dtype=bool)  # i is j, or an ancestor of j
    for k in np.argsort(-gain[cause, effect], kind="stable"):
        i, j = cause[k], effect[k]
        if not reaches[j, i]:
            graph[i, j] = 1
            reaches |= reaches[:, i, None] & reaches[j]
    return graph
