"""What speaks against an answer, in sentences with their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from causal_meta.models.bayesian.model_checks import halves_disagree, residual_dependence
from causal_meta.posteriors.pooled_graphs import PooledGraphs

if TYPE_CHECKING:
    from causal_meta.runners.inference.answers import Discovery

#: Halves disagree if they are this many times further apart than calibrated ones may be, and by
#: more than `LEAST_APART` edges.
TOO_FAR = 2.0
LEAST_APART = 2.0
#: The largest Monte Carlo standard error of an edge probability that needs no warning.
IMPRECISE = 0.1
#: The end of the names of members that saw half of the rows.
HALF = " (half)"


def signs_against(answer: Discovery) -> list[str]:
    """Signs that the assumptions behind an answer fail; empty if there is none."""
    return [*_chains(answer), *_residuals(answer), *_halves(answer), *_contexts(answer)]


def _chains(answer: Discovery) -> list[str]:
    """Whether the chains were long enough for the edges."""
    error = answer.posterior.diagnostics.edge_error
    if error is None or error <= IMPRECISE:
        return []
    return [
        f"The chains differ: the probability of some edge has a Monte Carlo standard error of "
        f"{error:.2f}. More of them or longer ones (chains=16, --n-samples 4000) make it smaller."
    ]


def _residuals(answer: Discovery) -> list[str]:
    left = residual_dependence(answer.features, answer.graph, answer.probabilities)
    if not left.dependent:
        return []
    first, second = (answer.columns[i] for i in left.pair)
    return [
        f"{left.dependent} of {left.tested} pairs of variables without an edge remain dependent "
        f"given their causes in the best graph, most of all {first} and {second} (rank "
        f"correlation of residuals {left.correlation:+.2f}): a common cause may be missing from "
        "the table, or the mechanisms are not additive."
    ]


def _halves(answer: Discovery) -> list[str]:
    """Compare members of one kind from disjoint halves."""
    if not isinstance(answer.posterior, PooledGraphs):
        return []
    names = answer.posterior.diagnostics.members
    p = answer.posterior.members[0].numpy()
    places: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        if name.endswith(HALF):
            places.setdefault(name, []).append(i)
    pairs = [pair for pair in places.values() if len(pair) == 2]
    if not pairs:
        return []
    apart, allowed = np.mean([halves_disagree(p[a], p[b]) for a, b in pairs], axis=0)
    if apart < LEAST_APART or apart < TOO_FAR * allowed:
        return []
    return [
        f"Disjoint halves of the rows give answers that are {apart:.1f} edges apart, where "
        f"{allowed:.1f} is the most that their own uncertainty allows: the rows may not come from "
        "one system, or the assumptions fail."
    ]


def _contexts(answer: Discovery) -> list[str]:
    sentences = []
    for name in answer.table.context:
        row = answer.probabilities[answer.columns.index(name)]
        changed = [answer.columns[j] for j in np.flatnonzero(row > 0.5)]
        if changed:
            sentences.append(
                f"The context {name} acts on {', '.join(changed)}: these variables differ between "
                "its values in ways that their other causes do not explain."
            )
    return sentences
