"""BGe against predictive Student densities, Markov equivalence, interventions and bad tables."""

import numpy as np
import pytest
from scipy.stats import multivariate_t

from causal_meta.scores import bge
from causal_meta.scores.bge import BGe, BGePrior
from causal_meta.scores.statistics import prepare

from .score_laws import all_dags, classes_of_scores, every_family, family, linear_data

PRIORS = [BGePrior(), BGePrior(a_m=3.0, a_w_excess=4.5), BGePrior(a_m=0.1, t=2.0)]


def sequential_evidence(x, prior, excess):
    """log p(x) of all columns together by one-row-ahead Student-t predictive densities of the
    normal-Wishart model (Gelman et al., Bayesian Data Analysis, section 3.6): an independent form
    without any determinant of the data. `excess` is a_w less the number of columns of `x`, so the
    degrees of freedom of a marginal are those of the columns that remain."""
    d = x.shape[1]
    mean, kappa, df, scale = np.zeros(d), prior.a_m, excess + d, prior.scale * np.eye(d)
    total = 0.0
    for row in x:
        free = df - d + 1
        total += multivariate_t.logpdf(row, mean, scale * (kappa + 1) / (kappa * free), free)
        scale = scale + kappa / (kappa + 1) * np.outer(row - mean, row - mean)
        mean, kappa, df = (kappa * mean + row) / (kappa + 1), kappa + 1, df + 1
    return float(total)


@pytest.mark.parametrize("prior", PRIORS, ids=["usual", "strong", "own scale"])
@pytest.mark.parametrize("n", [1, 2, 12])
def test_a_family_is_a_ratio_of_products_of_predictive_densities(prior, n):
    x = linear_data(0, n, 4)
    table = prepare(x)
    score = BGe(table, prior)
    excess = prior.a_w_excess
    for parents in every_family(4):
        with_node = sequential_evidence(table.values[:, [*parents, 0]], prior, excess)
        without = sequential_evidence(table.values[:, parents], prior, excess) if parents else 0.0
        assert family(score, 0, parents) == pytest.approx(with_node - without, abs=1e-8)
    wrong = sequential_evidence(table.values[:, [0]], prior, excess + 1)
    assert family(score, 0, []) != pytest.approx(wrong, abs=1e-3)


@pytest.mark.parametrize("prior", PRIORS, ids=["usual", "strong", "own scale"])
def test_equivalent_graphs_have_equal_scores(prior):
    score = BGe(prepare(linear_data(1, 60, 4)), prior)
    dags = all_dags(4)
    assert len(dags) == 543
    classes = classes_of_scores(score, dags)
    assert len(classes) == 185
    assert max(np.ptp(values) for values in classes) < 1e-9
    # graphs of different classes differ
    assert np.diff(np.sort([values[0] for values in classes])).min() > 1e-9


def test_equivalence_holds_with_blocks_of_indicators():
    r = np.random.default_rng(2)
    x = np.column_stack([linear_data(2, 50, 2), r.integers(0, 4, 50), r.integers(0, 2, 50)])
    score = BGe(prepare(x, [0, 0, 4, 2]))
    assert max(np.ptp(values) for values in classes_of_scores(score, all_dags(4))) < 1e-9


def test_names_of_categories_do_not_matter():
    r = np.random.default_rng(3)
    codes = r.integers(0, 4, 80)
    x = np.column_stack([codes + r.normal(size=80), codes, r.normal(size=80)])
    renamed = x.copy()
    renamed[:, 1] = np.array([3, 1, 0, 2])[codes]
    one, other = (BGe(prepare(t, [0, 4, 0])) for t in (x, renamed))
    for v in range(3):
        np.testing.assert_allclose(
            [family(one, v, p) for p in every_family(3, v)],
            [family(other, v, p) for p in every_family(3, v)],
            rtol=1e-10,
        )


def test_units_signs_and_the_order_of_rows_do_not_matter():
    x = linear_data(4, 40, 4)
    factors = np.array([1e-3, -1e300, 2.0, -7.0]) / np.abs(x).max(axis=0)
    changed = (x * factors)[::-1] + np.array([5.0, 0, -3.0, 0])
    table = [BGe(prepare(t)).table(0, np.array([1, 2, 3]), 3) for t in (x, changed)]
    np.testing.assert_allclose(*table, rtol=1e-9)


def test_parents_are_a_set_and_chunks_do_not_matter(monkeypatch):
    score = BGe(prepare(linear_data(5, 30, 5)))
    assert family(score, 0, [3, 1]) == family(score, 0, [1, 3])
    whole = score.table(0, np.arange(1, 5), 4)
    monkeypatch.setattr(bge, "_CELLS", 30)
    np.testing.assert_array_equal(score.table(0, np.arange(1, 5), 4), whole)
    for b, parents in enumerate(every_family(5)):
        assert whole[b] == pytest.approx(family(score, 0, parents), abs=1e-10)


def test_rows_in_which_a_variable_was_set_do_not_count_for_it():
    x = linear_data(6, 40, 3)
    intervened = np.zeros_like(x, dtype=bool)
    intervened[25:, 1] = True
    whole = BGe(prepare(x, intervened=intervened))
    values = prepare(x, intervened=intervened).values
    # the same columns restandardised on the rows that count would have another scale
    rows = values[:25] - values[:25].mean(axis=0)
    joint, alone = (sequential_evidence(rows[:, c], BGePrior(), 2.0) for c in ([0, 1], [0]))
    assert family(whole, 1, [0]) == pytest.approx(joint - alone, abs=1e-8)
    # what was set does not matter to the variable, but to its children
    x[30:, 1] += 100
    changed = BGe(prepare(x, intervened=intervened))
    assert family(changed, 1, [0]) == pytest.approx(family(whole, 1, [0]), abs=1e-10)
    assert abs(family(changed, 2, [1]) - family(whole, 2, [1])) > 1


@pytest.mark.parametrize("n", [1, 2, 3, 50])
def test_bad_tables_give_finite_scores(n):
    r = np.random.default_rng(7)
    a = r.normal(size=n)
    x = np.column_stack([a, a, 1e300 * a / 8, np.ones(n), a + r.integers(0, 2, n), -a, 0 * a])
    score = BGe(prepare(x))
    for v in range(7):
        table = score.table(v, np.array([u for u in range(7) if u != v]), 6)
        assert np.isfinite(table).all()


def test_a_variable_that_was_always_set_has_nothing_to_explain():
    intervened = np.zeros((20, 2), bool)
    intervened[:, 0] = True
    score = BGe(prepare(linear_data(8, 20, 2), intervened=intervened))
    assert family(score, 0, []) == pytest.approx(0, abs=1e-12)
    assert family(score, 0, [1]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("wrong", [{"a_m": 0.0}, {"a_w_excess": 1.0}, {"t": 0.0}])
def test_priors_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match="BGe prior"):
        BGePrior(**wrong)
