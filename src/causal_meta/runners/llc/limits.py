"""Limits of learning coefficients from several runs on one target: runs that differ in one setting,
the fit, and a picture. Loads no JAX."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from causal_meta.conf.convert import leaves, to_plain
from causal_meta.conf.labels import label_of
from causal_meta.conf.setting import ConfigError
from causal_meta.llc.estimates.extrapolation import (
    Limit,
    over_temperatures,
    to_no_localisation,
    to_zero,
)
from causal_meta.records.analyses import read_analysis
from causal_meta.store import Artifact

SWEPT: dict[str, tuple[str, ...]] = {
    "gamma": ("posterior.gamma", "posterior.prior_radius"),
    "beta": ("posterior.beta", "posterior.beta_mode"),
    "step": ("step_fraction", "step_size", "step_rule"),
}
"""What a limit can be taken in, and the settings in which its runs may differ (and in their seeds).
"""
LETTERS = {"gamma": "γ", "beta": "nβ", "step": "ε"}
#: Flags of runs that say nothing about their posterior's value; too wide an error or a step's bias
#: only weighs less, or is what is fitted.
_BEARABLE = {"mcse_above_2_percent", "step_size_bias"}


@dataclass(frozen=True)
class Point:
    """One run of a sweep: where it lies (γ, nβ or ε), its λ̂ with its error, and the flags for
    which it is left out of the fit."""

    run: Artifact
    at: float
    value: float | None
    error: float | None
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Sweep:
    """Runs of one sampler that differ in what is swept alone, by rising values; `label` says what
    they share, `exact` has λ where it is known."""

    by: str
    label: str
    points: tuple[Point, ...]
    exact: dict[str, Any]
    gamma: float

    @property
    def used(self) -> list[Point]:
        """The points that are fitted."""
        return [point for point in self.points if not point.left_out]


def sweeps(runs: Sequence[Artifact], by: str) -> list[Sweep]:
    """The runs in groups that differ in what is swept (`by` of SWEPT) and in seeds alone; those of
    two or more values, the longest first."""
    groups: dict[str, list[Artifact]] = {}
    for run in runs:
        shared = {
            key: value
            for key, value in leaves(to_plain(run.config, identity_only=True))
            if key not in SWEPT[by] and key != "seed"
        }
        groups.setdefault(
            json.dumps([shared, sorted(run.inputs.items())], sort_keys=True, default=str), []
        ).append(run)
    found = [_sweep(group, by) for group in groups.values()]
    several = [sweep for sweep in found if len({point.at for point in sweep.points}) > 1]
    return sorted(several, key=lambda sweep: -len(sweep.points))


def _sweep(runs: Sequence[Artifact], by: str) -> Sweep:
    told = [(run, read_analysis(run)) for run in runs]
    points = sorted(
        (_point(run, analysis, by) for run, analysis in told), key=lambda point: point.at
    )
    words = [
        word for word in label_of(runs[0].config).split(" ") if word.split("=")[0] not in SWEPT[by]
    ]
    return Sweep(
        by, " ".join(words), tuple(points), dict(told[0][1]["exact"]), float(told[0][1]["gamma"])
    )


def _point(run: Artifact, analysis: dict[str, Any], by: str) -> Point:
    if by == "step":
        steps = np.asarray(analysis["adapted"].get("step_size", np.nan), float)
        at, value, error = (
            float(steps.mean()),
            analysis["llc_mean_plain"],
            analysis["llc_mcse_plain"],
        )
    else:
        at, value, error = (
            float(analysis["gamma" if by == "gamma" else "n_beta"]),
            analysis["llc_mean"],
            analysis["llc_error"],
        )
    out = [flag for flag in analysis["flags"] if flag not in _BEARABLE]
    if value is None or not error or not np.isfinite(at):
        out = out or ["no number"]
    return Point(run, at, value, error, tuple(out))


def fit(sweep: Sweep, *, multiplicity: int | None = None) -> Limit:
    """The limit of a sweep: γ → 0, ε → 0, or λ over temperatures; m as given, else the target's,
    else 1. Four temperatures or more have the weight of the localisation fitted too.

    Raises ConfigError if too few of the runs can be used.
    """
    used = sweep.used
    m = int(sweep.exact.get("multiplicity") or 1) if multiplicity is None else multiplicity
    x, y, e = ([getattr(point, name) for point in used] for name in ("at", "value", "error"))
    try:
        if sweep.by == "step":
            return to_zero(x, y, e, letter="ε")
        if sweep.by == "beta":
            return over_temperatures(
                x, y, e, multiplicity=m, gamma=sweep.gamma if len(set(x)) > 3 else 0.0
            )
        return to_no_localisation(x, y, e, multiplicity=m)
    except ValueError as error:
        out = len(sweep.points) - len(used)
        raise ConfigError(
            f"{error}"
            + (
                f" ({out} of {len(sweep.points)} runs were left out for their flags.)"
                if out
                else ""
            )
        ) from None


def draw_limit(sweep: Sweep, found: Limit, path: Path) -> Path:
    """The picture of a fitted sweep, into the file `path`."""
    from causal_meta.drawing import canvas, limits

    used = sweep.used
    x, y, e = ([getattr(point, name) for point in used] for name in ("at", "value", "error"))
    at = 0.0 if sweep.by != "beta" else max(x) * 1.5
    fitted = limits.Fitted(at, found.value, found.error, found.curve)
    known = sweep.exact.get("lambda") if sweep.by != "step" else None
    label = {"gamma": "localisation γ", "beta": "tempered rows nβ", "step": "step size ε"}[sweep.by]
    note = f"{sweep.label}; {found.model}; limit {found.value:.4g} ± {found.error:.2g}"
    return canvas.save(
        limits.limit(
            x,
            y,
            e,
            fitted,
            exact=known,
            label=label,
            title="Learning coefficient in the limit",
            note=note,
        ),
        path,
    )
