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


def moved(
    arrays: LookUps,
    chosen: Int64[np.ndarray, " D"],
    state: UInt64[np.ndarray, " 4"],
    marginals: Float[np.ndarray, "D K"],
    accepted: Int64[np.ndarray, " 2"],
) -> None:
    """Move the graph `chosen` in place: a jump of all variables, D/4 jumps of a variable with its
    candidates, and D transitions of the other kinds; then the parents of each variable in turn are
    drawn anew, and their conditional probabilities given the rest of the graph added to
    `marginals`."""
    from causal_meta.models.bayesian.structures.graph_kernels import run_graph
    from causal_meta.models.bayesian.structures.jump_kernels import run_jumps

    candidates, place, back, scores, sums, _, ranked = arrays
    local = -(-len(chosen) // 4)
    run_jumps(local, chosen, candidates, place, back, scores, sums, ranked, state, accepted)
    share = REVERSAL_SHARE
    run_graph(1, 0, share, chosen, candidates, place, scores, sums, ranked, state, marginals)


def order_of(arrays: LookUps, chosen: Int64[np.ndarray, " D"]) -> Int64[np.ndarray, " D"]:
    """An order of the graph `chosen`."""
    from causal_meta.models.bayesian.structures.jump_kernels import topological

    order, waiting = np.empty_like(chosen), np.empty_like(chosen)
    topological(chosen, arrays.back, waiting, order)
    return order
