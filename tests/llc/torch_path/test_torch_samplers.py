"""Samplers of torch landscapes: exact values, closed forms of their bias, comparison with NUTS in
JAX, and resuming after a stop.

Statistical bounds are 4 standard errors (false alarms: 1 in 16,000 for each of about 30
comparisons; seeds are fixed).
"""

import dataclasses
import math

import numpy as np
import pytest
import torch

from causal_meta.conf.local_posterior import LocalPosteriorConfig
from causal_meta.conf.samplers import (
    HMCConfig,
    MALAConfig,
    NUTSConfig,
    SGLDConfig,
    SGNHTConfig,
)
from causal_meta.conf.setting import ConfigError
from causal_meta.llc.estimates.diagnostics import mcse
from causal_meta.llc.estimates.estimators import estimate
from causal_meta.llc.landscapes.torch_landscape import TorchLandscape, torch_landscape
from causal_meta.llc.samplers.on_torch import sample_torch
from causal_meta.llc.samplers.on_torch.centre import examined, polished
from causal_meta.llc.samplers.on_torch.hamiltonian import windows
from causal_meta.llc.samplers.on_torch.langevin import Langevin
from causal_meta.llc.samplers.on_torch.metric import Metric, Window, learned
from causal_meta.llc.samplers.on_torch.posterior import TorchPosterior
from causal_meta.llc.samplers.on_torch.streams import Streams

N_BETA = 1000 / math.log(1000)
FEW = 4  # rows of population losses, all of which are equal: as many as are quickly evaluated


def analysed(draws, landscape):
    return estimate(draws, n=landscape.n, n_parameters=landscape.n_parameters)


def sampled(landscape, config):
    """Draws at the temperature 1 / log 1000 and n = 1000, whatever the number of rows."""
    posterior = LocalPosteriorConfig(beta_mode="fixed", beta=N_BETA / landscape.n)
    return sample_torch(landscape, dataclasses.replace(config, posterior=posterior))


def within(draws, exact, errors=4.0):
    """Asserts that the plain mean of λ̂ is `exact` within `errors` standard errors."""
    error = mcse(draws.llc)
    score = (draws.llc.mean() - exact) / error
    assert abs(score) < errors, (
        f"{draws.llc.mean():.4f} ± {error:.4f} is {score:.1f} errors from {exact:.4f}"
    )


def grid_llc(loss, gamma=1.0, n=1000, width=6.0, points=1201):
    """λ̂ of a loss of two parameters under its posterior, by summing over a grid."""
    n_beta = n / math.log(n)
    axis = torch.linspace(-width, width, points, dtype=torch.float64)
    w = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1)
    values = n_beta * loss(w)
    weights = torch.exp(-values - 0.5 * gamma * w.square().sum(-1))
    return float((weights * values).sum() / weights.sum())


CURVATURES = torch.tensor([3.0, 1.0, 0.2, 0.01, 1e-5], dtype=torch.float64)


def bowl(w):
    return 0.5 * (CURVATURES * w.square()).sum(-1)


def bowl_llc(gamma=1.0, step=0.0):
    """½ Σ nβh / (nβh + γ), each term divided by 1 - ε (nβh + γ) / 4 for a Langevin step of size ε
    without correction."""
    total = N_BETA * CURVATURES + gamma
    return float((0.5 * N_BETA * CURVATURES / total / (1 - step * total / 4)).sum())


CORRECTED = {
    "mala": MALAConfig(warmup=300, draws=300, thin=2, chains=32),
    "mala round": MALAConfig(warmup=200, draws=20, thin=1, mass="identity"),
    "hmc": HMCConfig(target_acceptance=0.8, warmup=200, draws=150, chains=32),
    "hmc diagonal": HMCConfig(
        target_acceptance=0.8, warmup=200, draws=150, chains=32, mass="diagonal", leapfrogs=3
    ),
}


@pytest.mark.parametrize("name", CORRECTED)
def test_corrected_samplers_give_the_exact_value_of_a_regular_model(form, name):
    landscape = form(bowl, 5, FEW)
    draws = sampled(landscape, CORRECTED[name])
    if name != "mala round":  # which cannot cross the flat direction
        within(draws, bowl_llc())
        assert not set(analysed(draws, landscape)["flags"]) - {"mcse_above_2_percent"}
        assert abs(float(draws.acceptance.mean()) - CORRECTED[name].target_acceptance) < 0.2
    assert not draws.divergent.any()


