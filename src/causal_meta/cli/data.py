"""`data`: list families, streams and tables, draw a family, compare two families, import tables."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_meta.cli import data_import
from causal_meta.cli.arguments import (
    UsageError,
    Verbs,
    add_flags,
    add_verb,
    add_words,
    inputs_of,
    open_store,
    split,
    whole,
)
from causal_meta.cli.making import make

if TYPE_CHECKING:
    from causal_meta.conf.data import FamilyConfig
    from causal_meta.runners.tasks.distances import FamilyDistance
    from causal_meta.store import Store

EXAMPLES = """  causal-meta data ls
  causal-meta data show data=wide
  causal-meta data distance wide linear_er
  causal-meta data import table.csv --truth adjacency.csv --interventions INT --name mine
  causal-meta data import sachs --from folder/"""
LS = """  causal-meta data ls
  causal-meta data ls scale_free

Use a family as data=NAME (data show, build tasks) or data.train=NAME, a stream as data=NAME (build
amortised), a table as data import NAME. Sizes are variables × rows."""
SHOW = """  causal-meta data show data=wide
  causal-meta data show data=linear_er data.n_nodes=10 data.n_rows=500 seed=3 --out worlds/

Draws degrees.png, adjacency.png, marginals.png and pairs.png into the store (and --out), and prints
varsortability and R²-sortability (0.5: no information about the causal order, 1: all of it). The
last line is the id. A second call reads the results from the store."""
DISTANCE = """  causal-meta data distance wide linear_er
  causal-meta data distance linear_er linear_er second.n_nodes=10 n_tasks=400 seed=1 \\
      --out distance.png
  causal-meta data distance first held_in

