"""Checks of the assumptions: residuals of the true graph are independent, those with a missing
common cause are not; halves of one system agree."""

import numpy as np
import pytest

from causal_meta.models.bayesian.model_checks import (
    halves_disagree,
    normal_scores,
    residual_dependence,
    residuals,
)
from causal_meta.scores.features import Features
from causal_meta.scores.statistics import prepare


def table(seed, n=400, hidden=0.0):
    """a -> b nonlinear, c apart; with `hidden` a common cause of b and c."""
    r = np.random.default_rng(seed)
    h = hidden * r.normal(size=n)
    a = r.normal(size=n)
    b = np.sin(2 * a) + a + 0.5 * r.normal(size=n) + h
    c = r.exponential(size=n) + h
    graph = np.zeros((3, 3), dtype=np.int8)
    graph[0, 1] = 1
    return np.column_stack([a, b, c]), graph


def dependence(x, graph, p=None):
    return residual_dependence(Features(prepare(x)), graph, graph if p is None else p)


def test_the_true_graph_raises_few_false_alarms_and_a_hidden_cause_raises_most():
    """200 tables: at a rate of 1 % more than 9 alarms have probability below 1e-4."""
    alarms = sum(dependence(*table(seed)).dependent > 0 for seed in range(200))
    assert alarms <= 9
    caught = [dependence(*table(seed, hidden=0.7)) for seed in range(30)]
    assert sum(one.dependent > 0 for one in caught) >= 27
    assert all(one.pair == (1, 2) and one.correlation > 0 for one in caught if one.dependent)


def test_pairs_that_may_be_adjacent_are_not_tested():
    x, graph = table(0, hidden=0.7)
    p = graph + np.zeros((3, 3))
    p[1, 2] = 0.2
    assert dependence(x, graph, p).tested == 1
    assert dependence(x, graph, np.full((3, 3), 0.5)).tested == 0


def test_residuals_are_what_the_parents_leave():
    x, graph = table(1, n=2000)
    left = residuals(Features(prepare(x)), graph)
    noise = 0.5 / x[:, 1].std()
    assert left[:, 1].std() == pytest.approx(noise, rel=0.1)
    assert left[:, 0].std() == pytest.approx(1.0)
    wrong = residuals(Features(prepare(x)), 0 * graph)
    assert wrong[:, 1].std() == pytest.approx(1.0)
    masked = np.zeros(x.shape, dtype=bool)
    masked[:500, 1] = True
    assert np.isnan(residuals(Features(prepare(x, intervened=masked)), graph)[:500, 1]).all()


def test_normal_scores_are_quantiles_of_ranks():
    scores, known = normal_scores(np.array([[3.0, np.nan], [1.0, 2.0], [1.0, 5.0]]))
    assert known.tolist() == [[True, False], [True, True], [True, True]]
    assert scores[0, 0] == pytest.approx(0.674, abs=1e-3)
    assert scores[1, 0] == scores[2, 0]
    assert scores[1, 1] == pytest.approx(-scores[2, 1]) == pytest.approx(-0.4307, abs=1e-3)


def test_halves_of_a_calibrated_answer_are_no_further_apart_than_they_may_be():
    """Edges drawn from each pair's true probability, seen through two independent signals."""
    r = np.random.default_rng(0)
    edge = r.random((60, 60)) < 0.5
    signals = edge + r.normal(size=(2, 60, 60))
    p, q = 1 / (1 + np.exp(-(2 * signals - 1) / 2))  # the posterior under noise of variance 1
    apart, allowed = halves_disagree(p, q)
    assert apart <= 1.05 * allowed
    sure = (signals > 0.5).astype(float)  # a checker must see that these are too sure
    apart, allowed = halves_disagree(*sure)
    assert apart > 100
    assert allowed == 0
