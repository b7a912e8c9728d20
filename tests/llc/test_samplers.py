"""Samplers against exact finite-n expectations, closed-form biases and work counted by hand.

Bounds are in Monte Carlo standard errors of fixed seeds: 4.5 of them on each of about 20
statistical tests, so that the suite gives a false alarm for one in some 7,000 choices of seeds.
Runs are shared between tests, as compiling takes most of their time.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from causal_meta.conf import forms
from causal_meta.conf.local_posterior import LocalPosteriorConfig
from causal_meta.conf.samplers import (
    HMCConfig,
    MCLMCConfig,
    NUTSConfig,
    SGLDConfig,
    SGNHTConfig,
    VIConfig,
)
from causal_meta.conf.setting import ConfigError
from causal_meta.llc.estimates import diagnostics
from causal_meta.llc.estimates.estimators import estimate
from causal_meta.llc.landscapes.forms import form_landscape
from causal_meta.llc.landscapes.landscape import Landscape, float_width
from causal_meta.llc.landscapes.local_posterior import tempered_rows
from causal_meta.llc.samplers import chains, masked, sample
from causal_meta.llc.samplers.langevin import Langevin
from causal_meta.llc.samplers.mixture import Dense, Mixture, tempered
from causal_meta.llc.samplers.prepared import full_loss

QUARTIC = forms.PowerSumConfig(exponents=(2, 4))
CROSS = forms.NormalCrossingConfig(exponents=(2, 2))
REGRESSION = forms.LinearRegressionConfig(n_parameters=10)
ROWS = {QUARTIC: 10_000, CROSS: 10_000, REGRESSION: 200}
ROUND = forms.QuadraticConfig(n_parameters=8)
SHARP = 4.5  # standard errors


@functools.cache
def landscape(form, n=None):
    return form_landscape(form, n or ROWS.get(form, 1000), 0)


@functools.cache
def run(form, config):
    return sample(landscape(form), config)


def analysed(form, config):
    target = landscape(form)
    return estimate(run(form, config), n=target.n, n_parameters=target.n_parameters)


def exact(form, gamma=1.0):
    target = landscape(form)
    return target.expectation(tempered_rows(target.n), gamma).value


def score(draws, value):
    """Standard errors between the mean of the draws and a value."""
    return (draws.llc.mean() - value) / diagnostics.mcse(draws.llc)


def complaints(analysis, value):
    """All that speaks against a run: its flags, and an estimate further than `SHARP` standard
    errors from the exact value."""
    z = (analysis["llc_mean"] - value) / analysis["llc_error"]
    return [*analysis["flags"], *([f"z = {z:.1f}"] if abs(z) > SHARP else [])]


DEFAULTS = {
    "hmc": HMCConfig(),
    "nuts": NUTSConfig(),
    "mclmc": MCLMCConfig(),
    "adjusted": MCLMCConfig(adjusted=True),
    "sgld": SGLDConfig(),
    "sgnht": SGNHTConfig(),
    "vi": VIConfig(),
}


@pytest.mark.parametrize("name", ["hmc", "nuts", "adjusted", "sgnht", "vi"])
def test_defaults_give_the_exact_value_of_a_singular_target_without_flags(name):
    """K = w1² + w2⁴ at n = 10,000: .7473, not λ = .75 (the table of the reference says .4998 +
    .2475). A value 20 % away is rejected for the same run.

    The other samplers: `test_calibration.py`, at three seeds each.
    """
    analysis, value = analysed(QUARTIC, DEFAULTS[name]), exact(QUARTIC)
    assert value == pytest.approx(0.7473, abs=1e-4)
    assert complaints(analysis, value) == []
    assert complaints(analysis, 1.2 * value)


@pytest.mark.parametrize("name", ["hmc", "mclmc", "sgld"])
def test_defaults_give_the_exact_value_with_data_without_flags(name, request):
    """Regression with 10 parameters and 200 rows. The plain mean too where the step is no bias."""
    if name == "sgld":
        request.getfixturevalue("long_runs")
    analysis, value = analysed(REGRESSION, DEFAULTS[name]), exact(REGRESSION)
    assert complaints(analysis, value) == []
    assert complaints(analysis, 1.2 * value)
    if name == "hmc":
        assert abs(score(run(REGRESSION, DEFAULTS[name]), value)) < SHARP


def test_a_crossing_of_valleys_is_sampled_right():
    """(w1 w2)² at n = 10,000: .3912, far from λ = .5; a narrow cross, in which trajectories of one
    step get stuck."""
    draws = run(CROSS, DEFAULTS["mclmc"])
    assert exact(CROSS) == pytest.approx(0.3912, abs=1e-4)
    assert abs(score(draws, exact(CROSS))) < SHARP
    assert diagnostics.rhat(draws.distance) < 1.1


def test_rotated_and_stretched_coordinates_change_nothing():
    """A quadratic of condition number 1000 in a random frame: λ̂ depends on the eigenvalues alone,
    and low-rank whitening finds the frame."""
    form = forms.QuadraticConfig(n_parameters=6, condition_number=1000.0, rotated=True)
    draws = run(form, HMCConfig(mass="low_rank"))
    assert abs(score(draws, exact(form))) < SHARP
    assert draws.adapted["metric_directions"] >= 4
    assert diagnostics.ess_bulk(draws.llc) > 1000


# ---------------------------------------------------------------------------- steps that are a bias


BIG_STEP = SGLDConfig(noise="independent", step_fraction=1.0, thin=10, warmup=2000, draws=2000)


def test_the_step_inflates_a_quadratic_by_its_closed_form():
    """1 / (1 - εh/4) with εh = 1 in all directions: a third too much, which 4.5 standard errors
    reject and the estimate flags as a bias of the step."""
    draws = run(ROUND, BIG_STEP)
    assert draws.adapted["step_size"] * draws.adapted["curvature"] == pytest.approx(1.0, rel=1e-6)
    assert abs(score(draws, exact(ROUND) / (1 - 1 / 4))) < SHARP
    assert score(draws, exact(ROUND)) > 20
    without_virial = dataclasses.replace(draws, virial=None, virial_sizes=())
    analysis = estimate(without_virial, n=1000, n_parameters=8)
    assert "step_size_bias" in complaints(analysis, exact(ROUND))
    assert np.mean(draws.statistics["corrected_acceptance"]) < 0.9


@pytest.mark.parametrize("precond", ["none", "rmsprop"])
def test_averaged_noise_is_exact_on_a_quadratic_at_every_stable_step(precond):
    """εh = 2, where independent noise doubles the stiffest variance (Leimkuhler and Matthews 2013):
    the mean loss is the exact one."""
    config = dataclasses.replace(
        BIG_STEP, noise="averaged", step_fraction=2.0, precond=precond, draws=1000
    )
    draws = run(ROUND, config)
    assert abs(score(draws, exact(ROUND))) < SHARP
    assert draws.adapted["step_order"] == 2
    independent = run(ROUND, dataclasses.replace(config, noise="independent"))
    assert abs(score(independent, exact(ROUND))) > SHARP


def test_the_order_of_the_bias_decides_on_the_step():
    """Of order ε² with averaged noise alone: not with minibatches, Adam's drift, or a
    preconditioner that follows the chain."""
    first = [SGLDConfig(noise="independent"), SGLDConfig(batch_size=5), SGLDConfig(precond="adam")]
    first.append(SGLDConfig(precond="rmsprop", precond_until="always"))
    assert [(config.step_order, config.fraction) for config in first] == [(1, 0.05)] * 4
    default = SGLDConfig()
    assert (default.step_order, default.fraction) == (2, 0.5)
    assert SGLDConfig(precond="rmsprop").step_order == 2
    assert SGLDConfig(step_fraction=0.3).fraction == 0.3


@pytest.mark.usefixtures("long_runs")
def test_the_bias_of_microcanonical_steps_that_are_too_large_is_estimated():
    draws = run(ROUND, MCLMCConfig(energy_variance=0.05, draws=2000))
    assert score(draws, exact(ROUND)) < -10
    assert estimate(draws, n=1000, n_parameters=8)["bias_estimate"] < 0


@pytest.mark.usefixtures("long_runs")
def test_the_divergence_term_makes_a_moving_preconditioner_right():
    """K = Σ w_i⁴: RMSProp that follows the chain samples another law (over twice λ̂), with its
    divergence term the stated one."""
    form = forms.PowerSumConfig(exponents=(4,) * 6)
    base = SGLDConfig(
        precond="rmsprop",
        precond_until="always",
        floor=1.0,
        b2=0.9,
        step_fraction=0.02,
        warmup=10_000,
        draws=250,
        thin=400,
        chains=8,
    )
    right = run(form, dataclasses.replace(base, divergence_correction=True))
    assert abs(score(right, exact(form))) < SHARP
    wrong = run(form, dataclasses.replace(base, draws=30))
    assert wrong.llc.mean() - SHARP * diagnostics.mcse(wrong.llc) > 1.5 * exact(form)


@pytest.mark.usefixtures("long_runs")
def test_constant_preconditioners_give_the_stated_law():
    """A value 20 % away is rejected for the same run."""
    form = forms.LinearRegressionConfig(n_parameters=4, condition_number=100.0)
    config = SGLDConfig(precond="rmsprop", step_fraction=0.02, thin=60, warmup=5000, draws=1000)
    draws = run(form, config)
    assert abs(score(draws, exact(form))) < SHARP
    assert abs(score(draws, 1.2 * exact(form))) > SHARP


def test_a_constant_preconditioner_averages_over_the_warm_up(monkeypatch):
    """K = Σ w_i⁴: the same v for all chains, and nearly so for parameters that are alike, whose
    squared gradients at one time differ tenfold."""
    states = []

    def recorded(self, state, *rest, method=Langevin.retune):
        state, tuning = method(self, state, *rest)
        states.append((state.square, float(tuning.still)))
        return state, tuning

    monkeypatch.setattr(Langevin, "retune", recorded)
    sample(
        landscape(forms.PowerSumConfig(exponents=(4,) * 6)),
        SGLDConfig(precond="rmsprop", draws=10, warmup=20_000),
    )
    squares = np.stack([square for square, still in states if not still])
    last, _ = states[-1]
    assert np.ptp(np.log(squares), axis=2).mean() > 2
    assert np.ptp(np.log(last), axis=1).max() < 0.7
    assert np.ptp(last, axis=0).max() == 0
    assert [still for _, still in states] == [0, 0, 0, 0, 1, 2, 3, 4, 5, 6]


def test_minibatches_heat_langevin_and_the_thermostat_cools():
    """Gradients of 4 rows make SGLD hotter by (ε/4) (nβ)² Var(g_b), 16 times over; SGNHT removes
    the heat of 20 rows by friction."""
    rows, n = np.random.default_rng(0).standard_normal((1000, 4)) * 3, 1000
    target = Landscape(
        "means",
        n,
        rows.mean(0),
        {"x": rows},
        row_losses=lambda w, d: 0.5 * jnp.sum((d["x"] - w) ** 2, -1),
    )
    n_beta = tempered_rows(n)
    value = 0.5 * 4 * n_beta / (n_beta + 1)
    hot = sample(
        target, SGLDConfig(batch_size=4, step_fraction=0.2, thin=20, warmup=1000, draws=500)
    )
    heat = hot.adapted["step_size"] / 4 * n_beta**2 * 9 / 4
    assert heat > 10
    assert hot.llc.mean() == pytest.approx(value * (1 + heat) / (1 - 0.2 / 4), rel=0.1)
    cool = sample(
        target, SGNHTConfig(batch_size=20, step_fraction=0.002, thin=40, warmup=5000, draws=500)
    )
    assert cool.llc.mean() == pytest.approx(value, rel=0.1)


# -------------------------------------------------------------------------------------- variational


def test_a_gaussian_is_fitted_exactly_by_its_own_family():
    """Mean field on a quadratic in its own frame and low rank in a rotated one have equal
    importance ratios; a quartic has not."""
    wide = VIConfig(family="mean_field", steps=2000, draws=200)
    aligned = forms.QuadraticConfig(n_parameters=4, condition_number=30.0)
    rotated = dataclasses.replace(aligned, rotated=True)
    draws = run(aligned, wide)
    assert draws.independent
    assert np.std(draws.weights) < 0.05
    assert abs(score(draws, exact(aligned))) < SHARP
    low_rank = run(rotated, dataclasses.replace(wide, family="low_rank"))
    assert np.std(low_rank.weights) < 0.3
    assert np.std(run(QUARTIC, DEFAULTS["vi"]).weights) > 0.5


def test_a_mixture_fits_what_no_gaussian_can():
    """The narrow cross (w1 w2)², .3912 by quadrature, and a rotated quadratic of condition number
    1000, whose law is in the family: equal ratios but for the noise of 20 rounds and the tenth of
    all draws that is the localisation's."""
    stiff = forms.QuadraticConfig(n_parameters=6, condition_number=1000.0, rotated=True)
    for form, share in ((CROSS, 0.8), (stiff, 0.75)):
        draws, analysis = run(form, DEFAULTS["vi"]), analysed(form, DEFAULTS["vi"])
        assert complaints(analysis, exact(form)) == []
        assert analysis["ess"] > share * draws.loss.size
        assert not draws.adapted["annealed"]
        assert draws.adapted["mixture_share"] > share
        assert abs(analysis["llc_mean_plain"] - exact(form)) < SHARP * analysis["llc_mcse_plain"]
    one_gaussian = analysed(CROSS, VIConfig(family="low_rank", draws=1000))
    assert "law_violated" in one_gaussian["flags"]