def test_the_step_of_sgld_inflates_each_direction_as_predicted(form):
    """The mean agrees with the prediction, and the exact value without inflation is rejected."""
    landscape = form(lambda w: 0.5 * (CURVATURES[:2] * w.square()).sum(-1), 2, FEW)
    config = SGLDConfig(
        warmup=100, draws=300, thin=2, step_fraction=1.5, chains=48, noise="independent"
    )
    draws = sampled(landscape, config)
    exact = float((0.5 * N_BETA * CURVATURES[:2] / (N_BETA * CURVATURES[:2] + 1)).sum())
    within(sampled(landscape, dataclasses.replace(config, noise="averaged")), exact)
    total = N_BETA * CURVATURES[:2] + 1
    step = draws.adapted["step_size"]
    assert step == pytest.approx(1.5 / float(total.max()), rel=1e-6)
    assert draws.adapted["curvature"] == pytest.approx(float(total.max()), rel=1e-6)
    predicted = float((0.5 * N_BETA * CURVATURES[:2] / total / (1 - step * total / 4)).sum())
    within(draws, predicted)
    with pytest.raises(AssertionError, match="errors from"):
        within(draws, exact)
    assert draws.acceptance is None
    assert 0.3 < np.mean(draws.statistics["corrected_acceptance"]) < 0.95


@pytest.mark.parametrize("precond", ["none", "rmsprop"])
def test_small_steps_of_sgld_sample_the_stated_law(form, precond):
    """A valley with a quartic floor, with a preconditioner that is constant after the warm-up."""

    def shape(w):
        return 0.5 * w[..., 0].square() + w[..., 1] ** 4

    landscape = form(shape, 2, FEW)
    draws = sampled(
        landscape,
        SGLDConfig(
            warmup=800, draws=200, thin=6, chains=48, precond=precond, step_fraction=0.1, seed=1
        ),
    )
    within(draws, grid_llc(shape, width=3.0))


def test_the_delay_of_adam_widens_as_the_linear_recursion_says(form):
    """x' = x - (ε/2) (m' + γ x) + sqrt(ε) η, m' = b1 m + (1 - b1) h x: the stationary covariance
    solves a linear equation."""
    landscape, fraction, b1 = form(lambda w: 0.5 * w.square().sum(-1), 1, FEW), 0.1, 0.9
    draws = sampled(
        landscape,
        SGLDConfig(
            warmup=300, draws=300, thin=5, chains=32, precond="adam", step_fraction=fraction
        ),
    )
    step = fraction / (N_BETA + 1)
    push = np.array(
        [[1 - step / 2 * ((1 - b1) * N_BETA + 1), -step / 2 * b1], [(1 - b1) * N_BETA, b1]]
    )
    covariance = np.linalg.solve(np.eye(4) - np.kron(push, push), [step, 0, 0, 0])
    within(draws, 0.5 * N_BETA * covariance[0])
    assert covariance[0] * N_BETA == pytest.approx(1 + fraction / 2 * b1 / (1 - b1), rel=0.06)


def test_the_divergence_term_is_the_derivative_of_the_preconditioner(form):
    landscape = form(bowl, 5)
    posterior = TorchPosterior.of(landscape, LocalPosteriorConfig())
    config = SGLDConfig(
        precond="rmsprop", precond_until="always", divergence_correction=True, b2=0.7, chains=1
    )
    w = 0.1 * torch.arange(1.0, 6.0, dtype=torch.float64)

    def metric(point):
        v = (N_BETA * CURVATURES * point).square()  # the limit of small steps
        return v, 1 / (v.sqrt() + config.floor * v.mean().sqrt() + 1)  # the root of γ

    kernel = Langevin(posterior, config, Streams(config, landscape), w[None], 1.0)
    kernel.state.memory = metric(w)[0][None]
    kernel.state.slope = kernel._slope_of_squares((N_BETA * CURVATURES * w)[None])
    divergence = kernel._divergence(metric(w)[1][None])
    exact = torch.autograd.functional.jacobian(lambda point: metric(point)[1], w).diagonal()
    torch.testing.assert_close(divergence[0], exact, rtol=1e-6, atol=1e-12)


