"""Gaussian processes with a latent variable: features and exact draws have one and the same law,
and both depend on the parents.

Bounds are 4.5 standard errors of fixed seeds (false alarms 7e-6 each, about 400 of them), or
Kolmogorov and Smirnov at 1e-6.
"""

import dataclasses
import math

import numpy as np
import pytest
import scipy.stats
import torch

from causal_meta import graphs, randomness
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.conf.mechanism_laws import GPCDE, RFF, MechanismPart
from causal_meta.conf.ranges import FloatRange, constant
from causal_meta.conf.setting import ConfigError
from causal_meta.datasets.graph_families import make_generator
from causal_meta.datasets.mechanisms import MechanismFactory, gpcde
from causal_meta.datasets.mechanisms.kernels import kernel, multipliers
from causal_meta.datasets.mechanisms.mixture import LARGEST

SEEDS = randomness.seeds_of(0, "gpcde", start=0, count=16)
CONFIGS = {
    "features": GPCDE(n_features=40),
    "exact": GPCDE(exact=True),
    "rough": GPCDE(
        kernels=("exponential_gamma", "rational_quadratic"),
        n_features=30,
        gamma=FloatRange(low=0.8, high=2.0),
    ),
    "roughest": GPCDE(kernels=("exponential_gamma",) * 2, n_features=64),
    "latent mean and row noise": GPCDE(mean="latent", row_noise_rate=10.0, n_features=16),
}


@pytest.fixture(scope="module")
def adjacency():
    return make_generator(ErdosRenyi(edges_per_node=2.0))(SEEDS, 7)


def draw(config, seeds, adjacency):
    return MechanismFactory({"m": MechanismPart(mechanism=config)}).draw(seeds, adjacency)


@pytest.mark.parametrize("name", CONFIGS)
class TestEveryLaw:
    def test_a_task_is_the_same_in_every_batch(self, name, adjacency):
        noise = randomness.normals(SEEDS, ("noise",), (23, 7))
        together = draw(CONFIGS[name], SEEDS, adjacency).rows(noise)
        for some in (slice(0, 1), slice(3, 10)):
            alone = draw(CONFIGS[name], SEEDS[some], adjacency[some]).rows(noise[some])
            torch.testing.assert_close(alone, together[some], rtol=1e-3, atol=1e-2)
        assert (
            draw(CONFIGS[name], SEEDS[1:2], adjacency[:1]).rows(noise[:1]) - together[:1]
        ).abs().max() > 0.5

    def test_values_depend_on_parents_and_on_noise(self, name, adjacency):
        """Another noise at 4 changes 4 and its descendants, and nobody else. (Exact draws see
        distances alone: a shift would change nothing.)"""
        batch = draw(CONFIGS[name], SEEDS, adjacency)
        noise = randomness.normals(SEEDS, ("noise",), (20, 7))
        other = noise.clone()
        other[:, :, 4] *= 1.5
        changed = (batch.rows(noise) - batch.rows(other)).abs().amax(dim=1) > 1e-3
        expected = graphs.ancestors(adjacency)[:, 4] != 0
        expected[:, 4] = True
        assert torch.equal(changed, expected)

    def test_further_rows_leave_the_first_as_they_are(self, name, adjacency):
        noise = randomness.normals(SEEDS, ("noise",), (80, 7))
        batch = draw(CONFIGS[name], SEEDS, adjacency)
        torch.testing.assert_close(
            batch.rows(noise[:, :30]), batch.rows(noise)[:, :30], rtol=1e-3, atol=1e-2
        )


def test_rows_against_a_plain_loop(adjacency):
    config = CONFIGS["features"]
    batch = draw(config, SEEDS, adjacency)
    noise = randomness.normals(SEEDS, ("noise",), (30, 7))
    rows = batch.rows(noise)
    for b in range(len(SEEDS)):
        x = rows[b].double().numpy()
        for j in range(7):
            p = {
                name: value.double().numpy()
                for name, value in batch.mechanism(b, j).parameters.items()
            }
            points = np.column_stack(
                [noise[b, :, j].double().numpy(), x[:, np.nonzero(adjacency[b, :, j].numpy())[0]]]
            )
            expected = np.cos(points @ p["frequency"][: points.shape[1]] + p["phase"]) @ p["weight"]
            np.testing.assert_allclose(x[:, j], expected, atol=5e-3)


