"""The optimal graph against the enumeration of all acyclic graphs."""

import itertools

import numpy as np
import torch

from causal_meta.graphs import is_acyclic
from causal_meta.posteriors.optimal_graph import optimal_graph
from causal_meta.runners.evaluation.eval_metrics import shd


def acyclic_graphs(n):
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    graphs = np.zeros((2 ** len(pairs), n, n), dtype=np.int8)
    for number, edges in enumerate(itertools.product((0, 1), repeat=len(pairs))):
        for (i, j), edge in zip(pairs, edges, strict=True):
            graphs[number, i, j] = edge
    return graphs[is_acyclic(torch.from_numpy(graphs)).numpy()]


def test_no_acyclic_graph_is_nearer_in_expectation():
    """Posteriors with four random graphs over four variables; the greedy choice is best in nearly
    all of 60, and never far off; thresholding at one half is worse."""
    every, random = acyclic_graphs(4), np.random.default_rng(0)
    excess, plain = [], []
    for _ in range(60):
        graphs = every[random.integers(len(every), size=4)]
        weights = random.dirichlet(np.ones(4))
        expected = sum(w * shd(every, graph) for w, graph in zip(weights, graphs, strict=True))
        p = np.tensordot(weights, graphs, 1)
        best = expected.min()
        for graph, record in ((optimal_graph(p), excess), ((p > 0.5).astype(np.int8), plain)):
            record.append(
                sum(w * shd(graph, g) for w, g in zip(weights, graphs, strict=True)) - best
            )
    assert min(excess) > -1e-12
    assert np.mean(np.array(excess) < 1e-12) >= 0.9
    assert max(excess) < 0.5
    assert np.mean(plain) > 2 * np.mean(excess)


def test_it_has_no_cycle_and_takes_the_surer_edges():
    p = np.array([[0.0, 0.9, 0.0], [0.0, 0.0, 0.8], [0.7, 0.0, 0.0]])
    assert optimal_graph(p).tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
