"""The flags of an estimate: a closed vocabulary of warnings, each with an explanation and a
threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

FLAGS: Final[dict[str, str]] = {
    "not_a_minimum": "w* is not a minimum of the loss: by the check of w*, or because draws have a "
    "lower loss than w*; polish w*, or raise gamma",
    "negative_llc": "the estimate is negative, which is impossible at a minimum: w* is "
    "under-trained, or its loss was computed differently",
    "failed_chains": "some chains reached values that are not finite, or never moved; the estimate "
    "excludes them",
    "few_effective_chains": "fewer than two chains did not fail, so that disagreement of chains "
    "cannot be measured",
    "divergences": "trajectories diverged: the draws miss a curved or stiff region, which neither "
    "R-hat nor the error shows",
    "low_ess": "too few effective draws for a reliable error; draw longer",
    "high_rhat": "the chains disagree (R-hat): use a longer warm-up, or more draws",
    "mcse_above_2_percent": "the Monte Carlo standard error exceeds 2 % of the estimate; draw "
    "longer",
    "drift": "the beginning of the chains differs from their end: the warm-up was too short",
    "slow_directions": "the distance from w* has not converged: flat directions have a relaxation "
    "time of 1 / gamma, which exceeds the length of the chains",
    "escape": "the chains move away from w* until their end: raise gamma",
    "law_violated": "the mean of (w - w*) . grad U is not the number of parameters, as it is under "
    "the posterior: the draws follow another distribution",
    "step_size_bias": "the step is too large: its estimated bias exceeds 2 % of the estimate, or "
    "the Monte Carlo error where the bias is not corrected",
    "low_acceptance": "most proposals are rejected; use a smaller step",
    "float_width": "differences of the loss are close to the resolution of the float precision; "
    "sample in float64",
    "pareto_k": "the importance weights of the approximation have a heavy tail (Pareto k above "
    "0.7): they cannot correct its estimate",
    "unchecked_approximation": "an approximation without importance weights: its distance from the "
    "posterior is unknown",
}
"""Each flag and its meaning. An estimate without flags claims that its interval covers the exact
value of its posterior."""

DIVERGENT_SHARE: Final = 0.001
"""Share of divergent transitions above which they are flagged."""
LEAST_ESS: Final = 200.0
"""Total number of effective draws below which the error is not trusted."""
HIGHEST_RHAT: Final = 1.02
"""R-hat of correct chains of 200 effective draws exceeds this in about 1 % of runs."""
HIGHEST_DISTANCE_RHAT: Final = 1.1
"""The same for the distance from w*, flagged where the error of its mean implies an error of λ̂
above half the Monte Carlo error."""
LARGEST_SHARE_OF_ERROR: Final = 0.02
"""Largest Monte Carlo error, or bias, relative to the estimate."""
LARGEST_UNSEEN: Final = 0.5
"""Largest possible bias of an uncorrected step that the identities do not show, relative to the
estimate; a smaller one only widens the interval."""
DRIFT_ERRORS: Final = 4.0
"""Standard errors between two means of one distribution above which they count as different."""
VIRIAL_ERRORS: Final = 4.0
"""Standard errors of the worst of up to 19 identities above which they count as violated."""
CONTROL_ERRORS: Final = 3.5
"""The same above which the identities are not used as control variates, since they may add a
bias."""
PARETO_K: Final = 0.7
"""Tail index of importance weights above which their mean is not trusted (Vehtari et al. 2024)."""
LOWEST_ACCEPTANCE: Final = 0.3
"""Smallest mean acceptance of a sampler with a Metropolis step."""
BELOW_CENTRE: Final = (0.1, 0.01)
"""w* is not a minimum if nβ (L - L0) is below minus the first number in more than the second share
of draws."""


def raised(analysis: Mapping[str, Any]) -> dict[str, str]:
    """The flags that the numbers of an analysis raise, each with these numbers in words, in the
    order of FLAGS."""
    details = {
        **_of_chains(analysis),
        **_of_centre(analysis),
        **_of_error(analysis),
        **_of_law(analysis),
    }
    return {name: details[name] for name in FLAGS if name in details}


def _of_chains(a: Mapping[str, Any]) -> dict[str, str]:
    details: dict[str, str] = {}
    failed = a["failed_chains"]
    if failed:
        details["failed_chains"] = f"{len(failed)} of {a['chains']} chains failed; " + "; ".join(
            f"chain {f['chain']}: {f['reason']}" for f in failed[:4]
        )
    if not a["independent"] and a["chains"] - len(failed) < 2:
        details["few_effective_chains"] = f"{a['chains'] - len(failed)} chains did not fail"
    if a["divergent_share"] is not None and a["divergent_share"] > DIVERGENT_SHARE:
        details["divergences"] = f"{a['divergences']} divergent transitions"
    if not a["independent"] and a["llc_mean"] is not None:
        if a["rhat"] is None or a["rhat"] > HIGHEST_RHAT:
            details["high_rhat"] = f"R-hat is {_text(a['rhat'])}; it should be below {HIGHEST_RHAT}"
        if abs(a["drift"]) > DRIFT_ERRORS:
            details["drift"] = (
                f"the first fifth differs from the last half by {a['drift']:.1f} standard errors"
            )
        slow = a["distance_rhat"] is None or a["distance_rhat"] > HIGHEST_DISTANCE_RHAT
        if slow and a["distance_effect"] > a["llc_mcse"] / 2:
            details["slow_directions"] = (
                f"R-hat of the distance from w* is {_text(a['distance_rhat'])}, an effect on λ̂ "
                f"of {a['distance_effect']:.2g}"
            )
        if a["distance_drift"] < -DRIFT_ERRORS and a["distance_grows"]:
            details["escape"] = (
                f"the distance from w* grew by {-a['distance_drift']:.1f} standard errors"
            )
    return details


def _of_centre(a: Mapping[str, Any]) -> dict[str, str]:
    details: dict[str, str] = {}
    deep, share = BELOW_CENTRE
    if a["is_minimum"] is False:
        details["not_a_minimum"] = "by the check of w*"
    elif a["below_centre"] is not None and a["below_centre"] > share:
        details["not_a_minimum"] = (
            f"{a['below_centre']:.0%} of the draws lie more than {deep} nats below w*"
        )
    if a["llc_mean"] is not None and a["llc_mean"] < 0:
        details["negative_llc"] = f"the estimate is {a['llc_mean']:.4g}"
    resolution = a["float_resolution"]
    if resolution is not None and resolution > LARGEST_SHARE_OF_ERROR * abs(a["llc_mean"]):
        details["float_width"] = (
            f"one unit in the last place of L_n(w*) is {resolution:.2g} in units of the estimate"
        )
    return details


def _of_error(a: Mapping[str, Any]) -> dict[str, str]:
    if a["llc_mean"] is None:
        return {}
    details: dict[str, str] = {}
    if a["ess"] < LEAST_ESS:
        details["low_ess"] = f"{a['ess']:.0f} effective draws; {LEAST_ESS:.0f} are needed"
    if a["llc_mcse"] > LARGEST_SHARE_OF_ERROR * abs(a["llc_mean"]):
        details["mcse_above_2_percent"] = f"the error of {a['llc_mean']:.4g} is {a['llc_mcse']:.2g}"
    return details


def _of_law(a: Mapping[str, Any]) -> dict[str, str]:
    details: dict[str, str] = {}
    score, gap = a["law_score"], a["virial_gap"]
    # a step that is too large raises the virial; that is another flag
    stepped = a["bias_rule"] == "virial" and a["virial_of_steps"]
    if score is not None and score > VIRIAL_ERRORS and not stepped:
        details["law_violated"] = (
            f"the worst identity is off by {score:.1f} standard errors, the mean of the virial by "
            f"{gap:.3g} of {a['n_parameters']} parameters"
        )
    if a["bias_rule"] in ("virial", "curvature"):
        left, bias = a["bias_left"], a["bias_estimate"]
        bound = max(
            LARGEST_SHARE_OF_ERROR * abs(a["llc_mean"]),
            a["llc_mcse"] if a["bias_rule"] == "curvature" else 0.0,
        )
        if left is None or left > bound:
            details["step_size_bias"] = (
                f"the estimated bias of λ̂ is {_text(bias)}, of which {_text(left)} remains"
            )
        elif (a["bias_unseen"] or 0.0) > LARGEST_UNSEEN * abs(a["llc_mean"]):
            details["step_size_bias"] = (
                f"the step may have a bias of {_text(a['bias_unseen'])}, which no identity shows "
                "and which widens the interval"
            )
    if a["acceptance"] is not None and a["acceptance"] < LOWEST_ACCEPTANCE:
        details["low_acceptance"] = f"{a['acceptance']:.0%} of the proposals are accepted"
    if a["pareto_k"] is not None and a["pareto_k"] > PARETO_K:
        details["pareto_k"] = f"k is {a['pareto_k']:.2f}"
    if a["bias_rule"] == "none":
        details["unchecked_approximation"] = "the run has no importance ratios"
    return details


def _text(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
