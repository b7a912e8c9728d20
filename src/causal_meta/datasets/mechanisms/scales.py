"""The laws that many mechanisms share: of the weights on the parents, and of the noise's standard
deviation at every node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Float, Float64
from scipy.special import gammaincinv
from torch import Tensor

from causal_meta import randomness
from causal_meta.datasets.mechanisms.law import Names
from causal_meta.fixed_order import in_order


class WeightSettings(Protocol):
    """The settings of a configuration that `draw_weights` reads."""

    @property
    def weight_law(self) -> str: ...
    @property
    def weight_scale(self) -> float: ...
    @property
    def weight_low(self) -> float: ...
    @property
    def weight_high(self) -> float: ...


class NoiseSettings(Protocol):
    """The settings of a configuration that `draw_noise_std` reads."""

    @property
    def noise_std_law(self) -> str: ...
    @property
    def noise_std_a(self) -> float: ...
    @property
    def noise_std_b(self) -> float: ...
    @property
    def noise_variance_law(self) -> str: ...
    @property
    def noise_variance_a(self) -> float: ...
    @property
    def noise_variance_b(self) -> float: ...


def draw_weights(
    config: WeightSettings, seeds: Sequence[int], names: Names, shape: tuple[int, ...]
) -> Tensor:
    """Float32 [B, *shape]: independent weights of the law `config.weight_law`."""
    low, high = config.weight_low, config.weight_high
    if config.weight_law in ("normal", "normal_sign"):
        weights = randomness.normals(seeds, names, shape) * config.weight_scale
        return weights if config.weight_law == "normal" else weights + torch.sign(weights) * low
    u = randomness.uniforms(seeds, names, shape)
    if config.weight_law == "uniform":
        return low + (high - low) * u
    signed = 2 * u - 1
    return signed * (high - low) + torch.sign(signed) * low


def draw_noise_std(
    config: NoiseSettings, seeds: Sequence[int], names: Names, nodes: int
) -> Float[Tensor, "B D"]:
    """Independent standard deviations of the law `config.noise_std_law`, or roots
    of `config.noise_variance_law`'s variances."""
    a, b = config.noise_std_a, config.noise_std_b
    if config.noise_variance_law == "constant":
        return torch.full((len(seeds), nodes), config.noise_variance_a**0.5)
    if config.noise_variance_law == "inv_gamma":
        return (
            (config.noise_variance_b / draw_gammas(config.noise_variance_a, seeds, names, nodes))
            .sqrt()
            .to(torch.float32)
        )
    if config.noise_std_law == "constant":
        return torch.full((len(seeds), nodes), a)
    if config.noise_std_law == "uniform":
        return a + (b - a) * randomness.uniforms(seeds, names, (nodes,))
    if a == int(a) and a <= 16:  # a sum of exponentials
        return -in_order(randomness.uniforms(seeds, names, (int(a), nodes)).log(), dim=1) / b
    return (draw_gammas(a, seeds, names, nodes) / b).to(torch.float32)


def draw_gammas(
    shape: float | Float[Tensor, "B D"], seeds: Sequence[int], names: Names, nodes: int
) -> Float64[Tensor, "B D"]:
    """Independent Gamma numbers of rate 1 by the inverse distribution function; the
    shape is one number or one per node [B, D]."""
    u = randomness.uniforms(seeds, names, (nodes,)).to(torch.float64).numpy()
    return torch.from_numpy(
        gammaincinv(shape if isinstance(shape, float | int) else shape.numpy(), u)
    )


def draw_bias(bound: float, seeds: Sequence[int], names: Names, nodes: int) -> Float[Tensor, "B D"]:
    """U(-bound, bound), without drawing where the bound is 0."""
    if not bound:
        return torch.zeros(len(seeds), nodes)
    return (2 * randomness.uniforms(seeds, names, (nodes,)) - 1) * bound