def test_a_preconditioner_that_follows_the_chain_needs_its_divergence_term(form):
    """K = Σ w_i⁴, as in JAX: without the term λ̂ is twice too high."""
    landscape = form(lambda w: w.pow(4).sum(-1), 4)
    axis = np.linspace(-2, 2, 20_001)
    weights = np.exp(-N_BETA * axis**4 - 0.5 * axis**2)
    exact = 4 * float((weights * N_BETA * axis**4).sum() / weights.sum())
    base = SGLDConfig(
        precond="rmsprop",
        precond_until="always",
        floor=1.0,
        b2=0.9,
        step_fraction=0.02,
        warmup=1500,
        draws=30,
        thin=100,
        chains=128,
    )
    within(sample_torch(landscape, dataclasses.replace(base, divergence_correction=True)), exact)
    wrong = sample_torch(landscape, dataclasses.replace(base, draws=10))
    assert wrong.llc.mean() > 1.5 * exact


class Line(torch.nn.Module):
    def __init__(self, w):
        super().__init__()
        self.w = torch.nn.Parameter(w)

    def forward(self, x):
        return x @ self.w


@pytest.fixture(scope="module")
def line():
    """Linear regression on four columns, at the least squares, with its exact λ̂ and the variance
    of a row's gradient."""
    rng = np.random.default_rng(0)
    x, noise = (
        torch.from_numpy(rng.standard_normal((1000, 4))),
        torch.from_numpy(rng.standard_normal(1000)),
    )
    y = x @ torch.ones(4, dtype=torch.float64) + noise
    landscape = torch_landscape(
        Line(torch.linalg.lstsq(x, y[:, None]).solution[:, 0]),
        {"x": x, "y": y},
        lambda net, rows: 0.5 * (net(rows["x"]) - rows["y"]).square(),
    )
    total = N_BETA * torch.linalg.eigvalsh(x.T @ x / 1000) + 1
    return landscape, total


def test_minibatches_heat_sgld_as_predicted_and_the_thermostat_removes_the_heat(line):
    """To the variance 1/h of a direction a minibatch of b rows adds (ε/4) (nβ)² Var(g_row) / (b h),
    times 1 / (1 - εh/4)."""
    landscape, total = line
    config = SGLDConfig(warmup=300, draws=200, thin=4, chains=48, batch_size=10, step_fraction=0.2)
    draws = sample_torch(landscape, config)
    step = draws.adapted["step_size"]
    residual = (landscape.data["y"] - landscape.data["x"] @ landscape.centre)[
        :, None
    ] * landscape.data["x"]
    heat = N_BETA**2 * float(residual.square().mean()) / 10
    variance = (1 / total) * (1 + step * heat / 4) / (1 - step * total / 4)
    hot, exact = (
        float(0.5 * ((total - 1) * variance).sum()),
        float(0.5 * ((total - 1) / total).sum()),
    )
    # the variance of g also depends on w, a little
    assert abs(draws.llc.mean() - hot) < 4 * mcse(draws.llc) + 0.05 * (hot - exact)
    with pytest.raises(AssertionError, match="errors from"):
        within(draws, exact)
    within(
        sample_torch(
            landscape,
            SGNHTConfig(
                warmup=800, draws=200, thin=6, chains=48, batch_size=50, step_fraction=0.02
            ),
        ),
        exact,
    )
    within(sample_torch(landscape, SGNHTConfig(warmup=400, draws=150, thin=4, chains=48)), exact)


@pytest.fixture(scope="module")
def trained(pair):
    """Both landscapes around the point that L-BFGS reaches, and draws of its posterior by NUTS in
    JAX."""
    from causal_meta.llc.samplers import sample

    there, here = pair
    here, record = polished(here, 300)
    assert record["gradient_norm_after"] < 1e-5 < record["gradient_norm_before"]
    assert record["loss_after"] < record["loss_before"]
    there = dataclasses.replace(there, centre=here.centre.numpy())
    return here, sample(there, NUTSConfig(warmup=400, draws=600))


TWIN_CONFIGS = [
    MALAConfig(warmup=600, draws=250, thin=6, chains=24),
    HMCConfig(warmup=300, draws=200, chains=16),
    SGLDConfig(warmup=1200, draws=250, thin=10, chains=24, precond="rmsprop", step_fraction=0.1),
]


