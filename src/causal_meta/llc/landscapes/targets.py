"""Teacher-student targets: distributions of inputs and noise, the teacher's rows, and the landscape
of a student's loss on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Float
from numpy.typing import NDArray

from causal_meta.conf.network_data import (
    GaussAnisoInputs,
    GaussIsoInputs,
    HeavyTailInputs,
    HeteroOutputNoise,
    InputLawConfig,
    LowdimManifoldInputs,
    MixtureInputs,
    OutlierOutputNoise,
    OutputNoiseConfig,
    StudentTOutputNoise,
)
from causal_meta.conf.networks import NetworkConfig, StudentConfig
from causal_meta.llc.landscapes.landscape import Landscape, Rows, Values, float_width
from causal_meta.llc.landscapes.perceptrons import Perceptron, teacher_of
from causal_meta.randomness import generator

Floats = NDArray[np.float64]
# predictions [N, outputs], x [N, D], y [N, outputs] -> [N]
RowLoss = Callable[[jax.Array, Values, Values], jax.Array]
_LOG_ROOT = 0.5 * math.log(2 * math.pi)


def draw_inputs(
    law: InputLawConfig, n_rows: int, in_dim: int, seed: int
) -> Float[np.ndarray, "N D"]:
    """Inputs x from the distribution `law`; its centres or its matrix come from a separate random
    stream, so that they do not depend on the number of rows."""
    rows, shape = generator(seed, "network inputs"), generator(seed, "network input law")
    match law:
        case GaussIsoInputs():
            return rows.standard_normal((n_rows, in_dim))
        case GaussAnisoInputs():
            return rows.standard_normal((n_rows, in_dim)) * law.decay ** (np.arange(in_dim) / 2)
        case MixtureInputs():
            centres = shape.standard_normal((law.components, in_dim))
            centres *= law.spread / np.linalg.norm(centres, axis=1, keepdims=True)
            return centres[rows.integers(law.components, size=n_rows)] + rows.standard_normal(
                (n_rows, in_dim)
            )
        case LowdimManifoldInputs():
            return np.tanh(
                rows.standard_normal((n_rows, law.latents))
                @ shape.standard_normal((law.latents, in_dim))
            )
        case HeavyTailInputs():
            return rows.standard_normal((n_rows, in_dim)) / np.sqrt(
                rows.chisquare(law.df, (n_rows, 1)) / law.df
            )
    raise TypeError(f"No inputs are drawn from {type(law).__name__}.")


def draw_noise(
    law: OutputNoiseConfig, scale: float, x: Float[np.ndarray, "N D"], n_outputs: int, seed: int
) -> Float[np.ndarray, "N outputs"]:
    """The noise of the outputs at x, of standard deviation `scale` (σ) in the standard case."""
    rows = generator(seed, "network noise")
    size = (len(x), n_outputs)
    normal = rows.standard_normal(size)
    match law:
        case HeteroOutputNoise():
            return scale * (1 + law.slope * np.linalg.norm(x, axis=1, keepdims=True)) * normal
        case StudentTOutputNoise():
            return scale * normal / np.sqrt(rows.chisquare(law.df, size) / law.df)
        case OutlierOutputNoise():
            return np.where(rows.random(size) < law.fraction, law.scale, scale) * normal
    return scale * normal


def draw_rows(config: NetworkConfig) -> dict[str, Floats]:
    """The rows x [N, D] and y [N, outputs] of a teacher-student target: y = dropout(teacher(x)) +
    noise."""
    student, data, seed = config.model, config.data, config.seed
    assert isinstance(student, StudentConfig)
    teacher = teacher_of(student, data.teacher)
    x = draw_inputs(data.inputs, data.n_rows, student.in_dim, seed)
    with float_width("float64"):
        y = np.asarray(jax.jit(teacher)(teacher.initial(generator(seed, "network teacher")), x))
    keep = 1 - data.teacher.dropout
    if keep < 1:
        y = y * (generator(seed, "network dropout").random(y.shape) < keep) / keep
    return {"x": x, "y": y + draw_noise(data.noise, data.noise_scale, x, student.out_dim, seed)}


def row_loss(config: NetworkConfig) -> RowLoss:
    """The loss of each row [N]: -log p(y | outputs) in nats, summed over the outputs, or the mean
    squared error (`mse`)."""
    noise, sigma = config.data.noise, config.data.noise_scale
    laws = {
        "nll": noise,
        "gauss": None,
        "student_t": noise if isinstance(noise, StudentTOutputNoise) else StudentTOutputNoise(),
    }
    if config.loss == "mse":
        return lambda outputs, x, y: ((outputs - y) ** 2).mean(axis=-1)
    law = laws[config.loss]

    def normal(residual: jax.Array, scale: jax.Array | float) -> jax.Array:
        return 0.5 * (residual / scale) ** 2 + jnp.log(scale) + _LOG_ROOT

    def loss(outputs: jax.Array, x: Values, y: Values) -> jax.Array:
        residual = outputs - y
        match law:
            case HeteroOutputNoise():
                values = normal(
                    residual, sigma * (1 + law.slope * jnp.linalg.norm(x, axis=-1, keepdims=True))
                )
            case StudentTOutputNoise():
                constant = (
                    math.lgamma(law.df / 2)
                    - math.lgamma((law.df + 1) / 2)
                    + 0.5 * math.log(law.df * math.pi)
                    + math.log(sigma)
                )
                values = (law.df + 1) / 2 * jnp.log1p((residual / sigma) ** 2 / law.df) + constant
            case OutlierOutputNoise() if 0 < law.fraction < 1:
                parts = (
                    math.log1p(-law.fraction) - normal(residual, sigma),
                    math.log(law.fraction) - normal(residual, law.scale),
                )
                values = -logsumexp(jnp.stack(parts), axis=0)
            case OutlierOutputNoise() if law.fraction == 1:
                values = normal(residual, law.scale)
            case _:
                values = normal(residual, sigma)
        return values.sum(axis=-1)

    return loss


def network_landscape(
    config: NetworkConfig, data: Mapping[str, Floats], w: Float[np.ndarray, " P"]
) -> Landscape:
    """L_n of a student on the rows `data` (x [N, D], y [N, outputs]) around the parameters w, in
    double precision."""
    student = config.model
    assert isinstance(student, StudentConfig)
    network, loss = Perceptron(student), row_loss(config)

    def row_losses(w: jax.Array, rows: Rows) -> jax.Array:
        return loss(network(w, rows["x"]), rows["x"], rows["y"])

    sizes = "-".join(map(str, (student.in_dim, *network.widths, student.out_dim)))
    return Landscape(
        name=f"student {sizes}",
        n=len(data["y"]),
        centre=np.asarray(w),
        data=dict(data),
        row_losses=row_losses,
        parameter_names=network.names,
    )
