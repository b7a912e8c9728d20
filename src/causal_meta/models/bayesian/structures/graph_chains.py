"""Chains over graphs, stationary under the posterior.

A graph drawn by way of an order comes with its posterior probability times the number of orders it
is compatible with. The moves here have the posterior itself as their stationary law:

- jumps: an order of the graph is drawn, order MCMC moves it, and a graph is drawn from the new
  order; a Metropolis step with the probability q(order | graph) of the drawn orders makes up for
  their number. Since sum_order q(order | graph) = 1, the joint law p(graph | data) q(order | graph)
  has the posterior as its marginal;
- the parents of one variable are drawn anew given all other edges (Gibbs);
- an edge is reversed, with new parents of both ends (Grzegorczyk & Husmeier 2008).

All use the tables that the orders use. Jumps cross what the others cannot, and the others renew
what jumps leave: together they need some ten times fewer steps than single-edge moves.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64, UInt64

from causal_meta.models.bayesian.structures.look_ups import LookUps

REVERSAL_SHARE = 0.2  # of the transitions of a sweep; the others draw the parents of one variable


def drawn_graph(
    arrays: LookUps, order: Int64[np.ndarray, " D"], state: UInt64[np.ndarray, " 4"]
) -> Int64[np.ndarray, " D"]:
    """A graph (each variable's parents as bits of its candidates) drawn given an order."""
    from causal_meta.models.bayesian.structures.graph_kernels import draw_graph

    chosen = np.zeros(len(order), np.int64)
    draw_graph(order, arrays.place, arrays.scores, arrays.sums, arrays.ranked, state, chosen)
    return chosen


def move(
    arrays: LookUps,
    chosen: Int64[np.ndarray, " D"],
    times: int,
    state: UInt64[np.ndarray, " 4"],
    marginals: Float[np.ndarray, "D K"],
    accepted: Int64[np.ndarray, " 2"],
) -> None:
    """Move the graph `chosen` in place, `times`: a jump of all variables, D/4 jumps of a variable
    with its candidates, and D transitions of the other kinds; then the parents of each variable in
    turn are drawn anew, and their conditional probabilities given the rest of the graph added to
    `marginals`."""
    from causal_meta.models.bayesian.structures.jump_kernels import run_moves

    size, local = len(chosen), -(-len(chosen) // 4)
    candidates, place, back, scores, sums, _, ranked = arrays
    tables = (candidates, place, back, scores, sums, ranked)
    rows, below = np.empty((9, size), np.int64), np.zeros(size, np.bool_)
    reach, child = np.empty((size, size), np.bool_), np.empty((size, size), np.int32)
    work = (rows, reach, np.empty(size), child, below)
    run_moves(times, local, REVERSAL_SHARE, chosen, *tables, *work, state, marginals, accepted)


def order_of(arrays: LookUps, chosen: Int64[np.ndarray, " D"]) -> Int64[np.ndarray, " D"]:
    """An order of the graph `chosen`."""
    from causal_meta.models.bayesian.structures.jump_kernels import topological

    order, waiting = np.empty_like(chosen), np.empty_like(chosen)
    topological(chosen, arrays.back, waiting, order)
    return order
