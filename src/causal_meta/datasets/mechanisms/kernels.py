"""Stationary kernels as mixtures of Gaussians over the length scale: the kernel, and the factors of
the normal frequencies of its random features.

Where k(r) = E exp(-m² r²/2), cos(m w . x + phase) with w ~ N(0, I) is a random feature of k.
"""

from __future__ import annotations

import math

import torch
from scipy.special import gammaincinv
from torch import Tensor

# the largest factor: what varies faster is noise to any table whose rows are further apart than
# 3/1000
_FINEST = 1000.0
# faster factors are folded into _FINEST to _FINEST * _OVER, so that angles keep their digits in
# float32
_OVER = 3.0


def kernel(name: str, r: Tensor, shape: Tensor) -> Tensor:
    """The kernel's value at distances r >= 0 in length scales; `shape` is gamma or alpha.

    >>> kernel("rational_quadratic", torch.tensor(2.0), torch.tensor(1.0))
    tensor(0.3333)
    """
    if name == "rbf":
        return torch.exp(-0.5 * r.square())
    if name == "exponential_gamma":
        return torch.exp(-torch.exp(shape * r.log()))
    return torch.exp(-shape * torch.log1p(r.square() / (2 * shape)))


def multipliers(name: str, length: Tensor, shape: Tensor, u: Tensor) -> Tensor:
    """Float32 [..., M]: random factors m of normal frequencies, from uniforms [..., 2 M], for
    length scales and shapes [...].

    "rbf": 1 / l. "exponential_gamma": sqrt(2 A) / l, A positive stable with index gamma/2, so that
    E exp(-A s) = exp(-s^(gamma/2)), by Kanter (1975). "rational_quadratic": sqrt(G / alpha) / l, G
    ~ Gamma(alpha, 1), by the inverse of its distribution function.
    """
    features = u.shape[-1] // 2
    if name == "rbf":
        return length.reciprocal()[..., None].expand(*length.shape, features)
    first, second, shape = (
        u[..., :features].double(),
        u[..., features:].double(),
        shape[..., None].double(),
    )
    if name == "exponential_gamma":
        log_factor = 0.5 * (math.log(2) + _log_stable(shape / 2, first, second))
    else:
        log_factor = (
            0.5 * torch.from_numpy(gammaincinv(shape.numpy(), first.numpy()) / shape.numpy()).log()
        )
    log_factor -= length[..., None].double().log()
    excess = (log_factor - math.log(_FINEST)).clamp_(min=0)
    folded = torch.where(
        excess > 0, math.log(_FINEST) + excess.frac() * math.log(_OVER), log_factor
    )
    return folded.exp().to(torch.float32)


def _log_stable(index: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """log A of positive stable A, 0 < index <= 1: sin(a U) / sin(U)^(1/a) (sin((1 - a) U) / E)^((1
    - a) / a), U ~ U(0, pi), E = -log v."""
    angle, rest = math.pi * u, 1 - index
    tail = torch.where(rest > 0, (torch.sin(rest * angle) / -v.log()).clamp_min(1e-300).log(), 0.0)
    return torch.sin(index * angle).log() - torch.sin(angle).log() / index + rest / index * tail