def test_ratios_to_the_density_of_the_whole_mixture_are_the_right_weights():
    """Draws of 0.3 N(-1, ·) + 0.7 N(2, ·) weighted towards N(0, 1): mass 1 and E|x|² = 2. A
    denominator without one of the parts is rejected."""
    with float_width("float64"):
        covariances = jnp.array([[[1.5, 0.5], [0.5, 1.0]], [[2.0, -0.3], [-0.3, 3.0]]])
        parts = jax.vmap(Dense.of)(jnp.array([[-1.0, 0.0], [2.0, 1.0]]), covariances)
        mixture = Mixture(jnp.log(jnp.array([0.3, 0.7])), parts)
        x = mixture.draws(jax.random.key(0), 20_000)
        target = np.asarray(-0.5 * jnp.sum(x**2, 1) - jnp.log(2 * jnp.pi))
        square = np.asarray(jnp.sum(x**2, 1))
        log_mixture = np.asarray(jax.vmap(mixture.log_density)(x))
        log_parts = np.asarray(jax.vmap(mixture.log_parts)(x))

    def scores(denominator):
        ratios = np.exp(target - denominator)
        means = [(ratios, 1.0), (ratios * square, 2.0)]
        return [
            abs(values.mean() - value) / (values.std() / len(values) ** 0.5)
            for values, value in means
        ]

    assert max(scores(log_mixture)) < SHARP
    assert min(scores(log_parts[:, 1])) > SHARP


