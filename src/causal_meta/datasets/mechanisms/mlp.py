"""Mechanisms that are small neural networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.mechanism_laws import MLP
from causal_meta.datasets.mechanisms.law import MechanismLaw, Names, Parameters, Parents


class MLPFactory(MechanismLaw):
    """x_j = v_j . phi(V_j (x_pa(j), noise_gain e_j) + c_j), phi the leaky ReLU; the noise goes through the network (not additive).

    V ~ N(0, weight_scale² / fan-in), fan-in the number of parents + 1; c ~ N(0, 1), so that the kinks do not all pass through 0 and
    weight_scale sets how sharp they are. v ~ N(0, 1 / (hidden m)), m = (1 + negative_slope²)/2 (1 + weight_scale² (parents + noise_gain²) / fan-in)
    the mean square of a hidden unit whose inputs have mean square 1: then so has the output, and values neither grow nor fade
    along a chain. A root is a function of its noise alone.
    """

    config: MLP

    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        nodes, width = parents.index.shape[1:]
        hidden, config = self.config.hidden, self.config
        scale = config.weight_scale / (parents.count + 1.0).sqrt()  # [B, D]
        weight = randomness.normals(seeds, (*names, "weight"), (width, nodes, hidden)).permute(0, 2, 3, 1)
        others = randomness.normals(seeds, (*names, "noise"), (3, nodes, hidden))
        square = (parents.count + config.noise_gain**2) * scale**2 + 1
        output_scale = (2 / ((1 + config.negative_slope**2) * hidden * square)).sqrt()
        return {
            "weight": weight * (scale[..., None] * parents.mask)[:, :, None, :],  # [B, D, hidden, K]
            "noise_weight": others[:, 0] * (scale * config.noise_gain)[..., None],
            "bias": others[:, 1],
            "output": others[:, 2] * output_scale[..., None],
        }

    def apply(self, parameters: Parameters, inputs: Tensor, noise: Tensor) -> Tensor:
        hidden = torch.baddbmm(parameters["bias"][:, :, None], parameters["noise_weight"][:, :, None], noise[:, None])
        hidden.baddbmm_(parameters["weight"][:, :, : inputs.shape[1]], inputs)
        torch.nn.functional.leaky_relu_(hidden, self.config.negative_slope)
        return (parameters["output"][:, None] @ hidden)[:, 0]
