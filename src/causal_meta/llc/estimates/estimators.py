"""The estimate λ̂ with its error from the draws of one run, and the diagnostics behind its flags."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from causal_meta.draws import Draws
from causal_meta.llc.estimates import diagnostics, flags
from causal_meta.llc.estimates.controls import (
    LARGEST_SHIFT,
    SUBTRACTED,
    SUBTRACTED_IF_BIASED,
    Violation,
    controlled,
    controls,
    worst_violation,
)
from causal_meta.pareto import smoothed_weights

Floats = NDArray[np.floating]
Analysis = dict[str, Any]


def estimate(
    draws: Draws, *, n: int, n_parameters: int, check: Mapping[str, Any] | None = None
) -> Analysis:
    """λ̂ = nβ (E[L_n(w)] - L_n(w*)) (Lau et al. 2023, equation 12) with its errors, diagnostics and
    flags.

    Args:
        n: the number of rows.
        n_parameters: P.
        check: the result of the check of w*, `is_minimum: bool`; None if there was none.

    Returns:
        A tree of values for strict JSON; numbers that do not exist are None. Among them:

        - llc_mean: the mean over all draws of the chains that did not fail, controlled
          (`llc.estimates.controls`) where the draws have a virial with the mean that it should
          have; llc_mean_plain: the uncontrolled mean.
        - llc_std: the standard deviation of λ̂ over draws.
        - llc_mcse: the Monte Carlo standard error of llc_mean, which includes autocorrelation and
          disagreement of chains; llc_error adds the remaining bias of the step size, and interval
          is the 95 % interval by a t distribution.
        - total_fges: the work in gradients over all rows, warm-up and failed chains included; wnv:
          llc_mcse² x total_fges.
        - flags: names of `llc.estimates.flags.FLAGS`; flag_details: the numbers behind each.
    """
    reasons = failures(draws)
    kept = [chain for chain, reason in enumerate(reasons) if not reason]
    gradients = np.asarray(draws.gradients, np.float64)
    analysis: Analysis = {
        "n": int(n),
        "n_parameters": int(n_parameters),
        "n_beta": float(draws.n_beta),
        "gamma": float(draws.gamma),
        "centre_loss": _number(draws.centre_loss),
        "chains": len(reasons),
        "draws": int(draws.loss.shape[1]),
        "independent": bool(draws.independent),
        "failed_chains": [
            {"chain": chain, "reason": reason} for chain, reason in enumerate(reasons) if reason
        ],
        "total_fges": _number(gradients[:, -1].sum()),
        "is_minimum": None
        if check is None or check.get("is_minimum") is None
        else bool(check["is_minimum"]),
        **dict.fromkeys(NUMBERS),
    }
    if kept:
        sound = chosen(draws, kept)
        analysis |= weighted(sound) if sound.independent else _of_chains(sound)
        analysis |= _sampler_health(sound)
        analysis |= _sums(sound, analysis)
        analysis |= _information(sound, analysis)
    details = flags.raised(analysis)
    return {**analysis, "flags": list(details), "flag_details": details}


DIVERGED = 1e60
"""Losses and distances above which a chain counts as diverged: powers of them overflow."""
NUMBERS: tuple[str, ...] = (
    "llc_mean",
    "llc_std",
    "llc_mcse",
    "llc_error",
    "interval",
    "llc_mean_plain",
    "llc_mcse_plain",
    "llc_min",
    "llc_max",
    "chain_means",
    "ess_bulk",
    "ess_tail",
    "ess_mean",
    "ess",
    "rhat",
    "drift",
    "distance_ess",
    "distance_rhat",
    "distance_drift",
    "distance_effect",
    "distance_grows",
    "divergences",
    "divergent_share",
    "acceptance",
    "wnv",
    "efficiency_work",
    "below_centre",
    "float_resolution",
    "virial_score",
    "law_score",
    "virial_gap",
    "virial_of_steps",
    "wbic",
    "functional_variance",
    "singular_fluctuation",
    "bias_estimate",
    "bias_left",
    "bias_unseen",
    "bias_rule",
    "step_rule",
    "pareto_k",
)
"""Numbers of an analysis, None where a run does not have them."""


def failures(draws: Draws) -> list[str]:
    """The reason why each of the C chains cannot be used; an empty string where it can."""
    reasons = []
    for loss, distance in zip(
        np.asarray(draws.loss, np.float64), np.asarray(draws.distance, np.float64), strict=True
    ):
        bad = ~((np.abs(loss) < DIVERGED) & (distance < DIVERGED))
        if bad.any():
            reasons.append(
                f"{int(bad.sum())} of {len(loss)} draws are not finite or above {DIVERGED:g}, the "
                f"first at draw {int(bad.argmax())}"
            )
        elif not draws.independent and np.ptp(loss) == 0:
            reasons.append("the chain never moved")
        else:
            reasons.append("")
    return reasons


def chosen(draws: Draws, chains: list[int]) -> Draws:
    """The draws of the selected chains."""
    arrays: dict[str, Any] = {
        name: None if value is None else np.asarray(value)[chains]
        for name in (
            "loss",
            "distance",
            "projection",
            "gradients",
            "energy",
            "acceptance",
            "divergent",
            "parameters",
            "weights",
            "virial",
        )
        for value in (getattr(draws, name),)
    }
    return replace(draws, **arrays)


def _of_chains(draws: Draws) -> Analysis:
    """Mean, error and mixing diagnostics of Markov chains."""
    plain = draws.llc
    variates = controls(draws)
    violation = worst_violation(draws)
    repaired = violation is not None and violation.of_steps and not _corrected(draws)
    reduced = (
        controlled(plain, variates, share=SUBTRACTED_IF_BIASED if repaired else SUBTRACTED)
        if variates is not None
        else None
    )
    trusted = violation is not None and (violation.score <= flags.CONTROL_ERRORS or repaired)
    plain_error = diagnostics.mcse(plain)
    series = (
        reduced.series
        if trusted and reduced and diagnostics.mcse(reduced.series) < plain_error
        else plain
    )
    subtracted = plain - (plain if reduced is None else reduced.series)
    distance = np.asarray(draws.distance, np.float64)
    error, size = diagnostics.mcse_with(series, distance**2)
    moved = abs(float((series - plain).mean()))
    bulk, tail = diagnostics.ess_bulk(plain), diagnostics.ess_tail(plain)
    if not repaired and moved > LARGEST_SHIFT * plain_error:
        error = math.hypot(error, moved)
    return {
        "llc_mean": float(series.mean()),
        "llc_std": float(plain.std(ddof=1)),
        "llc_mcse": error,
        "llc_mean_plain": float(plain.mean()),
        "llc_mcse_plain": plain_error,
        "chain_means": [float(mean) for mean in series.mean(1)],
        "ess_bulk": bulk,
        "ess_tail": tail,
        "ess_mean": size,
        "ess": min(bulk, tail),
        "rhat": _number(diagnostics.rhat(plain)),
        "drift": diagnostics.drift(plain),
        "distance_ess": diagnostics.ess_bulk(distance),
        "distance_rhat": _number(diagnostics.rhat(distance)),
        "distance_drift": diagnostics.drift(distance),
        "distance_effect": _distance_effect(draws),
        "distance_grows": bool(distance[:, -(distance.shape[1] // 5) :].mean() > distance.mean()),
        "virial_score": None if violation is None else violation.score,
        "law_score": None if violation is None else violation.law_score,
        "virial_gap": None if violation is None else violation.gap,
        "virial_of_steps": None if violation is None else violation.of_steps,
        **_step_bias(
            draws,
            float(subtracted.mean()),
            diagnostics.mcse(subtracted) if np.ptp(subtracted) > 0 else 0.0,
            violation,
            series is plain,
        ),
    }


def _distance_effect(draws: Draws) -> float:
    """The error of λ̂ due to that of the mean of |w - w*|²: the slope of λ̂ on |w - w*|² times the
    Monte Carlo standard error of its mean."""
    square, series = np.asarray(draws.distance, np.float64) ** 2, draws.llc
    spread = float(square.var())
    slope = (
        float(((square - square.mean()) * (series - series.mean())).mean()) / spread
        if spread > 0
        else 0.0
    )
    return abs(slope) * diagnostics.mcse(square)


def _corrected(draws: Draws) -> bool:
    """Whether a Metropolis step removes the bias of the step size."""
    return draws.acceptance is not None if draws.corrected is None else draws.corrected


def _step_bias(
    draws: Draws, shift: float, chance: float, violation: Violation | None, uncontrolled: bool
) -> Analysis:
    """The bias of λ̂ by an uncorrected step ε: from the virial where there is one, else by the rule
    1 / (1 - εh/4) for the largest curvature h.

    With virials the control variates remove the bias to first order, for a quadratic loss exactly
    except for the part of γ. Of the shift that they subtract, the share |virial gap| / P counts as
    remaining bias (`bias_left`), and so does the share that they leave by design. The rule is exact
    for one direction of curvature h, and so an upper bound. Where the identities do not show a
    bias, there may still be one: then the part of the rule's bias, at the mean curvature, that
    control variates do not remove counts as remaining. The shift beyond its standard error `chance`
    may be a bias as well (`bias_unseen`); it widens the error, but is too uncertain for a flag.

    A step of second order (`step_order` 2: averaged noise, the thermostat) is exact on a quadratic
    loss. The rule is then squared, and `bias_unseen` is the contribution of places that are too
    stiff for the step (εh > 1), as if λ̂ were entirely wrong there.
    """
    if _corrected(draws):
        return {}
    result: Analysis = {}
    mean, second = float(draws.llc.mean()), draws.adapted.get("step_order", 1) == 2
    step, largest, usual = (
        float(np.max(draws.adapted.get(name, math.nan)))
        for name in ("step_size", "curvature", "mean_curvature")
    )
    if math.isfinite(ratio := step * largest / 4):
        result["step_rule"] = ratio
        if violation is None:
            bias = mean * (ratio**2 if second else ratio) if ratio < 1 else math.inf
            result |= {
                "bias_estimate": _number(bias),
                "bias_left": _number(bias),
                "bias_rule": "curvature",
            }
    if violation is not None:
        share = (
            1.0
            if uncontrolled
            else abs(violation.gap) / sum(draws.virial_sizes)
            + (1 - SUBTRACTED_IF_BIASED if violation.of_steps else 0.0)
        )
        # otherwise the shift is chance, which the error of the plain mean includes
        left = abs(shift) * share if violation.of_steps or not uncontrolled else 0.0
        if second:
            result["bias_unseen"] = abs(mean) * float(draws.adapted.get("stiff_share", 0.0))
        elif not violation.of_steps:  # a bias too small for the identities to show
            rule = np.nan_to_num(step * (usual if math.isfinite(usual) else largest) / 4)
            left = max(left, mean * float(rule) * (1.0 if uncontrolled else 1 - SUBTRACTED))
            result["bias_unseen"] = (
                0.0
                if uncontrolled
                else math.sqrt(max(shift**2 - chance**2, 0.0)) * (1 - SUBTRACTED) / SUBTRACTED
            )
        result |= {"bias_estimate": shift, "bias_left": left, "bias_rule": "virial"}
    return result


def weighted(draws: Draws) -> Analysis:
    """Mean and error of independent draws of an approximation, by importance weights where the
    draws have them.

    The weights are used even where their tail is too heavy to be trusted, which is flagged, since
    the unweighted draws of a mixture with a defensive component estimate nothing.
    """
    plain = draws.llc
    weights = np.full(plain.shape, 1 / plain.size)
    tail = None
    if draws.weights is not None:
        smooth, tail = smoothed_weights(draws.weights)
        if np.isfinite(smooth).all():
            weights = smooth
    violation = worst_violation(draws, weights) if draws.weights is not None else None
    series, variates = plain, controls(draws)
    if variates is not None and violation is not None and violation.score <= flags.CONTROL_ERRORS:
        series = controlled(plain, variates, weights).series
    mean, plain_mean = float((weights * series).sum()), float((weights * plain).sum())
    size = 1 / float((weights**2).sum())
    return {
        "llc_mean": mean,
        "llc_std": float(np.sqrt((weights * (plain - plain_mean) ** 2).sum())),
        "llc_mcse": float(np.sqrt((weights**2 * (series - mean) ** 2).sum())),
        "llc_mean_plain": plain_mean,
        "llc_mcse_plain": float(np.sqrt((weights**2 * (plain - plain_mean) ** 2).sum())),
        "chain_means": [
            float(mean)
            for mean in (weights * series).sum(1) / np.maximum(weights.sum(1), np.finfo(float).tiny)
        ],
        "ess_mean": size,
        "ess": size,
        "virial_score": None if violation is None else violation.score,
        "law_score": None if violation is None else violation.law_score,
        "virial_gap": None if violation is None else violation.gap,
        "virial_of_steps": None if violation is None else violation.of_steps,
        "pareto_k": None if tail is None else (float(tail) if math.isfinite(tail) else 1e9),
        "bias_rule": None if draws.weights is not None else "none",
    }


def _sampler_health(draws: Draws) -> Analysis:
    """Divergences, acceptance, draws below w*, and the resolution of the float precision."""
    series = draws.llc
    diverged, acceptance = draws.divergent, draws.acceptance
    deep, _ = flags.BELOW_CENTRE
    width = np.asarray(draws.loss).dtype
    resolution = draws.n_beta * float(np.finfo(width).eps) * abs(float(draws.centre_loss))
    return {
        "llc_min": float(series.min()),
        "llc_max": float(series.max()),
        "divergences": None if diverged is None else int(np.sum(diverged)),
        "divergent_share": None if diverged is None else float(np.mean(diverged)),
        "acceptance": None if acceptance is None else _number(np.mean(acceptance)),
        "below_centre": float((series < -deep).mean()),
        "float_resolution": float(resolution),
    }


def _sums(draws: Draws, analysis: Analysis) -> Analysis:
    """The interval, and the errors normalised by work."""
    mean, error, work = analysis["llc_mean"], analysis["llc_mcse"], analysis["total_fges"]
    whole = math.hypot(error, max(analysis["bias_left"] or 0.0, analysis["bias_unseen"] or 0.0))
    half = t_factor(analysis["ess_mean"], draws.independent) * whole
    return {
        "llc_error": whole,
        "interval": [mean - half, mean + half],
        "wnv": None if work is None else error**2 * work,
        "efficiency_work": analysis["ess"] / work if work else None,
    }


def _information(draws: Draws, analysis: Analysis) -> Analysis:
    """Watanabe's criteria at the β and γ of the run: WBIC = n E[L_n] at β = 1 / log n (2013,
    definition 4), and, with moments of row losses over all chains, the functional variance V = Σ_i
    Var(row loss i) and the singular fluctuation ν = β V / 2 (2010, equation 21)."""
    n = analysis["n"]
    criteria: Analysis = {}
    if math.isclose(draws.n_beta * math.log(n), n, rel_tol=1e-9):
        criteria["wbic"] = n * (float(draws.centre_loss) + analysis["llc_mean"] / draws.n_beta)
    if draws.row_moments is not None and not analysis["failed_chains"]:
        variance = _number(np.asarray(draws.row_moments, np.float64)[1].sum())
        fluctuation = None if variance is None else draws.n_beta / n * variance / 2
        criteria |= {"functional_variance": variance, "singular_fluctuation": fluctuation}
    return criteria


def t_factor(effective: float, independent: bool = False, level: float = 0.95) -> float:
    """Half-width of the interval in standard errors: the t quantile with the degrees of freedom of
    the error's estimate.

    A variance estimated from autocorrelated chains of N effective draws has about N / 4 degrees of
    freedom.

    >>> round(t_factor(40), 2), round(t_factor(1e6), 2)
    (2.23, 1.96)
    """
    degrees = effective - 1 if independent else effective / 4
    return float(stdtrit(max(degrees, 1.0), 0.5 + level / 2))


def _number(value: SupportsFloat) -> float | None:
    """A finite float, or None."""
    number = float(value)
    return number if math.isfinite(number) else None
