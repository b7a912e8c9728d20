"""Laws of sampled structures: the stationary laws of chains are the exact ones, knowledge holds in
every draw, equal seeds give equal answers.

Frequencies of N draws are compared by chi-squared tests that reject a right chain in 1 of 10^6
seeds; draws are far enough apart to be independent.
"""

import numpy as np
import pytest

from causal_meta.knowledge import Knowledge
from causal_meta.models.bayesian.chain_run import SampleSettings
from causal_meta.models.bayesian.enumeration import EnumeratedGraphs
from causal_meta.models.bayesian.family_tables import FamilyTables
from causal_meta.models.bayesian.structure_sample import sample_structures
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
