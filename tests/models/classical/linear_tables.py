"""Tables of linear Gaussian models with a known graph."""

import numpy as np


def drawn(seed, n_nodes, n_rows, edges_per_node=2.0):
    """Standardised rows [N, D] of a random linear model, and its graph, columns shuffled."""
    draws = np.random.default_rng(seed)
    p = min(1.0, 2 * edges_per_node / (n_nodes - 1))
    graph = np.triu(draws.random((n_nodes, n_nodes)) < p, 1)
    sizes = draws.uniform(0.5, 2.0, graph.shape) * draws.choice([-1, 1], graph.shape)
    noise = draws.normal(size=(n_nodes, n_rows)) * draws.uniform(0.5, 1.5, n_nodes)[:, None]
    x = np.linalg.solve(np.eye(n_nodes) - (graph * sizes).T, noise).T
    order = draws.permutation(n_nodes)
    return ((x - x.mean(0)) / x.std(0))[:, order], graph[np.ix_(order, order)]


def cancelling(seed, n_rows=5000):
    """Five variables A, B, C, D, E with A, B -> C -> D, E, on which one start of a search over
    orders ends in a local optimum in most bootstrap replicates; and the graph."""
    draws = np.random.default_rng(seed)
    a, b = draws.normal(size=(2, n_rows))
    c = a + b + 0.25 * draws.normal(size=n_rows)
    d, e = c + 0.25 * draws.normal(size=(2, n_rows))
    x = np.column_stack([a, b, c, d, e])
    graph = np.zeros((5, 5), dtype=bool)
    graph[[0, 1], 2] = graph[2, [3, 4]] = True
    return (x - x.mean(0)) / x.std(0), graph
