"""`llc …`: local learning coefficients beside the samplers of `infer`: is w* a minimum, how
samplers compare, their settings, limits."""

from __future__ import annotations

from causal_meta.cli import llc_check, llc_compare, llc_extrapolate, llc_tune
from causal_meta.cli.arguments import Verbs


def add(verbs: Verbs) -> None:
    """The verb and its actions."""
    verb = verbs.add_parser(
        "llc",
        help="look at w*, compare and tune samplers, take limits",
        description="Local learning coefficients of trained networks.",
    )
    inner = verb.add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=type(verb)
    )
    for action in (llc_check, llc_compare, llc_extrapolate, llc_tune):
        action.add(inner)
