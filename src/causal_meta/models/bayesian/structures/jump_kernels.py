"""Compiled jumps between directed acyclic graphs by way of an order, with the look-ups of
`graph_kernels`."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int, Int64, UInt64

from causal_meta.models.bayesian.structures.compiled import TRUE, ZERO, compiled, inner
from causal_meta.models.bayesian.structures.graph_kernels import (
    bit_count,
    draw_parents,
    run_graph,
)
from causal_meta.models.bayesian.structures.order_kernels import run_order
from causal_meta.models.bayesian.structures.random_kernels import below, uniform

_SWAPS = 0.1  # of the transitions of orders of all variables; the others relocate


@compiled
def topological(
    chosen: Int64[np.ndarray, " D"],
    back: Int[np.ndarray, "D D"],
    waiting: Int64[np.ndarray, " D"],
    order: Int64[np.ndarray, " D"],
) -> None:
    """Write an order of the graph into `order`; `waiting` is overwritten."""
    size = len(chosen)
    count = 0
    for v in range(size):
        waiting[v] = bit_count(chosen[v])
        if waiting[v] == 0:
            order[count] = v
            count += 1
    for i in range(size):  # `order` is also the queue
        u = order[i]
        for w in range(size):
            k = back[u, w]
            if k >= 0 and (chosen[w] >> k) & 1:
                waiting[w] -= 1
                if waiting[w] == 0:
                    order[count] = w
                    count += 1


@inner
def _weigh(
    chosen: Int64[np.ndarray, " D"],
    candidate: Int[np.ndarray, "D K"],
    back: Int[np.ndarray, "D D"],
    reach: Bool[np.ndarray, "D D"],
    weight: Float[np.ndarray, " D"],
    waiting: Int64[np.ndarray, " D"],
    free: Int64[np.ndarray, " D"],
) -> None:
    """Write 1 + the number of descendants of each variable into `weight`."""
    size = len(chosen)
    topological(chosen, back, waiting, free)
    for v in range(size):
        for w in range(size):
            reach[v, w] = v == w
    for i in range(size - 1, -1, -1):
        v = free[i]
        members = 0
        for w in range(size):
            if reach[v, w]:
                members += 1
        weight[v] = members
        bits, k = chosen[v], 0
        while bits:
            if bits & 1:
                u = candidate[v, k]
                for w in range(size):
                    if reach[v, w]:
                        reach[u, w] = True
            bits >>= 1
            k += 1


@inner
def _sort(
    drawn: bool,
    order: Int64[np.ndarray, " D"],
    chosen: Int64[np.ndarray, " D"],
    candidate: Int[np.ndarray, "D K"],
    back: Int[np.ndarray, "D D"],
    reach: Bool[np.ndarray, "D D"],
    weight: Float[np.ndarray, " D"],
    waiting: Int64[np.ndarray, " D"],
    free: Int64[np.ndarray, " D"],
    state: UInt64[np.ndarray, " 4"],
) -> float:
    """The log probability of `order` as a random topological order of the graph: of the variables
    whose parents are placed, one follows with probability proportional to its number of descendants
    and itself (for forests, every order is equally likely). With `drawn`, such an order is drawn
    and replaces `order`."""
    size = len(order)
    _weigh(chosen, candidate, back, reach, weight, waiting, free)
    count, total = 0, 0.0
    for v in range(size):
        waiting[v] = bit_count(chosen[v])
        if waiting[v] == 0:
            free[count] = v
            count += 1
            total += weight[v]
    log_probability = 0.0
    for i in range(size):
        at = 0
        if drawn:
            threshold = uniform(state) * total
            reached = weight[free[0]]
            while reached <= threshold and at < count - 1:
                at += 1
                reached += weight[free[at]]
            order[i] = free[at]
        else:
            while free[at] != order[i]:
                at += 1
        u = order[i]
        log_probability += math.log(weight[u] / total)
        count -= 1
        free[at] = free[count]
        total -= weight[u]
        for w in range(size):
            k = back[u, w]
            if k >= 0 and (chosen[w] >> k) & 1:
                waiting[w] -= 1
                if waiting[w] == 0:
                    free[count] = w
                    count += 1
                    total += weight[w]
    return log_probability


@inner
def _jump(
    around: int,
    steps: int,
    swap_share: float,
    chosen: Int64[np.ndarray, " D"],
    candidate: Int[np.ndarray, "D K"],
    place: Int[np.ndarray, "D D"],
    back: Int[np.ndarray, "D D"],
    scores: Float[np.ndarray, "D M"],
    sums: Float[np.ndarray, "D M"],
    ranked: Int[np.ndarray, "D M"],
    order: Int64[np.ndarray, " D"],
    reach: Bool[np.ndarray, "D D"],
    weight: Float[np.ndarray, " D"],
    waiting: Int64[np.ndarray, " D"],
    free: Int64[np.ndarray, " D"],
    fixed: Int64[np.ndarray, " D"],
    moved: Int64[np.ndarray, " D"],
    graph: Int64[np.ndarray, " D"],
    mask: Int64[np.ndarray, " D"],
    state: UInt64[np.ndarray, " 4"],
) -> bool:
    """Metropolis step by way of orders, stationary under the posterior of graphs times
    q(order | graph), the probabilities of `_sort`.

    An order of the graph is drawn from q; `steps` transitions of order MCMC relocate the variable
    `around` and its candidates (all variables if it is -1), which may have any parents while the
    others keep theirs; the parents of the former are drawn anew. As order MCMC is reversible under
    sums over graphs, the new graph and order are accepted with probability
    q(order' | graph') / q(order | graph), up to 1. Returns whether they were.
    """
    size = len(order)
    drawn = TRUE
    before = _sort(drawn, order, chosen, candidate, back, reach, weight, waiting, free, state)
    for v in range(size):
        fixed[v] = graph[v] = chosen[v]
    count = ZERO
    for i in range(size if around < 0 else candidate.shape[1] + 1):
        v = i if around < 0 else (around if i == 0 else candidate[around, i - 1])
        if v >= 0:
            fixed[v] = -1
            moved[count] = v
            count += 1
    run_order(
        steps,
        1.0,
        1.0,
        swap_share,
        order,
        place,
        back,
        sums,
        fixed,
        moved,
        count,
        mask,
        weight,
        state,
    )
    for i in range(size):
        v = order[i]
        if fixed[v] < 0:
            # the bits of v in `mask` are those of its candidates before it
            graph[v] = draw_parents(v, mask[v], ZERO, sums[v, mask[v]], scores, ranked, state)
    after = _sort(not drawn, order, graph, candidate, back, reach, weight, waiting, free, state)
    if after - before < math.log(1.0 - uniform(state)):
        return False
    for v in range(size):
        chosen[v] = graph[v]
    return True


@compiled
def run_moves(
    times: int,
    local: int,
    reversal_share: float,
    chosen: Int64[np.ndarray, " D"],
    candidate: Int[np.ndarray, "D K"],
    place: Int[np.ndarray, "D D"],
    back: Int[np.ndarray, "D D"],
    scores: Float[np.ndarray, "D M"],
    sums: Float[np.ndarray, "D M"],
    ranked: Int[np.ndarray, "D M"],
    rows: Int64[np.ndarray, "9 D"],
    reach: Bool[np.ndarray, "D D"],
    weight: Float[np.ndarray, " D"],
    child: Int[np.ndarray, "D D"],
    below_v: Bool[np.ndarray, " D"],
    state: UInt64[np.ndarray, " 4"],
    marginals: Float[np.ndarray, "D K"],
    accepted: Int64[np.ndarray, " 2"],
) -> None:
    """`times` one jump of all variables, `local` jumps around random ones, and the transitions of
    `run_graph`, in place; counts of the jumps that were accepted are added to `accepted`. `rows` to
    `child` are overwritten, `below_v` is all False before and after."""
    size, width = candidate.shape
    order, waiting, free = rows[0], rows[1], rows[2]
    fixed, moved, graph, mask = rows[3], rows[4], rows[5], rows[6]
    for _ in range(times):
        for i in range(local + 1):
            around = below(state, size) if i > 0 else -1
            jumped = _jump(
                around,
                3 * (width + 1) if i > 0 else 2 * size,
                0.0 if i > 0 else _SWAPS,
                chosen,
                candidate,
                place,
                back,
                scores,
                sums,
                ranked,
                order,
                reach,
                weight,
                waiting,
                free,
                fixed,
                moved,
                graph,
                mask,
                state,
            )
            if jumped:
                accepted[1 if i > 0 else 0] += 1
        run_graph(
            reversal_share,
            chosen,
            candidate,
            place,
            scores,
            sums,
            ranked,
            child,
            rows[7],
            below_v,
            rows[8],
            state,
            marginals,
        )
