"""Fits of a variance that depends on parents, against quadrature and weighted least squares."""

import numpy as np
import pytest
from scipy.special import logsumexp

from causal_meta.scores.variance import SPREAD, expected_gain, variance_fits


def world(seed, n, slope):
    """A line with noise of scale exp(slope x), and columns for mean and scale."""
    r = np.random.default_rng(seed)
    x = r.normal(size=n)
    x -= x.mean()
    y = x + np.exp(slope * x) * r.normal(size=n)
    return y - y.mean(), x


def fit(y, x, precision=0.5):
    columns = x[None, :, None]
    return variance_fits(y, columns, np.full((1, 1), precision), columns)


def log_profile(y, x, g, precision=0.5):
    """log likelihood at log scale g x, the slope of the mean integrated out and sigma at its
    maximum, up to what does not depend on g."""
    w = np.exp(-2 * g * x)
    information = (w * x * x).sum() + precision
    b = (w * x * y).sum() / information
    rss = (w * (y - b * x) ** 2).sum() + precision * b**2
    return -len(y) / 2 * np.log(rss) - g * x.sum() - 0.5 * np.log(information)


@pytest.mark.parametrize("slope", [0.0, 0.2, 0.6])
def test_the_gain_is_an_integral_over_the_log_scale(slope):
    y, x = world(0, 120, slope)
    grid = np.linspace(-3, 3, 6001)
    log_prior = -0.5 * (grid / SPREAD) ** 2 - np.log(SPREAD * np.sqrt(2 * np.pi))
    logs = np.array([log_profile(y, x, g) for g in grid]) + log_prior
    exact = logsumexp(logs) + np.log(grid[1] - grid[0]) - log_profile(y, x, 0.0)
    assert fit(y, x).gain[0] == pytest.approx(exact, abs=0.3)
    assert abs(fit(y, x).gain[0] - exact - 1) > 0.3


def test_standardised_residuals_have_a_constant_scale():
    y, x = world(1, 2000, 0.7)
    residuals = fit(y, x).residuals[0]
    outer = np.abs(x) > 1
    ratio = [np.std(e[outer & (x > 0)]) / np.std(e[outer & (x < 0)]) for e in (y - x, residuals)]
    assert ratio[0] > 5
    assert 0.7 < ratio[1] < 1.4


def test_a_constant_scale_is_preferred_where_it_holds():
    gains = [fit(*world(seed, 200, 0.0)).gain[0] for seed in range(20)]
    assert np.mean(gains) < -1
    assert np.max(gains) < 3
    assert fit(*world(0, 200, 0.7)).gain[0] > 20


def test_what_a_scale_promises_is_near_what_it_gains():
    for seed, slope in enumerate([0.0, 0.05, 0.1]):
        y, x = world(seed, 400, slope)
        b = (x @ y) / (x @ x + 0.5)
        rows = np.vstack([x, 0 * x])
        promised = expected_gain((y - b * x)[None], rows, rows @ rows.T, np.array([[0, 1]]))[0]
        assert promised == pytest.approx(fit(y, x).gain[0], abs=1.0)


def test_units_signs_and_the_order_of_rows_do_not_matter():
    y, x = world(3, 80, 0.4)
    one, other = fit(y, x), fit(-1e4 * y[::-1], -x[::-1])
    assert other.gain[0] == pytest.approx(one.gain[0], abs=1e-6)
    np.testing.assert_allclose(other.residuals[0, ::-1], -1e4 * one.residuals[0], rtol=1e-5)


def test_families_do_not_meet_and_empty_columns_change_nothing():
    y, x = world(4, 60, 0.4)
    z = np.random.default_rng(5).normal(size=60)
    means = np.array([[x, z], [x, 0 * x]]).transpose(0, 2, 1)
    precision = np.array([[0.5, 0.5], [0.5, 1.0]])
    both = variance_fits(y, means, precision, means)
    assert both.gain[1] == pytest.approx(fit(y, x).gain[0], abs=1e-9)
    first = variance_fits(y, means[:1], precision[:1], means[:1])
    assert both.gain[0] == pytest.approx(first.gain[0], abs=1e-9)


@pytest.mark.parametrize("y", [np.zeros(6), np.array([1.0, -1, 0, 0, 0, 0])])
def test_degenerate_targets_have_finite_gains(y):
    assert np.isfinite(fit(y, np.array([1.0, 2, -3, 0, 0, 0])).gain).all()
