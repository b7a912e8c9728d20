"""λ̂ with an error bar from the draws of one run, and everything that speaks against it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from causal_meta.draws import Draws
from causal_meta.llc.estimates import diagnostics, flags
from causal_meta.llc.estimates.controls import (
    MOST_MOVED,
    REPAIRED,
    TAKEN,
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
    """λ̂ = nβ (E[L_n(w)] - L_n(w*)) (Lau et al. 2023, equation 12) with its Monte Carlo error, as a
    tree of numbers that strict JSON can hold.

    `n` is the number of rows, `n_parameters` P, and `check` what is known of w* (`is_minimum`:
    bool). The mean `llc_mean` is over all draws of the chains that did not fail, less its control
    variates where the draws kept their virial and these have mean zero as they should
    (`llc.estimates.controls`); `llc_mean_plain` is the bare mean. `llc_std` is the standard
    deviation of λ̂ over draws, `llc_mcse` the Monte Carlo standard error of `llc_mean`, which
    counts autocorrelation and disagreement of chains; `llc_error` adds the bias of the step size
    that is left, and `interval` holds 95 % by a t law. Work is counted in gradients over all rows,
    warm-up and failed chains included (`total_fges`); `wnv` is llc_mcse² x total_fges. `flags`
    names what is wrong by the words of `llc.estimates.flags.FLAGS`, `flag_details` says by how
    much. Numbers that do not exist are None.
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


OUT = 1e60
"""Losses and distances from which on a chain has left the numbers: powers of them are no longer
finite."""
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
"""Numbers of an analysis that are None where a run cannot give them."""


def failures(draws: Draws) -> list[str]:
    """Why each chain cannot be used, [C]; empty text where it can."""
    found = []
    for loss, distance in zip(
        np.asarray(draws.loss, np.float64), np.asarray(draws.distance, np.float64), strict=True
    ):
        bad = ~((np.abs(loss) < OUT) & (distance < OUT))
        if bad.any():
            found.append(
                f"{int(bad.sum())} of {len(loss)} draws are not finite or above {OUT:g}, the "
                f"first at draw {int(bad.argmax())}"
            )
        elif not draws.independent and np.ptp(loss) == 0:
            found.append("the chain never moved")
        else:
            found.append("")
    return found


def chosen(draws: Draws, chains: list[int]) -> Draws:
    """The draws of some chains alone."""
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
    """Mean and error of Markov chains, and how well they mixed."""
    plain = draws.llc
    variates = controls(draws)
    violation = worst_violation(draws)
    repaired = violation is not None and violation.of_steps and not _corrected(draws)
    reduced = (
        controlled(plain, variates, share=REPAIRED if repaired else TAKEN)
        if variates is not None
        else None
    )
    trusted = violation is not None and (violation.score <= flags.CONTROL_ERRORS or repaired)
    series = (
        reduced.series
        if trusted and reduced and diagnostics.mcse(reduced.series) < diagnostics.mcse(plain)
        else plain
    )
    taken = plain - (plain if reduced is None else reduced.series)
    distance = np.asarray(draws.distance, np.float64)
    error, size = diagnostics.mcse_with(series, distance**2)
    bare, moved = diagnostics.mcse(plain), abs(float((series - plain).mean()))
    if not repaired and moved > MOST_MOVED * bare:
        error = math.hypot(error, moved)
    return {
        "llc_mean": float(series.mean()),
        "llc_std": float(plain.std(ddof=1)),
        "llc_mcse": error,
        "llc_mean_plain": float(plain.mean()),
        "llc_mcse_plain": bare,
        "chain_means": [float(mean) for mean in series.mean(1)],
        "ess_bulk": diagnostics.ess_bulk(plain),
        "ess_tail": diagnostics.ess_tail(plain),
        "ess_mean": size,
        "ess": min(diagnostics.ess_bulk(plain), diagnostics.ess_tail(plain)),
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
            float(taken.mean()),
            diagnostics.mcse(taken) if np.ptp(taken) > 0 else 0.0,
            violation,
            series is plain,
        ),
    }


def _distance_effect(draws: Draws) -> float:
    """The error of λ̂ that goes with the error of the mean of |w - w*|²: the slope of λ̂ on it
    times its Monte Carlo standard error."""
    square, series = np.asarray(draws.distance, np.float64) ** 2, draws.llc
    spread = float(square.var())
    slope = (
        float(((square - square.mean()) * (series - series.mean())).mean()) / spread
        if spread > 0
        else 0.0
    )
    return abs(slope) * diagnostics.mcse(square)


def _corrected(draws: Draws) -> bool:
    """Whether a Metropolis step takes out the bias of the step size."""
    return draws.acceptance is not None if draws.corrected is None else draws.corrected


