"""Compiled loops over causal orders of D variables, by look-ups in tables of families.

Notation: `place[v, w]` is the number k of w among the K candidate causes of v, or -1; `mask[v]` has
the bits of those candidates that stand before v; the score of an order is
sum_v sums[v, mask[v]], where `sums[v, m]` sums (or, in a search, maximises) over the parent sets
within m. When v moves past w, only bit `place[v, w]` of v's mask and bit `place[w, v]` of w's
change, so all D places of a variable cost two look-ups each.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int, Int64, UInt64

from causal_meta.models.bayesian.structures.compiled import ZERO, compiled, inner
from causal_meta.models.bayesian.structures.random_kernels import below, uniform

_IMPOSSIBLE = -1e9  # nats, as in `FamilyTables.sums`
_NEGLIGIBLE = -36.0  # nats below the best, where exp no longer counts in float64


@inner
def masks_of(
    order: Int64[np.ndarray, " D"], place: Int[np.ndarray, "D D"], mask: Int64[np.ndarray, " D"]
) -> None:
    """Write the candidates before each variable into `mask`."""
    for i in range(len(order)):
        v = order[i]
        bits = 0
        for j in range(i):
            k = place[v, order[j]]
            if k >= 0:
                bits |= 1 << k
        mask[v] = bits


@inner
def order_score(sums: Float[np.ndarray, "D M"], mask: Int64[np.ndarray, " D"]) -> float:
    """Sum of the tables' entries at the masks."""
    total = 0.0
    for v in range(len(mask)):
        total += sums[v, mask[v]]
    return total


@inner
def _entry(
    v: int, mask: int, sums: Float[np.ndarray, "D M"], fixed: Int64[np.ndarray, " D"]
) -> float:
    """The score of v with the candidates `mask` before it: `sums[v, mask]`, or where its parents
    are fixed (`fixed[v]` is not -1) whether they are among these."""
    if fixed[v] < 0:
        return sums[v, mask]
    return 0.0 if fixed[v] & ~mask == 0 else _IMPOSSIBLE


@inner
def _values_of_places(
    at: int,
    order: Int64[np.ndarray, " D"],
    mask: Int64[np.ndarray, " D"],
    place: Int[np.ndarray, "D D"],
    back: Int[np.ndarray, "D D"],
    sums: Float[np.ndarray, "D M"],
    fixed: Int64[np.ndarray, " D"],
    values: Float[np.ndarray, " D"],
) -> None:
    """Write the score (up to a constant) of the order in which the variable at position `at`
    stands at position 0, 1, ... instead into `values`; `back` is the transpose of `place`."""
    v = order[at]
    mine = ZERO
    level = own = _entry(v, mine, sums, fixed)
    values[0] = level
    here = 0
    for i in range(len(order)):
        if i == at:
            continue
        w = order[i]
        k = place[v, w]
        if k >= 0:
            mine |= 1 << k
            with_w = _entry(v, mine, sums, fixed)
            level += with_w - own
            own = with_w
        k = back[v, w]
        if k >= 0:
            bit = 1 << k
            level += _entry(w, mask[w] & ~bit, sums, fixed)
            level -= _entry(w, mask[w] | bit, sums, fixed)
        here += 1
        values[here] = level


@inner
def _move(
    at: int,
    to: int,
    order: Int64[np.ndarray, " D"],
    mask: Int64[np.ndarray, " D"],
    place: Int[np.ndarray, "D D"],
    back: Int[np.ndarray, "D D"],
) -> None:
    """Take the variable at position `at` to position `to`; the masks follow."""
    v = order[at]
    step = 1 if to > at else -1
    mine = mask[v]
    i = at
    while i != to:
        w = order[i + step]
        order[i] = w
        k = place[v, w]
        if k >= 0:
            mine ^= 1 << k
        k = back[v, w]
        if k >= 0:
            mask[w] ^= 1 << k
        i += step
    order[to] = v
    mask[v] = mine


@inner
def _relocate(
    at: int,
    heat: float,
    order: Int64[np.ndarray, " D"],
    mask: Int64[np.ndarray, " D"],
    place: Int[np.ndarray, "D D"],
    back: Int[np.ndarray, "D D"],
    sums: Float[np.ndarray, "D M"],
    fixed: Int64[np.ndarray, " D"],
    values: Float[np.ndarray, " D"],
    state: UInt64[np.ndarray, " 4"],
) -> None:
    """Gibbs step: draw a new place for the variable at position `at` with probability
    proportional to exp(heat * score)."""
    size = len(order)
    _values_of_places(at, order, mask, place, back, sums, fixed, values)
    best = values[0]
    for i in range(1, size):
        if values[i] > best:
            best = values[i]
    total = 0.0
    last, weight = np.inf, 0.0
    for i in range(size):
        if values[i] != last:  # equal scores come in runs: one exponential for each
            last = values[i]
            gap = heat * (last - best)
            weight = math.exp(gap) if gap > _NEGLIGIBLE else 0.0
        total += weight
        values[i] = total
    threshold = uniform(state) * total
    to = 0
    while to < size - 1 and values[to] <= threshold:
        to += 1
    if to != at:
        _move(at, to, order, mask, place, back)


