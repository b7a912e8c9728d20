"""Loss landscapes of formulas, with their exact λ, m and finite-n expectations, against which
samplers are tested.

Configuration, n and seed determine a landscape to the last bit: rows, true maps and rotations are
drawn from the streams (seed, "network", kind, …).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from functools import reduce
from typing import TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from causal_meta.conf import forms
from causal_meta.conf.networks import NetworkModelConfig
from causal_meta.llc.exact import oracles, quadrature
from causal_meta.llc.exact.cubature import cubature
from causal_meta.llc.exact.gibbs import LinearNetwork
from causal_meta.llc.landscapes.landscape import Landscape, Rows, Values
from causal_meta.randomness import generator

Floats = NDArray[np.float64]
Finite = Callable[[float, float], tuple[float, float]]


def form_landscape(config: NetworkModelConfig, n: int, seed: int) -> Landscape:
    """The landscape of a formula (a "form") with n rows, around its w*; for a population loss n
    sets the temperature alone.

    Returns:
        A landscape with λ and m in `exact` where they are known, and the exact finite-n value with
        its error in `expectation(nβ, γ)`.

    Raises:
        ValueError: for n < 2, and for a model that is no form.
    """
    match config:
        case forms.QuadraticConfig():
            return _quadratic(config, n, seed)
        case forms.PowerSumConfig():
            return _power_sum(config, n)
        case forms.NormalCrossingConfig():
            return _normal_crossing(config, n)
        case forms.LinearRegressionConfig():
            return _linear_regression(config, n, seed)
        case forms.MonomialRegressionConfig():
            return _monomial_regression(config, n, seed)
        case forms.LinearNetworkConfig():
            return _linear_network(config, n, seed)
        case _:
            raise ValueError(f"{config.kind!r} is no formula; a form is one of {', '.join(FORMS)}.")


# Exact draws of a linear network take a few seconds up to the first width, half a minute up to
# the second.
NARROW, WIDEST = 10, 48
FORMS = (
    "quadratic",
    "power_sum",
    "normal_crossing",
    "linear_regression",
    "monomial_regression",
    "reduced_rank",
    "deep_linear",
)


def _known(coefficient: oracles.Coefficient | None) -> dict[str, float]:
    return (
        {}
        if coefficient is None
        else {"lambda": float(coefficient.value), "multiplicity": coefficient.multiplicity}
    )


def _rotation(size: int, seed: int, *names: str | int) -> Floats:
    """A random orthogonal matrix by Haar's law: the signs make the diagonal of R positive (Mezzadri
    2007)."""
    q, r = np.linalg.qr(generator(seed, "network", *names).standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diag(r)))


def _quadratic(config: forms.QuadraticConfig, n: int, seed: int) -> Landscape:
    size = config.n_parameters - config.flat
    values = np.zeros(config.n_parameters)
    values[:size] = (
        config.curvature * np.geomspace(1, 1 / config.condition_number, size) if size else 0
    )
    frame = (
        _rotation(config.n_parameters, seed, "quadratic")
        if config.rotated
        else np.eye(config.n_parameters)
    )

    def loss(w: jax.Array) -> jax.Array:
        rotated = w @ jnp.asarray(frame, w.dtype) if config.rotated else w
        return 0.5 * jnp.sum(jnp.asarray(values, w.dtype) * rotated**2)

    return Landscape(
        name="quadratic",
        n=n,
        centre=np.zeros(config.n_parameters),
        population_loss=loss,
        exact=_known(oracles.regular(config.n_parameters, config.flat)),
        expectation=lambda n_beta, gamma: quadrature.gaussian(values, n_beta, gamma),
    )


def _powers(w: jax.Array, exponents: tuple[int, ...]) -> jax.Array:
    """w_i^{e_i} by integer powers, which are correct for negative w and differentiable at 0."""
    if len(set(exponents)) == 1:
        return w ** exponents[0]
    return jnp.stack([w[index] ** exponent for index, exponent in enumerate(exponents)])


def _power_sum(config: forms.PowerSumConfig, n: int) -> Landscape:
    scales = np.array(config.coefficients or (1.0,) * len(config.exponents))
    return Landscape(
        name="power_sum",
        n=n,
        centre=np.zeros(len(scales)),
        population_loss=lambda w: jnp.sum(
            jnp.asarray(scales, w.dtype) * _powers(w, config.exponents)
        ),
        exact=_known(oracles.power_sum(config.exponents)),
        expectation=lambda n_beta, gamma: quadrature.power_sum(
            config.exponents, n_beta, gamma, config.coefficients
        ),
    )


def _normal_crossing(config: forms.NormalCrossingConfig, n: int) -> Landscape:
    return Landscape(
        name="normal_crossing",
        n=n,
        centre=np.zeros(len(config.exponents)),
        population_loss=lambda w: config.coefficient * jnp.prod(_powers(w, config.exponents)),
        exact=_known(oracles.normal_crossing(config.exponents)),
        expectation=lambda n_beta, gamma: quadrature.normal_crossing(
            config.exponents, n_beta, gamma, config.coefficient
        ),
    )


def _rows(
    config: forms.TeacherFormConfig, n: int, seed: int, true_map: Floats, stds: Floats
) -> dict[str, Floats]:
    """Rows x [n, N] ~ N(0, diag stds²) and y = true_map x [n, M], with noise where the sample is
    noisy."""
    x = generator(seed, "network", config.kind, "inputs").standard_normal((n, len(stds))) * stds
    y = x @ true_map.T
    if config.sample == "noisy":
        y = y + config.noise_std * generator(seed, "network", config.kind, "noise").standard_normal(
            y.shape
        )
    return {"x": x, "y": y}


def _gauss(residuals: Values, std: float) -> jax.Array:
    """Negative log-likelihood [B] of each row's residuals [B, M] under N(0, std²)."""
    constant = residuals.shape[-1] * (math.log(std) + 0.5 * math.log(2 * math.pi))
    return jnp.sum(residuals**2, -1) / (2 * std**2) + constant


