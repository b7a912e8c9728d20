"""`infer KIND of=TASKS`: a posterior for every task of a set, by a baseline or a trained model."""

from __future__ import annotations

import argparse
from typing import Any

from causal_meta.cli.arguments import Verbs, add_flags, add_verb, add_words, inputs_of, open_store, split
from causal_meta.cli.making import make

EXAMPLES = """  causal-meta infer boss of=held_in
  causal-meta infer pc of=held_in alpha=0.01 n_samples=50
  causal-meta infer discover of=first tasks=held_in

kinds: empty, random, sortnregress, pc, ges, boss (of=TASKS), discover (of=MODEL tasks=TASKS)"""


def add(verbs: Verbs) -> None:
    """The verb."""
    verb = add_verb(verbs, "infer", "answer every task of a set with a baseline or a model", EXAMPLES, run)
    verb.add_argument("kind", metavar="KIND", help="a baseline, or discover")
    add_words(verb, "of=NAME, and settings of the kind")
    add_flags(verb, making=True)


def run(args: argparse.Namespace) -> int:
    """Print the id of the run."""
    from causal_meta.conf.artifacts import EvaluateConfig, RunConfig
    from causal_meta.conf.compose import compose
    from causal_meta.conf.registry import config_class, nearest, tags
    from causal_meta.conf.setting import ConfigError

    kinds = [tag for tag in tags(RunConfig) if tag != EvaluateConfig.kind]
    if args.kind not in kinds:
        raise ConfigError(f"There is nothing called {args.kind!r} to infer with{nearest(args.kind, kinds)}")
    store = open_store(args)
    cls: Any = config_class(args.kind, RunConfig)
    words = split(args.words, cls, args.name)
    config = compose(args.kind, words.settings)
    found = make(args, store, config, inputs_of(words.roles, store), name=words.name, overrides=words.settings)
    print(found.id)
    return 0
