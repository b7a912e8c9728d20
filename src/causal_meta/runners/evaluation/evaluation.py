"""Scoring posteriors against the truth: one code for amortised models, baselines and every other
run with a `posterior.npz`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from causal_meta.conf.evaluation import EvaluateConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.posteriors import GraphPosterior
from causal_meta.randomness import torch_generator
from causal_meta.records.posteriors import read_posterior, read_seconds
from causal_meta.runners.evaluation.eval_metrics import (
    CONVENTIONS,
    METRICS,
    MID,
    expected_calibration_error,
    or_none,
    ordered_pairs,
    posterior_metrics,
    reliability_bins,
    summary,
)
from causal_meta.runners.inference.amortised import artifact_posterior
from causal_meta.runners.progress import watched
from causal_meta.runners.tasks.task_sets import load_tasks
from causal_meta.tasks import TaskBatch

if TYPE_CHECKING:
    from causal_meta.store import Artifact, Attempt

Array = NDArray[Any]


def evaluate(config: EvaluateConfig, attempt: Attempt) -> dict[str, Any]:
    """Score a posterior for a task set and write `metrics.json`; the builder of kind `evaluate`.

    Either `of` is an amortised target and `tasks` a task set, or `of` is a task set and `posterior`
    a run on it. Raises `ConfigError` in one sentence for any other combination, and for tasks
    without a true graph.
    """
    case = _gather(config, attempt.inputs)
    if case.batch.adjacency is None:
        raise ConfigError(
            f"The tasks {case.tasks.id} have no true graph to compare with; build them with one, "
            "data.truth=FILE."
        )
    scores = score(case.posterior, case.batch.adjacency, config)
    seconds = [or_none(float(value)) for value in case.seconds]
    tree = {
        "kind": case.kind,
        "posterior_type": case.posterior.type_name,
        "tasks": case.tasks.id,
        "n_tasks": len(case.batch),
        **scores,
        "seconds_per_task": {
            **summary({"seconds": seconds})["seconds"],
            "unit": "CPU seconds",
            "per_task": seconds,
        },
    }
    (attempt.folder / "metrics.json").write_text(
        json.dumps(tree, indent=1, allow_nan=False) + "\n", "utf-8"
    )
    means = {name: entry["mean"] for name, entry in scores["summary"].items()}
    attempt.facts.event("on_test_end", split="test", metrics=means)
    return {"dims": {"n_tasks": len(case.batch), "n_nodes": case.batch.n_nodes}, "metrics": means}


def score(
    posterior: GraphPosterior, truth: Float[Tensor, "B D D"], config: EvaluateConfig
) -> dict[str, Any]:
    """Every metric of a posterior over B tasks against the true graphs: summary, per_task,
    reliability, pooled and conventions.

    Empirical posteriors are scored by their own graphs, all of them; others by `config.n_samples`
    draws, which depend on `config.seed`.
    """
    source = torch_generator(config.seed, config.kind, "graphs")
    graphs = posterior.representative_graphs(config.n_samples, source).numpy()
    probabilities, log_prob = (
        posterior.edge_probabilities.double().numpy(),
        posterior.log_prob(truth).double().numpy(),
    )
    real, true = posterior.node_mask.sum(1).tolist(), truth.numpy()
    per_task: dict[str, list[float | None]] = {name: [] for name in METRICS}
    pairs: list[tuple[Array, Array]] = []
    for b in watched(range(len(posterior)), "scoring"):
        cut = slice(0, real[b])
        marginals, adjacency = probabilities[b, cut, cut], true[b, cut, cut]
        values = posterior_metrics(
            graphs[b, :, cut, cut],
            marginals,
            adjacency,
            float(log_prob[b]),
            shd_reversal=config.shd_reversal,
            ece_bins=config.ece_bins,
        )
        for name, value in values.items():
            per_task[name].append(value)
        pairs.append((ordered_pairs(marginals), ordered_pairs(adjacency)))
    p, edge = (np.concatenate(side) for side in zip(*pairs, strict=True))
    mid = (p > MID[0]) & (p < MID[1])
    return {
        "summary": summary(per_task),
        "per_task": per_task,
        "reliability": reliability_bins(p, edge, config.ece_bins),
        "pooled": {
            "ece": or_none(expected_calibration_error(p, edge, config.ece_bins)),
            "ece_mid": or_none(expected_calibration_error(p[mid], edge[mid], config.ece_bins)),
        },
        "conventions": CONVENTIONS | _settings(posterior, graphs.shape[1], config),
    }


def _settings(posterior: GraphPosterior, n_samples: int, config: EvaluateConfig) -> dict[str, str]:
    """The settings of this evaluation that the numbers depend on, in words."""
    epsilon = posterior.smoothing
    nll = f"epsilon = 1 / {1 / epsilon:.0f} = {epsilon:.3g}" if epsilon else "no smoothing"
    return {
        "shd_reversal": f"a reversed edge costs {config.shd_reversal}",
        "samples": f"{n_samples} graphs per task, {posterior.representatives}",
        "graph_nll_epsilon": nll,
        "ece_bins": f"{config.ece_bins} bins of equal width",
        "rows": "standardised per task and column before inference, except where a method reads "
        "their scale (sortnregress by variance)",
    }


# ------------------------------------------------------------------------------------------- inputs


@dataclass(frozen=True)
class _Case:
    """A posterior to be scored: for the tasks of `tasks`, by the method `kind`, in `seconds` of CPU
    time per task [B]."""

    posterior: GraphPosterior
    seconds: Array
    kind: str
    tasks: Artifact
    batch: TaskBatch


def _gather(config: EvaluateConfig, inputs: Mapping[str, Artifact]) -> _Case:
    of, tasks, run = inputs["of"], inputs.get("tasks"), inputs.get("posterior")
    if of.kind == "amortised":
        if tasks is None or run is not None or tasks.kind != "tasks":
            came = (
                "a posterior"
                if run is not None
                else "no tasks"
                if tasks is None
                else f"tasks of kind {tasks.kind!r}"
            )
            raise ConfigError(
                f"An amortised model was given with {came}; evaluate it with a task set, "
                f"of={of.id} tasks=ID."
            )
        batch = load_tasks(tasks)
        posterior, seconds = artifact_posterior(of, batch, seed=config.seed)
        return _Case(posterior, seconds, of.kind, tasks, batch)
    if of.kind != "tasks":
        raise ConfigError(
            f"{of.id} is of kind {of.kind!r}; evaluate an amortised model with tasks=ID, or a "
            "task set with posterior=RUN."
        )
    if run is None or tasks is not None:
        came = "no posterior" if run is None else "further tasks"
        raise ConfigError(
            f"A task set was given with {came}; evaluate it with a run on it, of={of.id} "
            "posterior=RUN."
        )
    posterior, seconds = read_posterior(run), read_seconds(run)
    if of.id not in run.inputs.values():
        raise ConfigError(
            f"{run.id} was computed on {', '.join(run.inputs.values())} and not on {of.id}; give "
            "a run on the same tasks."
        )
    return _Case(posterior, seconds, run.kind, of, load_tasks(of))
