"""A loss with its gradient and curvature in double precision as NumPy arrays: the interface that
descents and spectra use, whether JAX or torch computes it."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from causal_meta.llc.landscapes.landscape import Landscape, Rows, Width, float_width

Floats = NDArray[np.float64]
Vector = Float[np.ndarray, " P"]
Matrix = Float[np.ndarray, "P P"]
DENSE = 300  # largest number of parameters for which the Hessian matrix is computed


class Surface(Protocol):
    """L_n of P parameters around the point `centre` (w*)."""

    centre: Vector

    def value_and_gradient(self, w: Vector) -> tuple[float, Vector]:
        """L_n(w) and its gradient."""

    def product(self, w: Vector, direction: Vector) -> Vector:
        """The Hessian of L_n at w times a direction."""

    def hessian(self, w: Vector) -> Matrix | None:
        """The Hessian matrix of L_n at w, or None where there are too many parameters for it."""


class _Evaluation(NamedTuple):
    """L_n, its gradient and its Hessian at the point `w`."""

    w: Floats
    value: float
    slope: Floats
    matrix: Floats


class LandscapeSurface:
    """The surface of a landscape, compiled at its first evaluation.

    Up to `DENSE` parameters one program computes value, gradient and Hessian matrix, and the last
    two points are cached; above, a Hessian product is forward over reverse differentiation.
    """

    def __init__(self, landscape: Landscape) -> None:
        self.centre = np.asarray(landscape.centre, np.float64)
        self._dense = landscape.n_parameters <= DENSE
        self._cache: list[_Evaluation] = []
        with float_width("float64"):
            scape = landscape.at_width("float64")
        self._data = scape.data
        value_and_gradient, gradient = (
            jax.value_and_grad(scape.mean_loss),
            jax.grad(scape.mean_loss),
        )

        def product(w: jax.Array, v: jax.Array, data: Rows) -> jax.Array:
            return jax.jvp(lambda u: gradient(u, data), (w,), (v,))[1]

        def whole(w: jax.Array, data: Rows) -> tuple[jax.Array, jax.Array, jax.Array]:
            columns = jax.vmap(lambda v: product(w, v, data))(jnp.eye(len(w), dtype=w.dtype))
            return *value_and_gradient(w, data), (columns + columns.T) / 2

        self._value_and_gradient, self._product, self._whole = (
            jax.jit(value_and_gradient),
            jax.jit(product),
            jax.jit(whole),
        )

    def value_and_gradient(self, w: Vector) -> tuple[float, Vector]:
        """L_n(w) and its gradient."""
        if self._dense:
            return self._evaluated(w)[1:3]
        with float_width("float64"):
            value, slope = self._value_and_gradient(w, self._data)
        return float(value), np.asarray(slope)

    def product(self, w: Vector, direction: Vector) -> Vector:
        """The Hessian of L_n at w times a direction."""
        if self._dense:
            return self._evaluated(w).matrix @ direction
        with float_width("float64"):
            return np.asarray(self._product(w, direction, self._data))

    def hessian(self, w: Vector) -> Matrix | None:
        """The Hessian matrix of L_n at w; None above `DENSE` parameters."""
        return self._evaluated(w).matrix if self._dense else None

    def _evaluated(self, w: Floats) -> _Evaluation:
        for cached in self._cache:
            if cached.w is w:
                return cached
        with float_width("float64"):
            value, slope, matrix = self._whole(w, self._data)
        new = _Evaluation(w, float(value), np.asarray(slope), np.asarray(matrix))
        self._cache = [*self._cache[-1:], new]
        return new


def loss_at(landscape: Landscape, width: Width) -> float:
    """L_n(w*) on all rows, computed in precision `width`."""
    with float_width(width):
        scape = landscape.at_width(width)
        return float(jax.jit(scape.mean_loss)(scape.centre, scape.data))


def gradient_noise(landscape: Landscape, rows: int = 256) -> float | None:
    """√(tr Cov(∇ℓ) / n), the expected norm of the gradient of L_n at the true parameters, where it
    is sampling noise; estimated from the first `rows` rows, None without rows."""
    if landscape.row_losses is None:
        return None
    with float_width("float64"):
        scape = landscape.at_width("float64")

        def scatter(w: jax.Array, data: Rows) -> jax.Array:
            def slope(row: Rows) -> jax.Array:
                batch = jax.tree.map(lambda x: x[None], row)
                return jax.grad(lambda v: scape.mean_loss(v, batch))(w)

            return jnp.sum(jnp.var(jax.lax.map(slope, data), axis=0, ddof=1))

        some = {key: values[:rows] for key, values in scape.data.items()}
        return math.sqrt(float(jax.jit(scatter)(scape.centre, some)) / landscape.n)