def _linear_regression(config: forms.LinearRegressionConfig, n: int, seed: int) -> Landscape:
    size = config.n_parameters
    stds = config.input_std * np.geomspace(1, config.condition_number**-0.5, size)
    truth = generator(seed, "network", config.kind, "truth").standard_normal(size)
    known, name = _known(oracles.regular(size)), "linear_regression"
    if config.sample == "population":
        values = (stds / config.noise_std) ** 2
        return Landscape(
            name=name,
            n=n,
            centre=truth,
            population_loss=lambda w: (
                0.5 * jnp.sum(jnp.asarray(values, w.dtype) * (w - jnp.asarray(truth, w.dtype)) ** 2)
            ),
            exact=known,
            expectation=lambda n_beta, gamma: quadrature.gaussian(values, n_beta, gamma),
        )
    rows = _rows(config, n, seed, truth[None], stds)
    values, frame = np.linalg.eigh(rows["x"].T @ rows["x"] / (n * config.noise_std**2))
    values = np.maximum(values, 0)  # n < P leaves directions without curvature
    minimum = (
        truth
        if config.sample == "noiseless"
        else truth + np.linalg.lstsq(rows["x"], rows["y"][:, 0] - rows["x"] @ truth, rcond=None)[0]
    )
    centre = minimum if config.centre == "minimum" else truth
    offset = frame.T @ (minimum - centre)
    return Landscape(
        name=name,
        n=n,
        centre=centre,
        data=rows,
        row_losses=lambda w, part: _gauss(part["y"] - (part["x"] @ w)[:, None], config.noise_std),
        exact=known if n >= size else {},
        expectation=lambda n_beta, gamma: quadrature.gaussian(values, n_beta, gamma, offset),
    )


def _monomial_regression(config: forms.MonomialRegressionConfig, n: int, seed: int) -> Landscape:
    known, name = (
        _known(oracles.normal_crossing([2 * p for p in config.powers])),
        "monomial_regression",
    )
    centre = np.zeros(len(config.powers))
    if config.sample == "population":
        scale = 0.5 * (config.input_std / config.noise_std) ** 2
        return Landscape(
            name=name,
            n=n,
            centre=centre,
            population_loss=lambda w: scale * jnp.prod(_powers(w, config.powers)) ** 2,
            exact=known,
            expectation=lambda n_beta, gamma: quadrature.normal_crossing(
                [2 * p for p in config.powers], n_beta, gamma, scale
            ),
        )
    rows = _rows(config, n, seed, np.zeros((1, 1)), np.array([config.input_std]))
    return Landscape(
        name=name,
        n=n,
        centre=centre,
        data=rows,
        row_losses=lambda w, part: _gauss(
            part["y"] - part["x"] * jnp.prod(_powers(w, config.powers)), config.noise_std
        ),
        exact=known,
        expectation=_monomial_expectation(config, rows),
    )


def _monomial_expectation(config: forms.MonomialRegressionConfig, rows: Rows) -> Finite | None:
    """L_n(w) - L_n(0) = (s_xx f² - 2 s_xy f) / (2σ²) with f = Π w_i^{p_i}: a normal crossing
    without noise, cubature in 3 dimensions with it."""
    used = [power for power in config.powers if power]
    over = 2 * config.noise_std**2
    square, cross = (
        float(np.mean(rows["x"] ** 2)) / over,
        float(np.mean(rows["x"] * rows["y"])) / over,
    )
    if cross == 0:
        return lambda n_beta, gamma: quadrature.normal_crossing(
            [2 * p for p in used], n_beta, gamma, square
        )
    if len(used) > 3:
        return None

    def excess(w: Floats) -> Floats:
        f: Floats = np.prod(w ** np.array(used), axis=1)
        return square * f * f - 2 * cross * f

    return lambda n_beta, gamma: cubature(excess, len(used), n_beta, gamma)


