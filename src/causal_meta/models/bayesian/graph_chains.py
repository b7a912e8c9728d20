"""From graphs drawn given an order to graphs drawn from the posterior.

A graph drawn by way of an order comes with its posterior probability times the number of orders it
is compatible with. Markov chains whose stationary law is the posterior itself go on from it: the
parents of a variable are drawn anew given all other edges (Gibbs), and edges are reversed with new
parents of both ends (Grzegorczyk & Husmeier 2008). Both use the tables that the orders use, so that
strong edges, which single-edge moves would have to delete and add again, are reversed in one step.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int64, UInt64

from causal_meta.models.bayesian.look_ups import LookUps

REVERSAL_SHARE = 0.2  # of the transitions; the others draw the parents of one variable


def drawn_graph(
    arrays: LookUps, order: Int64[np.ndarray, " D"], state: UInt64[np.ndarray, 4]
) -> Int64[np.ndarray, " D"]:
    """A graph (each variable's parents as bits of its candidates) drawn given an order."""
    from causal_meta.models.bayesian.graph_kernels import draw_graph

    chosen = np.zeros(len(order), np.int64)
    draw_graph(order, arrays.place, arrays.scores, arrays.sums, arrays.ranked, state, chosen)
    return chosen


def corrected(
    arrays: LookUps,
    chosen: Int64[np.ndarray, " D"],
    state: UInt64[np.ndarray, 4],
    sweeps: int,
    recorded: int,
    marginals: Float[np.ndarray, "D K"],
) -> None:
    """`sweeps` times D transitions of the graph `chosen` in place. In each of the last `recorded`
    sweeps the conditional probability of every parent given the other variables' parents is added
    to `marginals`."""
    from causal_meta.models.bayesian.graph_kernels import run_graph

    run_graph(
        sweeps,
        sweeps - recorded,
        REVERSAL_SHARE,
        chosen,
        arrays.candidates,
        arrays.place,
        arrays.scores,
        arrays.sums,
        arrays.ranked,
        state,
        marginals,
    )
