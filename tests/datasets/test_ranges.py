"""Numbers drawn from ranges have the stated laws (Kolmogorov and Smirnov at 1e-6)."""

import numpy as np
import pytest
import scipy.stats
import torch

from causal_meta import randomness
from causal_meta.conf.ranges import FloatRange, constant
from causal_meta.datasets.ranges import draw_floats

LAWS = {
    "uniform": (FloatRange(low=-1.0, high=2.0), scipy.stats.uniform(-1, 3)),
    "log_uniform": (
        FloatRange(low=0.1, high=5.0, law="log_uniform"),
        scipy.stats.loguniform(0.1, 5),
    ),
    "log_normal": (
        FloatRange(low=1e-6, high=1e6, law="log_normal", log_mean=-1.0, log_std=0.7),
        scipy.stats.lognorm(0.7, scale=np.exp(-1)),
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_the_stated_law(name):
    config, law = LAWS[name]
    seeds = randomness.seeds_of(0, "ranges", start=0, count=50)
    drawn = draw_floats(config, seeds, ("x",), (10, 8))
    assert drawn.shape == (50, 10, 8)
    assert scipy.stats.kstest(drawn.flatten().double().numpy(), law.cdf).pvalue > 1e-6
    assert scipy.stats.kstest(1.2 * drawn.flatten().double().numpy(), law.cdf).pvalue < 1e-6
    assert torch.equal(draw_floats(config, seeds[7:9], ("x",), (10, 8)), drawn[7:9])


def test_ends_are_kept_and_constants_are_constant():
    seeds = randomness.seeds_of(0, "ranges", start=0, count=20)
    clipped = draw_floats(
        FloatRange(low=0.1, high=5.0, law="log_normal", log_mean=-1.0), seeds, ("x",), (200,)
    )
    assert clipped.min() == pytest.approx(0.1)
    assert clipped.max() <= 5
    share, expected = (
        (clipped == clipped.min()).double().mean(),
        scipy.stats.norm.cdf(np.log(0.1) + 1),
    )
    assert abs(share - expected) < 4.5 * np.sqrt(expected / 4000)
    assert (draw_floats(constant(2.5), seeds, ("x",), (3,)) == 2.5).all()
