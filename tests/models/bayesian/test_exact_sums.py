"""Laws of exact posteriors: dynamic programming equals enumeration, in every block size and on
sharp weights; known numbers of graphs; draws have the exact frequencies; the order-modular
posterior is another one."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.stats import chi2

from causal_meta.knowledge import Knowledge
from causal_meta.models.bayesian.structures import subset_passes
from causal_meta.models.bayesian.structures.enumeration import EnumeratedGraphs, all_graphs
from causal_meta.models.bayesian.structures.family_tables import FamilyTables
from causal_meta.models.bayesian.structures.graph_sums import ancestor_shares
from causal_meta.models.bayesian.structures.order_sums import OrderSums, log_topological_orders
from causal_meta.models.bayesian.structures.subset_sums import ModularSums, memory_needed
from causal_meta.scores.bge import BGe
from causal_meta.scores.graph_prior import GraphPrior
from causal_meta.scores.statistics import prepare

from .tables_for_tests import AnyScore

PRIORS = {
    "fair": {"kind": "fair"},
    "uniform": {"kind": "uniform"},
    "sparse": {"kind": "fair", "edge_penalty": 1.5},
}
# the two tests of frequencies together reject a right sampler in 2 of 100,000 draws of the seeds
FALSE_ALARM = 1e-5


def linear_rows(n_nodes, n_rows, seed, noise=1.0):
    """A chain with skips; with little noise families differ by thousands of nats."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n_rows, n_nodes))
    for v in range(1, n_nodes):
        x[:, v] = x[:, v - 1] + 0.5 * x[:, max(0, v - 3)] + noise * x[:, v]
    return x[:, generator.permutation(n_nodes)]


def made(score, prior="fair", knowledge=None, max_parents=None, candidates=None):
    d = score.n_nodes
    log_prior = GraphPrior(n_nodes=d, **PRIORS[prior])
    return FamilyTables.build(
        score, log_prior, knowledge or Knowledge.none(d), candidates, max_parents
    )


def numbers_of_dags(n):
    """OEIS A003024 by Robinson's recursion in integers."""
    counts = [1]
    for k in range(1, n + 1):
        terms = [
            (-1) ** (j + 1) * math.comb(k, j) * 2 ** (j * (k - j)) * counts[k - j]
            for j in range(1, k + 1)
        ]
        counts.append(sum(terms))
    return counts


def assert_equal_posteriors(tables, tolerance=1e-8):
    exact, sums = EnumeratedGraphs(tables), ModularSums(tables)
    assert sums.log_evidence == pytest.approx(exact.log_evidence, abs=tolerance)
    np.testing.assert_allclose(
        sums.edge_probabilities, exact.edge_probabilities, rtol=0, atol=tolerance
    )
    families = np.exp(sums.family_log_probabilities())
    expected = np.exp(exact.family_log_probabilities())
    np.testing.assert_allclose(families, expected, rtol=0, atol=tolerance)
    assert np.abs(families.sum(axis=1) - 1).max() < tolerance


CASES = {
    "soft": AnyScore.drawn,
    "sharp": lambda d, seed: AnyScore.drawn(d, seed, spread=1e4),
    "equal": lambda d, seed: AnyScore.constant(d),
    "linear": lambda d, seed: BGe(prepare(linear_rows(d, 50, seed))),
    "sharp linear": lambda d, seed: BGe(prepare(linear_rows(d, 5000, seed, noise=1e-2))),
}


@pytest.mark.parametrize("low_bits", [1, 3])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("n_nodes", [3, 4, 5])
def test_dynamic_programming_equals_enumeration(n_nodes, prior, low_bits, monkeypatch, every):
    monkeypatch.setattr(subset_passes, "_LOW_BITS", low_bits)  # blocks, as with many variables

    def check(score):
        assert_equal_posteriors(made(score(n_nodes, n_nodes), prior))
        assert_equal_posteriors(made(score(n_nodes, n_nodes), prior, max_parents=2))

    every(check, CASES)


@pytest.mark.parametrize("low_bits", [2, 8])
def test_knowledge_and_candidates_are_obeyed_alike(low_bits, monkeypatch, every):
    monkeypatch.setattr(subset_passes, "_LOW_BITS", low_bits)
    knowledge = Knowledge.none(5).forbid(0, 1).require(2, 0).require(1, 4).with_exogenous([3])
    candidates = [[1, 2, 3], [0, 3], [4, 3], [], [1, 3, 0]]

    def check(score):
        tables = made(score(5, 2), knowledge=knowledge, max_parents=3)
        assert_equal_posteriors(tables)
        sums = ModularSums(tables)
        assert sums.edge_probabilities[2, 0] == pytest.approx(1)
        assert sums.edge_probabilities[0, 1] == 0
        graphs = sums.sample(50, np.random.default_rng(0))
        assert knowledge.allows(graphs)
        assert np.isfinite(sums.log_prob(graphs)).all()
        tables = made(score(5, 3), candidates=candidates)
        assert_equal_posteriors(tables)
        assert ModularSums(tables).log_prob(np.eye(5, k=1, dtype=np.int8)[None])[0] == -np.inf

    every(check, CASES)


