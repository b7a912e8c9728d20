"""`llc check`: is w* a minimum, and what step size, localisation and chain length does it need?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from causal_meta.cli.arguments import (
    Verbs,
    add_flags,
    add_verb,
    add_words,
    inputs_of,
    open_store,
    split,
    whole,
)

if TYPE_CHECKING:
    from causal_meta.runners.llc.points import Point

EXAMPLES = """  causal-meta llc check of=small_network
  causal-meta llc check of=small_network posterior.gamma=10 posterior.mask='layers.0.*'
  causal-meta llc check of=small_network --polish --name small_polished
  causal-meta llc check of=first tasks=held_in

The gap is the amount by which λ̂ is too low because points near w* have a lower loss, at the given γ
and β. w* passes if the gap is at most one per cent of the Laplace value of λ̂ and negative curvature
lowers λ̂ by no more than that. --polish builds a new target from the old one and checks it. Exit
status 0 if w* passes, 1 if it does not, 2 if the input cannot be used."""


def add(inner: Verbs) -> None:
    """The verb under `llc`."""
    verb = add_verb(
        inner,
        "check",
        "check whether w* is a minimum, and recommend sampler settings",
        EXAMPLES,
        run,
    )
    add_words(verb, "of=NAME, tasks=NAME with a graph model, and posterior.… settings")
    verb.add_argument(
        "--budget",
        type=whole(1),
        metavar="N",
        help="gradients and Hessian-vector products for the check (2000) or for --polish "
        "(3000, or 300 for many parameters)",
    )
    verb.add_argument(
        "--polish",
        action="store_true",
        help="build a target with a polished w* and check that; its id is the last line",
    )
    add_flags(verb, making=True)


def run(args: argparse.Namespace) -> int:
    """Print the table and the verdict."""
    from causal_meta.cli.infer import check_fit
    from causal_meta.conf.compose import compose
    from causal_meta.conf.samplers import HMCConfig
    from causal_meta.conf.setting import ConfigError
    from causal_meta.runners.llc.points import BUDGET, check_point

    words = split(args.words, HMCConfig, "")
    other = next((word for word in words.settings if not word.startswith("posterior.")), None)
    if other is not None:
        raise ConfigError(
            f"{other!r} is not a setting of a check; its settings are those of the posterior, such "
            "as posterior.gamma=10."
        )
    config: Any = compose(HMCConfig.kind, words.settings)
    store = open_store(args)
    inputs = inputs_of(words.roles, store)
    check_fit(HMCConfig, inputs)
    of = inputs["of"]
    if args.polish:
        of = _polished(args, store, of)
    point = check_point(of, inputs.get("tasks"), config.posterior, budget=args.budget or BUDGET)
    if not args.quiet:
        _print(point)
    print(
        " ".join(
            [point.minimum.sentence, *(f"{note[:1].upper()}{note[1:]}." for note in point.notes)]
        )
    )
    if args.polish:
        print(of.id)
    return 0 if point.is_minimum else 1


def _polished(args: argparse.Namespace, store: Any, of: Any) -> Any:
    """The new target."""
    from causal_meta.cli.making import Watcher, watched
    from causal_meta.conf.networks import NetworkTrainingConfig
    from causal_meta.runners.llc.points import polished

    watcher, usual = Watcher(store), NetworkTrainingConfig()
    progress = "off" if args.quiet else "auto" if sys.stderr.isatty() else "lines"
    with watched(watcher):
        artifact = polished(
            store,
            of,
            budget=args.budget or usual.polish_budget,
            tolerance=usual.polish_tolerance,
            name=args.name,
            force=args.force,
            subscribers=[watcher],
            options={"progress": progress},
        )
    if not args.quiet:
        print(watcher.sentence(artifact), file=sys.stderr)
    return artifact


def _print(point: Point) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for row in _rows(point):
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _rows(point: Point) -> Iterator[tuple[str, str, str]]:
    """Rows of name, value and remark."""
    minimum, ends, advice = point.minimum, point.minimum.ends, point.minimum.advice
    yield (
        "parameters P, rows n",
        f"{minimum.n_parameters:,}, {point.n:,}",
        f"nβ = {minimum.n_beta:.5g}, γ = {minimum.gamma:g}",
    )
    single = ""
    if point.loss_float32 is not None:
        off = minimum.n_beta * abs(minimum.loss - point.loss_float32)
        single = (
            f"; float32 gives {point.loss_float32:.9g}, {off:.1g} in units of λ̂: each sampler "
            "subtracts its own value"
        )
    yield "L_n(w*)", f"{minimum.loss:.9g}", f"in float64{single}"
    chance = ""
    if point.gradient_noise:
        chance = (
            f"; {minimum.gradient_norm / point.gradient_noise:.2g} times what {point.n:,} rows "
            "give by chance at the truth"
        )
    per = minimum.gradient_norm / minimum.n_parameters**0.5
    yield (
        "gradient norm",
        f"{minimum.gradient_norm:.3g}",
        f"{per:.2g} per parameter (root mean square){chance}",
    )
    if ends.exact:
        lowest, highest = f"{ends.n_negative} of {minimum.n_parameters} are negative", "exact"
    else:
        lowest, highest = (
            f"Lanczos, residual {value:.1g}"
            for value in (ends.lowest_residual, ends.highest_residual)
        )
        lowest, highest = f"at most this ({lowest})", f"at least this ({highest})"
    yield (
        "lowest Hessian eigenvalue",
        f"{ends.lowest:.3g}",
        f"{lowest}; γ confines eigenvalues above {-minimum.gamma / minimum.n_beta:.2g}",
    )
    yield "highest Hessian eigenvalue", f"{ends.highest:.4g}", highest
    estimated = "" if ends.exact else "estimate; "
    yield (
        "Laplace value of λ̂",
        f"{ends.laplace:.4g}",
        f"{estimated}negative curvature lowers it by {abs(ends.negative_part):.2g}",
    )
    cut = "" if minimum.gap_ended else "; the search was cut off"
    yield (
        "gap",
        f"{minimum.gap:.3g}",
        f"λ̂ is too low by this; {minimum.allowed:.2g} is allowed{cut}",
    )
    for name, value in point.exact.items():
        yield f"exact {name}", f"{value:.6g}", "of the form"
    stiff = f"stiffest direction {advice['stiffest']:.4g} (nβ h + γ) over the flattest, γ"
    yield "condition number", _number(advice["condition_number"]), stiff
    yield (
        "SGLD step",
        _number(advice["sgld_step"]),
        "inflates no variance by more than 2.6 %; 40 times as much diverges",
    )
    yield (
        "SGLD steps",
        _number(advice["sgld_steps"]),
        f"a hundred relaxations of a flat direction, {_number(advice['sgld_relaxation'])} each",
    )
    needs = (
        f"{_number(advice['leapfrog_steps'])} of them cross a flat direction; a mass matrix "
        "shortens both"
    )
    yield "leapfrog step", _number(advice["leapfrog_step"]), needs


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1e4 else f"{value:,.0f}" if value < 1e9 else f"{value:.2e}"
