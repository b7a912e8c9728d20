"""One table, scored under several sets of assumptions that share its statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from causal_meta.scores.bge import BGe, BGePrior
from causal_meta.scores.class_gains import ClassGains
from causal_meta.scores.features import Features
from causal_meta.scores.local_score import LocalScore
from causal_meta.scores.mixture import Mechanisms, Mixture, MixtureWeights
from causal_meta.scores.statistics import prepare

ASSUMPTIONS = ("linear", "additive", "noise", "variance")


def assumption_scores(
    x: Float[np.ndarray, "N D"],
    categories: Sequence[int] | None = None,
    intervened: Bool[np.ndarray, "N D"] | None = None,
    prior: BGePrior | None = None,
    weights: MixtureWeights | None = None,
) -> dict[str, LocalScore]:
    """The local scores of a table under nested assumptions:

        linear      linear mechanisms, Gaussian noise (`BGe`)
        additive    linear or additive mechanisms, Gaussian noise
        noise       the same, with noise of any density
        variance    the same, with a variance that may depend on the parents

    The last three are `Mixture`s. Gram matrices, features and the gains of noise classes are made
    once. No assumption deserves all trust: pool their posteriors.

    Args:
        x: the data; a categorical column holds codes.
        categories: per variable, the number of its categories, 0 for a continuous one.
        intervened: cells that were set by an intervention; they are left out of the scores of their
            own variables.

    Raises:
        ValueError: a table that cannot be scored; see `prepare`.
    """
    features = Features(prepare(x, categories, intervened), prior)
    weights = weights or MixtureWeights()
    shared = Mechanisms(features, weights.additive)
    gains = ClassGains(features, shared.additive)
    return {
        "linear": BGe(features.table, features.prior),
        "additive": Mixture(features, weights=weights, mechanisms=shared),
        "noise": Mixture(features, gains, weights=weights, mechanisms=shared),
        "variance": Mixture(features, gains, True, weights, shared),
    }