@inner
def _swap(
    first: int,
    second: int,
    heat: float,
    order: Int64[np.ndarray, " D"],
    mask: Int64[np.ndarray, " D"],
    place: Int[np.ndarray, "D D"],
    back: Int[np.ndarray, "D D"],
    sums: Float[np.ndarray, "D M"],
    fixed: Int64[np.ndarray, " D"],
    state: UInt64[np.ndarray, " 4"],
) -> bool:
    """Metropolis step: exchange the variables at two positions, first < second. Returns whether it
    was accepted."""
    before = 0.0
    for i in range(first, second + 1):
        before += _entry(order[i], mask[order[i]], sums, fixed)
    _move(first, second, order, mask, place, back)
    _move(second - 1, first, order, mask, place, back)
    after = 0.0
    for i in range(first, second + 1):
        after += _entry(order[i], mask[order[i]], sums, fixed)
    if heat * (after - before) >= math.log(1.0 - uniform(state)):
        return True
    _move(first, second, order, mask, place, back)
    _move(second - 1, first, order, mask, place, back)
    return False


@compiled
def run_order(
    steps: int,
    first_heat: float,
    last_heat: float,
    swap_share: float,
    order: Int64[np.ndarray, " D"],
    place: Int[np.ndarray, "D D"],
    back: Int[np.ndarray, "D D"],
    sums: Float[np.ndarray, "D M"],
    fixed: Int64[np.ndarray, " D"],
    moved: Int64[np.ndarray, " D"],
    n_moved: int,
    mask: Int64[np.ndarray, " D"],
    values: Float[np.ndarray, " D"],
    state: UInt64[np.ndarray, " 4"],
) -> int:
    """`steps` transitions of one chain in place: relocations of a random one of the first `n_moved`
    variables of `moved`, and with probability `swap_share` a swap of two random positions instead.
    Only orders with the parents `fixed[v]` before v are visited, where that is not -1. The power of
    the posterior (inverse temperature) rises geometrically from `first_heat` to `last_heat`.
    Returns the number of accepted swaps; `mask` ends as the candidates before each variable, and
    `values` is overwritten."""
    size = len(order)
    masks_of(order, place, mask)
    accepted = 0
    heat = first_heat
    growth = (last_heat / first_heat) ** (1.0 / (steps - 1 if steps > 1 else 1))
    for _ in range(steps):
        if size > 1 and swap_share > 0.0 and uniform(state) < swap_share:
            first = below(state, size)
            second = below(state, size - 1)
            if second >= first:
                second += 1
            accepted += _swap(
                first if first < second else second,
                second if first < second else first,
                heat,
                order,
                mask,
                place,
                back,
                sums,
                fixed,
                state,
            )
        else:
            v = moved[below(state, n_moved)]
            at = 0
            while order[at] != v:
                at += 1
            _relocate(at, heat, order, mask, place, back, sums, fixed, values, state)
        heat *= growth
    return accepted


@compiled
def climb(
    order: Int64[np.ndarray, " D"],
    place: Int[np.ndarray, "D D"],
    back: Int[np.ndarray, "D D"],
    bests: Float[np.ndarray, "D M"],
    fixed: Int64[np.ndarray, " D"],
    turn: Int64[np.ndarray, " D"],
    mask: Int64[np.ndarray, " D"],
    values: Float[np.ndarray, " D"],
    state: UInt64[np.ndarray, " 4"],
) -> float:
    """Steepest ascent of one variable at a time, in random turns, until no variable has a better
    place; returns the score. Of equally good places a random one is taken, so that the search
    crosses plateaus. `turn` holds the variables and is shuffled, `fixed` is as in `run_order`;
    `mask` and `values` are overwritten."""
    size = len(order)
    masks_of(order, place, mask)
    score = order_score(bests, mask)
    stale = 0
    while stale < 3:  # passes without a gain; the plateau is crossed between them
        for i in range(size - 1, 0, -1):
            j = below(state, i + 1)
            turn[i], turn[j] = turn[j], turn[i]
        for t in range(size):
            at = 0
            while order[at] != turn[t]:
                at += 1
            _values_of_places(at, order, mask, place, back, bests, fixed, values)
            best, ties, to = values[at], ZERO, at
            for i in range(size):
                if values[i] > best + 1e-9:
                    best, ties, to = values[i], 1, i
                elif values[i] >= best - 1e-9:
                    ties += 1
                    if below(state, ties) == 0:
                        to = i
            if to != at:
                _move(at, to, order, mask, place, back)
        reached = order_score(bests, mask)
        stale = 0 if reached > score + 1e-7 else stale + 1
        score = reached
    return score