A and B are families (data ls), task sets or trained models in the store (their training family).
Settings: n_tasks and n_rows of each family, seed, and first.…, second.… for settings of A and B.
The distance of equal families is 0 (AUROC 0.5) up to its error; distances above 4.5 standard errors
are marked *. A pair is computed once, in either order. The last line is the id."""
CLEAR = 4.5


def add(verbs: Verbs) -> None:
    """The verb and what it can do."""
    verb = verbs.add_parser(
        "data",
        help="list, draw and compare families of simulated data; import tables",
        description="List, draw and compare families of simulated data; import tables.",
        epilog=f"examples:\n{EXAMPLES}",
    )
    inner = verb.add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=type(verb)
    )
    listing = add_verb(inner, "ls", "list the predefined families, streams and tables", LS, ls)
    listing.add_argument(
        "part", nargs="*", metavar="WORD", help="only entries that contain all of these words"
    )
    show = add_verb(inner, "show", "draw a family and print its sortabilities", SHOW, run)
    add_words(show, "data=FAMILY and settings of it, n_tasks=N, seed=N")
    show.add_argument("--out", metavar="DIR", help="a folder to copy the pictures to")
    show.add_argument(
        "--tasks", type=whole(1), metavar="N", help="the same as n_tasks=N (default: 200)"
    )
    add_flags(show, making=True)
    distance = add_verb(
        inner, "distance", "measure how different two families are", DISTANCE, compare
    )
    distance.add_argument(
        "first", metavar="A", help="a family, or a task set or model in the store"
    )
    distance.add_argument("second", metavar="B", help="the family to compare it with")
    add_words(distance, "n_tasks=N, n_rows=N, seed=N, first.…, second.…")
    distance.add_argument("--out", metavar="FILE", help="also write the picture to this file")
    add_flags(distance, making=True)
    data_import.add(inner)


# ----------------------------------------------------------------------------------------------- ls


def ls(args: argparse.Namespace) -> int:
    """Print a line for each predefined family, stream and table."""
    from causal_meta.conf.catalogue import catalogue

    words = [word.lower() for word in args.part]
    entries = [
        entry
        for entry in catalogue()
        if all(word in f"{entry.name} {entry.group} {entry.line}".lower() for word in words)
    ]
    if not entries:
        raise UsageError(
            f"No predefined entry contains {' and '.join(repr(word) for word in args.part)}; see "
            "causal-meta data ls."
        )
    name, size = (max(len(getattr(entry, part)) for entry in entries) for part in ("name", "size"))
    for group in dict.fromkeys(entry.group for entry in entries):
        print(group)
        for entry in entries:
            if entry.group == group:
                print(f"  {entry.name:{name}}  {entry.size:{size}}  {entry.line}")
    return 0


# --------------------------------------------------------------------------------------------- show


def run(args: argparse.Namespace) -> int:
    """Print the numbers of a family, then the files; the last line is the id."""
    from causal_meta.conf.compose import compose
    from causal_meta.conf.task_sets import PortraitConfig

    if args.tasks is not None:
        args.words = [*args.words, f"n_tasks={args.tasks}"]
    words = split(args.words, PortraitConfig, args.name)
    config: Any = compose(PortraitConfig.kind, words.settings)
    if args.out is not None and Path(args.out).exists() and not Path(args.out).is_dir():
        raise UsageError(f"{args.out} is a file; give a folder for the pictures.")
    store = open_store(args)
    portrait = make(
        args,
        store,
        config,
        inputs_of(words.roles, store),
        name=words.name,
        overrides=words.settings,
    )

    from causal_meta.runners.tasks.portraits import load_portrait, portrait_files

    files = portrait_files(portrait)
    if args.out is not None:
        Path(args.out).mkdir(parents=True, exist_ok=True)
        files = [Path(shutil.copy(file, args.out)) for file in files]
    if not args.quiet:
        numbers = load_portrait(portrait)
        print(f"{config.n_tasks} tasks, mean ± standard error")
        for name, value in numbers.items():
            if "mean" in value:
                print(f"  {name:28} {_number(value['mean'])} ± {_number(value['se']).strip()}")
        print(
            "  standard deviations           "
            + "  ".join(f"{share}: {value:.3g}" for share, value in numbers["std"].items())
        )
        print("\n".join(str(file) for file in files))
    print(portrait.id)
    return 0


def _number(value: float | None) -> str:
    return f"{value:8.3f}" if value is not None else "       -"


# ----------------------------------------------------------------------------------------- distance


def compare(args: argparse.Namespace) -> int:
    """Print the distances of two families and both in numbers, then the picture; the last line is
    the id."""
    from causal_meta.conf.compose import compose
    from causal_meta.conf.convert import to_plain
    from causal_meta.conf.task_sets import DistanceConfig

    words = split(args.words, DistanceConfig, args.name)
    store = open_store(args)
    base = {
        role: to_plain(_family(token, store))
        for role, token in (("first", args.first), ("second", args.second))
    }
    config: Any = compose(DistanceConfig.kind, words.settings, base)

    from causal_meta.monitoring.worlds import draw_distance
    from causal_meta.runners.tasks.distances import distance_config, load_distance

    config, swapped = distance_config(
        config.first,
        config.second,
        n_tasks=config.n_tasks,
        n_rows=config.n_rows,
        seed=config.seed,
        name=words.name,
    )
    names = (args.first, args.second)
    distance = make(args, store, config, {}, name=words.name, overrides=words.settings)
    answer = load_distance(distance, swapped=swapped)
    picture = Path(args.out) if args.out else answer.figure
    if args.out or not picture.is_file():
        draw_distance(answer.distances, answer.arrays, names, picture)
    if not args.quiet:
        _print(answer, names, f"{config.n_tasks} tasks of each family, {config.n_rows} rows each")
        print(picture)
    print(distance.id)
    return 0


def _family(token: str, store: Store) -> FamilyConfig:
    """The family called `token`: a predefined one, that of a task set, or the training family of a
    model."""
    from causal_meta.conf.convert import from_plain, presets
    from causal_meta.conf.data import FamilyConfig
    from causal_meta.conf.setting import ConfigError
    from causal_meta.conf.spelling import nearest
    from causal_meta.store import StoreError

    ready = presets(FamilyConfig)
    if token in ready:
        return from_plain(FamilyConfig, ready[token])
    try:
        artifact = inputs_of({"family": token}, store)["family"]
    except StoreError:
        raise ConfigError(
            f"There is no family called {token!r}, and nothing of that name in the "
            f"store{nearest(token, ready)}"
        ) from None
    data = getattr(artifact.config, "data", None)
    family = getattr(data, "train", data)
    if not isinstance(family, FamilyConfig):
        raise UsageError(
            f"{token} ({artifact.id}, of kind {artifact.kind!r}) is not a family; give a "
            "family (causal-meta data ls)."
        )
    return family


def _print(answer: FamilyDistance, names: tuple[str, str], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False, highlight=False)
    table = Table("distance", "value", "± se", "in se", title=title, title_justify="left", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, entry in answer.distances.items():
        if entry["value"] is None or entry["se"] is None:
            table.add_row(name, "-", "-", "")
            continue
        off = entry["value"] - entry["null"]
        away = off / entry["se"] if entry["se"] > 0 else 0.0 if off == 0 else float("inf")
        table.add_row(
            name,
            f"{entry['value']:.4f}",
            f"{entry['se']:.4f}",
            f"{away:.1f}{'*' if abs(away) > CLEAR else ' '}",
        )
    console.print(table)
    sides = Table("mean ± se", *names, box=None)
    for name in answer.families[0]:
        cells = [
            f"{_number(side[name]['mean']).strip()} ± {_number(side[name]['se']).strip()}"
            for side in answer.families
        ]
        sides.add_row(name, *cells)
    console.print(sides)