def _step_bias(
    draws: Draws, shift: float, chance: float, violation: Violation | None, bare: bool
) -> Analysis:
    """What an uncorrected step adds to λ̂, by the virial where it was kept, else by the rule 1 / (1
    - εh/4) for the largest curvature h.

    With virials the control variates take the bias off to first order: exactly for a quadratic loss
    but for the share of γ. Of what they took off, a share |virial gap| / P is counted as left, and
    what they leave by design. The rule holds one direction of curvature h: it is a bound. Where the
    identities do not show a bias, it may be there: what the control variates leave of the rule's,
    at the mean curvature, is counted as left. As much as they took off beyond its standard error
    `chance` may be a bias too (`bias_unseen`): it widens the error, and is too uncertain for a
    flag.

    A step of second order (`step_order` 2: averaged noise, the thermostat) is right on a quadratic.
    The rule is then squared, and unseen is what places add that are too stiff for the step (εh >
    1): as much as if λ̂ were wrong there by itself.
    """
    if _corrected(draws):
        return {}
    found: Analysis = {}
    mean, second = float(draws.llc.mean()), draws.adapted.get("step_order", 1) == 2
    step, largest, usual = (
        float(np.max(draws.adapted.get(name, math.nan)))
        for name in ("step_size", "curvature", "mean_curvature")
    )
    if math.isfinite(ratio := step * largest / 4):
        found["step_rule"] = ratio
        if violation is None:
            bias = mean * (ratio**2 if second else ratio) if ratio < 1 else math.inf
            found |= {
                "bias_estimate": _number(bias),
                "bias_left": _number(bias),
                "bias_rule": "curvature",
            }
    if violation is not None:
        share = (
            1.0
            if bare
            else abs(violation.gap) / sum(draws.virial_sizes)
            + (1 - REPAIRED if violation.of_steps else 0.0)
        )
        # otherwise the shift is chance, and the plain mean knows its error
        left = abs(shift) * share if violation.of_steps or not bare else 0.0
        if second:
            found["bias_unseen"] = abs(mean) * float(draws.adapted.get("stiff_share", 0.0))
        elif not violation.of_steps:  # too small for them to show
            rule = np.nan_to_num(step * (usual if math.isfinite(usual) else largest) / 4)
            left = max(left, mean * float(rule) * (1.0 if bare else 1 - TAKEN))
            found["bias_unseen"] = (
                0.0 if bare else math.sqrt(max(shift**2 - chance**2, 0.0)) * (1 - TAKEN) / TAKEN
            )
        found |= {"bias_estimate": shift, "bias_left": left, "bias_rule": "virial"}
    return found


def weighted(draws: Draws) -> Analysis:
    """Mean and error of independent draws of an approximation, weighted towards the posterior where
    their ratios are known.

    Weights are kept where their tail is too heavy to be trusted, which is flagged: draws of a
    mixture with a defensive part say nothing without them.
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
    mean, bare = float((weights * series).sum()), float((weights * plain).sum())
    size = 1 / float((weights**2).sum())
    return {
        "llc_mean": mean,
        "llc_std": float(np.sqrt((weights * (plain - bare) ** 2).sum())),
        "llc_mcse": float(np.sqrt((weights**2 * (series - mean) ** 2).sum())),
        "llc_mean_plain": bare,
        "llc_mcse_plain": float(np.sqrt((weights**2 * (plain - bare) ** 2).sum())),
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
    """Divergences, acceptance, draws below w*, and what the float width can resolve."""
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
    """The interval and work-normalised numbers, from mean, error and work."""
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
    """Watanabe's criteria: WBIC = n E[L_n] at β = 1 / log n (2013, definition 4), and, where
    moments of row losses were kept over all chains, the functional variance V = Σ_i Var(row loss i)
    and the singular fluctuation ν = β V / 2 (2010, equation 21), at the run's own β and γ."""
    n = analysis["n"]
    found: Analysis = {}
    if math.isclose(draws.n_beta * math.log(n), n, rel_tol=1e-9):
        found["wbic"] = n * (float(draws.centre_loss) + analysis["llc_mean"] / draws.n_beta)
    if draws.row_moments is not None and not analysis["failed_chains"]:
        variance = _number(np.asarray(draws.row_moments, np.float64)[1].sum())
        fluctuation = None if variance is None else draws.n_beta / n * variance / 2
        found |= {"functional_variance": variance, "singular_fluctuation": fluctuation}
    return found


def t_factor(effective: float, independent: bool = False, level: float = 0.95) -> float:
    """Half-width of the interval in standard errors: the t quantile with as many degrees as the
    estimate of the error has.

    A variance estimated from autocorrelated chains of N effective draws is worth about N / 4
    independent squares.

    >>> round(t_factor(40), 2), round(t_factor(1e6), 2)
    (2.23, 1.96)
    """
    degrees = effective - 1 if independent else effective / 4
    return float(stdtrit(max(degrees, 1.0), 0.5 + level / 2))


def _number(value: Any) -> float | None:
    """A float that strict JSON can hold, or None."""
    number = float(value)
    return number if math.isfinite(number) else None
