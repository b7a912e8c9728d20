"""`llc extrapolate`: a learning coefficient in the limit of a setting, from several runs on one
target."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_meta.cli.arguments import (
    Verbs,
    add_flags,
    add_verb,
    add_words,
    inputs_of,
    open_store,
    split,
)
from causal_meta.cli.making import make

if TYPE_CHECKING:
    from causal_meta.llc.estimates.extrapolation import Limit
    from causal_meta.runners.llc.limits import Sweep
    from causal_meta.store import Artifact, Store

EXAMPLES = """  causal-meta llc extrapolate of=crossing by=gamma
  causal-meta llc extrapolate of=crossing by=gamma sampler=nuts values=0.3,1,3,10 draws=4000
  causal-meta llc extrapolate of=small_network by=beta sampler=hmc values=0.05,0.1,0.2,0.4
  causal-meta llc extrapolate of=small_network by=step sampler=sgld noise=independent \\
      values=0.4,0.2,0.1,0.05

by=gamma extrapolates to γ = 0 (with multiplicity m > 1, of the target or by multiplicity=m, along
λ - (m - 1) / (a - b log γ)); by=beta fits the mean loss over temperatures, so that an L_0 above the
minimum does no harm; by=step extrapolates to step size 0 for an uncorrected sampler (values are
step_fraction). The runs differ only in that setting and in their seeds. Without values=… they are
taken from the store; with it, missing ones are run. Runs with flags are shown but left out of the
fit. Exit status 1 if a chain of one of the runs failed."""
_SETTING = {
    "gamma": ("posterior.gamma={}",),
    "beta": ("posterior.beta_mode=fixed", "posterior.beta={}"),
    "step": ("step_rule=curvature", "step_fraction={}"),
}
_OWN = ("by", "sampler", "values", "multiplicity")


def add(inner: Verbs) -> None:
    """The verb under `llc`."""
    verb = add_verb(
        inner,
        "extrapolate",
        "extrapolate a learning coefficient in γ, β or the step size",
        EXAMPLES,
        run,
    )
    add_words(
        verb,
        "of=NAME, by=gamma|beta|step, sampler=KIND, values=V,…, multiplicity=M, and settings for "
        "those that are run",
    )
    verb.add_argument(
        "--out",
        metavar="FILE",
        help="where to draw the picture (default: figures/llc_by_….png in the target's folder)",
    )
    add_flags(verb, making=True)


def run(args: argparse.Namespace) -> int:
    """Print the runs, the fit and the path of the picture."""
    from causal_meta.conf.setting import ConfigError
    from causal_meta.runners.llc.limits import SWEPT, fit, sweeps

    options = {
        key: value for key, _, value in (word.partition("=") for word in args.words) if key in _OWN
    }
    words = [word for word in args.words if word.partition("=")[0] not in _OWN]
    by = options.get("by", "gamma")
    if by not in SWEPT:
        raise ConfigError(f"by={by} is not a known limit; give one of {', '.join(SWEPT)}.")
    multiplicity = _whole(options["multiplicity"]) if "multiplicity" in options else None
    store = open_store(args)
    target, runs = _runs(args, store, words, options, by)
    series = sweeps(runs, by)
    if not series:
        raise ConfigError(
            f"No two runs on {target.id} differ in {by} alone; give sampler=hmc and values=…, two "
            "or more, to make them."
        )
    sweep = series[0]
    limit = fit(sweep, multiplicity=multiplicity)
    _print(sweep, limit)
    path = Path(args.out) if args.out else target.folder / "figures" / f"llc_by_{by}.png"
    print(_drawn(sweep, limit, path))
    if len(series) > 1:
        print(
            f"Not shown: {len(series) - 1} more sets of runs that differ in {by} "
            f"({'; '.join(other.label for other in series[1:4])})."
        )
    return 1 if any("failed_chains" in point.left_out for point in sweep.points) else 0


def _runs(
    args: argparse.Namespace, store: Store, words: list[str], options: dict[str, str], by: str
) -> tuple[Artifact, list[Artifact]]:
    """The target and the runs to choose from: those named by values (made where they are missing),
    or all of the store's."""
    from causal_meta.conf.registry import config_class
    from causal_meta.conf.samplers import HMCConfig, SamplerConfig
    from causal_meta.conf.setting import ConfigError
    from causal_meta.runners.llc.comparison import sampler_runs

    cls: Any = (
        config_class(options["sampler"], SamplerConfig) if "sampler" in options else HMCConfig
    )
    parts = split(words, cls, "")
    if "values" not in options:
        if parts.settings:
            raise ConfigError(
                f"{parts.settings[0]!r} is a setting for runs that are made; give values=… too, "
                "or leave it out."
            )
        inputs = inputs_of(parts.roles, store)
        if "of" not in inputs:
            raise ConfigError("Which target? Give of=ID or of=NAME.")
        runs = sampler_runs(store, inputs["of"], inputs.get("tasks"))
        return inputs["of"], [
            run for run in runs if "sampler" not in options or run.kind == options["sampler"]
        ]
    values = [text.strip() for text in options["values"].split(",") if text.strip()]
    return _made(
        args,
        store,
        cls,
        words,
        [tuple(form.format(value) for form in _SETTING[by]) for value in values],
    )


