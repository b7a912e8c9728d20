"""Subgraphs of a network: the law of the walk by enumeration, cycles opened at random, modularity
by its definition.

Bounds are 5 standard errors of fixed seeds.
"""

import collections
import itertools
import math

import networkx as nx
import numpy as np
import scipy.stats
import torch

from causal_meta import graph_classes, randomness
from causal_meta.conf.graph_laws import NetworkSubgraph
from causal_meta.datasets.graph_families import make_generator

SEEDS = randomness.seeds_of(0, "families", start=0, count=800)


def walked(edges, size):
    """The law of the undirected walk by enumeration: the probability of every set of nodes."""
    graph = nx.Graph(edges)
    starts = [node for part in nx.connected_components(graph) if len(part) >= size for node in part]
    law = {frozenset([node]): 1 / len(starts) for node in starts}
    for _ in range(size - 1):
        grown = collections.Counter()
        for nodes, p in law.items():
            around = set(itertools.chain.from_iterable(graph[node] for node in nodes)) - nodes
            for node in around:
                grown[nodes | {node}] += p / len(around)
        law = grown
    return law


def test_a_subgraph_is_drawn_by_its_walk():
    """Eight nodes in parts of six and two; each set of nodes is known by its edges, all of which
    are kept."""
    edges = [("a", "b"), ("a", "c"), ("c", "d"), ("b", "d"), ("d", "e"), ("e", "f"), ("y", "z")]
    expected = collections.Counter()
    for nodes, p in walked(edges, 4).items():
        kept = nx.DiGraph([edge for edge in edges if set(edge) <= nodes])
        expected[
            graph_classes.isomorphism_hashes(torch.tensor(nx.to_numpy_array(kept))[None])[0]
        ] += p
    drawn = make_generator(NetworkSubgraph(edges=tuple(f"{a} -> {b}" for a, b in edges)))(
        randomness.seeds_of(6, start=0, count=4000), 4
    )
    found = collections.Counter(graph_classes.isomorphism_hashes(drawn))
    assert set(found) == set(expected)
    assert len(found) == 3
    assert (
        scipy.stats.chisquare(
            [found[key] for key in expected], [4000 * p for p in expected.values()]
        ).pvalue
        > 1e-6
    )


def test_cycles_of_a_network_are_opened_at_random():
    """Of a ring of three, all orders equally likely: two edges in half of the graphs, one in the
    others. Of two opposite edges always one."""
    ring = make_generator(NetworkSubgraph(edges=("a -> b", "b -> c", "c -> a", "a -> a")))(SEEDS, 3)
    two = (ring.sum(dim=(1, 2)) == 2).double().mean()
    assert ((ring.sum(dim=(1, 2)) == 1) | (ring.sum(dim=(1, 2)) == 2)).all()
    assert abs(two - 0.5) < 5 * math.sqrt(0.25 / 800)
    assert (
        make_generator(NetworkSubgraph(edges=("a -> b", "b -> a", "b -> c")))(SEEDS, 3).sum(
            dim=(1, 2)
        )
        == 2
    ).all()


def test_a_subgraph_can_start_from_a_cause():
    """Of a -> b -> c -> d -> e <- x the node e, number 4, has no effects."""
    edges = ("a -> b", "b -> c", "c -> d", "d -> e", "x -> e")
    number = torch.linspace(0.001, 0.999, 1000)[:, None].expand(-1, 2).contiguous()
    first = (
        make_generator(NetworkSubgraph(edges=edges, start="cause"))._grown(number, 2)[:, 0].tolist()
    )
    assert {node: round(first.count(node) / 1000, 1) for node in set(first)} == dict.fromkeys(
        [0, 1, 2, 3, 5], 0.2
    )
    assert 4 in make_generator(NetworkSubgraph(edges=edges))._grown(number, 2)[:, 0].tolist()


def test_the_gain_of_modularity_against_its_definition():
    """Q(S) = sum over pairs in S of A_ij - k_i k_j / 2m: the best share of the neighbours by the
    change of Q."""
    graph = nx.gnm_random_graph(14, 30, seed=3)
    law = make_generator(
        NetworkSubgraph(edges=tuple(f"v{a:02} -> v{b:02}" for a, b in graph.edges), top=0.4)
    )
    b = nx.modularity_matrix(graph, nodelist=sorted(graph))
    for seed in range(20):
        inside = np.random.default_rng(seed).permutation(14)[:4]
        around = sorted(
            set(itertools.chain.from_iterable(graph[int(i)] for i in inside)) - set(inside.tolist())
        )
        gain = {v: b[np.ix_([*inside, v], [*inside, v])].sum() for v in around}
        last = sorted(gain.values(), reverse=True)[int(0.4 * len(around))]
        best = [v for v in around if gain[v] >= last - 1e-9]
        mask, links = torch.zeros(1, 14, dtype=torch.bool), law.joined[inside].sum(dim=0)[None]
        mask[0, around] = True
        assert (
            torch.nonzero(law._best(mask, links, law.degree[inside].sum()[None])[0])[:, 0].tolist()
            == best
        )


def test_the_gain_of_modularity_keeps_to_communities():
    cliques = [
        f"{side}{i} -> {side}{j}" for side in "ab" for i, j in itertools.combinations(range(5), 2)
    ]
    edges = tuple([*cliques, "a0 -> b0"])
    assert (
        make_generator(NetworkSubgraph(edges=edges, top=0.2))(SEEDS, 5).sum(dim=(1, 2)) == 10
    ).all()
    assert (make_generator(NetworkSubgraph(edges=edges))(SEEDS, 5).sum(dim=(1, 2)) < 10).any()
