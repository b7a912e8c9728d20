"""A search for a sampler's settings: trials of a method on one target within a budget, judged
against a reference, the next ones chosen by Optuna.

`tune.json` holds the reference, every trial with its seed, settings, estimate, work and flags, the
spent budget, and the best trial; `trials.csv` the same trials as a table; `best.yaml` a study file
with the best settings; `diagnostics/tuning.png` the objective against each setting.

Optuna only suggests settings. Its study is rebuilt from our own record before each suggestion, with
a sampler seeded by the trial's number. So a resumed search gets the suggestions of an uninterrupted
one, and no storage of Optuna's, some of which unpickle objects, is read.
"""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from causal_meta.conf.convert import to_plain
from causal_meta.conf.samplers import StepConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.conf.tuning import TuneConfig
from causal_meta.facts.write import finite
from causal_meta.randomness import key, seeds_of
from causal_meta.records.analyses import read_analysis
from causal_meta.runners.progress import Progress
from causal_meta.store.disk import write_atomic

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from causal_meta.llc.landscapes.landscape import Landscape
    from causal_meta.store import Artifact, Attempt

TUNING, TABLE, BEST, PICTURE = "tune.json", "trials.csv", "best.yaml", "diagnostics/tuning.png"
# added to the objective of trials with flags for Optuna, which only ranks trials
_FLAGGED = 1e6
#: Flags that do not count against the settings: they are about the target, or about the length of
#: the chains, which the objective includes.
NO_FAILURE = frozenset({"not_a_minimum", "float_width", "low_ess", "mcse_above_2_percent"})


@dataclass(frozen=True)
class Reference:
    """The reference value of λ, with its standard error and its source (a run's id, or "exact")."""

    value: float
    error: float
    source: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trial:
    """A trial of settings: `state` is "ok", "flagged", "failed" or "stopped" (out of time); only
    trials with state "ok" can be the best."""

    number: int
    seed: int
    settings: dict[str, float]
    state: str
    objective: float | None = None
    llc_mean: float | None = None
    llc_mcse: float | None = None
    llc_error: float | None = None
    gap: float | None = None
    ess: float | None = None
    gradients: float = 0.0
    seconds: float = 0.0
    flags: list[str] = field(default_factory=list)
    reason: str = ""


class _OutOfTime(Exception):
    """The budget's seconds ended inside a trial."""


def tune_llc(config: TuneConfig, attempt: Attempt) -> dict[str, Any]:
    """Carry out the search and publish its record; the builder of `tune`.

    A trial starts only if the remaining gradients of the budget cover the largest cost of a trial
    so far; it is stopped between two segments of its chains when the budget's seconds end.

    Returns:
        Dims and metrics for `meta.json`.

    Raises:
        ConfigError: without a usable reference on the same target and posterior, and for a budget
            below the cost of one trial.
    """
    from causal_meta.runners.llc.network_training import load_landscape

    of = attempt.inputs["of"]
    landscape = load_landscape(of)
    reference = reference_of(config, of, attempt.inputs.get("reference"), landscape)
    trials, ended = _loaded(attempt), "trials"
    with Progress(
        config.trials,
        len(trials),
        style=attempt.options.get("progress", "auto"),
        title=f"tune {config.method.kind}",
    ) as bar:
        while len(trials) < config.trials:
            spent = _spent(trials)
            over = _over(config, trials, spent, landscape.n)
            if over or (trials and trials[-1].state == "stopped"):
                ended = over or "seconds"
                break
            left = config.budget.seconds - spent["seconds"] if config.budget.seconds else math.inf
            trials.append(
                _tried(config, landscape, reference, len(trials), suggested(config, trials), left)
            )
            _save(attempt, trials)
            bar.update(len(trials), {"objective": trials[-1].objective or math.nan})
    best = best_of(trials)
    _publish(config, attempt, of, trials, reference, ended, best)
    attempt.discard_checkpoints()
    metrics = (
        {}
        if best is None
        else {
            "objective": best.objective,
            "llc_mean": best.llc_mean,
            "llc_error": best.llc_error,
        }
    )
    return {
        "dims": {"trials": len(trials)},
        "metrics": metrics,
        "jax_enable_x64": config.method.precision == "float64",
    }


