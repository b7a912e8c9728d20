"""Landscapes of formulas: their losses, points, rows and exact values agree."""

import dataclasses
import itertools
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from causal_meta.conf import forms
from causal_meta.conf.networks import NetworkModelConfig
from causal_meta.conf.registry import implementation, tags
from causal_meta.conf.setting import ConfigError
from causal_meta.llc.exact import oracles
from causal_meta.llc.exact.cubature import cubature
from causal_meta.llc.landscapes.forms import FORMS, form_landscape, gibbs_network
from causal_meta.llc.landscapes.landscape import float_width
from causal_meta.llc.landscapes.local_posterior import tempered_rows

PLAIN = {
    "quadratic": forms.QuadraticConfig(n_parameters=5, condition_number=10, flat=1, rotated=True),
    "power_sum": forms.PowerSumConfig(exponents=(2, 4, 6), coefficients=(1.0, 0.5, 2.0)),
    "normal_crossing": forms.NormalCrossingConfig(exponents=(2, 4), coefficient=3.0),
}
TAUGHT = {
    f"{config.kind} {sample} {extra}": dataclasses.replace(config, sample=sample)
    for sample in ("population", "noiseless", "noisy")
    for extra, config in (
        ("", forms.LinearRegressionConfig(n_parameters=4, condition_number=5, noise_std=0.5)),
        ("truth", forms.LinearRegressionConfig(n_parameters=3, centre="truth")),
        ("", forms.MonomialRegressionConfig(powers=(1, 2))),
        ("free", forms.MonomialRegressionConfig(powers=(0, 3))),
        (
            "",
            forms.ReducedRankConfig(
                n_inputs=3, n_hidden=2, n_outputs=4, rank=1, input_std=1.5, noise_std=0.7
            ),
        ),
        ("ranks", forms.ReducedRankConfig(rank_in=4)),
        ("", forms.DeepLinearConfig(widths=(3, 2, 2, 3), scale=0.5, noise_std=2.0)),
        ("ranks", forms.DeepLinearConfig(widths=(3, 3, 4, 3), ranks=(1, 2, 1))),
    )
}
ALL = PLAIN | TAUGHT
N = 400


def functions(config, n=N, seed=3):
    """The landscape at double precision, and its mean loss as a function of w alone; to be used at
    that width."""
    landscape = form_landscape(config, n, seed).at_width("float64")
    return landscape, lambda w: landscape.mean_loss(w, landscape.data)


def test_every_form_is_tested():
    assert (
        {config.kind for config in ALL.values()}
        == set(FORMS)
        == set(tags(NetworkModelConfig)) - {"student"}
    )
    assert all(implementation(config) is form_landscape for config in ALL.values())


@pytest.mark.parametrize("name", [name for name in ALL if "noiseless" not in name])
def test_gradients_are_those_of_differences(name):
    """JAX's gradient against central differences around a random point near w*, negative
    coordinates included; a doubled gradient is detected."""
    with float_width("float64"):
        landscape, loss = functions(ALL[name])
        w = np.asarray(landscape.centre) + 0.3 * np.random.default_rng(1).standard_normal(
            landscape.n_parameters
        )
        steps = w + 1e-5 * np.concatenate([np.eye(len(w)), -np.eye(len(w))])
        both = jax.jit(lambda w, steps: (jax.grad(loss)(w), jax.vmap(loss)(steps)))
        gradient, values = map(np.asarray, both(w, steps))
    differences = (values[: len(w)] - values[len(w) :]) / 2e-5
    assert differences == pytest.approx(gradient, rel=1e-5, abs=1e-6 * np.abs(gradient).max())
    assert differences != pytest.approx(2 * gradient, rel=1e-5, abs=1e-6 * np.abs(gradient).max())


@pytest.mark.parametrize("name", ALL)
def test_the_point_and_its_loss(name):
    """K(w*) = 0 and flat; the loss of rows at the truth is the entropy of the noise, within 4
    standard errors of the rows' losses."""
    config = ALL[name]
    sample = getattr(config, "sample", "population")
    with float_width("float64"):
        landscape, loss = functions(config)
        value, gradient = jax.jit(jax.value_and_grad(loss))(landscape.centre)
        value, gradient = float(value), np.asarray(gradient)
        rows = (
            None
            if landscape.row_losses is None
            else np.asarray(jax.jit(landscape.row_losses)(landscape.centre, landscape.data))
        )
    if sample == "population":
        assert abs(value) < 1e-28
        assert rows is None
    else:
        assert rows.shape == (N,)
        assert rows.mean() == pytest.approx(value, rel=1e-12)
        outputs = landscape.data["y"].shape[1]
        entropy = outputs * (0.5 * np.log(2 * np.pi) + np.log(config.noise_std))
        if sample == "noisy":
            assert (
                abs(value - entropy - outputs / 2)
                < 4 * np.sqrt(outputs / 2 / N) + landscape.n_parameters / N
            )
        else:
            assert value == pytest.approx(entropy, rel=1e-12)
    if sample != "noisy" or getattr(config, "centre", "truth") == "minimum":
        assert np.abs(gradient).max() < 1e-12
    elif config.kind != "monomial_regression":
        assert np.abs(gradient).max() > 1e-4  # rows with noise have their minimum elsewhere


