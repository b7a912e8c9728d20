"""Multilayer perceptrons as functions of one flat vector of P parameters with named leaves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from causal_meta.conf.network_data import TeacherConfig
from causal_meta.conf.networks import StudentConfig
from causal_meta.llc.landscapes.landscape import Values

_ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
    "identity": lambda z: z,
}
_EPSILON = 1e-5  # of the layer norm


@dataclass(frozen=True)
class Perceptron:
    """A network x [N, D] -> [N, outputs]: hidden layers h ← φ(norm(h W + b)), plus h with `skip`
    and equal widths, then h W + b.

    The flat parameters w [P] hold for each layer `layers.i.weight` [in, out] by rows and
    `layers.i.bias`, and for a hidden layer with layer norm `layers.i.scale` and `layers.i.offset`.

    >>> small = Perceptron(StudentConfig(in_dim=4, depth=2, target_params=50))
    >>> small.widths, small.n_parameters, small.names["layers.1.bias"]
    ((4, 4), 45, slice(36, 40, None))
    """

    config: StudentConfig

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of the hidden layers."""
        return self.config.widths or (constant_width(self.config),) * self.config.depth

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each leaf, in the order of w."""
        config, shapes = self.config, dict[str, tuple[int, ...]]()
        sizes = (config.in_dim, *self.widths, config.out_dim)
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            shapes[f"layers.{i}.weight"] = (fan_in, fan_out)
            if config.bias:
                shapes[f"layers.{i}.bias"] = (fan_out,)
            if config.layer_norm and i < len(self.widths):
                shapes |= {f"layers.{i}.scale": (fan_out,), f"layers.{i}.offset": (fan_out,)}
        return shapes

    @property
    def names(self) -> dict[str, slice]:
        """The slice of w of each leaf."""
        slices, start = {}, 0
        for name, shape in self.shapes.items():
            slices[name] = slice(start, start + math.prod(shape))
            start = slices[name].stop
        return slices

    @property
    def n_parameters(self) -> int:
        """P."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def leaves(self, w: Float[jax.Array, " P"]) -> dict[str, jax.Array]:
        """The leaves of w by name."""
        return {
            name: w[place].reshape(shape)
            for (name, place), shape in zip(self.names.items(), self.shapes.values(), strict=True)
        }

    def __call__(
        self, w: Float[jax.Array, " P"], x: Float[Values, "N D"]
    ) -> Float[jax.Array, "N outputs"]:
        """The outputs of the network with parameters w at x."""
        leaf, activation = self.leaves(w), _ACTIVATIONS[self.config.activation]

        def affine(hidden: jax.Array, i: int) -> jax.Array:
            return hidden @ leaf[f"layers.{i}.weight"] + leaf.get(f"layers.{i}.bias", 0)

        hidden = jnp.asarray(x)
        for i in range(len(self.widths)):
            z = affine(hidden, i)
            if self.config.layer_norm:
                centred = z - z.mean(axis=-1, keepdims=True)
                z = centred / jnp.sqrt((centred**2).mean(axis=-1, keepdims=True) + _EPSILON)
                z = z * leaf[f"layers.{i}.scale"] + leaf[f"layers.{i}.offset"]
            a = activation(z)
            hidden = a + hidden if self.config.skip and hidden.shape[-1] == z.shape[-1] else a
        return affine(hidden, len(self.widths))

    def initial(self, generator: np.random.Generator) -> Float[np.ndarray, " P"]:
        """Initial parameters: weights by `config.init`, biases and offsets 0, scales 1.

        Weights are normal with variance 2 / in (he), 2 / (in + out) (xavier) or 1 / in (lecun), or
        have orthonormal rows or columns (orthogonal).
        """
        parts = []
        for name, shape in self.shapes.items():
            if name.endswith("weight"):
                parts.append(_weights(self.config.init, shape, generator).reshape(-1))
            else:
                parts.append(np.full(shape, 1.0 if name.endswith("scale") else 0.0))
        return np.concatenate(parts)


def _weights(
    law: str, shape: tuple[int, ...], generator: np.random.Generator
) -> NDArray[np.float64]:
    fan_in, fan_out = shape
    draws = generator.standard_normal(shape)
    if law == "orthogonal":
        q, r = np.linalg.qr(draws if fan_in >= fan_out else draws.T)
        q = q * np.sign(np.diag(r))  # so that Q is uniform (Mezzadri 2007)
        return q if fan_in >= fan_out else q.T
    variance = {"he": 2 / fan_in, "xavier": 2 / (fan_in + fan_out), "lecun": 1 / fan_in}[law]
    return draws * math.sqrt(variance)


def constant_width(config: StudentConfig) -> int:
    """The width h >= 1 of `depth` equal hidden layers whose P is nearest to `target_params` (the
    smaller h of a tie).

    P is a quadratic in h: (L - 1) h² + (in + out + L b + 2 L s) h + out b, where L is the depth,
    b = 1 with biases and s = 1 with layer norm (else 0).
    """
    layers, b, s = config.depth, int(config.bias), int(config.layer_norm)
    square, linear, constant = (
        layers - 1,
        config.in_dim + config.out_dim + layers * (b + 2 * s),
        config.out_dim * b,
    )
    short = config.target_params - constant
    if layers == 0 or short <= 0:
        return 1
    root = (
        short / linear
        if square == 0
        else 2 * short / (linear + math.sqrt(linear**2 + 4 * square * short))
    )
    low = max(1, math.floor(root))
    return min((low, low + 1), key=lambda h: (abs(square * h * h + linear * h - short), h))


def teacher_of(student: StudentConfig, teacher: TeacherConfig) -> Perceptron:
    """The teacher's network: the student's, with the settings that `teacher` overrides."""
    network = Perceptron(student)
    activation = teacher.activation or student.activation
    if not teacher.widths and (teacher.target_params or teacher.depth):
        equal = replace(
            student,
            activation=activation,
            widths=(),
            depth=teacher.depth or len(network.widths),
            target_params=teacher.target_params or network.n_parameters,
        )
        return Perceptron(equal)
    widths = teacher.widths or network.widths
    return Perceptron(replace(student, activation=activation, widths=widths))
