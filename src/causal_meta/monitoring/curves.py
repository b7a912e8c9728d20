"""The plot families `losses` and `metrics`: curves over training from the long table of scalars."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_meta.facts import read_scalars

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Curve = tuple[np.ndarray, np.ndarray]
Panels = dict[str, dict[str, Curve]]

#: Words for the names in the scalars.
WORDS = {
    "loss": "loss",
    "bce": "cross-entropy per pair (nats)",
    "penalty": "cyclicity (spectral radius)",
    "penalty_weight": "weight of the cyclicity penalty",
    "gradient_norm": "gradient norm",
    "learning_rate": "learning rate",
    "tasks_per_second": "tasks per second",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "graph_nll": "graph NLL (nats)",
    "edge_entropy": "entropy of the edges (nats)",
}
_FIRST = tuple(WORDS)
_HIDDEN = ("steps_per_second",)


def losses(folder: Path, event: Mapping[str, Any]) -> dict[str, Figure]:
    """The picture `losses`: loss, its parts, speed and learning rate over training."""
    return _figure("losses", loss_panels(read_scalars(folder)), event)


def metrics(folder: Path, event: Mapping[str, Any]) -> dict[str, Figure]:
    """The picture `metrics`: validation metrics over training."""
    return _figure("metrics", metric_panels(read_scalars(folder)), event)


def _figure(name: str, panels: Panels, event: Mapping[str, Any]) -> dict[str, Figure]:
    if not panels:
        return {}
    from causal_meta import drawing

    title, step = str(event.get("run_id") or ""), event.get("step")
    title += "" if step is None else f" after {step} steps"
    return {name: drawing.curves(panels, title=title, smooth=0.9)}


def loss_panels(scalars: pd.DataFrame) -> Panels:
    """Panels of the loss and its parts over training, each with its validation curve, then of
    speed and learning rate."""
    train = _by_name(scalars[scalars["split"] == "train"], "train/")
    validation = _by_name(scalars[scalars["split"] == "val"], "val/")
    panels: Panels = {}
    for name in sorted((set(train) | {"loss"} & set(validation)) - set(_HIDDEN), key=_rank):
        sources = {"training": train, "validation": validation}
        curves = {split: source[name] for split, source in sources.items() if name in source}
        panels[WORDS.get(name, name)] = curves
    return panels


def metric_panels(scalars: pd.DataFrame) -> Panels:
    """A panel per validation metric that is not part of the loss, with a curve per test family and,
    where there are several families, their mean first."""
    validation = _by_name(scalars[scalars["split"] == "val"], "val/")
    parts = set(_by_name(scalars[scalars["split"] == "train"], "train/")) | {"loss"}
    panels: Panels = {}
    for name in sorted({path.rsplit("/", 1)[-1] for path in validation} - parts, key=_rank):
        families = {
            path.rsplit("/", 1)[0]: curve
            for path, curve in validation.items()
            if path.endswith(f"/{name}")
        }
        has_mean = name in validation and len(families) != 1
        mean = {"mean of the families": validation[name]} if has_mean else {}
        panels[WORDS.get(name, name)] = mean | families or {name: validation[name]}
    return panels


def _rank(name: str) -> tuple[int, str]:
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)


def _by_name(rows: Any, prefix: str) -> dict[str, Curve]:
    """Name without its prefix -> (steps, values)."""
    rows = rows[rows["step"].notna()]
    return {
        str(name).removeprefix(prefix): (
            part["step"].to_numpy(dtype=float),
            part["value"].to_numpy(dtype=float),
        )
        for name, part in rows.groupby("name", sort=True)
    }
