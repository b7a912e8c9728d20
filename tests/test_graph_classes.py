"""Classes of graphs against enumeration: every graph of 3 and 4 nodes with the known numbers of
classes, and by networkx's search for isomorphisms."""

import itertools

import networkx as nx
import pytest
import torch

from causal_meta import graph_classes, graphs, randomness
from causal_meta.conf.graph_laws import ErdosRenyiP, ScaleFree, StochasticBlock, WattsStrogatz
from causal_meta.datasets.graph_families import make_generator

LEVELS = ("graph", "isomorphism", "equivalence")


def every_directed_graph(size):
    """All 2^(n(n-1)) directed graphs without self-loops, float32 [M, n, n]."""
    pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
    codes = torch.arange(2 ** len(pairs))
    adjacency = torch.zeros(len(codes), size, size)
    for k, (i, j) in enumerate(pairs):
        adjacency[:, i, j] = (codes >> k) & 1
    return adjacency


def every_dag(size):
    digraphs = every_directed_graph(size)
    return digraphs[graphs.is_acyclic(digraphs)]


def as_networkx(adjacency):
    return nx.from_numpy_array(adjacency.numpy(), create_using=nx.DiGraph)


def dense(graph):
    return torch.tensor(nx.to_numpy_array(graph))[None]


def renumbered(adjacency, seed=0):
    count, size = adjacency.shape[:2]
    return graphs.permute(
        adjacency,
        randomness.permutations(
            randomness.seeds_of(seed, "renumber", start=0, count=count), ("p",), size
        ),
    )


def drawn(law, size, count=40):
    return make_generator(law)(randomness.seeds_of(5, "classes", start=0, count=count), size)


@pytest.mark.parametrize(
    ("size", "counts"), [(2, (3, 2, 2, 2)), (3, (25, 6, 11, 5)), (4, (543, 31, 185, 20))]
)
def test_the_known_numbers_of_classes(size, counts):
    """Labelled DAGs (Robinson 1973), unlabelled DAGs, Markov equivalence classes (Gillispie &
    Perlman 2001) and the unlabelled ones."""
    dags = every_dag(size)
    hashes = [graph_classes.class_hashes(dags, level) for level in LEVELS] + [
        graph_classes.unlabelled_equivalence_hashes(dags)
    ]
    assert tuple(len(set(level)) for level in hashes) == counts
    assert len({digest for level in hashes for digest in level}) == sum(counts), (
        "a hash names its level"
    )


@pytest.mark.parametrize(("size", "count"), [(3, 16), (4, 218)])
def test_all_directed_graphs_too(size, count):
    """The canonical form needs no acyclicity: unlabelled digraphs, with cycles (Harary & Palmer
    1973)."""
    assert len(set(graph_classes.isomorphism_hashes(every_directed_graph(size)))) == count


def test_classes_on_four_nodes_are_those_of_networkx():
    dags = every_dag(4)
    hashes = graph_classes.isomorphism_hashes(dags)
    first = {digest: dags[hashes.index(digest)] for digest in hashes}
    assert all(
        nx.is_isomorphic(as_networkx(graph), as_networkx(first[digest]))
        for graph, digest in zip(dags, hashes, strict=True)
    )


@pytest.mark.parametrize("size", [6, 20, 30])
@pytest.mark.parametrize(
    "law",
    [
        ErdosRenyiP(edge_probability=0.1),
        ScaleFree(edges_per_node=1),
        StochasticBlock(),
        WattsStrogatz(rewire=0.1),
    ],
)
def test_renumbering_changes_no_class_and_one_edge_does(law, size):
    """Sparse graphs, with many isolated nodes, twins and equal parts; in canonical order
    they are equal."""
    original = drawn(law, size)
    other = renumbered(original)
    assert graph_classes.isomorphism_hashes(other) == graph_classes.isomorphism_hashes(original)
    assert graph_classes.unlabelled_equivalence_hashes(
        other
    ) == graph_classes.unlabelled_equivalence_hashes(original)
    forms = [
        graphs.permute(graph, graph_classes.canonical_order(graph)) for graph in (original, other)
    ]
    assert torch.equal(*forms)
    assert graph_classes.class_signatures(other, "isomorphism") == graph_classes.class_signatures(
        original, "isomorphism"
    )
    for graph, digest in zip(original, graph_classes.isomorphism_hashes(original), strict=True):
        if graph.any():
            less = graph.clone()
            i, j = torch.nonzero(graph)[0].tolist()
            less[i, j] = 0
            assert graph_classes.isomorphism_hashes(less[None]) != [digest]


