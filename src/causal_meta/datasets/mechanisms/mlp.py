"""Mechanisms that are small neural networks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.form_laws import MLPAdditive
from causal_meta.conf.mechanism_laws import MLP
from causal_meta.datasets.mechanisms.law import MechanismLaw, Names, Parameters, Parents
from causal_meta.datasets.mechanisms.scales import draw_noise_std, draw_weights
from causal_meta.fixed_order import layer, weighted_sum


class MLPFactory(MechanismLaw):
    """x_j = v_j . phi(V_j (x_pa(j), noise_gain e_j) + c_j), phi the leaky ReLU; the noise goes
    through the network (not additive).

    V ~ N(0, weight_scale² / fan-in), fan-in the number of parents + 1; c ~ N(0, 1), so that the
    kinks do not all pass through 0 and weight_scale sets how sharp they are. v ~ N(0, 1 / (hidden
    m)), m = (1 + negative_slope²)/2 (1 + weight_scale² (parents + noise_gain²) / fan-in) the mean
    square of a hidden unit whose inputs have mean square 1: then so has the output, and values
    neither grow nor fade along a chain. A root is a function of its noise alone.

    Further hidden layers have weights N(0, weight_scale² / (hidden m)), m the mean square of a unit
    of the layer below, and biases N(0, 1); theirs is m = (1 + negative_slope²)/2 (1 +
    weight_scale²). With the initialisation "torch" weights and biases are U(±1/sqrt(fan-in)), the
    output's too.
    """

    config: MLP

    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        if self.config.initialisation == "torch":
            return self._like_torch(seeds, names, parents)
        nodes, width = parents.index.shape[1:]
        hidden, config = self.config.hidden, self.config
        scale = config.weight_scale / (parents.count + 1.0).sqrt()  # [B, D]
        weight = randomness.normals(seeds, (*names, "weight"), (width, nodes, hidden)).permute(
            0, 2, 3, 1
        )
        others = randomness.normals(seeds, (*names, "noise"), (3, nodes, hidden))
        square = (parents.count + config.noise_gain**2) * scale**2 + 1
        parameters = {
            # [B, D, hidden, K]
            "weight": weight * (scale[..., None] * parents.mask)[:, :, None, :],
            "noise_weight": others[:, 0] * (scale * config.noise_gain)[..., None],
            "bias": others[:, 1],
        }
        slope, deep = 1 + config.negative_slope**2, config.hidden_layers - 1
        if deep:
            # the mean square before the activation, from the second layer on
            between = torch.full_like(square, 1 + config.weight_scale**2)
            # [B, D, deep]
            factors = (
                config.weight_scale
                * (
                    2 / (slope * hidden * torch.stack([square, *[between] * (deep - 1)], dim=-1))
                ).sqrt()
            )
            matrices = randomness.normals(
                seeds, (*names, "deep weight"), (nodes, deep, hidden, hidden)
            )
            parameters["deep_weight"] = matrices * factors[..., None, None]
            parameters["deep_bias"] = randomness.normals(
                seeds, (*names, "deep bias"), (nodes, deep, hidden)
            )
            square = between
        parameters["output"] = others[:, 2] * (2 / (slope * hidden * square)).sqrt()[..., None]
        return parameters

    def _like_torch(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        nodes, width = parents.index.shape[1:]
        hidden, deep = self.config.hidden, self.config.hidden_layers - 1

        def signed(name: str, *shape: int) -> Tensor:
            return 2 * randomness.uniforms(seeds, (*names, f"torch {name}"), shape) - 1

        # bounds; the first layer has the parents and the noise as inputs
        first, inner = (parents.count + 1.0).rsqrt(), hidden**-0.5
        others = signed("noise", 2, nodes, hidden) * first[:, None, :, None]
        parameters = {
            "weight": signed("weight", width, nodes, hidden).permute(0, 2, 3, 1)
            * (first[..., None] * parents.mask)[:, :, None, :],
            "noise_weight": others[:, 0] * self.config.noise_gain,
            "bias": others[:, 1],
            "output": signed("output", nodes, hidden) * inner,
            "output_bias": signed("output bias", nodes) * inner,
        }
        if deep:
            parameters["deep_weight"] = signed("deep weight", nodes, deep, hidden, hidden) * inner
            parameters["deep_bias"] = signed("deep bias", nodes, deep, hidden) * inner
        return parameters

    def apply(
        self,
        parameters: Parameters,
        inputs: Float[Tensor, "b K N"],
        noise: Float[Tensor, "b N"],
    ) -> Float[Tensor, "b N"]:
        hidden = layer(parameters["bias"], parameters["weight"][:, :, : inputs.shape[1]], inputs)
        hidden.addcmul_(parameters["noise_weight"][:, :, None], noise[:, None])
        torch.nn.functional.leaky_relu_(hidden, self.config.negative_slope)
        for deep in range(self.config.hidden_layers - 1):
            hidden = layer(
                parameters["deep_bias"][:, deep], parameters["deep_weight"][:, deep], hidden
            )
            torch.nn.functional.leaky_relu_(hidden, self.config.negative_slope)
        out = weighted_sum(parameters["output"], hidden)
        return out + parameters["output_bias"][:, None] if "output_bias" in parameters else out


class MLPAdditiveFactory(MechanismLaw):
    """x_j = v_j . phi(V_j x_pa(j) + c_j) + d_j + s_j e_j; a root is s_j e_j. The laws are in the
    docstring of the configuration."""

    config: MLPAdditive

    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        nodes, width = parents.index.shape[1:]
        hidden, scale = self.config.hidden, self.config.weight_scale
        weight = draw_weights(
            self.config, seeds, (*names, "weight"), (width, nodes, hidden)
        ).permute(0, 2, 3, 1)
        others = randomness.normals(seeds, (*names, "others"), (2, nodes, hidden)) * scale
        child = (parents.count > 0).to(weight.dtype)
        return {
            "weight": weight * parents.mask[:, :, None, :],  # [B, D, hidden, K]
            "bias": others[:, 0],
            "output": others[:, 1] * child[..., None],
            "output_bias": randomness.normals(seeds, (*names, "output bias"), (nodes,))
            * scale
            * child,
            "noise_std": draw_noise_std(self.config, seeds, (*names, "noise_std"), nodes),
        }

    def location_scale(
        self, parameters: Parameters, inputs: Float[Tensor, "b K N"]
    ) -> tuple[Float[Tensor, "b N"], Float[Tensor, "b _"]]:
        hidden = layer(parameters["bias"], parameters["weight"][:, :, : inputs.shape[1]], inputs)
        activation = self.config.activation
        hidden = (
            hidden.tanh_()
            if activation == "tanh"
            else torch.nn.functional.leaky_relu_(
                hidden, 0.01 if activation == "leaky_relu" else 0.0
            )
        )
        mean = weighted_sum(parameters["output"], hidden).add_(parameters["output_bias"][:, None])
        return mean, parameters["noise_std"][:, None]

    def apply(
        self,
        parameters: Parameters,
        inputs: Float[Tensor, "b K N"],
        noise: Float[Tensor, "b N"],
    ) -> Float[Tensor, "b N"]:
        mean, std = self.location_scale(parameters, inputs)
        return mean.addcmul_(std, noise)
