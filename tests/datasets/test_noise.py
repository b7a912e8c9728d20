"""Noise laws: mean 0 and variance 1 whatever the law, independent over rows, variables and tasks.

Bounds are 5 standard errors; about 20 of them, false alarms below 2e-5 per change of the seeds.
"""

import math

import pytest
import scipy.stats
import torch

from causal_meta import randomness
from causal_meta.conf.noise_laws import GaussianNoise, LaplaceNoise, NoiseMixture, NoisePart
from causal_meta.datasets.noise import make_noise

SEEDS = randomness.seeds_of(0, "noise tests", start=0, count=300)
BOTH = NoiseMixture(parts={"g": NoisePart(noise=GaussianNoise()), "l": NoisePart(weight=3.0, noise=LaplaceNoise())})
LAWS = {"gaussian": GaussianNoise(), "laplace": LaplaceNoise(), "mixture": BOTH}
FOURTH = {"gaussian": 3.0, "laplace": 6.0, "mixture": 0.25 * 3 + 0.75 * 6}


@pytest.mark.parametrize("name", LAWS)
class TestEveryLaw:
    def test_mean_variance_and_fourth_moment(self, name):
        e = make_noise(LAWS[name]).sample(SEEDS, 100, 10).double()

        def fits(e):
            n = e.numel()
            fourth = (e**4).mean(dim=(1, 2))  # one value per task, whose spread holds that of the mixture
            return bool(
                abs(e.mean()) < 5 / math.sqrt(n)
                and abs((e**2).mean() - 1) < 5 * math.sqrt((FOURTH[name] - 1) / n)
                and abs(fourth.mean() - FOURTH[name]) < 5 * fourth.std() / math.sqrt(len(SEEDS))
            )

        assert fits(e)
        assert not fits(e * 1.02)
        assert not fits(e + 0.02)

    def test_rows_variables_and_tasks_are_uncorrelated(self, name):
        e = make_noise(LAWS[name]).sample(SEEDS, 40, 5).double().flatten(1)
        coefficients = torch.corrcoef(e.mT).fill_diagonal_(0)
        assert coefficients.abs().max() < 6.5 / math.sqrt(len(SEEDS))  # 19,900 of them

    def test_a_task_depends_on_its_seed_alone(self, name):
        law = make_noise(LAWS[name])
        together = law.sample(SEEDS[:20], 30, 4)
        for b, seed in enumerate(SEEDS[:20]):
            assert torch.equal(law.sample([seed], 30, 4)[0], together[b])
            assert torch.equal(law.law_of(seed).sample([seed], 30, 4)[0], together[b])

    def test_more_rows_begin_with_the_same_rows(self, name):
        law = make_noise(LAWS[name])
        assert torch.equal(law.sample(SEEDS[:20], 55, 3)[:, :20], law.sample(SEEDS[:20], 20, 3))


def test_the_shapes_of_the_two_laws():
    """Kolmogorov and Smirnov at 1e-6; each law refuses the other's numbers."""
    laws = {"gaussian": scipy.stats.norm().cdf, "laplace": scipy.stats.laplace(scale=math.sqrt(0.5)).cdf}
    for name in laws:
        values = make_noise(LAWS[name]).sample(SEEDS, 50, 5).flatten().double().numpy()
        for other, cdf in laws.items():
            assert (scipy.stats.kstest(values, cdf).pvalue > 1e-6) == (other == name)


def test_a_mixture_holds_for_a_whole_task():
    law = make_noise(BOTH)
    laplace = torch.tensor([law.law_of(seed).config.kind == "laplace" for seed in SEEDS])
    assert abs(laplace.double().mean() - 0.75) < 5 * math.sqrt(0.75 * 0.25 / len(SEEDS))
    fourth = (law.sample(SEEDS, 2000, 3).double() ** 4).mean(dim=(1, 2))
    assert fourth[laplace].mean() > 5
    assert fourth[~laplace].max() < 4.5
