"""`report NAME`: one self-contained HTML page from what is in the store."""

from __future__ import annotations

import argparse

from causal_meta.cli.arguments import Verbs, add_flags, add_verb, open_store

EXAMPLES = """  causal-meta report first

The page is made from stored artifacts alone, so it can be made again without computing."""


def add(verbs: Verbs) -> None:
    """The verb."""
    verb = add_verb(
        verbs,
        "report",
        "write an HTML report on a model or a task set and everything computed with it",
        EXAMPLES,
        run,
    )
    verb.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        default="",
        help="a name, an id or the beginning of one (default: everything in the store)",
    )
    verb.add_argument(
        "--out",
        metavar="DIR",
        help="folder for reports (default: reports/ in the store)",
    )
    add_flags(verb)


def run(args: argparse.Namespace) -> int:
    """Print the path of report.html."""
    from causal_meta.reports import run_report

    print(run_report(open_store(args), args.name, out=args.out) / "report.html")
    return 0
