"""Limits of learning coefficients against exact values by quadrature, and their errors against
repeats."""

import json
import math

import numpy as np
import pytest

from causal_meta.cli import main
from causal_meta.conf.local_posterior import LocalPosteriorConfig
from causal_meta.conf.samplers import HMCConfig, SGLDConfig
from causal_meta.llc.estimates.extrapolation import over_temperatures, to_no_localisation, to_zero
from causal_meta.llc.exact.quadrature import gaussian, normal_crossing, power_sum
from causal_meta.runners.build import make
from causal_meta.runners.llc.limits import fit, sweeps

N_BETA = 10_000 / math.log(10_000)
GAMMAS = (0.5, 1.0, 2.0, 4.0, 8.0)


@pytest.mark.parametrize("exponents", [(2,), (4,), (2, 4), (6, 4)], ids=str)
@pytest.mark.parametrize("share", [1e-5, 0.01], ids=["exact", "noisy"])
def test_the_limit_without_localisation_is_lambda_on_power_sums(exponents, share):
    rng = np.random.default_rng(1)
    means = np.array([power_sum(exponents, N_BETA, gamma).value for gamma in GAMMAS])
    target, scores = power_sum(exponents, N_BETA, 0.0).value, []
    for _ in range(60):
        limit = to_no_localisation(
            GAMMAS, means * (1 + share * rng.standard_normal(5)), share * means
        )
        scores.append((limit.value - target) / limit.error)
        assert abs(limit.value / target - 1) < (1e-3 if share < 1e-3 else 0.1)
    assert abs(np.mean(scores)) < 1.0  # the error covers the misfit of the polynomial
    assert np.std(scores) < 1.5


def test_regular_models_are_extrapolated_too():
    h = np.geomspace(1, 0.1, 10)
    values = [gaussian(h, 145.0, gamma).value for gamma in (0.25, 0.5, 1.0, 2.0)]
    limit = to_no_localisation((0.25, 0.5, 1.0, 2.0), values, [1e-3] * 4)
    assert abs(limit.value - 5.0) < 4 * limit.error


def test_a_crossing_needs_its_multiplicity():
    gammas = (0.01, 0.1, 1.0, 10.0)
    values = [normal_crossing([2, 2], N_BETA, gamma).value for gamma in gammas]
    right = to_no_localisation(gammas, values, [0.004] * 4, multiplicity=2)
    assert abs(right.value - 0.5) < 2 * right.error
    wrong = to_no_localisation(gammas, values, [0.004] * 4)
    assert wrong.value < 0.5 - 5 * wrong.error


def test_a_wrong_centre_does_no_harm_over_temperatures():
    """L_0 above the minimum by 1e-3 shifts λ̂ by -nβ / 1000: the slope of the loss in 1 / nβ is
    still λ."""
    n_betas = np.array([200.0, 500.0, 1000.0, 2000.0])
    values = (
        np.array([gaussian(np.ones(6), n_beta, 0.0).value for n_beta in n_betas]) - n_betas * 1e-3
    )
    limit = over_temperatures(n_betas, values, [0.01] * 4)
    assert limit.value == pytest.approx(3.0, abs=1e-9)
    assert limit.coefficients[1] == pytest.approx(-1e-3)
    plain = over_temperatures(n_betas, values, [0.01] * 4, offset=False)
    assert plain.p_value < 1e-6
    localised = [gaussian(np.ones(6), n_beta, 5.0).value for n_beta in n_betas]
    assert over_temperatures(n_betas, localised, [1e-3] * 4, gamma=5.0).value == pytest.approx(
        3.0, abs=2e-3
    )


def test_multiplicity_enters_as_a_known_term():
    n_betas = np.array([1e3, 1e5, 1e7])
    values = 0.5 - 1 / np.log(n_betas)
    limit = over_temperatures(n_betas, values, [0.01] * 3, multiplicity=2, offset=False)
    assert limit.value == pytest.approx(0.5)
    np.testing.assert_allclose(limit.curve, values)


def test_errors_of_a_limit_are_those_of_repeats():
    rng, x = np.random.default_rng(2), np.array([1.0, 2.0, 4.0, 8.0])
    limits = [
        to_zero(x, 1 - 0.01 * x + 0.02 * rng.standard_normal(4), [0.02] * 4, degree=1)
        for _ in range(400)
    ]
    scores = np.array([(one.value - 1) / one.error for one in limits])
    assert abs(scores.mean()) < 4 / 20
    assert np.mean([one.value for one in limits]) == pytest.approx(
        1, abs=4 * np.std([one.value for one in limits]) / 20
    )
    assert 0.7 < scores.std() < 1.1  # errors are enlarged by chance misfits, never made smaller


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: to_zero([1, 1], [1, 2], [1, 1]), "two different points"),
        (lambda: to_zero([1, 2], [1, 2], [1, 0]), "error above 0"),
        (lambda: to_zero([1, 2], [1, math.nan], [1, 1]), "finite value"),
        (lambda: to_zero([1, 2], [1, 2, 3], [1, 1]), "as many"),
        (lambda: to_zero([1, 2], [1, 2], [1, 1], degree=2), "degree 2"),
        (lambda: to_no_localisation([1, 2], [1, 2], [1, 1], multiplicity=2), "three or more"),
        (lambda: to_no_localisation([1, 2], [1, 2], [1, 1], multiplicity=0), "multiplicity of 0"),
        (lambda: over_temperatures([0.5, 2], [1, 2], [1, 1]), "above 1"),
        (lambda: over_temperatures([5, 20], [1, 2], [1, 1], gamma=1.0), "unknowns"),
    ],
)
def test_invalid_extrapolations_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# -------------------------------------------------------------------------------- runs in the store


