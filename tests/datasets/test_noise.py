"""Noise laws: the stated law, mean 0 and variance 1 wherever they exist, independent over rows,
variables and tasks.

Bounds are 5 standard errors, or Kolmogorov and Smirnov at 1e-6; about 60 of them, false alarms
below 1e-4 per change of the seeds.
"""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from causal_meta import randomness
from causal_meta.conf.noise_laws import (
    CauchyNoise,
    GaussianNoise,
    GumbelNoise,
    LaplaceNoise,
    NoiseMixture,
    NoisePart,
    StudentTNoise,
    UniformNoise,
)
from causal_meta.conf.setting import ConfigError
from causal_meta.datasets.noise import make_noise

SEEDS = randomness.seeds_of(0, "noise tests", start=0, count=300)
BOTH = NoiseMixture(
    parts={"g": NoisePart(noise=GaussianNoise()), "l": NoisePart(weight=3.0, noise=LaplaceNoise())}
)
LAWS = {
    "gaussian": GaussianNoise(),
    "laplace": LaplaceNoise(),
    "uniform": UniformNoise(),
    "student_t": StudentTNoise(df=3.0),
    "many_df": StudentTNoise(df=20.0),
    "gumbel": GumbelNoise(),
    "cauchy": CauchyNoise(),
    "mixture": BOTH,
}
FOURTH = {
    "gaussian": 3.0,
    "laplace": 6.0,
    "mixture": 0.25 * 3 + 0.75 * 6,
    "uniform": 9 / 5,
    "gumbel": 3 + 12 / 5,
    "many_df": 3 + 6 / 16,
}
SCALE_OF_GUMBEL = math.sqrt(6) / math.pi
TRUTH = {
    "gaussian": scipy.stats.norm(),
    "laplace": scipy.stats.laplace(scale=math.sqrt(0.5)),
    "uniform": scipy.stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)),
    "student_t": scipy.stats.t(3, scale=math.sqrt(1 / 3)),
    "many_df": scipy.stats.t(20, scale=math.sqrt(18 / 20)),
    "gumbel": scipy.stats.gumbel_r(-np.euler_gamma * SCALE_OF_GUMBEL, SCALE_OF_GUMBEL),
    "cauchy": scipy.stats.cauchy(),
}


@pytest.mark.parametrize("name", FOURTH)
def test_mean_variance_and_fourth_moment(name):
    """Of the laws that have them."""
    e = make_noise(LAWS[name]).sample(SEEDS, 100, 10).double()

    def fits(e):
        n = e.numel()
        # one value per task, whose spread holds that of the mixture
        fourth = (e**4).mean(dim=(1, 2))
        return bool(
            abs(e.mean()) < 5 / math.sqrt(n)
            and abs((e**2).mean() - 1) < 5 * math.sqrt((FOURTH[name] - 1) / n)
            and abs(fourth.mean() - FOURTH[name]) < 5 * fourth.std() / math.sqrt(len(SEEDS))
        )

    assert fits(e)
    assert not fits(e * 1.02)
    assert not fits(e + 0.02)


@pytest.mark.parametrize("name", LAWS)
class TestEveryLaw:
    def test_rows_variables_and_tasks_are_uncorrelated(self, name):
        # of bounded functions, for the laws without moments
        e = make_noise(LAWS[name]).sample(SEEDS, 40, 5).double().flatten(1).clamp(-3, 3)
        coefficients = torch.corrcoef(e.mT).fill_diagonal_(0)
        assert coefficients.abs().max() < 6.5 / math.sqrt(len(SEEDS))  # 19,900 coefficients

    def test_a_task_depends_on_its_seed_alone(self, name):
        law = make_noise(LAWS[name])
        together = law.sample(SEEDS[:20], 30, 4)
        for b, seed in enumerate(SEEDS[:20]):
            assert torch.equal(law.sample([seed], 30, 4)[0], together[b])
            assert torch.equal(law.law_of(seed).sample([seed], 30, 4)[0], together[b])

    def test_more_rows_begin_with_the_same_rows(self, name):
        law = make_noise(LAWS[name])
        assert torch.equal(law.sample(SEEDS[:20], 55, 3)[:, :20], law.sample(SEEDS[:20], 20, 3))

    def test_the_rows_of_other_names_are_others(self, name):
        law = make_noise(LAWS[name])
        rows, others = (
            law.sample(SEEDS[:50], 100, 3),
            law.sample(SEEDS[:50], 100, 3, ("reference",)),
        )
        assert abs(
            torch.corrcoef(
                torch.stack([rows.clamp(-3, 3).flatten(), others.clamp(-3, 3).flatten()])
            )[0, 1]
        ) < 5 / math.sqrt(15_000)
        assert torch.equal(
            others[7], law.law_of(SEEDS[7]).sample([SEEDS[7]], 100, 3, ("reference",))[0]
        ), "a mixture keeps its part"


