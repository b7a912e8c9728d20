"""What tests of scores share: data, all DAGs of a few variables, and scores of graphs."""

from functools import cache
from itertools import product

import numpy as np


def linear_data(seed, n, d):
    """A linear Gaussian table with a dense random mechanism."""
    r = np.random.default_rng(seed)
    return r.normal(size=(n, d)) @ (np.eye(d) + np.triu(r.normal(size=(d, d)), 1))


@cache
def all_dags(d):
    """Every DAG of d variables, adjacency[i, j] = 1 where i causes j."""
    pairs = [(i, j) for i in range(d) for j in range(i + 1, d)]
    dags = []
    for choice in product((None, 0, 1), repeat=len(pairs)):
        graph = np.zeros((d, d), int)
        for (i, j), way in zip(pairs, choice, strict=True):
            if way is not None:
                graph[(i, j) if way else (j, i)] = 1
        if not np.linalg.matrix_power(graph, d).any() and not np.trace(
            sum(np.linalg.matrix_power(graph, k) for k in range(1, d + 1))
        ):
            dags.append(graph)
    return dags


def equivalence_key(graph):
    """Skeleton and v-structures, which name the Markov equivalence class (Verma and Pearl 1990)."""
    d = len(graph)
    skeleton = graph | graph.T
    colliders = {
        (i, k, j)
        for k in range(d)
        for i in np.flatnonzero(graph[:, k])
        for j in np.flatnonzero(graph[:, k])
        if i < j and not skeleton[i, j]
    }
    return skeleton.tobytes(), frozenset(colliders)


def family(score, node, parents):
    """The score of one family as a number."""
    return float(score.families(node, np.array([list(parents)], int).reshape(1, -1))[0])


def classes_of_scores(score, dags):
    """The scores of the DAGs of each Markov equivalence class."""
    d = len(dags[0])
    tables = [score.table(v, np.array([u for u in range(d) if u != v]), d) for v in range(d)]
    classes = {}
    for graph in dags:
        subsets = [int((1 << np.arange(d - 1)) @ np.delete(graph[:, v], v)) for v in range(d)]
        total = sum(table[b] for table, b in zip(tables, subsets, strict=True))
        classes.setdefault(equivalence_key(graph), []).append(total)
    return list(classes.values())


def every_family(d, node=0):
    """All parent sets of one node."""
    others = [u for u in range(d) if u != node]
    return [[u for k, u in enumerate(others) if b >> k & 1] for b in range(1 << len(others))]


NOISES = {
    "gaussian": lambda r, n: r.normal(size=n),
    "laplace": lambda r, n: r.laplace(size=n),
    "student": lambda r, n: r.standard_t(3, size=n),
    "uniform": lambda r, n: r.uniform(-1, 1, size=n),
    "exponential": lambda r, n: r.exponential(size=n),
    "beta": lambda r, n: r.beta(0.5, 0.5, size=n),
    "bimodal": lambda r, n: np.where(r.random(n) < 0.5, -2, 2) + 0.7 * r.normal(size=n),
}