@pytest.mark.parametrize("config", TWIN_CONFIGS, ids=lambda config: config.kind)
def test_torch_samplers_agree_with_nuts_in_jax(trained, config):
    here, reference = trained
    draws = sample_torch(here, config)
    analysis, by_nuts = analysed(draws, here), analysed(reference, here)
    assert draws.centre_loss == pytest.approx(reference.centre_loss, rel=1e-12)
    bias = analysis["bias_estimate"] or 0.0
    error = math.hypot(mcse(draws.llc), mcse(reference.llc))
    gap = draws.llc.mean() - reference.llc.mean()
    assert abs(gap - bias) < 4 * error, (gap, bias, error)
    assert error < 0.25, "the error is too large for a comparison"
    assert by_nuts["rhat"] < 1.05


class Stopped(Exception):
    """Raised in the middle of a run, in place of a kill."""


class Place:
    """A checkpoint in memory that stops the run after some saves."""

    def __init__(self, saves):
        self.arrays, self.left = None, saves

    def load(self):
        return self.arrays

    def save(self, arrays, done):
        self.arrays = {name: np.array(values) for name, values in arrays.items()}
        self.left -= 1
        if self.left == 0:
            raise Stopped


SHORT = [
    MALAConfig(warmup=60, draws=30, thin=2, row_moments=True, keep_parameters=True),
    HMCConfig(warmup=60, draws=30, max_leapfrogs=3),
    SGLDConfig(
        warmup=50,
        draws=30,
        thin=3,
        precond="adam",
        precond_until="always",
        divergence_correction=True,
        batch_size=7,
    ),
    SGLDConfig(warmup=50, draws=30, thin=3, precond="rmsprop"),
    SGNHTConfig(warmup=50, draws=30, thin=3, batch_size=7, precision="float32"),
]


@pytest.mark.parametrize(
    ("config", "saves"),
    [(SHORT[0], 40), (SHORT[1], 1), (SHORT[2], 40), (SHORT[3], 30), (SHORT[4], 40)],
)
def test_a_resumed_run_gives_the_bits_of_one_never_stopped(pair, config, saves):
    config = dataclasses.replace(config, posterior=LocalPosteriorConfig(polish=5), chains=2)
    whole = sample_torch(pair[1], config)
    place = Place(saves)
    with pytest.raises(Stopped):
        sample_torch(pair[1], config, checkpoint=place)
    calls = []
    again = sample_torch(
        pair[1], config, checkpoint=place, progress=lambda done, total: calls.append((done, total))
    )
    for item in dataclasses.fields(whole):
        if item.name not in ("seconds", "adapted", "statistics"):
            np.testing.assert_array_equal(
                getattr(again, item.name), getattr(whole, item.name), err_msg=item.name
            )
    assert again.adapted == whole.adapted
    assert again.statistics == whole.statistics
    assert calls[0][0] == saves + 1
    assert calls[-1][0] == calls[-1][1]


def test_an_open_number_of_draws_grows_to_the_aim_and_is_resumed(form, monkeypatch):
    """Chains are stopped in the further draws, for which the record is extended."""
    monkeypatch.setattr(MALAConfig, "first_draws", 100)
    landscape, config = (
        form(lambda w: 0.5 * w.square().sum(-1), 2),
        MALAConfig(warmup=100, thin=2, aim=0.02),
    )
    whole, short = (
        sample_torch(landscape, config),
        sample_torch(landscape, dataclasses.replace(config, draws=100)),
    )
    length = whole.loss.shape[1]
    assert length > 100
    np.testing.assert_array_equal(whole.loss[:, :100], short.loss)
    assert analysed(whole, landscape)["llc_mcse"] <= 0.02 * whole.llc.mean()
    place = Place(64 + 3)  # segments of the first draws, and three more
    with pytest.raises(Stopped):
        sample_torch(landscape, config, checkpoint=place)
    again = sample_torch(landscape, config, checkpoint=place)
    for name in ("loss", "distance", "gradients", "virial", "projection"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name), err_msg=name)


@pytest.mark.parametrize(
    "config", SHORT, ids=lambda config: f"{config.kind}-{getattr(config, 'precond', '')}"
)
def test_gradients_are_counted(pair, config, monkeypatch):
    counts = []
    plain = TorchLandscape.value_and_gradient

    def counting(self, w, index=None):
        counts.append(len(w) * (1.0 if index is None else index.shape[1] / self.n))
        return plain(self, w, index)

    monkeypatch.setattr(TorchLandscape, "value_and_gradient", counting)
    draws = sample_torch(pair[1], config)
    assert draws.gradients[:, -1].sum() + draws.statistics["centre"]["gradients"] == pytest.approx(
        sum(counts)
    )
    assert (np.diff(draws.gradients, axis=1) > 0).all()


