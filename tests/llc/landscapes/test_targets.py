"""Teacher-student targets: widths by counting, networks by loops, laws of inputs and noise by
closed forms, likelihoods by scipy's densities.

Statistical bounds are 5 standard errors (false alarms: 6e-7 per number, some 60 numbers) and
Kolmogorov-Smirnov tests at p = 1e-6.
"""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from causal_meta.conf import network_data as laws
from causal_meta.conf.network_data import NetworkDataConfig, TeacherConfig
from causal_meta.conf.networks import NetworkConfig, StudentConfig
from causal_meta.llc.landscapes.landscape import float_width
from causal_meta.llc.landscapes.perceptrons import Perceptron, constant_width, teacher_of
from causal_meta.llc.landscapes.targets import (
    draw_inputs,
    draw_noise,
    draw_rows,
    network_landscape,
    row_loss,
)
from causal_meta.randomness import generator

TINY = StudentConfig(in_dim=3, depth=2, target_params=40)


# ----------------------------------------------------------------------------------------- networks


def counted(config, h):
    """Parameters of `depth` layers of width h, counted layer by layer."""
    total, before = 0, config.in_dim
    for _ in range(config.depth):
        total += before * h + h * config.bias + 2 * h * config.layer_norm
        before = h
    return total + before * config.out_dim + config.out_dim * config.bias


@pytest.mark.parametrize(
    ("bias", "norm", "depth"), list(itertools.product([True, False], [True, False], [1, 2, 5]))
)
def test_the_constant_width_is_the_best_of_all(bias, norm, depth):
    for in_dim, out_dim, target in [
        (1, 1, 1),
        (4, 1, 50),
        (32, 1, 10_000),
        (7, 3, 999),
        (3, 2, 37),
    ]:
        config = StudentConfig(
            in_dim=in_dim,
            out_dim=out_dim,
            depth=depth,
            target_params=target,
            bias=bias,
            layer_norm=norm,
        )
        best = min(range(1, 1200), key=lambda h: (abs(counted(config, h) - target), h))
        assert constant_width(config) == best
        assert Perceptron(config).n_parameters == counted(config, best)


def test_presets_have_their_stated_sizes():
    assert Perceptron(StudentConfig()).n_parameters == pytest.approx(10_000, rel=0.01)
    assert (
        teacher_of(StudentConfig(), TeacherConfig()).config.widths
        == Perceptron(StudentConfig()).widths
    )
    assert teacher_of(
        StudentConfig(in_dim=4), TeacherConfig(target_params=50, depth=1)
    ).n_parameters == pytest.approx(50, abs=4)
    assert teacher_of(TINY, TeacherConfig(widths=(5, 2), activation="relu")).widths == (5, 2)


def by_hand(config, leaves, x):
    """The network on one row, in plain Python."""
    phi = {
        "relu": lambda z: max(z, 0.0),
        "tanh": math.tanh,
        "gelu": lambda z: 0.5 * z * (1 + math.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3))),
        "identity": lambda z: z,
    }[config.activation]
    n_layers, h = len(Perceptron(config).widths), list(x)
    for i in range(n_layers + 1):
        weight, bias = leaves[f"layers.{i}.weight"], leaves.get(f"layers.{i}.bias")
        z = [
            sum(h[a] * weight[a, b] for a in range(len(h))) + (0 if bias is None else bias[b])
            for b in range(weight.shape[1])
        ]
        if i == n_layers:
            return z
        if config.layer_norm:
            mean = sum(z) / len(z)
            spread = math.sqrt(sum((value - mean) ** 2 for value in z) / len(z) + 1e-5)
            z = [
                (value - mean) / spread * leaves[f"layers.{i}.scale"][b]
                + leaves[f"layers.{i}.offset"][b]
                for b, value in enumerate(z)
            ]
        a = [phi(value) for value in z]
        h = (
            [one + other for one, other in zip(a, h, strict=True)]
            if config.skip and len(a) == len(h)
            else a
        )
    raise AssertionError


