"""Additive noise around random Fourier features of a Gaussian process."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from scipy.special import gammaincinv
from torch import Tensor

from causal_meta.conf.mechanism_laws import RFF
from causal_meta.conf.ranges import FloatRange
from causal_meta.datasets.mechanisms.features import (
    draw_features,
    pick_features,
    sum_of_cosines,
    value_at_a_point,
)
from causal_meta.datasets.mechanisms.law import MechanismLaw, Names, Parameters, Parents
from causal_meta.datasets.ranges import float_at
from causal_meta.fixed_order import softplus

_VARIANCE = "variance_"  # begins the names of the parameters of h


class RFFFactory(MechanismLaw):
    """x_j = b_j + f_j(x_pa(j)) + s_j e_j, f_j(x) = c sqrt(2/M) sum_m w_m cos(omega_m . x / l +
    phi_m); laws in the configuration's docstring.

    A Gaussian process given omega and phi only in the limit of many features, but its covariance
    over functions is the RBF kernel's for any number of them (Rahimi and Recht 2007). f_j = 0 at a
    root: AVICI (Lorch et al. 2022), whose law this is, has a constant there.
    """

    cells = 1 << 17
    config: RFF

    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        config = self.config
        function, (bias, noise) = self._function(
            seeds, names, parents, config.length_scale, config.output_scale
        )
        parameters = function | {"bias": (2 * bias - 1) * config.bias_bound}
        if not config.heteroskedastic:
            return parameters | {"noise_std": self._noise_std(noise)}
        variance, _ = self._function(
            seeds,
            (*names, "variance"),
            parents,
            config.variance_length_scale,
            config.variance_output_scale,
        )
        variance["constant"] = value_at_a_point(variance)  # h at a root
        return parameters | {_VARIANCE + name: value for name, value in variance.items()}

    def _function(
        self,
        seeds: Sequence[int],
        names: Names,
        parents: Parents,
        length: FloatRange,
        output: FloatRange,
    ) -> tuple[Parameters, tuple[Tensor, Tensor]]:
        """The features of a function at every node, and two further uniforms [B, D]."""
        features, uniforms = draw_features(seeds, names, parents.count, self.config.n_features, 4)
        features["multiplier"] = float_at(length, uniforms[..., :1]).reciprocal()
        features["scale"] = float_at(output, uniforms[..., 1:2]) * math.sqrt(
            2 / self.config.n_features
        )
        return features, (uniforms[..., 2], uniforms[..., 3])

    def _noise_std(self, u: Tensor) -> Tensor:
        a, b = self.config.noise_std_a, self.config.noise_std_b
        if self.config.noise_std_law == "uniform":
            return a + (b - a) * u
        return (torch.from_numpy(gammaincinv(a, u.double().numpy())) / b).to(torch.float32)

    def pick(self, parameters: Parameters, row: Tensor, node: Tensor, width: int) -> Parameters:
        picked = pick_features(parameters, row, node, width) | {
            "bias": parameters["bias"][row, node]
        }
        if not self.config.heteroskedastic:
            return picked | {"noise_std": parameters["noise_std"][row, node]}
        variance = _variance(parameters)
        selected = pick_features(variance, row, node, width) | {
            "constant": variance["constant"][row, node]
        }
        return picked | {_VARIANCE + name: value for name, value in selected.items()}

    def location_scale(
        self, parameters: Parameters, inputs: Float[Tensor, "b K N"]
    ) -> tuple[Float[Tensor, "b N"], Float[Tensor, "b _"]]:
        mean = sum_of_cosines(parameters, inputs).add_(parameters["bias"][:, None])
        if not self.config.heteroskedastic:
            return mean, parameters["noise_std"][:, None]
        variance = _variance(parameters)
        level = sum_of_cosines(variance, inputs).add_(
            (variance["constant"] * (variance["inputs"] == 0))[:, None]
        )
        return mean, softplus(level).sqrt_()

    def apply(
        self,
        parameters: Parameters,
        inputs: Float[Tensor, "b K N"],
        noise: Float[Tensor, "b N"],
    ) -> Float[Tensor, "b N"]:
        mean, std = self.location_scale(parameters, inputs)
        return mean.addcmul_(std, noise)


def _variance(parameters: Parameters) -> Parameters:
    """The parameters of h among those of a mechanism."""
    return {
        name.removeprefix(_VARIANCE): value
        for name, value in parameters.items()
        if name.startswith(_VARIANCE)
    }