def test_the_record_of_a_draw_follows_from_its_parameters(pair):
    _, landscape = pair
    config = MALAConfig(
        warmup=50,
        draws=20,
        thin=2,
        keep_parameters=True,
        row_moments=True,
        posterior=LocalPosteriorConfig(gamma=2.0),
    )
    draws = sample_torch(landscape, config)
    w = torch.from_numpy(draws.parameters)
    away = w - landscape.centre
    np.testing.assert_allclose(draws.loss, landscape.mean_loss(w), rtol=1e-12)
    np.testing.assert_allclose(draws.distance, away.norm(dim=-1), rtol=1e-12)
    _, slope = landscape.value_and_gradient(w.reshape(-1, 13))
    pulled = (away * (draws.n_beta * slope.reshape(w.shape) + 2.0 * away)).numpy()
    groups = np.repeat(np.arange(len(draws.virial_sizes)), draws.virial_sizes)
    by_group = np.stack(
        [pulled[..., groups == j].sum(-1) for j in range(len(draws.virial_sizes))], axis=-1
    )
    np.testing.assert_allclose(draws.virial, by_group, rtol=1e-9, atol=1e-9)
    losses = (
        torch.stack([landscape.item_losses(point) for point in w.reshape(-1, 13)]).detach().numpy()
    )
    np.testing.assert_allclose(
        draws.row_moments, [losses.mean(0), losses.var(0, ddof=1)], rtol=1e-9
    )
    assert draws.projection.shape == (4, 20, 8)
    assert (np.abs(draws.projection) <= draws.distance[..., None] + 1e-12).all()
    assert (draws.n_beta, draws.gamma) == (pytest.approx(200 / math.log(200)), 2.0)


def test_a_chain_does_not_depend_on_the_number_of_chains(pair):
    config = SGLDConfig(
        warmup=10, draws=20, thin=2, step_rule="fixed", step_size=1e-4, batch_size=5
    )
    one, three = (
        sample_torch(pair[1], dataclasses.replace(config, chains=chains)) for chains in (1, 3)
    )
    np.testing.assert_allclose(one.loss[0], three.loss[0], rtol=1e-9)
    assert len({float(loss) for loss in three.loss[:, -1]}) == 3


def test_masks_and_radius_reach_the_posterior(pair):
    config = MALAConfig(
        warmup=50,
        draws=20,
        thin=1,
        posterior=LocalPosteriorConfig(
            mask="*.bias", prior_radius=2.0, beta_mode="fixed", beta=0.5
        ),
    )
    draws = sample_torch(pair[1], config)
    assert sum(draws.virial_sizes) == 4
    assert (draws.gamma, draws.n_beta) == (1.0, 100.0)


def test_a_chain_that_is_no_longer_finite_is_reported_and_a_corrected_one_stays_finite(form):
    walled = form(lambda w: -torch.log(1 - w).sum() - torch.log(1 + w).sum(), 1, n=20)
    config = SGLDConfig(
        warmup=0,
        draws=60,
        thin=1,
        step_rule="fixed",
        step_size=0.085,
        start_jitter=0.0,
        chains=12,
        noise="independent",
    )
    draws = sample_torch(walled, config)
    failed = [c for c in range(12) if np.isnan(draws.loss[c]).any()]
    assert 0 < len(failed) < 12, "the step is to lose some chains and keep others"
    for c in failed:
        first = int(np.isnan(draws.loss[c]).argmax())
        assert np.isnan(draws.loss[c, first:]).all()
        assert np.isfinite(draws.loss[c, :first]).all()
    analysis = analysed(draws, walled)
    assert [one["chain"] for one in analysis["failed_chains"]] == failed
    assert "failed_chains" in analysis["flags"]
    assert np.isfinite(sample_torch(walled, MALAConfig(warmup=50, draws=50)).loss).all()


def test_what_cannot_be_sampled_is_refused(pair, form):
    cases = [
        (pair[1], NUTSConfig(), "give one of hmc, mala, sgld, sgnht"),
        (pair[1], SGLDConfig(batch_size=201), "there are 200 items"),
        (
            pair[1],
            MALAConfig(posterior=LocalPosteriorConfig(mask="head.*")),
            "No parameter is called",
        ),
    ]
    for landscape, config, message in cases:
        with pytest.raises(ConfigError, match=message) as refusal:
            sample_torch(landscape, config)
        assert "\n" not in str(refusal.value)


