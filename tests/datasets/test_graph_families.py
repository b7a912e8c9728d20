"""Laws over graphs: always acyclic, with the stated numbers of edges and degree laws, by each
task's seed alone.

Bounds are 5 standard errors of fixed seeds: about 100 of them, false alarms below 6e-5 per change
of the seeds.
"""

import collections
import itertools
import math
from functools import cache

import networkx as nx
import numpy as np
import pytest
import scipy.stats
import torch

from causal_meta import graph_classes, graphs, randomness
from causal_meta.conf.graph_laws import (
    ErdosRenyi,
    ErdosRenyiM,
    ErdosRenyiP,
    Geometric,
    GraphMixture,
    GraphPart,
    KnownGraph,
    Layered,
    NetworkSubgraph,
    ScaleFree,
    StochasticBlock,
    WattsStrogatz,
)
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.datasets.graph_families import ScaleFreeGenerator, make_generator
from causal_meta.datasets.graph_families.geometric import within
from causal_meta.datasets.graph_families.watts_strogatz import lattice
from causal_meta.datasets.mixtures import draw_parts

SEEDS = randomness.seeds_of(0, "families", start=0, count=800)
LAWS = {
    "er": ErdosRenyi(edges_per_node=2.0),
    "er_dense": ErdosRenyi(edges_per_node=50.0),
    "er_empty": ErdosRenyi(edges_per_node=0.0),
    "sf_causes": ScaleFree(edges_per_node=2, hubs="causes"),
    "sf_effects": ScaleFree(edges_per_node=3, power=1.5, hubs="effects"),
    "mixture": GraphMixture(
        parts={
            "a": GraphPart(weight=3.0, graph=ErdosRenyi(edges_per_node=1.0)),
            "b": GraphPart(graph=ScaleFree()),
        }
    ),
    "er_p": ErdosRenyiP(edge_probability=0.3),
    "sbm": StochasticBlock(n_blocks=4, p_within=0.6, damp=0.02),
    "sbm_random": StochasticBlock(n_blocks=5, p_within=0.6, blocks="random"),
    "sbm_edges": StochasticBlock(n_blocks=3, edges_per_node=1.5, blocks="random"),
    "sbm_full": StochasticBlock(n_blocks=8, edges_per_node=4.0, damp=0.05, blocks="random"),
    "ws": WattsStrogatz(neighbours=2, rewire=0.3),
    "ws_2": WattsStrogatz(dim=2, neighbours=2, rewire=0.4),
    "ws_3": WattsStrogatz(dim=3, neighbours=1, rewire=0.0),
    "geometric": Geometric(radius=0.3),
    "ws_ordered": WattsStrogatz(dim=2, neighbours=1, rewire=0.1, order="lattice"),
    "geometric_3": Geometric(radius=0.5, dim=3),
    "geometric_ordered": Geometric(radius=0.4, order="axis"),
    "layered": Layered(n_layers=4, edges_per_node=2.0, skip=0.2),
    "er_m": ErdosRenyiM(n_edges=IntRange(low=20, high=60, power=-1.0)),
    "er_m_one": ErdosRenyiM(n_edges=fixed(1)),
    "network": NetworkSubgraph(
        edges=tuple(
            sorted(
                {f"{i} -> {i * i % 41}" for i in range(2, 41)}
                | {f"{i} -> {i * 7 % 41}" for i in range(1, 41)}
            )
        )
    ),
    "known": KnownGraph(edges=("a -> b", "c -> b", "b -> d"), nodes=("a", "b", "c", "d", "alone")),
}
SIZES = {"er_m": [20], "er_m_one": [2, 3, 20], "known": [5]}
CASES = [(name, n_nodes) for name in LAWS for n_nodes in SIZES.get(name, [1, 2, 3, 20])]


@cache
def drawn_by(name, n_nodes):
    """Graphs of all seeds; nobody changes them."""
    return make_generator(LAWS[name])(SEEDS, n_nodes)


