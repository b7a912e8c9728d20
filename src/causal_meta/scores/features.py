"""Smooth nonlinear features of each variable, with one Gram matrix over all of them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

from causal_meta.scores.bge import BGePrior, ColumnBlocks, bordered
from causal_meta.scores.statistics import Table

_LANDMARKS = 100  # quantiles that carry the features of a variable
_MOST_PAIRS = 2000  # beyond, products are left out
_MOST_CELLS = 1 << 26  # of products
_ROWS = 1024  # rows whose kernel is computed at once


class Features:
    """The columns of a table, m smooth features of each continuous variable, and products of pairs.

    The sum of products of features approximates the kernel k(x, x') = exp(-(x - x')^2 / (2 l^2)):
    they are its m leading eigenfunctions on quantiles of x (Nystroem), times the root of their
    eigenvalues, projected off 1 and x. So a weight of each feature drawn from N(0, s) is a Gaussian
    process of variance s less its linear part. Categorical variables have none: their indicators
    are all functions of them. A pair of continuous variables has the product of the two (clipped at
    3 standard deviations, then standardised), unless there are too many pairs for memory.

    Attributes:
        columns: the columns of the table, then the features, then the products.
        blocks: the columns of each variable, without products.
        products: the column of each pair's product, the empty column where there is none; None if
            pairs have no products.
        is_smooth, is_product: which columns are features or products, and products; one entry more
            for the empty column, which is neither.
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
        interactions: bool = True,
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
        pairs = _pairs(table) if interactions else []
        self.empty = end + len(pairs)
        self.products: Int[np.ndarray, "D D"] | None = None
        if pairs:
            columns.append(_products(table, pairs))
            self.products = np.full((table.n_nodes,) * 2, self.empty)
            for k, (u, w) in enumerate(pairs):
                self.products[u, w] = self.products[w, u] = end + k
        self.columns = np.hstack(columns)
        self.blocks = ColumnBlocks(tuple(blocks), self.empty)
        index = np.arange(self.empty + 1)
        self.is_smooth = (index >= own) & (index < self.empty)
        self.is_product = (index >= end) & (index < self.empty)
        ridge = np.diag(np.where(self.is_smooth[:-1], 0.0, self.prior.scale))
        self.grams = [bordered(gram + ridge) for gram in table.grams(self.columns)]

    def of(self, parents: Int[np.ndarray, "F p"], products: bool) -> Int[np.ndarray, "F q"]:
        """The columns of each family's mechanism, with or without products of its pairs."""
        columns, _ = self.blocks.columns(parents)
        if not products or self.products is None:
            return columns
        first, second = np.triu_indices(parents.shape[1], 1)
        return np.hstack([columns, self.products[parents[:, first], parents[:, second]]])

    def precisions(self, s: float, n_parents: int) -> Float[np.ndarray, " C"]:
        """What the Gram matrix lacks on its diagonal under scale s: 1/s for features, p/s for
        products, 1 for the empty column."""
        precision = self.is_smooth / s
        precision[self.is_product] *= max(1, n_parents)
        precision[-1] = 1.0
        return precision


def _pairs(table: Table) -> list[tuple[int, int]]:
    """Pairs of continuous variables; none if there are too many."""
    continuous = [v for v in range(table.n_nodes) if table.codes[v] is None]
    n_pairs = len(continuous) * (len(continuous) - 1) // 2
    if n_pairs > _MOST_PAIRS or n_pairs * len(table.values) > _MOST_CELLS:
        return []
    return list(combinations(continuous, 2))


def _products(table: Table, pairs: list[tuple[int, int]]) -> Float[np.ndarray, "N R"]:
    values = np.clip(table.values, -3, 3)
    first, second = (np.array([table.blocks[pair[k]][0] for pair in pairs]) for k in (0, 1))
    products = values[:, first] * values[:, second]
    products -= products.mean(axis=0)
    size = products.std(axis=0)
    products /= np.where(size > 1e-7, size, np.inf)
    return products


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
