"""What kinds of mechanisms, noise and variances a graph needs to explain a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int8

from causal_meta.scores.bge import BGePrior
from causal_meta.scores.class_gains import ClassGains
from causal_meta.scores.features import Features
from causal_meta.scores.mixture import Mixture
from causal_meta.scores.statistics import prepare

if TYPE_CHECKING:
    from causal_meta.datasets.real import Table

#: The columns of `mechanism_shares`.
KINDS = ("nonlinear", "other_noise", "varying")


def score_features(table: Table, scale: float | None = None) -> Features:
    """The columns of a table and their smooth features, under a prior of this scale."""
    categories = [
        int(table.x[:, v].max()) + 1 if name in table.categorical else 0
        for v, name in enumerate(table.columns)
    ]
    return Features(prepare(table.x, categories, table.intervened), BGePrior(t=scale))


def mechanism_shares(
    features: Features, graph: Int8[np.ndarray, "D D"]
) -> Float[np.ndarray, "D 3"]:
    """For every variable with its causes in `graph` the shares of the evidence that are from
    `KINDS`, under the widest assumptions (see `Mixture.class_shares`); NaN for the mechanism and
    the variance of a variable without causes."""
    mixture = Mixture(features, ClassGains(features), variance=True)
    result = np.full((len(graph), len(KINDS)), np.nan)
    for v, column in enumerate(graph.T):
        parents = np.flatnonzero(column)[None]
        shares = mixture.class_shares(v, parents)
        result[v, 1] = shares.other_noise[0]
        if parents.size:
            result[v, 0], result[v, 2] = shares.nonlinear[0], shares.varying[0]
    return result
