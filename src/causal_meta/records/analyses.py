"""What a sampler's run says of a learning coefficient: `analysis.json`, read back. Loads neither
JAX nor torch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from causal_meta.store import Artifact

ANALYSIS, TRACE = "analysis.json", "trace.nc"


def read_analysis(run: Artifact) -> dict[str, Any]:
    """The estimate of a run. Raises ValueError in one sentence if the run has none or it cannot be
    read."""
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


def in_words(analysis: dict[str, Any]) -> list[str]:
    """An analysis in a few lines: the estimate with its error, how well the chains mixed, what it
    cost, and what speaks against it."""
    said = [_estimate(analysis), f"  {', '.join(_mixing(analysis))}", f"  {_cost(analysis)}"]
    known = exact_in_words(analysis["exact"])
    said += [f"  {known}"] if known else []
    said += [
        f"  chain {chain['chain']} failed: {chain['reason']}" for chain in analysis["failed_chains"]
    ]
    return said + [f"  flag {name}: {told}" for name, told in analysis["flag_details"].items()]


def exact_in_words(exact: dict[str, Any]) -> str:
    """What is known exactly: nβ E[L_n(w) - L_n(w*)] at this n, β and γ, and its limit λ; nothing
    where nothing is."""
    said = []
    if exact.get("expected") is not None:
        said.append(f"exact expectation at this n, β and γ: {exact['expected']:.5g}")
    if exact.get("lambda") is not None:
        m = exact.get("multiplicity")
        said.append(
            "exact limit of large n: λ = "
            f"{exact['lambda']:g}{'' if m is None else f', multiplicity {m:g}'}"
        )
    return "; ".join(said)


def _estimate(analysis: dict[str, Any]) -> str:
    who = f"{analysis['sampler']} on {analysis['target_id']}"
    if analysis["llc_mean"] is None:
        return f"{who}: no estimate, since no chain is sound"
    low, high = analysis["interval"]
    bias = analysis.get("bias_estimate")
    step = "" if bias is None else f"; the step size adds about {bias:.2g}"
    return (
        f"{who}: λ̂ = {analysis['llc_mean']:.4g} ± {analysis['llc_error']:.2g}, 95 % interval "
        f"{low:.4g} to {high:.4g}{step}"
    )


def _mixing(analysis: dict[str, Any]) -> list[str]:
    what = "fits" if analysis["independent"] else "chains"
    said = [f"{analysis['chains']} {what} × {analysis['draws']} draws"]
    for name, words in (
        ("ess_bulk", "ESS {:.0f} bulk"),
        ("ess_tail", "{:.0f} tail"),
        ("rhat", "R-hat {:.3f}"),
        ("acceptance", "acceptance {:.2f}"),
    ):
        if analysis[name] is not None:
            said.append(words.format(analysis[name]))
    if analysis["divergences"] is not None:
        said.append(f"{analysis['divergences']} divergences")
    if analysis["pareto_k"] is not None:
        said.append(f"Pareto k {analysis['pareto_k']:.2f}")
    return said


def _cost(analysis: dict[str, Any]) -> str:
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
