"""BIC and the degenerate Gaussian score against least squares and Markov equivalence."""

import numpy as np
import pytest

from causal_meta.scores.bic import BIC
from causal_meta.scores.degenerate_gaussian import DegenerateGaussian
from causal_meta.scores.statistics import prepare

from .score_laws import all_dags, classes_of_scores, every_family, family, linear_data


def mixed_table(seed, n):
    r = np.random.default_rng(seed)
    c = r.integers(0, 3, n)
    a = c + r.normal(size=n)
    return np.column_stack([a, c, a + r.normal(size=n), r.integers(0, 2, n)])


@pytest.mark.parametrize("penalty", [1.0, 2.5])
def test_bic_is_the_likelihood_of_least_squares_less_its_parameters(penalty):
    x = linear_data(0, 70, 4)
    table = prepare(x)
    score = BIC(table, penalty)
    y = table.values[:, 0]
    for parents in every_family(4):
        design = np.column_stack([np.ones(70), table.values[:, parents]])
        residuals = y - design @ np.linalg.lstsq(design, y)[0]
        variance = residuals @ residuals / 70
        likelihood = -35 * np.log(2 * np.pi * variance) - residuals @ residuals / (2 * variance)
        exact = likelihood - penalty / 2 * np.log(70) * (len(parents) + 1)
        assert family(score, 0, parents) == pytest.approx(exact, abs=1e-5)


@pytest.mark.parametrize("kinds", [[0, 0, 0, 0], [0, 3, 0, 2]])
def test_equivalent_graphs_have_equal_scores(kinds):
    x = mixed_table(1, 80) + (0.0 if any(kinds) else np.random.default_rng(1).normal(size=(80, 4)))
    score = DegenerateGaussian(prepare(x, kinds)) if any(kinds) else BIC(prepare(x))
    classes = classes_of_scores(score, all_dags(4))
    assert len(classes) == 185
    assert max(np.ptp(values) for values in classes) < 1e-7


def test_a_categorical_parent_is_a_regression_on_its_indicators():
    table = prepare(mixed_table(2, 90), [0, 3, 0, 2])
    score = DegenerateGaussian(table)
    y, codes = table.values[:, 0], table.codes[1]
    within = sum(((y[codes == k] - y[codes == k].mean()) ** 2).sum() for k in range(3)) / 90
    exact = -45 * (np.log(2 * np.pi * within) + 1) - 0.5 * np.log(90) * 3
    assert family(score, 0, [1]) == pytest.approx(exact, abs=1e-5)


def test_names_of_categories_and_units_do_not_matter():
    x = mixed_table(3, 80)
    changed = (x * [1e200, 1, -3.0, 1])[::-1].copy()
    changed[:, 1] = np.array([2, 0, 1])[changed[:, 1].astype(int)]
    tables = [
        DegenerateGaussian(prepare(t, [0, 3, 0, 2])).table(2, np.array([0, 1, 3]), 3)
        for t in (x, changed)
    ]
    np.testing.assert_allclose(*tables, rtol=1e-8)


def test_rows_in_which_a_variable_was_set_do_not_count_for_it():
    x = mixed_table(4, 60)
    intervened = np.zeros(x.shape, bool)
    intervened[40:, 2] = True
    before = family(DegenerateGaussian(prepare(x, [0, 3, 0, 2], intervened)), 2, [0, 1])
    x[40:, 2] = 50
    after = family(DegenerateGaussian(prepare(x, [0, 3, 0, 2], intervened)), 2, [0, 1])
    assert after == pytest.approx(before, abs=1e-9)


@pytest.mark.parametrize("n", [1, 2, 30])
def test_bad_tables_give_finite_scores(n):
    r = np.random.default_rng(5)
    a = r.normal(size=n)
    x = np.column_stack([a, a, np.ones(n), 1e300 * a / 8, np.arange(n) % 2])
    score = DegenerateGaussian(prepare(x, [0, 0, 0, 0, 2]))
    for v in range(5):
        assert np.isfinite(score.table(v, np.array([u for u in range(5) if u != v]), 4)).all()


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ValueError, match="degenerate Gaussian"):
        BIC(prepare(mixed_table(6, 9), [0, 3, 0, 2]))
    with pytest.raises(ValueError, match="is positive"):
        BIC(prepare(linear_data(0, 9, 2)), penalty=0.0)
