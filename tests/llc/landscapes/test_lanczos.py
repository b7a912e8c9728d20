"""Extreme eigenvalues from products with vectors."""

import numpy as np
import pytest

from causal_meta.llc.landscapes.lanczos import spectrum


def symmetric(values, seed):
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(values), len(values))))
    return (turn * values) @ turn.T


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shift", [0.0, 40.0])
def test_extremes_equal_those_of_a_dense_solver(seed, shift):
    values = np.concatenate([np.linspace(0, 1, 60) + shift, [-3.0 + shift, 25.0 + shift]])
    matrix = symmetric(values, seed)
    ritz = spectrum(lambda v: matrix @ v, 62, np.random.default_rng(seed), steps=40, tolerance=1e-9)
    assert ritz.lowest == pytest.approx(-3.0 + shift, abs=1e-6)
    assert ritz.highest == pytest.approx(25.0 + shift, abs=1e-6)
    for vector, value in zip(ritz.vectors, (ritz.lowest, ritz.highest), strict=True):
        assert np.linalg.norm(matrix @ vector - value * vector) < 1e-4
        assert np.linalg.norm(vector) == pytest.approx(1)


def test_values_never_leave_the_spectrum_and_errors_bound_them():
    rng = np.random.default_rng(5)
    values = np.sort(rng.standard_normal(200)) ** 3
    matrix = symmetric(values, 5)
    ritz = spectrum(lambda v: matrix @ v, 200, rng, steps=15, tolerance=0.0)
    assert ritz.products == 15
    assert values.min() - 1e-9 <= ritz.lowest <= ritz.highest <= values.max() + 1e-9
    nearest = np.abs(values[None] - ritz.values[:, None]).min(1)
    assert (nearest <= ritz.error + 1e-9).all()


def test_it_stops_at_the_tolerance():
    matrix = symmetric(np.repeat([1.0, 5.0], 50), 0)
    assert spectrum(lambda v: matrix @ v, 100, np.random.default_rng(0)).products <= 3
    assert spectrum(lambda v: 0 * v, 7, np.random.default_rng(0)).highest == 0.0


def test_products_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        spectrum(lambda v: v * np.nan, 4, np.random.default_rng(0))