def _made(
    args: argparse.Namespace, store: Store, cls: Any, words: list[str], swept: list[tuple[str, ...]]
) -> tuple[Artifact, list[Artifact]]:
    from causal_meta.cli.infer import check_fit
    from causal_meta.conf.compose import compose

    parts = split(words, cls, "")
    inputs = inputs_of(parts.roles, store)
    check_fit(cls, inputs)
    configs = [compose(cls.kind, (*parts.settings, *more)) for more in swept]
    made = [
        make(args, store, config, inputs, overrides=(*parts.settings, *more))
        for config, more in zip(configs, swept, strict=True)
    ]
    return inputs["of"], made


def _drawn(sweep: Sweep, limit: Limit, path: Path) -> Path:
    from causal_meta.drawing.limits import Fitted
    from causal_meta.monitoring.coefficients import draw_limit

    points = [(point.at, point.value or 0.0, point.error or 0.0) for point in sweep.used]
    at = 0.0 if sweep.by != "beta" else max(point[0] for point in points) * 1.5
    fitted = Fitted(at, limit.value, limit.error, limit.curve)
    exact = sweep.exact.get("lambda") if sweep.by != "step" else None
    note = f"{sweep.label}; {limit.model}; limit {limit.value:.4g} ± {limit.error:.2g}"
    return draw_limit(sweep.by, points, fitted, exact, note, path)


def _whole(text: str) -> int:
    from causal_meta.conf.setting import ConfigError

    if not text.isdigit() or int(text) < 1:
        raise ConfigError(
            f"multiplicity={text} is not a multiplicity; give a whole number, 1 or more."
        )
    return int(text)


def _print(sweep: Sweep, limit: Limit) -> None:
    from rich.console import Console
    from rich.table import Table

    from causal_meta.runners.llc.limits import LETTERS

    table = Table(title=sweep.label, title_justify="left")
    for column in ("run", LETTERS[sweep.by], "λ̂", "±", "left out for"):
        table.add_column(
            column,
            justify="left" if column in ("run", "left out for") else "right",
            no_wrap=column != "left out for",
        )
    for point in sweep.points:
        numbers = ["—" if value is None else f"{value:.5g}" for value in (point.at, point.value)]
        table.add_row(
            point.run.id.split("/")[-1],
            *numbers,
            "—" if point.error is None else f"{point.error:.2g}",
            ", ".join(point.left_out),
        )
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    quality = (
        "" if limit.p_value is None else f"; {limit.p_value:.0%} of correct fits would be worse"
    )
    if limit.p_value is not None and limit.p_value < 0.01:
        quality += ": the model does not hold over these runs, so take a narrower range"
    print(f"limit: λ = {limit.value:.4g} ± {limit.error:.2g} ({limit.model}{quality})")
    if sweep.by != "step" and sweep.exact.get("lambda") is not None:
        print(f"exact: λ = {sweep.exact['lambda']:g}")
