"""Order MCMC (Friedman & Koller 2003): chains over causal orders, where chains of graphs begin.

The score of an order is the log sum of the posteriors of the graphs compatible with it, one look-up
per variable. A transition relocates one variable by Gibbs sampling over all its places, or swaps
two positions. Graphs drawn from orders follow the posterior times their number of topological
orders, so that `graph_chains` goes on from them.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int64, UInt64

from causal_meta.models.bayesian.structures.look_ups import LookUps
from causal_meta.models.bayesian.structures.order_search import (
    anneal,
    compatible_order,
    transitions,
)

SWAP_SHARE = 0.1  # of the transitions; the others relocate


def advance(
    arrays: LookUps, order: Int64[np.ndarray, " D"], steps: int, state: UInt64[np.ndarray, " 4"]
) -> int:
    """`steps` transitions of `order` in place; returns how many swaps were accepted."""
    return transitions(arrays, order, steps, state, swap_share=SWAP_SHARE)


def started_orders(
    arrays: LookUps,
    required: Bool[np.ndarray, "D D"],
    optima: Int64[np.ndarray, "S D"],
    states: UInt64[np.ndarray, "C 4"],
    steps: int,
    generator: np.random.Generator,
) -> Int64[np.ndarray, "C D"]:
    """One order for each chain: half of them (rounded down) at the `optima` of a search in
    turn, the others annealed from random ones in `steps` steps; and then a hundredth
    as many transitions of order MCMC."""
    chains = len(states)
    known = optima[np.arange(chains // 2) % len(optima)]
    fresh = [compatible_order(required, generator) for _ in range(chains - len(known))]
    orders = np.concatenate([known, np.stack(fresh)])
    for c in range(chains):
        if c >= len(known):
            anneal(arrays, orders[c], steps, states[c])
        advance(arrays, orders[c], steps // 100, states[c])
    return orders
