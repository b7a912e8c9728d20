"""Gaussian processes with a latent variable: the noise is one of the inputs of the function."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.mechanism_laws import GPCDE
from causal_meta.datasets.mechanisms.features import draw_features, pick_features, sum_of_cosines
from causal_meta.datasets.mechanisms.kernels import kernel, multipliers
from causal_meta.datasets.mechanisms.law import MechanismLaw, Names, Parameters, Parents
from causal_meta.datasets.ranges import float_at
from causal_meta.fixed_order import weighted_sum

_EXACT_CELLS = 1 << 22  # entries of covariances decomposed at once
_JITTER = 1e-6  # of the variance, added to the diagonal of an exact draw's covariance


class GPCDEFactory(MechanismLaw):
    """x_j = f_j(e_j, x_pa(j)), f_j ~ GP(0 or e_j, sum_q a_q² k_q(. / l_q)); laws in the
    configuration's docstring. A root is f_j(e_j).

    The random features (Rahimi and Recht 2007) have the kernel's covariance over functions for any
    number of them and are Gaussian processes in the limit of many: the frequencies of a kernel are
    draws of its spectral measure, and the weights are normal (BCNP, Dhir et al. 2025, draws from
    the process itself; the law that goes by this name in earlier code has weights of one). An exact
    draw decomposes the covariance of the rows; its first rows do not depend on how many
    follow.
    """

    cells = 1 << 17
    config: GPCDE

    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        config, count = self.config, parents.count
        kernels = len(config.kernels)
        each = -(-config.n_features // kernels)
        # two uniforms for the frequency of each feature
        rough = [q for q, name in enumerate(config.kernels) if name != "rbf" and not config.exact]
        features, uniforms = draw_features(
            seeds, names, count + 1, kernels * each, 3 * kernels + 2 * each * len(rough)
        )
        laws, spectral = (
            uniforms[..., : 3 * kernels].unflatten(-1, (3, kernels)),
            uniforms[..., 3 * kernels :].split(2 * each, dim=-1),
        )
        length, amplitude = (
            float_at(config.length_scale, laws[..., 0, :]),
            float_at(config.amplitude, laws[..., 1, :]),
        )
        shape = torch.stack(
            [_shape(config, name, laws[..., 2, q]) for q, name in enumerate(config.kernels)], dim=-1
        )
        if config.exact:
            words = (
                randomness.bits(seeds, (*names, "exact"), 2 * count.shape[1])
                .contiguous()
                .view(torch.int64)
            )
            return {
                "length_scale": length,
                "amplitude": amplitude,
                "shape": shape,
                "stream": words,
                "inputs": count + 1,
            }
        multiplier = length.reciprocal().repeat_interleave(each, dim=-1)
        for q, numbers in zip(rough, spectral, strict=False):
            multiplier[..., q * each : (q + 1) * each] = multipliers(
                config.kernels[q], length[..., q], shape[..., q], numbers
            )
        scale = (amplitude * math.sqrt(2 / each)).repeat_interleave(each, dim=-1)
        return features | {"multiplier": multiplier, "scale": scale}

    def pick(self, parameters: Parameters, row: Tensor, node: Tensor, width: int) -> Parameters:
        if self.config.exact:
            return super().pick(parameters, row, node, width)
        return pick_features(parameters, row, node, width + 1)

    def apply(
        self,
        parameters: Parameters,
        inputs: Float[Tensor, "b K N"],
        noise: Float[Tensor, "b N"],
    ) -> Float[Tensor, "b N"]:
        points = torch.cat((noise[:, None], inputs), dim=1)
        values = (
            self._exact(parameters, points)
            if self.config.exact
            else sum_of_cosines(parameters, points)
        )
        if self.config.mean == "latent":
            values += noise
        if self.config.row_noise_rate > 0:
            values += _row_noise(noise, self.config.row_noise_rate)
        return values

    def _exact(self, parameters: Parameters, points: Tensor) -> Tensor:
        """Float32 [b, N]: draws at the points float32 [b, k, N], in float64, some nodes at a
        time."""
        nodes, _, columns = points.shape
        if nodes * columns**2 > _EXACT_CELLS and nodes > 1:
            half = [slice(0, nodes // 2), slice(nodes // 2, nodes)]
            return torch.cat(
                [
                    self._exact(
                        {name: value[some] for name, value in parameters.items()}, points[some]
                    )
                    for some in half
                ]
            )
        used = torch.arange(points.shape[1]) < parameters["inputs"][:, None]
        points = (points * used[..., None]).mT.double()
        squares = points.new_zeros(nodes, columns, columns)
        for place in points.unbind(-1):
            squares += (place[:, :, None] - place[:, None]).square_()
        distance = squares.sqrt_()
        covariance = torch.zeros_like(distance)
        for q, name in enumerate(self.config.kernels):
            length, amplitude, shape = (
                parameters[key][:, q, None, None].double()
                for key in ("length_scale", "amplitude", "shape")
            )
            covariance += amplitude**2 * kernel(name, distance / length, shape)
        variance = covariance.diagonal(dim1=1, dim2=2)
        variance += _JITTER * variance.clamp(min=1e-30)
        normals = randomness.normals(
            parameters["stream"].tolist(), ("exact",), (columns, 1)
        ).double()
        root = torch.linalg.cholesky(covariance)
        return weighted_sum(normals[..., 0], root.mT).to(torch.float32)


def _shape(config: GPCDE, name: str, u: Tensor) -> Tensor:
    """The shape parameter of a kernel at quantiles u; ones where it has none."""
    if name == "rbf":
        return torch.ones_like(u)
    return float_at(config.gamma if name == "exponential_gamma" else config.alpha, u)


def _row_noise(noise: Tensor, rate: float) -> Tensor:
    """Float32 like `noise`: t z with t ~ Gamma(1, rate) and z ~ N(0, 1) independent for every value
    and uncorrelated with the noise.

    A further number for every value, without a further draw: its bits are the noise's, hashed
    (twice the finaliser of MurmurHash3, Appleby 2011, on 32 bits), so that equal noise gives equal
    values, under interventions as without.
    """
    words = [
        _hashed(noise.contiguous().view(torch.int32).to(torch.int64), salt)
        for salt in (0x9E3779B9, 0x7F4A7C15, 0x85EBCA77)
    ]
    size, radius, angle = ((word.to(torch.float64) + 0.5) / 2.0**32 for word in words)
    return (-size.log() / rate * (-2 * radius.log()).sqrt() * (2 * math.pi * angle).cos()).to(
        torch.float32
    )


def _hashed(words: Tensor, salt: int) -> Tensor:
    """Int64 in [0, 2^32): 32-bit words mixed with a salt."""
    low = 0xFFFFFFFF
    words = (words ^ salt) & low
    for _ in range(2):
        words = ((words ^ (words >> 16)) * 0x45D9F3B) & low
        words = ((words ^ (words >> 15)) * 0x2C1B3C6D) & low
        words = (words ^ (words >> 16)) & low
    return words
