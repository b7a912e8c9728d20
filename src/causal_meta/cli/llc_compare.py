"""`llc compare`: all samplers on one target, one table and one picture."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
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
    from causal_meta.runners.llc.comparison import Compared
    from causal_meta.store import Artifact, Store

EXAMPLES = """  causal-meta llc compare of=small_network
  causal-meta llc compare of=small_network samplers=hmc,nuts,mclmc
  causal-meta llc compare of=small_network samplers=hmc,sgld draws=2000 posterior.gamma=10 \\
      --out compare.png
  causal-meta llc compare of=first tasks=held_in samplers=mala,sgld

Without samplers=… all sampler runs on the target in the store are shown. With it, the named
samplers are shown with the settings of the command, and run if they have not been. Errors are
standard errors (Monte Carlo, and the remaining bias of the step size); seconds count warm-up and
sampling, not compilation. Exit status 1 if a chain of one of the runs failed."""
SHOWN = (
    "sampler",
    "λ̂",
    "±",
    "ESS",
    "R-hat",
    "gradients",
    "seconds",
    "ESS/1000 gradients",
    "ESS/s",
    "flags",
)


def add(inner: Verbs) -> None:
    """The verb under `llc`."""
    verb = add_verb(inner, "compare", "compare the samplers on one target", EXAMPLES, run)
    add_words(verb, "of=NAME, samplers=KIND,…, and settings for those that are run")
    verb.add_argument(
        "--out",
        metavar="FILE",
        help="where to draw the picture (default: figures/llc_compare.png in the target's folder)",
    )
    add_flags(verb, making=True)


def run(args: argparse.Namespace) -> int:
    """Print the table, then the path of the picture."""
    from causal_meta.monitoring.coefficients import draw_comparison
    from causal_meta.records.analyses import exact_in_words
    from causal_meta.runners.llc.comparison import compared, exact_of, rows_of

    store = open_store(args)
    target, runs = _runs(args, store)
    comparison = compared(runs)
    _print(rows_of(comparison))
    exact = exact_of(comparison)
    known = exact_in_words(exact)
    if known:
        print(known)
    analyses = {item.label: item.analysis for item in comparison}
    path = Path(args.out) if args.out else target.folder / "figures" / "llc_compare.png"
    print(draw_comparison(analyses, target.id, exact, path))
    return _failures(comparison)


def _runs(args: argparse.Namespace, store: Store) -> tuple[Artifact, list[Artifact]]:
    """The target, and the runs on it that are to be shown; those that are named and missing are
    made."""
    from causal_meta.conf.registry import config_class
    from causal_meta.conf.samplers import HMCConfig, SamplerConfig
    from causal_meta.conf.setting import ConfigError
    from causal_meta.runners.llc.comparison import sampler_runs

    named = [word.partition("=")[2] for word in args.words if word.startswith("samplers=")]
    words = [word for word in args.words if not word.startswith("samplers=")]
    kinds = [kind.strip() for text in named for kind in text.split(",") if kind.strip()]
    classes: list[Any] = [config_class(kind, SamplerConfig) for kind in dict.fromkeys(kinds)]
    if classes:
        made = [_made(args, store, cls, words) for cls in classes]
        return made[0][0], [run for _, run in made]
    parts = split(words, HMCConfig, "")
    if parts.settings:
        raise ConfigError(
            f"{parts.settings[0]!r} is a setting for samplers that are run; name them "
            "(samplers=hmc,nuts), or leave it out."
        )
    inputs = inputs_of(parts.roles, store)
    runs = sampler_runs(store, inputs["of"], inputs.get("tasks"))
    if not runs:
        raise ConfigError(
            f"No sampler was run on {inputs['of'].id} yet; name some (samplers=hmc,nuts), or run "
            "causal-meta infer hmc of=…."
        )
    return inputs["of"], runs


def _made(
    args: argparse.Namespace, store: Store, cls: Any, words: Sequence[str]
) -> tuple[Artifact, Artifact]:
    """The target, and a sampler's run on it, found or made with the settings, all of which it must
    know."""
    from causal_meta.cli.infer import check_fit
    from causal_meta.conf.compose import compose

    parts = split(words, cls, "")
    inputs = inputs_of(parts.roles, store)
    check_fit(cls, inputs)
    return inputs["of"], make(
        args, store, compose(cls.kind, parts.settings), inputs, overrides=parts.settings
    )


def _print(rows: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in SHOWN:
        table.add_column(
            column,
            justify="left" if column in ("sampler", "flags") else "right",
            no_wrap=column != "flags",
        )
    for row in rows:
        error = _number(row["error"], 2)
        numbers = [
            _number(row["llc"], 5),
            error,
            _number(row["ess"], 4),
            _number(row["rhat"], 4),
            _whole(row["gradients"]),
            _number(row["seconds"], 3),
        ]
        speeds = [_number(row["ess_per_1000_gradients"], 3), _number(row["ess_per_second"], 3)]
        table.add_row(row["sampler"], *numbers, *speeds, ", ".join(row["flags"]))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _number(value: float | None, digits: int) -> str:
    return "—" if value is None else f"{value:.{digits}g}" if abs(value) < 1e5 else f"{value:,.0f}"


def _whole(value: float | None) -> str:
    return "—" if value is None else f"{value:,.0f}"


def _failures(comparison: Sequence[Compared]) -> int:
    failed = [item for item in comparison if item.analysis["failed_chains"]]
    for item in failed:
        for chain in item.analysis["failed_chains"]:
            print(
                f"{item.label}: chain {chain['chain']} failed: {chain['reason']}", file=sys.stderr
            )
    return 1 if failed else 0