# ------------------------------------------------------------------------------------ w* and metric


def test_a_minimum_is_distinguished_from_a_slope_and_a_saddle(form):
    posterior = LocalPosteriorConfig()
    good = examined(form(bowl, 5), posterior)
    assert good["is_minimum"]
    assert good["highest_curvature"] == pytest.approx(3 * N_BETA, rel=0.02)
    # a Ritz value, within the tolerance of the spectrum's end
    assert 1e-5 * N_BETA < good["lowest_curvature"] < 0.02 * N_BETA
    saddle = examined(form(lambda w: 0.5 * (w[..., 0].square() - w[..., 1].square()), 2), posterior)
    assert not saddle["is_minimum"]
    assert saddle["lowest_curvature"] == pytest.approx(-N_BETA, rel=1e-6)
    slope = examined(form(lambda w: bowl(w) + 0.1 * w[..., 0], 5), posterior)
    assert not slope["is_minimum"]
    assert slope["descent_gain"] == pytest.approx(
        (0.1 * N_BETA) ** 2 / (2 * (3 * N_BETA + 1)), rel=1e-6
    )
    assert not examined(form(lambda w: w.sum(-1), 2), LocalPosteriorConfig(gamma=0.0))["is_minimum"]


def test_polishing_ends_at_the_minimum_and_records_what_it_did(form):
    landscape = form(lambda w: bowl(w - 1.0), 5)
    moved, record = polished(landscape, 200)
    torch.testing.assert_close(
        moved.centre, torch.ones(5, dtype=torch.float64), rtol=1e-3, atol=1e-3
    )
    assert (
        record["loss_after"]
        < 1e-9
        < record["loss_before"]
        == pytest.approx(float(bowl(torch.ones(5))))
    )
    assert record["distance"] == pytest.approx(math.sqrt(5), rel=1e-3)
    draws = sample_torch(
        landscape, MALAConfig(warmup=30, draws=10, posterior=LocalPosteriorConfig(polish=200))
    )
    assert draws.statistics["polish"] == record
    assert draws.statistics["centre"]["is_minimum"]
    part, _ = polished(landscape.restricted("w@rows::2"), 50)
    assert part.whole.round(decimals=6).tolist() == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_the_metric_is_a_square_root_of_the_covariance_and_is_learned_from_draws():
    rng = np.random.default_rng(0)
    scale = torch.tensor([1e-3, 1.0, 50.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    direction = torch.tensor([0, 1.0, 0, 1, 0, 0], dtype=torch.float64) / math.sqrt(2)
    truth = Metric(scale, direction[:, None], torch.tensor([100.0], dtype=torch.float64))
    z = torch.from_numpy(rng.standard_normal((4000, 6)))
    draws = truth.outward(z)
    covariance = truth.outward(truth.inward(torch.eye(6, dtype=torch.float64)))
    torch.testing.assert_close(
        torch.cov(draws.T) / covariance.diagonal().outer(covariance.diagonal()).sqrt(),
        covariance / covariance.diagonal().outer(covariance.diagonal()).sqrt(),
        atol=0.1,
        rtol=0,
    )
    window = Window.empty(scale)
    for chunk in draws.split(4):
        window.add(chunk, True)
    low_rank = learned(Metric.identity(scale), window, "low_rank", 3)
    assert len(low_rank.values) <= 3
    round_again = torch.cov(
        torch.linalg.solve(low_rank.outward(torch.eye(6, dtype=torch.float64)).T, draws.T)
    )
    torch.testing.assert_close(round_again, torch.eye(6, dtype=torch.float64), atol=0.15, rtol=0)
    diagonal = learned(Metric.identity(scale), window, "diagonal", 3)
    torch.testing.assert_close(diagonal.scale, covariance.diagonal().sqrt(), rtol=0.1, atol=0)
    assert learned(truth, window, "identity", 3) is truth


@pytest.mark.parametrize("warmup", [20, 37, 100, 1000, 5000])
def test_windows_lie_within_the_warm_up_and_grow(warmup):
    ends = windows(warmup)
    assert 0 < ends[0] < ends[-1] < warmup
    lengths = np.diff(ends)
    assert (lengths > 0).all()
    assert (np.diff(lengths) >= 0).all()
