"""The Gaussian BIC of families from one covariance matrix.

A set of variables is an integer: bit u stands for variable u.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

from causal_meta.knowledge import Knowledge

#: A variable of which a smaller share of the variance is left beyond the parents adds nothing.
DEPENDENT = 1e-10
#: Numbers kept in swept matrices before these are computed anew.
KEPT = 1 << 24
#: Of the pairs of parents that improve a family, the best so many are tried.
PAIRS = 64


class GaussianBIC:
    """BIC of linear Gaussian families (higher is better):

        s(v, P) = -N/2 (1 + log r(v, P)) - penalty (p + 1) log N,

    r the residual variance of v on its p parents P. With `penalty` 1/2 it is the BIC of Schwarz
    (1978); causal-learn's `local_score_BIC_from_cov` is the same function. r <= 0 by rounding
    counts as the machine epsilon, as there. All r come from the covariance matrix swept by P
    (Goodnight 1979): it holds the residual covariances of the others and the inverse within P.

    Args:
        rows: the table, N x D.
        penalty: the price of a parameter in units of log N.
        knowledge: parent sets hold every required and no forbidden parent, and at most
            `max_parents`.
    """

    def __init__(
        self, rows: Float[np.ndarray, "N D"], penalty: float, knowledge: Knowledge
    ) -> None:
        self.n_rows, self.n_nodes = rows.shape
        self._covariance = np.atleast_2d(np.cov(rows.T, ddof=0))
        self._spread = self._covariance.diagonal()
        self._price = penalty * math.log(self.n_rows)
        self.max_parents = bound_of(knowledge)
        self.required = [bits(column) for column in knowledge.required.T]
        self.allowed = [
            bits(column) & ~(1 << node) for node, column in enumerate(~knowledge.forbidden.T)
        ]
        #: Families and parent sets computed so far, the measure of work.
        self.work = 0
        self._swept: dict[int, NDArray[np.float64]] = {}
        self._scores: dict[tuple[int, int], float] = {}
        self._additions: dict[tuple[int, int], tuple[int, ...]] = {}
        self._pairs: dict[tuple[int, int], tuple[int, ...]] = {}
        self._shrunk: dict[tuple[int, int], tuple[int, float]] = {}
        self._best: dict[tuple[int, int], tuple[int, float]] = {}

    def score(self, node: int, parents: int) -> float:
        """The BIC of a family; -inf beyond the bound on parents."""
        key = (node, parents)
        known = self._scores.get(key)
        if known is None:
            self.work += 1
            count = parents.bit_count()
            known = -math.inf
            if count <= self.max_parents:
                known = float(self._value(self._sweep(parents)[node, node], count))
            self._scores[key] = known
        return known

    def total(self, graph: Bool[np.ndarray, "D D"]) -> float:
        """The BIC of a graph: the sum over its families."""
        return sum(self.score(node, bits(graph[:, node])) for node in range(self.n_nodes))

    def best_parents(self, node: int, available: int) -> tuple[int, float]:
        """Parents of `node` among the set `available`, and their score, by growing and shrinking.

        From the required parents on, the best improving addition is made: of one variable, or where
        none improves the score, of two (two causes whose effects nearly cancel look useless one at
        a time). Then the best improving removals are made, and one parent is exchanged for another
        if that improves the score; from there it begins again. The score is -inf where a required
        parent is not available.
        """
        if self.required[node] & ~available:
            return 0, -math.inf
        key = (node, available)
        known = self._best.get(key)
        if known is None:
            self.work += 1
            known = self._settled(node, self.required[node], available)
            while (start := self._exchanged(node, known[0], available)) != known[0]:
                better = self._settled(node, start, available)
                if better[1] <= known[1]:
                    break
                known = better
            self._best[key] = known
        return known

    def _settled(self, node: int, parents: int, available: int) -> tuple[int, float]:
        key = (node, self._grow(node, parents, available))
        if key not in self._shrunk:
            self._shrunk[key] = self._shrink(*key)
        return self._shrunk[key]

    def _exchanged(self, node: int, parents: int, available: int) -> int:
        """The parents after the first exchange of one for another that improves the score; the same
        parents if none does. Without u, the best addition is u itself or improves."""
        for u in singles(parents & ~self.required[node]):
            fewer = parents & ~u
            addition = _first_within(self._ranked_additions(node, fewer), available)
            if addition not in (0, u) and self.score(node, fewer | addition) > self.score(
                node, parents
            ):
                return fewer | addition
        return parents

    def _grow(self, node: int, parents: int, available: int) -> int:
        while (room := self.max_parents - parents.bit_count()) > 0:
            addition = _first_within(self._ranked_additions(node, parents), available)
            if not addition and room > 1:
                addition = _first_within(self._ranked_pairs(node, parents), available)
            if not addition:
                break
            parents |= addition
        return parents

    def _ranked_additions(self, node: int, parents: int) -> tuple[int, ...]:
        """The variables that improve the family when added, as sets of one, best first."""
        key = (node, parents)
        if key not in self._additions:
            left = self._sweep(parents)
            spread = left.diagonal()
            regular = spread > DEPENDENT * self._spread
            explained = left[node] ** 2 / np.where(regular, spread, np.inf)
            better = (explained > self._needed(left[node, node], 1)).nonzero()[0]
            free = self.allowed[node] & ~parents
            order = better[np.argsort(-explained[better], kind="stable")].tolist()
            self._additions[key] = tuple(1 << u for u in order if free >> u & 1)
        return self._additions[key]

    def _ranked_pairs(self, node: int, parents: int) -> tuple[int, ...]:
        """The pairs of variables that improve the family when both are added, best first: r falls
        by x' M^-1 x with M their residual covariance and x theirs with the node."""
        key = (node, parents)
        if key not in self._pairs:
            free = members(self.allowed[node] & ~parents)
            left = self._sweep(parents)
            x, m = left[node, free], left[free][:, free]
            spread = m.diagonal()
            both = spread[:, None] * spread
            determinant = both - m * m
            half = (x * x)[:, None] * spread - (x[:, None] * x) * m
            irregular = determinant <= DEPENDENT * both
            determinant[irregular] = np.inf
            explained = np.triu((half + half.T) / determinant, 1)
            first, second = (explained > self._needed(left[node, node], 2)).nonzero()
            order = np.argsort(-explained[first, second], kind="stable")[:PAIRS]
            self._pairs[key] = tuple(
                1 << free[first[k]] | 1 << free[second[k]] for k in order.tolist()
            )
        return self._pairs[key]

    def _needed(self, residual: float, more: int) -> float:
        """The part of a residual variance that `more` parents must explain to improve the score."""
        return residual * -math.expm1(-2 * more * self._price / self.n_rows)

    def _shrink(self, node: int, parents: int) -> tuple[int, float]:
        """Removals of the variable without which the family scores best, while that is better:
        without u, r grows by b^2 / q with b its coefficient and q its entry of the inverse."""
        score = self.score(node, parents)
        while removable := members(parents & ~self.required[node]):
            swept = self._sweep(parents)
            inverse = -swept[removable, removable]
            residual = swept[node, node] + swept[node, removable] ** 2 / inverse
            scores = self._value(residual, parents.bit_count() - 1)
            best = int(np.argmax(scores))
            if scores[best] <= score:
                break
            parents &= ~(1 << removable[best])
            score = self.score(node, parents)
        return parents, score

    def _value(self, residual: Any, count: int) -> Any:
        positive = np.where(residual > 0, residual, np.finfo(float).eps)
        return -0.5 * self.n_rows * (1 + np.log(positive)) - self._price * (count + 1)

    def _sweep(self, parents: int) -> NDArray[np.float64]:
        """The covariance matrix swept by a set: for A inside and B outside, -C_AA^-1 (A, A),
        C_AA^-1 C_AB (A, B), C_BB - C_BA C_AA^-1 C_AB (B, B). A function of the set alone: always
        swept in the order of the variables."""
        if not parents:
            return self._covariance
        swept = self._swept.get(parents)
        if swept is None:
            last = parents.bit_length() - 1
            before = self._sweep(parents ^ (1 << last))
            if len(self._swept) * self.n_nodes**2 > KEPT:
                self._swept.clear()
            swept = self._swept[parents] = _swept_once(before, last)
            self.work += 1
        return swept


