"""The two halves of a transformer block as hand-written functions that work through the tokens in
pieces which fit the cache.

A plain sequence of operations writes every intermediate result to memory and reads it again, and
the system allocates new pages for it; on a CPU that costs more than the matrix products. Here each
piece is computed completely, from normalisation to residual, before the next begins, in the forward
and in the backward pass. Matrix products are in the type `How.dtype` (float32, bfloat16, float64);
the residual stream, normalisation and gradients of weights are in the type of the input. Gradients
are tested against plain operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Axis = Literal["variables", "rows"]

EPSILON = 1e-5  # of every layer norm
TOKENS = 8192
SCORES = 1 << 18  # attention scores worked on at once
# attention weights of a block are stored for the backward pass up to this size; larger ones are
# computed again
KEPT_BYTES = 1 << 29


class How(NamedTuple):
    """The settings of a hand-written half of a block: `dtype` is that of the matrix products; with
    `keep` intermediate results are stored for a backward pass."""

    n_heads: int
    key_size: int
    axis: Axis
    dropout: float
    dtype: torch.dtype
    keep: bool


class Attend(torch.autograd.Function):
    """x + drop(W_o attention(W xhat + b) + b_o) with xhat = (x - mean) / deviation, in pieces of
    `TOKENS` tokens."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "B D N C"],
        weight: Tensor,
        bias: Tensor,
        back: Tensor,
        back_bias: Tensor,
        mask: Bool[Tensor, "B length"] | None,
        how: How,
    ) -> Float[Tensor, "B D N C"]:  # type: ignore[override]
        out = torch.empty_like(x)
        source, target, masks = (
            _sequences(x, how.axis),
            _sequences(out, how.axis),
            _mask_of_sequences(mask, x, how.axis),
        )
        wide = _widened(how.dropout)
        w, b, wo, bo = (t.to(how.dtype) for t in (weight, bias, back * wide, back_bias * wide))
        kept: list[Tensor | None] = []
        counts: list[int] = []
        store = how.keep and _weights_bytes(x, how) <= KEPT_BYTES
        for piece in _pieces(source.shape, how.axis):
            tokens = source[piece].contiguous()
            xhat, mean, rstd = _normalised(tokens, how.dtype)
            heads = _split(torch.addmm(b, xhat, w.t()), tokens.shape, how)
            blocked = _blocked(masks, piece, heads.shape[1])
            mixed, probabilities = _softmax_attention(heads, blocked, store)
            joined = _join(mixed, tokens.shape, how)
            change = torch.addmm(bo, joined, wo.t())
            summed, mask_kept = _residual(tokens, change, how.dropout)
            target[piece] = summed
            if how.keep:
                kept += [xhat, mean, rstd, heads, joined, mask_kept, *probabilities]
                counts.append(len(probabilities))
        ctx.how, ctx.counts = how, counts
        ctx.save_for_backward(x, w, wo, mask, *kept)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        how: How = ctx.how
        x, w, wo, mask, *kept = ctx.saved_tensors
        dx = torch.empty_like(x)
        source, slope, target = (_sequences(t, how.axis) for t in (x, grad.contiguous(), dx))
        masks = _mask_of_sequences(mask, x, how.axis)
        dw, db, dwo, dbo = _zeros(w, x), _zeros(w[:, 0], x), _zeros(wo, x), _zeros(wo[:, 0], x)
        at = 0
        for piece, count in zip(_pieces(source.shape, how.axis), ctx.counts, strict=True):
            xhat, mean, rstd, heads, joined, mask_kept = kept[at : at + 6]
            probabilities = kept[at + 6 : at + 6 + count]
            at += 6 + count
            tokens, g = source[piece].contiguous(), slope[piece].contiguous()
            dchange = _through_dropout(g, mask_kept, how.dtype)
            dwo += dchange.t() @ joined
            dbo += _column_sums(dchange)
            dmixed = _split(dchange @ wo, tokens.shape, how)[0]
            blocked = _blocked(masks, piece, heads.shape[1])
            dheads = _softmax_attention_backward(heads, dmixed, blocked, probabilities)
            dprojected = _join(dheads, tokens.shape, how)
            dw += dprojected.t() @ xhat
            db += _column_sums(dprojected)
            target[piece] = _through_norm(dprojected @ w, tokens, mean, rstd).add_(g)
        wide = _widened(how.dropout)
        return dx, dw, db, dwo.mul_(wide), dbo.mul_(wide), None, None


