"""Markov chains over causal orders (Friedman & Koller 2003), from which graphs are drawn.

The score of an order is the log sum of the posteriors of the graphs compatible with it, one look-up
per variable. A chain relocates one variable at a time by Gibbs sampling over all its places, and
sometimes swaps two positions. Graphs drawn from an order follow the posterior times their number of
linear extensions: `graph_chains` takes that factor away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt64

from causal_meta.models.bayesian.look_ups import LookUps
from causal_meta.models.bayesian.order_search import anneal, compatible_order, random_state

SWAP_SHARE = 0.1  # of the transitions; the others relocate


@dataclass(eq=False)
class OrderChains:
    """C chains: their present orders and the states of their random numbers, changed in place."""

    orders: Int64[np.ndarray, "C D"]
    states: UInt64[np.ndarray, "C 4"]

    def advance(self, c: int, arrays: LookUps, steps: int) -> int:
        """`steps` transitions of chain `c`; returns how many swaps were accepted."""
        from causal_meta.models.bayesian.order_kernels import run_order

        return int(
            run_order(
                steps,
                1.0,
                1.0,
                SWAP_SHARE,
                self.orders[c],
                arrays.place,
                arrays.back,
                arrays.sums,
                self.states[c],
            )
        )

    def log_score(self, c: int, arrays: LookUps) -> float:
        """The score of the present order of chain `c`, up to the constant of the tables."""
        from causal_meta.models.bayesian.order_kernels import masks_of, order_score

        masks = np.empty(self.orders.shape[1], np.int64)
        masks_of(self.orders[c], arrays.place, masks)
        return float(order_score(arrays.sums, masks))


def started_chains(
    arrays: LookUps,
    required: Bool[np.ndarray, "D D"],
    optima: Int64[np.ndarray, "S D"],
    chains: int,
    steps: int,
    generator: np.random.Generator,
) -> OrderChains:
    """Chains at the end of their start: half of them (rounded down) at the best of the `optima` of
    a search, the others at random orders annealed in `steps` steps."""
    known = optima[: chains // 2]
    fresh = [compatible_order(required, generator) for _ in range(chains - len(known))]
    states = np.stack([random_state(generator) for _ in range(chains)])
    orders = np.concatenate([known, np.stack(fresh)])
    for c in range(len(known), chains):
        anneal(arrays, orders[c], steps, states[c])
    return OrderChains(orders, states)


def split_r_hat(values: Float[np.ndarray, "C T *rest"]) -> Float[np.ndarray, "*rest"]:
    """Potential scale reduction of chains cut in halves (Gelman et al. 2013, section 11.4):

        R-hat = sqrt(((n - 1)/n W + B/n) / W)

    with n draws in each half, W the mean of the variances within and B/n the variance of the means
    of the halves. 1 where all values are equal, infinite where only the halves differ.
    """
    n = values.shape[1] // 2
    if n < 2:
        return np.full(values.shape[2:], np.nan)
    halves = np.concatenate([values[:, :n], values[:, -n:]]).astype(np.float64)
    within = halves.var(axis=1, ddof=1).mean(axis=0)
    between = halves.mean(axis=1).var(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.sqrt(((n - 1) / n * within + between) / within)
    return np.where((within == 0) & (between == 0), 1.0, np.where(within == 0, np.inf, ratio))
