"""`store export|import|rm|gc|promote|query`: moving, removing and querying artifacts. Loads neither
torch nor JAX, except to import a checkpoint."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_meta.cli.arguments import (
    Verbs,
    add_flags,
    add_verb,
    add_words,
    open_store,
    split,
    whole,
)

if TYPE_CHECKING:
    from causal_meta.store import Store

EXPORT = """  causal-meta store export first exported/
  causal-meta store export first held_in study.tar --runs --inputs

A folder takes one artifact. FILE.tar is an archive of any number, which store import checks byte by
byte."""
IMPORT = """  causal-meta store import best.pt data=wide_stream --name theirs
  causal-meta store import exported/
  causal-meta store import study.tar

An archive is checked completely before anything is imported. Artifacts that the store has already
are kept; names that are not in use are imported too."""
RM = """  causal-meta store rm run_pc_12ab34cd
  causal-meta store rm first --force

A target with runs, or an artifact that others were made from, is not removed; what depends on it is
listed. With --force a target is removed with its runs; other artifacts that were made from it are
kept and listed."""
GC = """  causal-meta store gc
  causal-meta store gc --yes
  causal-meta store gc --yes --work --orphans

Lists leftovers; --yes removes them. Nothing in use is touched: an attempt that holds its lock, or
wrote anything within --idle seconds. On a network file system without locks between machines, make
--idle longer than a build may run without writing."""
PROMOTE = """  causal-meta store promote gallery first --to docs/gallery
  causal-meta store promote single run_hmc_12ab34cd --plot trace --to docs/gallery
  causal-meta store promote gallery report_20261121-101500_first

Prints the path of the Markdown snippet. Copying again replaces the copies and keeps their names."""
QUERY = """  causal-meta store query "select kind, count(*) from targets group by kind"
  causal-meta store query "select sampler, seed, \\"result.summary.auroc.mean\\" from runs
      where data = 'wide' order by 3 desc" --format csv
  causal-meta store query "describe runs"

