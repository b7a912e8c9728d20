"""A prepared table: standardised columns, contrasts of categories, rows by targets."""

import numpy as np
import pytest

from causal_meta.scores import statistics
from causal_meta.scores.statistics import contrasts, gram, prepare, standardised


def test_columns_have_mean_zero_and_variance_one():
    x = np.random.default_rng(0).normal(3, 5, size=(50, 3))
    values = prepare(x).values
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(values.std(axis=0), 1)


@pytest.mark.parametrize("factor", [1e-300, -1e300, 1e-6, 7.0])
def test_units_do_not_matter(factor):
    column = np.random.default_rng(1).normal(size=30)
    np.testing.assert_allclose(
        standardised(column * factor), np.sign(factor) * standardised(column), atol=1e-13
    )


@pytest.mark.parametrize("level", [0.0, 1.0, -1e300, 0.1])
def test_a_constant_column_becomes_zeros(level):
    assert not standardised(np.full(7, level)).any()


def test_contrasts_are_uncorrelated_and_their_span_ignores_names():
    codes = np.random.default_rng(2).choice(4, p=[0.1, 0.2, 0.3, 0.4], size=200)
    one, other = contrasts(codes), contrasts(np.array([2, 0, 3, 1])[codes])
    np.testing.assert_allclose(gram(one), 200 * np.eye(3), atol=1e-10)
    # equal inner products of all pairs of rows: one is a rotation of the other
    np.testing.assert_allclose(one @ one.T, other @ other.T, atol=1e-12)
    assert not np.allclose(one, other)


def test_a_category_that_never_occurs_changes_nothing():
    np.testing.assert_array_equal(contrasts(np.array([0, 2, 2])), contrasts(np.array([0, 1, 1])))


def test_rows_are_grouped_by_the_targets_that_share_them():
    intervened = np.zeros((6, 4), bool)
    intervened[:2, 1] = True
    intervened[4:, 3] = True
    table = prepare(np.random.default_rng(3).normal(size=(6, 4)), intervened=intervened)
    assert len(table.groups) == 3
    assert [table.rows(v).tolist() for v in range(4)] == [
        [0, 1, 2, 3, 4, 5], [2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3],
    ]  # fmt: skip
    grams = table.grams(table.values)
    np.testing.assert_allclose(grams[table.group_of[1]], gram(table.values[2:]))


def test_the_scale_is_that_of_the_rows_in_which_a_variable_was_not_set():
    x = np.random.default_rng(4).normal(size=(20, 2))
    intervened = np.zeros((20, 2), bool)
    intervened[10:, 0] = True
    x[10:, 0] = 1e6
    free = prepare(x, intervened=intervened).values[:10, 0]
    np.testing.assert_allclose([free.mean(), free.std()], [0, 1], atol=1e-12)


def test_gram_matrices_are_sums_over_pieces(monkeypatch):
    x = np.random.default_rng(5).normal(4, 1, size=(50, 3))
    rows = np.arange(3, 40, 2)
    whole = gram(x), gram(x, rows)
    centred = x[rows] - x[rows].mean(axis=0)
    np.testing.assert_allclose(whole[1], centred.T @ centred)
    monkeypatch.setattr(statistics, "_ROWS", 7)
    np.testing.assert_allclose(gram(x), whole[0])
    np.testing.assert_allclose(gram(x, rows), whole[1])
    assert not gram(x[:0]).any()


@pytest.mark.parametrize(
    ("x", "categories", "intervened", "message"),
    [
        (np.zeros((0, 2)), None, None, "has rows and columns"),
        (np.array([[1.0, np.nan]]), None, None, "missing or infinite"),
        (np.ones((2, 2)), [0], None, "1 kinds of columns for 2"),
        (np.ones((2, 2)), [0, 1], None, "integers from 0 to 0"),
        (np.full((2, 2), 0.5), [0, 3], None, "integers from 0 to 2"),
        (np.ones((2, 2)), None, np.zeros((2, 1), bool), "mask of set cells"),
    ],
)
def test_what_is_no_table_is_refused(x, categories, intervened, message):
    with pytest.raises(ValueError, match=message):
        prepare(x, categories, intervened)
