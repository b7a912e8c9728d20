"""`llc tune`: search for good settings of a sampler on one target within a budget, judged by a
reference run or an exact value."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
    from causal_meta.conf.tuning import TuneConfig
    from causal_meta.store import Artifact, Store

EXAMPLES = """  causal-meta llc tune of=crossing method=sgld budget=quick
  causal-meta llc tune of=small_network method=sgld method.precond=rmsprop method.batch_size=64 \\
      trials=40 budget.seconds=1800
  causal-meta llc tune of=small_network method=mclmc space.energy_variance=[1e-6,1e-2] \\
      space.decoherence=[0.3,3] budget.gradients=1e8
  causal-meta llc tune of=small_network method=sgld reference=run_hmc_0123abcd

Budgets: quick (2 minutes), standard (10 minutes, the default), long (6,000 s), or budget.seconds=S
and budget.gradients=G, of all trials together. The reference is a run of hmc or nuts on the same
posterior. By default it is the target's exact value if that is known, else a run of hmc with
2,000 draws, which is run unless it is in the store. An interrupted search resumes from its last
trial. The folder of the result holds tune.json, trials.csv, diagnostics/tuning.png and best.yaml, a
study file with the best settings. Exit status 1 if every trial was flagged or failed."""


def add(inner: Verbs) -> None:
    """The verb under `llc`."""
    verb = add_verb(
        inner, "tune", "search for good settings of a sampler within a budget", EXAMPLES, run
    )
    add_words(
        verb,
        "of=NAME, method=KIND, method.…=…, space.SETTING=[LOW,HIGH], budget=NAME, trials=N, "
        "objective=error|standard_errors, reference=RUN",
    )
    add_flags(verb, making=True)


def run(args: argparse.Namespace) -> int:
    """Print the best trial, the study file that repeats it, and the id of the search."""
    from causal_meta.cli.infer import check_fit
    from causal_meta.conf.compose import compose
    from causal_meta.conf.tuning import TuneConfig

    store = open_store(args)
    words = split(args.words, TuneConfig, args.name)
    # Hydra adds keys that have a plus
    settings = tuple(f"+{word}" if word.startswith("space.") else word for word in words.settings)
    config: Any = compose(TuneConfig.kind, settings)
    inputs = inputs_of(words.roles, store)
    check_fit(TuneConfig, inputs)
    if "reference" not in inputs and not _is_exact(inputs["of"]):
        inputs["reference"] = _reference(args, store, config, inputs["of"])
    search = make(args, store, config, inputs, name=words.name, overrides=words.settings)
    return _tell(search, quiet=args.quiet)


def _is_exact(target: Artifact) -> bool:
    """Whether the target is a formula, whose value at finite n is known."""
    from causal_meta.conf.networks import NetworkConfig, StudentConfig

    return isinstance(target.config, NetworkConfig) and not isinstance(
        target.config.model, StudentConfig
    )


def _reference(
    args: argparse.Namespace, store: Store, config: TuneConfig, of: Artifact
) -> Artifact:
    """A run of HMC on the posterior of the method."""
    from causal_meta.conf.samplers import HMCConfig

    return make(args, store, HMCConfig(posterior=config.method.posterior, aim=0.01), {"of": of})


def _tell(search: Artifact, *, quiet: bool) -> int:
    from causal_meta import monitoring
    from causal_meta.records.files import read_json
    from causal_meta.runners.llc.tuning import BEST, PICTURE, TUNING

    tree = read_json(search.folder / TUNING)
    if not (search.folder / PICTURE).is_file():
        monitoring.draw(search.folder, search.config.pictures)
    best: Mapping[str, Any] | None = tree["best"]
    if not quiet:
        print("\n".join(_in_words(tree)))
        if best is not None:
            print(search.folder / BEST)
    print(search.id)
    if best is None:
        print(
            f"No trial of {search.id} is without flags; see {TUNING}. Widen space, or lengthen "
            "method.draws or method.warmup.",
            file=sys.stderr,
        )
    return 1 if best is None else 0


def _in_words(tree: Mapping[str, Any]) -> list[str]:
    """The reference, the number of trials by outcome, their cost, and the best trial."""
    reference, spent, trials = tree["reference"], tree["spent"], tree["trials"]
    source = "exact value" if reference["source"] == "exact" else f"reference {reference['source']}"
    flagged = f" (flags: {', '.join(reference['flags'])})" if reference["flags"] else ""
    states = [trial["state"] for trial in trials]
    lines = [
        f"{source}: {reference['value']:.5g} ± {reference['error']:.2g}{flagged}",
        f"{len(trials)} trials, "
        + ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        + f"; ended by {tree['ended_by']}",
        f"{spent['gradients']:,.0f} gradients, {spent['seconds']:.1f} s",
    ]
    for words, best in (
        ("best", tree["best"]),
        ("best of those with flags", tree["closest_flagged"]),
    ):
        if best is not None:
            settings = ", ".join(f"{name}={value:.4g}" for name, value in best["settings"].items())
            estimate = (
                f"λ̂ = {best['llc_mean']:.5g} ± {best['llc_mcse']:.2g}, {best['gap']:.1f} "
                "standard errors off"
            )
            flags = f" ({', '.join(best['flags'])})" if best["flags"] else ""
            lines.append(f"{words}: trial {best['number']}, {settings}: {estimate}{flags}")
    return lines
