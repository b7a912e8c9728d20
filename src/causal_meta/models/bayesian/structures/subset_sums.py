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
from jaxtyping import Float, Int8, Int64

from causal_meta.models.bayesian.structures.family_tables import IMPOSSIBLE, FamilyTables
from causal_meta.models.bayesian.structures.graph_sums import (
    GraphSums,
    draw_entries,
    family_log_probabilities,
)
from causal_meta.models.bayesian.structures.set_functions import sizes, sums_of_members
from causal_meta.models.bayesian.structures.subset_passes import NEGLIGIBLE, Passes

_ENTRIES_AT_ONCE = 1 << 20  # of the distributions of layers


class ModularSums(GraphSums):
    """The modular posterior over the directed acyclic graphs of D variables, by 3^D terms.

    Good for up to 20 variables, with any number of parents. Time: 3^D terms in each of two passes
    where many graphs are likely, fewer on sharp data, where most sets are dropped. Memory: see
    `memory_needed`.

    Args:
        tables: the weights of families; graphs with edges from outside the candidates do not count.

    Attributes:
        rounding: the difference of Z(all) and Y(empty) in logs, two ways to the same evidence: the
            size of the relative error of all answers.

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
        passes = Passes(within, first, last, kept)
        self._forward = passes.forward()
        self._backward, self._released = passes.backward(self._forward)
        forward = float(np.log(self._forward[-1]) + first[-1])
        self.log_evidence = forward + float(tables.offsets.sum())
        self.rounding = abs(forward - float(np.log(self._backward[0]) + last[0]))

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


def _log(values: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """log, -inf where a value is not positive."""
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(values, 0.0))
