"""Attention along one axis of a table of tokens, with masks, and the initial weights.

Tokens lie as [B, D, N, C]: B tasks, D variables, N rows, C features. A block attends either over
variables (within a row) or over rows (within a variable), then applies a feed-forward network; both
are residual with normalisation before (pre-norm).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from causal_meta.layers.pieces import EPSILON, Attend, Axis, Feed, How

_TRUNCATED_STD = 0.87962566103423978  # standard deviation of a standard normal cut at ±2


def empty_linear(n_in: int, n_out: int) -> nn.Linear:
    """A linear map without initial weights: constructing it leaves the global generator
    unchanged."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_in, n_out)
    with torch.no_grad():
        layer.bias.zero_()
    return layer


@torch.no_grad()
def variance_scaling(
    layer: nn.Linear,
    scale: float,
    law: Literal["uniform", "truncated_normal"],
    generator: torch.Generator,
) -> None:
    """Draw the weights of a linear map with variance scale / fan_in, and set its bias to zero.

    `uniform` on ±sqrt(3 scale / fan_in); `truncated_normal` cut at two standard deviations and
    widened to have the stated variance. Drawn in float32 on the CPU, so that a seed gives the same
    weights on every device.
    """
    fan_in = layer.in_features
    draw = torch.empty(layer.weight.shape, dtype=torch.float32)
    if law == "uniform":
        bound = math.sqrt(3 * scale / fan_in)
        draw.uniform_(-bound, bound, generator=generator)
    else:
        std = math.sqrt(scale / fan_in) / _TRUNCATED_STD
        nn.init.trunc_normal_(draw, std=std, a=-2 * std, b=2 * std, generator=generator)
    layer.weight.copy_(draw)
    layer.bias.zero_()


class AxialBlock(nn.Module):
    """One transformer block over one axis: x + drop(MHA(LN_q x, LN_k x, LN_v x)), then x + drop(W2
    relu(W1 LN x)).

    Parameters: `dim` C; `n_heads` H of size `key_size` K each; `widening` of the feed-forward
    network; `dropout` on both residual branches; `axis` the attention runs along. Queries, keys and
    values have separate layer norms (Lorch et al. 2022), and all linear maps have biases.

    The affine maps of the layer norms are folded into the linear maps that follow, W' = W diag(g),
    b' = b + W s, and 1/sqrt K into the queries: the same function with one normalisation in place
    of three.
    """

    def __init__(
        self, dim: int, n_heads: int, key_size: int, widening: int, dropout: float, axis: Axis
    ) -> None:
        super().__init__()
        inner = n_heads * key_size
        self.n_heads, self.key_size, self.dropout, self.axis = n_heads, key_size, dropout, axis
        self.query_norm, self.key_norm, self.value_norm, self.feed_norm = (
            nn.LayerNorm(dim) for _ in range(4)
        )
        self.query, self.key, self.value = (empty_linear(dim, inner) for _ in range(3))
        self.attended = empty_linear(inner, dim)
        self.widen, self.narrow = (
            empty_linear(dim, widening * dim),
            empty_linear(widening * dim, dim),
        )

    def initialise(self, scale: float, generator: torch.Generator) -> None:
        """Draw the weights: variance `scale` / fan-in, truncated normal in the attention, uniform
        in the feed-forward network."""
        for layer in (self.query, self.key, self.value, self.attended):
            variance_scaling(layer, scale, "truncated_normal", generator)
        for layer in (self.widen, self.narrow):
            variance_scaling(layer, scale, "uniform", generator)

    def forward(
        self, x: Float[Tensor, "B D N C"], mask: Bool[Tensor, "B length"] | None = None
    ) -> Float[Tensor, "B D N C"]:
        """The tokens after the block. `mask`, of the length of the axis, is True at real
        entries; without it all are.

        On a CPU the two halves are hand-written functions that process the tokens in pieces that
        fit the cache; elsewhere they are plain operations. Both compute the same.
        """
        return self.pieced(x, mask) if x.device.type == "cpu" else self.plain(x, mask)

    def plain(
        self, x: Float[Tensor, "B D N C"], mask: Bool[Tensor, "B length"] | None = None
    ) -> Float[Tensor, "B D N C"]:
        """`forward` in plain differentiable operations."""
        xhat = functional.layer_norm(x, x.shape[-1:], eps=EPSILON)
        mixed = axial_attention(
            functional.linear(xhat, *self._projections()), self.n_heads, self.axis, mask
        )
        x = x + functional.dropout(self.attended(mixed), self.dropout, self.training)
        xhat = functional.layer_norm(x, x.shape[-1:], eps=EPSILON)
        hidden = torch.relu(functional.linear(xhat, *folded(self.feed_norm, self.widen)))
        return x + functional.dropout(self.narrow(hidden), self.dropout, self.training)

    def pieced(
        self, x: Float[Tensor, "B D N C"], mask: Bool[Tensor, "B length"] | None = None
    ) -> Float[Tensor, "B D N C"]:
        """`forward` by the hand-written functions of `pieces`, which include their backward
        passes."""
        half = torch.is_autocast_enabled("cpu") and x.dtype == torch.float32
        how = How(
            self.n_heads,
            self.key_size,
            self.axis,
            self.dropout if self.training else 0.0,
            torch.get_autocast_dtype("cpu") if half else x.dtype,
            torch.is_grad_enabled(),
        )
        x = Attend.apply(
            x.contiguous(),
            *self._projections(),
            self.attended.weight,
            self.attended.bias,
            mask,
            how,
        )
        return Feed.apply(
            x, *folded(self.feed_norm, self.widen), self.narrow.weight, self.narrow.bias, how
        )

    def _projections(self) -> tuple[Tensor, Tensor]:
        query, query_bias = folded(self.query_norm, self.query)
        key, key_bias = folded(self.key_norm, self.key)
        value, value_bias = folded(self.value_norm, self.value)
        shrink = 1 / math.sqrt(self.key_size)
        return torch.cat((query * shrink, key, value)), torch.cat(
            (query_bias * shrink, key_bias, value_bias)
        )


def folded(
    norm: nn.LayerNorm, layer: nn.Linear
) -> tuple[Float[Tensor, "out C"], Float[Tensor, " out"]]:
    """Weight and bias of the linear map that equals the affine map of `norm` followed by
    `layer`."""
    return layer.weight * norm.weight, layer.bias + functional.linear(norm.bias, layer.weight)


def axial_attention(
    projected: Float[Tensor, "B D N 3*H*K"],
    n_heads: int,
    axis: Axis,
    mask: Bool[Tensor, "B length"] | None,
) -> Float[Tensor, "B D N H*K"]:
    """Softmax attention along one axis, of queries, keys and values (side by side in the last
    dimension, the queries already scaled).

    `mask`, of the length of the axis, is True at entries that may be attended to; each task needs
    at least one.
    """
    batch, variables, rows, _ = projected.shape
    parts = projected.view(batch, variables, rows, 3, n_heads, -1)
    order = (3, 0, 2, 4, 1, 5) if axis == "variables" else (3, 0, 1, 4, 2, 5)
    query, key, value = parts.permute(order).flatten(1, 2).unbind(0)  # [B others, H, length, K]
    allowed = (
        None
        if mask is None
        else mask.repeat_interleave(len(query) // batch, dim=0)[:, None, None, :]
    )
    mixed = functional.scaled_dot_product_attention(
        query, key, value, allowed, scale=1.0
    ).unflatten(0, (batch, -1))
    back = (0, 3, 1, 2, 4) if axis == "variables" else (0, 1, 3, 2, 4)
    return mixed.permute(back).reshape(batch, variables, rows, -1)