@pytest.mark.parametrize(
    ("activation", "norm", "skip", "bias", "widths"),
    [
        ("relu", 0, 0, 1, (4,)),
        ("tanh", 1, 0, 1, (3, 5)),
        ("gelu", 0, 1, 1, (3, 3)),
        ("tanh", 1, 1, 0, (3, 3, 2)),
        ("identity", 0, 0, 1, ()),
    ],
)
def test_a_network_follows_its_options(activation, norm, skip, bias, widths):
    config = StudentConfig(
        in_dim=3,
        out_dim=2,
        depth=0,
        widths=widths,
        activation=activation,
        layer_norm=bool(norm),
        skip=bool(skip),
        bias=bool(bias),
    )
    network, draws = Perceptron(config), np.random.default_rng(0)
    w, x = draws.standard_normal(network.n_parameters), draws.standard_normal((5, 3))
    with float_width("float64"):
        outputs = np.asarray(network(jnp.asarray(w), jnp.asarray(x)))
    assert outputs == pytest.approx(
        np.array([by_hand(config, network.leaves(w), row) for row in x]), abs=1e-12
    )
    assert [where.stop - where.start for where in network.names.values()] == [
        math.prod(shape) for shape in network.shapes.values()
    ]


@pytest.mark.parametrize("init", ["he", "xavier", "lecun", "orthogonal"])
def test_initial_weights_have_the_variance_of_their_law(init):
    config = StudentConfig(in_dim=50, out_dim=3, widths=(40, 60), init=init, layer_norm=True)
    network = Perceptron(config)
    leaves = network.leaves(network.initial(np.random.default_rng(1)))
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise((50, 40, 60, 3))):
        weight = leaves[f"layers.{i}.weight"]
        if init == "orthogonal":
            gram = weight.T @ weight if fan_in >= fan_out else weight @ weight.T
            assert gram == pytest.approx(np.eye(len(gram)), abs=1e-12)
            continue
        variance = {"he": 2 / fan_in, "xavier": 2 / (fan_in + fan_out), "lecun": 1 / fan_in}[init]
        assert abs((weight**2).mean() / variance - 1) < 5 * math.sqrt(2 / weight.size)
        assert not leaves[f"layers.{i}.bias"].any()
    assert (leaves["layers.0.scale"] == 1).all()


# --------------------------------------------------------------------------------------------- rows


def in_standard_errors(values, expected):
    """|mean - expected| over its standard error, of columns of independent rows."""
    return np.abs(values.mean(axis=0) - expected) / (values.std(axis=0) / math.sqrt(len(values)))


N, D = 20_000, 4
INPUTS = [
    laws.GaussIsoInputs(),
    laws.GaussAnisoInputs(decay=0.5),
    laws.MixtureInputs(),
    laws.LowdimManifoldInputs(),
    laws.HeavyTailInputs(df=12),
]


def second_moments(law):
    """E[xxᵀ] where it has a closed form."""
    match law:
        case laws.GaussIsoInputs():
            return np.eye(D)
        case laws.GaussAnisoInputs():
            return np.diag(law.decay ** np.arange(D))
        case laws.HeavyTailInputs():
            return np.eye(D) * law.df / (law.df - 2)
    return None