@pytest.mark.parametrize(("name", "n_nodes"), CASES)
class TestEveryLaw:
    def test_acyclic_zeros_and_ones(self, name, n_nodes):
        drawn = drawn_by(name, n_nodes)
        assert drawn.shape == (800, n_nodes, n_nodes)
        assert drawn.dtype == torch.float32
        assert ((drawn == 0) | (drawn == 1)).all()
        assert graphs.is_acyclic(drawn).all()

    def test_a_graph_depends_on_its_seed_alone(self, name, n_nodes):
        law = make_generator(LAWS[name])
        together = law(SEEDS[:20], n_nodes)
        assert torch.equal(torch.cat([law([seed], n_nodes) for seed in SEEDS[:20]]), together)
        assert torch.equal(law(SEEDS[19::-1], n_nodes), together.flip(0))

    def test_expected_edges(self, name, n_nodes):
        law = make_generator(LAWS[name])
        counts = drawn_by(name, n_nodes).sum(dim=(1, 2)).double()
        # there expected_edges is itself a mean of 128
        error = counts.std() * math.sqrt(1 / len(SEEDS) + (1 / 128 if name == "network" else 0))
        assert abs(counts.mean() - law.expected_edges(n_nodes)) <= 5 * error + 1e-9

    def test_node_numbers_carry_no_information(self, name, n_nodes):
        """Each ordered pair is an edge equally often: chi-squared at 1e-6."""
        share = drawn_by(name, n_nodes).sum(dim=0)
        pairs = share[~torch.eye(n_nodes, dtype=torch.bool)].double()
        p = pairs.mean() / len(SEEDS)
        if 0 < p < 1:
            statistic = ((pairs - pairs.mean()) ** 2 / (len(SEEDS) * p * (1 - p))).sum()
            assert scipy.stats.chi2(len(pairs) - 1).sf(float(statistic)) > 1e-6


def test_the_symmetry_check_would_see_sorted_nodes():
    share = torch.triu(make_generator(LAWS["er"])(SEEDS, 3), 1).sum(dim=0)
    pairs = share[~torch.eye(3, dtype=torch.bool)].double()
    p = pairs.mean() / len(SEEDS)
    assert ((pairs - pairs.mean()) ** 2 / (len(SEEDS) * p * (1 - p))).sum() > scipy.stats.chi2(
        5
    ).isf(1e-6)


def test_erdos_renyi_pairs_are_independent_with_the_stated_probability():
    """The number of edges is binomial: mean and variance, not those of a density half as large (a
    known slip of other packages)."""
    pairs, p = 190, 4 / 19
    counts = make_generator(LAWS["er"])(SEEDS, 20).sum(dim=(1, 2)).double()

    def is_binomial(p):
        mean_fits = abs(counts.mean() - pairs * p) < 5 * math.sqrt(pairs * p * (1 - p) / len(SEEDS))
        return bool(
            mean_fits
            and abs(counts.var() / (pairs * p * (1 - p)) - 1) < 5 * math.sqrt(2 / len(SEEDS))
        )

    assert is_binomial(p)
    assert not is_binomial(p / 2)


def test_erdos_renyi_orders_are_uniform():
    """At full density the graph is its order: the 6 orders of 3 nodes are equally frequent."""
    drawn = make_generator(LAWS["er_dense"])(randomness.seeds_of(1, start=0, count=6000), 3)
    counts = torch.unique(drawn.flatten(1), dim=0, return_counts=True)[1]
    assert len(counts) == 6
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-6


def test_scale_free_edge_count_and_direction():
    causes = ScaleFreeGenerator(ScaleFree(edges_per_node=3, hubs="causes"))(SEEDS, 15)
    effects = ScaleFreeGenerator(ScaleFree(edges_per_node=3, hubs="effects"))(SEEDS, 15)
    assert torch.equal(causes, effects.mT)
    assert (causes.sum(dim=(1, 2)) == 0 + 1 + 2 + 12 * 3).all()
    assert (causes.sum(dim=1) <= 3).all(), "hubs=causes: nobody has more causes than it joined"
    assert causes.sum(dim=2).amax(dim=1).mean() > 7, "but some have many effects"


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_preferential_attachment_by_enumeration(power):
    """With one edge per node the third newcomer of four nodes joins the hub, of degree 2, rather
    than one of two leaves, of degree 1."""
    law = ScaleFreeGenerator(ScaleFree(edges_per_node=1, power=power))
    drawn = law(randomness.seeds_of(2, start=0, count=8000), 4)
    star = ((drawn + drawn.mT).sum(dim=2).amax(dim=1) == 3).double().mean()
    expected = 3**power / (3**power + 2 * 2**power)
    assert abs(star - expected) < 5 * math.sqrt(expected * (1 - expected) / 8000)
    other = 3 ** (power + 0.5) / (3 ** (power + 0.5) + 2 * 2 ** (power + 0.5))
    assert abs(star - other) > 5 * math.sqrt(expected * (1 - expected) / 8000), (
        "the check must see another power"
    )