def best_of(trials: Sequence[Trial], state: str = "ok") -> Trial | None:
    """The trial of the smallest objective among those without flags (or of another state); None if
    there is none."""
    return min(
        (trial for trial in trials if trial.state == state),
        key=lambda trial: trial.objective or 0.0,
        default=None,
    )


def reference_of(
    config: TuneConfig, of: Artifact, run: Artifact | None, landscape: Landscape
) -> Reference:
    """The estimate of the reference run, or without one the exact finite-n value of the landscape.
    Raises `ConfigError` if it cannot be used."""
    if run is None:
        from causal_meta.llc.samplers import masked
        from causal_meta.llc.samplers.prepared import temperature

        posterior = config.method.posterior
        restricted = masked(landscape, posterior.mask)
        if restricted.expectation is None:
            raise ConfigError(
                f"No exact value is known for {of.id}; give reference=RUN, a run of hmc or nuts "
                "on it."
            )
        n_beta, gamma = temperature(posterior, restricted.n, restricted.n_parameters)
        value, error = restricted.expectation(n_beta, gamma)
        return Reference(value, error, "exact")
    if (
        getattr(run.config, "posterior", None) != config.method.posterior
        or run.inputs.get("of") != of.id
    ):
        raise ConfigError(
            f"{run.id} is no run on {of.id} with the posterior of the method; give a reference "
            "with the same target, β, γ and mask."
        )
    analysis = read_analysis(run)
    if analysis["llc_mean"] is None or analysis["llc_error"] is None:
        raise ConfigError(
            f"{run.id} has no estimate, since its chains failed; give another reference."
        )
    return Reference(analysis["llc_mean"], analysis["llc_error"], run.id, tuple(analysis["flags"]))


# ------------------------------------------------------------------------------------------- trials


def suggested(config: TuneConfig, trials: Sequence[Trial]) -> dict[str, Any]:
    """The settings of the next trial: first those of the configured method, then suggestions of
    Optuna by a tree-structured Parzen estimator (Bergstra et al. 2011).

    Flagged trials rank below all others, by their objectives; trials that failed or were stopped
    rank last.
    """
    import optuna
    from optuna.trial import TrialState, create_trial

    ranges = {name: _range(config, name, *limits) for name, limits in config.searched.items()}
    first = {
        name: getattr(config.method, "fraction" if name == "step_fraction" else name)
        for name in ranges
    }
    if not trials and all(
        low <= first[name] <= high for name, (low, high) in config.searched.items()
    ):
        return first
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(
        seed=key(config.seed, "tune", "suggest", len(trials))[0] >> 33,
        n_startup_trials=config.startup,
    )
    study = optuna.create_study(sampler=sampler)
    for trial in trials:
        value = (
            None
            if trial.objective is None
            else trial.objective + (0 if trial.state == "ok" else _FLAGGED)
        )
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        study.add_trial(
            create_trial(state=state, value=value, params=trial.settings, distributions=ranges)
        )
    return config.typed(study.ask(ranges).params)


def _range(config: TuneConfig, name: str, low: float, high: float) -> BaseDistribution:
    """The distribution of a setting, integer or real; logarithmic where the range spans a factor of
    ten."""
    from optuna.distributions import FloatDistribution, IntDistribution

    log = low > 0 and high >= 10 * low
    ends = config.typed({name: low})[name], config.typed({name: high})[name]
    return (
        IntDistribution(*ends, log=log)
        if isinstance(ends[0], int)
        else FloatDistribution(*ends, log=log)
    )