@pytest.mark.parametrize("law", INPUTS, ids=lambda law: law.kind)
def test_inputs_have_the_moments_of_their_law(law):
    x = draw_inputs(law, N, D, seed=3)
    assert x.shape == (N, D)
    expected = second_moments(law)
    if expected is not None:
        assert in_standard_errors(x, 0).max() < 5
        assert (
            in_standard_errors(
                (x[:, :, None] * x[:, None]).reshape(N, -1), expected.reshape(-1)
            ).max()
            < 5
        )
        wrong = expected * 1.1
        assert (
            in_standard_errors((x[:, :, None] * x[:, None]).reshape(N, -1), wrong.reshape(-1)).max()
            > 5
        )
    # E|x|² = D + spread², and the covariance is I plus that of the centres
    if isinstance(law, laws.MixtureInputs):
        assert in_standard_errors((x**2).sum(axis=1)[:, None], D + law.spread**2).max() < 5
        alone = draw_inputs(dataclasses.replace(law, components=1), N, D, seed=3)
        assert np.linalg.norm(alone.mean(axis=0)) == pytest.approx(law.spread, abs=5 / math.sqrt(N))
        assert in_standard_errors(((alone - alone.mean(axis=0)) ** 2), 1).max() < 5
    # arctanh x = A z: rank 2; E x_i² follows from |A_i|
    if isinstance(law, laws.LowdimManifoldInputs):
        flat = np.arctanh(x[np.abs(x).max(axis=1) < 1 - 1e-12])
        singular = np.linalg.svd(flat, compute_uv=False)
        assert singular[law.latents] < 1e-3 * singular[0]
        nodes, weights = np.polynomial.hermite_e.hermegauss(60)
        scale = np.sqrt((np.arctanh(np.clip(x, -1 + 1e-15, 1 - 1e-15)) ** 2).mean(axis=0))
        expected = [
            float(weights @ np.tanh(s * nodes) ** 2) / math.sqrt(2 * math.pi) for s in scale
        ]
        assert np.abs((x**2).mean(axis=0) - expected).max() < 0.01


def test_heavy_tails_are_those_of_a_multivariate_t():
    radius = (draw_inputs(laws.HeavyTailInputs(), N, D, seed=1) ** 2).sum(axis=1) / D
    assert stats.kstest(radius, stats.f(D, 4).cdf).pvalue > 1e-6
    assert stats.kstest(radius, stats.f(D, 6).cdf).pvalue < 1e-6


def test_more_rows_are_rows_of_the_same_law():
    for law in INPUTS:
        shape = draw_inputs(law, 4000, D, seed=5).mean(axis=0) - draw_inputs(
            law, 8000, D, seed=5
        ).mean(axis=0)
        assert np.abs(shape).max() < 0.2, law


NOISES = [
    laws.GaussOutputNoise(),
    laws.HeteroOutputNoise(),
    laws.StudentTOutputNoise(),
    laws.OutlierOutputNoise(),
]


def density_of(law, sigma, x):
    """scipy's law of residuals [N, outputs] at x [N, D]."""
    match law:
        case laws.HeteroOutputNoise():
            return stats.norm(
                0, sigma * (1 + law.slope * np.linalg.norm(x, axis=-1, keepdims=True))
            )
        case laws.StudentTOutputNoise():
            return stats.t(law.df, scale=sigma)
    return stats.norm(0, sigma)


@pytest.mark.parametrize("law", NOISES, ids=lambda law: law.kind)
def test_noise_has_the_law_that_its_likelihood_says(law):
    x = draw_inputs(laws.GaussIsoInputs(), 5000, D, seed=1)
    noise = draw_noise(law, 0.3, x, 2, seed=2)

    def p_value(sigma):
        levels = density_of(law, sigma, x).cdf(noise)
        if isinstance(law, laws.OutlierOutputNoise):
            levels = (1 - law.fraction) * levels + law.fraction * stats.norm(0, law.scale).cdf(
                noise
            )
        return stats.kstest(levels.reshape(-1), "uniform").pvalue

    assert p_value(0.3) > 1e-6
    assert p_value(0.36) < 1e-6


def config_of(law, loss="nll", **changes):
    return NetworkConfig(
        model=TINY,
        data=NetworkDataConfig(n_rows=30, noise=law, noise_scale=0.3, **changes),
        loss=loss,
    )


