"""The parts of a report on answers and scores: the graphs of real tables, and metrics with
calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from causal_meta.drawing import chosen_edges
from causal_meta.reports import figures
from causal_meta.reports.evidence import Answer, Evaluation, Evidence, TaskSet
from causal_meta.reports.headline import UNCAUSED, edges_into_uncaused, without_empty
from causal_meta.reports.page import (
    Html,
    Part,
    Picture,
    details,
    html,
    notice,
    paragraphs,
    picture,
    section,
    table,
    tag,
)
from causal_meta.reports.tables import FURTHER, HEADLINE, best_rows, metric, number

_EDGES = 15
_PICTURED = 3


def shown(image: Picture | None) -> Html:
    """A picture in the page."""
    return Html("") if image is None else picture(image.data, image.alt, image.caption)


# -------------------------------------------------------------------------------------- real tables


def graphs_of_tables(evidence: Evidence) -> list[Part]:
    """A part on the causal graph of every real table that a method was applied to."""
    return [_graph(tasks) for tasks in evidence.task_sets if tasks.is_table and tasks.answers]


def _graph(tasks: TaskSet) -> Part:
    """The graph of one real table: pictures, warnings, the strongest edges by every method, and
    impossible edges."""
    ours = [answer for answer in tasks.answers if answer.is_model][:_PICTURED] or tasks.answers[:1]
    parts: list[Html] = [
        tag(
            "p",
            f"{tasks.size}. Row causes column; a probability is the model's, given this table "
            "alone.",
            class_="note",
        )
    ]
    images: list[Picture] = []
    for answer in ours:
        pair = figures.graph(tasks, answer)
        images += pair
        several = tag("h3", f"According to {answer.label}") if len(ours) > 1 else None
        parts += [
            html([several, *_warnings(answer)]),
            _cyclicity(answer),
            tag("div", *(shown(image) for image in pair), class_="pictures"),
        ]
    parts += [_strongest(tasks, ours[0]), _impossible(tasks)]
    anchor = f"table-{tasks.artifact.id}"
    body = section(f"The graph of {tasks.title}", *parts, anchor=anchor)
    return Part(anchor, f"Graph of {tasks.title}", body, images)


def _warnings(answer: Answer) -> list[Html]:
    if not answer.is_model:
        return []
    if answer.warnings is None:
        return [
            notice(
                tag(
                    "p",
                    "This run recorded no check of whether the table resembles the model's "
                    "training data.",
                )
            )
        ]
    return [
        notice(tag("p", tag("strong", "Warning. "), words), loud=True) for words in answer.warnings
    ]


def _cyclicity(answer: Answer) -> Html:
    if answer.acyclic_share is None:
        return Html("")
    cyclic = (
        " Probabilities of single edges are not affected; sampled graphs with cycles are counted, "
        "not repaired."
        if answer.acyclic_share < 1
        else ""
    )
    return tag(
        "p",
        f"{answer.acyclic_share:.1%} of {answer.n_samples} graphs sampled from {answer.label} are "
        f"acyclic.{cyclic}",
    )


def _edge(tasks: TaskSet, i: int, j: int) -> str:
    return f"{tasks.columns[i]} → {tasks.columns[j]}"


def _strongest(tasks: TaskSet, first: Answer) -> Html:
    """The most probable edges of the first answer with their probabilities in the others, then
    edges that are probable only in others."""
    chosen = [(i, j) for i, j, _ in chosen_edges(first.probabilities, 0.0, _EDGES)]
    others = [
        answer
        for answer in tasks.answers
        if answer is not first and answer.method.kind not in ("empty", "random")
    ]
    support: dict[tuple[int, int], int] = {}
    for answer in others:
        for i, j, _ in chosen_edges(answer.probabilities, 0.8):
            support[i, j] = support.get((i, j), 0) + 1
    missed = sorted(
        (edge for edge in support if edge not in chosen), key=lambda edge: (-support[edge], edge)
    )[:8]
    header = [
        "edge",
        first.label,
        "its reverse",
        *(answer.label for answer in others),
        *(["true"] if tasks.truth is not None else []),
    ]
    result = [
        tag("h3", "Strongest edges, and their probabilities by the alternatives"),
        table(header, _edge_rows(tasks, first, others, chosen), class_="edges"),
    ]
    if missed:
        words = (
            f"Edges outside this list that an alternative gives at least 0.8 ({len(missed)} shown)"
        )
        result += [
            tag("h4", words),
            table(header, _edge_rows(tasks, first, others, missed), class_="edges"),
        ]
    if others:
        words = (
            "For the bootstraps, the share of replicates whose graph has the edge. Neither these "
            "nor the model's are certain facts."
        )
        result.append(tag("p", words, class_="note"))
    return html(result)


def _edge_rows(
    tasks: TaskSet, first: Answer, others: Sequence[Answer], edges: Sequence[tuple[int, int]]
) -> list[list[Any]]:
    rows = []
    for i, j in edges:
        values = [
            first.probabilities[i, j],
            first.probabilities[j, i],
            *(answer.probabilities[i, j] for answer in others),
        ]
        truth = (
            []
            if tasks.truth is None
            else ["yes" if tasks.truth[i, j] else "reversed" if tasks.truth[j, i] else "no"]
        )
        rows.append([_edge(tasks, i, j), *(number(float(value), 2) for value in values), *truth])
    return rows


def _impossible(tasks: TaskSet) -> Html:
    """The probabilities of edges into columns that nothing can cause, by every method."""
    targets = [name for name in tasks.columns if name.lower() in UNCAUSED]
    if not targets or len(targets) == len(tasks.columns):
        return Html("")
    rows = []
    for answer in tasks.answers:
        edges = edges_into_uncaused(tasks, answer)
        which = _edge(tasks, *edges[0][:2]) if edges[0][2] > 0 else "none"
        rows.append(
            [answer.label, number(sum(p for _, _, p in edges), 2), number(edges[0][2], 2), which]
        )
    names = " and ".join(targets)
    pairs = len(targets) * (len(tasks.columns) - 1)
    words = (
        f"Nothing measured in a table like this can cause {names}, so every edge into "
        f"{'it' if len(targets) == 1 else 'them'} is a mistake."
    )
    header = ["method", f"edges expected of {pairs}", "largest probability", "which edge"]
    listed = [answer for answer in tasks.answers if answer.is_model][:1] or tasks.answers[:1]
    every = [
        [_edge(tasks, i, j), number(p, 3)]
        for answer in listed
        for i, j, p in edges_into_uncaused(tasks, answer)
    ]
    full = details(
        f"Every edge into {names} according to {listed[0].label}",
        table(["edge", "probability"], every),
    )
    return html(
        [tag("h3", f"Edges into {names}"), tag("p", words), table(header, rows, words=[3]), full]
    )


# ------------------------------------------------------------------------------------------- scores


def scores(evidence: Evidence) -> list[Part]:
    """A part with the scores on every task set that methods were evaluated on."""
    return [_scores(tasks) for tasks in evidence.task_sets if tasks.evaluations]


def _scores(tasks: TaskSet) -> Part:
    """The metric tables of one task set, one per set of conventions; calibration and bars for the
    conventions that most evaluations share."""
    parts: list[Html] = [tag("p", f"{tasks.size}.", class_="note")]
    images: list[Picture] = []
    for k, group in enumerate(tasks.groups()):
        if len(tasks.groups()) > 1:
            parts.append(
                tag(
                    "h3",
                    f"Scored with other conventions: {_settings(group)}" if k else _settings(group),
                )
            )
        if not any(item.method.kind == "empty" for item in group):
            parts.append(
                notice(
                    tag(
                        "p",
                        tag("strong", "The empty graph is missing. "),
                        without_empty(tasks, group),
                    ),
                    loud=True,
                )
            )
        parts.append(metric_rows(group, HEADLINE))
        parts.append(tag("p", _legend(group), class_="note"))
        pictures = (
            [figures.calibration(tasks, group), figures.comparison(tasks, group)] if k == 0 else []
        )
        images += [image for image in pictures if image is not None]
        parts.append(tag("div", *(shown(image) for image in pictures), class_="pictures"))
        parts.append(details("All metrics", metric_rows(group, FURTHER)))
        parts.append(details("What the numbers mean", conventions(group)))
    anchor, title = f"scores-{tasks.artifact.id}", f"Scores on {tasks.title}"
    return Part(anchor, title, section(title, *parts, anchor=anchor), images)


def _settings(group: Sequence[Evaluation]) -> str:
    words = group[0].metrics.get("conventions", {})
    return (
        ", ".join(str(words[key]) for key in ("shd_reversal", "ece_bins") if key in words)
        or "its own conventions"
    )


def metric_rows(group: Sequence[Evaluation], names: Sequence[str]) -> Html:
    """Methods by metrics; the best of a column is tinted and marked, and bold only where the lead
    is clear."""
    known = [name for name in names if any(item.entry(name)["mean"] is not None for item in group)]
    best = {
        name: best_rows([item.entry(name) for item in group], metric(name).better) for name in known
    }
    counts = {item.metrics.get("n_tasks") for item in group}
    header = [
        "method",
        *(["tasks"] if len(counts) > 1 else []),
        *(_column_title(group, name) for name in known),
        "CPU s",
    ]
    rows = []
    for k, item in enumerate(group):
        cells = [_cell(item, name, k in best[name][0], best[name][1]) for name in known]
        seconds = (item.metrics.get("seconds_per_task") or {}).get("mean")
        label = tag(
            "span", item.label, title=item.method.id, class_="ours" if item.is_model else None
        )
        count = [item.metrics.get("n_tasks", "—")] if len(counts) > 1 else []
        rows.append([label, *count, *cells, number(seconds, 2 if (seconds or 0) >= 0.01 else 4)])
    return table(header, rows, class_="scores")


def _column_title(group: Sequence[Evaluation], name: str) -> Html:
    shown_as = metric(name)
    arrow = {1: "\u00a0↑", -1: "\u00a0↓", 0: ""}[shown_as.better]
    chance = None
    if name == "auprc":
        density = next(
            (
                item.entry("density")["mean"]
                for item in group
                if item.entry("density")["mean"] is not None
            ),
            None,
        )
        chance = tag("span", f"chance {number(density, 3)}", class_="chance")
    return html([shown_as.title.replace("E-", "E‑", 1) + arrow, chance])


def _cell(item: Evaluation, name: str, is_best: bool, is_clear: bool) -> Html:
    entry, digits = item.entry(name), metric(name).digits
    text = number(entry["mean"], digits)
    value = tag("strong", text) if is_best and is_clear else html(text)
    error = (
        tag("span", f"± {number(entry['se'], digits)}", class_="se")
        if None not in (entry["mean"], entry["se"])
        else None
    )
    fewer = (
        tag("span", f"n = {entry['n']}", class_="se")
        if entry["mean"] is not None and entry["n"] != item.metrics.get("n_tasks")
        else None
    )
    mark = "• " if is_best else None
    return tag("td", mark, value, error, fewer, class_="n best" if is_best else "n")


def _legend(group: Sequence[Evaluation]) -> str:
    several = (group[0].metrics.get("n_tasks") or 0) > 1
    words = (
        f"Mean ± one standard error over {group[0].metrics['n_tasks']} tasks"
        if several
        else "One task, so there is no standard error and no lead is called clear"
    )
    words += (
        ". ↑ more is better, ↓ less. • best of its column; bold only if it leads every other "
        "row by more than the standard error of the difference."
    )
    if any(
        item.entry(name)["n"] not in (0, item.metrics.get("n_tasks"))
        for item in group
        for name in HEADLINE
    ):
        words += (
            " n: the number of tasks for which the metric is defined, where it is not for "
            "all of them."
        )
    return (
        words + " — not defined. Compare AUPRC with its chance level, the density of the true "
        "graphs; CPU s is processor seconds per task."
    )


def conventions(group: Sequence[Evaluation]) -> Html:
    """The conventions of the evaluation in words; where rows differ, for each row."""
    every: list[Mapping[str, Any]] = [item.metrics.get("conventions", {}) for item in group]
    items = []
    for key in dict.fromkeys(key for words in every for key in words):
        labels: dict[str, list[str]] = {}
        for item, words in zip(group, every, strict=True):
            if key in words:
                labels.setdefault(str(words[key]), []).append(item.label)
        name = metric(key).title if key in (*HEADLINE, *FURTHER) else key.replace("_", " ")
        text = next(iter(labels))
        if len(labels) > 1:
            text = "; ".join(f"{text} ({', '.join(labels[text])})" for text in sorted(labels))
        items.append(tag("li", tag("strong", f"{name}: "), text))
    return tag("ul", *items) if items else paragraphs(["The evaluation recorded no conventions."])
