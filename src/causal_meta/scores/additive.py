"""The evidence of smooth mechanisms with Gaussian noise, nested in BGe."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp

from causal_meta.scores.bge import log_determinants
from causal_meta.scores.features import Features
from causal_meta.scores.local_score import LocalScore, checked_families

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
        self._features = features
        self._sizes = features.table.sizes()

    def families(self, node: int, parents: Int[np.ndarray, "F p"]) -> Float[np.ndarray, " F"]:
        """The scores of families, in nats; see the class."""
        scores = self.by_mechanism(node, checked_families(node, parents, self.n_nodes))
        return logsumexp(scores, axis=0) - np.log(len(scores))

    def by_mechanism(self, node: int, parents: Int[np.ndarray, "F p"]) -> Float[np.ndarray, "M F"]:
        """A_s for each mechanism, or for those without products where products do not count;
        parents rising."""
        fewest, most = _PRODUCTS
        with_products = self._features.products is not None and fewest <= parents.shape[1] <= most
        return np.array([
            self._evidence(node, parents, s, products)
            for s, products in self.mechanisms
            if with_products or not products
        ])  # fmt: skip

    def _evidence(
        self, node: int, parents: Int[np.ndarray, "F p"], s: float, products: bool
    ) -> Float[np.ndarray, " F"]:
        features, prior = self._features, self._features.prior
        group = features.table.group_of[node]
        n, gram = int(self._sizes[group]), features.grams[group]
        target = features.table.blocks[node]
        b = len(target)
        columns = features.of(parents, products)
        precision = features.precisions(s, parents.shape[1])
        log_det, log_q = log_determinants(gram, columns, target, precision)
        log_prior = np.log(np.where(features.is_smooth, precision, 1.0))
        linear = (~features.is_smooth[columns] & (columns != features.empty)).sum(axis=1)
        nu = n + prior.a_w_excess + linear + b
        constant = prior.constant(n, linear, b)
        return constant - nu / 2 * log_q - b / 2 * (log_det - log_prior[columns].sum(axis=1))
