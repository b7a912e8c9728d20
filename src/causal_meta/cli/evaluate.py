"""`evaluate of=…`: score a posterior against the truth."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from causal_meta.cli.arguments import (
    Verbs,
    add_flags,
    add_verb,
    add_words,
    inputs_of,
    open_store,
    split,
)
from causal_meta.cli.making import make

if TYPE_CHECKING:
    from causal_meta.store import Artifact

EXAMPLES = """  causal-meta evaluate of=first tasks=held_in
  causal-meta evaluate of=default tasks=held_in n_samples=200
  causal-meta evaluate of=held_in posterior=run_boss_1234abcd

of=MODEL tasks=TASKS scores a trained model; of=TASKS posterior=RUN scores a run on the tasks."""
SHOWN = (
    "e_shd",
    "e_f1",
    "sid",
    "parent_aid",
    "auroc",
    "auprc",
    "density",
    "graph_nll",
    "ece",
    "acyclic_share",
)


def add(verbs: Verbs) -> None:
    """The verb."""
    verb = add_verb(
        verbs, "evaluate", "score a trained model or a run against the true graphs", EXAMPLES, run
    )
    add_words(verb, "of=NAME tasks=NAME, or of=TASKS posterior=RUN, and settings")
    add_flags(verb, making=True)


def run(args: argparse.Namespace) -> int:
    """Print the most used metrics, then the id of the run."""
    from causal_meta.conf.compose import compose
    from causal_meta.conf.evaluation import EvaluateConfig

    store = open_store(args)
    words = split(args.words, EvaluateConfig, args.name)
    config = compose(EvaluateConfig.kind, words.settings)
    artifact = make(
        args,
        store,
        config,
        inputs_of(words.roles, store),
        name=words.name,
        overrides=words.settings,
    )
    if not args.quiet:
        print("\n".join(lines(artifact)))
    print(artifact.id)
    return 0


def lines(artifact: Artifact) -> list[str]:
    """The metrics of an evaluation with their standard errors over tasks."""
    from causal_meta.records.metrics import read_metrics

    tree = read_metrics(artifact)
    text = [f"{tree['kind']} on {tree['n_tasks']} tasks ({tree['tasks']})"]
    for name in SHOWN:
        entry = tree["summary"].get(name) or {}
        if entry.get("mean") is not None:
            error = f" ± {entry['se']:.3g}" if entry.get("se") is not None else ""
            missing = (
                f"   ({entry['n']} of {tree['n_tasks']} tasks)"
                if entry["n"] < tree["n_tasks"]
                else ""
            )
            text.append(f"  {name:14} {entry['mean']:8.3f}{error}{missing}")
    return text
