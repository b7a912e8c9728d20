"""Gains of noise classes: each wins on its own law, none on a Gaussian, ties are no evidence."""

import numpy as np
import pytest
from scipy.special import logsumexp

from causal_meta.scores import noise
from causal_meta.scores.noise import CLASSES, noise_gains, tie_spacing

from .score_laws import NOISES

N = 400
WINNERS = {
    "laplace": ("laplace", False),
    "student": ("student", False),
    "uniform": ("uniform", False),
    "exponential": ("uniform", True),
    "beta": ("uniform", True),
    "bimodal": ("uniform", True),
}


def gains(z, spacing=0.0, doubt=0.0):
    z = np.atleast_2d(z)
    return noise_gains(z, np.full(len(z), spacing), np.full(len(z), doubt))


@pytest.mark.parametrize("law", WINNERS)
def test_a_class_wins_on_its_own_law(law):
    r = np.random.default_rng(0)
    mean = gains(np.array([NOISES[law](r, N) for _ in range(10)])).mean(axis=0)
    assert CLASSES[int(mean.argmax())] == WINNERS[law]
    assert mean.max() > 20


def test_no_class_wins_on_a_gaussian():
    r = np.random.default_rng(1)
    assert gains(r.normal(size=(40, N))).max() < 0
    assert gains(r.normal(size=(40, N))).mean(axis=0).max() < -8


@pytest.mark.parametrize("law", ["laplace", "exponential", "bimodal"])
def test_units_signs_and_the_order_of_rows_do_not_matter(law):
    z = NOISES[law](np.random.default_rng(2), 100)
    np.testing.assert_allclose(gains(-1e-5 * z[::-1] + 3), gains(z), atol=1e-5)


def test_families_do_not_meet_in_a_batch(monkeypatch):
    r = np.random.default_rng(3)
    z = np.array([NOISES[law](r, 60) for law in NOISES])
    spacing = np.where(np.arange(len(z)) % 2, 0.2, 0.0) * z.std(axis=1)
    doubt = 0.1 * z.std(axis=1) * (np.arange(len(z)) % 3)
    alone = np.vstack([gains(z[k], spacing[k], doubt[k]) for k in range(len(z))])
    np.testing.assert_allclose(noise_gains(z, spacing, doubt), alone, atol=1e-6)
    monkeypatch.setattr(noise, "_CELLS", 100)
    np.testing.assert_allclose(noise_gains(z, spacing, doubt), alone, atol=1e-6)


def likelihood_by_hand(z, place, width, cosines):
    """log likelihood of points under exp(c'b - A(c)) on [place, place + width], c per row."""
    grid = (np.arange(300) + 0.5) / 300
    k = np.arange(1, 13)[:, None]
    inside = np.sqrt(2) * np.cos(np.pi * k * (z - place) / width)
    log_norm = logsumexp(cosines @ (np.sqrt(2) * np.cos(np.pi * k * grid)), axis=1) - np.log(300)
    return (cosines @ inside).sum(axis=1) - len(z) * (log_norm + np.log(width))


@pytest.mark.parametrize("law", ["uniform", "exponential", "beta"])
def test_the_evidence_of_a_shape_is_its_integral(law):
    """By importance sampling around the mode; Laplace's approximation is within half a nat."""
    r = np.random.default_rng(4)
    z = NOISES[law](r, 80)
    z = (z - z.mean()) / z.std()
    place, width = z.min(), np.ptp(z)
    k = np.arange(1, 13)
    # a Gaussian proposal by moments of a long chain-free search: prior draws, reweighted twice
    mean, spread = np.zeros(12), 1.5 / k
    for _ in range(8):
        draws = mean + spread * r.normal(size=(2000, 12))
        log_prior = -0.5 * (draws**2 * k**2).sum(axis=1) + np.log(k / np.sqrt(2 * np.pi)).sum()
        log_proposal = (-0.5 * ((draws - mean) / spread) ** 2 - np.log(spread)).sum(axis=1)
        log_proposal -= 6 * np.log(2 * np.pi)
        logs = likelihood_by_hand(z, place, width, draws) + log_prior - log_proposal
        w = np.exp(logs - logsumexp(logs))
        mean = w @ draws
        spread = np.maximum(1.3 * np.sqrt(w @ (draws - mean) ** 2), 0.02 / k)
    exact = logsumexp(logs) - np.log(len(logs))
    base = likelihood_by_hand(z, place, width, np.zeros((1, 12)))[0]
    uniform, shaped = gains(z)[0, [2, 3]]
    assert 1 / (w**2).sum() > 20
    assert shaped - uniform == pytest.approx(exact - base, abs=0.5)


