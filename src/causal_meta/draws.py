"""The result of a sampler: losses along its chains, their cost, and its adapted settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_meta.pareto import smoothed_weights

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Draws:
    """C chains of T draws of a local posterior, after warm-up.

    Fields:
        loss: L_n over all rows at each draw, in the sampler's float precision.
        centre_loss: L_n(w*), in the same precision.
        n_beta, gamma: nβ and γ of the posterior.
        distance: |w - w*|.
        projection: w - w* along K fixed random directions of unit length.
        gradients: gradients of the loss over all rows since the chain began, warm-up included (a
            minibatch of b rows counts b / n).
        energy, acceptance, divergent: None where the sampler has none.
        parameters: w, on request only.
        weights: log importance ratios of independent draws; without them the draws follow the
            approximation, not the posterior.
        virial: (w - w*) . grad U, summed over each of J groups of neighbouring parameters
            (`virial_groups`), for U = nβ (L_n - L_n(w*)) + (γ/2) |w - w*|² over all rows.
        virial_sizes: the number of parameters of each group. Integration by parts gives
            E[virial_j] = virial_sizes[j] on any landscape, which tests a sampler and reduces the
            error of λ̂ (`llc.estimates.controls`).
        row_moments: mean and variance over all draws of each row's loss, on request (functional
            variance).
        independent: whether the draws are independent (variational approximations), so that R-hat
            and autocorrelation have no meaning.
        corrected: whether a Metropolis step removes the bias of the step size; None: if there is an
            acceptance.
        seconds: wall times of `compile`, `warmup` and `sampling`.
        adapted: what was tuned, per chain.
        statistics: further numbers of the sampler.
    """

    loss: Float[np.ndarray, "C T"]
    centre_loss: float
    n_beta: float
    gamma: float
    distance: Float[np.ndarray, "C T"]
    projection: Float[np.ndarray, "C T K"]
    gradients: Float[np.ndarray, "C T"]
    energy: Float[np.ndarray, "C T"] | None = None
    acceptance: Float[np.ndarray, "C T"] | None = None
    divergent: Bool[np.ndarray, "C T"] | None = None
    parameters: Float[np.ndarray, "C T P"] | None = None
    weights: Float[np.ndarray, "C T"] | None = None
    virial: Float[np.ndarray, "C T J"] | None = None
    virial_sizes: tuple[int, ...] = ()
    row_moments: Float[np.ndarray, "2 n"] | None = None
    independent: bool = False
    corrected: bool | None = None

    seconds: Mapping[str, float] = field(default_factory=dict)
    adapted: Mapping[str, Any] = field(default_factory=dict)
    statistics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def llc(self) -> Float[np.ndarray, "C T"]:
        """λ̂ per draw: nβ (L_n(w) - L_n(w*)), in double precision."""
        return self.n_beta * (np.asarray(self.loss, np.float64) - float(self.centre_loss))

    @property
    def weighted_llc(self) -> Float[np.ndarray, "C T"]:
        """λ̂ per draw, times C T and its smoothed importance weight where there are weights,
        so that plain means are those of the posterior."""
        if self.weights is None:
            return self.llc
        return self.llc * smoothed_weights(self.weights)[0] * self.llc.size


def virial_groups(n_parameters: int, most: int = 16) -> Int[np.ndarray, " P"]:
    """The group of each of P parameters: min(P, `most`) runs of neighbours whose sizes differ by at
    most one.

    >>> virial_groups(5, most=2).tolist()
    [0, 0, 0, 1, 1]
    """
    groups = min(n_parameters, most)
    return np.arange(n_parameters) * groups // n_parameters
