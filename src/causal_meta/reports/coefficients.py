"""The part of a report on learning coefficients: what samplers found around each trained network,
from their `analysis.json` alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from causal_meta import drawing
from causal_meta.conf.labels import labels_of
from causal_meta.conf.samplers import SamplerConfig
from causal_meta.drawing import chains
from causal_meta.monitoring.chains import diagnostics
from causal_meta.reports.evidence import Evidence
from causal_meta.reports.figures import Picture
from causal_meta.reports.headline import Finding
from causal_meta.reports.page import Html, details, picture, section, table, tag
from causal_meta.reports.tables import number
from causal_meta.store import Artifact

_DRAWN = ("trace", "rank", "energy", "wnv")
NOTE = (
    "λ̂ = nβ (E[L(w)] − L(w*)) under the posterior around w*, ± its standard error (Monte Carlo, "
    "and what is left of the bias of the step size). "
    "Gradients count those of all rows, warm-up included; seconds leave compiling out."
)


@dataclass(frozen=True)
class Estimated:
    """A target and the samplers' runs on it, each with a label of its own and its analysis."""

    target: Artifact
    title: str
    runs: list[tuple[str, Artifact, dict[str, Any]]]

    @cached_property
    def exact(self) -> dict[str, float]:
        """What is known exactly (lambda, multiplicity, expected), where it is the same for all
        runs."""
        known = [analysis["exact"] for _, _, analysis in self.runs]
        return known[0] if all(other == known[0] for other in known) else {}

    @property
    def level(self) -> float | None:
        """The exact expectation that the runs estimate, else its limit λ, else None."""
        return self.exact.get("expected", self.exact.get("lambda"))


