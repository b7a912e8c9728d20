"""Functions on adjacency matrices, against enumeration of every graph of 3 and 4 nodes and against
networkx."""

import itertools

import networkx as nx
import numpy as np
import pytest
import torch

from causal_meta import graphs, randomness
from causal_meta.conf.graph_laws import ErdosRenyi, ScaleFree
from causal_meta.datasets.graph_families import make_generator


def every_directed_graph(size):
    """All 2^(n(n-1)) directed graphs without self-loops, float32 [M, n, n]."""
    pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
    codes = torch.arange(2 ** len(pairs))
    adjacency = torch.zeros(len(codes), size, size)
    for k, (i, j) in enumerate(pairs):
        adjacency[:, i, j] = (codes >> k) & 1
    return adjacency


def as_networkx(adjacency):
    return nx.from_numpy_array(adjacency.numpy(), create_using=nx.DiGraph)


def every_dag(size):
    digraphs = every_directed_graph(size)
    return digraphs[[nx.is_directed_acyclic_graph(as_networkx(graph)) for graph in digraphs]]


@pytest.fixture(scope="module")
def dags():
    return {size: every_dag(size) for size in (2, 3, 4)}


@pytest.fixture(scope="module")
def random_dags():
    seeds = randomness.seeds_of(0, "graphs", start=0, count=60)
    return torch.cat(
        [
            make_generator(ErdosRenyi(edges_per_node=1.5))(seeds, 9),
            make_generator(ScaleFree(edges_per_node=2))(seeds, 9),
        ]
    )


@pytest.mark.parametrize(("size", "count"), [(2, 3), (3, 25), (4, 543)])
def test_acyclic_against_networkx_on_every_graph(dags, size, count):
    every = every_directed_graph(size)
    expected = [nx.is_directed_acyclic_graph(as_networkx(graph)) for graph in every]
    assert graphs.is_acyclic(every).tolist() == expected
    assert len(dags[size]) == count


def test_a_self_loop_is_a_cycle():
    assert not graphs.is_acyclic(torch.tensor([[1, 0], [0, 0]]))


def test_ancestors_against_networkx(random_dags):
    cyclic = every_directed_graph(3)
    for adjacency in [*random_dags, *cyclic]:
        expected = nx.to_numpy_array(
            nx.transitive_closure(as_networkx(adjacency), reflexive=False),
            nodelist=range(len(adjacency)),
        )
        assert np.array_equal(graphs.ancestors(adjacency).numpy(), expected)


def test_ancestors_over_the_longest_path():
    size = 33
    assert torch.equal(
        graphs.ancestors(torch.diag(torch.ones(size - 1), 1)),
        torch.triu(torch.ones(size, size), 1).to(torch.int8),
    )


def in_order(adjacency, order):
    """Whether no edge points backwards."""
    return bool((graphs.permute(adjacency, order).tril() == 0).all())


def test_topological_order_and_depth(random_dags):
    order = graphs.topological_order(random_dags)
    assert torch.equal(order.sort(dim=-1).values, torch.arange(9).expand(len(order), 9))
    assert all(
        in_order(adjacency, places) for adjacency, places in zip(random_dags, order, strict=True)
    )
    assert not in_order(random_dags[0], order[0].flip(0)), "the check must see a reversed order"
    for adjacency, depth in zip(random_dags, graphs.depths(random_dags), strict=True):
        layers = list(nx.topological_generations(as_networkx(adjacency)))
        assert depth.tolist() == [
            next(k for k, layer in enumerate(layers) if j in layer) for j in range(9)
        ]


