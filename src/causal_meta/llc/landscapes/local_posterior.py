"""The tempered posterior around a point, p(w) ∝ exp(-nβ (L_n(w) - L_n(w*)) - (γ/2) |w - w*|²) (Lau
et al. 2023, equation 11)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Float

from causal_meta.llc.landscapes.landscape import Landscape, Rows, Values


@dataclass(frozen=True)
class LocalPosterior:
    """The local posterior of a landscape, with nβ (`n_beta`) and localisation γ (`gamma`).

    `landscape` is in the sampler's float precision already. `centre_loss` is L_n(w*), computed in
    the same precision on the same data: subtracting this constant leaves the law unchanged and
    avoids cancellation in single precision.
    """

    landscape: Landscape
    n_beta: float
    gamma: float
    centre_loss: Values | float

    def log_density(self, w: Float[jax.Array, " P"], data: Rows) -> Float[jax.Array, ""]:
        """The log density at w, up to a constant."""
        return self.tempered(self.landscape.mean_loss(w, data), w)

    def tempered(
        self, loss: Float[jax.Array, ""], w: Float[jax.Array, " P"]
    ) -> Float[jax.Array, ""]:
        """The log density at w, whose loss L_n(w) is already computed, up to a constant."""
        away = w - self.landscape.centre
        return -self.n_beta * (loss - self.centre_loss) - 0.5 * self.gamma * jnp.sum(away * away)


def tempered_rows(n: int, beta: float | None = None) -> float:
    """nβ, with β = 1 / log n by default (the temperature of WBIC, Watanabe 2013).

    >>> round(tempered_rows(1000), 2)
    144.76
    """
    return n / math.log(n) if beta is None else n * beta
