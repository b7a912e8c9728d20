"""Whether w* is a minimum: gaps, spectra and descents against closed forms; points that are not
minima are refused."""

import dataclasses
import math

import numpy as np
import pytest

from causal_meta.conf.network_data import NetworkDataConfig
from causal_meta.conf.networks import NetworkConfig, NetworkTrainingConfig, StudentConfig
from causal_meta.llc.landscapes import lanczos, surfaces
from causal_meta.llc.landscapes.minimum import examine, polish, spectrum_ends
from causal_meta.llc.landscapes.perceptrons import Perceptron
from causal_meta.llc.landscapes.polish import descend
from causal_meta.llc.landscapes.surfaces import LandscapeSurface, gradient_noise, loss_at
from causal_meta.llc.landscapes.targets import draw_rows, network_landscape
from causal_meta.llc.landscapes.training import train
from causal_meta.randomness import generator


class Formula:
    """A surface in NumPy: value, gradient and Hessian by hand; `whole` says whether the Hessian
    matrix is available."""

    def __init__(self, centre, value, gradient, hessian, whole=True):
        self.centre, self.value, self.gradient, self.matrix, self.whole = (
            np.asarray(centre, float),
            value,
            gradient,
            hessian,
            whole,
        )

    def value_and_gradient(self, w):
        return float(self.value(w)), self.gradient(w)

    def product(self, w, direction):
        return self.matrix(w) @ direction

    def hessian(self, w):
        return self.matrix(w) if self.whole else None


def quadratic(centre, eigenvalues, whole=True, seed=0):
    """½ wᵀHw with these eigenvalues in random directions."""
    q = np.linalg.qr(
        np.random.default_rng(seed).standard_normal((len(eigenvalues), len(eigenvalues)))
    )[0]
    h = q @ np.diag(eigenvalues) @ q.T
    return Formula(centre, lambda w: 0.5 * w @ h @ w, lambda w: h @ w, lambda w: h, whole), h


def saddle(centre):
    """w1² - w2² / 2 + w2⁴: a saddle at 0 and minima at w2 = ± ½."""
    return Formula(
        centre,
        lambda w: w[0] ** 2 - w[1] ** 2 / 2 + w[1] ** 4,
        lambda w: np.array([2 * w[0], -w[1] + 4 * w[1] ** 3]),
        lambda w: np.diag([2, -1 + 12 * w[1] ** 2]),
    )


# --------------------------------------------------------------------------------------------- gaps


