"""Laws over graphs: always acyclic, with the stated numbers of edges and degree laws, by each task's seed alone.

Bounds are 5 standard errors of fixed seeds: about 30 of them, false alarms below 2e-5 per change of the seeds.
"""

import math

import pytest
import scipy.stats
import torch

from causal_meta import graphs, randomness
from causal_meta.conf.graph_laws import ErdosRenyi, GraphMixture, GraphPart, ScaleFree
from causal_meta.datasets.graph_families import ScaleFreeGenerator, make_generator

SEEDS = randomness.seeds_of(0, "families", start=0, count=800)
LAWS = {
    "er": ErdosRenyi(edges_per_node=2.0),
    "er_dense": ErdosRenyi(edges_per_node=50.0),
    "er_empty": ErdosRenyi(edges_per_node=0.0),
    "sf_causes": ScaleFree(edges_per_node=2, hubs="causes"),
    "sf_effects": ScaleFree(edges_per_node=3, power=1.5, hubs="effects"),
    "mixture": GraphMixture(parts={"a": GraphPart(weight=3.0, graph=ErdosRenyi(edges_per_node=1.0)), "b": GraphPart(graph=ScaleFree())}),
}


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("n_nodes", [2, 3, 20])
class TestEveryLaw:
    def test_acyclic_zeros_and_ones(self, name, n_nodes):
        drawn = make_generator(LAWS[name])(SEEDS, n_nodes)
        assert drawn.shape == (800, n_nodes, n_nodes)
        assert drawn.dtype == torch.float32
        assert ((drawn == 0) | (drawn == 1)).all()
        assert graphs.is_acyclic(drawn).all()

    def test_a_graph_depends_on_its_seed_alone(self, name, n_nodes):
        law = make_generator(LAWS[name])
        together = law(SEEDS[:50], n_nodes)
        assert torch.equal(torch.cat([law([seed], n_nodes) for seed in SEEDS[:50]]), together)
        assert torch.equal(law(SEEDS[49::-1], n_nodes), together.flip(0))

    def test_expected_edges(self, name, n_nodes):
        law = make_generator(LAWS[name])
        counts = law(SEEDS, n_nodes).sum(dim=(1, 2)).double()
        assert abs(counts.mean() - law.expected_edges(n_nodes)) <= 5 * counts.std() / math.sqrt(len(SEEDS)) + 1e-9

    def test_node_numbers_say_nothing(self, name, n_nodes):
        """Each ordered pair is an edge equally often: chi-squared at 1e-6."""
        share = make_generator(LAWS[name])(SEEDS, n_nodes).sum(dim=0)
        pairs = share[~torch.eye(n_nodes, dtype=torch.bool)].double()
        p = pairs.mean() / len(SEEDS)
        if 0 < p < 1:
            statistic = ((pairs - pairs.mean()) ** 2 / (len(SEEDS) * p * (1 - p))).sum()
            assert scipy.stats.chi2(len(pairs) - 1).sf(float(statistic)) > 1e-6


def test_the_symmetry_check_would_see_sorted_nodes():
    share = torch.triu(make_generator(LAWS["er"])(SEEDS, 3), 1).sum(dim=0)
    pairs = share[~torch.eye(3, dtype=torch.bool)].double()
    p = pairs.mean() / len(SEEDS)
    assert ((pairs - pairs.mean()) ** 2 / (len(SEEDS) * p * (1 - p))).sum() > scipy.stats.chi2(5).isf(1e-6)