def test_tempered_weights_have_the_least_effective_share():
    with float_width("float64"):
        ratios = jnp.asarray(np.random.default_rng(0).standard_normal(2000) * 4).at[3].set(jnp.nan)
        weights = np.asarray(tempered(ratios, 200.0))
        assert 1 / np.sum(weights**2) == pytest.approx(200.0, rel=1e-6)
        assert weights[3] == 0
        untempered = jnp.exp(ratios / 8)
        expected = jnp.nan_to_num(untempered / jnp.nansum(untempered))
        np.testing.assert_allclose(tempered(ratios / 8, 200.0), expected, rtol=1e-12)


# ------------------------------------------------------------------- resumed runs, work, failures


# name -> configuration, and the save from which the run is resumed
STOPPED = {
    "hmc": (
        HMCConfig(warmup=100, draws=200, seed=3, mass="low_rank", leapfrogs=7, length_jitter=0.0),
        6,
    ),
    "mclmc": (MCLMCConfig(warmup=100, draws=200, precision="float32"), 11),
    "sgld": (SGLDConfig(warmup=1000, thin=3, draws=20, check_every=20), 10),
    "sgld minibatch": (
        SGLDConfig(warmup=200, thin=3, draws=200, batch_size=5, precond="adam", row_moments=True),
        4,
    ),
    "vi mean field": (VIConfig(family="mean_field", steps=100, draws=50), 5),
    "vi mixture": (VIConfig(steps=100, draws=50, components=3, rounds=3, round_draws=200), 11),
}
THREE = forms.LinearRegressionConfig(n_parameters=3)