def estimated(evidence: Evidence) -> list[Estimated]:
    """The targets of the evidence that samplers were run on; a run that cannot be read becomes a
    problem of the evidence."""
    found: dict[str, list[tuple[Artifact, dict[str, Any]]]] = {}
    for run in evidence.artifacts:
        if not isinstance(run.config, SamplerConfig):
            continue
        try:
            analysis = json.loads((run.folder / "analysis.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            sentence = f"{run.id} ({run.kind}) could not be read and is left out: {error}."
            evidence.problems += [sentence] if sentence not in evidence.problems else []
        else:
            found.setdefault(run.inputs["of"], []).append((run, analysis))
    targets = {item.id: item for item in evidence.artifacts if item.id in found}
    return [_named(targets[key], runs, evidence) for key, runs in found.items() if key in targets]


def _named(
    target: Artifact, runs: Sequence[tuple[Artifact, dict[str, Any]]], evidence: Evidence
) -> Estimated:
    labels = labels_of([run.config for run, _ in runs])
    return Estimated(
        target,
        evidence.name_of(target),
        [(label, run, told) for label, (run, told) in zip(labels, runs, strict=True)],
    )


def findings(found: Sequence[Estimated]) -> list[Finding]:
    """Of each target the estimate with the smallest error among those without flags, or that there
    is none."""
    return [_finding(item) for item in found]


def _finding(item: Estimated) -> Finding:
    sound = [
        (label, told)
        for label, _, told in item.runs
        if told["llc_mean"] is not None and not told["flags"]
    ]
    subject = f"Complexity of {item.title}"
    dims = item.target.meta.get("dims", {})
    of = f" of {dims['p']:,} parameters" if "p" in dims else ""
    if not sound:
        return Finding(
            subject,
            f"No estimate without flags; each of the {len(item.runs)} runs says below what is "
            "wrong with it.",
        )
    label, told = min(sound, key=lambda pair: pair[1]["llc_error"])
    low, high = told["interval"]
    said = f"λ̂ = {_estimate(told)} by {label}, 95 % interval {number(low, 3)} to {number(high, 3)}"
    said += (
        ""
        if told["n_parameters"] is None
        else f"; a regular model{of} would have {told['n_parameters'] / 2:g}"
    )
    return Finding(subject, f"{said}.{_known(item)}")


def _known(item: Estimated) -> str:
    """The exact values as sentences, each with a blank before it."""
    said = (
        f" The exact expectation at this n, β and γ is {number(item.exact['expected'], 4)}."
        if "expected" in item.exact
        else ""
    )
    return said + (
        f" The exact limit of large n is λ = {item.exact['lambda']:g}."
        if "lambda" in item.exact
        else ""
    )


def alarms(found: Sequence[Estimated]) -> list[str]:
    """Chains that failed."""
    return [
        f"{len(told['failed_chains'])} of {told['chains']} chains of {label} on {item.title} "
        f"failed ({run.id})."
        for item in found
        for label, run, told in item.runs
        if told["failed_chains"]
    ]


def coefficient(item: Estimated) -> tuple[Html, list[Picture]]:
    """The section on one target: a table of its runs, their running estimates in one picture, and
    the diagnostics of each."""
    header = ["sampler", "λ̂", "ESS", "R-hat", "divergences", "gradients", "seconds", "flags"]
    rows = [_row(label, told) for label, _, told in item.runs]
    parts: list[Html] = [tag("p", NOTE, class_="note")]
    if item.exact:
        parts.append(tag("p", _known(item)))
    parts.append(table(header, rows, words=[7]))
    images = _picture(item)
    parts += [picture(image.data, image.alt, image.caption) for image in images]
    parts += [_details(label, run, told) for label, run, told in item.runs]
    return section(
        f"Learning coefficient of {item.title}", *parts, anchor=f"llc-{item.target.id}"
    ), images


def _row(label: str, told: dict[str, Any]) -> list[str]:
    seconds = sum(told[name] or 0.0 for name in ("warmup_sec", "sampling_sec"))
    divergences = "—" if told["divergences"] is None else str(told["divergences"])
    work = "—" if told["total_fges"] is None else f"{told['total_fges']:,.0f}"
    flags = ", ".join(told["flags"]) or "none"
    return [
        label,
        _estimate(told),
        number(told["ess"], 0),
        number(told["rhat"], 3),
        divergences,
        work,
        number(seconds, 2),
        flags,
    ]


def _estimate(told: dict[str, Any]) -> str:
    return (
        "no sound chain"
        if told["llc_mean"] is None
        else f"{number(told['llc_mean'], 3)}\u00a0±\u00a0{number(told['llc_error'], 3)}"
    )


def _picture(item: Estimated) -> list[Picture]:
    drawn = {
        label: chains.Running(**told["running"])
        for label, _, told in item.runs
        if told["running"]["draws"]
    }
    if not drawn:
        return []
    figure = chains.compare(
        drawn,
        exact=item.level,
        title=f"Learning coefficient of {item.title}",
        note="running estimates with 95 % bands",
    )
    alt = (
        f"Running estimates of the learning coefficient of {item.title} over gradients and "
        f"seconds: {', '.join(drawn)}."
    )
    return [Picture(f"inference/figures/{item.target.id}-llc.png", drawing.png(figure), alt, "")]


def _details(label: str, run: Artifact, told: dict[str, Any]) -> Html:
    """What speaks against a run, its chains that failed, and its pictures, as far as they are
    there."""
    lines = [
        tag("p", tag("strong", f"{name}: "), words) for name, words in told["flag_details"].items()
    ]
    lines += [
        tag("p", f"Chain {chain['chain']} failed: {chain['reason']}.")
        for chain in told["failed_chains"]
    ]
    try:
        images = _diagnostics(run)
    except ValueError as error:
        images = {}
        lines.append(tag("p", f"There are no pictures: {error}"))
    pictures = [picture(data, f"{name} of {label}") for name, data in images.items()]
    return details(f"Diagnostics of {label}", *lines, *pictures)


def _diagnostics(run: Artifact) -> dict[str, bytes]:
    """The pictures of a sampler's run by name as PNG: those in its folder, else drawn anew. Raises
    ValueError if its trace cannot be read."""
    files = [run.folder / "diagnostics" / f"{name}.png" for name in _DRAWN]
    ready = {file.stem: file.read_bytes() for file in files if file.is_file()}
    if ready:
        return ready
    figures = diagnostics(run.folder, {})
    return {name: drawing.png(figures[name]) for name in _DRAWN if name in figures}


def record(item: Estimated) -> dict[str, Any]:
    """The estimates of a target for programs."""
    kept = (
        "llc_mean",
        "llc_mcse",
        "llc_error",
        "interval",
        "ess",
        "rhat",
        "total_fges",
        "flags",
        "failed_chains",
        "n_beta",
        "gamma",
    )
    runs = [
        {"sampler": label, "run_id": run.id, **{name: told[name] for name in kept}}
        for label, run, told in item.runs
    ]
    return {"target": item.title, "target_id": item.target.id, "exact": item.exact, "runs": runs}
