"""The Bayesian Gaussian equivalent score (BGe), for variables of one or several columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import gammaln

from causal_meta.scores.local_score import (
    LocalScore,
    checked_families,
    subset_numbers,
    subset_sums,
)
from causal_meta.scores.statistics import Table
from causal_meta.scores.subset_determinants import subset_log_determinants

_CELLS = 1 << 17  # numbers of the matrices that are factored at once: what fits the cache


@dataclass(frozen=True, kw_only=True)
class BGePrior:
    """The normal-Wishart prior of the standardised columns: precision W ~ Wishart(a_w, T^-1) with
    T = t I, mean ~ N(column mean, (a_m W)^-1).

    `a_m` rows are worth the prior of the mean. `a_w_excess` is a_w - C for C columns, above 1.
    `t` is the scale; by default t = a_m (a_w - C - 1) / (a_m + 1), with which the prior expects a
    covariance near the identity (Kuipers, Moffa and Heckerman 2014, below equation 5).
    """

    a_m: float = 1.0
    a_w_excess: float = 2.0
    t: float | None = None

    def __post_init__(self) -> None:
        if not self.a_m > 0 or not self.a_w_excess > 1 or not (self.t is None or self.t > 0):
            raise ValueError(
                "a BGe prior has a_m > 0, a_w_excess > 1 and t > 0 (or None); it has "
                f"a_m={self.a_m}, a_w_excess={self.a_w_excess}, t={self.t}"
            )

    @property
    def scale(self) -> float:
        """t."""
        return self.a_m * (self.a_w_excess - 1) / (self.a_m + 1) if self.t is None else self.t

    def constant(
        self, n: int, linear: Int[np.ndarray, " F"], b: int = 1
    ) -> Float[np.ndarray, " F"]:
        """c_p: the part of a family's score that depends on the numbers of rows n, of `linear`
        columns of its parents and of columns b of its node."""
        alpha = self.a_w_excess + linear + b
        return (
            -b * n / 2 * np.log(np.pi)
            + b / 2 * np.log(self.a_m / (self.a_m + n))
            + _log_gamma_ratio(alpha / 2, n / 2, b)
            + b * (alpha + linear) / 2 * np.log(self.scale)
        )


def _log_gamma_ratio(x: Float[np.ndarray, " F"], step: float, b: int) -> Float[np.ndarray, " F"]:
    """log Gamma_b(x + step) - log Gamma_b(x), with the multivariate gamma function."""
    half = x[:, None] - np.arange(b) / 2
    return (gammaln(half + step) - gammaln(half)).sum(axis=1)


class BGe(LocalScore):
    """log p(x_v | x_P) of a Gaussian graph under the normal-Wishart prior.

        q = R_vv - R_vP R_PP^-1 R_Pv,  R = X'X + t I,  nu = n + a_w - C + p + 1
        score = c_p - nu/2 log q - 1/2 log det R_PP
        c_p = -n/2 log pi + 1/2 log(a_m / (a_m + n)) + lgamma(nu / 2)
              - lgamma((a_w - C + p + 1) / 2) + (a_w - C + 2p + 1)/2 log t

    for n rows in which v was not set and C columns, p of them in P. Where the node has b columns, q
    is a b x b matrix and its determinant, and multivariate gamma functions, take the places of
    these. Markov-equivalent graphs have equal scores (without interventions).

    Good at linear Gaussian mechanisms, whatever N against D: copies and sums of columns are made
    harmless by t. It cannot orient what an equivalence class leaves open, and misses dependence
    without correlation.

    References: Geiger and Heckerman (2002), equation 18; Kuipers, Moffa and Heckerman (2014),
    equations 6-8, for the constants. Their prior mean is a parameter; here it is the column mean.
    """

    def __init__(self, table: Table, prior: BGePrior | None = None) -> None:
        self.n_nodes = table.n_nodes
        self.prior = prior or BGePrior()
        self._group_of = table.group_of
        self._sizes = table.sizes()
        self._blocks = ColumnBlocks(table.blocks)
        self._grams = [
            bordered(gram + self.prior.scale * np.eye(len(gram)))
            for gram in table.grams(table.values)
        ]

        # nothing for columns, whose t is in the Gram matrices
        self._ridge = np.append(np.zeros(table.values.shape[1]), 1.0)

    def families(self, node: int, parents: Int[np.ndarray, "F p"]) -> Float[np.ndarray, " F"]:
        """The scores of families, in nats; see the class."""
        parents = checked_families(node, parents, self.n_nodes)
        group = self._group_of[node]
        n, gram = int(self._sizes[group]), self._grams[group]
        columns, linear = self._blocks.columns(parents)
        b = len(self._blocks[node])
        target = self._blocks[node]
        log_det, log_q = log_determinants(gram, columns, target, self._ridge[None])
        nu = n + self.prior.a_w_excess + linear + b
        return self.prior.constant(n, linear, b) - nu / 2 * log_q[0] - b / 2 * log_det[0]

    def table(
        self, node: int, candidates: Int[np.ndarray, " K"], max_parents: int | None = None
    ) -> Float[np.ndarray, " 2**K"]:
        """The scores of all subsets of `candidates`; see `LocalScore.table`."""
        names = checked_families(node, np.asarray(candidates)[None], self.n_nodes)[0]
        if not np.array_equal(names, candidates):  # the subsets are numbered by another order
            return self.table(node, names, max_parents)[subset_numbers(names, candidates)]
        most = len(names) if max_parents is None else max_parents
        group, target = self._group_of[node], self._blocks[node]
        n, gram, b = int(self._sizes[group]), self._grams[group], len(target)
        blocks = [self._blocks[u] for u in names]
        log_det, log_q = subset_log_determinants(gram, target, blocks, self._ridge[None], most)
        linear = subset_sums(np.array([len(block) for block in blocks], np.int64))
        nu = n + self.prior.a_w_excess + linear + b
        with np.errstate(invalid="ignore"):  # beyond the bound, of a node without columns
            scores = self.prior.constant(n, linear, b) - nu / 2 * log_q[0] - b / 2 * log_det[0]
        return np.where(np.isfinite(log_q[0]), scores, -np.inf)


class ColumnBlocks:
    """The columns of each variable, and of sets of variables in one rectangle."""

    def __init__(self, blocks: tuple[Int[np.ndarray, " c"], ...], empty: int | None = None) -> None:
        self._blocks = blocks
        self._widths = np.array([len(block) for block in blocks])
        # by default the number of all columns names an empty one, behind the last
        empty = int(self._widths.sum()) if empty is None else empty
        self._padded = np.full((len(blocks), max(1, self._widths.max())), empty)
        for row, block in zip(self._padded, blocks, strict=True):
            row[: len(block)] = block

    def __getitem__(self, node: int) -> Int[np.ndarray, " c"]:
        return self._blocks[node]

    def columns(
        self, sets: Int[np.ndarray, "F p"]
    ) -> tuple[Int[np.ndarray, "F q"], Int[np.ndarray, " F"]]:
        """The columns of each set, filled up with the empty column, and their numbers."""
        n_columns = self._widths[sets].sum(axis=1)
        if self._padded.shape[1] == 1 and (self._widths == 1).all():
            return self._padded[sets, 0], n_columns
        columns = np.sort(self._padded[sets].reshape(len(sets), -1), axis=1)
        return columns[:, : int(n_columns.max(initial=0))], n_columns


def bordered(gram: Float[np.ndarray, "C C"]) -> Float[np.ndarray, "C+1 C+1"]:
    """The matrix with one more row and column, of zeros: those of the empty column."""
    out = np.zeros((len(gram) + 1,) * 2)
    out[:-1, :-1] = gram
    return out


def log_determinants(
    gram: Float[np.ndarray, "C C"],
    columns: Int[np.ndarray, "F q"],
    target: Int[np.ndarray, " b"],
    ridges: Float[np.ndarray, "S C"],
) -> tuple[Float[np.ndarray, "S F"], Float[np.ndarray, "S F"]]:
    """log det M_PP and log det(G_vv - G_vP M_PP^-1 G_Pv) for each set P of columns, with G the
    matrix and M that with one of the `ridges` added to its diagonal. The last column is the empty
    one: with a ridge of 1 it changes no determinant, however often it fills up a set.

    Both come from one Cholesky factor of the matrix of P and v. In chunks of bounded memory; each
    factor is that of its own matrix, so chunks do not change it.
    """
    q = columns.shape[1]
    size = q + len(target)
    out = np.empty((2, len(ridges), len(columns)))
    step = max(1, _CELLS // max(1, len(ridges) * size * size))
    diagonal = np.arange(q)
    for start in range(0, len(columns), step):
        part = slice(start, start + step)
        chosen = columns[part]
        index = np.hstack([chosen, np.broadcast_to(target, (len(chosen), len(target)))])
        entries = gram.take(index[:, :, None] * len(gram) + index[:, None, :])
        matrices = np.repeat(entries[None], len(ridges), axis=0)
        matrices[:, :, diagonal, diagonal] += ridges[:, chosen]
        factors = np.linalg.cholesky(matrices)
        logs = 2 * np.log(np.diagonal(factors, axis1=2, axis2=3))
        out[0, :, part] = logs[:, :, :q].sum(axis=2)
        out[1, :, part] = logs[:, :, q:].sum(axis=2)
    return out[0], out[1]
