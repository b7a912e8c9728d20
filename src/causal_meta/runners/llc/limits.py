"""Limits of learning coefficients from several runs on one target: the runs that differ in one
setting, and the fit. Loads no JAX."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
"""The quantities that can be extrapolated, each with the settings in which its runs may differ,
besides their seeds."""
LETTERS = {"gamma": "γ", "beta": "nβ", "step": "ε"}
#: Flags that do not exclude a run: a large error only lowers its weight, and the bias of the step
#: is what is extrapolated.
_BEARABLE = {"mcse_above_2_percent", "step_size_bias"}


@dataclass(frozen=True)
class Point:
    """One run of a sweep: its γ, nβ or ε (`at`), its λ̂ with its error, and the flags that exclude
    it from the fit."""

    run: Artifact
    at: float
    value: float | None
    error: float | None
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Sweep:
    """Runs of one sampler that differ only in the swept quantity `by`, by ascending values; `label`
    describes their common settings, `exact` has λ where it is known."""

    by: str
    label: str
    points: tuple[Point, ...]
    exact: dict[str, float]
    gamma: float

    @property
    def used(self) -> list[Point]:
        """The points that enter the fit."""
        return [point for point in self.points if not point.left_out]


def sweeps(runs: Sequence[Artifact], by: str) -> list[Sweep]:
    """The groups of runs that differ only in the swept quantity (`by`, a key of SWEPT) and in
    seeds, with two or more values, the largest first."""
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
    candidates = [_sweep(group, by) for group in groups.values()]
    several = [sweep for sweep in candidates if len({point.at for point in sweep.points}) > 1]
    return sorted(several, key=lambda sweep: -len(sweep.points))


def _sweep(runs: Sequence[Artifact], by: str) -> Sweep:
    analyses = [read_analysis(run) for run in runs]
    pairs = zip(runs, analyses, strict=True)
    points = sorted((_point(run, tree, by) for run, tree in pairs), key=lambda point: point.at)
    words = [
        word for word in label_of(runs[0].config).split(" ") if word.split("=")[0] not in SWEPT[by]
    ]
    first = analyses[0]
    return Sweep(by, " ".join(words), tuple(points), dict(first["exact"]), float(first["gamma"]))


def _point(run: Artifact, analysis: Mapping[str, Any], by: str) -> Point:
    if by == "step":
        at = float(np.asarray(analysis["adapted"].get("step_size", np.nan), float).mean())
        value, error = analysis["llc_mean_plain"], analysis["llc_mcse_plain"]
    else:
        at = float(analysis["gamma" if by == "gamma" else "n_beta"])
        value, error = analysis["llc_mean"], analysis["llc_error"]
    out = [flag for flag in analysis["flags"] if flag not in _BEARABLE]
    if value is None or not error or not np.isfinite(at):
        out = out or ["no number"]
    return Point(run, at, value, error, tuple(out))


def fit(sweep: Sweep, *, multiplicity: int | None = None) -> Limit:
    """The limit of a sweep: γ → 0, ε → 0, or λ over temperatures. From four temperatures on, a term
    for the localisation is fitted too.

    Args:
        multiplicity: m; by default that of the target where it is known, else 1.

    Raises:
        ConfigError: if too few of the runs can be used.
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
