"""The program: its verbs, and what happens when one of them fails. Help loads nothing heavy; every
verb imports what it needs when it runs."""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import sys
from collections.abc import Sequence

import causal_meta
from causal_meta.cli import (
    build,
    data,
    discover,
    evaluate,
    failures,
    infer,
    llc,
    report,
    store,
    study,
    watch,
)
from causal_meta.cli.arguments import Parser, UsageError
from causal_meta.cli.compiled import keep_compiled_programs
from causal_meta.threads import wait_as_the_machine_allows

VERBS = (build, infer, evaluate, discover, study, watch, report, llc, store, data)
EPILOG = """examples:
  causal-meta discover sklearn:diabetes --out answer/
  causal-meta build amortised data=wide_stream trainer.max_steps=500 seed=1 --name first
  causal-meta build tasks data=wide n_tasks=25 --name held_in
  causal-meta infer boss of=held_in
  causal-meta build network model=small data=small seed=42 --name small_network
  causal-meta infer hmc of=small_network
  causal-meta evaluate of=first tasks=held_in
  causal-meta study experiments/benchmark_small.yaml
  causal-meta report first

exit status: 0 success, 1 failure, 2 the input cannot be used (nothing was lost), 130 interrupted"""


# the garbage collector's threshold: loading libraries and tracing programs allocate many objects,
# few of which become garbage
_UNCOLLECTED = 100_000


def parser() -> Parser:
    """The parser of all verbs."""
    top = Parser(
        prog="causal-meta", description="Which causal graphs could have made this table, and how "
                                        "sure are we?", epilog=EPILOG,
    )  # fmt: skip
    top.add_argument(
        "--version", action="version", version=f"causal-meta {causal_meta.__version__}"
    )
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=Parser)
    for module in VERBS:
        module.add(verbs)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status, and prints one sentence on standard error if it
    fails."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parse(arguments)
        keep_compiled_programs()
        wait_as_the_machine_allows()
        gc.set_threshold(_UNCOLLECTED, *gc.get_threshold()[1:])
        # no collection at exit, which takes half a second after JAX
        atexit.register(gc.freeze)
        return int(args.run(args) or 0)
    except KeyboardInterrupt:
        print("Interrupted; the same command resumes from the last checkpoint.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `causal-meta store ls | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        status, sentences = failures.described(error)
        print("\n".join(sentences), file=sys.stderr)
        return status


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Settings may stand before, between and after the flags."""
    top = parser()
    args, rest = top.parse_known_args(arguments)
    unknown = [word for word in rest if word.startswith("-")]
    if unknown or (rest and not hasattr(args, "words")):
        raise UsageError(
            f"{(unknown or rest)[0]!r} is not an argument of {args.verb}; see causal-meta "
            f"{args.verb} --help."
        )
    if rest:
        args.words = [*args.words, *rest]
    args.argv = arguments
    return args