@pytest.mark.parametrize("law", NOISES, ids=lambda law: law.kind)
@pytest.mark.parametrize("loss", ["nll", "gauss", "student_t"])
def test_losses_are_the_log_densities_of_scipy(law, loss):
    draws = np.random.default_rng(4)
    outputs, x, y = (draws.standard_normal((6, d)) for d in (2, 3, 2))
    with float_width("float64"):
        losses = np.asarray(
            row_loss(config_of(law, loss))(jnp.asarray(outputs), jnp.asarray(x), jnp.asarray(y))
        )
    residual = y - outputs
    if loss == "student_t":
        expected = -stats.t(getattr(law, "df", 4.0), scale=0.3).logpdf(residual)
    elif loss == "nll" and isinstance(law, laws.OutlierOutputNoise):
        expected = -np.log(
            0.95 * stats.norm(0, 0.3).pdf(residual) + 0.05 * stats.norm(0, 2).pdf(residual)
        )
    else:
        expected = -density_of(law if loss == "nll" else laws.GaussOutputNoise(), 0.3, x).logpdf(
            residual
        )
    assert losses == pytest.approx(expected.sum(axis=1), rel=1e-12)


def test_the_mean_square_is_the_gaussian_loss_in_other_units():
    draws = np.random.default_rng(4)
    outputs, x, y = (draws.standard_normal((6, d)) for d in (1, 3, 1))
    with float_width("float64"):
        square, gauss = (
            np.asarray(row_loss(config_of(laws.GaussOutputNoise(), loss))(outputs, x, y))
            for loss in ("mse", "nll")
        )
    assert gauss == pytest.approx(
        square / (2 * 0.3**2) + math.log(0.3) + 0.5 * math.log(2 * math.pi), rel=1e-12
    )


def test_outputs_are_the_teacher_and_noise_and_nothing_else():
    config = config_of(laws.GaussOutputNoise())
    quiet = dataclasses.replace(
        config, data=dataclasses.replace(config.data, noise_scale=0.0), loss="mse"
    )
    rows, clean = draw_rows(config), draw_rows(quiet)
    assert (rows["x"] == clean["x"]).all()
    assert rows["y"] - clean["y"] == pytest.approx(
        draw_noise(config.data.noise, 0.3, rows["x"], 1, config.seed), abs=1e-12
    )
    teacher = teacher_of(TINY, config.data.teacher)
    landscape = network_landscape(quiet, clean, teacher.initial(generator(0, "network teacher")))
    with float_width("float64"):
        # the realisable target: L_n(w*) = 0
        assert float(jax.jit(landscape.mean_loss)(landscape.centre, landscape.data)) < 1e-25
    other = draw_rows(dataclasses.replace(config, seed=1))
    assert not np.isclose(other["x"], rows["x"]).any()


def test_dropped_outputs_keep_the_mean():
    config = NetworkConfig(
        model=TINY,
        data=NetworkDataConfig(n_rows=20_000, noise_scale=0.0, teacher=TeacherConfig(dropout=0.3)),
        loss="mse",
    )
    whole = dataclasses.replace(
        config, data=dataclasses.replace(config.data, teacher=TeacherConfig())
    )
    dropped, kept = draw_rows(config)["y"], draw_rows(whole)["y"]
    gone = dropped == 0
    assert abs(gone.mean() - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 20_000)
    assert dropped[~gone] == pytest.approx(kept[~gone] / 0.7, rel=1e-12)


# --------------------------------------------------------------------------------------- landscapes


@pytest.mark.parametrize("law", NOISES, ids=lambda law: law.kind)
def test_the_order_of_rows_does_not_matter_and_gradients_reach_every_parameter(law):
    config = config_of(law)
    rows = draw_rows(config)
    w = Perceptron(TINY).initial(np.random.default_rng(0)) + 0.1
    landscape = network_landscape(config, rows, w)
    order = np.random.default_rng(1).permutation(30)
    with float_width("float64"):
        value_and_slope = jax.jit(jax.value_and_grad(landscape.mean_loss))
        value, slope = value_and_slope(w, rows)
        assert float(value) == pytest.approx(
            float(value_and_slope(w, {key: values[order] for key, values in rows.items()})[0]),
            rel=1e-13,
        )
    slope = np.asarray(slope)
    assert np.isfinite(slope).all()
    assert (slope != 0).all()
    assert (
        sum(where.stop - where.start for where in landscape.parameter_names.values())
        == landscape.n_parameters
        == len(w)
    )
