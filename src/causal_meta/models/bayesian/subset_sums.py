"""Sums over all directed acyclic graphs by dynamic programming over sets of variables.

The posterior is modular: a graph with parent sets P_v has the weight prod_v w(v, P_v), and every
graph counts once, whatever the number of its topological orders. With W_v(S) the sum of w(v, P)
over P within S, Z(S) the total weight of the graphs on S, and Y(S) that of the graphs on the
remaining variables, which may have parents in S as well,

    Z(S)  = sum over T in S, T not empty:      (-1)^(|T|+1) Z(S - T) prod_{v in T} W_v(S - T)
    Y(S)  = sum over T outside S, not empty:   (-1)^(|T|+1) Y(S + T) prod_{v in T} W_v(S)

(T: some of the sinks of a graph on S; some of the roots of the rest), Z(empty) = Y(all) = 1, and
Z(all) = Y(empty) is the evidence: 3^D terms (Robinson 1973; Tian and He 2009, section 4; here with
sinks in place of roots, so that Z needs no second table).

Why alternating sums are safe here. Every term is the weight of the graphs on S of which T is a set
of sinks, so none exceeds Z(S), and an error d(S) made at S reaches Z(all) with the factor Y(S),
which is positive: the relative error of the evidence is at most the sum over S of P(S is closed
under causes) d(S)/Z(S), hence at most 3^D times that of one term, however sharp the weights are
(all terms are relative to the scale of their set, in log space). Rounding has random signs, so what
is measured is near the square root of that. The same holds for the marginals of families, relative
to each of them.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int8, Int64

from causal_meta.models.bayesian.family_tables import IMPOSSIBLE, FamilyTables
from causal_meta.models.bayesian.graph_sums import (
    GraphSums,
    draw_entries,
    family_log_probabilities,
)
from causal_meta.models.bayesian.set_functions import sizes, sums_of_members

#: Sets of variables whose probability of being closed under causes is below exp(-NEGLIGIBLE) are
#: dropped, in nats.
NEGLIGIBLE = 60.0
_LOW_BITS = 8  # one block of sets: 3^8 terms, which stay in the cache
_TERMS_AT_ONCE = 1 << 16
_ENTRIES_AT_ONCE = 1 << 20  # of the distributions of layers
_RANGE = 340.0  # nats; products of three factors below exp(_RANGE / 2) keep all that matters


class ModularSums(GraphSums):
    """The modular posterior over the directed acyclic graphs of D variables, by 3^D terms.

    Good for up to 20 variables, with any number of parents. Time: some 6 ns a term and pass where
    many graphs are likely, less on sharp data, where most sets are dropped. Memory: see
    `memory_needed`.

    Args:
        tables: the weights of families; graphs with edges from outside the candidates do not count.

    Raises:
        ValueError: no acyclic graph has a positive weight.
    """

    def __init__(self, tables: FamilyTables) -> None:
        super().__init__(tables)
        within = predecessor_sums(tables)
        first, last = chain_sums(within, np.maximum)
        slack = NEGLIGIBLE + math.lgamma(self.n_nodes + 1)
        kept = first + last >= first[-1] - slack
        self._within, self._last = within, np.where(kept, last, -np.inf)
        passes = _Passes(within, first, last, kept)
        self._forward = passes.forward()
        self._backward, self._released = passes.backward(self._forward)
        self.log_evidence = float(np.log(self._forward[-1]) + first[-1] + tables.offsets.sum())

    def family_log_probabilities(self) -> Float[np.ndarray, "D M"]:
        """Entry (v, b): the log of the posterior probability that the parents of v are the
        candidates of the bits b: derivatives of the log evidence, from one more pass."""
        return family_log_probabilities(self.tables, self._released)

    def log_prob(self, graphs: Int8[np.ndarray, "S D D"]) -> Float[np.ndarray, " S"]:
        """The log posterior probability of acyclic graphs, in nats; -inf with an edge from outside
        the candidates."""
        return self.log_weights(graphs) - self.log_evidence

    def sample(self, n: int, generator: np.random.Generator) -> Int8[np.ndarray, "n D D"]:
        """`n` independent draws, layer by layer from the roots.

        The first layer is the set of roots, the next one the roots of the rest, and so on; each
        variable of a layer has a parent in the layer before. Given the placed variables A and the
        last layer L, the next layer is T with probability proportional to

            prod_{v in T} (W_v(A) - W_v(A - L))
            times the sum over U outside A + T of (-1)^|U| Y(A + T + U) prod_{u in U} W_u(A)

        (Talvitie, Vuoksenmaa and Koivisto 2019, section 3). Then each v in T draws its parents in
        A, at least one of them in L.
        """
        placed = np.zeros(n, np.int64)
        before = np.full(n, -1, np.int64)  # the variables placed before the last layer
        chosen = np.zeros((n, self.n_nodes), np.int64)
        count = sizes(self.n_nodes)
        while (open_ := np.flatnonzero(count[placed] < self.n_nodes)).size:
            for size in np.unique(count[placed[open_]]).tolist():
                rows = open_[count[placed[open_]] == size]
                now, earlier = placed[rows], before[rows]
                layers = self._draw_layers(now, earlier, self.n_nodes - size, generator)
                for v in range(self.n_nodes):
                    new = layers >> v & 1 == 1
                    chosen[rows[new], v] = self.draw_parents(v, now[new], earlier[new], generator)
                placed[rows], before[rows] = now | layers, now
        return self.tables.adjacency(chosen)

    def _draw_layers(
        self,
        now: Int64[np.ndarray, " n"],
        earlier: Int64[np.ndarray, " n"],
        n_left: int,
        generator: np.random.Generator,
    ) -> Int64[np.ndarray, " n"]:
        """The next layer of each draw, all of which have `n_left` variables to place."""
        states, group = np.unique(np.stack([now, earlier], axis=1), axis=0, return_inverse=True)
        group, out = group.reshape(-1), np.zeros_like(now)
        step = max(1, _ENTRIES_AT_ONCE >> n_left)
        for start in range(0, len(states), step):
            part = states[start : start + step]
            rows = np.flatnonzero((group >= start) & (group < start + step))
            after, log_weights = self._layers(part[:, 0], part[:, 1], n_left)
            drawn = draw_entries(log_weights, group[rows] - start, generator)
            out[rows] = after[group[rows] - start, drawn] & ~now[rows]
        return out

    def _layers(
        self, now: Int64[np.ndarray, " G"], earlier: Int64[np.ndarray, " G"], n_left: int
    ) -> tuple[Int64[np.ndarray, "G M"], Float[np.ndarray, "G M"]]:
        """The sets A + T for all layers T after each of G states, and the log weights of these
        layers."""
        absent = now[:, None] >> np.arange(self.n_nodes) & 1 == 0
        rest = np.nonzero(absent)[1].reshape(len(now), n_left)
        after = now[:, None] | sums_of_members(np.int64(1) << rest)
        scale = self._last[after]
        above = np.where(np.isfinite(scale), scale, np.inf)
        value = self._backward[after]
        log_w = self._within[rest, now[:, None]]
        for k in range(n_left):
            shape = (len(now), -1, 2, 1 << k)
            halves, larger = value.reshape(shape), scale.reshape(shape)[:, :, 1]
            ratio = np.exp(log_w[:, k, None, None] + larger - above.reshape(shape)[:, :, 0])
            halves[:, :, 0] -= ratio * halves[:, :, 1]
        old = np.where(earlier[:, None] < 0, -np.inf, self._within[rest, earlier[:, None]])
        share = np.where(np.isfinite(log_w), -np.expm1(old - np.maximum(log_w, IMPOSSIBLE)), 0.0)
        log_weights = sums_of_members(log_w + _log(share)) + _log(value) + scale
        log_weights[:, 0] = -np.inf
        return after, log_weights


def predecessor_sums(tables: FamilyTables) -> Float[np.ndarray, "D M"]:
    """Entry (v, S): log W_v(S) less `offsets[v]`, for all 2^D sets S of variables; -inf where no
    parent set within S is allowed. Whether v is in S does not matter."""
    out = np.empty((tables.n_nodes, 1 << tables.n_nodes))
    for v in range(tables.n_nodes):
        out[v] = tables.sums[v][local_masks(tables, v)]
    out[out <= IMPOSSIBLE / 2] = -np.inf
    return out


def local_masks(tables: FamilyTables, node: int) -> Int64[np.ndarray, " M"]:
    """The mask of `node`'s candidates in each of the 2^D sets of variables."""
    place = tables.place[node]
    return sums_of_members(np.where(place >= 0, np.int64(1) << np.maximum(place, 0), 0))