class Feed(torch.autograd.Function):
    """x + drop(W2 relu(W1 xhat + b1) + b2) with xhat = (x - mean) / deviation, in pieces of
    `TOKENS` tokens."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "B D N C"],
        first: Tensor,
        first_bias: Tensor,
        second: Tensor,
        second_bias: Tensor,
        how: How,
    ) -> Float[Tensor, "B D N C"]:  # type: ignore[override]
        out = torch.empty_like(x)
        source, target = x.view(-1, x.shape[-1]), out.view(-1, x.shape[-1])
        wide = _widened(how.dropout)
        w1, b1, w2, b2 = (
            t.to(how.dtype) for t in (first, first_bias, second * wide, second_bias * wide)
        )
        kept: list[Tensor | None] = []
        for tokens, place in zip(source.split(TOKENS), target.split(TOKENS), strict=True):
            xhat, mean, rstd = _normalised(tokens, how.dtype)
            hidden = torch.addmm(b1, xhat, w1.t()).relu_()
            summed, mask_kept = _residual(tokens, torch.addmm(b2, hidden, w2.t()), how.dropout)
            place.copy_(summed)
            if how.keep:
                kept += [xhat, mean, rstd, hidden, mask_kept]
        ctx.how = how
        ctx.save_for_backward(x, w1, w2, *kept)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        how: How = ctx.how
        x, w1, w2, *kept = ctx.saved_tensors
        dx = torch.empty_like(x)
        source, slope, target = (
            t.view(-1, x.shape[-1]).split(TOKENS) for t in (x, grad.contiguous(), dx)
        )
        dw1, db1, dw2, db2 = _zeros(w1, x), _zeros(w1[:, 0], x), _zeros(w2, x), _zeros(w2[:, 0], x)
        for number, (tokens, g, place) in enumerate(zip(source, slope, target, strict=True)):
            xhat, mean, rstd, hidden, mask_kept = kept[5 * number : 5 * number + 5]
            dchange = _through_dropout(g, mask_kept, how.dtype)
            dw2 += dchange.t() @ hidden
            db2 += _column_sums(dchange)
            dhidden = torch.ops.aten.threshold_backward(dchange @ w2, hidden, 0)
            dw1 += dhidden.t() @ xhat
            db1 += _column_sums(dhidden)
            torch.add(_through_norm(dhidden @ w1, tokens, mean, rstd), g, out=place)
        wide = _widened(how.dropout)
        return dx, dw1, db1, dw2.mul_(wide), db2.mul_(wide), None


def _sequences(x: Tensor, axis: Axis) -> Tensor:
    """Tokens [B, D, N, C] reshaped so that pieces are slices: unchanged for attention over
    variables, [B D, 1, N, C] for attention over rows."""
    return x if axis == "variables" else x.view(-1, 1, *x.shape[2:])


def _mask_of_sequences(mask: Tensor | None, x: Tensor, axis: Axis) -> Tensor | None:
    return (
        mask if mask is None or axis == "variables" else mask.repeat_interleave(x.shape[1], dim=0)
    )


def _pieces(shape: torch.Size, axis: Axis) -> Iterator[tuple[slice, slice, slice]]:
    """Slices of whole sequences, about `TOKENS` tokens each."""
    outer, variables, rows, _ = shape
    each = variables * rows
    if axis == "rows" or each <= TOKENS:
        step = max(1, TOKENS // each)
        for start in range(0, outer, step):
            yield slice(start, start + step), slice(None), slice(None)
        return
    step = max(1, TOKENS // variables)
    for task in range(outer):
        for start in range(0, rows, step):
            yield slice(task, task + 1), slice(None), slice(start, start + step)


def _blocked(
    masks: Tensor | None, piece: tuple[slice, slice, slice], sequences: int
) -> Tensor | None:
    """[sequences times heads, 1, length], True at keys that may not be attended to."""
    if masks is None:
        return None
    mask = ~masks[piece[0]]
    return mask.repeat_interleave(sequences // len(mask), dim=0).unsqueeze(1)


def _normalised(tokens: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    xhat, mean, rstd = torch.native_layer_norm(tokens, tokens.shape[-1:], None, None, EPSILON)
    return xhat.view(-1, tokens.shape[-1]).to(dtype), mean, rstd


def _through_norm(grad: Tensor, tokens: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
    grad = grad.view(tokens.shape).to(tokens.dtype)
    return torch.ops.aten.native_layer_norm_backward(
        grad, tokens, tokens.shape[-1:], mean, rstd, None, None, [True, False, False]
    )[0]


def _split(projected: Tensor, shape: torch.Size, how: How) -> Tensor:
    """[tokens, P H K] -> [P, sequences H, length, K], contiguous, for P projections."""
    outer, variables, rows, _ = shape
    parts = projected.view(outer, variables, rows, -1, how.n_heads, how.key_size)
    order = (3, 0, 2, 4, 1, 5) if how.axis == "variables" else (3, 0, 1, 4, 2, 5)
    parts = parts.permute(order).contiguous()
    return parts.view(len(parts), -1, *parts.shape[-2:])


def _join(heads: Tensor, shape: torch.Size, how: How) -> Tensor:
    """The inverse of `_split`."""
    outer, variables, rows, _ = shape
    between, length = (rows, variables) if how.axis == "variables" else (variables, rows)
    parts = heads.view(-1, outer, between, how.n_heads, length, how.key_size)
    order = (1, 4, 2, 0, 3, 5) if how.axis == "variables" else (1, 2, 4, 0, 3, 5)
    return parts.permute(order).reshape(outer * variables * rows, -1)


_BITS = {
    torch.bfloat16: torch.int16,
    torch.float16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}


def _levels(dropout: float) -> int:
    """The probability of being dropped in units of 1 / 65536."""
    return round(dropout * 65536)


def _widened(dropout: float) -> float:
    """The factor of the entries that dropout keeps, which preserves the mean."""
    return 65536 / (65536 - _levels(dropout))


def _keep_mask(change: Tensor, dropout: float) -> Tensor | None:
    """Int16, all bits set where an entry is kept and none where it is dropped; None without
    dropout.

    The probability is rounded to 1 / 65536: 16 random bits an entry, of the global generator as in
    `torch.nn.Dropout`. Comparing into int16 and masking bits is several times as fast as boolean
    masks.
    """
    if _levels(dropout) == 0:
        return None
    words = torch.empty(-(-change.numel() // 4), dtype=torch.int64, device=change.device).random_(
        -(2**63), None
    )
    bits = words.view(torch.int16)[: change.numel()].view(change.shape)
    return torch.ge(bits, _levels(dropout) - 32768, out=torch.empty_like(bits)).neg_()


def _masked(values: Tensor, mask: Tensor) -> Tensor:
    """`values` with zeros where `mask` has no bits, in place."""
    whole = values.view(_BITS[values.dtype])
    whole.bitwise_and_(mask.to(whole.dtype))
    return values


def _residual(tokens: Tensor, change: Tensor, dropout: float) -> tuple[Tensor, Tensor | None]:
    """tokens + masked change, and the mask. `change` must already be widened."""
    mask = _keep_mask(change, dropout)
    if mask is not None:
        change = _masked(change, mask)
    return tokens + change.view(tokens.shape).to(tokens.dtype), mask


def _through_dropout(grad: Tensor, mask: Tensor | None, dtype: torch.dtype) -> Tensor:
    """[..., C] as [tokens, C] of the type of the products, masked; `grad` stays as it is."""
    flat = grad.view(-1, grad.shape[-1])
    if mask is None:
        return flat.to(dtype)
    return _masked(flat.to(dtype, copy=True), mask)


def _column_sums(values: Tensor) -> Tensor:
    # accumulated in float32 whatever the type, and much faster than with the type stated
    return values.sum(dim=0)


def _zeros(weight: Tensor, like: Tensor) -> Tensor:
    return torch.zeros(weight.shape, dtype=like.dtype, device=like.device)


def _weights_bytes(x: Tensor, how: How) -> int:
    batch, variables, rows, _ = x.shape
    length = variables if how.axis == "variables" else rows
    return batch * variables * rows * length * how.n_heads * how.dtype.itemsize


def _tiles(groups: int, length: int) -> Iterator[tuple[slice, slice]]:
    """Groups and queries of about `SCORES` attention scores; queries are divided only where one
    group alone is too large."""
    by_group, by_query = max(1, SCORES // (length * length)), max(1, min(length, SCORES // length))
    for group in range(0, groups, by_group):
        for query in range(0, length, by_query):
            yield slice(group, group + by_group), slice(query, query + by_query)


def _probabilities(query: Tensor, key: Tensor, blocked: Tensor | None) -> Tensor:
    """Rows of softmax(query key'), computed in float32 or better and rounded to the type of the
    products."""
    scores = torch.bmm(query, key.transpose(1, 2)).to(
        torch.promote_types(query.dtype, torch.float32)
    )
    if blocked is not None:
        scores.masked_fill_(blocked, -torch.inf)
    return torch.softmax(scores, -1).to(query.dtype)


def _softmax_attention(
    heads: Tensor, blocked: Tensor | None, store: bool
) -> tuple[Tensor, list[Tensor]]:
    """Queries, keys, values [3, G, L, K] -> mixed values [G, L, K], and the attention weights tile
    by tile if they are to be stored."""
    query, key, value = heads.unbind(0)
    mixed, stored = torch.empty_like(query), []
    for group, part in _tiles(len(query), query.shape[1]):
        weights = _probabilities(
            query[group, part], key[group], None if blocked is None else blocked[group]
        )
        torch.bmm(weights, value[group], out=mixed[group, part])
        if store:
            stored.append(weights)
    return mixed, stored


def _softmax_attention_backward(
    heads: Tensor, dmixed: Tensor, blocked: Tensor | None, stored: list[Tensor]
) -> Tensor:
    """Gradients of queries, keys and values, [3, G, L, K]: with P the weights, dV = P' dO, dS = P
    (dO V' - rowsum(P dO V'))."""
    query, key, value = heads.unbind(0)
    tiled = query.shape[1] ** 2 > SCORES  # several tiles of queries add to the same keys
    dheads = torch.zeros_like(heads) if tiled else torch.empty_like(heads)
    dquery, dkey, dvalue = dheads.unbind(0)
    for tile, (group, part) in enumerate(_tiles(len(query), query.shape[1])):
        q, k, dout = query[group, part], key[group], dmixed[group, part]
        weights = (
            stored[tile]
            if stored
            else _probabilities(q, k, None if blocked is None else blocked[group])
        )
        dscores = _through_softmax(torch.bmm(dout, value[group].transpose(1, 2)), weights)
        torch.bmm(dscores, k, out=dquery[group, part])
        if tiled:
            dkey[group] += torch.bmm(dscores.transpose(1, 2), q)
            dvalue[group] += torch.bmm(weights.transpose(1, 2), dout)
        else:
            torch.bmm(dscores.transpose(1, 2), q, out=dkey[group])
            torch.bmm(weights.transpose(1, 2), dout, out=dvalue[group])
    return dheads


def _through_softmax(dweights: Tensor, weights: Tensor) -> Tensor:
    """P (dP - rowsum(P dP)); short rows are converted to float32, because torch's kernel
    is fast for them only in that type."""
    if weights.shape[-1] >= 64 or weights.dtype == torch.promote_types(
        weights.dtype, torch.float32
    ):
        return torch.ops.aten._softmax_backward_data(dweights, weights, -1, weights.dtype)
    return torch.ops.aten._softmax_backward_data(
        dweights.float(), weights.float(), -1, torch.float32
    ).to(weights.dtype)