Settings, dimensions, metrics and results are columns by their dotted paths, in double quotes. Needs
duckdb (causal-meta[workflow])."""
ORPHANS = ("orphan", "--orphans", "runs whose inputs no longer exist and folders without a record")
WORK = ("work", "--work", "interrupted attempts that the next build would resume")


def add(inner: Verbs) -> None:
    """The actions."""
    out = add_verb(inner, "export", "copy artifacts into a folder or an archive", EXPORT, export)
    out.add_argument("tokens", metavar="ID", nargs="+", help="names, ids or the beginnings of ids")
    out.add_argument(
        "place", metavar="DIR|FILE.tar", help="a new or empty folder, or a new archive"
    )
    out.add_argument(
        "--runs", action="store_true", help="include the runs of each target (archive only)"
    )
    out.add_argument(
        "--inputs",
        action="store_true",
        help="include everything that they were made from (archive only)",
    )
    into = add_verb(
        inner,
        "import",
        "import a checkpoint, an exported artifact or an archive",
        IMPORT,
        import_file,
    )
    into.add_argument(
        "file",
        metavar="FILE",
        help="a checkpoint FILE.pt of this package, the folder of an exported artifact, or an "
        "archive FILE.tar",
    )
    add_words(
        into, "for a checkpoint: the data=… and seed=… it was trained with, as its owner says"
    )
    add_flags(into, making=True)
    gone = add_verb(inner, "rm", "remove artifacts", RM, remove)
    gone.add_argument("tokens", metavar="ID", nargs="+", help="names, ids or the beginnings of ids")
    gone.add_argument("--force", action="store_true", help="remove even if others depend on it")
    clean = add_verb(inner, "gc", "show and remove leftovers of interrupted commands", GC, collect)
    clean.add_argument("--yes", action="store_true", help="remove the listed leftovers")
    for _, flag, help in (WORK, ORPHANS):
        clean.add_argument(flag, action="store_true", help=f"also remove {help}")
    clean.add_argument(
        "--idle",
        type=whole(0),
        metavar="SECONDS",
        default=3600,
        help="keep what was written to within this time (default: 3600)",
    )
    shown = add_verb(
        inner,
        "promote",
        "copy plots and tables to a gallery folder, with a Markdown snippet",
        PROMOTE,
        promote,
    )
    shown.add_argument(
        "mode",
        choices=("single", "gallery"),
        help="one plot of an artifact, or all plots of it and of its newest run of each kind",
    )
    shown.add_argument(
        "token", metavar="ID", help="a name, an id or the beginning of one, or a report's folder"
    )
    shown.add_argument("--plot", metavar="NAME", default="", help="only this plot")
    shown.add_argument(
        "--to",
        metavar="DIR",
        default="gallery",
        help="the folder of the gallery (default: gallery/)",
    )
    question = add_verb(inner, "query", "query targets and runs in SQL", QUERY, query)
    question.add_argument(
        "question", metavar="SELECT", help="one select from the tables targets and runs"
    )
    question.add_argument(
        "--format",
        choices=("table", "csv", "json"),
        default="table",
        help="how to print the answer (default: table)",
    )
    for one in (out, gone, clean, shown, question):
        add_flags(one)


def export(args: argparse.Namespace) -> int:
    """Print the folder or the archive."""
    from causal_meta.store import StoreError
    from causal_meta.store.archive import closure

    store = open_store(args)
    chosen = [store.find(token) for token in args.tokens]
    if Path(args.place).suffix == ".tar":
        print(store.pack(closure(store, chosen, runs=args.runs, inputs=args.inputs), args.place))
        return 0
    if len(chosen) > 1 or args.runs or args.inputs:
        raise StoreError(
            f"{args.place!r} is a folder, which takes one artifact; give an archive "
            "FILE.tar for more."
        )
    print(store.export(chosen[0], args.place))
    return 0


def import_file(args: argparse.Namespace) -> int:
    """Print the ids of what was imported."""
    store = open_store(args)
    if Path(args.file).suffix == ".tar":
        return _import_archive(args, store)
    from causal_meta.cli.making import Watcher, watched
    from causal_meta.conf.compose import compose
    from causal_meta.conf.pre_training import ExperimentConfig
    from causal_meta.runners.training.importing import import_artifact, settings_words

    words = split(settings_words(args.words), ExperimentConfig, args.name)
    config: Any = compose(ExperimentConfig.kind, words.settings)
    watcher = Watcher(store)
    with watched(watcher):
        artifact = import_artifact(
            store,
            args.file,
            config,
            name=words.name,
            force=args.force,
            overrides=words.settings,
            subscribers=[watcher],
        )
    print(artifact.id)
    return 0


def _import_archive(args: argparse.Namespace, store: Store) -> int:
    from causal_meta.store import StoreError

    if args.words or args.name:
        raise StoreError(
            "An archive brings its own settings and names; give neither with it, and use store "
            "name afterwards."
        )
    artifacts, names = store.take(args.file)
    by_id = {artifact.id: artifact for artifact in artifacts}
    for name, artifact_id in names.items():
        try:
            store.name(by_id[artifact_id], name, force=args.force)
        except StoreError as error:
            print(f"{artifact_id} was imported without its name. {error}", file=sys.stderr)
    print("\n".join(by_id))
    return 0


def remove(args: argparse.Namespace) -> int:
    """A line per artifact that was removed, and per one that was made from these and stays."""
    store = open_store(args)
    planned = store.plan_removal(*args.tokens)
    store.remove(planned, force=args.force)
    print("\n".join(f"removed {artifact_id}" for artifact_id in sorted(planned.ids)))
    for artifact_id, lost in sorted(planned.depend.items()):
        print(f"{artifact_id} stays without {', '.join(lost)}")
    return 0


def collect(args: argparse.Namespace) -> int:
    """A line per leftover, with its size and why it can be removed; then what was removed, or how
    to remove it."""
    store = open_store(args)
    leftovers = store.leftovers(idle=args.idle)
    kept = {
        kind: flag
        for kind, flag, _ in (WORK, ORPHANS)
        if not getattr(args, flag.removeprefix("--"))
    }
    if not leftovers:
        print("There are no leftovers.")
        return 0
    chosen = [item for item in leftovers if item.kind not in kept]
    gone = store.sweep(chosen, idle=args.idle) if args.yes and chosen else []
    for item in leftovers:
        status = (
            "removed"
            if item in gone
            else f"kept (needs {kept[item.kind]})"
            if item.kind in kept
            else "removable"
        )
        print(f"{status}  {_bytes(item.size)}  {item.path.relative_to(store.root)}  {item.reason}")
    if not args.yes and chosen:
        print(
            f"{_bytes(sum(item.size for item in chosen))} in {len(chosen)} places can be removed; "
            "give --yes to remove them."
        )
    return 0


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.3g} {unit}"


def promote(args: argparse.Namespace) -> int:
    """Print the path of the snippet."""
    from causal_meta.reports.gallery import promote as copy

    print(copy(open_store(args), args.token, Path(args.to), mode=args.mode, plot=args.plot))
    return 0


def query(args: argparse.Namespace) -> int:
    """Print the answer."""
    from causal_meta.store.query import ask

    answer = ask(open_store(args), args.question)
    if args.format == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([answer.columns, *answer.rows])
    elif args.format == "json":
        for row in answer.rows:
            print(
                json.dumps(
                    dict(zip(answer.columns, row, strict=True)), default=str, ensure_ascii=False
                )
            )
    else:
        _print_table(
            answer.columns,
            [["" if value is None else str(value) for value in row] for row in answer.rows],
        )
    return 0


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    for row in (header, *rows):
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