def test_a_graph_is_hashed_the_same_in_any_batch(monkeypatch):
    batch = torch.cat([drawn(ErdosRenyiP(edge_probability=p), 9) for p in (0.05, 0.3)])
    alone = [graph_classes.isomorphism_hashes(graph[None])[0] for graph in batch]
    assert graph_classes.isomorphism_hashes(batch) == alone
    monkeypatch.setattr(graph_classes, "_CELLS", 7 * 81)  # blocks of seven
    assert graph_classes.isomorphism_hashes(batch) == alone
    assert [
        graph_classes.class_signatures(graph[None], "isomorphism")[0] for graph in batch
    ] == graph_classes.class_signatures(batch, "isomorphism")


def test_a_pair_that_colour_refinement_cannot_separate():
    """Every cause has two effects and every effect two causes; once they are two rings of eight,
    once rings of six and ten."""

    def twofold(cycles):
        edges = [
            (a, b) for cycle in cycles for a, b in zip(cycle, cycle[1:] + cycle[:1], strict=True)
        ]
        return dense(nx.DiGraph([(a, b + 8) for a, b in edges] + [(b, a + 8) for a, b in edges]))

    one, two = twofold([[0, 1, 2, 3, 4, 5, 6, 7]]), twofold([[0, 1, 2], [3, 4, 5, 6, 7]])
    assert graph_classes.class_signatures(one, "isomorphism") == graph_classes.class_signatures(
        two, "isomorphism"
    )
    assert graph_classes.isomorphism_hashes(one) != graph_classes.isomorphism_hashes(two)


def from_above(graph):
    """A graph as a DAG of twice the nodes: every undirected edge a - b becomes a -> b' and b ->
    a'."""
    return nx.DiGraph([((a, 0), (b, 1)) for edge in graph.edges for a, b in (edge, edge[::-1])])


SYMMETRIC = {
    "isolated": nx.empty_graph(100, create_using=nx.DiGraph),
    "complete bipartite": nx.DiGraph([(i, 50 + j) for i in range(50) for j in range(50)]),
    "crown": from_above(nx.complete_graph(30)),
    "equal parts": nx.disjoint_union_all([from_above(nx.cycle_graph(5)) for _ in range(8)]),
    "binary tree": nx.balanced_tree(2, 6, create_using=nx.DiGraph),
    "hypercube": nx.DiGraph(
        [(v, v | 1 << k) for v in range(32) for k in range(5) if not v >> k & 1]
    ),
    "petersen": from_above(nx.petersen_graph()),
    "regular": from_above(nx.random_regular_graph(3, 30, seed=1)),
}


@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetric_graphs(name):
    graph = dense(SYMMETRIC[name])
    assert graph_classes.isomorphism_hashes(renumbered(graph)) == graph_classes.isomorphism_hashes(
        graph
    )


def test_pairs_of_regular_graphs_against_networkx():
    """Cubic graphs of 10 nodes, alike to every degree count: equal hashes for the pairs that
    networkx finds isomorphic, and for no others."""
    cubic = [nx.random_regular_graph(3, 10, seed=seed) for seed in range(12)]
    hashes = [graph_classes.isomorphism_hashes(dense(from_above(graph)))[0] for graph in cubic]
    verdicts = set()
    for (graph, digest), (other, its) in itertools.combinations(zip(cubic, hashes, strict=True), 2):
        same = nx.is_isomorphic(from_above(graph), from_above(other))
        assert same == (digest == its)
        verdicts.add(same)
    assert verdicts == {True, False}


def test_a_search_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr(graph_classes, "_BRANCHES", 3)
    with pytest.raises(ValueError, match="so regular"):
        graph_classes.isomorphism_hashes(dense(from_above(nx.petersen_graph())))


@pytest.mark.parametrize("level", LEVELS)
def test_equal_classes_have_equal_signatures_and_others_hardly_ever(level):
    """On 4 nodes the skeleton has 64 values; the other levels separate all classes."""
    dags = every_dag(4)
    pairs = list(
        zip(
            graph_classes.class_hashes(dags, level),
            graph_classes.class_signatures(dags, level),
            strict=True,
        )
    )
    hashes, signatures = ({pair[k] for pair in pairs} for k in (0, 1))
    assert len(set(pairs)) == len(hashes)
    assert len(signatures) == {"graph": 543, "isomorphism": 31, "equivalence": 64}[level]


def test_equivalence_needs_a_dag():
    with pytest.raises(ValueError, match="cycle"):
        graph_classes.equivalence_hashes(torch.tensor([[[0, 1], [1, 0]]]))


def test_golden_hashes():
    """Registries of stored artifacts hold them."""
    graph = drawn(ErdosRenyiP(edge_probability=0.2), 12, count=1)
    assert [graph_classes.class_hashes(graph, level)[0][:12] for level in LEVELS] == [
        "37e30fffc57d",
        "6849034af5dd",
        "eb2e0124699f",
    ]
    assert graph_classes.class_signatures(graph, "isomorphism") == [6638711757355229218]
