"""Everything that an estimate can be warned about: a closed vocabulary, with the sentence that
explains each word and the bound behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

FLAGS: Final[dict[str, str]] = {
    "not_a_minimum": "w* is no minimum of the loss: the check of w* says so, or draws have lower "
    "loss than w* itself; polish w* or raise gamma",
    "negative_llc": "the estimate is negative, which no minimum allows: w* is under-trained, or "
    "its loss was computed in another way",
    "failed_chains": "some chains stopped at values that are not finite, or never moved; they are "
    "left out of the mean",
    "few_effective_chains": "fewer than two chains are left, so that nothing can disagree",
    "divergences": "trajectories diverged: a curved or stiff region was left out of the answer, "
    "and neither R-hat nor the error sees it",
    "low_ess": "too few effective draws for the error itself to be trusted; draw longer",
    "high_rhat": "the chains disagree (R-hat): longer warm-up, or more draws",
    "mcse_above_2_percent": "the Monte Carlo standard error exceeds 2 % of the estimate; draw "
    "longer",
    "drift": "the beginning of the chains differs from their end: warm-up was too short",
    "slow_directions": "the distance from w* has not mixed: flat directions relax in a time of 1 "
    "/ gamma, longer than the chains",
    "escape": "the chains move away from w* to the end: raise gamma",
    "law_violated": "the mean of (w - w*) . grad U is not the number of parameters, as under the "
    "posterior asked for: the draws follow another law",
    "step_size_bias": "the step is too large: its estimated bias exceeds 2 % of the estimate, or "
    "the error where it is not corrected",
    "low_acceptance": "proposals are mostly refused; take a smaller step",
    "float_width": "differences of the loss are near the resolution of this float width; sample "
    "in float64",
    "pareto_k": "importance weights of the approximation have a heavy tail (Pareto k above 0.7): "
    "its estimate cannot be corrected to the posterior's",
    "unchecked_approximation": "an approximation without importance weights: nothing says how far "
    "it is from the posterior",
}
"""Each flag and what it means. An estimate without flags claims that its interval covers the exact
value of its posterior."""

DIVERGENT_SHARE: Final = 0.001
"""Share of divergent transitions from which on they are flagged."""
LEAST_ESS: Final = 200.0
"""Effective draws, in all, below which the error is not trusted."""
HIGHEST_RHAT: Final = 1.02
"""R-hat of right chains at 200 effective draws stays below this in all but about 1 % of runs."""
HIGHEST_DISTANCE_RHAT: Final = 1.1
"""The same for the distance from w*, where the error of its mean goes with one of λ̂ above half the
Monte Carlo error."""
LARGEST_SHARE_OF_ERROR: Final = 0.02
"""Monte Carlo error, or bias, in terms of the estimate."""
LARGEST_UNSEEN: Final = 0.5
"""What an uncorrected step may have added unseen, in terms of the estimate: below, it only widens
the interval."""
DRIFT_ERRORS: Final = 4.0
"""Standard errors between two means of one law from which on they are called different."""
VIRIAL_ERRORS: Final = 4.0
"""Standard errors of the worst of up to 19 identities from which on the law is called violated."""
CONTROL_ERRORS: Final = 3.5
"""The same from which on the identities are no longer taken as control variates: what they would
take off may be a bias of their own."""
PARETO_K: Final = 0.7
"""Tail index of importance weights above which their mean is not trusted (Vehtari et al. 2024)."""
LOWEST_ACCEPTANCE: Final = 0.3
"""Mean acceptance of a corrected sampler."""
BELOW_CENTRE: Final = (0.1, 0.01)
"""w* is no minimum if nβ (L - L0) is below minus the first number in more than the second share of
draws."""


def raised(analysis: Mapping[str, Any]) -> dict[str, str]:
    """The flags that the numbers of an analysis raise, each with what was found, in the order of
    FLAGS."""
    found = {
        **_of_chains(analysis),
        **_of_centre(analysis),
        **_of_error(analysis),
        **_of_law(analysis),
    }
    return {name: found[name] for name in FLAGS if name in found}


def _of_chains(a: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    failed = a["failed_chains"]
    if failed:
        found["failed_chains"] = f"{len(failed)} of {a['chains']} chains failed; " + "; ".join(
            f"chain {f['chain']}: {f['reason']}" for f in failed[:4]
        )
    if not a["independent"] and a["chains"] - len(failed) < 2:
        found["few_effective_chains"] = f"{a['chains'] - len(failed)} chains are left"
    if a["divergent_share"] is not None and a["divergent_share"] > DIVERGENT_SHARE:
        found["divergences"] = f"{a['divergences']} divergent transitions"
    if not a["independent"] and a["llc_mean"] is not None:
        if a["rhat"] is None or a["rhat"] > HIGHEST_RHAT:
            found["high_rhat"] = f"R-hat is {_text(a['rhat'])}; it should be below {HIGHEST_RHAT}"
        if abs(a["drift"]) > DRIFT_ERRORS:
            found["drift"] = (
                f"the first fifth is {a['drift']:.1f} standard errors from the last half"
            )
        slow = a["distance_rhat"] is None or a["distance_rhat"] > HIGHEST_DISTANCE_RHAT
        if slow and a["distance_effect"] > a["llc_mcse"] / 2:
            found["slow_directions"] = (
                f"R-hat of the distance from w* is {_text(a['distance_rhat'])}, which may shift "
                f"λ̂ by {a['distance_effect']:.2g}"
            )
        if a["distance_drift"] < -DRIFT_ERRORS and a["distance_grows"]:
            found["escape"] = (
                f"the distance from w* grew by {-a['distance_drift']:.1f} standard errors"
            )
    return found


def _of_centre(a: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    deep, share = BELOW_CENTRE
    if a["is_minimum"] is False:
        found["not_a_minimum"] = "the check of w* found that it is no minimum"
    elif a["below_centre"] is not None and a["below_centre"] > share:
        found["not_a_minimum"] = (
            f"{a['below_centre']:.0%} of the draws lie more than {deep} nats below w*"
        )
    if a["llc_mean"] is not None and a["llc_mean"] < 0:
        found["negative_llc"] = f"the estimate is {a['llc_mean']:.4g}"
    resolution = a["float_resolution"]
    if resolution is not None and resolution > LARGEST_SHARE_OF_ERROR * abs(a["llc_mean"]):
        found["float_width"] = (
            f"one unit in the last place of L_n(w*) is {resolution:.2g} of the estimate's unit"
        )
    return found


def _of_error(a: Mapping[str, Any]) -> dict[str, str]:
    if a["llc_mean"] is None:
        return {}
    found: dict[str, str] = {}
    if a["ess"] < LEAST_ESS:
        found["low_ess"] = f"{a['ess']:.0f} effective draws; {LEAST_ESS:.0f} are needed"
    if a["llc_mcse"] > LARGEST_SHARE_OF_ERROR * abs(a["llc_mean"]):
        found["mcse_above_2_percent"] = f"the error is {a['llc_mcse']:.2g} of {a['llc_mean']:.4g}"
    return found


def _of_law(a: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    score, gap = a["law_score"], a["virial_gap"]
    # too large a step raises the virial: a flag of its own
    stepped = a["bias_rule"] == "virial" and a["virial_of_steps"]
    if score is not None and score > VIRIAL_ERRORS and not stepped:
        found["law_violated"] = (
            f"the identity fails by {score:.1f} standard errors; its mean gap is {gap:.3g} of "
            f"{a['n_parameters']} parameters"
        )
    if a["bias_rule"] in ("virial", "curvature"):
        left, bias = a["bias_left"], a["bias_estimate"]
        bound = max(
            LARGEST_SHARE_OF_ERROR * abs(a["llc_mean"]),
            a["llc_mcse"] if a["bias_rule"] == "curvature" else 0.0,
        )
        if left is None or left > bound:
            found["step_size_bias"] = (
                f"the bias of λ̂ is estimated at {_text(bias)}, of which {_text(left)} is left"
            )
        elif (a["bias_unseen"] or 0.0) > LARGEST_UNSEEN * abs(a["llc_mean"]):
            found["step_size_bias"] = (
                f"the step may have added {_text(a['bias_unseen'])}, which widens the interval "
                "and which no identity shows"
            )
    if a["acceptance"] is not None and a["acceptance"] < LOWEST_ACCEPTANCE:
        found["low_acceptance"] = f"{a['acceptance']:.0%} of the proposals are accepted"
    if a["pareto_k"] is not None and a["pareto_k"] > PARETO_K:
        found["pareto_k"] = f"k is {a['pareto_k']:.2f}"
    if a["bias_rule"] == "none":
        found["unchecked_approximation"] = "the run kept no importance ratios"
    return found


def _text(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
