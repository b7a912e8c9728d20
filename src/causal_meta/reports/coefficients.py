"""The parts of a report on learning coefficients: what samplers estimated around each trained
network, from their analyses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from causal_meta import drawing
from causal_meta.conf.labels import labels_of
from causal_meta.conf.samplers import SamplerConfig
from causal_meta.drawing import chains
from causal_meta.monitoring.chains import diagnostics
from causal_meta.records.analyses import read_analysis
from causal_meta.reports.evidence import Evidence
from causal_meta.reports.headline import Finding
from causal_meta.reports.page import Html, Part, Picture, details, picture, section, table, tag
from causal_meta.reports.tables import number
from causal_meta.store import Artifact

_DRAWN = ("trace", "rank", "energy", "wnv")
NOTE = (
    "λ̂ = nβ (E[L(w)] − L(w*)) under the posterior around w*, ± its standard error (Monte Carlo, "
    "and the remaining bias of the step size). "
    "Gradients count those of all rows, warm-up included; seconds leave compiling out."
)


@dataclass(frozen=True)
class Estimated:
    """A target and the samplers' runs on it, each with a distinct label and its analysis."""

    target: Artifact
    title: str
    runs: list[tuple[str, Artifact, dict[str, Any]]]

    @cached_property
    def exact(self) -> dict[str, float]:
        """The exact values (lambda, multiplicity, expected) that are known and the same for all
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
    by_target: dict[str, list[tuple[Artifact, dict[str, Any]]]] = {}
    for run in evidence.artifacts:
        if not isinstance(run.config, SamplerConfig):
            continue
        try:
            analysis = read_analysis(run)
        except ValueError as error:
            sentence = f"{run.id} ({run.kind}) could not be read and is left out: {error}"
            evidence.problems += [sentence] if sentence not in evidence.problems else []
        else:
            by_target.setdefault(run.inputs["of"], []).append((run, analysis))
    targets = {item.id: item for item in evidence.artifacts if item.id in by_target}
    return [_named(targets[key], by_target[key], evidence) for key in by_target if key in targets]


def _named(
    target: Artifact, runs: Sequence[tuple[Artifact, dict[str, Any]]], evidence: Evidence
) -> Estimated:
    labels = labels_of([run.config for run, _ in runs])
    return Estimated(
        target,
        evidence.name_of(target),
        [(label, run, analysis) for label, (run, analysis) in zip(labels, runs, strict=True)],
    )


def findings(evidence: Evidence) -> list[Finding]:
    """For each target the estimate with the smallest error among those without flags, or a sentence
    saying that there is none."""
    return [_finding(item) for item in estimated(evidence)]


def _finding(item: Estimated) -> Finding:
    sound = [
        (label, analysis)
        for label, _, analysis in item.runs
        if analysis["llc_mean"] is not None and not analysis["flags"]
    ]
    subject = f"Complexity of {item.title}"
    dims = item.target.meta.get("dims", {})
    of = f" of {dims['p']:,} parameters" if "p" in dims else ""
    if not sound:
        return Finding(
            subject,
            f"No estimate without flags; each of the {len(item.runs)} runs is explained below.",
        )
    label, analysis = min(sound, key=lambda pair: pair[1]["llc_error"])
    low, high = analysis["interval"]
    interval = f"95 % interval {number(low, 3)} to {number(high, 3)}"
    words = f"λ̂ = {_estimate(analysis)} by {label}, {interval}"
    words += (
        ""
        if analysis["n_parameters"] is None
        else f"; a regular model{of} would have {analysis['n_parameters'] / 2:g}"
    )
    return Finding(subject, f"{words}.{_known(item)}")


def _known(item: Estimated) -> str:
    """The exact values as sentences, each with a blank before it."""
    words = (
        f" The exact expectation at this n, β and γ is {number(item.exact['expected'], 4)}."
        if "expected" in item.exact
        else ""
    )
    return words + (
        f" The exact limit of large n is λ = {item.exact['lambda']:g}."
        if "lambda" in item.exact
        else ""
    )


def alarms(evidence: Evidence) -> list[str]:
    """A sentence about every run in which chains failed."""
    return [
        f"{len(analysis['failed_chains'])} of {analysis['chains']} chains of {label} on "
        f"{item.title} "
        f"failed ({run.id})."
        for item in estimated(evidence)
        for label, run, analysis in item.runs
        if analysis["failed_chains"]
    ]


def coefficients(evidence: Evidence) -> list[Part]:
    """A part on the learning coefficient of every target that samplers were run on."""
    return [_coefficient(item) for item in estimated(evidence)]


def _coefficient(item: Estimated) -> Part:
    """A table of the runs on one target, their running estimates in one picture, and the
    diagnostics of each."""
    header = ["sampler", "λ̂", "ESS", "R-hat", "divergences", "gradients", "seconds", "flags"]
    rows = [_row(label, analysis) for label, _, analysis in item.runs]
    parts: list[Html] = [tag("p", NOTE, class_="note")]
    if item.exact:
        parts.append(tag("p", _known(item)))
    parts.append(table(header, rows, words=[7]))
    images = _picture(item)
    parts += [picture(image.data, image.alt, image.caption) for image in images]
    parts += [_details(label, run, analysis) for label, run, analysis in item.runs]
    anchor, title = f"llc-{item.target.id}", f"Learning coefficient of {item.title}"
    return Part(anchor, title, section(title, *parts, anchor=anchor), images)


def _row(label: str, analysis: dict[str, Any]) -> list[str]:
    seconds = sum(analysis[name] or 0.0 for name in ("warmup_sec", "sampling_sec"))
    divergences = "—" if analysis["divergences"] is None else str(analysis["divergences"])
    work = "—" if analysis["total_fges"] is None else f"{analysis['total_fges']:,.0f}"
    flags = ", ".join(analysis["flags"]) or "none"
    return [
        label,
        _estimate(analysis),
        number(analysis["ess"], 0),
        number(analysis["rhat"], 3),
        divergences,
        work,
        number(seconds, 2),
        flags,
    ]


def _estimate(analysis: dict[str, Any]) -> str:
    return (
        "no usable chain"
        if analysis["llc_mean"] is None
        else f"{number(analysis['llc_mean'], 3)}\u00a0±\u00a0{number(analysis['llc_error'], 3)}"
    )


def _picture(item: Estimated) -> list[Picture]:
    estimates = {
        label: chains.Running(**analysis["running"])
        for label, _, analysis in item.runs
        if analysis["running"]["draws"]
    }
    if not estimates:
        return []
    figure = chains.compare(
        estimates,
        exact=item.level,
        title=f"Learning coefficient of {item.title}",
        note="running estimates with 95 % bands",
    )
    alt = (
        f"Running estimates of the learning coefficient of {item.title} over gradients and "
        f"seconds: {', '.join(estimates)}."
    )
    return [Picture(f"inference/figures/{item.target.id}-llc.png", drawing.png(figure), alt, "")]


def _details(label: str, run: Artifact, analysis: dict[str, Any]) -> Html:
    """The flags of a run, its chains that failed, and its pictures."""
    lines = [
        tag("p", tag("strong", f"{name}: "), words)
        for name, words in analysis["flag_details"].items()
    ]
    lines += [
        tag("p", f"Chain {chain['chain']} failed: {chain['reason']}.")
        for chain in analysis["failed_chains"]
    ]
    try:
        images = _diagnostics(run)
    except ValueError as error:
        images = {}
        lines.append(tag("p", f"There are no pictures: {error}"))
    pictures = [picture(data, f"{name} of {label}") for name, data in images.items()]
    return details(f"Diagnostics of {label}", *lines, *pictures)


def _diagnostics(run: Artifact) -> dict[str, bytes]:
    """The pictures of a sampler's run by name as PNG: those in its folder, or newly drawn. Raises
    ValueError if its trace cannot be read."""
    files = [run.folder / "diagnostics" / f"{name}.png" for name in _DRAWN]
    ready = {file.stem: file.read_bytes() for file in files if file.is_file()}
    if ready:
        return ready
    figures = diagnostics(run.folder, {})
    return {name: drawing.png(figures[name]) for name in _DRAWN if name in figures}


def record(item: Estimated) -> dict[str, Any]:
    """The estimates of a target as plain data."""
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
        {"sampler": label, "run_id": run.id, **{name: analysis[name] for name in kept}}
        for label, run, analysis in item.runs
    ]
    return {"target": item.title, "target_id": item.target.id, "exact": item.exact, "runs": runs}
