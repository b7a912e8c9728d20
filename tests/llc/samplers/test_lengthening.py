"""Chains whose number of draws is left open: their length, their draws, and when they give up."""

import dataclasses
import math

import numpy as np
import pytest

from causal_meta.conf import forms
from causal_meta.conf.samplers import (
    MOST_DRAWS,
    HMCConfig,
    MCLMCConfig,
    NUTSConfig,
    SGLDConfig,
    SGNHTConfig,
)
from causal_meta.conf.setting import ConfigError
from causal_meta.draws import Draws
from causal_meta.llc.estimates.estimators import estimate
from causal_meta.llc.landscapes.forms import form_landscape
from causal_meta.llc.landscapes.landscape import float_width
from causal_meta.llc.samplers import sample
from causal_meta.llc.samplers.langevin import Langevin, State, Tuning
from causal_meta.llc.samplers.lengthening import (
    LEAST_GROWTH,
    MOST_GROWTH,
    SPARE,
    further,
    times_longer,
)
from causal_meta.llc.samplers.prepared import prepare
from causal_meta.llc.samplers.stepping import Point

POWERS = form_landscape(forms.PowerSumConfig(exponents=(2, 4)), 10_000, 0)
QUICK = HMCConfig(warmup=100, leapfrogs=5)
SETTLED = {"llc_mean": 2.0, "llc_mcse": 0.03, "rhat": 1.0, "ess": 1000.0, "flags": []}


def independent_draws(length, relative_error, chains=4):
    """Independent draws λ̂ ~ Gamma with the mean 1, whose sample mean has about `relative_error`, as
    the record of a run."""
    shape = 1 / (relative_error**2 * chains * length)
    llc = np.random.default_rng(1).gamma(shape, 1 / shape, (chains, length))
    ones = np.ones((chains, length))
    return Draws(
        loss=llc,
        centre_loss=0.0,
        n_beta=1.0,
        gamma=1.0,
        distance=np.sqrt(llc),
        projection=np.zeros((chains, length, 0)),
        gradients=ones.cumsum(1),
    )


@pytest.mark.parametrize(
    ("change", "times"),
    [
        ({}, 1.0),
        ({"llc_mcse": 0.06}, 4.0),  # the square of the error goes as 1 / T
        ({"ess": 50.0}, 6.0),  # 200 raise no flag; half as many more are aimed at
        ({"rhat": 1.06}, 4.5),  # R-hat - 1 goes as 1 / T; 1.02 raises no flag
        ({"flags": ["law_violated"]}, 2.0),
        ({"flags": ["divergences"]}, 1.0),  # no length cures it
        ({"llc_mean": -2.0}, math.inf),
        ({"rhat": None}, math.inf),
    ],
)
def test_the_length_needed_follows_from_how_errors_fall_with_length(change, times):
    assert times_longer({**SETTLED, **change}, aim=0.015) == pytest.approx(times)


def test_a_run_grows_towards_its_forecast_in_bounded_parts():
    enough, little = independent_draws(1000, 0.01), independent_draws(1000, 0.02)
    assert further(enough, 0.015) == 0
    analysis = estimate(little, n=2, n_parameters=0)
    times = SPARE * (analysis["llc_mcse"] / (0.015 * analysis["llc_mean"])) ** 2
    assert LEAST_GROWTH < times < MOST_GROWTH
    assert further(little, 0.015) == int(1000 * times) - 1000
    assert further(independent_draws(1000, 0.05), 0.015) == 1000 * MOST_GROWTH - 1000
    assert further(independent_draws(MOST_DRAWS - 100, 0.02), 0.015) == 100


def test_a_run_gives_up_where_the_largest_length_is_too_short():
    # needs 1,111 times as many, where 16 times as many are allowed
    assert further(independent_draws(1000, 0.5), 0.015) == 0
    # 178 times as many, by an error that may be a rare excursion's
    assert further(independent_draws(1000, 0.2), 0.015) > 0
    assert further(independent_draws(MOST_DRAWS, 0.02), 0.015) == 0


@pytest.fixture(scope="module")
def grown(recorded):
    """A run that grew to its aim, with all that it saved, and the number of segments before it
    grew."""
    totals = []
    config = dataclasses.replace(QUICK, aim=0.01)
    run = recorded(POWERS, config, progress=lambda done, total: totals.append(total))
    assert totals[-1] > totals[0]
    return run, totals[0]


def test_an_open_number_of_draws_ends_at_the_aim_and_a_fixed_one_is_kept(grown):
    run, _ = grown
    draws = run.draws
    analysis = estimate(draws, n=10_000, n_parameters=2)
    assert draws.loss.shape[1] > HMCConfig.first_draws
    assert analysis["llc_mcse"] <= 0.01 * analysis["llc_mean"]
    exact = POWERS.expectation(draws.n_beta, 1.0)[0]
    assert abs(analysis["llc_mean"] - exact) < 4 * analysis["llc_error"]
    fixed = sample(POWERS, dataclasses.replace(run.config, draws=HMCConfig.first_draws))
    assert fixed.loss.shape == (4, HMCConfig.first_draws)
    # the longer run begins as the shorter one
    assert np.array_equal(fixed.loss, draws.loss[:, : HMCConfig.first_draws])


@pytest.mark.parametrize("place", ["first part", "its last segment", "further draws"])
def test_a_run_killed_anywhere_grows_to_the_same_draws(place, grown):
    run, first = grown
    stop = {"first part": first - 3, "its last segment": first, "further draws": first + 2}[place]
    again = run.resumed(stop)
    for name in ("loss", "distance", "gradients", "acceptance"):
        assert np.array_equal(getattr(again, name), getattr(run.draws, name)), name


