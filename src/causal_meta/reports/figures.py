"""The pictures of a report, from its evidence: loss and validation curves, calibration, comparison
of methods, the graph of a real table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from causal_meta import drawing
from causal_meta.facts import read_scalars
from causal_meta.monitoring.curves import WORDS, loss_panels, metric_panels
from causal_meta.reports.evidence import Answer, Evaluation, Evidence, TaskSet
from causal_meta.reports.page import Picture
from causal_meta.reports.tables import metric
from causal_meta.store import Artifact

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = ("auroc", "auprc", "e_shd", "e_parent_aid", "ece", "e_f1")
_CALIBRATED = 5


def _picture(part: str, name: str, figure: Figure, alt: str, caption: str = "") -> Picture:
    return Picture(f"{part}/figures/{name}.png", drawing.png(figure), alt, caption)


def training(model: Artifact, evidence: Evidence) -> list[Picture]:
    """Loss (with its parts) and validation metrics of one model over its training; empty where the
    facts hold no curves."""
    scalars = read_scalars(model.folder)
    name = evidence.name_of(model)
    pictures = []
    losses = loss_panels(scalars)
    first = {key: losses.pop(key) for key in ("loss",) if key in losses}
    first |= {
        key: panel
        for key, panel in metric_panels(scalars).items()
        if key in (WORDS["auroc"], WORDS["auprc"])
    }
    if first:
        figure = drawing.curves(first, smooth=0.9)
        alt = f"Curves over the training of {name}: {', '.join(first)}."
        pictures.append(
            _picture(
                "training",
                f"{model.id}-loss",
                figure,
                alt,
                "Pale: every record; bold: the mean of its neighbours.",
            )
        )
    rest = losses | {
        key: panel for key, panel in metric_panels(scalars).items() if key not in first
    }
    if rest:
        alt = f"Further curves over the training of {name}: {', '.join(rest)}."
        pictures.append(
            _picture("training", f"{model.id}-further", drawing.curves(rest, smooth=0.9), alt)
        )
    return pictures


def calibration(tasks: TaskSet, group: Sequence[Evaluation]) -> Picture | None:
    """Reliability of the models and of the first baselines, without baselines that state only one
    or two different probabilities (empty, random)."""
    used = {
        item.label: sum(b["count"] > 0 for b in item.metrics.get("reliability", []))
        for item in group
    }
    shown = [item for item in group if used[item.label] > (0 if item.is_model else 3)][:_CALIBRATED]
    if not shown:
        return None
    figure = drawing.reliability(
        {item.label: item.metrics["reliability"] for item in shown},
        ours={item.label for item in shown if item.is_model},
    )
    pairs = sum(b["count"] for b in shown[0].metrics["reliability"])
    few = " So few pairs are weak evidence." if pairs < 1000 else ""
    caption = (
        "Of the pairs that a method gives the probability on the horizontal axis, this share are "
        "true edges. "
        f"All {pairs:,} ordered pairs of {tasks.count} are pooled.{few}"
    )
    return _picture(
        "inference",
        f"{tasks.artifact.id}-calibration",
        figure,
        f"Calibration of {', '.join(i.label for i in shown)}.",
        caption,
    )


def comparison(tasks: TaskSet, group: Sequence[Evaluation]) -> Picture | None:
    """Bars of six metrics, the methods in the order of the table."""
    if len(group) < 2:
        return None
    panels: dict[str, dict[str, tuple[float, float]]] = {}
    notes: dict[str, str] = {}
    for name in _SHOWN:
        shown = metric(name)
        values = {
            item.label: (_nan(item.entry(name)["mean"]), _nan(item.entry(name)["se"]))
            for item in group
        }
        if all(np.isnan(mean) for mean, _ in values.values()):
            continue
        panels[shown.title] = values
        notes[shown.title] = "more is better" if shown.better > 0 else "less is better"
    if not panels:
        return None
    figure = drawing.bars(panels, notes=notes, ours={item.label for item in group if item.is_model})
    alt = (
        f"Bars comparing {', '.join(item.label for item in group)} on {tasks.title}; the "
        "numbers are in the table."
    )
    several = (tasks.artifact.meta.get("dims", {}).get("n_tasks") or 0) > 1
    return _picture(
        "inference",
        f"{tasks.artifact.id}-comparison",
        figure,
        alt,
        "Whiskers: one standard error over tasks." if several else "",
    )


def _nan(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def graph(tasks: TaskSet, answer: Answer) -> list[Picture]:
    """The likely edges of a real table as a graph, and all of them as a matrix."""
    p, columns, truth = answer.probabilities, tasks.columns, tasks.truth
    strongest = drawing.chosen_edges(p, 0.25, 5)
    edges = (
        ", ".join(f"{columns[i]} → {columns[j]} ({value:.2f})" for i, j, value in strongest)
        or "none"
    )
    network = drawing.graph(p, columns, truth=truth, title=f"{tasks.title}: likely causes")
    matrix = drawing.matrix(np.asarray(p), columns, truth=truth, title="Every pair")
    name = f"{tasks.artifact.id}-{answer.run.id}"
    return [
        _picture(
            "inference",
            f"{name}-graph",
            network,
            f"Graph of the likely causal edges in {tasks.title}. Strongest: {edges}.",
        ),
        _picture(
            "inference",
            f"{name}-matrix",
            matrix,
            f"Matrix of the probabilities of all edges in {tasks.title}.",
        ),
    ]