def test_cyclic_graphs_are_refused():
    ring = torch.tensor([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    for function in (graphs.topological_order, graphs.cpdag, graphs.depths):
        with pytest.raises(ValueError, match="cycle"):
            function(ring)
    with pytest.raises(ValueError, match="last two dimensions"):
        graphs.is_acyclic(torch.zeros(2, 3))


def test_any_leading_dimensions_and_dtypes(random_dags):
    for dtype in (torch.bool, torch.int8, torch.float64):
        nested = random_dags[:6].reshape(2, 3, 9, 9).to(dtype)
        for function in (
            graphs.ancestors,
            graphs.topological_order,
            graphs.is_acyclic,
            graphs.cpdag,
            graphs.depths,
        ):
            assert torch.equal(function(nested).flatten(0, 1), function(random_dags[:6]))


def test_permute_is_a_renumbering(random_dags):
    permutation = randomness.permutations(range(len(random_dags)), ("p",), 9)
    moved = graphs.permute(random_dags, permutation)
    for old, new, order in zip(random_dags, moved, permutation, strict=True):
        assert all(
            new[a, b] == old[order[a], order[b]] for a, b in itertools.product(range(9), repeat=2)
        )
    assert torch.equal(graphs.permute(moved, permutation.argsort(dim=-1)), random_dags)


# ------------------------------------------------------------------------------ equivalence classes


def enumerated_cpdags(dags):
    """The union of each Markov equivalence class, members being graphs of one skeleton and the same
    v-structures (Verma & Pearl 1990)."""
    classes = {}
    for index, graph in enumerate(dags.int().numpy()):
        skeleton = graph | graph.T
        colliders = frozenset(
            (min(i, k), j, max(i, k))
            for j in range(len(graph))
            for i, k in itertools.combinations(np.nonzero(graph[:, j])[0].tolist(), 2)
            if not skeleton[i, k]
        )
        classes.setdefault((skeleton.tobytes(), colliders), []).append(index)
    unions = torch.zeros_like(dags)
    for members in classes.values():
        unions[members] = dags[members].amax(dim=0)
    return unions.to(torch.int8), len(classes)


@pytest.mark.parametrize(("size", "classes"), [(2, 2), (3, 11), (4, 185)])
def test_cpdag_against_enumeration(dags, size, classes):
    expected, count = enumerated_cpdags(dags[size])
    assert count == classes
    ours = graphs.cpdag(dags[size])
    assert torch.equal(ours, expected)
    assert len({graphs.graph_hash(graph) for graph in ours}) == classes
    assert not torch.equal(dags[size].to(torch.int8), expected), (
        "the check must see a DAG passed off as its class"
    )


def covered(adjacency, i, j):
    """Whether j has i's parents and i: reversing such an edge, and no other, stays in the class
    (Chickering 1995)."""
    return torch.equal(adjacency[:, i] + torch.eye(len(adjacency))[i], adjacency[:, j])


def test_cpdag_changes_with_an_edge_unless_it_is_covered(random_dags):
    kept = moved = 0
    for adjacency in random_dags[:40]:
        for i, j in torch.nonzero(adjacency).tolist():
            other = adjacency.clone()
            other[i, j], other[j, i] = 0, 1
            if graphs.is_acyclic(other):
                same = torch.equal(graphs.cpdag(other), graphs.cpdag(adjacency))
                assert same == covered(adjacency, i, j)
                kept, moved = kept + same, moved + (not same)
    assert kept > 50
    assert moved > 50


def test_cpdag_follows_a_renumbering_and_is_done_in_pieces(random_dags, monkeypatch):
    permutation = randomness.permutations(range(len(random_dags)), ("p",), 9)
    expected = graphs.cpdag(random_dags)
    assert torch.equal(
        graphs.cpdag(graphs.permute(random_dags, permutation)),
        graphs.permute(expected, permutation),
    )
    monkeypatch.setattr(graphs, "_WORKSPACE", 5 * 9**3)
    assert torch.equal(graphs.cpdag(random_dags), expected)


# ------------------------------------------------------------------------------ hashes and networkx


def test_hashes_are_stable_and_distinct(dags):
    chain = torch.tensor([[0, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert (
        graphs.graph_hash(chain)
        == "4ee461ebb242c89b4056369c84af6709c051d2e6cbea01bc0f9b197fbb21c5e6"
    )
    assert (
        graphs.graph_hash(chain)
        == graphs.graph_hash(chain.to(torch.float64))
        == graphs.graph_hash(chain.bool())
        == graphs.graph_hash(5 * chain)
    )
    every = [digest for size in (2, 3, 4) for digest in graphs.graph_hashes(dags[size])]
    assert len(set(every)) == len(every) == 3 + 25 + 543
    assert graphs.graph_hashes(dags[4]) == [graphs.graph_hash(graph) for graph in dags[4]]
    with pytest.raises(ValueError, match="one graph"):
        graphs.graph_hash(dags[3])


def test_networkx_export():
    adjacency = torch.tensor([[0, 1], [0, 0]])
    graph = graphs.to_networkx(adjacency, ["a", "b"], torch.tensor([[0.0, 0.75], [0.5, 0.0]]))
    assert list(graph.edges(data=True)) == [("a", "b", {"probability": 0.75})]
    assert list(graphs.to_networkx(torch.zeros(2, 2), ["b", "a"]).nodes) == ["b", "a"]
    with pytest.raises(ValueError, match="one name per node"):
        graphs.to_networkx(adjacency, ["a", "a"])
