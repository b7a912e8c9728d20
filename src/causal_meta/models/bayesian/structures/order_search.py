"""Search for the best graph over causal orders (relocation of one variable at a time)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt64

from causal_meta.models.bayesian.structures.family_tables import FamilyTables
from causal_meta.models.bayesian.structures.look_ups import LookUps, look_ups

#: The power of the posterior at which annealing begins.
FIRST_HEAT = 0.002


@dataclass(frozen=True)
class BestGraphs:
    """The best graph of each of several starts, the best first: the orders, the parent sets as bits
    of the candidates, and their log posteriors (up to the constant of the tables)."""

    orders: Int64[np.ndarray, "S D"]
    chosen: Int64[np.ndarray, "S D"]
    log_scores: Float[np.ndarray, " S"]


def best_graphs(
    tables: FamilyTables,
    required: Bool[np.ndarray, "D D"],
    generator: np.random.Generator,
    starts: int,
    steps: int,
    known: Int64[np.ndarray, "R D"] | None = None,
) -> BestGraphs:
    """Optimise `starts` random orders: `steps` steps of simulated annealing in which a random
    variable is drawn to a new place by its posterior to a rising power, then ascent until no
    variable has a better place; `known` orders are climbed from where they are. The graph of an
    order is the best one compatible with it."""
    arrays = look_ups(tables)
    orders = np.stack([compatible_order(required, generator) for _ in range(starts)])
    for order in orders:
        anneal(arrays, order, steps, random_state(generator))
    orders = orders if known is None else np.concatenate([known, orders])
    for order in orders:
        climb(arrays, order, random_state(generator))
    chosen = np.stack([best_parents(arrays, order) for order in orders])
    log_scores = tables.log_weights(chosen)
    ranking = np.argsort(-log_scores, kind="stable")
    return BestGraphs(orders[ranking], chosen[ranking], log_scores[ranking])


def transitions(
    arrays: LookUps,
    order: Int64[np.ndarray, " D"],
    steps: int,
    state: UInt64[np.ndarray, " 4"],
    heats: tuple[float, float] = (1.0, 1.0),
    swap_share: float = 0.0,
) -> int:
    """`steps` transitions of order MCMC, of `order` in place: a share of swaps, the others
    relocate; under a power of the posterior that rises geometrically between `heats`. Returns how
    many swaps were accepted."""
    from causal_meta.models.bayesian.structures.order_kernels import run_order

    size = len(order)
    every, fixed, mask = np.arange(size), np.full(size, -1), np.empty(size, np.int64)
    moves = (steps, *heats, swap_share, order, arrays.place, arrays.back, arrays.sums)
    return int(run_order(*moves, fixed, every, size, mask, np.empty(size), state))


def anneal(
    arrays: LookUps, order: Int64[np.ndarray, " D"], steps: int, state: UInt64[np.ndarray, " 4"]
) -> None:
    """`steps` relocations of `order` in place under a power of the posterior that rises
    geometrically from `FIRST_HEAT` to 1."""
    transitions(arrays, order, steps, state, (FIRST_HEAT, 1.0))


def heated(
    arrays: LookUps, order: Int64[np.ndarray, " D"], heat: float, state: UInt64[np.ndarray, " 4"]
) -> Int64[np.ndarray, " D"]:
    """An order some way from `order`: 5 D relocations under the posterior to the power `heat`."""
    end = order.copy()
    transitions(arrays, end, 5 * len(order), state, (heat, heat))
    return end


def climb(arrays: LookUps, order: Int64[np.ndarray, " D"], state: UInt64[np.ndarray, " 4"]) -> None:
    """Move `order` in place to where no variable has a better place."""
    from causal_meta.models.bayesian.structures import order_kernels

    size = len(order)
    fixed, turn, mask = np.full(size, -1), np.arange(size), np.empty(size, np.int64)
    tables = (arrays.place, arrays.back, arrays.bests)
    order_kernels.climb(order, *tables, fixed, turn, mask, np.empty(size), state)


def climbed(
    arrays: LookUps, order: Int64[np.ndarray, " D"], state: UInt64[np.ndarray, " 4"]
) -> Int64[np.ndarray, " D"]:
    """The best graph of the order that an ascent from `order` ends in."""
    end = order.copy()
    climb(arrays, end, state)
    return best_parents(arrays, end)


def best_parents(arrays: LookUps, order: Int64[np.ndarray, " D"]) -> Int64[np.ndarray, " D"]:
    """The best parent set of each variable among its predecessors, as bits of its candidates."""
    before = np.empty(len(order), np.int64)
    before[order] = np.arange(len(order))
    names = arrays.candidates
    inside = (names >= 0) & (before[names] < before[:, None])
    masks = (inside << np.arange(names.shape[1])).sum(axis=1)
    first = np.argmax(arrays.ranked & ~masks[:, None] == 0, axis=1)
    return arrays.ranked[np.arange(len(order)), first].astype(np.int64)


def compatible_order(
    required: Bool[np.ndarray, "D D"], generator: np.random.Generator
) -> Int64[np.ndarray, " D"]:
    """A random order that agrees with all edges: of the variables whose causes are placed, a random
    one comes next."""
    waiting = required.sum(axis=0)
    keys = generator.random(len(required))
    order: list[int] = []
    placed = np.zeros(len(required), dtype=bool)
    while len(order) < len(required):
        free = np.flatnonzero((waiting == 0) & ~placed)
        v = int(free[np.argmin(keys[free])])
        order.append(v)
        placed[v] = True
        waiting = waiting - required[v]
    return np.array(order, np.int64)


def random_state(generator: np.random.Generator) -> UInt64[np.ndarray, " 4"]:
    """The state of a compiled stream of random numbers."""
    return generator.integers(1, 2**64, 4, dtype=np.uint64)