def test_erdos_renyi_pairs_are_independent_with_the_stated_probability():
    """The number of edges is binomial: mean and variance, not those of a density half as large (a known slip of other packages)."""
    pairs, p = 190, 4 / 19
    counts = make_generator(LAWS["er"])(SEEDS, 20).sum(dim=(1, 2)).double()

    def is_binomial(p):
        mean_fits = abs(counts.mean() - pairs * p) < 5 * math.sqrt(pairs * p * (1 - p) / len(SEEDS))
        return bool(mean_fits and abs(counts.var() / (pairs * p * (1 - p)) - 1) < 5 * math.sqrt(2 / len(SEEDS)))

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
    """With one edge per node the third newcomer of four nodes joins the hub, of degree 2, rather than one of two leaves, of degree 1."""
    law = ScaleFreeGenerator(ScaleFree(edges_per_node=1, power=power))
    drawn = law(randomness.seeds_of(2, start=0, count=8000), 4)
    star = ((drawn + drawn.mT).sum(dim=2).amax(dim=1) == 3).double().mean()
    expected = 3**power / (3**power + 2 * 2**power)
    assert abs(star - expected) < 5 * math.sqrt(expected * (1 - expected) / 8000)
    other = 3 ** (power + 0.5) / (3 ** (power + 0.5) + 2 * 2 ** (power + 0.5))
    assert abs(star - other) > 5 * math.sqrt(expected * (1 - expected) / 8000), "the check must see another power"


def test_drawing_without_replacement_by_enumeration():
    """Node 3 joins two of three nodes of degrees 2, 2, 2 after node 2 joined both others: all three pairs equally often."""
    drawn = ScaleFreeGenerator(ScaleFree(edges_per_node=2))(randomness.seeds_of(3, start=0, count=8000), 4)
    missing = ((drawn + drawn.mT).sum(dim=2) == 2).sum(dim=1)
    assert (missing == 2).all(), "K4 less one edge: two nodes of degree 2"
    # the last node is one of the two of degree 2; the other is uniform among the first three, hence a root of the order in 1/3 of the graphs
    other_is_root = ((drawn.sum(dim=1) == 0) & ((drawn + drawn.mT).sum(dim=2) == 2)).any(dim=1).double().mean()
    assert abs(other_is_root - 1 / 3) < 5 * math.sqrt(2 / 9 / 8000)


def test_a_mixture_draws_its_parts_by_weight_and_as_they_are():
    parts = {"empty": GraphPart(weight=1.0, graph=ErdosRenyi(edges_per_node=0)), "full": GraphPart(weight=3.0, graph=ErdosRenyi(edges_per_node=50))}
    drawn = make_generator(GraphMixture(parts=parts))(SEEDS, 5)
    full = drawn.sum(dim=(1, 2)) == 10
    assert torch.equal(drawn[full], make_generator(parts["full"].graph)([s for s, f in zip(SEEDS, full, strict=True) if f], 5))
    assert not drawn[~full].any()
    assert abs(full.double().mean() - 0.75) < 5 * math.sqrt(0.75 * 0.25 / len(SEEDS))


def test_nested_mixtures_choose_by_numbers_of_their_own():
    inner = {"empty": GraphPart(graph=ErdosRenyi(edges_per_node=0)), "full": GraphPart(graph=ErdosRenyi(edges_per_node=50))}
    outer = GraphMixture(parts={"a": GraphPart(graph=GraphMixture(parts=inner)), "b": GraphPart(graph=ErdosRenyi(edges_per_node=1.0))})
    counts = make_generator(outer)(SEEDS, 5).sum(dim=(1, 2))
    for share, expected in ((counts == 0, 0.25 + 0.5 * 0.5**10), (counts == 10, 0.25 + 0.5 * 0.5**10)):
        assert abs(share.double().mean() - expected) < 5 * math.sqrt(0.25 * 0.75 / len(SEEDS))


def test_golden_graph():
    """The same graphs on every machine and in every later version: stored identities rest on it."""
    assert graphs.graph_hashes(make_generator(LAWS["er"])([0], 20))[0][:16] == "d7cdb3ba6cc047b3"
    assert graphs.graph_hashes(make_generator(LAWS["sf_causes"])([0], 20))[0][:16] == "312cdc0d05d593b8"
