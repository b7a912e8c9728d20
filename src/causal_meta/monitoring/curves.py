"""From the long table of scalars to the curves of the plot families `losses` and `metrics`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

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


def loss_panels(scalars: pd.DataFrame) -> Panels:
    """The loss and its parts over training (one panel each, with the validation beside it), then
    speed and rate."""
    train = _by_name(scalars[scalars["split"] == "train"], "train/")
    validation = _by_name(scalars[scalars["split"] == "val"], "val/")
    panels: Panels = {}
    for name in sorted((set(train) | {"loss"} & set(validation)) - set(_HIDDEN), key=_rank):
        curves = {
            split: source[name]
            for split, source in (("training", train), ("validation", validation))
            if name in source
        }
        panels[WORDS.get(name, name)] = curves
    return panels


def metric_panels(scalars: pd.DataFrame) -> Panels:
    """A panel per validation metric that is no part of the loss, a curve per test family; where
    there are several, their mean first."""
    found = _by_name(scalars[scalars["split"] == "val"], "val/")
    parts = set(_by_name(scalars[scalars["split"] == "train"], "train/")) | {"loss"}
    panels: Panels = {}
    for name in sorted({path.rsplit("/", 1)[-1] for path in found} - parts, key=_rank):
        families = {
            path.rsplit("/", 1)[0]: curve
            for path, curve in found.items()
            if path.endswith(f"/{name}")
        }
        mean = {"mean of the families": found[name]} if name in found and len(families) != 1 else {}
        panels[WORDS.get(name, name)] = mean | families or {name: found[name]}
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