def values_at(config, points, count, seed=3):
    """Values [count, P] of the functions of one node at the points [P, k]: the latent variable,
    then k - 1 parents."""
    k = points.shape[1] - 1
    adjacency = torch.zeros(count, k + 1, k + 1)
    adjacency[:, :k, k] = 1
    batch = draw(config, randomness.seeds_of(seed, start=0, count=count), adjacency)
    law = batch.factory.laws[0]
    picked = law.pick(batch.parameters[0], torch.arange(count), torch.full((count,), k), k)
    columns = points.mT.expand(count, k + 1, len(points))
    return law.apply(picked, columns[:, 1:], columns[:, 0]).double()


def moments_agree(values, expected, limit=4.5):
    """Whether the mean products of all pairs of columns are `expected` [P, P], within standard
    errors."""
    products = values[:, :, None] * values[:, None, :]
    return bool(
        (
            (products.mean(dim=0) - expected).abs()
            < limit * products.std(dim=0) / math.sqrt(len(values))
        ).all()
    )


def closed_form(config, distance):
    """The covariance at distances [P, P], parameters averaged over their laws by a fine grid."""
    grid = (np.arange(400) + 0.5) / 400
    total = torch.zeros_like(distance)
    for name in config.kernels:
        amplitude = config.amplitude.low + (config.amplitude.high - config.amplitude.low) * grid
        law = config.gamma if name == "exponential_gamma" else config.alpha
        lengths = torch.from_numpy(
            config.length_scale.low + (config.length_scale.high - config.length_scale.low) * grid
        )[:, None, None, None]
        shapes = torch.from_numpy(law.low + (law.high - law.low) * grid)[None, ::8, None, None]
        total += (amplitude**2).mean() * kernel(name, distance / lengths, shapes).mean(dim=(0, 1))
    return total


