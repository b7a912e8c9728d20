"""The Bayesian Dirichlet equivalent uniform score (BDeu) of discrete tables."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.special import gammaln

from causal_meta.scores.local_score import LocalScore, checked_families
from causal_meta.scores.statistics import Table

_CELLS = 1 << 20  # cells of the table that are counted at once
_LARGEST = 1 << 40  # number of a configuration before it is renumbered


class BDeu(LocalScore):
    """log p(x_v | x_P) with a Dirichlet law of x_v for every configuration j of the parents:

        sum_j lgamma(a_j) - lgamma(a_j + n_j) + sum_k lgamma(a_jk + n_jk) - lgamma(a_jk)
        a_jk = s / (r q),  a_j = s / q

    for r categories of v, q configurations of its parents, counts n of the rows in which v was not
    set and the equivalent sample size s. Configurations that do not occur contribute nothing.
    Markov-equivalent graphs have equal scores.

    Good at tables with few categories. With many, or a large s, it favours dense graphs.

    Raises:
        ValueError: a table with continuous columns, or an equivalent sample size that is not
            positive.

    Reference: Heckerman, Geiger and Chickering (1995), equation 28 with the priors of Buntine
    (1991).
    """

    def __init__(self, table: Table, sample_size: float = 1.0) -> None:
        if not all(table.categories):
            raise ValueError(
                "BDeu scores categorical columns; use BGe or the degenerate Gaussian for others"
            )
        if not sample_size > 0:
            raise ValueError(f"the equivalent sample size is positive; it is {sample_size}")
        self.n_nodes = table.n_nodes
        self.sample_size = sample_size
        self._arities = np.array(table.categories, np.int64)
        self._codes = np.array(table.codes, np.int64)
        self._rows = [table.rows(v) for v in range(table.n_nodes)]

    def families(self, node: int, parents: Int[np.ndarray, "F p"]) -> Float[np.ndarray, " F"]:
        """The scores of families, in nats; see the class."""
        parents = checked_families(node, parents, self.n_nodes)
        step = max(1, _CELLS // max(1, len(self._rows[node])))
        chunks = [
            self._chunk(node, parents[start : start + step])
            for start in range(0, len(parents), step)
        ]
        return np.concatenate([np.zeros(0), *chunks])

    def _chunk(self, node: int, parents: NDArray[np.int64]) -> NDArray[np.float64]:
        n_families = len(parents)
        codes = self._codes[:, self._rows[node]]
        # one number for a family and a configuration of its parents
        number = np.repeat(np.arange(n_families)[:, None], codes.shape[1], axis=1)
        largest = n_families
        for u in parents.T:
            # one radix for all families of the chunk, so that their numbers do not meet
            radix = int(self._arities[u].max())
            largest *= radix
            number = number * radix + codes[u]
            if largest > _LARGEST:
                kept, number = np.unique(number, return_inverse=True)
                number, largest = number.reshape(n_families, -1), len(kept)
        return self._evidence(node, parents, number, codes[node])

    def _evidence(
        self,
        node: int,
        parents: NDArray[np.int64],
        number: NDArray[np.int64],
        own: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        arity = int(self._arities[node])
        log_q = np.log(self._arities[parents]).sum(axis=1)
        a_j = self.sample_size * np.exp(-log_q)
        total = np.zeros(len(parents))
        family = np.broadcast_to(np.arange(len(parents))[:, None], number.shape).reshape(-1)
        for keys, a, sign in ((number, a_j, -1), (number * arity + own, a_j / arity, 1)):
            _, first, counts = np.unique(keys, return_index=True, return_counts=True)
            a = a[family[first]]
            terms = sign * (gammaln(a + counts) - gammaln(a))
            total += np.bincount(family[first], terms, len(parents))
        return total
