"""Total causal effects under linear mechanisms, averaged over graphs of a posterior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Int8

#: The probability that an interval covers.
COVERED = 0.9
#: The precision of the prior over coefficients of standardised columns, as in the BGe score.
RIDGE = 0.5
# the largest ratio of two units: what a sum over graphs can hold
_MOST = 1e300
#: Graphs are used up to about this many entries of [S, D, D].
ENTRIES = 1 << 24


@dataclass(frozen=True, eq=False)
class TotalEffects:
    """The total effect of every variable on every other: the change in the expectation of j, in its
    units, when i is set to a value one unit higher. 0 where i is no ancestor of j.

    Args:
        mean: posterior means over graphs and coefficients.
        low, high: ends of the central interval that holds `COVERED` of the draws.
        ancestor: the probability that i causes j, directly or through others.
    """

    mean: Float[np.ndarray, "D D"]
    low: Float[np.ndarray, "D D"]
    high: Float[np.ndarray, "D D"]
    ancestor: Float[np.ndarray, "D D"]


def total_effects(
    x: Float[np.ndarray, "N D"],
    graphs: Int8[np.ndarray, "S D D"],
    generator: np.random.Generator,
    usable: Bool[np.ndarray, "N D"] | None = None,
) -> TotalEffects:
    """Draw one set of coefficients for each graph, and summarise (I - B)^-1 - I over the draws.

    For the standardised columns, given the parents P of v: the coefficients are normal with mean
    (S_PP + t I)^-1 S_Pv and covariance s^2 (S_PP + t I)^-1, s^2 the residual variance, t = `RIDGE`
    (the conditional posterior under the prior of the BGe score with s^2 at its estimate). The
    linear part of a mechanism is what this describes: for a nonlinear one it is the average slope.

    Args:
        x: rows as measured.
        graphs: draws of acyclic graphs from the posterior.
        generator: for the coefficients.
        usable: the cells that were not set by interventions; None: all. A row in which v was set
            is left out of the regression of v.
    """
    n_nodes = x.shape[1]
    graphs = graphs[: max(50, ENTRIES // n_nodes**2)]
    z, scale = _standardised(x)
    direct = np.zeros(graphs.shape)
    for v in range(n_nodes):
        rows = z if usable is None else z[usable[:, v]]
        _draw_coefficients(direct, graphs, v, rows, generator)
    total = np.linalg.inv(np.eye(n_nodes) - direct) - np.eye(n_nodes)
    with np.errstate(over="ignore", under="ignore"):
        units = scale / scale[:, None]
    reached = _reached(graphs)
    # per unit of the cause, in units of the effect; rounding of the inverse is no effect
    total = np.where(reached, total * np.clip(units, 0, _MOST), 0.0)
    tail = (1 - COVERED) / 2
    low, high = np.quantile(total, (tail, 1 - tail), axis=0)
    return TotalEffects(total.mean(axis=0), low, high, reached.mean(axis=0))


def _standardised(
    x: Float[np.ndarray, "N D"],
) -> tuple[Float[np.ndarray, "N D"], Float[np.ndarray, " D"]]:
    """The standardised columns, and their standard deviations (1 of a constant column)."""
    _, exponents = np.frexp(np.abs(x).max(axis=0))
    small = np.ldexp(x, -exponents)  # below 1: squares neither overflow nor vanish
    scale = small.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    return (small - small.mean(axis=0)) / scale, np.ldexp(scale, exponents)


def _draw_coefficients(
    direct: Float[np.ndarray, "S D D"],
    graphs: Int8[np.ndarray, "S D D"],
    v: int,
    rows: Float[np.ndarray, "N D"],
    generator: np.random.Generator,
) -> None:
    """Fill column v of `direct`: all graphs in which v has equally many parents at once."""
    centred = rows - rows.mean(axis=0)
    s = centred.T @ centred + RIDGE * np.eye(rows.shape[1])
    parents = graphs[:, :, v] != 0
    for count in np.unique(parents.sum(axis=1)):
        if count == 0:
            continue
        which = np.flatnonzero(parents.sum(axis=1) == count)
        places: Int[np.ndarray, "M p"] = np.nonzero(parents[which])[1].reshape(-1, count)
        factor = np.linalg.cholesky(s[places[:, :, None], places[:, None, :]])
        cross = s[places, v][:, :, None]
        half = np.linalg.solve(factor, cross)
        variance = (s[v, v] - (half**2).sum(axis=(1, 2))) / max(len(rows), 1)
        noise = np.sqrt(np.maximum(variance, 0))[:, None, None] * generator.standard_normal(
            half.shape
        )
        coefficients = np.linalg.solve(factor.swapaxes(1, 2), half + noise)
        direct[which[:, None], places, v] = coefficients[:, :, 0]


def _reached(graphs: Int8[np.ndarray, "S D D"]) -> Bool[np.ndarray, "S D D"]:
    """Whether i is an ancestor of j, by squaring paths."""
    reach = graphs != 0
    for _ in range(max(1, int(np.ceil(np.log2(graphs.shape[-1]))))):
        paths = reach.astype(np.float32)
        reach = reach | (paths @ paths > 0)
    return reach
