"""`build KIND`: make a target, or find it in the store."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

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
from causal_meta.cli.kinds import add_help
from causal_meta.cli.launching import is_first, is_launched, launch, warn_of_restarts
from causal_meta.cli.making import make, with_flags

if TYPE_CHECKING:
    from causal_meta.store import Store

EXAMPLES = """  causal-meta build amortised model=avici data=wide_stream trainer.max_steps=500 \\
      seed=1 --name first
  causal-meta build amortised --experiment experiments/demo.yaml --name demo --threads 2
  causal-meta build amortised data=wide_stream trainer.max_steps=500 --processes 2 --threads 1
  causal-meta build amortised init=first trainer.max_steps=200 seed=2
  causal-meta build tasks data=wide data.n_nodes=10 n_tasks=25 --name held_in
  causal-meta build tasks data.table=table.csv data.truth=adjacency.csv data.transform=log \\
      --name mine
  causal-meta build network model=small data=small seed=42 --name small_network
  causal-meta build network model=reduced_rank data.n_rows=10000
  causal-meta build network model=reduced_rank --help

The last line on standard output is the id. If the target exists already, its id is printed at
once."""


def add(verbs: Verbs) -> None:
    """The verb and its alias."""
    help = "build a trained model, a network or a task set, unless it exists already"
    verb = add_verb(verbs, "build", help, EXAMPLES, run, aliases=["train"], add_help=False)
    add_help(verb, runs=False)
    help = "one of the kinds below; optional with --experiment"
    verb.add_argument("kind", nargs="?", metavar="KIND", help=help)
    add_words(verb, "settings, and init=NAME to start from the weights of another model")
    verb.add_argument(
        "--experiment",
        metavar="FILE",
        help="YAML file of settings that differ from the defaults; key=value overrides it",
    )
    verb.add_argument(
        "--processes",
        type=whole(1),
        metavar="N",
        default=1,
        help="train in N processes on this machine that share each batch (default: 1)",
    )
    verb.add_argument(
        "--max-restarts",
        type=whole(0),
        metavar="N",
        default=3,
        help="with --processes: restart from the last checkpoint if a process dies",
    )
    add_flags(verb, making=True, training=True)


def run(args: argparse.Namespace) -> int:
    """Print the id of the target."""
    from causal_meta.conf.artifacts import TargetConfig
    from causal_meta.conf.compose import compose
    from causal_meta.conf.registry import config_class

    kind, base = _experiment(args)
    cls: Any = config_class(kind, TargetConfig)
    store = open_store(args)
    if any(
        word.partition("=")[0] in ("data.table", "data.truth", "data.mask") for word in args.words
    ):
        print(_table(args, store, cls))
        return 0
    roles = [
        f"{role}={base.pop(role)}"
        for role in (name.removesuffix("?") for name in cls.inputs)
        if role in base
    ]
    words = split([*roles, *args.words], cls, args.name)
    config: Any = compose(kind, words.settings, base)
    name = words.name or split([], cls, config.name).name
    config, inputs = with_flags(config, args, name), inputs_of(words.roles, store)
    if args.processes > 1 and not is_launched():
        if not cls.distributed:
            raise UsageError(
                f"{cls.kind} is not trained, so it is made in one process; leave --processes out."
            )
        if store.lookup(config, inputs) is None:
            launch(args)
    warn_of_restarts()
    target = make(args, store, config, inputs, name=name, overrides=words.settings)
    if is_first():
        print(target.id)
    return 0


def _experiment(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The kind to build and the differences from its defaults."""
    from causal_meta.conf.compose import load_experiment

    if args.kind and "=" in args.kind:
        args.kind, args.words = None, [args.kind, *args.words]
    if not args.experiment:
        if not args.kind:
            raise UsageError(
                "No kind was given; give one (causal-meta build amortised …), or a file "
                "(--experiment FILE)."
            )
        return args.kind, {}
    kind, tree = load_experiment(args.experiment)
    if args.kind not in (None, kind):
        raise UsageError(
            f"{args.experiment} describes a target of kind {kind!r}, but {args.kind!r} was asked "
            "for; leave the kind out."
        )
    return kind, tree


def _table(args: argparse.Namespace, store: Store, cls: Any) -> str:
    """Write a table into the store as a task set; returns its id."""
    from causal_meta.cli.tables import stored, table_settings
    from causal_meta.runners.tasks.table_sources import KEYS, read_source

    if cls.kind != "tasks":
        raise UsageError(
            "data.table belongs to task sets; write causal-meta build tasks …, not build "
            f"{cls.kind}."
        )
    settings, words = table_settings(args.words)
    name = split(words, cls, args.name)
    if name.settings:
        raise UsageError(
            f"{name.settings[0]!r} cannot be given with a table; its settings are "
            f"{', '.join(f'data.{key}' for key in KEYS)} and name."
        )
    return stored(args, store, settings, *read_source(settings), name=name.name).id
