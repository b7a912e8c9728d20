"""The page of one answer of `discover`: what is likely, how sure, and what speaks against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from causal_meta.reports.page import (
    Html,
    details,
    facts,
    html,
    notice,
    page,
    paragraphs,
    picture,
    section,
    table,
    tag,
)

#: What the columns of `strongest_edges` hold beside probabilities.
_PAIR = ("cause", "effect")
#: What the columns of `mechanisms` say of a variable.
_KINDS = {
    "nonlinear": "mechanisms are nonlinear with a constant variance",
    "other_noise": "noises are not Gaussian",
    "varying": "variances depend on the causes",
}


def answer_page(summary: Mapping[str, Any], graph_png: bytes) -> str:
    """The page of an answer.

    Args:
        summary: the contents of its `summary.json`.
        graph_png: the picture of its edges.
    """
    parts = [
        ("edges", "Which edges are likely", _edges(summary, graph_png)),
        ("effects", "Total effects", _effects(summary)),
        ("assumptions", "What carries the answer", _assumptions(summary)),
    ]
    if summary.get("metrics"):
        parts.append(("truth", "Against the true graph", _truth(summary)))
    about = summary["table"]
    lead = [
        facts(
            [
                ("table", f"{about['n_rows']} rows, {len(about['columns'])} variables"),
                *(
                    (kind, ", ".join(about[kind]))
                    for kind in ("context", "categorical")
                    if about[kind]
                ),
                *_known(summary["knowledge"]),
                ("method", f"{summary['method']}, {summary['model']}"),
                ("edges expected", f"{summary['expected_edges']:.1f}"),
            ]
        ),
        *([_warnings(summary["warnings"])] if summary["warnings"] else []),
    ]
    body = [*lead, *(section(title, part, anchor=anchor) for anchor, title, part in parts)]
    contents = [(anchor, title) for anchor, title, _ in parts]
    foot = f"causal_meta {summary['version']}, {summary['created_at']}, seed {summary['seed']}"
    return page(f"Causal graphs of {about['title']}", body, contents, foot)


def _known(knowledge: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was known beforehand, as facts."""
    words = {"forbid": "forbidden", "require": "required", "tiers": "tiers"}
    lines = [
        (word, (" < " if key == "tiers" else ", ").join(knowledge[key]))
        for key, word in words.items()
        if key in knowledge
    ]
    most = knowledge.get("max_parents")
    return [*lines, *([("most direct causes", str(most))] if most else [])]


def _warnings(sentences: Sequence[str]) -> Html:
    return notice(tag("p", tag("strong", "What speaks against this answer")), paragraphs(sentences))


def _edges(summary: Mapping[str, Any], graph_png: bytes) -> Html:
    rows = summary["strongest_edges"]
    methods = [key for key in rows[0] if key not in _PAIR] if rows else ["probability"]
    header = ["cause", "effect", *(_title(summary, key) for key in methods)]
    cells = [[row["cause"], row["effect"], *(f"{row[key]:.3f}" for key in methods)] for row in rows]
    best = ", ".join(f"{cause} → {effect}" for cause, effect in summary["graph"]) or "no edge"
    undecided = ", ".join(f"{a} – {b}" for a, b in summary["undirected"])
    return html(
        [
            picture(graph_png, "the edges, darker where they are more probable"),
            tag("p", f"If one graph must be named: {best}."),
            tag("p", f"No independence decides the direction of {undecided} in that graph.")
            if undecided
            else None,
            table(header, cells, words=(1,)),
        ]
    )


def _title(summary: Mapping[str, Any], key: str) -> str:
    return f"by {summary['method']}" if key == "probability" else f"by {key}"


def _effects(summary: Mapping[str, Any]) -> Html:
    if not summary["effects"]:
        return tag("p", "No variable acts on another with a probability of one half or more.")
    cells = [
        [
            row["cause"],
            row["effect"],
            f"{row['probability']:.3f}",
            *(
                ("–", "has several categories")
                if row["mean"] is None
                else (f"{row['mean']:.3g}", f"{row['low']:.3g} to {row['high']:.3g}")
            ),
        ]
        for row in summary["effects"]
    ]
    header = ["cause", "effect", "acts at all", "mean effect", "90 % interval"]
    return html(
        [
            tag(
                "p",
                "The change in the expectation of the effect when the cause is set one unit "
                "higher, in the units of the table: linear part, averaged over graphs. "
                "“Acts at all” is the probability of a directed path.",
            ),
            table(header, cells, words=(1, 4)),
        ]
    )


def _mechanisms(summary: Mapping[str, Any]) -> Html | None:
    """How many variables need more than linear mechanisms with Gaussian noise; older answers do not
    say it."""
    rows = summary.get("mechanisms") or []
    counted = []
    for kind, words in _KINDS.items():
        shares = [row[kind] for row in rows if row[kind] is not None]
        if shares:
            counted.append(f"{sum(share > 0.5 for share in shares)} of {len(shares)} {words}")
    if not counted:
        return None
    cells = [
        [row["variable"], *("–" if row[kind] is None else f"{row[kind]:.2f}" for kind in _KINDS)]
        for row in rows
    ]
    header = ["variable", "nonlinear", "not Gaussian", "variance depends on causes"]
    return html(
        [
            tag(
                "p",
                f"In the graph named above {', '.join(counted)} (a share of the evidence above one "
                "half, under the widest assumptions). Where none of these holds, the rows do not "
                "tell the direction of an edge that no independence decides.",
            ),
            details("By variable", table(header, cells)),
        ]
    )


def _assumptions(summary: Mapping[str, Any]) -> Html:
    lines = paragraphs(summary["diagnostics"])
    if not summary["members"]:
        nothing = tag("p", "The method reports nothing about its work.")
        return html([_mechanisms(summary), lines or nothing])
    rows = [
        [one["name"], f"{one['expected_edges']:.1f}", f"{one['differs_by']:.1f}"]
        for one in summary["members"]
    ]
    return html(
        [
            tag(
                "p",
                "The answer is an average, with fixed weights, of posteriors under different "
                "assumptions about mechanisms and noise, on all rows and on halves of them.",
            ),
            table(["assumptions", "edges expected", "edges that differ from the answer"], rows),
            _mechanisms(summary),
            details("About the computation", lines) if summary["diagnostics"] else None,
        ]
    )


def _truth(summary: Mapping[str, Any]) -> Html:
    return facts(
        (name, f"{value:.3f}") for name, value in summary["metrics"].items() if value is not None
    )
