"""Functions of sets, as tables over bit masks, and their sums over subsets in log space.

Entry m of a table of 2^K numbers belongs to the set of the bits of m. All sums are of positive
terms, by log-sum-exp with the maximum taken out: nothing is subtracted, so no digits are lost
however far apart the entries are.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int64


def over_subsets(
    table: Float[np.ndarray, "*batch M"], join: np.ufunc = np.logaddexp
) -> Float[np.ndarray, "*batch M"]:
    """Entry m: `join` of the entries b with b a subset of m, by the zeta transform in K M / 2
    joins.

    With `np.logaddexp` (the default) it is the log of the sum of exp(table), with `np.maximum` the
    largest entry. The subsets are joined in an order that depends on m alone, so that entries of
    -inf change no bit of the others.

    >>> over_subsets(np.array([0.0, 1.0, 5.0, 2.0]), np.add).tolist()
    [0.0, 1.0, 5.0, 8.0]
    """
    return _joined(table, join, take=0, give=1)


def over_supersets(
    table: Float[np.ndarray, "*batch M"], join: np.ufunc = np.logaddexp
) -> Float[np.ndarray, "*batch M"]:
    """Entry m: `join` of the entries b with b a superset of m; see `over_subsets`."""
    return _joined(table, join, take=1, give=0)


def _joined(table: np.ndarray, join: np.ufunc, take: int, give: int) -> np.ndarray:
    out = np.array(table, dtype=np.float64)
    size, step = out.shape[-1], 1
    while step < size:
        halves = out.reshape(-1, 2, step)
        join(halves[:, give], halves[:, take], out=halves[:, give])
        step *= 2
    return out


def sizes(n_bits: int) -> Int64[np.ndarray, " M"]:
    """The number of bits of each mask below 2^n_bits."""
    return sums_of_members(np.ones(n_bits, np.int64))


def sums_of_members(
    values: Float[np.ndarray, "*batch K"],
) -> Float[np.ndarray, "*batch M"]:
    """Entry m: the sum of `values[k]` over the bits k of m, in M additions.

    >>> sums_of_members(np.array([1.0, 10.0])).tolist()
    [0.0, 1.0, 10.0, 11.0]
    """
    n_bits = values.shape[-1]
    out = np.zeros((*values.shape[:-1], 1 << n_bits), values.dtype)
    for k in range(n_bits):
        step = 1 << k
        out[..., step : 2 * step] = out[..., :step] + values[..., k, None]
    return out


def masks_of(members: Bool[np.ndarray, "*batch K"]) -> Int64[np.ndarray, "*batch"]:
    """The bit mask of each set of at most 62 members."""
    weights = np.int64(1) << np.arange(members.shape[-1], dtype=np.int64)
    return (members.astype(np.int64) * weights).sum(axis=-1)


def members_of(masks: Int64[np.ndarray, "*batch"], n_bits: int) -> Bool[np.ndarray, "*batch K"]:
    """The inverse of `masks_of`."""
    return (np.asarray(masks)[..., None] >> np.arange(n_bits)) & 1 != 0