def test_an_error_is_never_estimated_from_a_handful_of_draws():
    with pytest.raises(ConfigError, match="at least 10, or 0"):
        HMCConfig(draws=5)


@pytest.mark.usefixtures("long_runs")
@pytest.mark.parametrize("kind", ["hmc", "mclmc"])
def test_valleys_that_narrow_are_entered_and_divergences_there_are_no_flag(kind):
    """y = x w1 w2² with noise: valleys whose width falls as the square of the distance along them;
    4 errors are one false alarm in 8,000."""
    target = form_landscape(
        forms.MonomialRegressionConfig(powers=(1, 2), sample="noiseless"), 1000, 0
    )
    config = {"hmc": HMCConfig(seed=5), "mclmc": MCLMCConfig(seed=5)}[kind]
    draws = sample(target, config)
    analysis = estimate(draws, n=1000, n_parameters=2)
    exact = target.expectation(draws.n_beta, 1.0)[0]
    assert analysis["flags"] == []
    assert abs(analysis["llc_mean"] - exact) < 4 * analysis["llc_error"]
    assert analysis["llc_error"] < 0.03 * exact
    if kind == "hmc":
        assert draws.adapted["small_steps"] == 0.75


def test_a_diverged_chain_does_not_set_the_step_but_bounds_it():
    """The step is set for the curvature at 99 of 100 draws of the other chains, and stays below a
    quarter of the one after which a chain was not finite."""
    target = form_landscape(forms.NormalCrossingConfig(exponents=(2, 2)), 10_000, 0)
    config = SGLDConfig()
    with float_width("float64"):
        method = Langevin(prepare(target, config), config)
        point = Point(np.zeros((4, 2)), np.zeros(4), np.zeros((4, 2)))
        finite = State(np.zeros((4, 2)), point, *[np.zeros((4, 0))] * 4, np.zeros((4, 2)))
        lost = finite._replace(away=np.array([[0.0, 0.0]] * 3 + [[np.inf, 0.0]]))
        tuning = Tuning(np.array(0.5), np.array(np.inf), np.array(0.0))
        curvatures = np.ones((200, 4))
        curvatures[5, 0], curvatures[:, 3] = 1e6, 1e9
        window = {
            "check.curvature": curvatures,
            "excess": np.where(np.arange(4) == 3, np.nan, 1.0) * np.ones((200, 1)),
        }
        state, after = method.retune(lost, tuning, [window], 0.5)
        assert np.isfinite(state.away).all()
        # the curvatures of the others allow 0.5, after which a chain was not finite
        assert float(after.step) == float(after.most) == 0.5 / 4
        again = method.retune(
            finite,
            after._replace(step=np.array(0.01)),
            [window | {"excess": np.ones((200, 4))}],
            1.0,
        )[1]
        assert (float(again.step), float(again.most)) == (pytest.approx(0.5 / 1e9), 0.5 / 4)


def test_trees_take_small_steps_only_where_the_warm_up_diverged():
    config, valley = (
        NUTSConfig(warmup=200, draws=20),
        forms.NormalCrossingConfig(exponents=(2, 4, 2)),
    )
    assert sample(form_landscape(forms.QuadraticConfig(n_parameters=4), 1000, 0), config).adapted[
        "small_steps"
    ] == pytest.approx(0.1)
    assert sample(form_landscape(valley, 10_000, 0), config).adapted[
        "small_steps"
    ] == pytest.approx(0.75)


def test_curvature_is_measured_at_fixed_intervals_of_the_run_whatever_its_segments(study):
    target = form_landscape(forms.QuadraticConfig(n_parameters=4), 1000, 0)
    config = SGLDConfig(warmup=100, thin=2, draws=250, check_every=70)
    # the interval is an argument of the program
    with study.compiled_once({}):
        often = sample(target, config)
        once = sample(target, dataclasses.replace(config, check_every=250))
    # a measurement takes ten products of the Hessian and a gradient
    extra = (often.gradients[:, -1] - once.gradients[:, -1]) / 21
    due = [len(range(0, 250, every)) for every in (70, 250)]
    assert extra == pytest.approx(due[0] - due[1])


@pytest.mark.parametrize(
    "config",
    [
        SGNHTConfig(draws=200, warmup=1000, thin=5),
        SGLDConfig(draws=200, warmup=1000, thin=5, precond="rmsprop"),
    ],
)
def test_chains_that_a_first_step_makes_infinite_are_restarted_in_the_warm_up(config):
    """At w* of w1² w2⁴ w3² there is no curvature, so that the first step is far too large at a
    small distance; a step that was configured stays."""
    target = form_landscape(forms.NormalCrossingConfig(exponents=(2, 4, 2)), 10_000, 0)
    wild = dataclasses.replace(config, start_jitter=3.0)
    assert np.isfinite(sample(target, wild).loss).all()
    # a preconditioner that follows the chain would bound what a step can do
    if config.kind == "sgld":
        wild = dataclasses.replace(wild, precond="none")
    fixed = sample(
        target,
        dataclasses.replace(
            wild, step_rule="fixed", step_size=1.0 if config.kind == "sgnht" else 3.0
        ),
    )
    assert fixed.adapted["step_size"] >= 1.0
    assert "failed_chains" in estimate(fixed, n=10_000, n_parameters=3)["flags"]
