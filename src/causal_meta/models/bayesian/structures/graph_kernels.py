"""Compiled loops over directed acyclic graphs, by look-ups in the tables of `order_kernels`.

A graph is `chosen[v]`, the bits of v's parents among its K candidates `candidate[v, k]` (-1: none).
`ranked[v]` lists the parent sets of v from the best score down, so that drawing one compatible with
a mask ends after few entries, as the sum over the mask is known.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int, Int8, Int64, UInt64

from causal_meta.models.bayesian.structures.compiled import ZERO, compiled, inner
from causal_meta.models.bayesian.structures.random_kernels import below, uniform

_CANCELS = 1e-3  # nats: below this a difference of two sums is summed directly


@inner
def draw_parents(
    v: int,
    mask: int,
    holding: int,
    log_total: float,
    scores: Float[np.ndarray, "D M"],
    ranked: Int[np.ndarray, "D M"],
    state: UInt64[np.ndarray, " 4"],
) -> int:
    """A parent set of v within `mask` that holds the bits `holding`, with probability
    exp(score - log_total)."""
    threshold = uniform(state)
    reached, last = 0.0, holding
    for r in range(ranked.shape[1]):
        subset = ranked[v, r]
        if subset & ~mask == 0 and subset & holding == holding:
            gap = scores[v, subset] - log_total
            if gap == -np.inf:
                break
            last = subset
            reached += math.exp(gap)
            if reached > threshold:
                break
    return last  # after rounding, the least probable one


@inner
def log_total_holding(
    v: int,
    mask: int,
    bit: int,
    scores: Float[np.ndarray, "D M"],
    sums: Float[np.ndarray, "D M"],
    ranked: Int[np.ndarray, "D M"],
) -> float:
    """Log of the sum over the parent sets of v within `mask` that hold `bit`."""
    gap = sums[v, mask & ~bit] - sums[v, mask]
    if gap < -_CANCELS:
        return sums[v, mask] + math.log1p(-math.exp(gap))
    best, total = -np.inf, 0.0
    for r in range(ranked.shape[1]):
        subset = ranked[v, r]
        if subset & ~mask == 0 and subset & bit != 0:
            if best == -np.inf:
                best = scores[v, subset]
                if best == -np.inf:
                    return -np.inf
            gap = scores[v, subset] - best
            if gap < -40.0:
                break
            total += math.exp(gap)
    return best + math.log(total) if total > 0.0 else -np.inf


@inner
def _set_parents(
    v: int,
    subset: int,
    chosen: Int64[np.ndarray, " D"],
    candidate: Int[np.ndarray, "D K"],
    child: Int[np.ndarray, "D D"],
    children: Int64[np.ndarray, " D"],
) -> None:
    """Replace the parents of v; the lists of children, `child[u, :children[u]]`, follow."""
    changed = chosen[v] ^ subset
    k = 0
    while changed:
        if changed & 1:
            u = candidate[v, k]
            if (subset >> k) & 1:
                child[u, children[u]] = v
                children[u] += 1
            else:
                c = 0
                while child[u, c] != v:
                    c += 1
                children[u] -= 1
                child[u, c] = child[u, children[u]]
        changed >>= 1
        k += 1
    chosen[v] = subset


@inner
def _allowed(
    v: int,
    candidate: Int[np.ndarray, "D K"],
    child: Int[np.ndarray, "D D"],
    children: Int64[np.ndarray, " D"],
    below_v: Bool[np.ndarray, " D"],
    stack: Int64[np.ndarray, " D"],
) -> int:
    """The candidates of v that are no descendants of v, as bits; `below_v` is all False before and
    after."""
    top, depth = 1, 0
    stack[0] = v
    while depth < top:
        u = stack[depth]
        depth += 1
        for c in range(children[u]):
            w = child[u, c]
            if not below_v[w]:
                below_v[w] = True
                stack[top] = w
                top += 1
    bits = 0
    for k in range(candidate.shape[1]):
        u = candidate[v, k]
        if u >= 0 and not below_v[u]:
            bits |= 1 << k
    for i in range(1, top):
        below_v[stack[i]] = False
    return bits


@inner
def _reverse(
    edges: int,
    chosen: Int64[np.ndarray, " D"],
    candidate: Int[np.ndarray, "D K"],
    place: Int[np.ndarray, "D D"],
    scores: Float[np.ndarray, "D M"],
    sums: Float[np.ndarray, "D M"],
    ranked: Int[np.ndarray, "D M"],
    child: Int[np.ndarray, "D D"],
    children: Int64[np.ndarray, " D"],
    below_v: Bool[np.ndarray, " D"],
    stack: Int64[np.ndarray, " D"],
    state: UInt64[np.ndarray, " 4"],
) -> int:
    """Metropolis step: reverse a random one of the `edges` edges, i -> j, and draw all parents of
    both ends anew (Grzegorczyk & Husmeier 2008, section 4). Returns the number of edges after
    it."""
    target = below(state, edges)
    i, j = ZERO - 1, ZERO
    while i < 0:
        count = children[j]
        if target < count:
            i, j = j, child[j, target]
        else:
            target -= count
            j += 1
    back = place[i, j]
    if back < 0:
        return edges
    old_i, old_j = chosen[i], chosen[j]
    bit_of_j, bit_of_i = 1 << back, 1 << place[j, i]
    _set_parents(i, ZERO, chosen, candidate, child, children)
    _set_parents(j, ZERO, chosen, candidate, child, children)
    free_i = _allowed(i, candidate, child, children, below_v, stack)
    free_j = _allowed(j, candidate, child, children, below_v, stack)
    new_i_total = log_total_holding(i, free_i, bit_of_j, scores, sums, ranked)
    old_j_total = log_total_holding(j, free_j, bit_of_i, scores, sums, ranked)
    if new_i_total == -np.inf:
        _set_parents(i, old_i, chosen, candidate, child, children)
        _set_parents(j, old_j, chosen, candidate, child, children)
        return edges
    _set_parents(j, old_j, chosen, candidate, child, children)
    mask = _allowed(i, candidate, child, children, below_v, stack)
    old_i_total = sums[i, mask]
    _set_parents(j, ZERO, chosen, candidate, child, children)
    new_i = draw_parents(i, free_i, bit_of_j, new_i_total, scores, ranked, state)
    _set_parents(i, new_i, chosen, candidate, child, children)
    mask = _allowed(j, candidate, child, children, below_v, stack)
    new_j_total = sums[j, mask]
    new_j = draw_parents(j, mask, ZERO, new_j_total, scores, ranked, state)
    _set_parents(j, new_j, chosen, candidate, child, children)
    changed = edges + bit_count(new_i) + bit_count(new_j) - bit_count(old_i) - bit_count(old_j)
    ratio = math.log(edges / changed) + new_i_total + new_j_total - old_j_total - old_i_total
    if ratio >= math.log(1.0 - uniform(state)):
        return changed
    _set_parents(j, ZERO, chosen, candidate, child, children)
    _set_parents(i, old_i, chosen, candidate, child, children)
    _set_parents(j, old_j, chosen, candidate, child, children)
    return edges


@inner
def bit_count(bits: int) -> int:
    """The number of set bits."""
    count = 0
    while bits:
        bits &= bits - 1
        count += 1
    return count


@compiled
def draw_graph(
    order: Int64[np.ndarray, " D"],
    place: Int[np.ndarray, "D D"],
    scores: Float[np.ndarray, "D M"],
    sums: Float[np.ndarray, "D M"],
    ranked: Int[np.ndarray, "D M"],
    state: UInt64[np.ndarray, " 4"],
    chosen: Int64[np.ndarray, " D"],
) -> None:
    """Write a graph into `chosen`, drawn from its posterior given the order."""
    for i in range(len(order)):
        v = order[i]
        mask = ZERO
        for j in range(i):
            k = place[v, order[j]]
            if k >= 0:
                mask |= 1 << k
        chosen[v] = draw_parents(v, mask, ZERO, sums[v, mask], scores, ranked, state)


@inner
def run_graph(
    reversal_share: float,
    chosen: Int64[np.ndarray, " D"],
    candidate: Int[np.ndarray, "D K"],
    place: Int[np.ndarray, "D D"],
    scores: Float[np.ndarray, "D M"],
    sums: Float[np.ndarray, "D M"],
    ranked: Int[np.ndarray, "D M"],
    child: Int[np.ndarray, "D D"],
    children: Int64[np.ndarray, " D"],
    below_v: Bool[np.ndarray, " D"],
    stack: Int64[np.ndarray, " D"],
    state: UInt64[np.ndarray, " 4"],
    marginals: Float[np.ndarray, "D K"],
) -> None:
    """D transitions of a graph in place, stationary under exp(sum_v scores[v, chosen[v]]) over
    acyclic graphs: the parents of a random variable are drawn anew given the rest, or with
    probability `reversal_share` an edge is reversed.

    Then each variable in turn is also drawn anew, and the conditional probabilities of its parents,
    P(u in P_v | rest) = 1 - exp(sums[v, m without u] - sums[v, m]), are added to `marginals`.
    `child`, `children` and `stack` are overwritten, `below_v` is all False before and after.
    """
    size = len(chosen)
    edges = ZERO
    for v in range(size):
        children[v] = 0
    for v in range(size):
        subset = chosen[v]
        chosen[v] = 0
        _set_parents(v, subset, chosen, candidate, child, children)
        edges += bit_count(subset)
    for step in range(2 * size):
        recorded = step >= size
        if not recorded and edges > 0 and uniform(state) < reversal_share:
            edges = _reverse(
                edges,
                chosen,
                candidate,
                place,
                scores,
                sums,
                ranked,
                child,
                children,
                below_v,
                stack,
                state,
            )
            continue
        v = step - size if recorded else below(state, size)
        mask = _allowed(v, candidate, child, children, below_v, stack)
        total = sums[v, mask]
        if recorded:
            for k in range(candidate.shape[1]):
                if (mask >> k) & 1:
                    marginals[v, k] -= math.expm1(sums[v, mask & ~(1 << k)] - total)
        subset = draw_parents(v, mask, ZERO, total, scores, ranked, state)
        edges += bit_count(subset) - bit_count(chosen[v])
        _set_parents(v, subset, chosen, candidate, child, children)


@compiled
def add_edges(
    graphs: Int8[np.ndarray, "S D D"],
    log_ratios: Float[np.ndarray, "D R D"],
    which: Int64[np.ndarray, "S D"],
    below_v: Bool[np.ndarray, " D"],
    stack: Int64[np.ndarray, " D"],
    turns: Int64[np.ndarray, " D"],
    state: UInt64[np.ndarray, " 4"],
    totals: Float[np.ndarray, "D D"],
) -> None:
    """To each variable v of each graph s, in random turns, at most one more parent u that is no
    descendant of v: with probability r_u / (1 + sum of r), log r_u = log_ratios[v, which[s, v], u].
    These probabilities are added to `totals[v]`. `turns` holds the variables and is shuffled;
    `below_v` and `stack` are overwritten."""
    n_graphs, size = which.shape
    for s in range(n_graphs):
        for t in range(size):
            other = t + below(state, size - t)
            turns[t], turns[other] = turns[other], turns[t]
            v = turns[t]
            for w in range(size):
                below_v[w] = False
            top, depth = 1, 0
            stack[0] = v
            while depth < top:
                u = stack[depth]
                depth += 1
                for w in range(size):
                    if graphs[s, u, w] != 0 and not below_v[w]:
                        below_v[w] = True
                        stack[top] = w
                        top += 1
            row = which[s, v]
            best = 0.0
            for u in range(size):
                if not below_v[u] and log_ratios[v, row, u] > best:
                    best = log_ratios[v, row, u]
            total = math.exp(-best)
            for u in range(size):
                if not below_v[u] and log_ratios[v, row, u] > -np.inf:
                    total += math.exp(log_ratios[v, row, u] - best)
            threshold = uniform(state)
            reached, added = 0.0, -1
            for u in range(size):
                if not below_v[u] and log_ratios[v, row, u] > -np.inf:
                    share = math.exp(log_ratios[v, row, u] - best) / total
                    totals[v, u] += share
                    reached += share
                    if added < 0 and reached > threshold:
                        added = u
            if added >= 0:
                graphs[s, added, v] = 1