@pytest.mark.parametrize(
    "name", ["reduced_rank noisy ranks", "deep_linear noiseless ranks", "reduced_rank population "]
)
def test_minibatches_and_precision(name):
    """The mean over two halves of the rows is the mean over all; in single precision the loss is
    the same to single precision."""
    landscape, losses = form_landscape(ALL[name], N, 3), {}
    for width, tolerance in (("float32", 1e-4), ("float64", 1e-12)):
        with float_width(width):
            at = landscape.at_width(width)
            w, mean_loss = at.centre + 0.1, jax.jit(at.mean_loss)
            losses[width] = float(mean_loss(w, at.data))
            assert jnp.asarray(at.centre).dtype == width
            if at.row_losses is not None:
                halves = [
                    mean_loss(w, {key: value[part] for key, value in at.data.items()})
                    for part in (slice(0, N // 2), slice(N // 2, N))
                ]
                assert sum(map(float, halves)) / 2 == pytest.approx(losses[width], rel=tolerance)
    assert losses["float32"] == pytest.approx(losses["float64"], rel=1e-4)


def linear(config, seed=3):
    landscape = form_landscape(config, N, seed)
    shapes = [(after, before) for before, after in itertools.pairwise(config.widths_of())]
    return landscape, [
        landscape.centre[part].reshape(shape)
        for part, shape in zip(landscape.parameter_names.values(), shapes, strict=True)
    ]


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in ALL
        if isinstance(ALL[name], forms.LinearNetworkConfig) and "population" in name
    ],
)
def test_layers_have_their_ranks(name):
    """Ranks of layers and of the map at w*, its singular values, and the slices of the parameter
    names."""
    config = ALL[name]
    landscape, layers = linear(config)
    assert tuple(np.linalg.matrix_rank(layer) for layer in layers) == config.ranks_of()
    values = np.linalg.svd(reduce(lambda done, layer: layer @ done, layers), compute_uv=False)
    assert values == pytest.approx(
        [config.scale] * config.rank + [0.0] * (len(values) - config.rank), abs=1e-12
    )
    assert (
        sum(part.stop - part.start for part in landscape.parameter_names.values())
        == landscape.n_parameters
    )
    assert form_landscape(config, N, 4).centre != pytest.approx(landscape.centre)
    assert form_landscape(config, N, 3).centre == pytest.approx(landscape.centre, abs=0)


def test_changes_of_basis_leave_loss_and_coefficient():
    """(W_s, W_{s+1}) → (G W_s, W_{s+1} G⁻¹), rescaling of layers included: the same map, so the
    same loss, ranks and λ."""
    config = ALL["deep_linear population "]
    landscape, layers = linear(config)
    random = np.random.default_rng(0)
    moved = [layer + 0.2 * random.standard_normal(layer.shape) for layer in layers]
    for turn in (3.0 * np.eye(2), random.standard_normal((2, 2))):
        turned = [turn @ moved[0], moved[1] @ np.linalg.inv(turn), moved[2]]
        with float_width("float64"):
            value, expected = (
                float(
                    landscape.mean_loss(
                        jnp.asarray(np.concatenate([layer.ravel() for layer in layers])), {}
                    )
                )
                for layers in (moved, turned)
            )
        assert value == pytest.approx(expected, rel=1e-10)
        at = [turn @ layers[0], layers[1] @ np.linalg.inv(turn), layers[2]]
        assert [np.linalg.matrix_rank(layer) for layer in at] == [
            np.linalg.matrix_rank(layer) for layer in layers
        ]
    assert (
        landscape.exact
        == {"lambda": 3.0, "multiplicity": 1}
        == {"lambda": float(oracles.deep_linear((3, 2, 2, 3), 1).value), "multiplicity": 1}
    )


def test_rotations_leave_the_exact_value():
    plain, rotated = (
        form_landscape(dataclasses.replace(PLAIN["quadratic"], rotated=turned), N, 3)
        for turned in (False, True)
    )
    assert plain.expectation(80.0, 1.0) == rotated.expectation(80.0, 1.0)
    with float_width("float64"):
        curvatures = [
            np.linalg.eigvalsh(jax.hessian(item.population_loss)(jnp.zeros(5)))
            for item in (plain, rotated)
        ]
    assert curvatures[0] == pytest.approx(curvatures[1], abs=1e-12)


FEW = 20


