"""The evidence of smooth mechanisms with Gaussian noise, nested in BGe."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.special import logsumexp

from causal_meta.scores.bge import log_determinants
from causal_meta.scores.features import Features
from causal_meta.scores.local_score import (
    LocalScore,
    checked_families,
    subset_bits,
    subset_numbers,
    subset_sums,
    subsets_by_size,
)
from causal_meta.scores.subset_determinants import subset_log_determinants

SCALES = (0.1, 1.0, 10.0)
_PRODUCTS = (2, 5)  # numbers of parents with products of pairs: fewest and most


class Additive(LocalScore):
    """log p(x_v | x_P) of x_v = sum_u (a_u x_u + f_u(x_u)) + noise, Gaussian, averaged over s.

        A_s = c_p - nu/2 log q_s - 1/2 log det M_s - (F/2) log s
        M_s = G_PP + diag(1/s on features),  q_s = G_vv - G_vP M_s^-1 G_Pv

    with G the Gram matrix of `Features` (t on the diagonal of the table's own columns), F the
    number of features of the parents, c_p and nu those of BGe. f_u is a Gaussian process of
    variance s, in units of the noise's variance, less its linear part. As s goes to 0 A_s goes to
    BGe, so linear Gaussian data give it no direction; roots have the score of BGe.

    Families of two to five parents are also averaged over mechanisms with interactions, b_uw x_u
    x_w for every pair with b of variance s / p, half of the weight, if `Features` has products.

    The cost of a family does not depend on N. Good at smooth mechanisms; a root that is not
    Gaussian, or noise that is not, can make it orient edges wrongly and with confidence: see
    `Mixture`.

    Attributes:
        mechanisms: scale s of each mechanism, and whether it has products.
    """

    def __init__(self, features: Features, scales: tuple[float, ...] = SCALES) -> None:
        if not scales or min(scales) <= 0:
            raise ValueError(f"the scales of mechanisms must be positive; they are {scales}")
        self.n_nodes = features.table.n_nodes
        self.mechanisms = [(s, products) for products in (False, True) for s in scales]
        self._features, self._scales = features, scales
        self._sizes = features.table.sizes()
        # of each node, the bits of its last table's candidates, their largest number, and the best
        # mechanism of each subset
        self._best: dict[int, tuple[NDArray[np.int64], int, NDArray[np.int8]]] = {}

    def families(self, node: int, parents: Int[np.ndarray, "F p"]) -> Float[np.ndarray, " F"]:
        """The scores of families, in nats; see the class."""
        scores = self.by_mechanism(node, checked_families(node, parents, self.n_nodes))
        return logsumexp(scores, axis=0) - np.log(len(scores))

    def by_mechanism(self, node: int, parents: Int[np.ndarray, "F p"]) -> Float[np.ndarray, "M F"]:
        """A_s for each mechanism, or for those without products where products do not count;
        parents rising."""
        fewest, most = _PRODUCTS
        with_products = self._features.products is not None and fewest <= parents.shape[1] <= most
        plain = self._evidences(node, parents, products=False)
        if not with_products:
            return plain
        return np.vstack([plain, self._evidences(node, parents, products=True)])

    def best_mechanisms(self, node: int, parents: Int[np.ndarray, "F p"]) -> Int[np.ndarray, " F"]:
        """The number of the mechanism with the largest A_s; parents rising."""
        if node in self._best:
            bits, most, best = self._best[node]
            if parents.shape[1] <= most and bits[parents].all():
                return best[bits[parents].sum(axis=1)].astype(np.int64)
        return self.by_mechanism(node, parents).argmax(axis=0)

    def table(
        self, node: int, candidates: Int[np.ndarray, " K"], max_parents: int | None = None
    ) -> Float[np.ndarray, " 2**K"]:
        """The scores of all subsets of `candidates`; see `LocalScore.table`."""
        names = checked_families(node, np.asarray(candidates)[None], self.n_nodes)[0]
        if not np.array_equal(names, candidates):  # the subsets are numbered by another order
            return self.table(node, names, max_parents)[subset_numbers(names, candidates)]
        plain = self._table_without_products(node, names, max_parents)
        table = logsumexp(plain, axis=0) - np.log(len(plain))
        best = plain.argmax(axis=0)
        if self._features.products is not None:
            fewest, most = _PRODUCTS
            for subsets, parents in subsets_by_size(names, max_parents):
                if fewest <= parents.shape[1] <= most:
                    products = self._evidences(node, parents, products=True)
                    scores = np.vstack([plain[:, subsets], products])
                    table[subsets] = logsumexp(scores, axis=0) - np.log(len(scores))
                    best[subsets] = scores.argmax(axis=0)
        most = len(names) if max_parents is None else max_parents
        self._best[node] = subset_bits(names, self.n_nodes), most, best.astype(np.int8)
        return table

    def _table_without_products(
        self, node: int, candidates: Int[np.ndarray, " K"], max_parents: int | None
    ) -> Float[np.ndarray, "M 2**K"]:
        features = self._features
        group = features.table.group_of[node]
        blocks = [features.blocks[u] for u in candidates]
        log_det, log_q = subset_log_determinants(
            features.grams[group],
            features.table.blocks[node],
            blocks,
            np.stack([features.precisions(s, 1) for s in self._scales]),
            len(blocks) if max_parents is None else max_parents,
        )
        smooth = subset_sums(np.array([features.is_smooth[c].sum() for c in blocks], np.int64))
        linear = subset_sums(np.array([len(c) for c in blocks], np.int64)) - smooth
        log_prior = -np.log(self._scales)[:, None] * smooth
        with np.errstate(invalid="ignore"):
            scores = self._combined(node, log_det - log_prior, log_q, linear)
        return np.where(np.isfinite(log_q), scores, -np.inf)

    def _evidences(
        self, node: int, parents: Int[np.ndarray, "F p"], products: bool
    ) -> Float[np.ndarray, "S F"]:
        """A_s for each scale."""
        features = self._features
        gram = features.grams[features.table.group_of[node]]
        columns = features.of(parents, products)
        precisions = np.stack([features.precisions(s, parents.shape[1]) for s in self._scales])
        target = features.table.blocks[node]
        log_det, log_q = log_determinants(gram, columns, target, precisions)
        log_prior = np.log(np.where(features.is_smooth, precisions, 1.0))
        linear = (~features.is_smooth[columns] & (columns != features.empty)).sum(axis=1)
        return self._combined(node, log_det - log_prior[:, columns].sum(axis=2), log_q, linear)

    def _combined(
        self,
        node: int,
        log_det: Float[np.ndarray, "S F"],
        log_q: Float[np.ndarray, "S F"],
        linear: Int[np.ndarray, " F"],
    ) -> Float[np.ndarray, "S F"]:
        """A_s from log det M_s + F log s, log q_s and the numbers of linear columns."""
        table, prior = self._features.table, self._features.prior
        n, b = int(self._sizes[table.group_of[node]]), len(table.blocks[node])
        nu = n + prior.a_w_excess + linear + b
        return prior.constant(n, linear, b) - nu / 2 * log_q - b / 2 * log_det
