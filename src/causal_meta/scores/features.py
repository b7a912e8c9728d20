"""Smooth nonlinear features of each variable, with one Gram matrix over all of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from causal_meta.scores.bge import BGePrior, ColumnBlocks, bordered
from causal_meta.scores.statistics import Table

_LANDMARKS = 100  # quantiles that carry the features of a variable
_ROWS = 1024  # rows whose kernel is computed at once


class Features:
    """The columns of a table and m smooth features of each continuous variable.

    The sum of products of features approximates the kernel k(x, x') = exp(-(x - x')^2 / (2 l^2)):
    they are its m leading eigenfunctions on quantiles of x (Nystroem), times the root of their
    eigenvalues, projected off 1 and x. So a weight of each feature drawn from N(0, s) is a Gaussian
    process of variance s less its linear part. Categorical variables have none: their indicators
    are all functions of them.

    Attributes:
        columns: the columns of the table, then the features.
        blocks: the columns of each variable.
        is_feature: which columns are features; one entry more for the empty column.
        grams: for each group of rows, sums of products of `columns` centred within it, plus t on
            the diagonal of the table's own columns, bordered by an empty column.

    Reference: Williams and Seeger (2001), equation 8.
    """

    def __init__(
        self,
        table: Table,
        prior: BGePrior | None = None,
        n_features: int = 6,
        length: float = 1.0,
    ) -> None:
        self.table = table
        self.prior = prior or BGePrior()
        own = table.values.shape[1]
        columns, blocks, end = [table.values], [], own
        for v, block in enumerate(table.blocks):
            if table.codes[v] is None:
                features = smooth_features(table.values[:, block[0]], n_features, length)
                columns.append(features)
                block = np.concatenate([block, np.arange(end, end + n_features)])
                end += n_features
            blocks.append(block)
        self.columns = np.hstack(columns)
        self.blocks = ColumnBlocks(tuple(blocks))
        self.is_feature = (np.arange(end + 1) >= own) & (np.arange(end + 1) < end)
        ridge = np.diag(np.where(self.is_feature[:-1], 0.0, self.prior.scale))
        self.grams = [bordered(gram + ridge) for gram in table.grams(self.columns)]


def smooth_features(
    x: Float[np.ndarray, " N"], n_features: int, length: float
) -> Float[np.ndarray, "N m"]:
    """The features of one standardised column; see `Features`. Zeros where x has too few values.

    The landmarks are the quantiles (j + 1/2) / J of x. With K = U diag(e) U' on them the features
    are k(x, landmarks) U_j / sqrt(e_j). A feature's sign is that of its largest value, so mirrored
    columns have mirrored features up to sign.
    """
    landmarks = np.quantile(x, (np.arange(_LANDMARKS) + 0.5) / _LANDMARKS)
    values, vectors = np.linalg.eigh(_kernel(landmarks, landmarks, length))
    values, vectors = values[::-1][:n_features], vectors[:, ::-1][:, :n_features]
    usable = values > 1e-9 * values[0]
    weights = vectors * np.where(usable, values, np.inf) ** -0.5
    # in pieces that stay in the cache
    raw = np.vstack(
        [_kernel(x[i : i + _ROWS], landmarks, length) @ weights for i in range(0, len(x), _ROWS)]
    )
    basis = _orthonormal(x)
    raw -= basis @ (basis.T @ raw)
    # what is left of few distinct values is rounding
    norms = np.sqrt((raw**2).mean(axis=0))
    return np.where(norms > 1e-7, raw, 0.0)


def _kernel(
    x: Float[np.ndarray, " N"], landmarks: Float[np.ndarray, " J"], length: float
) -> Float[np.ndarray, "N J"]:
    distance = np.subtract.outer(x, landmarks)
    np.square(distance, out=distance)
    distance *= -0.5 / length**2
    return np.exp(distance, out=distance)


def _orthonormal(x: Float[np.ndarray, " N"]) -> Float[np.ndarray, "N r"]:
    """An orthonormal basis of the span of 1 and x; of 1 alone if x is constant."""
    n = len(x)
    ones = np.full(n, n**-0.5)
    rest = x - x.mean()
    size = np.linalg.norm(rest)
    return np.column_stack([ones, rest / size]) if size > 0 else ones[:, None]


def feature_counts(
    is_feature: np.ndarray, columns: Int[np.ndarray, "F q"], empty: int
) -> tuple[Int[np.ndarray, " F"], Int[np.ndarray, " F"]]:
    """How many of each family's columns are the table's own, and how many are features."""
    features = is_feature[columns].sum(axis=1)
    return (columns != empty).sum(axis=1) - features, features
