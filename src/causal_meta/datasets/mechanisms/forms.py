"""Mechanisms that are closed formulas of a weighted sum of the parents: through a link, periodic,
polynomial, logistic."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from causal_meta.conf.form_laws import FormConfig, Logistic, Periodic, Polynomial, PostNonlinear
from causal_meta.datasets.mechanisms.law import (
    MechanismLaw,
    Names,
    Parameters,
    Parents,
    weighted_parents,
)
from causal_meta.datasets.mechanisms.scales import draw_bias, draw_noise_std, draw_weights
from causal_meta.fixed_order import power, sigmoid


class FormFactory(MechanismLaw):
    """x_j = f(w_j . x_pa(j)) + s_j e_j with parameters weight [B, D, K] and noise_std [B, D];
    subclasses define f."""

    config: FormConfig

    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        nodes, width = parents.index.shape[1:]
        weight = (
            draw_weights(self.config, seeds, (*names, "weight"), (width, nodes)).mT * parents.mask
        )
        return {
            "weight": weight,
            "noise_std": draw_noise_std(self.config, seeds, (*names, "noise_std"), nodes),
        }

    @abstractmethod
    def form(self, parameters: Parameters, total: Tensor) -> Tensor:
        """Float32 [b, N]: f of the weighted sums [b, N]."""

    def location_scale(
        self, parameters: Parameters, inputs: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        return self.form(parameters, weighted_parents(parameters, inputs)), parameters["noise_std"][
            :, None
        ]

    def apply(
        self,
        parameters: Parameters,
        inputs: Float[Tensor, "b K N"],
        noise: Float[Tensor, "b N"],
    ) -> Float[Tensor, "b N"]:
        return self.form(parameters, weighted_parents(parameters, inputs)).addcmul_(
            parameters["noise_std"][:, None], noise
        )


class PeriodicFactory(FormFactory):
    """x_j = sin(2 pi frequency w_j . x_pa(j)) + s_j e_j."""

    config: Periodic

    def form(self, parameters: Parameters, total: Tensor) -> Tensor:
        return (total * (2 * math.pi * self.config.frequency)).sin_()


class PolynomialFactory(FormFactory):
    """x_j = (w_j . x_pa(j))^degree + s_j e_j."""

    config: Polynomial

    def form(self, parameters: Parameters, total: Tensor) -> Tensor:
        return power(total, self.config.degree)


class LogisticFactory(FormFactory):
    """x_j = growth s (1 - s) + s_j e_j, s = sigmoid(w_j . x_pa(j)); a root is root_std e_j."""

    config: Logistic

    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        parameters, root = super().draw(seeds, names, parents), parents.count == 0
        parameters["noise_std"].masked_fill_(root, self.config.root_std)
        return parameters | {
            "growth": self.config.growth * (~root).to(parameters["noise_std"].dtype)
        }

    def form(self, parameters: Parameters, total: Tensor) -> Tensor:
        squashed = sigmoid(total)
        return squashed * (1 - squashed) * parameters["growth"][:, None]


class PostNonlinearFactory(FormFactory):
    """x_j = g(w_j . x_pa(j) + b_j + s_j e_j), roots included."""

    config: PostNonlinear

    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        bias = draw_bias(self.config.bias_bound, seeds, (*names, "bias"), parents.count.shape[1])
        return super().draw(seeds, names, parents) | {"bias": bias}

    def form(self, parameters: Parameters, total: Tensor) -> Tensor:
        if self.config.nonlinearity == "cube":
            return power(total, 3)
        return total.tanh() if self.config.nonlinearity == "tanh" else sigmoid(total)

    def location_scale(self, parameters: Parameters, inputs: Tensor) -> None:
        """None: the noise is inside g."""

    def apply(
        self,
        parameters: Parameters,
        inputs: Float[Tensor, "b K N"],
        noise: Float[Tensor, "b N"],
    ) -> Float[Tensor, "b N"]:
        inner = (weighted_parents(parameters, inputs) + parameters["bias"][:, None]).addcmul_(
            parameters["noise_std"][:, None], noise
        )
        return self.form(parameters, inner)
