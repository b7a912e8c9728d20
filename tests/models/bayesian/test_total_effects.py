"""Total effects: path sums of a known linear model, units, coverage over graphs and rows."""

import numpy as np
import pytest

from causal_meta.models.bayesian.total_effects import COVERED, total_effects

WEIGHTS = np.array([[0, 1.5, 0, -0.7], [0, 0, 2.0, 0.0], [0, 0, 0, 0.6], [0, 0, 0, 0]])
GRAPH = (WEIGHTS != 0).astype(np.int8)
TOTAL = np.linalg.inv(np.eye(4) - WEIGHTS) - np.eye(4)


def rows(n, seed):
    noise = np.random.default_rng(seed).normal(size=(n, 4))
    return noise @ np.linalg.inv(np.eye(4) - WEIGHTS)


def test_the_sum_over_paths_in_the_units_of_the_columns():
    units = np.array([1.0, 1e3, 1e-4, 5.0])
    x = 7 + rows(200_000, 0) * units
    effects = total_effects(x, np.repeat(GRAPH[None], 200, 0), np.random.default_rng(1))
    np.testing.assert_allclose(
        effects.mean / (units / units[:, None]), TOTAL, atol=5 * 3 / np.sqrt(200_000)
    )
    assert (effects.ancestor == (TOTAL != 0)).all()
    assert (effects.mean[TOTAL == 0] == 0).all()
    reversed_graph = np.repeat(GRAPH.T[None], 200, 0)  # the checker must see a wrong graph
    wrong = total_effects(x, reversed_graph, np.random.default_rng(1)).mean
    assert abs(wrong[0, 3] / 5.0 - TOTAL[0, 3]) > 0.5


def test_intervals_cover_the_true_effect_as_often_as_they_say():
    """200 tables: the number covered is binomial; 4.5 standard deviations, false alarms below
    1e-5 for each of 5 pairs."""
    inside = np.zeros((4, 4))
    for seed in range(200):
        effects = total_effects(
            rows(100, seed), np.repeat(GRAPH[None], 400, 0), np.random.default_rng(seed)
        )
        inside += (effects.low <= TOTAL) & (effects.high >= TOTAL)
    bound = 4.5 * np.sqrt(200 * COVERED * (1 - COVERED))
    assert (np.abs(inside - 200 * COVERED)[TOTAL != 0] < bound).all()


def test_graphs_are_averaged_with_their_frequencies():
    other = GRAPH.copy()
    other[0] = 0
    both = np.concatenate([np.repeat(GRAPH[None], 300, 0), np.repeat(other[None], 100, 0)])
    effects = total_effects(rows(5000, 3), both, np.random.default_rng(2))
    assert effects.ancestor[0, 3] == 0.75
    assert effects.mean[0, 1] == pytest.approx(0.75 * 1.5, abs=0.1)
    assert effects.low[0, 1] == 0


def test_rows_in_which_a_variable_was_set_are_left_out_of_its_regression():
    x = rows(4000, 4)
    usable = np.ones(x.shape, dtype=bool)
    x[:2000, 1] = np.random.default_rng(5).normal(size=2000)
    usable[:2000, 1] = False
    chain = np.zeros((1, 4, 4), dtype=np.int8)
    chain[0, 0, 1] = 1
    draws = np.repeat(chain, 100, 0)
    kept = total_effects(x, draws, np.random.default_rng(1), usable)
    every = total_effects(x, draws, np.random.default_rng(1))
    assert kept.mean[0, 1] == pytest.approx(1.5, abs=0.15)
    assert every.mean[0, 1] < 1.2


def test_units_of_any_size_and_exact_zeros_without_a_path():
    x = rows(500, 6)
    graphs = np.repeat(GRAPH[None], 100, 0)
    plain = total_effects(x, graphs, np.random.default_rng(7))
    units = np.array([1.0, 2.0**-900, 2.0**600, 2.0**900])
    moved = total_effects(x * units, graphs, np.random.default_rng(7))
    for one in ("mean", "low", "high"):
        values = getattr(moved, one)
        assert np.isfinite(values).all()
        assert (values[TOTAL == 0] == 0).all()
    np.testing.assert_allclose(
        moved.mean[0, 2:] / units[2:], plain.mean[0, 2:], rtol=1e-9, atol=1e-12
    )
