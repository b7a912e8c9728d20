"""`llc …`: local learning coefficients: check w*, compare and tune samplers, extrapolate to
limits."""

from __future__ import annotations

from causal_meta.cli import llc_check, llc_compare, llc_extrapolate, llc_tune
from causal_meta.cli.arguments import Verbs


def add(verbs: Verbs) -> None:
    """The verb and its actions."""
    verb = verbs.add_parser(
        "llc",
        help="check the trained parameters w*, compare and tune samplers, extrapolate",
        description="Local learning coefficients at the trained parameters w* of networks.",
    )
    inner = verb.add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=type(verb)
    )
    for action in (llc_check, llc_compare, llc_extrapolate, llc_tune):
        action.add(inner)
