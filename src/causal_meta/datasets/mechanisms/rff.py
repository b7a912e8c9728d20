"""Additive noise around random Fourier features of a Gaussian process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from scipy.special import gammaincinv
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.mechanism_laws import RFF
from causal_meta.conf.ranges import FloatRange
from causal_meta.datasets.mechanisms.features import draw_features, pick_features, sum_of_cosines
from causal_meta.datasets.mechanisms.law import MechanismLaw, Names, Parameters, Parents
from causal_meta.datasets.ranges import draw_floats


class RFFFactory(MechanismLaw):
    """x_j = b_j + f_j(x_pa(j)) + s_j e_j, f_j(x) = c sqrt(2/M) sum_m w_m cos(omega_m . x / l + phi_m); laws in the configuration's docstring.

    A Gaussian process given omega and phi only in the limit of many features, but its covariance over functions is the RBF kernel's for any
    number of them (Rahimi and Recht 2007). f_j = 0 at a root: AVICI (Lorch et al. 2022, §5), whose law this is, has a constant there.
    """

    cells: ClassVar[int] = 1 << 20
    config: RFF

    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        config, nodes = self.config, parents.count.shape[1]
        bias = torch.zeros(len(seeds), nodes)
        if config.bias_bound > 0:
            bias = (2 * randomness.uniforms(seeds, (*names, "bias"), (nodes,)) - 1) * config.bias_bound
        parameters = {"bias": bias} | self._function(seeds, names, parents, config.length_scale, config.output_scale)
        if not config.heteroskedastic:
            return parameters | {"noise_std": self._noise_std(seeds, (*names, "noise_std"), nodes)}
        variance = self._function(seeds, (*names, "variance"), parents, config.variance_length_scale, config.variance_output_scale)
        variance["constant"] = (variance["weight"] * variance["phase"].cos()).sum(dim=-1)  # what h is without parents
        return parameters | {f"variance_{name}": value for name, value in variance.items()}

    def _function(self, seeds: Sequence[int], names: Names, parents: Parents, length: FloatRange, output: FloatRange) -> Parameters:
        count, features = parents.count, self.config.n_features
        drawn = draw_features(seeds, names, count, features)
        drawn["multiplier"] = draw_floats(length, seeds, (*names, "length_scale"), (count.shape[1],)).reciprocal()[..., None]
        scale = draw_floats(output, seeds, (*names, "output_scale"), (count.shape[1],)) * math.sqrt(2 / features)
        drawn["weight"] *= scale[..., None]
        return drawn

    def _noise_std(self, seeds: Sequence[int], names: Names, nodes: int) -> Tensor:
        a, b = self.config.noise_std_a, self.config.noise_std_b
        u = randomness.uniforms(seeds, names, (nodes,))
        if self.config.noise_std_law == "uniform":
            return a + (b - a) * u
        return (torch.from_numpy(gammaincinv(a, u.double().numpy())) / b).to(torch.float32)

    def pick(self, parameters: Parameters, row: Tensor, node: Tensor, width: int) -> Parameters:
        picked = {"bias": parameters["bias"][row, node]} | pick_features(parameters, row, node, width)
        if not self.config.heteroskedastic:
            return picked | {"noise_std": parameters["noise_std"][row, node]}
        variance = {name.removeprefix("variance_"): value for name, value in parameters.items() if name.startswith("variance_")}
        found = pick_features(variance, row, node, width) | {"constant": variance["constant"][row, node]}
        return picked | {f"variance_{name}": value for name, value in found.items()}

    def location_scale(self, parameters: Parameters, inputs: Tensor) -> tuple[Tensor, Tensor]:
        mean = sum_of_cosines(parameters, inputs) + parameters["bias"][:, None]
        if not self.config.heteroskedastic:
            return mean, parameters["noise_std"][:, None]
        variance = {name.removeprefix("variance_"): value for name, value in parameters.items() if name.startswith("variance_")}
        constant = variance["constant"] * (variance["inputs"] == 0)
        level = sum_of_cosines(variance, inputs) + constant[:, None]
        return mean, torch.nn.functional.softplus(level).sqrt()

    def apply(self, parameters: Parameters, inputs: Tensor, noise: Tensor) -> Tensor:
        mean, std = self.location_scale(parameters, inputs)
        return mean.addcmul_(std, noise)
