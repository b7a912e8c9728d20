"""Exact finite-n expectations: published figures, limits, and four ways of computing the same
number."""

import itertools

import numpy as np
import pytest

from causal_meta.llc.exact import oracles, quadrature
from causal_meta.llc.exact.cubature import cubature
from causal_meta.llc.exact.gibbs import LinearNetwork
from causal_meta.llc.landscapes.local_posterior import tempered_rows

TABLE = {
    ("w2", 1e3, 1): 0.4983, ("w2", 1e4, 1): 0.4998, ("w2", 1e6, 1): 0.5, ("w2", 1e9, 1): 0.5,
    ("w4", 1e3, 1): 0.2431, ("w4", 1e4, 1): 0.2475, ("w4", 1e6, 1): 0.2497, ("w4", 1e9, 1): 0.25, (
        "w4", 1e4, 100): 0.0995, ("w4", 1e6, 100): 0.2208,
    ("w6", 1e3, 1): 0.1569, ("w6", 1e4, 1): 0.1616, ("w6", 1e6, 1): 0.1654, ("w6", 1e9, 1): 0.1665,
    ("cross", 1e3, 1): 0.3614, ("cross", 1e4, 1): 0.3912, ("cross", 1e6, 1): 0.4253, ("cross", 1e9,
    1): 0.4497, ("cross", 1e4, 100): 0.0644,
    ("cross", 1e6, 100): 0.2779,
    ("cross", 1e3, 0.01): 0.4390, ("cross", 1e4, 0.01): 0.4456, ("cross", 1e6, 0.01): 0.4557, (
        "cross", 1e9, 0.01): 0.4656,
}  # fmt: skip


@pytest.mark.parametrize(("case", "value"), TABLE.items(), ids=str)
def test_published_figures(case, value):
    """All figures of the reference's table of exact expectations, to its four digits."""
    form, n, gamma = case
    if form == "cross":
        result = quadrature.normal_crossing([2, 2], tempered_rows(n), gamma)
    else:
        result = quadrature.power_sum([int(form[1])], tempered_rows(n), gamma)
    assert round(result.value, 4) == value
    assert result.error < 1e-9


@pytest.mark.parametrize("exponents", [[2], [4], [2, 4], [6, 2, 2]], ids=str)
@pytest.mark.parametrize(("n_beta", "gamma"), [(145.0, 1.0), (1086.0, 100.0), (7e4, 0.3)])
def test_powers_by_the_line_and_by_the_contour(exponents, n_beta, gamma):
    """One-dimensional quadrature against Mellin's inversion, coordinate by coordinate."""
    contour = sum(
        quadrature.normal_crossing([e], n_beta, gamma, coefficient=1.7).value for e in exponents
    )
    assert quadrature.power_sum(
        exponents, n_beta, gamma, [1.7] * len(exponents)
    ).value == pytest.approx(contour, rel=1e-10)
    if set(exponents) == {2}:
        assert quadrature.gaussian(
            np.full(len(exponents), 3.4), n_beta, gamma
        ).value == pytest.approx(contour, rel=1e-10)


@pytest.mark.parametrize(
    ("exponents", "jacobian"),
    [
        ([2], None),
        ([4], None),
        ([2, 4], None),
        ([2, 2], None),
        ([2, 2, 2], None),
        ([4, 4], [0, 2]),
        ([2] * 5, None),
    ],
    ids=str,
)
def test_large_n_tends_to_lambda_at_the_rate_of_the_multiplicity(exponents, jacobian):
    """nβ E[K] = λ - (m - 1) / log(nβ) + O(1 / log²): the second order too, by extrapolation in 1 /
    log(nβ) from nβ = 1e200 and 1e300."""
    value, multiplicity = oracles.normal_crossing(exponents, jacobian)
    logs = np.log([1e200, 1e300])
    result = np.array(
        [
            quadrature.normal_crossing(exponents, n_beta, 1.0, jacobian=jacobian).value
            for n_beta in (1e200, 1e300)
        ]
    )
    gaps = (float(value) - result) * logs
    assert gaps[1] == pytest.approx(multiplicity - 1, abs=0.03 * multiplicity)
    assert abs(gaps[1] - (multiplicity - 1)) <= abs(gaps[0] - (multiplicity - 1)) + 1e-9
    # a multiplicity one too large is detected
    assert gaps[1] != pytest.approx(multiplicity, abs=0.1)