def test_the_evidence_of_a_uniform_is_its_integral():
    """int int (b - a)^-n da db over a < min, b > max is R^(2-n) / ((n-1)(n-2)); a Gaussian with its
    place and scale integrated out keeps 1 / n of its likelihood, to first order."""
    z = np.random.default_rng(5).uniform(-1, 1, 200)
    z = (z - z.mean()) / z.std()
    n, span = 200, np.ptp(z)
    a = np.linspace(0, 0.5, 2001)
    step = a[1] - a[0]
    exact = np.log(((span + a[:, None] + a) ** -float(n)).sum() * step**2) - np.log(10)
    gaussian = -n / 2 * (np.log(2 * np.pi) + 1) - np.log(n)
    assert gains(z)[0, 2] == pytest.approx(exact - gaussian, abs=0.1)


def test_doubt_about_the_mean_takes_away_what_luck_can_give():
    r = np.random.default_rng(10)
    z = NOISES["uniform"](r, N)
    z /= z.std()
    sharp, doubtful = gains(z)[0], gains(z, doubt=0.1)[0]
    # both ends lie 0.1 further out: N log((R + 0.2) / R) less
    lost = (N - 2) * np.log1p(0.2 / np.ptp(z))
    assert sharp[2] - doubtful[2] == pytest.approx(lost, rel=1e-6)
    assert sharp[3] > doubtful[3] > 0
    np.testing.assert_allclose(sharp[[0, 1, 4, 5]], doubtful[[0, 1, 4, 5]], rtol=1e-12)


@pytest.mark.parametrize("step", [0.25, 0.5, 1.0])
def test_rounding_a_gaussian_is_no_evidence(step):
    r = np.random.default_rng(6)
    for _ in range(10):
        z = np.round(r.normal(size=N) / step) * step
        h = tie_spacing(z)
        assert h == pytest.approx(step, rel=0.25)
        assert gains(z, h).max() < 1
    # without the spacing the lattice itself would be a shape
    assert step < 0.5 or gains(z).max() > 20


def test_rounding_keeps_what_is_wider_than_the_ties():
    r = np.random.default_rng(7)
    z = np.round(4 * r.laplace(size=N)) / 4
    assert gains(z, tie_spacing(z))[0, 0] > 10


def test_an_atom_is_no_density():
    r = np.random.default_rng(8)
    z = np.where(r.random(N) < 0.5, 0.0, r.normal(size=N))
    assert gains(z)[0].max() > 100
    assert gains(z, tie_spacing(z))[0].max() < 0.2 * gains(z)[0].max()


def test_a_continuous_column_has_no_spacing():
    assert tie_spacing(np.random.default_rng(9).normal(size=50)) == 0
    assert tie_spacing(np.array([1.0])) == 0
    assert tie_spacing(np.ones(5)) == 0


@pytest.mark.parametrize("z", [[0.0] * 5, [1.0, -1.0], [0.0, 0.0, 3.0], [1e-200, 2e-200, 0.0]])
def test_degenerate_residuals_have_finite_gains(z):
    assert np.isfinite(gains(np.array(z))).all()