def chain_sums(
    within: Float[np.ndarray, "D M"], join: np.ufunc
) -> tuple[Float[np.ndarray, " M"], Float[np.ndarray, " M"]]:
    """For each set S, `join` over the orders of S, and over the orders of the rest after S, of
    the sum of log W_v(predecessors of v).

    With `np.logaddexp` these are the sums of the order-modular posterior, with `np.maximum` the
    best orders.

    Raises:
        ValueError: no order has a positive weight.
    """
    n_nodes = len(within)
    count = sizes(n_nodes)
    layers = np.split(np.argsort(count, kind="stable"), np.cumsum(np.bincount(count))[:-1])
    first = np.full(1 << n_nodes, -np.inf)
    last = first.copy()
    first[0] = last[-1] = 0.0
    for layer in layers[1:]:
        for v in range(n_nodes):
            after = layer[layer >> v & 1 == 1]
            before = after ^ (1 << v)
            first[after] = join(first[after], first[before] + within[v, before])
    for layer in layers[-2::-1]:
        for v in range(n_nodes):
            before = layer[layer >> v & 1 == 0]
            last[before] = join(last[before], last[before | (1 << v)] + within[v, before])
    if not np.isfinite(first[-1]):
        raise ValueError(
            "No acyclic graph has a positive probability under these candidates and this "
            "knowledge; allow more edges or require fewer."
        )
    return first, last


