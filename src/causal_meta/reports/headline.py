"""The first part of a report: its results in sentences generated from the numbers, good or bad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from causal_meta.drawing import chosen_edges
from causal_meta.reports.evidence import Answer, Evaluation, Evidence, TaskSet
from causal_meta.reports.tables import lead_is_clear, metric, number

#: Columns that nothing else in a table of people can cause: an edge into them is an error even
#: where the true graph is unknown.
UNCAUSED = ("age", "sex", "gender")


@dataclass(frozen=True)
class Finding:
    """One result of the report: its subject, and the result as a sentence."""

    subject: str
    words: str


#: What is shown if there are no findings.
NOTHING = Finding(
    "Nothing to compare yet",
    "No model has answered or been scored; the report shows what was built.",
)


def findings(evidence: Evidence) -> list[Finding]:
    """The graphs that models infer from real tables, then the scores of every model on every task
    set."""
    results = [
        _about_answer(tasks, answer)
        for tasks in evidence.task_sets
        for answer in tasks.answers
        if answer.is_model
    ]
    for tasks in evidence.task_sets:
        for group in tasks.groups()[:1]:
            results += [_about_scores(tasks, group, item) for item in group if item.is_model]
    return results


def _about_answer(tasks: TaskSet, answer: Answer) -> Finding:
    edges = chosen_edges(answer.probabilities, 0.5)
    strongest = [f"{tasks.columns[i]} → {tasks.columns[j]} ({p:.2f})" for i, j, p in edges[:5]]
    d = len(tasks.columns)
    words = (
        f"{len(edges)} of {d * (d - 1)} possible edges {'is' if len(edges) == 1 else 'are'} "
        "more likely than not"
    )
    words += f"; the strongest: {', '.join(strongest)}." if strongest else "."
    impossible = edges_into_uncaused(tasks, answer)
    if impossible:
        i, j, p = impossible[0]
        names = " and ".join(name for name in tasks.columns if name.lower() in UNCAUSED)
        them = "them" if " and " in names else "it"
        verdict = (
            "as low as it must be"
            if p < 0.1
            else "higher than it should be"
            if p < 0.5
            else "which is wrong"
        )
        words += (
            f" Nothing can cause {names}: of the edges into {them} the most probable, "
            f"{tasks.columns[i]} → {tasks.columns[j]}, "
        )
        words += f"has {p:.2f}, {verdict}."
    if answer.acyclic_share is not None:
        words += (
            f" {answer.acyclic_share:.0%} of its {answer.n_samples} sampled graphs are acyclic."
        )
    if answer.warnings:
        words += (
            " Read the "
            f"{'warning' if len(answer.warnings) == 1 else f'{len(answer.warnings)} warnings'} "
            "below before using this."
        )
    return Finding(f"{tasks.title} ({tasks.size}), answered by {answer.label}", words)


def edges_into_uncaused(tasks: TaskSet, answer: Answer) -> list[tuple[int, int, float]]:
    """All edges into columns of `UNCAUSED` as (cause, effect, probability), likeliest first."""
    p = answer.probabilities
    targets = [j for j, name in enumerate(tasks.columns) if name.lower() in UNCAUSED]
    pairs = [(i, j, float(p[i, j])) for j in targets for i in range(len(p)) if i != j]
    return sorted(pairs, key=lambda edge: (-edge[2], edge[0], edge[1]))


def _about_scores(tasks: TaskSet, group: Sequence[Evaluation], item: Evaluation) -> Finding:
    words = f"AUROC {_value(item, 'auroc')}; AUPRC {_value(item, 'auprc')}"
    precision, density = item.entry("auprc")["mean"], item.entry("density")["mean"]
    if precision is not None and density:
        words += f", {precision / density:.1f} times its chance level {density:.3f}"
    words += f". Expected structural Hamming distance {_value(item, 'e_shd')}"
    others = [other for other in group if not other.is_model]
    empty = next((other for other in others if other.method.kind == "empty"), None)
    rivals = [
        other
        for other in others
        if other.method.kind not in ("empty", "random") and other.entry("e_shd")["mean"] is not None
    ]
    comparisons = (
        [f"{_relation(item, empty)} the empty graph ({_value(empty, 'e_shd')})"] if empty else []
    )
    if rivals:
        rival = min(rivals, key=lambda other: other.entry("e_shd")["mean"])
        comparisons.append(
            f"{_relation(item, rival)} the best alternative, {rival.label} "
            f"({_value(rival, 'e_shd')})"
        )
    return Finding(
        f"{item.label}, scored on {tasks.title} ({tasks.size})",
        words + (": " + " and ".join(comparisons) if comparisons else "") + ".",
    )


def _relation(item: Evaluation, other: Evaluation) -> str:
    ours, theirs = item.entry("e_shd"), other.entry("e_shd")
    if ours["mean"] is None or theirs["mean"] is None:
        return "not comparable with"
    if ours["se"] is not None and theirs["se"] is not None and not lead_is_clear(ours, theirs):
        return "within one standard error of"
    return (
        "lower (better) than"
        if ours["mean"] < theirs["mean"]
        else "equal to"
        if ours["mean"] == theirs["mean"]
        else "higher (worse) than"
    )


def _value(item: Evaluation, name: str) -> str:
    entry, digits = item.entry(name), metric(name).digits
    return number(entry["mean"], digits) + (
        f"\u00a0±\u00a0{number(entry['se'], digits)}" if entry["se"] is not None else ""
    )


def alarms(evidence: Evidence) -> list[str]:
    """A sentence about everything that casts doubt on the report: runs that were left out, scores
    without the empty graph, impossible edges that a model finds likely."""
    sentences = list(evidence.problems)
    for tasks in evidence.task_sets:
        for group in tasks.groups():
            if not any(item.method.kind == "empty" for item in group):
                sentences.append(without_empty(tasks, group))
        for answer in tasks.answers:
            likely = [edge for edge in edges_into_uncaused(tasks, answer) if edge[2] >= 0.5]
            if answer.is_model and likely:
                edges = ", ".join(
                    f"{tasks.columns[i]} → {tasks.columns[j]} ({p:.2f})" for i, j, p in likely[:5]
                )
                sentences.append(
                    f"In {tasks.title}, {answer.label} gives impossible edges a probability of at "
                    f"least 0.5: {edges}. Treat its other edges with caution, too."
                )
    return sentences


def without_empty(tasks: TaskSet, group: Sequence[Any]) -> str:
    """The sentence that replaces a missing row of the empty graph."""
    reversal = getattr(group[0].run.config, "shd_reversal", 1)
    extra = "" if reversal == 1 else f" shd_reversal={reversal}"
    return (
        f"The scores on {tasks.title} have no row for the empty graph, which beats many published "
        "posteriors on E-SHD; without it the table "
        f"cannot be judged. Make it: causal-meta infer empty of={tasks.artifact.id}, then "
        f"causal-meta evaluate of={tasks.artifact.id} posterior=RUN{extra}."
    )
