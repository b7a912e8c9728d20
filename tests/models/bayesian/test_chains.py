"""Laws of the chains: stationary laws are those of enumeration, kernels that break balance are
rejected, the search finds what enumeration finds, chains in a worse mode are named.

Frequencies of nearly independent draws are compared with exact probabilities by a chi-squared
statistic; a right chain is rejected in at most 1 of 10^5 choices of the seeds, all tests together.
"""

import itertools

import numpy as np
import pytest
from scipy.stats import chi2

from causal_meta.knowledge import Knowledge
from causal_meta.models.bayesian.structures.chain_run import ChainRun, SampleSettings
from causal_meta.models.bayesian.structures.convergence import split_r_hat, worse_chains
from causal_meta.models.bayesian.structures.enumeration import EnumeratedGraphs
from causal_meta.models.bayesian.structures.family_scores import FamilyScores
from causal_meta.models.bayesian.structures.family_tables import FamilyTables
from causal_meta.models.bayesian.structures.graph_chains import drawn_graph, move
from causal_meta.models.bayesian.structures.look_ups import look_ups
from causal_meta.models.bayesian.structures.order_chains import advance
from causal_meta.models.bayesian.structures.order_search import (
    best_graphs,
    best_parents,
    random_state,
)
from causal_meta.models.bayesian.structures.structure_sample import sample_structures
from causal_meta.scores.graph_prior import GraphPrior

from .tables_for_tests import AnyScore

FALSE_ALARM = 1e-6
DRAWS = 4000


def made(n_nodes, seed, spread=1.0):
    score = AnyScore.drawn(n_nodes, seed, spread)
    return FamilyTables.build(score, GraphPrior(n_nodes=n_nodes), Knowledge.none(n_nodes))


def rejected(counts, probabilities):
    """Whether the counts contradict the probabilities; rare outcomes are put together."""
    expected = counts.sum() * probabilities
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    keep = expected > 0
    assert not counts[~keep].any()
    statistic = ((counts - expected)[keep] ** 2 / expected[keep]).sum()
    return statistic > chi2.isf(FALSE_ALARM, max(1, keep.sum() - 1))


def graphs_of_chain(tables, seed, draws=DRAWS, thin=2):
    arrays, state = look_ups(tables), random_state(np.random.default_rng(seed))
    chosen = np.zeros(tables.n_nodes, np.int64)
    sums, accepted = np.zeros(arrays.candidates.shape), np.zeros(2, np.int64)
    kept = []
    for draw in range(-20, draws):
        move(arrays, chosen, thin, state, sums, accepted)
        if draw >= 0:
            kept.append(chosen.copy())
    return tables.adjacency(np.stack(kept))


def graph_counts(exact, graphs):
    return np.bincount(exact.numbers(graphs), minlength=len(exact.graphs))


@pytest.mark.parametrize(("n_nodes", "seed"), [(3, 0), (3, 1), (4, 2)])
def test_chains_of_graphs_are_stationary_under_the_posterior(n_nodes, seed):
    tables = made(n_nodes, seed)
    exact = EnumeratedGraphs(tables)
    counts = graph_counts(exact, graphs_of_chain(tables, seed))
    assert not rejected(counts, np.exp(exact.log_probabilities))


def test_graphs_of_orders_are_not_and_the_check_notices():
    tables = made(4, 2)
    exact = EnumeratedGraphs(tables)
    arrays, state = look_ups(tables), random_state(np.random.default_rng(0))
    order, graphs = np.arange(4), []
    for _ in range(DRAWS):
        advance(arrays, order, 20, state)
        graphs.append(drawn_graph(arrays, order, state))
    counts = graph_counts(exact, tables.adjacency(np.stack(graphs)))
    assert rejected(counts, np.exp(exact.log_probabilities))


def test_order_chains_are_stationary_under_sums_over_graphs():
    tables = made(4, 5)
    arrays, state = look_ups(tables), random_state(np.random.default_rng(1))
    orders = {order: i for i, order in enumerate(itertools.permutations(range(4)))}
    before = [[set(o[: o.index(v)]) for v in range(4)] for o in orders]
    masks = [
        [sum(1 << k for k, u in enumerate(tables.candidates[v]) if u in b[v]) for v in range(4)]
        for b in before
    ]
    weights = tables.sums[np.arange(4), np.array(masks)].sum(axis=1)
    order, counts = np.arange(4), np.zeros(24)
    for _ in range(DRAWS):
        advance(arrays, order, 15, state)
        counts[orders[tuple(int(v) for v in order)]] += 1
    probabilities = np.exp(weights - np.logaddexp.reduce(weights))
    assert not rejected(counts, probabilities)
    assert rejected(counts, np.full(24, 1 / 24))