def memory_needed(n_nodes: int, n_candidates: int) -> int:
    """The bytes that `ModularSums` holds at its peak, its tables included."""
    sets, families = 1 << n_nodes, n_nodes << n_candidates
    return 8 * (2 * n_nodes * sets + 12 * sets + 4 * families) + (40 << 20)


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
        values of the other sets of its pairs (the factor of a set with itself is 0); in place."""
        for pairs, sets in zip(self.levels[1:], self.of_level[1:], strict=True):
            terms = factors[pairs] * values[others[pairs]]
            starts = self.starts[sets] - pairs.start
            values[self.owners[sets]] += np.add.reduceat(terms, starts)


class _Passes:
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
        self.at_once = max(1, _TERMS_AT_ONCE // 3**self.low)

    def forward(self) -> Float[np.ndarray, " M"]:
        """Z relative to `first`; 0 for dropped sets."""
        pairs = _Pairs(self.low, by_target=True)
        z = np.zeros_like(self.first)
        z[0, 0] = 1.0
        for block in np.flatnonzero(self.kept.any(axis=1)).tolist():
            kept, first = self.kept[block], self.first[block]
            inner = self._inner(block, pairs) + first[pairs.source] - first[pairs.target]
            between = pairs.sign * np.exp(np.minimum(inner, 0.0))
            factors = np.where(pairs.added > 0, -between * kept[pairs.source], 0.0)
            pairs.solve(z[block], factors, pairs.source)
            z[block][~kept] = 0.0
            blocks, sums, signs = self._outer(block, _log(z[block]))
            ahead = first - self.first[blocks]
            for rows in self._rows(blocks, sums + ahead):
                target = np.where(self.kept[blocks[rows]], ahead[rows], -np.inf)
                terms = _terms(pairs, sums[rows], inner, between, target)
                z[blocks[rows]] -= signs[rows, None] * pairs.gathered(terms)
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
        for block in np.flatnonzero(self.kept.any(axis=1))[::-1].tolist():
            kept, last = self.kept[block], self.last[block]
            inner = self._inner(block, pairs) + last[pairs.target] - last[pairs.source]
            between = pairs.sign * np.exp(np.minimum(inner, 0.0))
            blocks, sums, signs = self._outer(block, np.zeros(1 << self.low))
            ahead = self.last[blocks] - last
            per_block, per_pair = np.zeros_like(sums), np.zeros(len(inner))
            for rows in self._rows(blocks, sums + ahead + self.slack):
                target = _log(y[blocks[rows]]) + ahead[rows]
                terms = _terms(pairs, sums[rows], inner, between, target)
                per_block[rows] = -signs[rows, None] * pairs.gathered(terms)
                per_pair -= signs[rows] @ terms
            y[block] += per_block.sum(axis=0)
            factors = np.where(pairs.added > 0, -between * kept[pairs.target], 0.0)
            pairs.solve(y[block], factors, pairs.target)
            y[block][~kept] = 0.0
            per_pair += factors * y[block][pairs.target]
            share = np.exp(_log(z[block]) + self.first[block] + last - log_total)
            parts = self._parts(block, pairs, per_pair, per_block)
            released[:, block] = np.maximum(parts, 0.0) * share
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


def _terms(
    pairs: _Pairs,
    source: Float[np.ndarray, "R L"],
    inner: Float[np.ndarray, " T"],
    between: Float[np.ndarray, " T"],
    target: Float[np.ndarray, "R L"],
) -> Float[np.ndarray, "R T"]:
    """The terms exp(source[S] + inner[S, T] + target[S + T]) with the signs of the low variables of
    T, where `between` is exp(inner) with these signs."""
    largest = source.max(axis=1) + target.max(axis=1)
    if largest.max() <= _RANGE:  # what underflows here is below exp(-_RANGE)
        shift = (source.max(axis=1) - target.max(axis=1))[:, None] / 2
        terms = np.take(np.exp(source - shift), pairs.source, axis=1)
        terms *= between
        terms *= np.take(np.exp(target + shift), pairs.target, axis=1)
        return terms
    terms = np.take(source, pairs.source, axis=1)
    terms += inner
    terms += np.take(target, pairs.target, axis=1)
    np.exp(terms, out=terms)
    terms *= pairs.sign
    return terms


def _log(values: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """log, -inf where a value is not positive."""
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(values, 0.0))
