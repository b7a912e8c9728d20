"""What a sampler leaves behind: losses along its chains, what they cost, and what it adapted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causal_meta.pareto import smoothed_weights

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Draws:
    """C chains of T draws of a local posterior, after warm-up.

    `loss` [C, T] is L_n over all rows at each draw, `centre_loss` L_n(w*), both in the sampler's
    float width; `distance` [C, T] is |w - w*|; `projection` [C, T, K] is w - w* on K fixed random
    directions of unit length. `energy`, `acceptance` and `divergent` [C, T] are None where the
    sampler has none. `parameters` [C, T, P] are kept on request only. `gradients` [C, T] counts
    gradients of the loss over all rows (a minibatch of b rows counts b / n) since the chain began,
    warm-up included. `seconds` has the wall times `compile`, `warmup` and `sampling`; `adapted`
    what was tuned, per chain. Draws of `independent=True` are no chain (variational
    approximations): neither R-hat nor autocorrelation means anything for them, and `weights` [C,
    T], if given, are their log importance ratios, without which they follow the approximation and
    not the posterior.

    `virial` [C, T, J] is (w - w*) . grad U summed over each of J groups of neighbouring parameters,
    for the exponent U = nβ (L_n - L_n(w*)) + (γ/2) |w - w*|² over all rows; group j holds
    `virial_sizes[j]` of the P parameters. Integration by parts says E[virial_j] = virial_sizes[j]
    for a right sampler of any landscape (Euler's identity), which both checks a sampler and lowers
    the error of λ̂ (`llc.estimates.controls`); samplers that hold the gradient record it at no
    cost, by `virial_groups`. `row_moments` [2, n] are mean and variance over all draws of each
    row's loss, on request (functional variance, WAIC). `corrected` says whether a Metropolis step
    takes the bias of the step size out (None: where there is an acceptance, there is).
    """

    loss: Floats
    centre_loss: float
    n_beta: float
    gamma: float
    distance: Floats
    projection: Floats
    gradients: Floats
    energy: Floats | None = None
    acceptance: Floats | None = None
    divergent: NDArray[np.bool_] | None = None
    parameters: Floats | None = None
    weights: Floats | None = None
    virial: Floats | None = None
    virial_sizes: tuple[int, ...] = ()
    row_moments: Floats | None = None
    independent: bool = False
    corrected: bool | None = None

    seconds: Mapping[str, float] = field(default_factory=dict)
    adapted: Mapping[str, Any] = field(default_factory=dict)
    statistics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def llc(self) -> Floats:
        """λ̂ per draw [C, T]: nβ (L_n(w) - L_n(w*)), in double precision."""
        return self.n_beta * (np.asarray(self.loss, np.float64) - float(self.centre_loss))

    @property
    def weighted_llc(self) -> Floats:
        """λ̂ per draw [C, T], times C T and its smoothed importance weight where there are weights,
        so that plain means are those of the posterior."""
        if self.weights is None:
            return self.llc
        return self.llc * smoothed_weights(self.weights)[0] * self.llc.size


def virial_groups(n_parameters: int, most: int = 16) -> NDArray[np.intp]:
    """The group of each of P parameters, [P]: min(P, `most`) runs of neighbours whose sizes differ
    by at most one.

    >>> virial_groups(5, most=2).tolist()
    [0, 0, 0, 1, 1]
    """
    groups = min(n_parameters, most)
    return np.arange(n_parameters) * groups // n_parameters