def _tried(
    config: TuneConfig,
    landscape: Landscape,
    reference: Reference,
    number: int,
    settings: dict[str, Any],
    left: float,
) -> Trial:
    """Sample with the settings for at most `left` seconds and judge the estimate."""
    from causal_meta.llc.estimates.estimators import estimate
    from causal_meta.llc.samplers import masked, sample

    begin = time.monotonic()
    trial = Trial(
        number,
        seeds_of(config.seed, "tune", "trial", start=number, count=1)[0],
        dict(settings),
        "failed",
    )
    method = replace(config.method, seed=trial.seed, **settings)

    def watch(done: int, total: int) -> None:
        if time.monotonic() - begin > left and done < total:
            raise _OutOfTime

    try:
        draws = sample(landscape, method, progress=watch)
        restricted = masked(landscape, method.posterior.mask)
        analysis = estimate(draws, n=restricted.n, n_parameters=restricted.n_parameters)
    except _OutOfTime:
        return replace(
            trial,
            state="stopped",
            seconds=time.monotonic() - begin,
            reason="the budget's seconds were spent",
        )
    except ValueError as error:
        if number == 0:
            raise
        return replace(trial, seconds=time.monotonic() - begin, reason=str(error))
    return replace(
        judged(trial, analysis, reference, config.objective), seconds=time.monotonic() - begin
    )


def judged(
    trial: Trial, analysis: Mapping[str, Any], reference: Reference, objective: str
) -> Trial:
    """The trial with its estimate, objective and state: "flagged" with flags outside `NO_FAILURE`,
    "failed" without an estimate."""
    work: dict[str, Any] = {
        "gradients": analysis["total_fges"] or 0.0,
        "flags": list(analysis["flags"]),
    }
    mean, error = analysis["llc_mean"], analysis["llc_mcse"]
    if mean is None or error is None:
        return replace(
            trial, **work, reason="; ".join(analysis["flag_details"].values()) or "no estimate"
        )
    gap = abs(mean - reference.value)
    whole = math.hypot(error, reference.error)
    relative = math.log10(max(math.hypot(gap, error), 1e-300) / max(abs(reference.value), 1e-300))
    bad = [flag for flag in analysis["flags"] if flag not in NO_FAILURE]
    return replace(
        trial,
        **work,
        state="flagged" if bad else "ok",
        objective=relative if objective == "error" else gap / max(whole, 1e-300),
        llc_mean=mean,
        llc_mcse=error,
        llc_error=analysis["llc_error"],
        gap=gap / max(whole, 1e-300),
        ess=analysis["ess"],
        reason="; ".join(analysis["flag_details"][flag] for flag in bad),
    )


def _spent(trials: Sequence[Trial]) -> dict[str, float]:
    return {
        "gradients": sum(trial.gradients for trial in trials),
        "seconds": sum(trial.seconds for trial in trials),
    }


def _over(config: TuneConfig, trials: Sequence[Trial], spent: Mapping[str, float], n: int) -> str:
    """The part of the budget that does not suffice for another trial; an empty string if the budget
    does."""
    if config.budget.seconds and spent["seconds"] >= config.budget.seconds:
        return "seconds"
    if not config.budget.gradients:
        return ""
    price = max([least_gradients(config, n), *(trial.gradients for trial in trials)])
    if not trials and price > config.budget.gradients:
        raise ConfigError(
            f"One trial of {config.method.kind} takes at least {price:,.0f} gradients, and "
            f"budget.gradients is {config.budget.gradients:,.0f}; "
            "raise it, or lower method.draws, method.thin or method.warmup."
        )
    return "gradients" if spent["gradients"] + price > config.budget.gradients else ""


def least_gradients(config: TuneConfig, n: int) -> float:
    """The least cost of a trial in gradients over all rows: one (or a minibatch's share of one) for
    each transition of each chain."""
    method = config.method
    share = (
        min(method.batch_size, n) / n
        if isinstance(method, StepConfig) and method.batch_size
        else 1.0
    )
    return float(method.chains * method.least_transitions * share)


