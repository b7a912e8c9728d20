"""The Gaussian BIC by least squares and by causal-learn; parents by growing and shrinking."""

import itertools

import numpy as np
import pytest

from causal_meta.knowledge import Knowledge
from causal_meta.models.classical.gaussian_bic import GaussianBIC, bits, members

from .linear_tables import drawn


def by_least_squares(x, penalty, node, parents):
    design = np.column_stack([x[:, parents], np.ones(len(x))])
    rest = x[:, node] - design @ np.linalg.lstsq(design, x[:, node], rcond=None)[0]
    price = penalty * (len(parents) + 1) * np.log(len(x))
    return -0.5 * len(x) * (1 + np.log((rest**2).mean())) - price


def families(n_nodes):
    for node in range(n_nodes):
        others = [u for u in range(n_nodes) if u != node]
        for size in range(n_nodes):
            for parents in itertools.combinations(others, size):
                yield node, list(parents)


@pytest.mark.parametrize("change", [lambda x: x, lambda x: 1e3 * x + 7, lambda x: x[:, ::-1]])
def test_every_family_is_scored_as_by_least_squares_and_causal_learn(change):
    from causallearn.score.LocalScoreFunction import local_score_BIC_from_cov

    x = change(drawn(1, 5, 80)[0])
    score = GaussianBIC(x, 0.7, Knowledge.none(5))
    peer = (np.cov(x.T, ddof=0), len(x)), {"lambda_value": 0.7}
    for node, parents in families(5):
        value = score.score(node, sum(1 << u for u in parents))
        assert value == pytest.approx(by_least_squares(x, 0.7, node, parents), abs=1e-6)
        assert value == pytest.approx(
            local_score_BIC_from_cov(peer[0], node, parents, peer[1]), abs=1e-6
        )
    # the check rejects another penalty
    other = GaussianBIC(x, 0.8, Knowledge.none(5)).score(0, 2)
    assert other != pytest.approx(by_least_squares(x, 0.7, 0, [1]), abs=1e-2)


def test_sets_are_bits():
    flags = np.array([True, False, False, True])
    assert bits(flags) == 9
    assert members(9) == [0, 3]
    assert members(0) == []


@pytest.mark.parametrize("seed", range(4))
def test_parents_are_those_that_no_addition_removal_or_exchange_improves(seed):
    """A local optimum among the available variables, checked by scoring every neighbour."""
    score = GaussianBIC(drawn(seed, 7, 150)[0], 0.5, Knowledge.none(7))
    draws = np.random.default_rng(seed)
    for node in range(7):
        available = bits(draws.random(7) < 0.7) & ~(1 << node)
        parents, value = score.best_parents(node, available)
        assert not parents & ~available
        assert value == score.score(node, parents)
        smaller = [parents & ~(1 << u) for u in members(parents)]
        assert all(score.score(node, fewer) <= value + 1e-9 for fewer in smaller)
        free = [1 << u for u in members(available & ~parents)]
        larger = [parents | one for one in free]
        larger += [fewer | one for fewer in smaller for one in free]
        assert all(score.score(node, other) <= value + 1e-9 for other in larger)
        if parents:  # the check rejects another set
            assert score.score(node, 0) < value


def test_two_causes_that_cancel_are_added_together():
    """y = u - v with u and v nearly equal: alone neither improves a strict score, both do."""
    draws = np.random.default_rng(0)
    u = draws.normal(size=400)
    v = u + 0.05 * draws.normal(size=400)
    y = u - v + 0.02 * draws.normal(size=400)
    x = np.column_stack([u, v, y])
    score = GaussianBIC(x, 2.0, Knowledge.none(3))
    alone = max(score.score(2, 0b01), score.score(2, 0b10))
    assert alone < score.score(2, 0) < score.score(2, 0b11)
    assert score.best_parents(2, 0b11)[0] == 0b11
    assert GaussianBIC(x, 2.0, Knowledge.none(3)).best_parents(2, 0b01)[0] == 0


@pytest.mark.parametrize("seed", range(3))
def test_parents_obey_the_knowledge(seed):
    x, _ = drawn(seed, 8, 300, edges_per_node=3)
    known = Knowledge.none(8).require(0, 3).forbid(1, 3).forbid(2, 4)
    known = Knowledge(known.forbidden, known.required, 2)
    free = GaussianBIC(x, 0.5, Knowledge.none(8))
    score = GaussianBIC(x, 0.5, known)
    everything = 255
    for node in range(8):
        parents, value = score.best_parents(node, everything & ~(1 << node))
        assert parents.bit_count() <= 2
        assert np.isfinite(value)
    parents = score.best_parents(3, everything & ~8)[0]
    assert parents & 1
    assert not parents & 2
    assert score.best_parents(3, everything & ~9)[1] == -np.inf  # without the required one
    assert score.score(5, 0b111) == -np.inf
    assert any(
        free.best_parents(node, everything & ~(1 << node))[0].bit_count() > 2 for node in range(8)
    )