@pytest.mark.parametrize("name", TRUTH)
class TestEveryNamedLaw:
    def test_the_shape(self, name):
        """Kolmogorov and Smirnov at 1e-6, the other laws' numbers refused, and both tails at one in
        a thousand."""
        values = {
            other: make_noise(LAWS[other])
            .sample(SEEDS, 100, 5)
            .flatten()
            .double()
            .clamp(-500, 500)
            .numpy()
            for other in TRUTH
        }
        for other in TRUTH:
            if {name, other} != {"gaussian", "many_df"}:  # which differ by as little as 0.007
                assert (scipy.stats.kstest(values[other], TRUTH[name].cdf).pvalue > 1e-6) == (
                    other == name
                ), other
        for tail in (values[name] < TRUTH[name].ppf(1e-3), values[name] > TRUTH[name].isf(1e-3)):
            assert abs(tail.sum() - 150) < 5 * math.sqrt(150)

    def test_the_density(self, name):
        e = torch.cat(
            [
                torch.linspace(-1.7, 1.7, 35),
                make_noise(LAWS[name]).sample(SEEDS[:1], 50, 2).flatten(),
                torch.tensor([-6.0, 9.0]),
            ]
        )
        density = make_noise(LAWS[name]).log_prob(e).double().numpy()
        np.testing.assert_allclose(
            density, TRUTH[name].logpdf(e.double().numpy()), rtol=3e-6, atol=3e-6
        )
        np.testing.assert_allclose(
            make_noise(LAWS[name]).log_prob(e[None, :, None])[0, :, 0], density
        )


def test_the_density_of_a_mixture_is_that_of_one_number():
    e = torch.linspace(-4, 4, 33, dtype=torch.float64)
    expected = np.log(
        0.25 * TRUTH["gaussian"].pdf(e.numpy()) + 0.75 * TRUTH["laplace"].pdf(e.numpy())
    )
    np.testing.assert_allclose(make_noise(BOTH).log_prob(e).numpy(), expected, rtol=1e-10)


def test_heavy_tails_reach_far_and_stay_finite():
    """A million Cauchy numbers: the largest is of the order of a million times 2 / pi, and none is
    infinite."""
    e = make_noise(CauchyNoise()).sample(SEEDS[:100], 1000, 10).double()
    assert torch.isfinite(e).all()
    assert 1e5 < e.abs().max() < 1e9  # outside with probability 0.002 and 0.0006
    assert abs((e.abs() < 1).double().mean() - 0.5) < 5 * 0.5 / 1000


def test_degrees_of_freedom_without_a_variance_are_refused():
    for df in (2.0, 0.5, -1.0):
        with pytest.raises(ConfigError, match="above 2"):
            StudentTNoise(df=df)


def test_a_mixture_holds_for_a_whole_task():
    law = make_noise(BOTH)
    laplace = torch.tensor([law.law_of(seed).config.kind == "laplace" for seed in SEEDS])
    assert abs(laplace.double().mean() - 0.75) < 5 * math.sqrt(0.75 * 0.25 / len(SEEDS))
    fourth = (law.sample(SEEDS, 2000, 3).double() ** 4).mean(dim=(1, 2))
    assert fourth[laplace].mean() > 5
    assert fourth[~laplace].max() < 4.5