def test_knowledge_that_allows_no_graph_with_these_candidates_is_refused():
    knowledge = Knowledge.none(3).require(0, 1)
    score = AnyScore.constant(3)
    score.values[0] = -np.inf
    score.values[0, 0b010] = 0.0  # 0 has no other parents than 1
    for kind in (EnumeratedGraphs, ModularSums, OrderSums):
        with pytest.raises(ValueError, match="No acyclic graph has a positive probability"):
            kind(made(score, knowledge=knowledge))


def test_the_numbers_of_graphs_are_known():
    counts = numbers_of_dags(12)
    assert counts[10] == 4175098976430598143
    for d in (1, 2, 3, 5, 8, 10, 12):
        sums = ModularSums(made(AnyScore.constant(d), "uniform"))
        assert sums.log_evidence == pytest.approx(math.log(counts[d]), abs=1e-11)
        off = sums.edge_probabilities[~np.eye(d, dtype=bool)]
        assert np.ptp(off) < 1e-11 if d > 1 else True
    for d in range(1, 6):
        assert len(all_graphs(d)) == counts[d]


def test_the_evidence_agrees_with_exact_arithmetic():
    """Fractions instead of floats at D=7, with weights from e^-40 to 1: 1e-12 relative."""
    d = 7
    exponents = np.random.default_rng(5).integers(0, 58, size=(d, 1 << d))
    tables = made(AnyScore(-exponents * math.log(2)), "uniform")
    within = [[Fraction(0)] * (1 << d) for _ in range(d)]
    for v, s in itertools.product(range(d), range(1 << d)):
        if not s >> v & 1:
            b = s
            while True:  # all subsets of s
                within[v][s] += Fraction(1, 2 ** int(exponents[v, b]))
                if b == 0:
                    break
                b = (b - 1) & s
    total = [Fraction(0)] * (1 << d)
    total[0] = Fraction(1)
    for s in range(1, 1 << d):
        t = s
        while t:
            rest = s & ~t
            size = bin(t).count("1")
            term = total[rest] * math.prod(within[v][rest] for v in range(d) if t >> v & 1)
            total[s] += term if size % 2 else -term
            t = (t - 1) & s
    exact = math.log(total[-1].numerator) - math.log(total[-1].denominator)
    assert ModularSums(tables).log_evidence == pytest.approx(exact, abs=1e-12)


def test_lost_digits_do_not_depend_on_sharpness():
    """Families of one graph with 9 variables must have probabilities with sum 1: what is missing
    grows with rounding of scores of 1e5 nats, to 1e-10, and no further."""
    for noise, limit in ((1.0, 1e-11), (1e-2, 1e-10), (1e-4, 1e-9)):
        tables = made(BGe(prepare(linear_rows(9, 3000, 1, noise))))
        assert np.ptp(tables.scores[np.isfinite(tables.scores)]) > 1e3
        sums = ModularSums(tables)
        families = np.exp(sums.family_log_probabilities())
        assert np.abs(families.sum(axis=1) - 1).max() < limit
        assert sums.rounding < limit


def test_markov_equivalent_graphs_are_equally_likely_only_under_the_modular_posterior():
    tables = made(BGe(prepare(linear_rows(3, 30, 0))), "uniform")
    chains = np.zeros((3, 3, 3), np.int8)
    chains[0, 0, 1] = chains[0, 1, 2] = 1
    chains[1, 2, 1] = chains[1, 1, 0] = 1
    chains[2, 1, 0] = chains[2, 1, 2] = 1
    assert np.ptp(ModularSums(tables).log_prob(chains)) < 1e-9
    assert np.ptp(OrderSums(tables).log_prob(chains)) == pytest.approx(math.log(2))


def expected_orders(graph):
    d = len(graph)
    return sum(
        all(graph[order[j], order[i]] == 0 for i in range(d) for j in range(i, d))
        for order in itertools.permutations(range(d))
    )


def test_the_order_modular_posterior_is_weighted_by_topological_orders():
    tables = made(AnyScore.drawn(4, 3))
    listed = EnumeratedGraphs(tables)
    orders = np.array([expected_orders(graph) for graph in listed.graphs])
    counted = [log_topological_orders(graph) for graph in listed.graphs]
    np.testing.assert_allclose(np.exp(counted), orders)
    weights = listed.log_weights(listed.graphs) + np.log(orders)
    sums = OrderSums(tables)
    assert sums.log_evidence == pytest.approx(np.logaddexp.reduce(weights))
    probabilities = np.exp(weights - sums.log_evidence)
    np.testing.assert_allclose(np.exp(sums.log_prob(listed.graphs)), probabilities)
    edges = np.tensordot(probabilities, listed.graphs, axes=1)
    np.testing.assert_allclose(sums.edge_probabilities, edges, atol=1e-12)


