"""Reads `analysis.json`, the estimate of a learning coefficient by a sampler's run, and puts it
into words. Loads neither JAX nor torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from causal_meta.store import Artifact

ANALYSIS, TRACE = "analysis.json", "trace.nc"


def read_analysis(run: Artifact) -> dict[str, Any]:
    """The tree of `llc.estimates.estimators.estimate` that a run stored.

    Raises:
        ValueError: in one sentence, if the run has none or it cannot be read.
    """
    path = run.folder / ANALYSIS
    try:
        tree = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{run.id}, a run of kind {run.kind!r}, holds no {ANALYSIS}; give a run of a sampler, "
            "such as hmc."
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); delete {run.folder} to have the run made again."
        ) from None
    return dict(tree)


def in_words(analysis: Mapping[str, Any]) -> list[str]:
    """The lines that describe an analysis: the estimate with its error, mixing, cost, exact values,
    failed chains and flags."""
    lines = [_estimate(analysis), f"  {', '.join(_mixing(analysis))}", f"  {_cost(analysis)}"]
    exact = exact_in_words(analysis["exact"])
    lines += [f"  {exact}"] if exact else []
    lines += [
        f"  chain {chain['chain']} failed: {chain['reason']}" for chain in analysis["failed_chains"]
    ]
    flags = analysis["flag_details"]
    return lines + [f"  flag {name}: {detail}" for name, detail in flags.items()]


def exact_in_words(exact: Mapping[str, Any]) -> str:
    """The exact values nβ E[L_n(w) - L_n(w*)] at this n, β and γ, and its limit λ; an empty string
    where none is known."""
    parts = []
    if exact.get("expected") is not None:
        parts.append(f"exact expectation at this n, β and γ: {exact['expected']:.5g}")
    if exact.get("lambda") is not None:
        m = exact.get("multiplicity")
        parts.append(
            "exact limit of large n: λ = "
            f"{exact['lambda']:g}{'' if m is None else f', multiplicity {m:g}'}"
        )
    return "; ".join(parts)


def exact_level(exact: Mapping[str, float]) -> float | None:
    """The exact expectation at finite n, else the limit λ, else None."""
    value = exact.get("expected", exact.get("lambda"))
    return None if value is None else float(value)


def _estimate(analysis: Mapping[str, Any]) -> str:
    title = f"{analysis['sampler']} on {analysis['target_id']}"
    if analysis["llc_mean"] is None:
        return f"{title}: no estimate, since all chains failed"
    low, high = analysis["interval"]
    bias = analysis.get("bias_estimate")
    step = "" if bias is None else f"; the step size adds about {bias:.2g}"
    return (
        f"{title}: λ̂ = {analysis['llc_mean']:.4g} ± {analysis['llc_error']:.2g}, 95 % interval "
        f"{low:.4g} to {high:.4g}{step}"
    )


def _mixing(analysis: Mapping[str, Any]) -> list[str]:
    unit = "fits" if analysis["independent"] else "chains"
    parts = [f"{analysis['chains']} {unit} × {analysis['draws']} draws"]
    for name, words in (
        ("ess_bulk", "ESS {:.0f} bulk"),
        ("ess_tail", "{:.0f} tail"),
        ("rhat", "R-hat {:.3f}"),
        ("acceptance", "acceptance {:.2f}"),
    ):
        if analysis[name] is not None:
            parts.append(words.format(analysis[name]))
    if analysis["divergences"] is not None:
        parts.append(f"{analysis['divergences']} divergences")
    if analysis["pareto_k"] is not None:
        parts.append(f"Pareto k {analysis['pareto_k']:.2f}")
    return parts


def _cost(analysis: Mapping[str, Any]) -> str:
    work = (
        "an unknown number of"
        if analysis["total_fges"] is None
        else f"{analysis['total_fges']:,.0f}"
    )
    compiled = (
        ""
        if analysis.get("compile_sec") is None
        else f", {analysis['compile_sec']:.1f} s of it compiling"
    )
    return f"{work} gradients, warm-up included; {analysis['walltime_sec']:.1f} s{compiled}"