def test_a_permuted_table_has_the_permuted_answer():
    score = AnyScore.drawn(4, 9, spread=1.0)
    turn = np.array([2, 0, 3, 1])  # variable i of the copy is turn[i]
    values = np.empty_like(score.values)
    for i in range(4):
        for b in range(16):
            members = sum(1 << int(turn[u]) for u in range(4) if b >> u & 1)
            values[i, b] = score.values[turn[i], members]
    prior, known = GraphPrior(n_nodes=4), Knowledge.none(4)
    settings = SampleSettings(draws=100, burn_in=5)
    first, second = (
        sample_structures(s, prior, known, np.random.default_rng(1), settings)
        for s in (score, AnyScore(values))
    )
    error = np.hypot(first.errors[np.ix_(turn, turn)], second.errors) + 1e-3
    gap = np.abs(first.marginals[np.ix_(turn, turn)] - second.marginals)
    assert (gap < 6 * error).all()
    assert not (np.abs(first.marginals - second.marginals) < 6 * error).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_search_finds_the_best_of_all_graphs(seed):
    tables = made(5, seed, spread=3.0)
    best = best_graphs(tables, np.zeros((5, 5), bool), np.random.default_rng(seed), 4, 500)
    weights = tables.log_weights_of_graphs(EnumeratedGraphs(tables).graphs)
    assert best.log_scores[0] == pytest.approx(weights.max())
    arrays = look_ups(tables)
    assert (best_parents(arrays, best.orders[0]) == best.chosen[0]).all()


def test_scores_of_graphs_do_not_depend_on_candidates():
    score = AnyScore.drawn(6, 3)
    families = FamilyScores(score, GraphPrior(n_nodes=6), Knowledge.none(6), 5)
    tables = families.tables([[u for u in range(6) if u != v] for v in range(6)])
    graph = np.triu(np.ones((6, 6), np.int8), 1)
    assert families.graph(graph) == pytest.approx(float(tables.log_weights_of_graphs(graph)))


class Killed(Exception):
    pass


class Memory:
    """A checkpoint that stops the run at its first save."""

    def __init__(self):
        self.state = None

    def load(self):
        return self.state

    def save(self, state):
        self.state = {name: np.array(value) for name, value in state.items()}
        raise Killed

    def stage(self, words):
        pass


def test_a_killed_run_goes_on_to_the_same_answer(monkeypatch):
    monkeypatch.setattr(
        "causal_meta.models.bayesian.structures.chain_run._SECONDS_BETWEEN_SAVES", 0.0
    )
    score, prior, known = AnyScore.drawn(5, 1), GraphPrior(n_nodes=5), Knowledge.none(5)
    settings = SampleSettings(draws=4, burn_in=2)

    def sample(*checkpoint):
        source = np.random.default_rng(0)
        return sample_structures(score, prior, known, source, settings, None, *checkpoint)

    memory = Memory()
    for _ in range(6):
        with pytest.raises(Killed):
            sample(memory)
    resumed, whole = sample(memory), sample()
    assert (resumed.graphs == whole.graphs).all()
    assert (resumed.marginals == whole.marginals).all()
    assert resumed.best_score == whole.best_score


def test_a_chain_in_a_worse_mode_is_named_and_others_are_not():
    noise = np.random.default_rng(0).normal(size=(4, 100))
    log_scores = noise + np.array([0, 0, -30, 0])[:, None]
    assert worse_chains(log_scores, np.array([5.0, 4.5, -20.0, 5.0])) == {2: 25.0}
    # a worse best graph alone is chance, and so is a lower mean
    assert worse_chains(noise, np.array([5.0, 5.0, 1.0, 5.0])) == {}
    assert worse_chains(log_scores, np.array([5.0, 5.0, 5.0, 5.0])) == {}


@pytest.mark.parametrize("stuck", [True, False])
def test_errors_are_those_of_chains_that_stay_where_they_are(stuck):
    tables = FamilyTables.build(AnyScore.drawn(3, 0), GraphPrior(n_nodes=3), Knowledge.none(3))
    settings = SampleSettings(chains=4, draws=10)
    share = np.array([1.0, 1.0, 0.0, 0.0]) if stuck else np.full(4, 0.5)
    # two draws in each of five batches, times the moves of a draw
    sums = np.full((4, 5, 3, 2), 2.0 * settings.moves(3)) * share[:, None, None, None]
    empty = np.zeros((4, 3), np.int64)
    run = ChainRun(settings, empty, empty, 30, empty, sums, empty[0], empty)
    mean, error = run.marginals(tables, [0, 1, 2, 3])
    edges = ~np.eye(3, dtype=bool)
    assert mean[edges] == pytest.approx(0.5)
    # four independent values of variance 1/3 about their mean
    assert error[edges] == pytest.approx(np.sqrt(1 / 3 / 4) if stuck else 0.0)


def test_r_hat_tells_equal_chains_from_others():
    same = np.random.default_rng(0).normal(size=(4, 400))
    assert split_r_hat(same) == pytest.approx(1, abs=0.02)
    assert split_r_hat(same + np.arange(4)[:, None]) > 1.3
    assert split_r_hat(np.ones((4, 10))) == 1
    assert split_r_hat(np.arange(4.0)[:, None] * np.ones((4, 10))) == np.inf


def test_the_state_of_a_run_survives_its_arrays():
    tables = made(3, 0)
    settings = SampleSettings(chains=2, draws=3, burn_in=0)
    required = np.zeros((3, 3), bool)
    orders = np.array([[0, 1, 2]])
    arrays = look_ups(tables)
    run = ChainRun.begin(arrays, required, orders, settings, np.random.default_rng(0))
    again = ChainRun.from_arrays(settings, run.arrays())
    run.finish(arrays)
    again.finish(arrays)
    assert (run.chosen == again.chosen).all()