def test_drawing_without_replacement_by_enumeration():
    """Node 3 joins two of three nodes of degrees 2, 2, 2 after node 2 joined both others: all three
    pairs equally often."""
    drawn = ScaleFreeGenerator(ScaleFree(edges_per_node=2))(
        randomness.seeds_of(3, start=0, count=8000), 4
    )
    missing = ((drawn + drawn.mT).sum(dim=2) == 2).sum(dim=1)
    assert (missing == 2).all(), "K4 less one edge: two nodes of degree 2"
    # the last node is one of the two of degree 2; the other is uniform among the first three, hence
    # a root of the order in 1/3 of the graphs
    other_is_root = (
        ((drawn.sum(dim=1) == 0) & ((drawn + drawn.mT).sum(dim=2) == 2)).any(dim=1).double().mean()
    )
    assert abs(other_is_root - 1 / 3) < 5 * math.sqrt(2 / 9 / 8000)


def test_a_mixture_draws_its_parts_by_weight_and_as_they_are():
    parts = {
        "empty": GraphPart(weight=1.0, graph=ErdosRenyi(edges_per_node=0)),
        "full": GraphPart(weight=3.0, graph=ErdosRenyi(edges_per_node=50)),
    }
    drawn = make_generator(GraphMixture(parts=parts))(SEEDS, 5)
    full = drawn.sum(dim=(1, 2)) == 10
    assert torch.equal(
        drawn[full],
        make_generator(parts["full"].graph)([s for s, f in zip(SEEDS, full, strict=True) if f], 5),
    )
    assert not drawn[~full].any()
    assert abs(full.double().mean() - 0.75) < 5 * math.sqrt(0.75 * 0.25 / len(SEEDS))


GROUPED = {
    "er_1": ErdosRenyi(edges_per_node=1.0),
    "er_3": ErdosRenyi(edges_per_node=3.0),
    "sf_1": ScaleFree(edges_per_node=1, power=1.5, hubs="effects"),
    "sf_3": ScaleFree(edges_per_node=3, power=0.5),
    "sbm_2": StochasticBlock(n_blocks=2, edges_per_node=1.0, blocks="random"),
    "sbm_9": StochasticBlock(n_blocks=9, p_within=0.7, damp=0.3, blocks="random"),
    "sbm_equal": StochasticBlock(n_blocks=3, edges_per_node=3.0),
    "ws_0": WattsStrogatz(rewire=0.0),
    "ws_4": WattsStrogatz(rewire=0.4),
    "ws_dim": WattsStrogatz(dim=2, rewire=0.4),
    "grg_1": Geometric(radius=0.1),
    "grg_5": Geometric(radius=0.5),
    "grg_axis": Geometric(radius=0.5, order="axis"),
}


def test_parts_drawn_together_are_drawn_as_alone():
    mixture = make_generator(
        GraphMixture(parts={name: GraphPart(graph=law) for name, law in GROUPED.items()})
    )
    assert len(mixture.groups) == 8, "laws that differ in numbers only share a call"
    for n_nodes in (2, 12):
        drawn, alone = (
            mixture(SEEDS[:300], n_nodes),
            torch.stack([make_generator(law)(SEEDS[:300], n_nodes) for law in GROUPED.values()]),
        )
        part = draw_parts(SEEDS[:300], ("graph part",), [1.0] * len(GROUPED), ())
        assert [sorted(GROUPED)[number] for number in range(13)] == list(mixture.config.parts)
        order = torch.tensor([list(GROUPED).index(name) for name in mixture.config.parts])
        assert torch.equal(drawn, alone[order[part], torch.arange(300)])
        assert len(part.unique()) == 13


