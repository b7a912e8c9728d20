"""The tempered posterior around a point, p(w) ∝ exp(-nβ (L_n(w) - L_n(w*)) - (γ/2) |w - w*|²) (Lau
et al. 2023, equation 11)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from causal_meta.llc.landscapes.landscape import Landscape, Rows


@dataclass(frozen=True)
class LocalPosterior:
    """What samplers sample: a landscape, the tempered number of rows `n_beta` (nβ) and the
    localisation `gamma` (γ).

    `landscape` is at the sampler's float width already. The exponent counts the loss from L_n(w*),
    in the same float width on the same data: a constant that does not change the law, and keeps
    single precision where it matters.
    """

    landscape: Landscape
    n_beta: float
    gamma: float
    centre_loss: Any

    def log_density(self, w: Any, data: Rows) -> Any:
        """The log density at w [P], up to a constant."""
        return self.tempered(self.landscape.mean_loss(w, data), w)

    def tempered(self, loss: Any, w: Any) -> Any:
        """The log density at w [P] whose loss is known."""
        away = w - self.landscape.centre
        return -self.n_beta * (loss - self.centre_loss) - 0.5 * self.gamma * jnp.sum(away * away)


def tempered_rows(n: int, beta: float | None = None) -> float:
    """nβ, with β = 1 / log n unless it is given (the temperature of WBIC, Watanabe 2013).

    >>> round(tempered_rows(1000), 2)
    144.76
    """
    return n / math.log(n) if beta is None else n * beta
