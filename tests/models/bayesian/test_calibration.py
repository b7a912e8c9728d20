"""Laws of calibration: the rank of the true graph among draws from the exact posterior is uniform
when graph and table come from the prior of the score (Cook, Gelman and Rubin 2006; Talts et al.
2018), and is not when the posterior is too narrow or too wide.

Ranks among 99 draws in 20 bins, chi-square; seeds are fixed, and a correct posterior would fail
each test with probability 1e-3 under another seed (Bonferroni over four statistics).
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

_SPEC = importlib.util.spec_from_file_location(
    "calibration", Path(__file__).parents[3] / "benchmarks" / "calibration.py"
)
assert _SPEC is not None
assert _SPEC.loader is not None
calibration = importlib.util.module_from_spec(_SPEC)
sys.modules["calibration"] = calibration  # its data classes look their module up
_SPEC.loader.exec_module(calibration)

ALARMS = 1e-3


def smallest(count, **setting):
    """The smallest p-value of the statistics, times their number."""
    ranks, _, _ = calibration.replications(calibration.Setting(**setting), count, seed=1)
    return len(ranks.T) * calibration.uniformity(ranks).min()


def test_the_linear_posterior_of_five_variables_is_calibrated():
    assert smallest(100, member="linear", n_nodes=5, n_rows=50) > ALARMS


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_a_posterior_that_is_too_wide_or_too_narrow_is_not(power):
    """At power 1/2 or 2 of the likelihood."""
    p = smallest(160, member="linear", n_nodes=4, n_rows=100, power=power, penalty=0.0)
    assert p > ALARMS if power == 1 else p < ALARMS / 10


def test_the_additive_posterior_with_products_is_calibrated():
    assert smallest(80, member="additive", n_nodes=3, n_rows=30, penalty=-1.0) > ALARMS


def test_edge_probabilities_are_frequencies():
    """A statement of 0.5 of an edge is true half of the time; of a sharpened one it is not."""
    errors = {}
    for power in (1.0, 4.0):
        setting = calibration.Setting(n_nodes=4, n_rows=30, power=power, penalty=0.0)
        _, probabilities, truths = calibration.replications(setting, 100, seed=2)
        errors[power] = calibration.calibration_error(probabilities, truths)
    assert errors[1.0] < 0.05 < errors[4.0]


def test_noise_of_every_class_has_mean_0_and_variance_1(every):
    """Within 5 standard errors; heavy tails have none for their variance."""
    n_rows = 20_000

    def check(kind):
        z = calibration.drawn_noise(*kind, n_rows, np.random.default_rng(3))
        assert abs(z.mean()) < 5 / np.sqrt(n_rows)
        if kind[0] != "student":
            assert abs((z**2).mean() - 1) < 5 * (z**2).std() / np.sqrt(n_rows)

    every(check, {f"{name} {free}": (name, free) for name, free in calibration.CLASSES})