@pytest.fixture(scope="module")
def whole(recorded):
    """The run of a name, with all that it saved."""
    return functools.cache(lambda name: recorded(landscape(THREE, 50), STOPPED[name][0]))


@pytest.mark.parametrize("name", STOPPED)
def test_resumed_chains_give_bitwise_the_same_draws(name, whole):
    config, saves = STOPPED[name]
    calls = []
    resumed = whole(name).resumed(saves, progress=lambda *steps: calls.append(steps))
    assert calls[0][0] == saves + 1
    assert calls[-1][0] == calls[-1][1]
    for field in (
        "loss",
        "gradients",
        "virial",
        "projection",
        "acceptance",
        "energy",
        "weights",
        "row_moments",
    ):
        one, other = getattr(whole(name).draws, field), getattr(resumed, field)
        assert (one is None and other is None) or np.array_equal(one, other), field
    assert str(resumed.loss.dtype) == config.precision


def test_work_is_what_a_hand_counts(whole):
    """In gradients over all rows, warm-up included: 20 products (of two) at w* shared by all
    chains, 8 at each start, 1 to begin with."""
    opening, check = 1 + 2 * 8 + (2 * 20 + 1) / 4, 2 * 10 + 1
    two_hundred = np.arange(1, 201)
    expected = {
        "hmc": opening + 7 * 100 + 7 * two_hundred,
        "mclmc": opening + 10 * 100 + 10 * two_hundred,
        # windows of 20 draws of 5 steps, with a check at each ninth draw
        "sgld": opening + 10 * (100 + 3 * check) + check + np.arange(1, 21) * 3,
        # a gradient over all rows and a loss of each row at each draw; a check at the first of the
        # 20 draws of each window of the warm-up, and at each fifth draw kept
        "sgld minibatch": opening
        - 0.9
        + 10 * (20 * (0.1 + 1 + 1 / 3) + check)
        + two_hundred * (3 * 0.1 + 1 + 1 / 3)
        + check * np.ceil(two_hundred / 5),
        "vi mean field": 100 * 8 + 2 * 8 / 4 + np.arange(1, 51),
        # Hessians at w* and at three draws, and losses of a round before the others and one after
        "vi mixture": 100 * 8
        + 2 * 8 / 4
        + (2 * 3 * (1 + 3) + 200 * (1 + 3 + 1) / 3) / 4
        + np.arange(1, 51),
    }
    for name, gradients in expected.items():
        np.testing.assert_allclose(
            whole(name).draws.gradients,
            np.broadcast_to(gradients, (4, len(gradients))),
            err_msg=name,
        )
    assert whole("vi mixture").draws.adapted["components"] == 1 + 1 + 4 + 3