def localised(made_up):
    """Draws of a Gaussian posterior of unit curvature at nβ = 100 and the γ of the
    configuration."""

    def sample(landscape, config, checkpoint, progress):
        gamma = config.posterior.gamma
        draws = made_up(chains=config.chains, length=4000, seed=config.seed)
        narrower = 101 / (100 + gamma)
        loss = 0.25 + (draws.loss - 0.25) * narrower
        return made_up(
            chains=config.chains,
            length=4000,
            seed=config.seed,
            loss=loss,
            gamma=gamma,
            distance=draws.distance * math.sqrt(narrower),
        )

    return sample


@pytest.fixture(autouse=True)
def _no_pictures_of_runs(monkeypatch):
    """Pictures are tested elsewhere."""
    monkeypatch.setattr("causal_meta.cli.making._pictures", lambda *arguments: [])


@pytest.fixture
def swept(llc_store, made_up_target, made_up_sampler, made_up):
    """Three runs that differ in γ, one of other settings."""
    made_up_sampler(localised(made_up))
    for seed, gamma in enumerate((5.0, 20.0, 10.0)):
        make(
            llc_store,
            HMCConfig(seed=seed, posterior=LocalPosteriorConfig(gamma=gamma)),
            {"of": made_up_target},
        )
    make(llc_store, HMCConfig(draws=3000), {"of": made_up_target})
    return llc_store, made_up_target


def test_runs_that_differ_in_gamma_alone_are_extrapolated(swept):
    store, target = swept
    (sweep,) = sweeps(store.runs_of(target), "gamma")
    assert [point.at for point in sweep.points] == [5.0, 10.0, 20.0]
    limit = fit(sweep)
    assert abs(limit.value - 3.0) < 4 * limit.error
    assert not sweeps(store.runs_of(target), "step")


def test_the_command_prints_the_limit_and_draws_it(swept, capsys):
    _, target = swept
    assert main(["llc", "extrapolate", "of=made_up", "by=gamma"]) == 0
    message = capsys.readouterr().out
    assert "limit: λ = " in message
    assert "exact: λ = 3" in message
    assert (target.folder / "figures" / "llc_by_gamma.png").stat().st_size > 5000


def test_the_command_makes_the_runs_that_are_missing(swept, capsys):
    store, target = swept
    before = len(store.runs_of(target))
    assert (
        main(
            [
                "llc",
                "extrapolate",
                "of=made_up",
                "by=gamma",
                "sampler=nuts",
                "values=1,4,16",
                "--quiet",
            ]
        )
        == 0
    )
    assert len(store.runs_of(target)) == before + 3
    assert (
        main(
            [
                "llc",
                "extrapolate",
                "of=made_up",
                "by=gamma",
                "sampler=nuts",
                "values=4,16,1",
                "--quiet",
            ]
        )
        == 0
    )
    assert len(store.runs_of(target)) == before + 3
    assert "limit: λ = " in capsys.readouterr().out


def test_flagged_runs_are_shown_and_left_out(swept, capsys):
    store, target = swept
    run = next(run for run in store.runs_of(target) if run.config.posterior.gamma == 20.0)
    path = run.folder / "analysis.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"flags": ["divergences"], "llc_mean": 7.0})
    )
    (sweep,) = sweeps(store.runs_of(target), "gamma")
    assert [point.left_out for point in sweep.points] == [(), (), ("divergences",)]
    assert main(["llc", "extrapolate", "of=made_up", "by=gamma"]) == 0
    assert "divergences" in capsys.readouterr().out


def test_step_sizes_are_extrapolated_by_plain_means(
    llc_store, made_up_target, made_up_sampler, made_up
):
    """Variances too large by 1 / (1 - εh/4): the limit of λ̂ is 3 · 100/101."""

    def stepped(landscape, config, checkpoint, progress):
        draws = made_up(chains=4, length=4000, seed=config.seed)
        loss = 0.25 + (draws.loss - 0.25) / (1 - config.step_fraction / 4)
        return made_up(
            chains=4,
            length=4000,
            seed=config.seed,
            loss=loss,
            acceptance=None,
            adapted={"step_size": [config.step_fraction / 101] * 4},
        )

    made_up_sampler(stepped)
    for seed, share in enumerate((0.1, 0.2, 0.4)):
        make(llc_store, SGLDConfig(step_fraction=share, seed=seed), {"of": made_up_target})
    (sweep,) = sweeps(llc_store.runs_of(made_up_target), "step")
    limit = fit(sweep)
    assert abs(limit.value - 300 / 101) < 4 * limit.error
    assert sweep.points[-1].value > 3.1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["by=gamma"], "of"),
        (["of=made_up", "by=delta"], "gamma, beta, step"),
        (["of=made_up", "by=beta"], "No two runs"),
        (["of=made_up", "draws=100"], "values="),
        (["of=made_up", "multiplicity=0"], "1 or more"),
        (["of=made_up", "sampler=boss", "values=1,2"], "boss"),
    ],
)
def test_mistakes_are_one_sentence(made_up_target, capsys, words, message):
    assert main(["llc", "extrapolate", *words]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
