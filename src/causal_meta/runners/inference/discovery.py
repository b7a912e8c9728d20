"""From a table to a posterior over its causal graphs: the library functions `load_model` and
`discover`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from causal_meta.conf.artifacts import RunConfig
from causal_meta.conf.convert import to_plain
from causal_meta.conf.inference import DiscoverConfig, MethodConfig
from causal_meta.conf.knowledge import KnowledgeConfig
from causal_meta.conf.registry import implementation
from causal_meta.conf.setting import ConfigError
from causal_meta.datasets.real import Table, TableError, as_table
from causal_meta.datasets.truths import read_truth
from causal_meta.posteriors import GraphPosterior
from causal_meta.randomness import generator, torch_generator
from causal_meta.records.posteriors import read_graphs, read_posterior
from causal_meta.runners.evaluation.eval_metrics import acyclic
from causal_meta.runners.inference.answers import Discovery
from causal_meta.runners.inference.methods import (
    AMORTISED,
    AUTO,
    listed_methods,
    method_configs,
    method_word,
)
from causal_meta.runners.inference.per_task import informed_tasks
from causal_meta.runners.inference.signs import signs_against
from causal_meta.runners.inference.trained import TrainedModel, batch_of, load_model
from causal_meta.store import Artifact, Store
from causal_meta.tasks import Task

__all__ = [
    "Discovery",
    "TrainedModel",
    "check_methods",
    "discover",
    "from_run",
    "load_model",
    "side_by_side",
]


def discover(
    table: Any,
    model: TrainedModel | str | Path | None = None,
    store: Store | str | Path | None = None,
    *,
    method: str = "",
    settings: Sequence[str] = (),
    n_samples: int | None = None,
    seed: int = 0,
    truth: Any = None,
    knowledge: KnowledgeConfig | Mapping[str, Any] | None = None,
    transform: str = "none",
    columns: Sequence[str] = (),
    interventions: Sequence[str] = (),
    mask: str | Path | None = None,
    categorical: Sequence[str] = (),
    context: Sequence[str] = (),
) -> Discovery:
    """Which causal graphs could have made this table?

    Writes nothing.

    Args:
        table: a pandas DataFrame, rows [N, D], a file (CSV, TSV, Parquet, .npz) or
            `sklearn:diabetes`.
        model: a `TrainedModel`, or what `load_model` takes (looked up in `store`): it answers.
        method: without a model, one method or several with commas between them: `auto` (the
            default: explicit Bayesian inference, `exact` for few variables, else `mcmc`),
            `amortised` (the trained model inside the package), or a kind of `causal-meta infer`.
            The first one's answer is returned, with the others in its `others`.
        settings: words key=value for the methods; each goes to those that have it.
        n_samples: graphs to draw; None: the method's own number.
        seed: of all random numbers.
        truth: an adjacency [D, D] in the table's order (row causes column), or the path of a CSV
            with names.
        knowledge: forbidden and required edges and tiers, as in `KnowledgeConfig`; a tier may be
            a list of names.
        transform, columns, interventions, mask, categorical, context: see `read_table`.

    Raises:
        ValueError: in one sentence.
    """
    data = as_table(
        table,
        columns=columns,
        transform=transform,
        interventions=interventions,
        mask=mask,
        categorical=categorical,
        context=context,
    )
    true = _truth(truth, data)
    if n_samples is not None and n_samples < 1:
        raise ValueError(f"n_samples is {n_samples}; draw at least one graph.")
    words = listed_methods(method or (AUTO if model is None else AMORTISED))
    if model is not None and AMORTISED not in words:
        raise ValueError(
            "A trained model answers the method amortised only; leave out one of the two."
        )
    shared = {"n_samples": n_samples, "seed": seed, "knowledge": _known(knowledge)}
    configs = method_configs(words, len(data.columns), settings, **shared)
    check_methods(configs, data)
    trained = None
    if any(isinstance(config, DiscoverConfig) for config in configs):
        trained = model if isinstance(model, TrainedModel) else load_model(model, store)
    return side_by_side([_answer(config, data, true, trained) for config in configs])


def _known(knowledge: KnowledgeConfig | Mapping[str, Any] | None) -> dict[str, Any]:
    """Knowledge as a tree; empty for none."""
    if isinstance(knowledge, KnowledgeConfig):
        return {} if knowledge.is_empty else to_plain(knowledge)
    tree = dict(knowledge or {})
    if isinstance(tree.get("tiers"), list | tuple):
        tree["tiers"] = [
            tier if isinstance(tier, str) else ", ".join(tier) for tier in tree["tiers"]
        ]
    return tree


def check_methods(configs: Sequence[RunConfig], table: Table) -> None:
    """Raise `ConfigError` if one of the methods cannot answer this table: before the first of them
    computes for minutes."""
    for config in configs:
        if isinstance(config, MethodConfig):
            _checked_task(config, table)
        else:
            _check_trained(table)


def _check_trained(table: Table) -> None:
    if table.context:
        raise ConfigError(
            "A trained model cannot use contexts and would treat them as variables that may have "
            "causes; leave them out of the table, or use the method auto."
        )
    for name in table.categorical:
        if len(np.unique(table.x[:, table.columns.index(name)])) > 2:
            raise ConfigError(
                f"A trained model reads numbers, and column {name!r} holds more than two "
                "categories; leave it out, or use the method auto."
            )


def _answer(
    config: RunConfig, table: Table, truth: np.ndarray | None, trained: TrainedModel | None
) -> Discovery:
    if isinstance(config, MethodConfig):
        posterior = _method_posterior(config, table)
        graphs = posterior.representative_graphs(
            config.n_samples, torch_generator(config.seed, config.kind, "graphs")
        )
        return _finished(posterior, graphs[0].numpy(), table, config.kind, config, truth)
    assert isinstance(config, DiscoverConfig)
    assert trained is not None
    posterior = trained.posterior(table, config.seed)
    source = torch_generator(config.seed, "discover", "graphs")
    graphs = posterior.sample(config.n_samples, source)
    warnings = trained.warnings(table, config.seed)
    return _finished(posterior, graphs[0].numpy(), table, trained.id, config, truth, warnings)


def _method_posterior(config: MethodConfig, table: Table) -> GraphPosterior:
    """The posterior as the first task of a stored task set would get it."""
    task = _checked_task(config, table)
    method = implementation(config)(config)
    posterior = method.answer(task, generator(config.seed, config.kind, "task", 0))
    return cast(GraphPosterior, posterior)


def _checked_task(config: MethodConfig, table: Table) -> Task:
    """A table as a task of a method that can answer it."""
    kinds = {
        kind: np.isin(table.columns, named)
        for kind, named in (("categorical", table.categorical), ("context", table.context))
        if named
    }
    task = informed_tasks(config, batch_of(table), table.columns, **kinds)[0]
    implementation(config)(config).check(task)
    return task


def _finished(
    posterior: GraphPosterior,
    graphs: np.ndarray,
    table: Table,
    model_id: str,
    config: RunConfig,
    truth: np.ndarray | None,
    warnings: Sequence[str] = (),
) -> Discovery:
    """The answer with what speaks against it."""
    answer = Discovery(
        posterior, graphs, table, model_id, config.seed, tuple(warnings), truth, method_word(config)
    )
    if isinstance(config, MethodConfig):
        return dataclasses.replace(
            answer,
            warnings=(*warnings, *signs_against(answer)),
            knowledge=config.knowledge,
        )
    return answer


def side_by_side(answers: Sequence[Discovery]) -> Discovery:
    """The first answer with the others beside it."""
    return dataclasses.replace(answers[0], others=tuple(answers[1:]))


def _truth(truth: Any, table: Table) -> np.ndarray | None:
    if truth is None:
        return None
    if isinstance(truth, str | Path):
        return read_truth(truth, table.columns)
    matrix = (
        truth.loc[list(table.columns), list(table.columns)].to_numpy()
        if hasattr(truth, "loc")
        else np.asarray(truth)
    )
    size = len(table.columns)
    if matrix.shape != (size, size) or not np.isin(matrix, (0, 1)).all():
        raise TableError(
            f"The true graph has shape {matrix.shape}; give {size} by {size} entries of 0 and 1, "
            "row causes column."
        )
    if not bool(acyclic(matrix)):
        raise TableError("The true graph has a cycle; give a directed acyclic graph.")
    return matrix.astype(np.int8)


def from_run(
    run: Artifact,
    trained: TrainedModel | None,
    table: Table,
    truth: np.ndarray | None = None,
) -> Discovery:
    """The answer that a run of the store holds, for the table of its task set. `trained` is the
    model of a `discover` run, None for another kind."""
    graphs = read_graphs(run)
    if graphs is None:
        raise ValueError(f"{run.id} holds a posterior without graphs; delete it and run it again.")
    config = cast(RunConfig, run.config)
    warnings = [] if trained is None else trained.warnings(table, run.seed)
    name = run.id if trained is None else trained.id
    return _finished(read_posterior(run), graphs[0], table, name, config, truth, warnings)
