"""Exact Bayesian inference over the directed acyclic graphs of few variables."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import torch

from causal_meta.conf.inference import BayesianConfig, ExactConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.knowledge import Knowledge
from causal_meta.method_diagnostics import MethodDiagnostics
from causal_meta.models.bayesian.edge_penalties import edge_penalty
from causal_meta.models.bayesian.pilot import pilot
from causal_meta.models.bayesian.pool import Fit, Start, pooled_posterior
from causal_meta.models.bayesian.structures import enumeration
from causal_meta.models.bayesian.structures.enumeration import EnumeratedGraphs
from causal_meta.models.bayesian.structures.family_tables import FamilyTables
from causal_meta.models.bayesian.structures.graph_sums import GraphSums
from causal_meta.models.bayesian.structures.order_sums import OrderSums
from causal_meta.models.bayesian.structures.subset_sums import ModularSums, memory_needed
from causal_meta.models.bayesian.task_scores import check_columns, task_score
from causal_meta.models.task_method import NO_CHECKPOINT, Checkpoint, TaskMethod
from causal_meta.posteriors import DrawnGraphs
from causal_meta.scores.graph_prior import GraphPrior
from causal_meta.scores.local_score import LocalScore
from causal_meta.tasks import Task

#: The largest number of variables: 2^20 sets, 3^20 terms, a minute and 1 GiB.
LARGEST = 20
#: Sums are exact to rounding, which is far below this.
RESOLUTION = 1e-9


class Exact(TaskMethod[ExactConfig]):
    """The posterior of one local score over all directed acyclic graphs: exact marginals, and
    independent draws.

    A list of all graphs up to 5 variables, sums over sets of variables above (`ModularSums`, or
    `OrderSums` for `prior=order`). The score of a variable uses only rows in which it was not set;
    knowledge and contexts are obeyed by every graph.
    """

    def check(self, task: Task) -> None:
        """Raise `ConfigError` if the table has too many variables for the sums or for the memory of
        this machine, if the score cannot read its columns, or if no penalty gives the expected
        number of edges."""
        n_nodes = task.x.shape[1]
        if n_nodes > LARGEST:
            raise ConfigError(
                f"The table has {n_nodes} variables, and exact inference holds at most {LARGEST}; "
                "use mcmc instead."
            )
        need, there = memory_needed(n_nodes, n_nodes - 1), _memory()
        if need > there:
            raise ConfigError(
                f"Exact inference on {n_nodes} variables needs {need / 2**30:.1f} GiB of memory, "
                f"and this machine has {there / 2**30:.1f}; use mcmc instead."
            )
        graph_prior(self.config, _known(task))
        check_columns(task, self.config.score)

    def answer(
        self, task: Task, generator: np.random.Generator, checkpoint: Checkpoint = NO_CHECKPOINT
    ) -> DrawnGraphs:
        """The posterior of a task; of a pool, finished members are saved on the way."""
        if self.config.score == "pool":
            return pooled_posterior(task, self.config, self._fit, generator, checkpoint)
        prior = pilot(task, self.config).prior
        score = task_score(task, self.config.score, prior)
        posterior = exact_posterior(score, _known(task), self.config, generator)
        posterior.diagnostics = MethodDiagnostics(prior_scale=prior.scale if prior else None)
        return posterior

    def _fit(
        self,
        score: LocalScore,
        known: Knowledge,
        generator: np.random.Generator,
        draws: int,
        start: Start,
    ) -> Fit:
        config = dataclasses.replace(self.config, n_samples=draws)
        return Fit(exact_posterior(score, known, config, generator))


def exact_posterior(
    score: LocalScore, known: Knowledge, config: ExactConfig, generator: np.random.Generator
) -> DrawnGraphs:
    """The exact posterior under a score as `config.n_samples` draws and marginals (B = 1)."""
    sums = exact_sums(score, known, config)
    graphs = sums.sample(config.n_samples, generator)
    return DrawnGraphs(
        torch.from_numpy(graphs)[None],
        torch.from_numpy(sums.edge_probabilities)[None],
        torch.tensor([RESOLUTION], dtype=torch.float64),
        torch.ones(1, sums.n_nodes, dtype=torch.bool),
    )


def exact_sums(score: LocalScore, known: Knowledge, config: ExactConfig) -> GraphSums:
    """The exact posterior under a score, with its evidence and the marginals of families."""
    prior = graph_prior(config, known)
    tables = FamilyTables.build(score, prior, known)
    if config.prior == "order":
        return OrderSums(tables)
    small = score.n_nodes <= enumeration.LARGEST
    return EnumeratedGraphs(tables) if small else ModularSums(tables)


def graph_prior(config: BayesianConfig, known: Knowledge) -> GraphPrior:
    """The prior of a configuration for the variables of `known`. An expected number of edges is
    that of all graphs within the bound on parents, each counted once.

    Raises:
        ConfigError: an expected number of edges that no penalty gives.
    """
    penalty, n_nodes = config.edge_penalty, known.n_nodes
    if config.expected_edges is not None and n_nodes > 1:
        edges, bound = config.expected_edges, known.max_parents
        try:
            penalty = edge_penalty(n_nodes, config.graph_prior, edges, bound)
        except ValueError as error:
            raise ConfigError(str(error)) from None
    return GraphPrior(n_nodes=n_nodes, kind=config.graph_prior, edge_penalty=penalty)


def _known(task: Task) -> Knowledge:
    return task.knowledge or Knowledge.none(task.x.shape[1])


def _memory() -> int:
    """The bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