def by_cubature(config, n_beta, gamma):
    """The exact value from values of the landscape's loss alone."""
    landscape = form_landscape(config, FEW, 3)
    with float_width("float64"):
        at = landscape.at_width("float64")
        many = jax.jit(
            jax.vmap(
                lambda w: at.mean_loss(at.centre + w, at.data) - at.mean_loss(at.centre, at.data)
            )
        )

        def above(w):
            padded = np.zeros((-(-len(w) // 8192) * 8192, w.shape[1]))
            padded[: len(w)] = w
            return np.concatenate(
                [np.asarray(many(part)) for part in np.split(padded, len(padded) // 8192)]
            )[: len(w)]

        return cubature(above, landscape.n_parameters, n_beta, gamma, tolerance=1e-3)


SMALL = {
    "quadratic": forms.QuadraticConfig(n_parameters=2, condition_number=20, rotated=True),
    "power_sum": forms.PowerSumConfig(exponents=(2, 4), coefficients=(1.0, 0.5)),
    "normal_crossing": PLAIN["normal_crossing"],
    "linear_regression": forms.LinearRegressionConfig(
        n_parameters=2, condition_number=5, centre="truth"
    ),
    "monomial_regression": forms.MonomialRegressionConfig(powers=(1, 2)),
    "monomial_regression free": forms.MonomialRegressionConfig(powers=(0, 1)),
    "monomial_regression noiseless": forms.MonomialRegressionConfig(
        powers=(1, 1), sample="noiseless"
    ),
    "reduced_rank": forms.ReducedRankConfig(n_inputs=1, n_hidden=1, n_outputs=1, rank=1),
    "reduced_rank noisy": forms.ReducedRankConfig(
        n_inputs=1, n_hidden=1, n_outputs=1, rank=0, sample="noisy"
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_exact_values_are_those_of_the_loss_that_samplers_evaluate(name):
    """`expectation` against cubature of the landscape's loss itself; of linear networks within 4
    standard errors. Twice the γ is detected."""
    landscape = form_landscape(SMALL[name], FEW, 3)
    integral = by_cubature(SMALL[name], tempered_rows(FEW), 1.0)
    value, error = landscape.expectation(tempered_rows(FEW), 1.0)
    assert abs(integral.value - value) < integral.error + 4 * error + 1e-7
    other, _ = landscape.expectation(tempered_rows(FEW), 2.0)
    assert abs(integral.value - other) > integral.error + 4 * error + 1e-7


LOCAL = [
    (forms.ReducedRankConfig(), 10.5), (forms.ReducedRankConfig(rank_in=4), 11.0), (
        forms.ReducedRankConfig(rank_in=3, rank_out=3), 10.5),
    (forms.DeepLinearConfig(widths=(4, 3, 5, 4), ranks=(1, 3, 1)), 6.0),
]  # fmt: skip


@pytest.mark.parametrize(
    ("config", "value"), LOCAL, ids=lambda item: str(getattr(item, "ranks_of", str)())
)
def test_exact_draws_show_the_local_coefficients(config, value):
    """λ at points of one map with other ranks: close to w* (γ = 1e4) at nβ = 1e12 exact draws come
    within 0.05, and λ's differ by 0.5."""
    assert form_landscape(config, N, 1).exact["lambda"] == value
    mean, error = gibbs_network(config, N, 1).expectation(1e12, 1e4, chains=64, sweeps=400)
    assert value - 0.05 < mean < value + 4 * error


def test_rows_of_a_seed():
    """Rows depend on the seed; a larger sample begins with the smaller one."""
    config = forms.LinearRegressionConfig()
    first, again, more, other = (
        form_landscape(config, n, seed).data["x"]
        for n, seed in ((50, 1), (50, 1), (80, 1), (50, 2))
    )
    assert np.array_equal(first, again)
    assert np.array_equal(first, more[:50])
    assert not np.array_equal(first, other)


def test_fewer_rows_than_inputs_have_no_known_coefficient():
    assert form_landscape(forms.LinearRegressionConfig(n_parameters=10), 8, 0).exact == {}
    assert form_landscape(forms.ReducedRankConfig(sample="noiseless"), 4, 0).exact == {}
    assert form_landscape(forms.ReducedRankConfig(), 4, 0).exact


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: forms.PowerSumConfig(exponents=(3,)), lambda: forms.PowerSumConfig(exponents=(2,),
        coefficients=(1.0, 2.0)),
        lambda: forms.QuadraticConfig(n_parameters=2, flat=3),
        lambda: forms.MonomialRegressionConfig(powers=(0, 0)),
        lambda: forms.ReducedRankConfig(rank=5), lambda: forms.ReducedRankConfig(rank_in=1),
        lambda: forms.ReducedRankConfig(rank_in=4, rank_out=4),
        lambda: forms.DeepLinearConfig(widths=(3,)), lambda: forms.DeepLinearConfig(ranks=(1, 1)),
        lambda: forms.NormalCrossingConfig(exponents=()),
    ],
)  # fmt: skip
def test_impossible_arguments_are_refused(wrong):
    with pytest.raises(ConfigError, match=r"\.$"):
        wrong()


def test_no_form_and_too_few_rows():
    from causal_meta.conf.networks import StudentConfig

    with pytest.raises(ValueError, match="is no formula"):
        form_landscape(StudentConfig(), 10, 0)
    with pytest.raises(ValueError, match="at least 2 rows"):
        form_landscape(forms.PowerSumConfig(), 1, 0)
