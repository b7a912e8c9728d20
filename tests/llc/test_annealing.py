"""Annealed draws against closed forms: with their weights, and no others, their law is the
posterior's, however badly the transitions mix."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from causal_meta.conf import forms
from causal_meta.conf.local_posterior import LocalPosteriorConfig
from causal_meta.conf.samplers import VIConfig
from causal_meta.llc.estimates.estimators import estimate
from causal_meta.llc.landscapes.forms import form_landscape
from causal_meta.llc.landscapes.landscape import Landscape, float_width
from causal_meta.llc.samplers import annealing as annealing_file
from causal_meta.llc.samplers import sample
from causal_meta.llc.samplers.annealing import (
    LEAPFROGS,
    MOST_TEMPERATURES,
    PARTICLES,
    Annealing,
    Path,
    next_power,
    resampled,
)
from causal_meta.llc.samplers.prepared import prepare
from causal_meta.llc.samplers.variational import Fit

SHARP = 4.5  # standard errors
CURVED = forms.ReducedRankConfig(n_inputs=2, n_hidden=1, n_outputs=2, rank=0)
DRAWS = 400
# settings with which no mixture comes close to a curved posterior
POOR = {"steps": 10, "components": 1, "rounds": 1, "round_draws": 200, "rank": 1}


def annealing(landscape, **settings):
    prepared = prepare(landscape, config := VIConfig(**settings))
    return Annealing(
        prepared.centred(prepared.loss(prepared.centre, prepared.landscape.data)), config
    )


def by_hand(powers, steps):
    """A path of these temperatures and steps."""
    room = np.zeros((2, MOST_TEMPERATURES))
    room[:, : len(powers)] = powers, steps
    return Path(*room, np.int32(len(powers)))


@pytest.fixture(scope="module")
def curved(recorded):
    """A run on K = |b a'|² / 2 whose mixture has a small effective share, with all that it
    saved."""
    config = VIConfig(annealed=DRAWS, keep_parameters=True, **POOR)
    return recorded(form_landscape(CURVED, 10_000, 0), config)


# ------------------------------------------------------------------------------------------ the law


def test_weights_make_up_for_transitions_that_hardly_move():
    """A Gaussian posterior by ten temperatures and steps of a tenth of its width: evidence Π (γ /
    (γ + nβ h))^(1/2) and λ̂ in closed form.

    Without weights, or with those of the last points alone, both are rejected.
    """
    values = np.array([0.3, 0.1, 0.03])
    target = Landscape(
        "bowl",
        1000,
        np.ones(3),
        population_loss=lambda w: 0.5 * jnp.sum(jnp.asarray(values, w.dtype) * (w - 1) ** 2),
    )
    path = by_hand(np.geomspace(0.01, 1, 10), np.full(10, 0.02))
    with float_width("float64"):
        ready = annealing(target, draws=50_000, annealed=50_000, chains=2)
        record = jax.tree.map(
            np.asarray, jax.jit(ready.draws)(jax.random.key(0), np.int32(0), path, {})
        )
    n_beta = ready.prepared.posterior.n_beta
    height, ratio = record["excess"] * n_beta, np.exp(record["weights"])
    evidence = np.prod(1 + n_beta * values) ** -0.5
    exact = 0.5 * np.sum(n_beta * values / (1 + n_beta * values))

    def scores(ratio):
        mean = (ratio * height).sum() / ratio.sum()
        error = np.sqrt((ratio**2 * (height - mean) ** 2).sum()) / ratio.sum()
        return abs(ratio.mean() - evidence) / (ratio.std() / ratio.size**0.5 + 1e-12), abs(
            mean - exact
        ) / error

    assert max(scores(ratio)) < SHARP
    assert min(scores(np.ones_like(ratio))) > SHARP
    assert min(scores(np.exp(-height))) > SHARP
    assert record["weights"].max() <= 0
    # w . grad U of a quadratic, γ = 1
    np.testing.assert_allclose(
        record["product"].sum(-1), 2 * height + record["distance"] ** 2, rtol=1e-9
    )


def test_annealed_draws_fit_a_curved_posterior_that_the_mixture_did_not(curved):
    draws, target = curved.draws, curved.landscape
    analysis = estimate(draws, n=target.n, n_parameters=4)
    value, error = target.expectation(draws.n_beta, draws.gamma)
    assert draws.adapted["annealed"]
    assert draws.adapted["mixture_share"] < 0.2
    assert not analysis["flags"]
    errors = math.hypot(analysis["llc_error"], error), math.hypot(analysis["llc_mcse_plain"], error)
    assert abs(analysis["llc_mean"] - value) < SHARP * errors[0]
    assert abs(analysis["llc_mean"] - 1.2 * value) > SHARP * errors[0]
    assert abs(analysis["llc_mean_plain"] - value) < SHARP * errors[1]
    assert analysis["ess"] > 0.3 * draws.loss.size
    b, a = draws.parameters[..., 2:], draws.parameters[..., :2]
    np.testing.assert_allclose(
        0.5 * ((b[..., None] * a[..., None, :]) ** 2).sum((2, 3)), draws.loss, rtol=1e-9, atol=1e-15
    )
    np.testing.assert_allclose(
        np.linalg.norm(draws.parameters - target.centre, axis=2), draws.distance, rtol=1e-12
    )


def test_the_next_temperature_has_the_required_effective_share():
    with float_width("float64"):
        heights = jnp.asarray(np.random.default_rng(0).chisquare(3, 400) * 50).at[5].set(jnp.inf)
        change = float(next_power(heights, jnp.asarray(0.25))) - 0.25
        last = float(next_power(heights * 1e-6, jnp.asarray(0.25)))
        picked = np.asarray(resampled(jax.random.key(1), heights, 0.1))
    finite = np.delete(np.asarray(heights), 5)
    factors, share = np.exp(-change * finite), np.exp(-0.1 * finite)
    assert change > 0
    assert factors.sum() ** 2 / (399 * (factors**2).sum()) == pytest.approx(0.999, rel=1e-6)
    assert last == 1.0
    often = np.bincount(picked, minlength=400)
    assert often[5] == 0
    assert np.all(np.abs(np.delete(often, 5) - 400 * share / share.sum()) <= 1)


# -------------------------------------------------------------------- when, at what cost, resuming


def test_resumed_annealed_draws_are_bitwise_the_same(curved):
    """From the finished mixture, and from the middle of the draws."""
    assert list(curved.states) == list(range(1, 22))
    for done in (11, 17):
        calls = []
        resumed = curved.resumed(done, progress=lambda *steps: calls.append(steps))  # noqa: B023
        assert (calls[0], calls[-1]) == ((done + 1, 22), (22, 22))
        for name in ("loss", "gradients", "virial", "projection", "weights", "parameters"):
            assert np.array_equal(getattr(curved.draws, name), getattr(resumed, name)), name


def test_work_counts_pilot_and_path(curved):
    draws = curved.draws
    each = 1 + LEAPFROGS * draws.adapted["temperatures"]
    # of fits, the diagonal, and the mixture with the round that measures it
    before = 10 * 8 + 2 * 8 / 4 + (2 * 4 * 2 + 200 * (1 + 1 + 1) / 3) / 4
    np.testing.assert_allclose(
        draws.gradients,
        np.broadcast_to(before + PARTICLES * each / 4 + each * np.arange(1, DRAWS + 1), (4, DRAWS)),
    )


def test_a_path_that_is_too_short_leaves_the_draws_to_the_mixture(monkeypatch, curved):
    """And the work of the pilot is counted."""
    calls = []
    monkeypatch.setattr(annealing_file, "MOST_WORK", 60 * (PARTICLES + 4 * DRAWS) * LEAPFROGS * 4)
    draws = sample(
        curved.landscape,
        curved.config,
        checkpoint=curved.after(11),
        progress=lambda *steps: calls.append(steps),
    )
    assert (draws.adapted["annealed"], draws.adapted["temperatures"], draws.loss.shape) == (
        False,
        60,
        (4, 5000),
    )
    assert calls == [(12, 13), (13, 13)]
    assert np.all(np.diff(draws.gradients) == 1)
    assert draws.gradients[0, 0] > PARTICLES * 60 * LEAPFROGS / 4


def test_costly_losses_and_posteriors_without_localisation_are_not_annealed():
    rows = np.random.default_rng(0).standard_normal((1000, 50))
    network = Landscape(
        "many", 1000, np.zeros(50), {"x": rows}, row_losses=lambda w, d: 0.5 * (d["x"] @ w) ** 2
    )
    small = form_landscape(CURVED, 10_000, 0)
    with float_width("float64"):
        assert annealing(small).most == MOST_TEMPERATURES
        assert annealing(network).most == 0
        assert annealing(small, annealed=0).most == 0
        assert Fit(annealing(small).prepared, VIConfig()).adaptation.measured
        assert not Fit(annealing(small).prepared, VIConfig(annealed=0)).adaptation.measured
        assert annealing(small, posterior=LocalPosteriorConfig(gamma=0.0)).most == 0
        assert annealing(network, batch_size=10).most == 0
        assert annealing(small, draws=100).length == 100