def _true_layers(config: forms.LinearNetworkConfig, seed: int) -> list[Floats]:
    """Layers W_s [H_{s+1}, H_s] of the configured ranks, whose product has `rank` singular values
    `scale`, each layer in random orthogonal bases.

    In these bases the first r units are connected through all layers. A rank above r connects the
    last input units, which no earlier layer reaches, to output units that no later layer reads.
    """
    widths, rank = config.widths_of(), config.rank
    size = config.scale ** (1 / (len(widths) - 1))
    frames = [
        _rotation(width, seed, config.kind, "frame", index) for index, width in enumerate(widths)
    ]
    layers = []
    for index, layer_rank in enumerate(config.ranks_of()):
        layer = np.zeros((widths[index + 1], widths[index]))
        layer[range(rank), range(rank)] = size
        extra = np.arange(layer_rank - rank)
        layer[rank + extra, widths[index] - 1 - extra] = size
        layers.append(frames[index + 1] @ layer @ frames[index].T)
    return layers


def gibbs_network(config: forms.LinearNetworkConfig, n: int, seed: int) -> LinearNetwork:
    """The linear network of a form as input of the Gibbs sampler: its population loss K, or the
    moments of its n rows."""
    layers = _true_layers(config, seed)
    true_map = reduce(lambda product, layer: layer @ product, layers)
    if config.sample == "population":
        root = config.input_std / config.noise_std
        return LinearNetwork(tuple(layers), root * np.eye(true_map.shape[1]), root * true_map)
    rows = _rows(config, n, seed, true_map, np.full(true_map.shape[1], config.input_std))
    return LinearNetwork.from_rows(layers, rows["x"], rows["y"], config.noise_std)


@functools.lru_cache(maxsize=64)
def _drawn(
    config: forms.LinearNetworkConfig, n: int, seed: int, n_beta: float, gamma: float
) -> tuple[float, float]:
    """The expectation by exact draws, computed once in a process; wide networks need fewer draws,
    since their relative spread is smaller."""
    wide = max(config.widths_of()) > NARROW
    return gibbs_network(config, n, seed).expectation(
        n_beta, gamma, chains=32 if wide else 256, sweeps=400 if wide else 1000
    )


class _Shared(TypedDict):
    """Arguments of `Landscape` that do not depend on the kind of sample."""

    name: str
    n: int
    centre: Floats
    parameter_names: dict[str, slice]
    exact: dict[str, float]
    expectation: Finite | None


def _linear_network(config: forms.LinearNetworkConfig, n: int, seed: int) -> Landscape:
    layers, widths = _true_layers(config, seed), config.widths_of()
    true_map = reduce(lambda product, layer: layer @ product, layers)
    ends = np.cumsum([0, *(layer.size for layer in layers)])
    names = {
        f"layer_{index + 1}": slice(int(ends[index]), int(ends[index + 1]))
        for index in range(len(layers))
    }

    def product(w: jax.Array) -> jax.Array:
        parts = (
            w[names[f"layer_{index + 1}"]].reshape(layer.shape)
            for index, layer in enumerate(layers)
        )
        return reduce(lambda before, part: part @ before, parts)

    shared: _Shared = {
        "name": config.kind,
        "n": n,
        "centre": np.concatenate([layer.ravel() for layer in layers]),
        "parameter_names": names,
        "exact": _known(
            oracles.deep_linear_at(oracles.rank_pattern(widths, config.rank, config.ranks_of()))
        ),
        "expectation": None
        if max(widths) > WIDEST
        else lambda n_beta, gamma: _drawn(config, n, seed, n_beta, gamma),
    }
    if config.sample == "population":
        scale = (config.input_std / config.noise_std) ** 2
        return Landscape(
            population_loss=lambda w: (
                0.5 * scale * jnp.sum((product(w) - jnp.asarray(true_map, w.dtype)) ** 2)
            ),
            **shared,
        )
    # n rows span fewer directions than there are inputs, which changes the ranks and so λ
    if n < widths[0]:
        shared["exact"] = {}
    return Landscape(
        data=_rows(config, n, seed, true_map, np.full(widths[0], config.input_std)),
        row_losses=lambda w, part: _gauss(part["y"] - part["x"] @ product(w).T, config.noise_std),
        **shared,
    )
