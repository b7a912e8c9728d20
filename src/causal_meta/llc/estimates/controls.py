"""Control variates of λ̂ from integration by parts, and the check of a sampler that they are.

For a density p ∝ exp(-U) on R^P and a smooth vector field f, E[div f - f . grad U] = 0 (Stein's
identity; Assaraf and Caffarel 1999, Mira, Solgi and Imparato 2013 use it for zero-variance Monte
Carlo). With x = w - w*, l = nβ (L_n(w) - L_n(w*)) and U = l + (γ/2) |x|², the fields that need
nothing but the loss, the distance and the virial x . grad U are

    f = x on a group j of parameters    z_j = P_j - x_j . grad_j U
    f = γ |x|² x                        z   = γ |x|² (P + 2 - x . grad U)
    f = l x                             z   = l (P - x . grad U) + x . grad l

On a quasi-homogeneous loss, l = Σ_j x_j . grad_j l / k_j, the first line alone takes away all of
the variance of l but that of γ |x|²: for a power sum λ̂ is then known from a handful of draws.
Where curvature changes along valleys less is won.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from causal_meta.draws import Draws
from causal_meta.llc.estimates.diagnostics import ess_mean, mcse

Floats = NDArray[np.floating]

TAKEN: Final = 1 / 2
"""Share of the regression that is taken off, so that no error is below half of the bare one: a
narrow valley that no chain has entered moves the means of the identities by less than their own
errors show, and all that is taken off with them. On y = x w1 w2² chains of HMC, NUTS and MCLMC were
2 to 5 % low, and 2 % high at an error of 0.3 % with all of the regression taken off."""

REPAIRED: Final = 29 / 30
"""The same where the identities fail as the step of an uncorrected sampler lets them: then they
measure its bias. What is left keeps an error that the draws show."""

MOST_MOVED: Final = 1.5
"""How far control variates may move λ̂, in bare standard errors. The half of a regression that they
take off has at most half of one, so that a right mean moves by three times that in 1 of 400 runs:
beyond, either mean may be the one that lies, and the error is at least their difference."""


def controls(draws: Draws) -> Floats | None:
    """The control variates z [C, T, J + 2] of a run, each of mean zero under its posterior; None if
    it kept no virial."""
    if draws.virial is None:
        return None
    virial = np.asarray(draws.virial, np.float64)
    sizes = np.asarray(draws.virial_sizes, np.float64)
    if virial.shape[2:] != sizes.shape:
        raise ValueError(
            f"the draws have {virial.shape[2]} virials and sizes of {len(sizes)} groups; give one "
            "size per group."
        )
    total, size = virial.sum(2), float(sizes.sum())
    spring = draws.gamma * np.asarray(draws.distance, np.float64) ** 2
    loss = draws.llc
    crossed = np.stack(
        [spring * (size + 2 - total), loss * (size - total) + (total - spring)], axis=2
    )
    return np.concatenate([sizes - virial, crossed], axis=2)


@dataclass(frozen=True)
class Controlled:
    """A series with its control variates taken off: `series` [C, T], and the mean `shift` that they
    took off."""

    series: Floats
    shift: float


def controlled(
    series: Floats, variates: Floats, weights: Floats | None = None, share: float = TAKEN
) -> Controlled:
    """`series` [C, T] less `share` of its regression on `variates` [C, T, K] (mean zero).

    The coefficients for each chain come from the other chains, so that chance agreement within a
    chain biases nothing; one chain alone uses its own. `weights` [C, T] sum to one over all draws;
    without them all draws count alike.
    """
    chains = len(series)
    if not np.isfinite(variates).all():
        return Controlled(series, 0.0)
    scale = np.sqrt(
        (variates**2).mean((0, 1))
        if weights is None
        else np.einsum("ct,ctk->k", weights, variates**2)
    )
    scaled = variates[:, :, scale > 0] / scale[scale > 0]
    if scaled.shape[2] == 0:
        return Controlled(series, 0.0)
    root = np.ones_like(series) if weights is None else np.sqrt(weights * weights.size)
    out = np.empty_like(series)
    for chain in range(chains):
        others = [other for other in range(chains) if other != chain] or [chain]
        out[chain] = series[chain] - share * scaled[chain] @ _coefficients(
            series[others], scaled[others], root[others]
        )
    difference = series - out
    return Controlled(
        out, float(difference.mean() if weights is None else (weights * difference).sum())
    )


def _coefficients(series: Floats, variates: Floats, root: Floats) -> Floats:
    """Least squares of `series` on `variates` and a constant; directions that hardly vary get
    none."""
    columns = variates.reshape(-1, variates.shape[2])
    design = np.concatenate([np.ones((len(columns), 1)), columns], axis=1) * root.reshape(-1, 1)
    solution, *_ = np.linalg.lstsq(design, series.reshape(-1) * root.reshape(-1), rcond=1e-8)
    return solution[1:]


class Violation(NamedTuple):
    """The largest |mean / standard error| of all identities, and the mean of P - x . grad U in
    parameters (`gap`) and in its standard errors.

    `law_score` is the score where no identity is known from more effective draws than |w - w*|² is:
    what balances an identity are rare draws far out, and chains that renew their distance seldom
    have met few of them, whatever the autocorrelation of the identity itself.
    """

    score: float
    law_score: float
    gap: float
    gap_score: float

    @property
    def of_steps(self) -> bool:
        """Whether the virial is too large by more than chance, as uncorrected steps of a finite
        size make it."""
        return self.gap_score < -3.0


def worst_violation(draws: Draws, weights: Floats | None = None) -> Violation | None:
    """How far all identities (`controls`, and the sum P - x . grad U of the first kind) are from
    their mean of zero.

    A right sampler gives a value of a normal law for each; a sampler of another law is off by many.
    Chains that a step too large for narrow valleys keeps out of them, which R-hat and the other
    identities do not show, are off by ten in the identity of γ |x|² x. For one Langevin step of
    size ε without correction the mean of the sum is exactly -(ε/4) E|grad U|²: twice its bias on a
    quadratic loss, with the other sign. Independent draws come with `weights` [C, T] that sum to
    one. None without virials, or where they are not finite.
    """
    variates = controls(draws)
    if variates is None or not np.isfinite(variates).all():
        return None
    total = variates[:, :, :-2].sum(2)
    series = [values for values in (total, *np.moveaxis(variates, 2, 0)) if np.ptp(values) > 0]
    scores = [_score(values, weights) for values in series]
    known = [1.0] * len(series)
    if weights is None:
        far = ess_mean(np.asarray(draws.distance, np.float64) ** 2)
        known = [min(1.0, math.sqrt(far / ess_mean(values))) for values in series]
    gap = float(total.mean() if weights is None else (weights * total).sum())
    worst = max((abs(score) for score in scores), default=0.0)
    lawful = max(
        (abs(score) * share for score, share in zip(scores, known, strict=True)), default=0.0
    )
    return Violation(worst, lawful, gap, scores[0] if np.ptp(total) > 0 else 0.0)


def _score(values: Floats, weights: Floats | None) -> float:
    """Mean / standard error of chains, or of weighted independent draws."""
    if weights is None:
        return float(values.mean()) / max(mcse(values), 1e-300)
    mean = float((weights * values).sum())
    return mean / max(float(np.sqrt((weights**2 * (values - mean) ** 2).sum())), 1e-300)