def crossing(w):
    return (w[:, 0] * w[:, 1]) ** 2


def turned(loss, angle):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return lambda w: loss(np.column_stack([w[:, :2] @ turn, w[:, 2:]]))


CUBATURE = {
    "w4": (1, lambda w: w[:, 0] ** 4, lambda nb, g: quadrature.power_sum([4], nb, g)),
    "crossing": (2, crossing, lambda nb, g: quadrature.normal_crossing([2, 2], nb, g)),
    "turned crossing": (
        2,
        turned(crossing, 0.6),
        lambda nb, g: quadrature.normal_crossing([2, 2], nb, g),
    ),
    "(x^2-y^2)^2": (
        2,
        lambda w: (w[:, 0] ** 2 - w[:, 1] ** 2) ** 2 / 4,
        lambda nb, g: quadrature.normal_crossing([2, 2], nb, g),
    ),
    "unequal crossing": (
        2,
        turned(lambda w: w[:, 0] ** 2 * w[:, 1] ** 4, 1.1),
        lambda nb, g: quadrature.normal_crossing([2, 4], nb, g),
    ),
    "sum": (
        2,
        turned(lambda w: w[:, 0] ** 2 + w[:, 1] ** 4, 0.3),
        lambda nb, g: quadrature.power_sum([2, 4], nb, g),
    ),
    "three": (
        3,
        lambda w: (w[:, 0] * w[:, 1] * w[:, 2]) ** 2,
        lambda nb, g: quadrature.normal_crossing([2, 2, 2], nb, g),
    ),
}


@pytest.mark.parametrize("case", CUBATURE)
def test_cubature_of_any_form_and_direction(case):
    """Adaptive cubature against the contour, also for rotated valleys: the stated error holds, and
    rotations change nothing."""
    dimension, loss, exact = CUBATURE[case]
    for n, gamma in ((1e3, 1.0), (1e6, 100.0)) if dimension < 3 else ((1e3, 1.0),):
        truth = exact(tempered_rows(n), gamma).value
        result = cubature(loss, dimension, tempered_rows(n), gamma, tolerance=1e-4)
        assert abs(result.value - truth) < max(result.error, 1e-9)
        assert result.error < 1e-4
        # an error of one per cent is detected
        assert abs(result.value - 1.01 * truth) > result.error


def test_shifted_minimum_and_scaled_coordinates():
    """A minimum away from w*: closed form against cubature; K(w/s) with γ is K(w) with γ s²."""
    curvatures, offset = np.array([3.0, 0.4]), np.array([0.5, -0.3])
    exact = quadrature.gaussian(curvatures, 50.0, 2.0, offset)
    result = cubature(lambda w: 0.5 * ((w - offset) ** 2 - offset**2) @ curvatures, 2, 50.0, 2.0)
    assert result.value == pytest.approx(exact.value, abs=1e-6)
    scaled = cubature(lambda w: crossing(w / 3.0), 2, 145.0, 1.0)
    assert scaled.value == pytest.approx(
        quadrature.normal_crossing([2, 2], 145.0, 9.0).value, abs=1e-6
    )


