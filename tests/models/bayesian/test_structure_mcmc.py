"""Laws of sampled structures: the stationary laws of chains are the exact ones, knowledge holds in
every draw, equal seeds give equal answers.

Bounds on mean errors are five times what these numbers of draws give.
"""

import numpy as np
import pytest

from causal_meta.knowledge import Knowledge
from causal_meta.models.bayesian.structures.chain_run import SampleSettings
from causal_meta.models.bayesian.structures.enumeration import EnumeratedGraphs
from causal_meta.models.bayesian.structures.family_tables import FamilyTables
from causal_meta.models.bayesian.structures.order_sums import OrderSums
from causal_meta.models.bayesian.structures.structure_sample import sample_structures
from causal_meta.models.bayesian.structures.subset_sums import ModularSums
from causal_meta.scores.graph_prior import GraphPrior

from .tables_for_tests import AnyScore

QUICK = SampleSettings(chains=8, draws=60, burn_in=5)


def exact(score, knowledge=None):
    d = score.n_nodes
    known = knowledge or Knowledge.none(d)
    return EnumeratedGraphs(FamilyTables.build(score, GraphPrior(n_nodes=d), known))


def sampled(score, knowledge=None, settings=QUICK, seed=0, candidates=None):
    d = score.n_nodes
    return sample_structures(
        score,
        GraphPrior(n_nodes=d),
        knowledge or Knowledge.none(d),
        np.random.default_rng(seed),
        settings,
        candidates,
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_marginals_are_those_of_enumeration(seed):
    score = AnyScore.drawn(5, seed, spread=1.5)
    sample = sampled(score)
    error = np.abs(sample.marginals - exact(score).edge_probabilities)
    assert error.mean() < 0.01
    assert (error < 6 * sample.errors + 0.01).all()


def test_knowledge_holds_in_every_draw():
    known = Knowledge.none(6).forbid(0, 1).require(2, 0).require(0, 5).with_exogenous([3])
    sample = sampled(AnyScore.drawn(6, 4), known)
    assert known.allows(sample.graphs)
    assert known.allows(sample.best)
    assert sample.marginals[2, 0] == pytest.approx(1)
    assert sample.marginals[0, 1] == sample.marginals[4, 3] == 0


def test_equal_seeds_give_equal_answers():
    score = AnyScore.drawn(5, 7)
    first, second = (sampled(score, seed=3) for _ in range(2))
    assert (first.graphs == second.graphs).all()
    assert (first.marginals == second.marginals).all()
    assert not (sampled(score, seed=4).graphs == first.graphs).all()


def test_one_variable_and_variables_without_possible_causes_have_the_empty_graph():
    for n_nodes in (1, 3):
        everything = Knowledge(np.ones((n_nodes, n_nodes)), np.zeros((n_nodes, n_nodes)))
        sample = sampled(AnyScore.drawn(n_nodes, 0), everything)
        assert not sample.graphs.any()
        assert not sample.marginals.any()
        assert sample.r_hat_edges == 1


def test_edges_from_outside_the_candidates_have_small_probabilities():
    score = AnyScore.drawn(5, 2, spread=1.0)
    few = [[u for u in range(5) if u != v][:2] for v in range(5)]
    settings = SampleSettings(draws=200, n_candidates=2, rounds=0)
    sample = sampled(score, settings=settings, candidates=few)
    outside = np.ones((5, 5), bool)
    for v, names in enumerate(few):
        outside[names, v] = False
    np.fill_diagonal(outside, False)
    assert (sample.marginals[outside] > 0).all()
    frequencies = sample.graphs.mean(axis=0)[outside]
    spread = np.sqrt(frequencies * (1 - frequencies) / len(sample.graphs))
    assert (np.abs(frequencies - sample.marginals[outside]) < 5 * spread + 0.01).all()


def test_marginals_are_those_of_sums_over_sets():
    score = AnyScore.drawn(8, 5, spread=1.5)
    tables = FamilyTables.build(score, GraphPrior(n_nodes=8), Knowledge.none(8))
    error = np.abs(sampled(score).marginals - ModularSums(tables).edge_probabilities)
    assert error.mean() < 0.01
    biased = np.abs(OrderSums(tables).edge_probabilities - ModularSums(tables).edge_probabilities)
    assert biased.mean() > 0.02  # what order MCMC would answer without correction


class Words:
    """A checkpoint that keeps the words of its stages."""

    def __init__(self):
        self.words = []
        self.stage = self.words.append

    def load(self):
        return None

    def save(self, state):
        return None


def test_a_stage_says_while_functions_are_compiled_in_it_that_they_are():
    from numba.core import event

    from causal_meta.models.bayesian.structures.compiling import announced

    checkpoint = Words()
    with announced(checkpoint) as heard:
        heard.stage("chains")
        with event.trigger_event("numba:compile"), event.trigger_event("numba:compile"):
            pass
    with event.trigger_event("numba:compile"):
        pass
    said = checkpoint.words
    assert said == ["chains", "chains (compiling once, about 15 s)", "chains"]
