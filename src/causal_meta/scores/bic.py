"""The Bayesian information criterion of linear Gaussian families."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from causal_meta.scores.degenerate_gaussian import DegenerateGaussian
from causal_meta.scores.local_score import LocalScore
from causal_meta.scores.statistics import Table


class BIC(LocalScore):
    """log p(x_v | x_P, b, sigma^2) at its maximum, less c/2 log(n) (p + 1):

        score = -n/2 log(2 pi e sigma^2) - c/2 log(n) (p + 1),  sigma^2 = S_vv - S_vP S_PP^-1 S_Pv

    with S the covariance of the n rows in which v was not set and c the penalty discount. It is
    score-equivalent. Good with many rows; with few, or near-copies of columns, `BGe` is safer.

    Raises:
        ValueError: a table with categorical columns, or a penalty that is not positive.

    Reference: Schwarz (1978); Chickering (2002), section 2.3.
    """

    def __init__(self, table: Table, penalty: float = 1.0) -> None:
        if any(table.categories):
            raise ValueError(
                "BIC scores continuous columns; use the degenerate Gaussian score for mixed tables"
            )
        self.n_nodes = table.n_nodes
        self._blocks = DegenerateGaussian(table, penalty)

    def families(self, node: int, parents: Int[np.ndarray, "F p"]) -> Float[np.ndarray, " F"]:
        """The scores of families, in nats; see the class."""
        return self._blocks.families(node, parents)