def test_nested_mixtures_choose_by_separate_numbers():
    inner = {
        "empty": GraphPart(graph=ErdosRenyi(edges_per_node=0)),
        "full": GraphPart(graph=ErdosRenyi(edges_per_node=50)),
    }
    outer = GraphMixture(
        parts={
            "a": GraphPart(graph=GraphMixture(parts=inner)),
            "b": GraphPart(graph=ErdosRenyi(edges_per_node=1.0)),
        }
    )
    counts = make_generator(outer)(SEEDS, 5).sum(dim=(1, 2))
    for share, expected in (
        (counts == 0, 0.25 + 0.5 * 0.5**10),
        (counts == 10, 0.25 + 0.5 * 0.5**10),
    ):
        assert abs(share.double().mean() - expected) < 5 * math.sqrt(0.25 * 0.75 / len(SEEDS))


def like(ours, theirs):
    """Whether two samples of a number have one mean, within 5 standard errors of the difference."""
    a, b = torch.as_tensor(ours, dtype=torch.float64), torch.as_tensor(theirs, dtype=torch.float64)
    return bool(
        abs(a.mean() - b.mean()) <= 5 * math.sqrt(float(a.var() / len(a) + b.var() / len(b))) + 1e-9
    )


def shapes(drawn):
    """Per graph, directions forgotten: triangles, squared degrees, connected parts, pairs of nodes
    at distance two."""
    skeleton = (drawn + drawn.mT).double()
    square = skeleton @ skeleton
    near = ((square > 0) & (skeleton == 0)).sum(dim=(1, 2)) - (skeleton.sum(dim=1) > 0).sum(dim=1)
    reach = graphs.ancestors(skeleton) + torch.eye(skeleton.shape[-1])
    parts = (1 / (reach != 0).sum(dim=1)).sum(dim=1)
    return {
        "triangles": (square * skeleton).sum(dim=(1, 2)) / 6,
        "squares": skeleton.sum(dim=1).square().sum(dim=1),
        "parts": parts,
        "near": near,
    }


def of_networkx(make, count=800):
    return torch.tensor(np.stack([np.triu(nx.to_numpy_array(make(seed))) for seed in range(count)]))


NETWORKX = {
    "er_p": (
        ErdosRenyiP(edge_probability=0.15),
        lambda seed: nx.gnp_random_graph(16, 0.15, seed=seed),
    ),
    "er_m": (ErdosRenyiM(n_edges=fixed(24)), lambda seed: nx.gnm_random_graph(16, 24, seed=seed)),
    "sbm": (
        StochasticBlock(n_blocks=3, p_within=0.6, damp=0.1),
        lambda s: nx.stochastic_block_model([6, 5, 5], 0.06 + 0.54 * np.eye(3), seed=s),
    ),
    "ws": (
        WattsStrogatz(neighbours=2, rewire=0.2),
        lambda seed: nx.watts_strogatz_graph(16, 4, 0.2, seed=seed),
    ),
    "ws_all": (
        WattsStrogatz(neighbours=3, rewire=1.0),
        lambda seed: nx.watts_strogatz_graph(16, 6, 1.0, seed=seed),
    ),
    "geometric": (
        Geometric(radius=0.35),
        lambda seed: nx.random_geometric_graph(16, 0.35, seed=seed),
    ),
    "geometric_3": (
        Geometric(radius=0.5, dim=3),
        lambda seed: nx.random_geometric_graph(16, 0.5, dim=3, seed=seed),
    ),
}


@pytest.mark.parametrize("name", NETWORKX)
def test_shapes_are_those_of_networkx(name):
    config, make = NETWORKX[name]
    ours, theirs = shapes(make_generator(config)(SEEDS, 16)), shapes(of_networkx(make))
    assert {key: like(ours[key], theirs[key]) for key in ours} == dict.fromkeys(ours, True)


def test_the_comparison_would_see_another_law_of_equal_density():
    other = shapes(make_generator(ErdosRenyiM(n_edges=fixed(32)))(SEEDS, 16))
    small_world = shapes(make_generator(NETWORKX["ws"][0])(SEEDS, 16))
    assert not like(other["triangles"], small_world["triangles"])
    assert not like(other["squares"], small_world["squares"])