@pytest.mark.parametrize("gamma", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_gap_of_a_quadratic_is_the_closed_form(gamma, shift):
    eigenvalues, nb = np.geomspace(1e-4, 10, 12), 145.0
    away = shift * np.random.default_rng(1).standard_normal(12)
    surface, h = quadratic(away, eigenvalues)
    slope = h @ away
    expected = 0.5 * nb * slope @ np.linalg.solve(h + gamma / nb * np.eye(12), slope)
    minimum = examine(surface, n_beta=nb, gamma=gamma)
    assert minimum.gap == pytest.approx(expected, rel=1e-2, abs=1e-4)
    assert minimum.gap <= expected + 1e-12
    assert minimum.gap_ended
    assert bool(minimum.flags) == bool(shift)
    assert minimum.ends.laplace == pytest.approx(
        sum(0.5 * nb * e / (nb * e + gamma) for e in eigenvalues), rel=1e-9
    )
    assert (minimum.ends.n_negative, minimum.ends.exact) == (0, True)


def test_a_saddle_point_is_refused_and_escaped():
    surface = saddle([0.0, 0.0])
    minimum = examine(surface, n_beta=100, gamma=1)
    assert minimum.gradient_norm == 0
    assert minimum.ends.lowest == pytest.approx(-1)
    assert "curvature" in minimum.sentence
    # 100 (L(0) - L(½)) less the pull of γ
    assert minimum.gap == pytest.approx(100 * (1 / 16) * 0.92, rel=0.1)
    reached = list(polish(surface, n_beta=100, gamma=1, tolerance=1e-9, budget=5000))[-1]
    assert np.abs(reached.anchor) == pytest.approx([0, 0.5], abs=1e-3)
    assert not examine(saddle(reached.anchor), n_beta=100, gamma=1).flags


def test_negative_curvature_below_gamma_is_flagged_by_its_effect_on_the_estimate():
    weak, _ = quadratic(np.zeros(3), [-0.0001, 1.0, 2.0])
    strong, _ = quadratic(np.zeros(3), [-0.008, 1.0, 2.0])
    assert not examine(weak, n_beta=100, gamma=1).flags
    minimum = examine(strong, n_beta=100, gamma=1)
    assert minimum.ends.negative_part == pytest.approx(0.5 * -0.8 / 0.2)
    assert len(minimum.flags) == 1
    assert not examine(strong, n_beta=100, gamma=1000).flags


def test_a_minimum_without_curvature_is_one():
    quartic = Formula(
        [0.0, 0.0], lambda w: (w**4).sum(), lambda w: 4 * w**3, lambda w: np.diag(12 * w**2)
    )
    minimum = examine(quartic, n_beta=1000, gamma=1)
    assert (minimum.flags, minimum.gap, minimum.ends.laplace) == ([], 0, 0)
    reached = list(
        polish(
            dataclass_moved(quartic, [0.5, -0.3]), n_beta=1000, gamma=1, tolerance=1e-6, budget=5000
        )
    )[-1]
    assert reached.loss < 1e-6


def dataclass_moved(surface, centre):
    """The same formula around another point."""
    return Formula(centre, surface.value, surface.gradient, surface.matrix, surface.whole)


def test_a_descent_in_an_endless_valley_stops_at_the_scale_of_the_posterior():
    """exp(-w) has no minimum; the polish stops where nβ e^{-w} is small relative to the
    localisation."""
    valley = Formula(
        [0.0], lambda w: np.exp(-w[0]), lambda w: -np.exp(-w), lambda w: np.diag(np.exp(-w))
    )
    assert examine(valley, n_beta=100, gamma=1).flags
    reached = list(polish(valley, n_beta=100, gamma=1, tolerance=1e-4, budget=5000))[-1]
    assert reached.over
    assert reached.gap <= 1e-4
    assert 100 * math.exp(-reached.anchor[0]) < 0.02  # ½ (nβ e^-w)² / γ = 1e-4


def test_invalid_input_is_refused():
    surface, _ = quadratic(np.zeros(3), [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="gamma is 0"):
        examine(surface, n_beta=10, gamma=0.0)
    broken = Formula([1.0], lambda w: math.nan, lambda w: w, lambda w: np.eye(1))
    with pytest.raises(ValueError, match="no posterior around this point"):
        examine(broken, n_beta=10, gamma=1)


def test_a_descent_cut_in_two_ends_with_the_same_bits():
    surface, _ = quadratic(np.ones(30), np.geomspace(1e-6, 1e3, 30), whole=False)
    settings = {"n_beta": 100.0, "gamma": 1.0, "tolerance": 1e-6, "budget": 2000}
    whole = list(descend(surface, **settings))
    assert len(whole) > 6
    for cut in (1, 3, len(whole) - 2):
        again = list(descend(surface, **settings, state=whole[cut].state()))
        assert (again[-1].anchor == whole[-1].anchor).all()
        assert (again[-1].work, again[-1].gap) == (whole[-1].work, whole[-1].gap)


def test_a_descent_is_invariant_to_shifts_and_permutations():
    surface, h = quadratic(np.arange(1.0, 7.0), [0.01, 0.1, 1, 2, 5, 40])
    shift, order = np.full(6, 3.0), np.array([3, 1, 0, 5, 4, 2])
    moved = Formula(
        surface.centre + shift,
        lambda w: surface.value(w - shift),
        lambda w: h @ (w - shift),
        lambda w: h,
    )
    turned = Formula(
        surface.centre[order],
        lambda w: 0.5 * w @ h[order][:, order] @ w,
        lambda w: h[order][:, order] @ w,
        lambda w: h[order][:, order],
    )
    gaps = [examine(one, n_beta=50, gamma=1).gap for one in (surface, moved, turned)]
    assert gaps == pytest.approx([gaps[0]] * 3, rel=1e-3)


# ------------------------------------------------------------------------------------------ spectra


def test_lanczos_finds_the_ends_of_a_spectrum():
    eigenvalues = np.concatenate(([-0.5], np.geomspace(1e-3, 1, 397), [7.0, 20.0]))
    _, h = quadratic(np.zeros(400), eigenvalues)
    ritz = lanczos.spectrum(
        lambda v: h @ v, 400, generator(0, "lanczos"), steps=100, tolerance=1e-8
    )
    assert (ritz.lowest, ritz.highest) == pytest.approx((-0.5, 20), rel=1e-5)
    assert ritz.lowest >= -0.5 - 1e-12
    assert ritz.weights.sum() == pytest.approx(1)


def test_sums_over_the_spectrum_are_right_on_average():
    eigenvalues = np.geomspace(1e-4, 10, 320)
    _, h = quadratic(np.zeros(320), eigenvalues)
    exact = sum(0.5 * 50 * e / (50 * e + 1) for e in eigenvalues)
    estimates = []
    for seed in range(12):
        ritz = lanczos.spectrum(
            lambda v: h @ v, 320, generator(seed, "lanczos"), steps=60, tolerance=0.0
        )
        estimates.append(320 * ritz.weights @ (0.5 * 50 * ritz.values / (50 * ritz.values + 1)))
    # false alarm below 1e-3, seeds fixed
    assert abs(np.mean(estimates) - exact) < 5 * np.std(estimates, ddof=1) / math.sqrt(12)
    assert np.std(estimates, ddof=1) < 0.15 * exact


def test_ends_without_the_whole_hessian_agree_with_those_with_it():
    whole, _ = quadratic(np.zeros(60), np.concatenate(([-1e-3], np.geomspace(0.01, 5, 59))))
    hidden = dataclass_moved(whole, np.zeros(60))
    hidden.whole = False
    exact, estimated = (
        spectrum_ends(one, one.centre, n_beta=100, gamma=1, products=60) for one in (whole, hidden)
    )
    assert (estimated.lowest, estimated.highest) == pytest.approx(
        (exact.lowest, exact.highest), rel=1e-2
    )
    assert (estimated.exact, estimated.n_negative) == (False, None)
    assert estimated.laplace == pytest.approx(exact.laplace, rel=0.3)


# ----------------------------------------------------------------------------------------- networks


@pytest.fixture(scope="module")
def trained():
    """A small student after some training, its landscape around the trained point, and its surface
    after polish."""
    config = NetworkConfig(
        model=StudentConfig(in_dim=3, depth=1, target_params=20),
        data=NetworkDataConfig(n_rows=200),
        training=NetworkTrainingConfig(max_steps=1000, learning_rate=3e-3),
        seed=1,
    )
    first = Perceptron(config.model).initial(generator(1, "network student"))
    landscape = network_landscape(config, draw_rows(config), first)
    w = list(train(landscape, config.training, 1))[-1].parameters
    landscape = dataclasses.replace(landscape, centre=w)
    surface = LandscapeSurface(landscape)
    reached = list(
        polish(surface, n_beta=200 / math.log(200), gamma=1, tolerance=1e-3, budget=4000)
    )[-1]
    return config, landscape, surface, reached


def test_an_under_trained_network_is_refused_and_a_polished_one_is_not(trained):
    _, landscape, surface, reached = trained
    before = examine(surface, n_beta=200 / math.log(200))
    assert before.flags
    surface.centre = reached.anchor
    after = examine(surface, n_beta=200 / math.log(200))
    assert not after.flags, after.sentence
    assert after.gap <= 1e-3
    assert after.loss < before.loss
    surface.centre = reached.anchor + 0.05
    assert examine(surface, n_beta=200 / math.log(200)).flags
    surface.centre = np.asarray(landscape.centre)


def test_the_hessian_is_the_derivative_of_the_gradient_and_products_are_its_products(
    trained, monkeypatch
):
    _, landscape, surface, reached = trained
    w, h = reached.anchor, surface.hessian(reached.anchor)
    step = 1e-6
    for i in (0, 7, len(w) - 1):
        up, down = (
            surface.value_and_gradient(w + sign * step * np.eye(len(w))[i])[1] for sign in (1, -1)
        )
        assert (up - down) / (2 * step) == pytest.approx(h[i], rel=1e-4, abs=1e-4 * np.abs(h).max())
    monkeypatch.setattr(surfaces, "DENSE", 0)
    hidden, v = (
        LandscapeSurface(dataclasses.replace(landscape, centre=w)),
        np.random.default_rng(0).standard_normal(len(w)),
    )
    assert hidden.hessian(w) is None
    assert hidden.product(w, v) == pytest.approx(h @ v, rel=1e-9, abs=1e-9)
    assert hidden.value_and_gradient(w)[1] == pytest.approx(
        surface.value_and_gradient(w)[1], abs=1e-12
    )


def test_losses_agree_between_float_widths_as_far_as_they_can(trained):
    _, landscape, surface, _ = trained
    wide, single = loss_at(landscape, "float64"), loss_at(landscape, "float32")
    assert wide == pytest.approx(
        surface.value_and_gradient(np.asarray(landscape.centre))[0], rel=1e-13
    )
    assert wide != single
    assert single == pytest.approx(wide, abs=1e-5)


def test_the_gradient_at_the_truth_has_its_expected_norm(trained):
    config, _, _, _ = trained
    teacher = Perceptron(config.model).initial(generator(1, "network teacher"))
    landscape = network_landscape(config, draw_rows(config), teacher)
    ratio = np.linalg.norm(
        LandscapeSurface(landscape).value_and_gradient(teacher)[1]
    ) / gradient_noise(landscape)
    assert 0.2 < ratio < 2.5  # a norm of some 10 effective dimensions


def test_advice_follows_from_the_stiffest_and_the_flattest_direction():
    surface, _ = quadratic(np.zeros(3), [0.0, 0.5, 4.0])
    advice = examine(surface, n_beta=100, gamma=2.0).advice
    assert advice["stiffest"] == pytest.approx(402)
    assert advice["condition_number"] == pytest.approx(201)
    assert advice["sgld_step"] * advice["stiffest"] == pytest.approx(0.1)
    assert advice["sgld_relaxation"] == pytest.approx(2 / (advice["sgld_step"] * 2.0))
    assert advice["leapfrog_step"] * advice["leapfrog_steps"] == pytest.approx(
        math.pi / 2 / math.sqrt(2.0)
    )


def test_a_search_that_was_cut_off_passes_only_where_the_gradient_bounds_the_gap():
    eigenvalues = np.geomspace(1e-4, 10, 40)
    for size, passes in ((1e-4, True), (0.3, False)):
        surface, h = quadratic(size * np.ones(40), eigenvalues)
        slope = h @ surface.centre
        minimum = examine(surface, n_beta=100, gamma=1, budget=2)
        gap = 50 * slope @ np.linalg.solve(h + 0.01 * np.eye(40), slope)
        assert minimum.gap <= gap * (1 + 1e-9)
        assert gap <= minimum.gap_at_most
        assert (not minimum.gap_ended, not minimum.flags) == (True, passes)
