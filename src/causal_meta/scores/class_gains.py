"""What classes of noise and variance gain over Gaussian noise of constant variance, by family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from causal_meta.scores.additive import Additive
from causal_meta.scores.bge import ColumnBlocks
from causal_meta.scores.features import Features
from causal_meta.scores.noise import CLASSES, noise_gains, tie_spacing
from causal_meta.scores.variance import expected_gain, variance_fits

MAX_ROWS = 2000  # rows from which gains are computed
_FEW_ROWS = 5  # tell nothing of a density
_CELLS = 1 << 21  # numbers that the columns of a chunk of families hold
_PROMISE = -3.0  # nats that a varying variance must promise, by the quadratic expansion
_REMEMBERED = 1 << 19  # families
_SCALE_FEATURES = 3  # smooth features of a parent that its log scale depends on


class ClassGains:
    """The gains of families, computed once each; shared by mixtures of the same table.

    The mean of a family is that of the additive mechanism with its best s; its residuals give the
    gains of `noise_gains`. A varying variance is fitted (`variance_fits`) where the quadratic
    expansion at a constant one promises more than -3 nats. Its log scale depends on each parent
    (clipped at 3 standard deviations) and on its 3 leading features.

    Of more than 2,000 rows, 2,000 evenly spaced ones are used, and the gain is theirs: it is not
    extrapolated, so it understates what all rows would say. A family whose residual sum of squares
    is below the prior's t gains nothing: its residuals are the prior's.

    Args:
        features: the table.
        additive: a score of it whose tables are made anyway.
    """

    def __init__(self, features: Features, additive: Additive | None = None) -> None:
        self._features, self._additive = features, additive or Additive(features)
        table = features.table
        self._sizes = table.sizes()
        self._rows = [_spaced(rows) for rows in table.groups]
        scales, blocks = _scale_columns(features)
        self._scale_blocks = ColumnBlocks(blocks)
        # columns first, so that a family's columns are rows of memory
        self._columns = [_centred(features.columns[rows]) for rows in self._rows]
        self._scales = [_centred(scales[rows]) for rows in self._rows]
        self._scale_grams = [scales @ scales.T for scales in self._scales]
        self._spacing = [
            tie_spacing(table.values[rows, block[0]]) if table.codes[v] is None else 0.0
            for v, block in enumerate(table.blocks)
            for rows in [self._rows[table.group_of[v]]]
        ]
        self._known: dict[tuple[str, int, bytes], NDArray[np.float64]] = {}

    def enough(self, node: int) -> bool:
        """Whether the node has rows enough for a density."""
        return len(self._rows[self._features.table.group_of[node]]) >= _FEW_ROWS

    def constant(self, node: int, parents: Int[np.ndarray, "F p"]) -> Float[np.ndarray, "F c"]:
        """The gains of noise classes with constant variance; parents rising."""
        return self._remembered(self._constant_gains, node, parents)

    def varying(
        self, node: int, parents: Int[np.ndarray, "F p"]
    ) -> tuple[Float[np.ndarray, " F"], Float[np.ndarray, "F c"]]:
        """The gain of a variance that depends on the parents, -inf where it promises nothing, and
        the gains of noise classes beyond it; parents rising."""
        gains = self._remembered(self._varying_gains, node, parents)
        return gains[:, 0], gains[:, 1:]

    def _remembered(
        self,
        compute: Callable[[int, NDArray[np.int64]], NDArray[np.float64]],
        node: int,
        parents: Int[np.ndarray, "F p"],
    ) -> Float[np.ndarray, "F k"]:
        """The rows that `compute` gives, each computed once, in chunks of bounded memory."""
        keys = [(compute.__name__, node, row.tobytes()) for row in parents]
        gains = {key: self._known[key] for key in keys if key in self._known}
        unknown = [k for k, key in enumerate(keys) if key not in gains]
        step = max(1, _CELLS // len(self._rows[self._features.table.group_of[node]]))
        for start in range(0, len(unknown), step):
            part = unknown[start : start + step]
            rows = compute(node, parents[part])
            gains.update((keys[k], row) for k, row in zip(part, rows, strict=True))
        if len(self._known) + len(unknown) > _REMEMBERED:
            self._known = {}
        self._known.update(gains)
        return np.array([gains[key] for key in keys])

    def _constant_gains(self, node: int, parents: NDArray[np.int64]) -> NDArray[np.float64]:
        residuals, doubt, informed, _, _ = self._fitted(node, parents)
        gains = np.zeros((len(parents), len(CLASSES)))
        if informed.any():
            h = np.full(int(informed.sum()), self._spacing[node])
            gains[informed] = noise_gains(residuals[informed], h, doubt[informed])
        return gains

    def _varying_gains(self, node: int, parents: NDArray[np.int64]) -> NDArray[np.float64]:
        residuals, doubt, informed, columns, ridge = self._fitted(node, parents)
        gains = np.zeros((len(parents), len(CLASSES) + 1))
        gains[:, 0] = -np.inf
        group = self._features.table.group_of[node]
        values, scales = self._columns[group], self._scales[group]
        y = values[self._features.table.blocks[node][0]]
        of_scale, _ = self._scale_blocks.columns(parents)
        precision = np.where(ridge > 0, ridge, self._features.prior.scale)
        width = columns.shape[1] + of_scale.shape[1] + 1
        step = max(1, _CELLS // (len(y) * width))
        chosen = np.flatnonzero(informed)
        if len(chosen):
            promised = expected_gain(
                residuals[chosen], scales, self._scale_grams[group], of_scale[chosen]
            )
            chosen = chosen[promised > _PROMISE]
        for start in range(0, len(chosen), step):
            part = chosen[start : start + step]
            w = scales[of_scale[part]].transpose(0, 2, 1)
            x = values[columns[part]].transpose(0, 2, 1)
            fits = variance_fits(y, x, precision[part], w)
            gains[part, 0] = fits.gain
            units = (fits.residuals**2).mean(axis=1) / (residuals[part] ** 2).mean(axis=1)
            units = np.sqrt(units)
            gains[part, 1:] = noise_gains(
                fits.residuals, self._spacing[node] * units, doubt[part] * units
            )
        return gains

    def _fitted(self, node: int, parents: NDArray[np.int64]) -> tuple[Any, ...]:
        """Residuals of the additive mean; the root mean square posterior deviation of that mean;
        which residuals are more than the prior's ridge; the columns of the mean, and what the Gram
        matrix lacks on their diagonal."""
        best = self._remembered(self._best_mechanisms, node, parents)[:, 0].astype(np.int64)
        columns, ridge = self._columns_of(parents, best)
        residuals, n_parameters = self._residuals(node, columns, ridge)
        squares = (residuals**2).sum(axis=1)
        n = int(self._sizes[self._features.table.group_of[node]])
        doubt = np.sqrt(n_parameters / n * squares / residuals.shape[1])
        return residuals, doubt, squares > self._features.prior.scale, columns, ridge

    def _best_mechanisms(self, node: int, parents: NDArray[np.int64]) -> NDArray[np.float64]:
        return self._additive.best_mechanisms(node, parents)[:, None].astype(float)

    def _columns_of(
        self, parents: Int[np.ndarray, "F p"], best: Int[np.ndarray, " F"]
    ) -> tuple[Int[np.ndarray, "F q"], Float[np.ndarray, "F q"]]:
        """The columns of each family's best mechanism, and what the Gram matrix lacks on their
        diagonal."""
        features = self._features
        scales, products = zip(*self._additive.mechanisms, strict=True)
        has_products = np.array(products)[best]
        columns = features.of(parents, bool(has_products.any()))
        unused = features.is_product[columns] & ~has_products[:, None]
        columns = np.where(unused, features.empty, columns)
        of_scale = np.array([features.precisions(s, parents.shape[1]) for s in scales])
        return columns, of_scale[best[:, None], columns]

    def _residuals(
        self, node: int, columns: Int[np.ndarray, "F q"], ridge: Float[np.ndarray, "F q"]
    ) -> tuple[Float[np.ndarray, "F n"], Float[np.ndarray, " F"]]:
        """The node less its mean under the additive mechanism, fitted to all rows, and the
        effective number of parameters of that mean, the trace of I - P M^-1."""
        group = self._features.table.group_of[node]
        gram, values = self._features.grams[group], self._columns[group]
        target = self._features.table.blocks[node][0]
        y = values[target]
        if not columns.shape[1]:
            return np.broadcast_to(y, (len(columns), len(y))).copy(), np.zeros(len(columns))
        matrices = gram[columns[:, :, None], columns[:, None, :]]
        diagonal = np.arange(columns.shape[1])
        matrices[:, diagonal, diagonal] += ridge
        inverse = np.linalg.inv(matrices)
        b = (inverse @ gram[columns, target][:, :, None])[:, :, 0]
        weights = np.zeros((len(columns), len(gram)))
        np.put_along_axis(weights, columns, b, axis=1)
        precision = np.where(ridge > 0, ridge, self._features.prior.scale)
        shrunk = np.diagonal(inverse, axis1=1, axis2=2) * precision
        return y - weights @ values, np.maximum(0, 1 - shrunk).sum(axis=1)


def _spaced(rows: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """At most `MAX_ROWS` of the rows, evenly spaced."""
    if len(rows) <= MAX_ROWS:
        return rows
    return rows[np.linspace(0, len(rows) - 1, MAX_ROWS).astype(np.int64)]


def _centred(columns: Float[np.ndarray, "n C"]) -> Float[np.ndarray, "C+1 n"]:
    """Columns as rows of memory, with mean 0, and an empty one behind them."""
    out = np.zeros((columns.shape[1] + 1, len(columns)))
    if len(columns):
        np.subtract(columns.T, columns.mean(axis=0)[:, None], out=out[:-1])
    return out


def _scale_columns(
    features: Features,
) -> tuple[Float[np.ndarray, "N C"], tuple[Int[np.ndarray, " c"], ...]]:
    """The columns that log scales depend on, of variance near 1, and which of them belong to each
    variable."""
    table, columns, blocks, end = features.table, [], [], 0
    for v, own in enumerate(table.blocks):
        smooth = features.columns[:, features.blocks[v][len(own) :][:_SCALE_FEATURES]]
        size = smooth.std(axis=0)
        smooth = smooth / np.where(size > 1e-6, size, np.inf)
        columns += [np.clip(table.values[:, own], -3, 3), smooth]
        blocks.append(np.arange(end, end + len(own) + smooth.shape[1]))
        end = int(blocks[-1][-1]) + 1 if len(blocks[-1]) else end
    return np.hstack(columns), tuple(blocks)
