"""Control variates of λ̂ from integration by parts, which also test whether a sampler is correct.

For a density p ∝ exp(-U) on R^P and a smooth vector field f, E[div f - f . grad U] = 0 (Stein's
identity; Assaraf and Caffarel 1999, Mira, Solgi and Imparato 2013 use it for zero-variance Monte
Carlo). With x = w - w*, l = nβ (L_n(w) - L_n(w*)) and U = l + (γ/2) |x|², these fields need only
the loss, the distance and the virial x . grad U:

    f = x on a group j of parameters    z_j = P_j - x_j . grad_j U
    f = γ |x|² x                        z   = γ |x|² (P + 2 - x . grad U)
    f = l x                             z   = l (P - x . grad U) + x . grad l

On a quasi-homogeneous loss, l = Σ_j x_j . grad_j l / k_j, the first line alone removes all of the
variance of l except that of γ |x|²: for a power sum λ̂ is then known from a handful of draws. The
gain is smaller where the curvature changes along valleys.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from jaxtyping import Float

from causal_meta.draws import Draws
from causal_meta.llc.estimates.diagnostics import ess_mean, mean_error

Floats = NDArray[np.floating]

SUBTRACTED: Final = 1 / 2
"""Share of the regression on the control variates that is subtracted, so that no error is below
half of the uncontrolled one. A narrow valley that no chain has entered shifts the means of the
identities by less than their standard errors show, and a full regression would trust them: on
y = x w1 w2² chains of HMC, NUTS and MCLMC were 2 to 5 % low, and with the full regression 2 % high
at an error of 0.3 %."""

SUBTRACTED_IF_BIASED: Final = 29 / 30
"""The same share where the identities fail by the step size of an uncorrected sampler, and so
measure its bias. The rest keeps an error that is estimated from the draws."""

LARGEST_SHIFT: Final = 1.5
"""How far control variates may move λ̂, in uncontrolled standard errors. The half of the regression
that they subtract has a standard deviation of at most 1/2, so that a correct mean moves by more
than this in 1 of 400 runs. Beyond it either mean may be wrong, and the error is at least their
difference."""


def controls(draws: Draws) -> Float[np.ndarray, "C T J+2"] | None:
    """The control variates z of a run, each of mean zero under its posterior; None if the draws
    have no virial."""
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
    """A series less its regression on control variates: `series` [C, T], and the mean `shift` that
    was subtracted."""

    series: Floats
    shift: float


def controlled(
    series: Float[np.ndarray, "C T"],
    variates: Float[np.ndarray, "C T K"],
    weights: Float[np.ndarray, "C T"] | None = None,
    share: float = SUBTRACTED,
) -> Controlled:
    """`series` less `share` of its regression on `variates`, which have mean zero.

    The coefficients for each chain are fitted to the other chains, so that chance correlation
    within a chain causes no bias; a single chain uses its own. `weights` sum to one over all draws
    (equal by default).
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
    """Least squares of `series` on `variates` and a constant; near-constant directions get the
    coefficient 0."""
    columns = variates.reshape(-1, variates.shape[2])
    design = np.concatenate([np.ones((len(columns), 1)), columns], axis=1) * root.reshape(-1, 1)
    solution, *_ = np.linalg.lstsq(design, series.reshape(-1) * root.reshape(-1), rcond=1e-8)
    return solution[1:]


class Violation(NamedTuple):
    """How far the identities of the control variates are from their mean of zero.

    Fields:
        score: the largest |mean / standard error| of all identities.
        law_score: the same with standard errors that assume no more effective draws than |w - w*|²
            has. The mean of an identity depends on rare draws at a large distance; chains whose
            distance is strongly autocorrelated contain few of them, whatever the autocorrelation of
            the identity.
        gap: the mean of P - x . grad U, in numbers of parameters.
        gap_score: the same in standard errors.
    """

    score: float
    law_score: float
    gap: float
    gap_score: float

    @property
    def of_steps(self) -> bool:
        """Whether the virial is significantly too large, the effect of uncorrected steps of finite
        size."""
        return self.gap_score < -3.0


def worst_violation(
    draws: Draws, weights: Float[np.ndarray, "C T"] | None = None
) -> Violation | None:
    """How far all identities (`controls`, and the sum P - x . grad U of the first kind) are from
    their mean of zero; None without virials, or where they are not finite.

    For a correct sampler each score is standard normal; a sampler of another distribution has large
    ones. Chains that never enter narrow valleys because their step is too large, which R-hat and
    the other identities do not show, have scores of ten in the identity of γ |x|² x. For one
    Langevin step of size ε without correction the mean of the sum is exactly -(ε/4) E|grad U|²:
    twice its bias on a quadratic loss, with the opposite sign.

    Args:
        weights: of independent draws; they sum to one.
    """
    variates = controls(draws)
    if variates is None or not np.isfinite(variates).all():
        return None
    total = variates[:, :, :-2].sum(2)
    series = [values for values in (total, *np.moveaxis(variates, 2, 0)) if np.ptp(values) > 0]
    scored = [_score(values, weights) for values in series]
    scores = [score for score, _ in scored]
    known = [1.0] * len(series)
    if weights is None:
        far = ess_mean(np.asarray(draws.distance, np.float64) ** 2)
        known = [min(1.0, math.sqrt(far / size)) for _, size in scored]
    gap = float(total.mean() if weights is None else (weights * total).sum())
    worst = max((abs(score) for score in scores), default=0.0)
    lawful = max(
        (abs(score) * share for score, share in zip(scores, known, strict=True)), default=0.0
    )
    return Violation(worst, lawful, gap, scores[0] if np.ptp(total) > 0 else 0.0)


def _score(values: Floats, weights: Floats | None) -> tuple[float, float]:
    """Mean over standard error of chains with their effective sample size, or of weighted
    independent draws (with their number)."""
    if weights is None:
        error, size = mean_error(values)
        return float(values.mean()) / max(error, 1e-300), size
    mean = float((weights * values).sum())
    error = float(np.sqrt((weights**2 * (values - mean) ** 2).sum()))
    return mean / max(error, 1e-300), float(values.size)