def test_exact_counts_and_uniform_sets_of_edges():
    law = make_generator(ErdosRenyiM(n_edges=IntRange(low=2, high=4)))
    counts = law(SEEDS, 4).sum(dim=(1, 2))
    assert set(counts.tolist()) == {2, 3, 4}
    assert scipy.stats.chisquare(torch.bincount(counts.int())[2:].numpy()).pvalue > 1e-6
    assert (make_generator(ErdosRenyiM(n_edges=fixed(6)))(SEEDS, 4).sum(dim=(1, 2)) == 6).all()
    pairs = make_generator(ErdosRenyiM(n_edges=fixed(2)))(
        randomness.seeds_of(4, start=0, count=6000), 4
    )
    sets = torch.unique((pairs + pairs.mT).flatten(1), dim=0, return_counts=True)[1]
    assert len(sets) == 15
    assert scipy.stats.chisquare(sets.numpy()).pvalue > 1e-6
    with pytest.raises(ValueError, match="4 nodes have 6 pairs"):
        make_generator(ErdosRenyiM(n_edges=fixed(7)))(SEEDS, 4)


def test_blocks():
    """At p = 1 and damp = 0 the graph is its blocks, as cliques."""

    def sizes(config, n_nodes):
        drawn = make_generator(config)(SEEDS, n_nodes)
        reach = graphs.ancestors(drawn + drawn.mT) + torch.eye(n_nodes)
        return [tuple(sorted((reach[b] != 0).sum(dim=1).tolist())) for b in range(len(drawn))]

    assert set(sizes(StochasticBlock(n_blocks=3, p_within=1.0, damp=0.0), 11)) == {
        (3,) * 3 + (4,) * 8
    }
    assert set(sizes(StochasticBlock(n_blocks=9, p_within=1.0, damp=0.0), 4)) == {(1,) * 4}, (
        "no more blocks than nodes"
    )
    cuts = collections.Counter(
        sizes(StochasticBlock(n_blocks=2, p_within=1.0, damp=0.0, blocks="random"), 5)
    )
    assert set(cuts) == {(1, 4, 4, 4, 4), (2, 2, 3, 3, 3)}
    assert abs(cuts[1, 4, 4, 4, 4] / 800 - 0.5) < 5 * math.sqrt(0.25 / 800), (
        "of the four cuts of five nodes two are at the edge"
    )


def test_lattices():
    """Without rewiring: a ring, a torus, all pairs at most two steps apart on a torus; more nodes
    than the lattice needs are thinned out."""

    def undirected(config, n_nodes):
        drawn = make_generator(config)(SEEDS[:5], n_nodes)
        return [nx.from_numpy_array((graph + graph.T).numpy()) for graph in drawn]

    for graph in undirected(WattsStrogatz(neighbours=2, rewire=0.0), 10):
        assert nx.is_isomorphic(graph, nx.watts_strogatz_graph(10, 4, 0))
    torus = nx.grid_graph((4, 4), periodic=True)
    for graph in undirected(WattsStrogatz(dim=2, neighbours=1, rewire=0.0), 16):
        assert nx.is_isomorphic(graph, torus)
    for graph in undirected(WattsStrogatz(dim=2, neighbours=2, rewire=0.0), 16):
        assert nx.is_isomorphic(graph, nx.power(torus, 2))
    for graph in undirected(WattsStrogatz(dim=3, neighbours=1, rewire=0.0), 27):
        assert nx.is_isomorphic(graph, nx.grid_graph((3, 3, 3), periodic=True))
    for graph in undirected(WattsStrogatz(neighbours=5, rewire=0.7), 6):
        assert graph.number_of_edges() == 15, "nowhere else to go"
    u, v = lattice(5, 2, 1)
    assert nx.is_isomorphic(
        nx.Graph(zip(u.tolist(), v.tolist(), strict=True)), nx.grid_graph((5, 5), periodic=True)
    )


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize("radius", [0.1, 0.7, 1.0, 1.2, 1.7])
def test_the_probability_of_a_geometric_edge(dim, radius):
    """Against a million pairs of points, and where it exists the closed form (Philip 2007)."""
    points = np.random.default_rng(0).random((2, 1_000_000, dim))
    share = (np.linalg.norm(points[0] - points[1], axis=1) <= radius).mean()
    assert abs(within(radius, dim) - share) <= 5 * math.sqrt(share * (1 - share) / 1e6) + 1e-9
    closed = {
        1: radius * (2 - radius),
        2: math.pi * radius**2 - 8 * radius**3 / 3 + radius**4 / 2,
        3: 4 * math.pi * radius**3 / 3
        - 3 * math.pi * radius**4 / 2
        + 8 * radius**5 / 5
        - radius**6 / 6,
    }
    if radius <= 1:
        assert abs(within(radius, dim) - closed[dim]) < 1e-9