def _swept_once(matrix: NDArray[np.float64], u: int) -> NDArray[np.float64]:
    pivot = matrix[u, u] if matrix[u, u] > 0 else np.finfo(float).eps
    row = matrix[u] / pivot
    swept: NDArray[np.float64] = matrix - np.outer(matrix[u], row)
    swept[u] = swept[:, u] = row
    swept[u, u] = -1 / pivot
    return swept


def _first_within(sets: tuple[int, ...], available: int) -> int:
    """The first of the sets that is a subset of `available`; the empty set if none is."""
    for one in sets:
        if not one & ~available:
            return one
    return 0


def bits(flags: Bool[np.ndarray, " D"]) -> int:
    """The set of the true entries."""
    return sum(1 << u for u in np.flatnonzero(flags).tolist())


def members(variables: int) -> list[int]:
    """The variables of a set, in order."""
    return [one.bit_length() - 1 for one in singles(variables)]


def singles(variables: int) -> Iterator[int]:
    """The one-variable subsets of a set, in order."""
    while variables:
        one = variables & -variables
        yield one
        variables ^= one


def bound_of(knowledge: Knowledge) -> int:
    """The largest number of parents that the knowledge allows."""
    n_nodes = len(knowledge.forbidden)
    return n_nodes - 1 if knowledge.max_parents is None else min(knowledge.max_parents, n_nodes - 1)
