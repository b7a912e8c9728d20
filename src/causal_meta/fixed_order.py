"""Sums and functions whose bits depend on their numbers alone, not on the shape of the batch.

A matrix product of a library adds in an order that it chooses by the shapes and the processor, and
torch's own sigmoid, softplus and power round the last numbers of an array in another way than the
others. Steep mechanisms make much of such a last digit. Here a sum is a fixed sequence of
multiplications and additions of whole arrays, each rounded element by element, and appended zeros
change nothing; functions are made of those whose vectorised form serves every place of an array.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

_BLOCK = 64  # rows of a column that `column_sums` adds as one tree


def weighted_sum(weight: Float[Tensor, "B K"], values: Float[Tensor, "B K N"]) -> Tensor:
    """[B, N]: sum_k weight_k values_k, k rising."""
    out = values.new_empty(values.shape[0], values.shape[2])
    # without BLAS: one pass over n for every k
    np.einsum("bk,bkn->bn", weight.numpy(), values.numpy(), out=out.numpy(), optimize=False)
    return out


def layer(
    bias: Float[Tensor, "B M"],
    weight: Float[Tensor, "B M K"],
    inputs: Float[Tensor, "B K N"],
    out: Tensor | None = None,
) -> Tensor:
    """[B, M, N]: bias_m + sum_k weight_mk inputs_k, k rising; into `out` if there is one."""
    if not inputs.shape[1]:
        return bias[..., None].expand(*bias.shape, inputs.shape[2]).clone()
    out = torch.mul(weight[:, :, :1], inputs[:, :1], out=out).add_(bias[..., None])
    for k in range(1, inputs.shape[1]):
        out.addcmul_(weight[:, :, k, None], inputs[:, k, None])
    return out


def in_order(terms: Tensor, dim: int) -> Tensor:
    """The sum of a few terms along `dim`, one after another."""
    return functools.reduce(torch.add, terms.unbind(dim))


def row_sums(values: Float[Tensor, "... N"]) -> Tensor:
    """The sums along the last dimension, in an order that N alone decides."""
    return torch.from_numpy(np.asarray(np.einsum("...n->...", values.contiguous().numpy())))


def column_sums(values: Float[Tensor, "B N D"]) -> Float[Tensor, "B 1 D"]:
    """The sums over rows: of every 64 rows one after another, of these sums likewise, and so on;
    rows and columns of zeros at the end change nothing. On other devices the sums of torch."""
    if values.device.type != "cpu":
        return values.sum(dim=1, keepdim=True)
    sums = values.numpy()
    while sums.shape[1] > 1:
        whole = sums.shape[1] // _BLOCK * _BLOCK
        parts = []
        if whole:
            blocks = sums[:, :whole].reshape(len(sums), -1, _BLOCK, sums.shape[2])
            parts.append(np.einsum("bknd->bkd", blocks))
        if whole < sums.shape[1]:
            parts.append(np.einsum("bnd->bd", sums[:, whole:])[:, None])
        sums = np.concatenate(parts, axis=1)
    return torch.from_numpy(sums)


def sigmoid(u: Tensor) -> Tensor:
    """1 / (1 + exp(-u))."""
    return torch.exp(-u).add_(1).reciprocal_()


def softplus(u: Tensor) -> Tensor:
    """log(1 + exp(u)), without overflow."""
    return torch.exp(-u.abs()).log1p_().add_(u.clamp(min=0))


def power(u: Tensor, exponent: int) -> Tensor:
    """u^exponent for a whole exponent of at least 1, by repeated multiplication."""
    return functools.reduce(torch.mul, [u] * exponent)