POINTS = torch.tensor(
    [[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.0, 0.0, 0.4], [1.0, -1.0, 0.5], [2.0, 1.0, -2.0]]
)
KERNELS = {
    "rbf": GPCDE(
        kernels=("rbf",), length_scale=constant(0.8), amplitude=constant(2.0), n_features=50
    ),
    "two rbf": GPCDE(
        kernels=("rbf", "rbf"),
        length_scale=FloatRange(low=0.5, high=3.0),
        amplitude=FloatRange(low=0.5, high=2.0),
        n_features=50,
    ),
    "exponential": GPCDE(
        kernels=("exponential_gamma",),
        gamma=constant(1.0),
        length_scale=constant(1.0),
        amplitude=constant(1.0),
        n_features=50,
    ),
    "gamma, smooth": GPCDE(
        kernels=("exponential_gamma",),
        gamma=constant(1.7),
        length_scale=constant(1.0),
        amplitude=constant(1.0),
        n_features=50,
    ),
    "gamma, rough": GPCDE(
        kernels=("exponential_gamma",),
        length_scale=constant(1.0),
        amplitude=constant(1.0),
        n_features=50,
    ),
    "rational": GPCDE(
        kernels=("rational_quadratic",),
        length_scale=constant(1.0),
        amplitude=constant(1.0),
        n_features=50,
    ),
    "sum": GPCDE(
        kernels=("rbf", "exponential_gamma"),
        gamma=constant(0.7),
        length_scale=constant(1.0),
        amplitude=FloatRange(low=0.5, high=1.5),
    ),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("exact", [False, True])
def test_the_covariance_is_the_kernels(name, exact):
    """Of features and of exact draws, over all pairs of points in three dimensions; nearer points
    and another scale are told apart."""
    config = dataclasses.replace(KERNELS[name], exact=exact)
    values = values_at(config, POINTS, 5000)
    distance = torch.cdist(POINTS.double(), POINTS.double())
    assert moments_agree(values, closed_form(config, distance))
    assert not moments_agree(values, closed_form(config, distance * 0.5)), (
        "the check must see another length scale"
    )
    assert not moments_agree(values, 1.2 * closed_form(config, distance)), (
        "the check must see another amplitude"
    )


@pytest.mark.parametrize("name", ["two rbf", "sum"])
def test_features_and_exact_draws_have_one_law(name):
    """Energy test of whole vectors of values (Székely and Rizzo 2013), by 300 permutations; the
    earlier system's law is rejected."""
    config = dataclasses.replace(KERNELS[name], n_features=400)
    count = 500
    one = values_at(config, POINTS, count, seed=11)
    two = values_at(dataclasses.replace(config, exact=True), POINTS, count, seed=12)
    # a law whose values do not depend on the parents
    noise_only = two[:, :1].expand(-1, len(POINTS))
    assert energy_p_value(one, two) > 1e-2
    assert energy_p_value(one, noise_only) < 1e-2


def energy_p_value(one, two):
    """With labels s = ±1 the energy distance of two samples of n is -s' D s / n², D the distances
    of all."""
    both = torch.cat((one, two))
    distance, generator = torch.cdist(both, both), torch.Generator().manual_seed(0)
    labels = torch.ones(301, len(both), dtype=torch.float64)
    labels[:, len(one) :] = -1
    for row in labels[1:]:
        row[:] = row[torch.randperm(len(both), generator=generator)]
    energy = -((labels @ distance) * labels).sum(dim=1)
    return float((energy >= energy[0]).sum() / 301)


def test_one_seed_has_one_set_of_scales_in_both_modes(adjacency):
    """Amplitudes and length scales of the features and of the exact draw are the same numbers."""
    exact = draw(GPCDE(exact=True, n_features=4), SEEDS, adjacency).parameters[0]
    drawn = draw(GPCDE(n_features=4), SEEDS, adjacency).parameters[0]  # one feature of each kernel
    torch.testing.assert_close(drawn["multiplier"], exact["length_scale"].reciprocal())
    torch.testing.assert_close(drawn["scale"], exact["amplitude"] * math.sqrt(2))


@pytest.mark.parametrize(("index", "s"), [(0.5, 0.7), (0.25, 2.0), (0.95, 1.0), (1.0, 0.3)])
def test_positive_stable_numbers_have_their_laplace_transform(index, s):
    """multiplier² / 2 = A with E exp(-A s) = exp(-s^index); at index 1/2, A is a Lévy variable."""
    u = randomness.uniforms([1], ("stable",), (2, 200_000)).view(1, -1)
    a = (
        multipliers("exponential_gamma", torch.ones(1), torch.tensor([2 * index]), u)[0]
        .double()
        .square()
        / 2
    )
    drawn = torch.exp(-a * s)
    assert abs(drawn.mean() - math.exp(-(s**index))) < 4.5 * drawn.std() / math.sqrt(len(a)) + 1e-6
    if index == 0.5:
        inner = a[a < 1e5].numpy()[:20_000]
        law = scipy.stats.levy(scale=0.5)
        assert scipy.stats.kstest(inner, lambda x: law.cdf(x) / law.cdf(1e5)).pvalue > 1e-6
        assert scipy.stats.kstest(1.1 * inner, lambda x: law.cdf(x) / law.cdf(1e5)).pvalue < 1e-6


def test_frequencies_stay_below_what_float32_resolves():
    u = randomness.uniforms([2], ("stable",), (2, 50_000)).view(1, -1)
    found = multipliers("exponential_gamma", torch.full((1,), 0.1), torch.tensor([0.1]), u)
    assert torch.isfinite(found).all()
    assert (found > 0).all()
    assert found.max() <= 3000.1


def test_row_noise_has_its_law_and_leaves_the_rest():
    """t z with t ~ Gamma(1, rate 10), z normal: mean absolute value and square in closed form, no
    correlation with the noise or its size."""
    noise = randomness.normals([3], ("noise",), (1, 200_000))[0]
    extra = gpcde._row_noise(noise, 10.0)[0].double()
    n = extra.numel()
    for found, expected in (
        (extra, 0.0),
        (extra.abs(), 0.1 * math.sqrt(2 / math.pi)),
        (extra.square(), 0.02),
    ):
        assert abs(found.mean() - expected) < 4.5 * found.std() / math.sqrt(n)
    assert not abs(extra.abs().mean() - 0.1) < 4.5 * extra.abs().std() / math.sqrt(n)
    for other in (
        noise[0].double(),
        noise[0].double().abs(),
        noise[0, torch.arange(-1, n - 1)].double(),
    ):
        for mine in (extra, extra.abs()):
            assert abs(np.corrcoef(mine.numpy(), other.numpy())[0, 1]) < 4.5 / math.sqrt(n)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kernels": ()}, "at least one kernel"),
        ({"kernels": ("matern",)}, "'rbf'"),
        ({"length_scale": constant(0.0)}, "above 0"),
        ({"gamma": FloatRange(low=0.5, high=2.5)}, "at most 2"),
        ({"amplitude": constant(-1.0)}, "at least 0"),
    ],
)
def test_nonsense_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        GPCDE(**settings)


@pytest.mark.parametrize(
    "config",
    [
        RFF(),
        RFF(heteroskedastic=True),
        RFF(length_scale=constant(1e-6)),
        GPCDE(),
        CONFIGS["roughest"],
    ],
)
def test_causes_at_the_bound_of_values_give_finite_effects(config):
    batch = draw(config, [1, 2], torch.triu(torch.ones(3, 3), 1).expand(2, 3, 3))
    parents = LARGEST * torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    assert torch.isfinite(batch.mechanism(0, 2)(parents, torch.zeros(3))).all()