def test_another_xla_without_these_options_compiles_all_the_same(monkeypatch, whole):
    monkeypatch.setattr(chains, "_FEWER_PASSES", {"xla_cpu_that_nobody_knows": True})
    lowered = jax.jit(lambda x: x + 1).lower(1.0)
    with pytest.raises(RuntimeError, match="No such compile option"):
        lowered.compile(chains._FEWER_PASSES)
    assert float(chains.compiled_quickly(lowered)(1.0)) == 2.0
    # steps of SGLD on a quadratic contract, so that differences of rounding stay small
    again = sample(landscape(THREE, 50), STOPPED["sgld"][0])
    np.testing.assert_allclose(again.loss, whole("sgld").draws.loss, rtol=1e-6)


def test_a_chain_that_is_no_longer_finite_is_named_and_the_others_are_kept():
    """The loss is not finite beyond w = 1, which some of the short chains meet."""
    target = Landscape(
        "cliff",
        1000,
        np.zeros(2),
        population_loss=lambda w: 0.02 * jnp.sum(w**2) + jnp.where(w[0] > 1.0, jnp.nan, 0.0),
    )
    draws = sample(
        target,
        SGLDConfig(
            warmup=0,
            thin=1,
            draws=60,
            chains=8,
            start_jitter=0.0,
            step_rule="fixed",
            step_size=0.05,
            noise="independent",
        ),
    )
    failed = draws.statistics["failed_chains"]
    bad = {str(chain) for chain in np.flatnonzero(~np.isfinite(draws.loss).all(1))}
    assert 0 < len(failed) < 8
    assert bad <= set(failed)
    chain, move = next(
        (int(chain), move) for chain, move in failed.items() if chain in bad and move > 1
    )
    assert np.isfinite(draws.loss[chain, : move - 1]).all()
    assert estimate(draws, n=1000, n_parameters=2)["failed_chains"]


