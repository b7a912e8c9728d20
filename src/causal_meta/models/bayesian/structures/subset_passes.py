"""The two passes over all pairs of a set of variables and a larger one, which `ModularSums` rests
on."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int64

from causal_meta.models.bayesian.structures.set_functions import sizes, sums_of_members

#: Sets of variables whose probability of being closed under causes is below exp(-NEGLIGIBLE) are
#: dropped, in nats.
NEGLIGIBLE = 60.0
_LOW_BITS = 7  # one block of sets: 2^6 sets, 3^6 terms
_ENTRIES_AT_ONCE = 1 << 17
_RANGE = 340.0  # nats; factors below exp(_RANGE / 2) and their products keep all that matters


class _Pairs:
    """All pairs of a set and a superset of it, of `n_bits` variables, in the order of the number
    of members of one of the two, so that the pairs of each set, and those of each size, are
    neighbours."""

    def __init__(self, n_bits: int, by_target: bool) -> None:
        source = target = np.zeros(1, np.int64)
        for k in range(n_bits):
            bit = 1 << k
            source = np.concatenate([source, source, source | bit])
            target = np.concatenate([target, target | bit, target | bit])
        count = sizes(n_bits)
        owner = target if by_target else source
        rank = count[owner] if by_target else n_bits - count[owner]
        order = np.lexsort([owner, rank])
        self.source, self.target, owner = source[order], target[order], owner[order]
        self.added = self.source ^ self.target
        self.sign = 1.0 - 2.0 * (count[self.added] % 2)
        self.starts = np.flatnonzero(np.diff(owner, prepend=-1))
        self.owners = owner[self.starts]
        self.place = np.argsort(self.owners)
        ends = np.flatnonzero(np.diff(rank[order], append=-1)) + 1
        self.levels = [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        edges = np.searchsorted(self.starts, ends)
        self.of_level = [slice(a, b) for a, b in zip([0, *edges[:-1]], edges, strict=True)]

    def gathered(self, terms: Float[np.ndarray, "R T"]) -> Float[np.ndarray, "R L"]:
        """The sum of the terms of each set, in the order of the sets."""
        return np.add.reduceat(terms, self.starts, axis=-1)[..., self.place]

    def solve(
        self,
        values: Float[np.ndarray, " L"],
        factors: Float[np.ndarray, " T"],
        others: Int64[np.ndarray, " T"],
    ) -> None:
        """Add to the value of each set, in the order of levels, the sum of its factors times the
        values of the other sets of its pairs; in place."""
        for pairs, sets in zip(self.levels[1:], self.of_level[1:], strict=True):
            terms = np.where(self.added[pairs] > 0, factors[pairs] * values[others[pairs]], 0.0)
            starts = self.starts[sets] - pairs.start
            values[self.owners[sets]] += np.add.reduceat(terms, starts)


class _Block:
    """The terms exp(source[S] + inner[S, T] + target[S + T]) of the sets S and S + T of one block,
    with the signs of the low variables of T, for several blocks of targets at once (R rows).

    Where source and target leave the range of numbers no factor apart, a sum over T is a product of
    matrices; what underflows there is below exp(-_RANGE) times the largest term.
    """

    def __init__(self, pairs: _Pairs, inner: Float[np.ndarray, " T"]) -> None:
        self._pairs, self._inner = pairs, inner
        self.factors = pairs.sign * np.exp(np.minimum(inner, 0.0))
        self._matrix = np.zeros((len(pairs.owners),) * 2)
        self._matrix[pairs.source, pairs.target] = self.factors

    def to_targets(
        self, source: Float[np.ndarray, "R L"], target: Float[np.ndarray, "R L"]
    ) -> Float[np.ndarray, "R L"]:
        """The sum of the terms of each S + T."""
        out = np.empty_like(source)
        near, far = _by_range(source, target)
        if near.size:
            left, right = _exponentials(source[near], target[near])
            out[near] = (left @ self._matrix) * right
        for rows in self._pieces(far):
            out[rows] = self._pairs.gathered(self._terms(source[rows], target[rows]))
        return out

    def to_sources(
        self,
        source: Float[np.ndarray, "R L"],
        target: Float[np.ndarray, "R L"],
        weights: Float[np.ndarray, " R"],
    ) -> tuple[Float[np.ndarray, "R L"], Float[np.ndarray, " T"]]:
        """The sum of the terms of each S; and, for each pair, the sum over rows times `weights`."""
        out, per_pair = np.empty_like(source), np.zeros(len(self._inner))
        near, far = _by_range(source, target)
        if near.size:
            left, right = _exponentials(source[near], target[near])
            out[near] = left * (right @ self._matrix.T)
            products = (weights[near, None] * left).T @ right
            per_pair += products[self._pairs.source, self._pairs.target] * self.factors
        for rows in self._pieces(far):
            terms = self._terms(source[rows], target[rows])
            out[rows] = self._pairs.gathered(terms)
            per_pair += weights[rows] @ terms
        return out, per_pair

    def _pieces(self, rows: Int64[np.ndarray, " r"]) -> list[Int64[np.ndarray, " s"]]:
        step = max(1, _ENTRIES_AT_ONCE // len(self._inner))
        return [rows[k : k + step] for k in range(0, len(rows), step)]

    def _terms(
        self, source: Float[np.ndarray, "R L"], target: Float[np.ndarray, "R L"]
    ) -> Float[np.ndarray, "R T"]:
        terms = np.take(source, self._pairs.source, axis=1)
        terms += self._inner
        terms += np.take(target, self._pairs.target, axis=1)
        np.exp(terms, out=terms)
        terms *= self._pairs.sign
        return terms


def _by_range(
    source: Float[np.ndarray, "R L"], target: Float[np.ndarray, "R L"]
) -> tuple[Int64[np.ndarray, " r"], Int64[np.ndarray, " s"]]:
    """The rows whose exponentials stay in the range of numbers, and the others."""
    near = source.max(axis=1) + target.max(axis=1) <= _RANGE
    return np.flatnonzero(near), np.flatnonzero(~near)


def _exponentials(
    source: Float[np.ndarray, "R L"], target: Float[np.ndarray, "R L"]
) -> tuple[Float[np.ndarray, "R L"], Float[np.ndarray, "R L"]]:
    """exp(source) and exp(target), in each row multiplied and divided by the number that makes
    their largest entries equal."""
    shift = (source.max(axis=1, keepdims=True) - target.max(axis=1, keepdims=True)) / 2
    shift[np.isinf(shift)] = 0.0  # a row of zeros
    return np.exp(source - shift), np.exp(target + shift)


class Passes:
    """The two passes over all pairs (S, S + T), in blocks: S is a block (its high bits) and a place
    in it (its low bits); T likewise.

    Values are relative to the scale of their set, the best single order: `first` for Z, `last` for
    Y. So they lie between 1 and D!, and every term is at most 1 times a value. A term is a product
    of three factors, of S alone, of S and the low variables of T, and of S + T, where these do not
    leave the range of numbers; otherwise it is one exponential.
    """

    def __init__(
        self,
        within: Float[np.ndarray, "D M"],
        first: Float[np.ndarray, " M"],
        last: Float[np.ndarray, " M"],
        kept: Bool[np.ndarray, " M"],
    ) -> None:
        self.n_nodes = len(within)
        self.low = min(_LOW_BITS, self.n_nodes)
        shape = (-1, 1 << self.low)
        self.within = within.reshape(self.n_nodes, *shape)
        self.kept = kept.reshape(shape)
        # sets without any graph are not kept, and all their terms are 0 whatever their scale is
        self.first = np.where(np.isfinite(first), first, 0.0).reshape(shape)
        self.last = np.where(np.isfinite(last), last, 0.0).reshape(shape)
        self.slack = math.lgamma(self.n_nodes + 1)  # the largest log of a value
        self.at_once = max(1, _ENTRIES_AT_ONCE >> self.low)

    def forward(self) -> Float[np.ndarray, " M"]:
        """Z relative to `first`; 0 for dropped sets."""
        pairs = _Pairs(self.low, by_target=True)
        z = np.zeros_like(self.first)
        z[0, 0] = 1.0
        for number in np.flatnonzero(self.kept.any(axis=1)).tolist():
            kept, first = self.kept[number], self.first[number]
            inner = self._inner(number, pairs) + first[pairs.source] - first[pairs.target]
            block = _Block(pairs, inner)
            pairs.solve(z[number], -block.factors * kept[pairs.source], pairs.source)
            z[number][~kept] = 0.0
            blocks, sums, signs = self._outer(number, _log(z[number]))
            ahead = first - self.first[blocks]
            for rows in self._rows(blocks, sums + ahead):
                target = np.where(self.kept[blocks[rows]], ahead[rows], -np.inf)
                z[blocks[rows]] -= signs[rows, None] * block.to_targets(sums[rows], target)
        return z.reshape(-1)

    def backward(
        self, z: Float[np.ndarray, " M"]
    ) -> tuple[Float[np.ndarray, " M"], Float[np.ndarray, "D M"]]:
        """Y relative to `last`, 0 for dropped sets; and for each v and S the probability that S is
        closed under causes and v, of the others, is the only one whose causes all lie in S."""
        pairs = _Pairs(self.low, by_target=False)
        y = np.zeros_like(self.last)
        y[-1, -1] = 1.0
        released = np.zeros_like(self.within)
        log_total = np.log(z[-1]) + self.first[-1, -1]
        z = z.reshape(self.first.shape)
        for number in np.flatnonzero(self.kept.any(axis=1))[::-1].tolist():
            kept, last = self.kept[number], self.last[number]
            inner = self._inner(number, pairs) + last[pairs.target] - last[pairs.source]
            block = _Block(pairs, inner)
            blocks, sums, signs = self._outer(number, np.zeros(1 << self.low))
            ahead = self.last[blocks] - last
            per_block, per_pair = np.zeros_like(sums), np.zeros(len(inner))
            for rows in self._rows(blocks, sums + ahead + self.slack):
                target = _log(y[blocks[rows]]) + ahead[rows]
                per_set, more = block.to_sources(sums[rows], target, -signs[rows])
                per_block[rows] = -signs[rows, None] * per_set
                per_pair += more
            y[number] += per_block.sum(axis=0)
            factors = -block.factors * kept[pairs.target]
            pairs.solve(y[number], factors, pairs.target)
            y[number][~kept] = 0.0
            per_pair += np.where(pairs.added > 0, factors * y[number][pairs.target], 0.0)
            share = np.exp(_log(z[number]) + self.first[number] + last - log_total)
            parts = self._parts(number, pairs, per_pair, per_block)
            released[:, number] = np.maximum(parts, 0.0) * share
        return y.reshape(-1), released.reshape(self.n_nodes, -1)

    def _inner(self, block: int, pairs: _Pairs) -> Float[np.ndarray, " T"]:
        """For each pair of a block, the sum over the added low variables of log W_v(S)."""
        sums = sums_of_members(self.within[: self.low, block].T)
        return sums[pairs.source, pairs.added]

    def _outer(
        self, block: int, base: Float[np.ndarray, " L"]
    ) -> tuple[Int64[np.ndarray, " R"], Float[np.ndarray, "R L"], Float[np.ndarray, " R"]]:
        """All blocks that have the high variables of `block` and more (itself first), for each
        `base` plus the sum over these more of log W_v(S), and the sign of their number."""
        high = [k for k in range(self.n_nodes - self.low) if not block >> k & 1]
        blocks = block | sums_of_members(np.array([1 << k for k in high], np.int64))
        sums = np.empty((len(blocks), len(base)))
        sums[0] = base
        for k, bit in enumerate(high):
            step = 1 << k
            np.add(sums[:step], self.within[self.low + bit, block], out=sums[step : 2 * step])
        return blocks, sums, 1.0 - 2.0 * (sizes(len(high)) % 2)

    def _rows(
        self, blocks: Int64[np.ndarray, " R"], bound: Float[np.ndarray, "R L"]
    ) -> list[Int64[np.ndarray, " r"]]:
        """The blocks after the first with a term that may matter, a few at a time. `bound` holds
        the log of the largest term of each set, which is that without low variables in T."""
        matters = bound.max(axis=1) > -NEGLIGIBLE
        matters &= self.kept[blocks].any(axis=1)
        matters[0] = False
        rows = np.flatnonzero(matters)
        return [rows[k : k + self.at_once] for k in range(0, len(rows), self.at_once)]

    def _parts(
        self,
        block: int,
        pairs: _Pairs,
        per_pair: Float[np.ndarray, " T"],
        per_block: Float[np.ndarray, "R L"],
    ) -> Float[np.ndarray, "D L"]:
        """For each v, the sum of the terms of a block's sets whose T has v in it; 0 for members."""
        out = np.zeros((self.n_nodes, 1 << self.low))
        for v in range(self.low):
            out[v] = pairs.gathered(per_pair * (pairs.added >> v & 1))
        high = [k for k in range(self.n_nodes - self.low) if not block >> k & 1]
        for k, bit in enumerate(high):
            halves = per_block.reshape(-1, 2, 1 << k, per_block.shape[1])
            out[self.low + bit] = halves[:, 1].sum(axis=(0, 1))
        return out


def _log(values: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """log, -inf where a value is not positive."""
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(values, 0.0))
