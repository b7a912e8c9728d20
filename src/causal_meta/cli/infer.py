"""`infer KIND of=…`: a posterior for every task of a set, or the learning coefficient of a trained
network."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
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
from causal_meta.cli.kinds import add_help
from causal_meta.cli.making import make

if TYPE_CHECKING:
    from causal_meta.conf.artifacts import ArtifactConfig
    from causal_meta.store import Artifact

EXAMPLES = """  causal-meta infer boss of=held_in
  causal-meta infer pc of=held_in alpha=0.01 n_samples=50
  causal-meta infer discover of=first tasks=held_in
  causal-meta infer hmc of=small_network
  causal-meta infer sgld of=small_network precond=rmsprop batch_size=256 precision=float32
  causal-meta infer mala of=first tasks=held_in 'posterior.mask=*bias*'
  causal-meta infer hmc --help

A sampler writes trace.nc (for ArviZ), analysis.json and diagnostics/ into its folder. The exit
status is 1 if one of its chains failed."""


def add(verbs: Verbs) -> None:
    """The verb."""
    help = "run an inference method on a task set, or a sampler on a trained network"
    verb = add_verb(verbs, "infer", help, EXAMPLES, run, add_help=False)
    add_help(verb, runs=True)
    verb.add_argument("kind", metavar="KIND", help="one of the kinds below")
    add_words(verb, "of=NAME, and settings")
    add_flags(verb, making=True)


def run(args: argparse.Namespace) -> int:
    """Print the id of the run, after the estimate if it is a sampler's."""
    from causal_meta.conf.artifacts import RunConfig
    from causal_meta.conf.compose import compose
    from causal_meta.conf.evaluation import EvaluateConfig
    from causal_meta.conf.registry import config_class, nearest, tags
    from causal_meta.conf.setting import ConfigError

    kinds = [tag for tag in tags(RunConfig) if tag != EvaluateConfig.kind]
    if args.kind not in kinds:
        raise ConfigError(
            f"There is no kind of inference called {args.kind!r}{nearest(args.kind, kinds)}"
        )
    store = open_store(args)
    cls = config_class(args.kind, RunConfig)
    words = split(args.words, cls, args.name)
    config = compose(args.kind, words.settings)
    inputs = inputs_of(words.roles, store)
    if cls.gives == "llc":
        check_fit(cls, inputs)
    artifact = make(args, store, config, inputs, name=words.name, overrides=words.settings)
    status = tell_estimate(artifact, quiet=args.quiet) if cls.gives == "llc" else 0
    if cls.gives == "posterior" and not args.quiet:
        print_diagnostics(artifact)
    print(artifact.id)
    return status


def check_fit(cls: type[ArtifactConfig], inputs: Mapping[str, Artifact]) -> None:
    """Raise `ConfigError` if an input is of a kind that its role does not take, or the inputs do
    not go together."""
    from causal_meta.conf.artifacts import ArtifactConfig
    from causal_meta.conf.registry import config_class, kinds
    from causal_meta.conf.samplers import SamplerConfig
    from causal_meta.conf.setting import ConfigError

    for role, artifact in inputs.items():
        other = config_class(artifact.kind, ArtifactConfig)
        if not cls.accepts(role, other):
            takers = [taker.kind for taker in kinds(SamplerConfig) if taker.accepts(role, other)]
            hint = f"; {', '.join(takers)} do" if takers else ""
            raise ConfigError(
                f"{cls.kind} takes {', '.join(cls.takes[role])} as {role}, not {artifact.id} of "
                f"kind {artifact.kind!r}{hint}."
            )
    cls.check_inputs({role: artifact.kind for role, artifact in inputs.items()})


def print_diagnostics(run: Artifact) -> None:
    """Print what the method of a posterior reports about its work: rows left out, repairs,
    chains."""
    from causal_meta.method_diagnostics import MethodDiagnostics

    for line in MethodDiagnostics.from_entries(run.meta).in_words():
        print(line)


def tell_estimate(artifact: Artifact, *, quiet: bool = False) -> int:
    """Print the estimate of a sampler's run and redraw missing pictures; returns 1 if one of its
    chains failed, else 0.

    Raises ValueError for a run whose analysis or trace cannot be read.
    """
    from causal_meta.records.analyses import TRACE, in_words, read_analysis
    from causal_meta.records.traces import check_trace

    analysis = read_analysis(artifact)
    check_trace(artifact.folder / TRACE)
    if not (artifact.folder / "diagnostics").is_dir():
        from causal_meta import monitoring

        monitoring.draw(artifact.folder, artifact.config.pictures)
    if not quiet:
        print("\n".join(in_words(analysis)))
    return 1 if analysis["failed_chains"] else 0