def test_layers():
    """Depths never exceed the layers; skip = 0 joins neighbouring layers alone, so at p = 1 all
    complete bipartite steps are there."""
    assert int(graphs.depths(make_generator(Layered(n_layers=3, skip=0.5))(SEEDS, 15)).max()) == 2
    full = make_generator(Layered(n_layers=3, edges_per_node=50.0))(SEEDS[:20], 10)
    assert set(full.sum(dim=(1, 2)).tolist()) == {21.0}, "layers of 4, 3 and 3"
    assert torch.equal(
        full.sum(dim=2).sort(dim=1).values, torch.tensor([0.0] * 3 + [3.0] * 7).expand(20, 10)
    )
    assert (
        make_generator(Layered(n_layers=9, edges_per_node=50.0, skip=1.0))(SEEDS[:20], 5).sum(
            dim=(1, 2)
        )
        == 10
    ).all()
    counts = make_generator(Layered(n_layers=4, edges_per_node=2.0, skip=0.0))(SEEDS, 20).sum(
        dim=(1, 2)
    )
    assert abs(counts.mean() - 40) < 5 * counts.std() / math.sqrt(800)


def test_a_known_graph_in_every_numbering():
    law = make_generator(KnownGraph(edges=("a -> b", "b -> c")))
    drawn = law(randomness.seeds_of(5, start=0, count=6000), 3)
    assert len(set(graph_classes.isomorphism_hashes(drawn))) == 1
    counts = torch.unique(drawn.flatten(1), dim=0, return_counts=True)[1]
    assert len(counts) == 6
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-6
    with pytest.raises(ValueError, match="has 3 nodes, not 4"):
        law(SEEDS, 4)


def test_the_order_of_the_lattice_and_of_an_axis():
    """A ring of ten steps followed in order is one path closed by an edge from its first node to
    its last; along one axis all paths lead right."""
    ring = make_generator(WattsStrogatz(neighbours=1, rewire=0.0, order="lattice"))(SEEDS[:50], 10)
    assert set(graph_classes.isomorphism_hashes(ring)) == set(
        graph_classes.isomorphism_hashes(dag_of([*itertools.pairwise(range(10)), (0, 9)]))
    )
    line = make_generator(Geometric(radius=0.2, dim=1, order="axis"))(SEEDS[:50], 12)
    assert ((line.mT @ line > 0) <= ((line + line.mT + torch.eye(12)) > 0)).all(), (
        "two effects of one cause lie on its right, so within reach"
    )


def dag_of(edges):
    """One graph from its edges, [1, D, D]."""
    return torch.tensor(nx.to_numpy_array(nx.DiGraph(edges)))[None]


def test_laws_share_no_graph_by_sharing_seeds():
    """Erdős–Rényi graphs of one density from one list of seeds under three names: as independent as
    from other seeds."""
    laws = [
        ErdosRenyi(edges_per_node=1.0),
        ErdosRenyiP(edge_probability=0.5),
        ErdosRenyiM(n_edges=fixed(5)),
    ]
    drawn = [make_generator(law)(SEEDS, 5) for law in laws]
    for a, b in itertools.combinations(drawn, 2):
        agree = (a == b).flatten(1).double().mean(dim=1)
        assert like(agree, (a == b.roll(1, 0)).flatten(1).double().mean(dim=1))


def test_golden_graph():
    """The same graphs on every machine and in every later version: stored identities rest on it."""
    assert graphs.graph_hashes(make_generator(LAWS["er"])([0], 20))[0][:16] == "d7cdb3ba6cc047b3"
    assert (
        graphs.graph_hashes(make_generator(LAWS["sf_causes"])([0], 20))[0][:16]
        == "312cdc0d05d593b8"
    )
    names = ("er_p", "er_m", "sbm_random", "ws", "geometric", "layered", "known", "network")
    sizes = {"known": 5}
    drawn = [
        graphs.graph_hashes(make_generator(LAWS[name])([0], sizes.get(name, 20)))[0][:8]
        for name in names
    ]
    assert drawn == [
        "c4d3147f",
        "e88ecd89",
        "61512792",
        "bc6624ca",
        "78e020a1",
        "3e21ffa1",
        "0f198917",
        "9976a2c4",
    ]