def test_configurations_that_make_no_sense_are_refused():
    target = landscape(forms.LinearRegressionConfig(n_parameters=3), 50)
    with pytest.raises(ConfigError, match=r"51.*50 rows"):
        sample(target, SGLDConfig(batch_size=51))
    with pytest.raises(ConfigError, match="polished when it is built"):
        sample(target, HMCConfig(posterior=LocalPosteriorConfig(polish=5)))
    with pytest.raises(ConfigError, match="population loss"):
        sample(landscape(QUARTIC), SGLDConfig(batch_size=5))
    with pytest.raises(ConfigError, match="one parameter"):
        sample(landscape(forms.PowerSumConfig(exponents=(2,))), MCLMCConfig())
    with pytest.raises(ValueError, match="at w\\* is nan"):
        sample(
            Landscape("none", 10, np.zeros(2), population_loss=lambda w: jnp.sum(w) * jnp.nan),
            HMCConfig(),
        )


def test_masks_restrict_and_wrong_ones_name_the_nearest():
    target = landscape(forms.DeepLinearConfig())
    assert masked(target, "layer_1,layer_3").n_parameters == 24
    assert masked(target, "") is target
    with pytest.raises(ConfigError, match="'layer_1'"):
        masked(target, "layr_1")
    draws = sample(
        target,
        HMCConfig(
            posterior=LocalPosteriorConfig(mask="layer_2", prior_radius=3.0),
            draws=50,
            warmup=50,
            keep_parameters=True,
        ),
    )
    assert draws.parameters.shape == (4, 50, 9)
    assert draws.gamma == 1.0
    assert np.allclose(
        draws.projection[0, 0], (draws.parameters[0, 0] - target.centre[12:21]) @ _directions(draws)
    )


def _directions(draws):
    """The directions of the projections, solved for from the draws."""
    away = draws.parameters.reshape(-1, 9) - landscape(forms.DeepLinearConfig()).centre[12:21]
    directions, *_ = np.linalg.lstsq(away, draws.projection.reshape(-1, 8), rcond=None)
    assert np.allclose(np.linalg.norm(directions, axis=0), 1)
    return directions


@pytest.mark.parametrize("chunk", [1, 16, 49, 50, 0])
def test_sums_over_chunks_have_the_loss_gradient_and_curvature_of_all_rows(chunk, monkeypatch):
    """Also where many rows are evaluated in chunks by default, on a CPU."""
    monkeypatch.setattr("causal_meta.llc.samplers.prepared._CACHED", 20)
    with float_width("float64"):
        target = landscape(forms.LinearRegressionConfig(n_parameters=3), 50).at_width("float64")
        w, v = target.centre + 0.3, jnp.array([1.0, -2.0, 0.5])

        @functools.partial(jax.jit, static_argnums=0)
        def values(loss, data):
            slope = jax.grad(lambda w: loss(w, data))
            return (loss(w, data), slope(w), jax.jvp(slope, (w,), (v,))[1])

        of_parts, expected = (
            values(loss, target.data) for loss in (full_loss(target, chunk), target.mean_loss)
        )
        for value, right in zip(of_parts, expected, strict=True):
            assert np.allclose(value, right, rtol=1e-12, atol=1e-12)


def test_chunks_of_rows_give_the_same_gradients(whole):
    """In steps of SGLD, whose differences of rounding stay small on a quadratic; and moments of
    rows are those of the loss."""
    config, _ = STOPPED["sgld"]
    at_once, in_chunks = (
        whole("sgld").draws,
        sample(landscape(THREE, 50), dataclasses.replace(config, row_chunk=16)),
    )
    np.testing.assert_allclose(in_chunks.loss, at_once.loss, rtol=1e-6)
    with_moments = whole("sgld minibatch").draws
    assert with_moments.row_moments.shape == (2, 50)
    assert with_moments.row_moments[0].mean() == pytest.approx(with_moments.loss.mean(), rel=1e-9)
