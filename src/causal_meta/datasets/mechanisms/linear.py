"""Linear mechanisms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.form_laws import BGe, LinearRFFNoise
from causal_meta.conf.mechanism_laws import LinearHeteroskedastic
from causal_meta.datasets.mechanisms.features import (
    draw_features,
    pick_features,
    sum_of_cosines,
    value_at_a_point,
)
from causal_meta.datasets.mechanisms.law import (
    MechanismLaw,
    Names,
    Parameters,
    Parents,
    weighted_parents,
)
from causal_meta.datasets.mechanisms.scales import (
    draw_bias,
    draw_gammas,
    draw_noise_std,
    draw_weights,
)
from causal_meta.datasets.ranges import float_at
from causal_meta.fixed_order import softplus


class AffineLaw(MechanismLaw):
    """x_j = w_j . x_pa(j) + b_j + s_j e_j with parameters weight [B, D, K], bias and noise_std [B,
    D]; subclasses define their laws."""

    affine: ClassVar[bool] = True

    def apply(
        self,
        parameters: Parameters,
        inputs: Float[Tensor, "b K N"],
        noise: Float[Tensor, "b N"],
    ) -> Float[Tensor, "b N"]:
        explained = weighted_parents(parameters, inputs).add_(parameters["bias"][:, None])
        return explained.addcmul_(parameters["noise_std"][:, None], noise)


class LinearFactory(AffineLaw):
    """x_j = w_j . x_pa(j) + b_j + s_j e_j; the laws of w, b and s are in the docstring of the
    configuration."""

    config: LinearHeteroskedastic

    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        nodes, width = parents.index.shape[1:]
        weight = (
            draw_weights(self.config, seeds, (*names, "weight"), (width, nodes)).mT * parents.mask
        )
        bias = draw_bias(self.config.bias_bound, seeds, (*names, "bias"), nodes)
        return {
            "weight": weight,
            "bias": bias,
            "noise_std": draw_noise_std(self.config, seeds, (*names, "noise_std"), nodes),
        }


class BGeFactory(AffineLaw):
    """x_j = w_j . x_pa(j) + b_j + s_j e_j with (w, b, s²) from the prior of the BGe score; the laws
    are in the docstring of the configuration.

    For Sigma = precision^-1 ~ InvWishart(alpha_lambda, T), the block of j and its p parents is
    InvWishart(alpha_lambda - D + p + 1, t I). Of that block the variance of x_j given its parents
    is InvWishart of the same degrees of freedom in one dimension, InvGamma((alpha_lambda - D + p +
    1)/2, t/2), and the regression coefficients given it are N(0, s²/t I) (Geiger and Heckerman
    2002, §4). The mean given Sigma has covariance Sigma/alpha_mu, so the intercept, mean_j - w .
    mean_pa(j), has variance s²/alpha_mu and is independent of the parents' means. These laws do not
    depend on the other nodes, so drawing them node by node is drawing from the prior of the whole
    graph.
    """

    config: BGe

    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        nodes, width = parents.index.shape[1:]
        above, alpha_mu = self.config.alpha_lambda_above_nodes, self.config.alpha_mu
        t = alpha_mu * (above - 1) / (alpha_mu + 1)
        shape = (above + parents.count.double() + 1) / 2
        # [B, D]
        std = (t / 2 / draw_gammas(shape, seeds, (*names, "noise_std"), nodes)).sqrt().float()
        weight = randomness.normals(seeds, (*names, "weight"), (width, nodes)).mT * parents.mask
        bias = randomness.normals(seeds, (*names, "bias"), (nodes,))
        return {
            "weight": weight * std[..., None] / math.sqrt(t),
            "bias": bias * std / math.sqrt(alpha_mu),
            "noise_std": std,
        }


class LinearRFFNoiseFactory(MechanismLaw):
    """x_j = w_j . x_pa(j) + b_j + s_j(x_pa(j)) e_j, s_j² = log(1 + exp(h_j)), h_j a sum of random
    cosines; laws in the configuration's docstring.

    At a root h_j is the number that such a sum takes at one point.
    """

    cells = 1 << 17
    config: LinearRFFNoise

    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        config, (nodes, width) = self.config, parents.index.shape[1:]
        function, uniforms = draw_features(
            seeds, (*names, "variance"), parents.count, config.n_features, 2
        )
        function["multiplier"] = float_at(
            config.variance_length_scale, uniforms[..., :1]
        ).reciprocal()
        function["scale"] = float_at(config.variance_output_scale, uniforms[..., 1:]) * math.sqrt(
            2 / config.n_features
        )
        function["constant"] = value_at_a_point(function) * (parents.count == 0)
        return {f"variance_{name}": value for name, value in function.items()} | {
            "weight": draw_weights(config, seeds, (*names, "weight"), (width, nodes)).mT
            * parents.mask,
            "bias": draw_bias(config.bias_bound, seeds, (*names, "bias"), nodes),
        }

    def pick(self, parameters: Parameters, row: Tensor, node: Tensor, width: int) -> Parameters:
        function = pick_features(_variance(parameters), row, node, width)
        picked = {f"variance_{name}": value for name, value in function.items()}
        return picked | {
            name: parameters[name][row, node] for name in ("weight", "bias", "variance_constant")
        }

    def location_scale(
        self, parameters: Parameters, inputs: Float[Tensor, "b K N"]
    ) -> tuple[Float[Tensor, "b N"], Float[Tensor, "b _"]]:
        mean = weighted_parents(parameters, inputs).add_(parameters["bias"][:, None])
        level = sum_of_cosines(_variance(parameters), inputs)
        level.add_(parameters["variance_constant"][:, None])
        return mean, softplus(level).sqrt()

    def apply(
        self,
        parameters: Parameters,
        inputs: Float[Tensor, "b K N"],
        noise: Float[Tensor, "b N"],
    ) -> Float[Tensor, "b N"]:
        mean, std = self.location_scale(parameters, inputs)
        return mean.addcmul_(std, noise)


def _variance(parameters: Parameters) -> Parameters:
    """The parameters of h_j under the names that the random features use."""
    return {
        name.removeprefix("variance_"): value
        for name, value in parameters.items()
        if name.startswith("variance_")
    }