def frequencies_agree(graphs, log_probabilities, listed):
    """Whether the frequencies of drawn graphs fit exact probabilities: chi-square over the graphs
    that are expected at least 5 times, and all others together."""
    counts = np.bincount(listed.numbers(graphs), minlength=len(listed.graphs))
    expected = len(graphs) * np.exp(log_probabilities)
    often = expected >= 5
    counts = np.append(counts[often], counts[~often].sum())
    expected = np.append(expected[often], max(expected[~often].sum(), 1e-9))
    statistic = ((counts - expected) ** 2 / expected).sum()
    return statistic < chi2.isf(FALSE_ALARM, len(counts) - 1)


@pytest.mark.parametrize("low_bits", [2, 8])
def test_draws_have_the_exact_frequencies_and_not_those_of_the_other_prior(low_bits, monkeypatch):
    monkeypatch.setattr(subset_passes, "_LOW_BITS", low_bits)
    tables = made(BGe(prepare(linear_rows(4, 12, 6))), "uniform")
    listed, orders = EnumeratedGraphs(tables), OrderSums(tables)
    modular, order = listed.log_probabilities, orders.log_prob(listed.graphs)
    distance = np.abs(np.exp(modular) - np.exp(order)).sum() / 2
    assert 0.1 < distance < 0.3  # the bias of orders at D=4
    for k, (sampler, right, wrong) in enumerate(
        [(ModularSums(tables), modular, order), (listed, modular, order), (orders, order, modular)]
    ):
        graphs = sampler.sample(20000, np.random.default_rng(k))
        assert frequencies_agree(graphs, right, listed)
        assert not frequencies_agree(graphs, wrong, listed)


def test_draws_at_five_variables_on_sharp_data():
    tables = made(BGe(prepare(linear_rows(5, 300, 8, noise=0.3))))
    listed = EnumeratedGraphs(tables)
    graphs = ModularSums(tables).sample(20000, np.random.default_rng(9))
    assert frequencies_agree(graphs, listed.log_probabilities, listed)
    assert len(np.unique(listed.numbers(graphs))) > 20


def test_draws_agree_with_marginals_at_ten_variables():
    sums = ModularSums(made(BGe(prepare(linear_rows(10, 100, 3)))))
    graphs = sums.sample(4000, np.random.default_rng(4))
    p = sums.edge_probabilities
    z = (graphs.mean(axis=0) - p) / np.sqrt(np.maximum(p * (1 - p), 1e-4) / len(graphs))
    assert np.abs(z).max() < 5  # 90 comparisons: false in 5 of 100,000 draws of the seed


def test_ancestors_by_draws_are_those_by_enumeration():
    tables = made(BGe(prepare(linear_rows(5, 30, 1))))
    exact = EnumeratedGraphs(tables).ancestor_probabilities(1, np.random.default_rng(0))
    drawn = ModularSums(tables).ancestor_probabilities(5000, np.random.default_rng(0))
    assert np.abs(drawn - exact).max() < 5 * 0.5 / math.sqrt(5000)
    assert (exact >= EnumeratedGraphs(tables).edge_probabilities - 1e-12).all()
    chain = np.eye(4, k=1, dtype=np.int8)[None]
    assert ancestor_shares(chain, np.ones(1)).tolist() == np.triu(np.ones((4, 4)), 1).tolist()


def test_a_permutation_of_the_columns_permutes_the_marginals():
    x, order = linear_rows(9, 40, 2), np.random.default_rng(0).permutation(9)
    straight = ModularSums(made(BGe(prepare(x))))
    permuted = ModularSums(made(BGe(prepare(x[:, order]))))
    assert permuted.log_evidence == pytest.approx(straight.log_evidence, abs=1e-8)
    np.testing.assert_allclose(
        permuted.edge_probabilities, straight.edge_probabilities[np.ix_(order, order)], atol=1e-9
    )


def test_a_prior_that_is_not_the_one_of_the_tables_is_noticed():
    tables, other = (made(AnyScore.drawn(4, 1), prior) for prior in ("fair", "sparse"))
    difference = ModularSums(tables).edge_probabilities - EnumeratedGraphs(other).edge_probabilities
    assert np.abs(difference).max() > 0.05


def test_the_memory_is_known_beforehand():
    assert memory_needed(20, 19) < 1 << 30
    assert memory_needed(21, 20) > 1 << 30


def test_too_many_variables_for_a_list_are_refused_and_a_cycle_is_no_graph():
    with pytest.raises(ValueError, match="give at most 5"):
        all_graphs(6)
    cycle = np.array([[[0, 1], [1, 0]]], np.int8)
    with pytest.raises(ValueError, match="has a cycle"):
        EnumeratedGraphs(made(AnyScore.constant(2))).log_prob(cycle)
