"""`data import`: a user's table, or a published one that is predefined, as a task set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_meta.cli.arguments import UsageError, Verbs, add_flags, add_verb, open_store

if TYPE_CHECKING:
    import numpy as np

    from causal_meta.datasets.real import Table

EXAMPLES = """  causal-meta data import table.csv --name mine
  causal-meta data import table.csv --truth adjacency.csv --interventions INT --name mine
  causal-meta data import table.parquet --mask set.csv --transform log
  causal-meta data import sachs --from folder/ --name sachs
  causal-meta data import iris

TABLE is a file (CSV, TSV, Parquet, .npz), or a predefined table (causal-meta data ls tables) whose
file is checked and whose true graph and transformation are known. Use the result as tasks=NAME or
of=NAME (evaluate, infer). The last line is the id."""
_OWN = ("truth", "interventions", "mask", "columns", "categorical", "context")


def add(verbs: Verbs) -> None:
    """The verb."""
    verb = add_verb(verbs, "import", "import a table into the store as a task set", EXAMPLES, run)
    verb.add_argument("table", metavar="TABLE", help="a file, or the name of a predefined table")
    verb.add_argument(
        "--from",
        dest="source",
        metavar="PATH",
        help="for a predefined table: its file, or a folder with data.csv",
    )
    verb.add_argument(
        "--truth",
        metavar="FILE",
        help="CSV of the true graph: square, 1 where the row causes the column; or edges under "
        "cause,effect",
    )
    verb.add_argument(
        "--interventions",
        metavar="A,B,…",
        help="columns that name the variable set in each row (a+b: both; empty or none: none)",
    )
    verb.add_argument(
        "--mask",
        metavar="FILE",
        help="a table of 0 and 1 with the same rows: 1 where the cell was set by an intervention",
    )
    verb.add_argument("--columns", metavar="A,B,…", help="use these columns only, in this order")
    verb.add_argument("--categorical", metavar="A,B,…", help="columns that hold categories")
    verb.add_argument(
        "--context", metavar="A,B,…", help="columns that may be causes but have none, as a site"
    )
    verb.add_argument(
        "--transform", metavar="HOW", help="none, or log: the natural logarithm of every value"
    )
    verb.add_argument(
        "--format",
        metavar="FORMAT",
        help="csv, tsv, parquet or npz (default: by the file's ending)",
    )
    add_flags(verb, making=True)


def run(args: argparse.Namespace) -> int:
    """Print what the table holds, then the id of the task set."""
    from causal_meta.cli.tables import stored
    from causal_meta.store import check_name

    name = check_name(args.name) if args.name else ""
    settings, table, truth = _described(args) or _own(args)
    artifact = stored(args, open_store(args), settings, table, truth, name=name)
    if not args.quiet:
        print("\n".join(lines(table, truth)))
    print(artifact.id)
    return 0


def _described(args: argparse.Namespace) -> tuple[dict[str, str], Table, np.ndarray | None] | None:
    """The table of a predefined description; None if the word is a file."""
    from causal_meta.conf.table_descriptions import table_description, table_descriptions

    if args.source is None and (
        args.table not in table_descriptions() or Path(args.table).is_file()
    ):
        if Path(args.table).suffix or Path(args.table).exists() or ":" in args.table:
            return None
        table_description(args.table)  # neither a file nor a description: raises
    description = table_description(args.table)
    for option in _OWN:
        if getattr(args, option):
            raise UsageError(
                f"{args.table} defines columns and a true graph; leave --{option} out, or "
                "import the file as your own table."
            )
    from causal_meta.datasets.described_tables import described_table

    table, truth = described_table(
        description, args.source, format=args.format, transform=args.transform
    )
    settings = {
        "table": args.table,
        "columns": ",".join(table.columns),
        "transform": table.transform,
    }
    return settings, table, truth


def _own(args: argparse.Namespace) -> tuple[dict[str, str], Table, np.ndarray | None]:
    from causal_meta.runners.tasks.table_sources import read_source

    keys: dict[str, Any] = {
        key: getattr(args, key) for key in ("table", "format", "transform", *_OWN)
    }
    settings = {key: value for key, value in keys.items() if value}
    return settings, *read_source(settings)


def lines(table: Table, truth: np.ndarray | None) -> list[str]:
    """A table in words."""
    rows, columns = table.x.shape
    summary = f"{table.title}: {rows} rows, {columns} variables, "
    summary += "no true graph" if truth is None else f"true graph of {int(truth.sum())} edges"
    sentences = [summary + (", values in natural logarithm" if table.transform == "log" else "")]
    if table.intervened is not None:
        count = {
            name: int(n)
            for name, n in zip(table.columns, table.intervened.sum(axis=0), strict=True)
            if n
        }
        quiet = int((~table.intervened.any(axis=1)).sum())
        shown = ", ".join(f"{name} ({n})" for name, n in list(count.items())[:20]) or "none"
        sentences.append(
            f"{quiet} observational rows; rows by variable set: "
            f"{shown}{', …' if len(count) > 20 else ''}"
        )
    return sentences
