"""`data show`: what a family of worlds looks like."""

from __future__ import annotations

import argparse
from typing import Any

from causal_meta.cli.arguments import UsageError, Verbs, add_verb, add_words, split, whole

EXAMPLES = """  causal-meta data show data=wide
  causal-meta data show data=linear_er data.n_nodes=10 data.n_rows=500 seed=3 --out worlds/

Writes degrees.png, adjacency.png, marginals.png and pairs.png, and prints varsortability and R²-sortability
(0.5 tells nothing about the causal order, 1 gives it away)."""


def add(verbs: Verbs) -> None:
    """The verb and what it can do."""
    verb = verbs.add_parser("data", help="look at families of worlds", description="Look at families of worlds.")
    inner = verb.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=type(verb))
    show = add_verb(inner, "show", "draw a family and print its sortabilities", EXAMPLES, run)
    add_words(show, "data=FAMILY and settings of it, seed=N")
    show.add_argument("--out", metavar="DIR", default="family", help="folder for the pictures (default: family)")
    show.add_argument("--tasks", type=whole(1), default=200, metavar="N", help="tasks to look at (default: 200)")


def run(args: argparse.Namespace) -> int:
    """Print the numbers, then the files."""
    from causal_meta.conf.artifacts import TasksConfig
    from causal_meta.conf.compose import compose
    from causal_meta.conf.data import FamilyConfig

    words = split(args.words, TasksConfig)
    config: Any = compose(TasksConfig.kind, words.settings)
    if not isinstance(config.data, FamilyConfig):
        raise UsageError("A table is no family of worlds; give data=FAMILY, such as data=wide.")
    from causal_meta.datasets.diagnostics import show_family
    from causal_meta.datasets.scm import SCMFamily

    told = show_family(SCMFamily(config.data), args.out, seed=config.seed, n_tasks=args.tasks)
    print(f"{args.tasks} tasks, mean ± standard error")
    for name, value in told.items():
        if isinstance(value, dict) and "mean" in value:
            print(f"  {name:28} {value['mean']:8.3f} ± {value['se']:.3f}")
    print("  standard deviations           " + "  ".join(f"{share}: {value:.3g}" for share, value in told["std"].items()))
    print("\n".join(told["files"]))
    return 0