def test_the_zero_map_through_two_layers():
    """The Pfaffian against a normal crossing in polar coordinates (H = 1), Gaussians (wide H),
    transposition, and its limit."""
    for n_inputs, n_outputs in ((1, 1), (2, 3), (4, 1)):  # K = ½ |b|² |a|²
        polar = quadrature.normal_crossing(
            [2, 2], 145.0, 1.3, coefficient=0.5, jacobian=[n_inputs - 1, n_outputs - 1]
        )
        assert quadrature.zero_map(n_inputs, 1, n_outputs, 145.0, 1.3).value == pytest.approx(
            polar.value, rel=1e-9
        )
    for sizes in ((5, 3, 5), (4, 3, 8), (3, 8, 4), (2, 2, 2), (3, 4, 2)):
        value = quadrature.zero_map(*sizes, 1086.0, 1.0)
        assert value.value == pytest.approx(
            quadrature.zero_map(*sizes[::-1], 1086.0, 1.0).value, rel=1e-8
        )
        value, multiplicity = oracles.deep_linear(sizes, 0)
        far = quadrature.zero_map(*sizes, 1e12, 1.0).value
        assert abs(far - (float(value) - (multiplicity - 1) / np.log(1e12))) < 0.05


def zero_network(sizes):
    return LinearNetwork(
        tuple(np.zeros((b, a)) for a, b in itertools.pairwise(sizes)),
        np.eye(sizes[0]),
        np.zeros((sizes[-1], sizes[0])),
    )


@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 3, 5), (4, 3, 8), (1, 1, 1, 1)], ids=str)
def test_exact_draws_of_linear_networks(sizes):
    """The Gibbs sampler against Pfaffian and contour, within 4 of its standard errors (64 chains:
    false alarm 2e-4 per case), not 3 per cent off."""
    n_beta = 1086.0
    exact = (
        quadrature.zero_map(*sizes, n_beta, 1.0)
        if len(sizes) == 3
        else quadrature.normal_crossing([2] * 3, n_beta, 1.0, coefficient=0.5)
    )
    result = zero_network(sizes).expectation(n_beta, 1.0, chains=64, sweeps=600)
    assert result.error < 0.005 * exact.value
    assert abs(result.value - exact.value) < 4 * result.error
    assert abs(result.value - 1.03 * exact.value) > 4 * result.error


def test_exact_draws_away_from_zero():
    """One hidden unit at a map of rank 1 and a shifted minimum, against cubature in three
    dimensions; and one layer, which is Gaussian."""
    a, b = np.array([[0.8]]), np.array([[0.5], [-0.7]])
    target = b @ a + np.array([[0.05], [0.02]])
    network = LinearNetwork((a, b), np.eye(1), target)
    centre = np.concatenate([a.ravel(), b.ravel()])

    def above(w):
        at = w + centre
        return 0.5 * np.sum((at[:, :1] * at[:, 1:] - target.ravel()) ** 2, 1) - float(
            network.loss(network.centre)
        )

    exact = cubature(above, 3, 60.0, 1.0, tolerance=1e-3)
    result = network.expectation(60.0, 1.0, chains=64, sweeps=1500)
    assert abs(result.value - exact.value) < 4 * result.error + exact.error
    single = LinearNetwork(
        (np.ones((2, 3)),), np.diag([1.0, 2.0, 0.5]), np.ones((2, 3)) @ np.diag([1.0, 2.0, 0.5])
    )
    regular = quadrature.gaussian(np.repeat([1.0, 4.0, 0.25], 2), 60.0, 1.0)
    assert single.expectation(60.0, 1.0, chains=8, sweeps=20).value == pytest.approx(
        regular.value, rel=1e-12
    )


def test_unsolvable_cases_are_refused():
    for wrong in (
        lambda: quadrature.normal_crossing([2, 2], 10.0, 0.0), lambda: quadrature.zero_map(2, 2, 2,
        10.0, 0.0),
        lambda: cubature(crossing, 4, 10.0, 1.0),
        lambda: zero_network((2, 2, 2)).expectation(10.0, 0.0), lambda: cubature(crossing, 2, 1e9,
        1.0, tolerance=1e-9, evaluations=100_000),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"γ|tolerance"):
            wrong()
