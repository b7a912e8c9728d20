"""The local posterior of a torch landscape."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from causal_meta.conf.local_posterior import LocalPosteriorConfig
from causal_meta.llc.landscapes.torch_landscape import TorchLandscape


@dataclass(frozen=True)
class TorchPosterior:
    """p(w) ∝ exp(-U), U(w) = nβ (L_n(w) - L_n(w*)) + (γ/2) |w - w*|², of a torch landscape (Lau et
    al. 2023, equation 11)."""

    landscape: TorchLandscape
    n_beta: float
    gamma: float
    centre_loss: Tensor

    @classmethod
    def of(cls, landscape: TorchLandscape, config: LocalPosteriorConfig) -> TorchPosterior:
        """The posterior with the temperature and localisation of `config`."""
        beta = 1 / math.log(landscape.n) if config.beta_mode == "inverse_log_n" else config.beta
        gamma = (
            landscape.n_parameters / config.prior_radius**2 if config.prior_radius else config.gamma
        )
        return cls(landscape, landscape.n * beta, gamma, landscape.mean_loss(landscape.centre))

    def exponent(self, loss: Float[Tensor, " C"], w: Float[Tensor, "C P"]) -> Float[Tensor, " C"]:
        """U at w from the loss there."""
        return self.n_beta * (loss - self.centre_loss) + 0.5 * self.gamma * (
            w - self.landscape.centre
        ).square().sum(-1)

    def slope(
        self, gradient: Float[Tensor, "C P"], w: Float[Tensor, "C P"]
    ) -> Float[Tensor, "C P"]:
        """grad U at w from the gradient of L_n there."""
        return self.n_beta * gradient + self.gamma * (w - self.landscape.centre)

    def curvature(
        self, w: Float[Tensor, "*C P"], direction: Float[Tensor, "*C P"]
    ) -> Float[Tensor, "*C P"]:
        """The Hessian of U at w times directions; two gradients each."""
        return self.n_beta * self.landscape.curvature(w, direction) + self.gamma * direction