# ------------------------------------------------------------------------------------------ records


def _save(attempt: Attempt, trials: Sequence[Trial]) -> None:
    """Put the record where the next attempt finds it, and the last trial into the facts."""
    plain, _ = finite([asdict(trial) for trial in trials])
    attempt.save(plain, len(trials), "record")
    last = trials[-1]
    scalars = {
        "objective": last.objective,
        "llc": last.llc_mean,
        "gradients": last.gradients,
        "seconds": last.seconds,
    }
    attempt.facts.scalars(
        last.number,
        "tune",
        {
            name: value
            for name, value in scalars.items()
            if value is not None and math.isfinite(value)
        },
    )


def _loaded(attempt: Attempt) -> list[Trial]:
    """The trials of an earlier attempt, if it left any; one that the clock stopped is tried again
    if time is left."""
    return [Trial(**tree) for tree in attempt.load("record") or []]


def _publish(
    config: TuneConfig,
    attempt: Attempt,
    of: Artifact,
    trials: Sequence[Trial],
    reference: Reference,
    ended: str,
    best: Trial | None,
) -> None:
    closest = best_of(trials, "flagged")
    tree = {
        "method": to_plain(config.method),
        "searched": {name: list(limits) for name, limits in config.searched.items()},
        "objective": config.objective,
        "reference": asdict(reference),
        "budget": {"gradients": config.budget.gradients, "seconds": config.budget.seconds},
        "spent": _spent(trials),
        "ended_by": ended,
        "best": None if best is None else asdict(best),
        "closest_flagged": None if closest is None else asdict(closest),
        "trials": [asdict(trial) for trial in trials],
    }
    plain, _ = finite(tree)
    write_atomic(attempt.folder / TUNING, json.dumps(plain, indent=1, allow_nan=False) + "\n")
    write_atomic(attempt.folder / TABLE, _table(config, trials))
    if best is not None:
        write_atomic(attempt.folder / BEST, study_text(config, of, attempt.artifact_id, best))
    error = None if best is None else best.llc_error
    estimate = None if best is None else best.llc_mean
    metrics = {"llc_mean": estimate, "llc_error": error}
    attempt.facts.event("on_test_end", step=len(trials), split="sample", metrics=metrics)


def _table(config: TuneConfig, trials: Sequence[Trial]) -> str:
    text = io.StringIO()
    plain = [name for name in Trial.__dataclass_fields__ if name not in ("settings", "flags")]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*plain[:2], *config.searched, *plain[2:], "flags"])
    for trial in trials:
        cells = [getattr(trial, name) for name in plain]
        writer.writerow(
            [
                *cells[:2],
                *(trial.settings[name] for name in config.searched),
                *cells[2:],
                " ".join(trial.flags),
            ]
        )
    return text.getvalue()


def study_text(config: TuneConfig, of: Artifact, run_id: str, best: Trial) -> str:
    """A study file that runs the method with the settings of the trial `best`; it lists only what
    differs from the defaults."""
    import yaml

    method = replace(config.method, seed=0, **config.typed(best.settings))
    entry = {
        "run": method.kind,
        "of": of.id,
        **_differences(to_plain(method), to_plain(type(method)())),
        **config.typed(best.settings),
    }
    title = (
        f"# The best of {run_id}: {method.kind} on {of.id}, trial {best.number}, λ̂ = "
        f"{best.llc_mean:.5g} ± {best.llc_error:.2g}\n"
    )
    study = {"name": f"tuned_{method.kind}", "runs": [entry]}
    return title + yaml.safe_dump(study, sort_keys=False)


def _differences(tree: Mapping[str, Any], plain: Mapping[str, Any]) -> dict[str, Any]:
    differences: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and isinstance(plain.get(name), Mapping):
            inner = _differences(value, plain[name])
            differences |= {name: inner} if inner else {}
        elif value != plain.get(name):
            differences[name] = value
    return differences
