"""Sort-and-regress: an order of the variables by a score, then one regression for each."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
from jaxtyping import Float, Int, Int8

from causal_meta.conf.inference import SortnregressConfig
from causal_meta.knowledge import Knowledge
from causal_meta.models.classical.bootstrap import Bootstrap


class Sortnregress(Bootstrap[SortnregressConfig]):
    """Sort the variables by a score, then regress each on those before it (Reisach et al. 2021; by
    R², 2023).

    Scores: the variance; R²_j = 1 - 1 / (R^-1)_jj of the correlation matrix R (the share of j
    explained by all others); or nothing (a random order). The regression is the adaptive lasso
    along its LARS path, |OLS coefficients| as weights, the penalty chosen by BIC. The variance is
    read on the rows as measured: after standardising nothing is left of it. The papers' method is
    the plain one, one graph; bootstrapping is ours.
    """

    def __init__(self, config: SortnregressConfig) -> None:
        super().__init__(config)
        self.needs_scale = config.order == "variance"

    def fit(
        self,
        rows: Float[np.ndarray, "N D"],
        generator: np.random.Generator,
        knowledge: Knowledge,
        record: Counter[str],
    ) -> Int8[np.ndarray, "D D"]:
        """The graph of the rows, directed along the order."""
        return sort_and_regress(rows, self.order(rows, generator))

    def order(
        self, rows: Float[np.ndarray, "N D"], generator: np.random.Generator
    ) -> Int[np.ndarray, " D"]:
        """The variables, the presumed causes first."""
        if self.config.order == "random":
            return generator.permutation(rows.shape[1])
        if self.config.order == "variance":
            return np.argsort(rows.var(axis=0), kind="stable")
        precision = np.linalg.pinv(np.corrcoef(rows.T), hermitian=True)
        return np.argsort(1 - 1 / np.maximum(np.diagonal(precision), 1.0), kind="stable")


def sort_and_regress(
    rows: Float[np.ndarray, "N D"], order: Int[np.ndarray, " D"]
) -> Int8[np.ndarray, "D D"]:
    """The graph of regressing each column of `rows` on the earlier ones of `order` by
    the BIC-chosen adaptive lasso."""
    centred = rows - rows.mean(axis=0)
    gram = centred.T @ centred
    adjacency = np.zeros(gram.shape, dtype=np.int8)
    for place in range(1, len(order)):
        causes, effect = order[:place], order[place]
        coefficients = adaptive_lasso(
            gram[np.ix_(causes, causes)],
            gram[causes, effect],
            float(gram[effect, effect]),
            len(rows),
        )
        adjacency[causes, effect] = np.abs(coefficients) > 1e-12
    return adjacency


def adaptive_lasso(
    gram: Float[np.ndarray, "K K"], product: Float[np.ndarray, " K"], square: float, n_rows: int
) -> Float[np.ndarray, " K"]:
    """Coefficients of the adaptive lasso (Zou 2006) with the penalty chosen by BIC along the
    LARS path, from centred second moments.

    `gram` = X'X, `product` = X'y, `square` = y'y, for K regressors. BIC = RSS / s² + log(N) df,
    with s² of the least-squares fit on N - K - 1 degrees of freedom (at least 1) and df the number
    of nonzero coefficients (Zou, Hastie & Tibshirani 2007).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import lars_path_gram

    least_squares = np.linalg.lstsq(gram, product, rcond=None)[0]
    weight = np.abs(least_squares)
    with warnings.catch_warnings():
        # where regressors are dependent the path stops early; its points up to there are right
        warnings.simplefilter("ignore", ConvergenceWarning)
        path = lars_path_gram(
            product * weight,
            weight[:, None] * gram * weight,
            n_samples=n_rows,
            method="lasso",
            alpha_min=0.0,
        )[2]
    path = path * weight[:, None]
    residual = square - 2 * product @ path + np.einsum("kt,kl,lt->t", path, gram, path)
    noise = max(square - float(product @ least_squares), 1e-12 * square) / max(
        n_rows - len(product) - 1, 1
    )
    bic = residual / noise + np.log(n_rows) * (np.abs(path) > 1e-12).sum(axis=0)
    return path[:, int(np.argmin(bic))]
