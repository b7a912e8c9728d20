"""The additive evidence against the Student density of the model, BGe, and bad tables."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_t

from causal_meta.scores import bge
from causal_meta.scores import features as features_module
from causal_meta.scores.additive import SCALES, Additive
from causal_meta.scores.bge import BGe, BGePrior
from causal_meta.scores.features import Features, smooth_features
from causal_meta.scores.statistics import prepare, standardised

from .score_laws import every_family, family, linear_data

PRIORS = [BGePrior(), BGePrior(a_m=3.0, a_w_excess=4.5)]


def curved_data(seed, n):
    """Two parents with smooth effects on variable 0, and a categorical variable."""
    r = np.random.default_rng(seed)
    a, b = r.normal(size=(2, n))
    return np.column_stack(
        [np.sin(2 * a) + b**2 + 0.3 * r.normal(size=n), a, b, r.integers(0, 3, n)]
    )


def student_evidence(features, prior, parents, s, products=False, wrong=0.0):
    """log p(x_0 | parents) as a multivariate Student density: given the variance, the observations
    are Gaussian with covariance I + 11'/a_m + X V X' (weights of variance 1/t and s)."""
    columns = features.of(np.array([parents], int).reshape(1, -1), products)[0]
    columns = columns[columns != features.empty]
    x = features.columns[:, columns]
    x = x - x.mean(axis=0)
    smooth = features.is_smooth[columns]
    variances = np.where(smooth, s + wrong, 1 / prior.scale)
    variances[features.is_product[columns]] /= max(1, len(parents))
    y = features.columns[:, 0]
    df = prior.a_w_excess + (~smooth).sum() + 1
    covariance = np.eye(len(y)) + 1 / prior.a_m + (x * variances) @ x.T
    return multivariate_t.logpdf(y, np.zeros(len(y)), covariance * prior.scale / df, df)


@pytest.mark.parametrize("prior", PRIORS, ids=["usual", "strong"])
def test_a_family_is_an_average_of_student_densities(prior):
    features = Features(prepare(curved_data(0, 25), [0, 0, 0, 3]), prior, n_features=4)
    score = Additive(features)
    for parents in every_family(4):
        both = (False, True) if len(parents) > 1 else (False,)
        terms = [student_evidence(features, prior, parents, s, p) for s in SCALES for p in both]
        exact = logsumexp(terms) - np.log(len(terms))
        assert family(score, 0, parents) == pytest.approx(exact, abs=1e-8)
    off = [student_evidence(features, prior, [1], s, wrong=0.3) for s in SCALES]
    assert abs(family(score, 0, [1]) - logsumexp(off) + np.log(3)) > 1e-3


def test_without_scale_the_additive_evidence_is_that_of_bge():
    table = prepare(curved_data(1, 80), [0, 0, 0, 3])
    linear, additive = BGe(table), Additive(Features(table), scales=(1e-13,))
    for v in range(4):
        for parents in every_family(4, v):
            assert family(additive, v, parents) == pytest.approx(
                family(linear, v, parents), abs=1e-9
            )
    larger = Additive(Features(table), scales=(1.0,))
    assert abs(family(larger, 0, [1]) - family(linear, 0, [1])) > 1


def test_the_evidence_favours_smooth_mechanisms_and_not_their_inverse():
    score = Additive(Features(prepare(curved_data(2, 300)[:, :3])))
    forward = family(score, 0, [2]) - family(score, 0, [])
    backward = family(score, 2, [0]) - family(score, 2, [])
    assert forward > 30
    assert forward > backward + 30


def test_products_of_pairs_are_favoured_where_parents_interact():
    r = np.random.default_rng(8)
    a, b = r.normal(size=(2, 300))
    table = prepare(np.column_stack([a * b + 0.5 * r.normal(size=300), a, b]))
    with_products, without = (Additive(Features(table, interactions=i)) for i in (True, False))
    gain = [family(s, 0, [1, 2]) - family(s, 0, []) for s in (with_products, without)]
    assert gain[0] > 100
    assert gain[0] > gain[1] + 100
    assert family(with_products, 0, [1]) == family(without, 0, [1])


def test_too_many_pairs_have_no_products(monkeypatch):
    monkeypatch.setattr(features_module, "_MOST_PAIRS", 2)
    assert Features(prepare(linear_data(0, 9, 2))).products is not None
    assert Features(prepare(linear_data(0, 9, 3))).products is None


def test_features_are_orthogonal_to_constants_and_lines_and_expand_the_kernel():
    x = standardised(np.random.default_rng(3).normal(size=400))
    features = smooth_features(x, 14, 1.0)
    np.testing.assert_allclose(features.T @ np.column_stack([np.ones(400), x]), 0, atol=1e-8)
    kernel = np.exp(-0.5 * (x[:, None] - x) ** 2)
    basis = np.linalg.qr(np.column_stack([np.ones(400), x]))[0]
    off = np.eye(400) - basis @ basis.T
    error = [features[:, :m] @ features[:, :m].T - off @ kernel @ off for m in (3, 14)]
    assert np.abs(error[1]).max() < 0.01
    assert np.abs(error[0]).max() > 0.3


@pytest.mark.parametrize("values", [[1.0, 1.0], [0.0, 1.0]])
def test_what_has_two_values_has_no_features(values):
    x = standardised(np.tile(values, 10))
    assert not smooth_features(x, 6, 1.0).any()


def test_units_signs_and_the_order_of_rows_do_not_matter():
    x = curved_data(4, 60)[:, :3]
    changed = (x * [1e-3, -1e290, -7.0])[::-1] + np.array([5.0, 0, -3.0])
    tables = [Additive(Features(prepare(t))).table(0, np.array([1, 2]), 2) for t in (x, changed)]
    np.testing.assert_allclose(*tables, rtol=1e-7)


def test_parents_are_a_set_and_chunks_do_not_matter(monkeypatch):
    score = Additive(Features(prepare(curved_data(5, 40), [0, 0, 0, 3])))
    assert family(score, 0, [3, 1]) == family(score, 0, [1, 3])
    whole = score.table(0, np.array([1, 2, 3]), 3)
    monkeypatch.setattr(bge, "_CELLS", 300)
    np.testing.assert_allclose(score.table(0, np.array([1, 2, 3]), 3), whole, rtol=1e-12)
    for b, parents in enumerate(every_family(4)):
        assert whole[b] == pytest.approx(family(score, 0, parents), abs=1e-9)


def test_rows_in_which_a_variable_was_set_do_not_count_for_it():
    x = curved_data(6, 60)[:, :3]
    intervened = np.zeros_like(x, dtype=bool)
    intervened[40:, 0] = True
    before = family(Additive(Features(prepare(x, intervened=intervened))), 0, [1, 2])
    x[40:, 0] = 99.0
    after = family(Additive(Features(prepare(x, intervened=intervened))), 0, [1, 2])
    assert after == pytest.approx(before, abs=1e-9)
    assert abs(after - family(Additive(Features(prepare(x))), 0, [1, 2])) > 1


@pytest.mark.parametrize("n", [1, 2, 3, 50])
def test_bad_tables_give_finite_scores(n):
    r = np.random.default_rng(7)
    a = r.normal(size=n)
    x = np.column_stack([a, a, 1e300 * a / 8, np.ones(n), np.round(a), -a, r.standard_cauchy(n)])
    score = Additive(Features(prepare(x)))
    for v in range(7):
        assert np.isfinite(score.table(v, np.array([u for u in range(7) if u != v]), 6)).all()


def test_scales_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="must be positive"):
        Additive(Features(prepare(linear_data(0, 5, 2))), scales=(1.0, 0.0))
