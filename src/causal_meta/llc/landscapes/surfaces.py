"""A loss with its gradient and curvature in double precision, as NumPy sees it: what descents and
spectra need, whatever library is behind it."""

from __future__ import annotations

import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from causal_meta.llc.landscapes.landscape import Landscape, Width, float_width

Floats = NDArray[np.float64]
DENSE = 300  # parameters up to which the Hessian is made whole


class Surface(Protocol):
    """L_n of P parameters around the point `centre` (w*)."""

    centre: Floats

    def value_and_gradient(self, w: Floats) -> tuple[float, Floats]:
        """L_n(w) and its gradient [P]."""

    def product(self, w: Floats, direction: Floats) -> Floats:
        """The Hessian of L_n at w times a direction [P]."""

    def hessian(self, w: Floats) -> Floats | None:
        """The Hessian [P, P] of L_n at w, where there are few enough parameters for it; else
        None."""


class LandscapeSurface:
    """The surface of a landscape, compiled when it is first looked at.

    Up to `DENSE` parameters one program gives value, gradient and the whole Hessian, and the two
    points looked at last are remembered; above, a product is forward over reverse.
    """

    def __init__(self, landscape: Landscape) -> None:
        self.centre = np.asarray(landscape.centre, np.float64)
        self._dense = landscape.n_parameters <= DENSE
        self._seen: list[tuple[Floats, float, Floats, Floats]] = []
        with float_width("float64"):
            scape = landscape.at_width("float64")
        self._data = scape.data
        value_and_gradient, gradient = (
            jax.value_and_grad(scape.mean_loss),
            jax.grad(scape.mean_loss),
        )

        def product(w: Any, v: Any, data: Any) -> Any:
            return jax.jvp(lambda u: gradient(u, data), (w,), (v,))[1]

        def whole(w: Any, data: Any) -> Any:
            columns = jax.vmap(lambda v: product(w, v, data))(jnp.eye(len(w), dtype=w.dtype))
            return *value_and_gradient(w, data), (columns + columns.T) / 2

        self._value_and_gradient, self._product, self._whole = (
            jax.jit(value_and_gradient),
            jax.jit(product),
            jax.jit(whole),
        )

    def value_and_gradient(self, w: Floats) -> tuple[float, Floats]:
        """L_n(w) and its gradient [P]."""
        if self._dense:
            return self._look(w)[1:3]
        with float_width("float64"):
            value, slope = self._value_and_gradient(w, self._data)
        return float(value), np.asarray(slope)

    def product(self, w: Floats, direction: Floats) -> Floats:
        """The Hessian of L_n at w times a direction [P]."""
        if self._dense:
            return self._look(w)[3] @ direction
        with float_width("float64"):
            return np.asarray(self._product(w, direction, self._data))

    def hessian(self, w: Floats) -> Floats | None:
        """The Hessian [P, P] of L_n at w; None above `DENSE` parameters."""
        return self._look(w)[3] if self._dense else None

    def _look(self, w: Floats) -> tuple[Floats, float, Floats, Floats]:
        for seen in self._seen:
            if seen[0] is w:
                return seen
        with float_width("float64"):
            value, slope, matrix = self._whole(w, self._data)
        self._seen = [*self._seen[-1:], (w, float(value), np.asarray(slope), np.asarray(matrix))]
        return self._seen[-1]


def loss_at(landscape: Landscape, width: Width) -> float:
    """L_n(w*) computed in a float width on all rows."""
    with float_width(width):
        scape = landscape.at_width(width)
        return float(jax.jit(scape.mean_loss)(scape.centre, scape.data))


def gradient_noise(landscape: Landscape, rows: int = 256) -> float | None:
    """√(tr Cov(∇ℓ) / n), the gradient norm of n rows to be expected by chance at the truth, from
    the first `rows` of them; None without rows."""
    if landscape.row_losses is None:
        return None
    with float_width("float64"):
        scape = landscape.at_width("float64")

        def scatter(w: Any, data: Any) -> Any:
            def slope(row: Any) -> Any:
                return jax.grad(lambda v: scape.mean_loss(v, jax.tree.map(lambda x: x[None], row)))(
                    w
                )

            slopes = jax.lax.map(slope, data)
            return jnp.sum(jnp.var(slopes, axis=0, ddof=1))

        some = {key: values[:rows] for key, values in scape.data.items()}
        return math.sqrt(float(jax.jit(scatter)(scape.centre, some)) / landscape.n)
