"""The degenerate Gaussian score for tables of continuous and categorical columns."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from causal_meta.scores.bge import ColumnBlocks, bordered, log_determinants
from causal_meta.scores.local_score import LocalScore, checked_families
from causal_meta.scores.statistics import Table

_RIDGE = 1e-9  # of the variance of a column: keeps exact copies finite


class DegenerateGaussian(LocalScore):
    """The Bayesian information criterion of a Gaussian over columns in which a categorical variable
    is the block of its indicators:

        score = -n/2 (log det S_PvPv - log det S_PP + b log(2 pi e)) - c/2 log(n) (b l + b (b+1)/2)

    for n rows in which v was not set, S their covariance, b columns of v, l of P and c the penalty
    discount. Determinants of blocks do not depend on the names of categories.

    Good at mixed tables with linear effects of categories. It treats the indicators as Gaussian, so
    it is a criterion for adjacency rather than for the direction between kinds.

    Raises:
        ValueError: a penalty that is not positive.

    Reference: Andrews, Ramsey and Cooper (2019), section 3; they drop an indicator where this uses
    contrasts, which have the same determinants.
    """

    def __init__(self, table: Table, penalty: float = 1.0) -> None:
        if not penalty > 0:
            raise ValueError(f"the penalty of a criterion is positive; it is {penalty}")
        self.n_nodes = table.n_nodes
        self.penalty = penalty
        self._group_of, self._sizes = table.group_of, table.sizes()
        self._blocks = ColumnBlocks(table.blocks)
        self._ridge = np.append(np.zeros(table.values.shape[1]), 1.0)
        self._covariances = [
            bordered(gram / max(1, n) + _RIDGE * np.eye(len(gram)))
            for gram, n in zip(table.grams(table.values), self._sizes, strict=True)
        ]

    def families(self, node: int, parents: Int[np.ndarray, "F p"]) -> Float[np.ndarray, " F"]:
        """The scores of families, in nats; see the class."""
        parents = checked_families(node, parents, self.n_nodes)
        group, b = self._group_of[node], len(self._blocks[node])
        n = int(self._sizes[group])
        columns, n_columns = self._blocks.columns(parents)
        _, log_q = log_determinants(
            self._covariances[group], columns, self._blocks[node], self._ridge[None]
        )
        fit = -n / 2 * (log_q[0] + b * (np.log(2 * np.pi) + 1))
        return fit - self.penalty / 2 * np.log(max(1, n)) * (b * n_columns + b * (b + 1) / 2)
