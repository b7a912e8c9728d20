"""Linear mechanisms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from scipy.special import gammaincinv
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.mechanism_laws import LinearHeteroskedastic
from causal_meta.datasets.mechanisms.law import MechanismLaw, Names, Parameters, Parents


class LinearFactory(MechanismLaw):
    """x_j = w_j . x_pa(j) + b_j + s_j e_j; the laws of w, b and s are in the docstring of the configuration."""

    affine: ClassVar[bool] = True
    config: LinearHeteroskedastic

    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        nodes, width = parents.index.shape[1:]
        weight = self._weights(seeds, (*names, "weight"), (width, nodes)).mT * parents.mask
        bias = torch.zeros(len(seeds), nodes)
        if self.config.bias_bound > 0:
            bias = (2 * randomness.uniforms(seeds, (*names, "bias"), (nodes,)) - 1) * self.config.bias_bound
        return {"weight": weight, "bias": bias, "noise_std": self._noise_std(seeds, (*names, "noise_std"), nodes)}

    def _weights(self, seeds: Sequence[int], names: Names, shape: tuple[int, ...]) -> Tensor:
        if self.config.weight_law == "normal":
            return randomness.normals(seeds, names, shape) * self.config.weight_scale
        signed = 2 * randomness.uniforms(seeds, names, shape) - 1
        return signed * (self.config.weight_high - self.config.weight_low) + torch.sign(signed) * self.config.weight_low

    def _noise_std(self, seeds: Sequence[int], names: Names, nodes: int) -> Tensor:
        a, b = self.config.noise_std_a, self.config.noise_std_b
        if self.config.noise_std_law == "uniform":
            return a + (b - a) * randomness.uniforms(seeds, names, (nodes,))
        if a == int(a) and a <= 16:  # a sum of exponentials
            return -randomness.uniforms(seeds, names, (int(a), nodes)).log().sum(dim=1) / b
        u = randomness.uniforms(seeds, names, (nodes,)).to(torch.float64)
        return (torch.from_numpy(gammaincinv(a, u.numpy())) / b).to(torch.float32)

    def apply(self, parameters: Parameters, inputs: Tensor, noise: Tensor) -> Tensor:
        explained = (parameters["weight"][:, None, : inputs.shape[1]] @ inputs)[:, 0]
        return explained + parameters["bias"][:, None] + parameters["noise_std"][:, None] * noise
