"""Structure MCMC: graphs drawn from the posterior by Markov chains over orders and graphs."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from causal_meta.conf.inference import MCMCConfig
from causal_meta.knowledge import Knowledge
from causal_meta.method_diagnostics import MethodDiagnostics
from causal_meta.models.bayesian.exact import graph_prior
from causal_meta.models.bayesian.pilot import pilot
from causal_meta.models.bayesian.pool import Fit, Start, pooled_posterior
from causal_meta.models.bayesian.structures.chain_run import SampleSettings
from causal_meta.models.bayesian.structures.structure_sample import (
    StructureSample,
    sample_structures,
)
from causal_meta.models.bayesian.task_scores import check_columns, task_score
from causal_meta.models.task_method import NO_CHECKPOINT, Checkpoint, TaskMethod
from causal_meta.posteriors import DrawnGraphs
from causal_meta.scores.local_score import LocalScore
from causal_meta.tasks import Task


class StructureMCMC(TaskMethod[MCMCConfig]):
    """The posterior over graphs under one set of assumptions, by `sample_structures`.

    Good at up to some hundreds of variables. Chains that end in a worse mode are left out and
    named; where several disagree, the search was too short for the table.
    """

    def check(self, task: Task) -> None:
        """Raise `ConfigError` if the score cannot read the columns, or no penalty gives the
        expected number of edges."""
        graph_prior(self.config, _known(task))
        check_columns(task, self.config.score)

    def answer(
        self, task: Task, generator: np.random.Generator, checkpoint: Checkpoint = NO_CHECKPOINT
    ) -> DrawnGraphs:
        """Draws and marginals of one task; interventional cells do not count for the score of their
        own variable. Of a pool, finished members are saved on the way."""
        from causal_meta.models.bayesian.structures.compiling import announced

        with announced(checkpoint) as heard:
            return self._answer(task, generator, heard)

    def _answer(
        self, task: Task, generator: np.random.Generator, checkpoint: Checkpoint
    ) -> DrawnGraphs:
        if self.config.score == "pool":
            return pooled_posterior(task, self.config, self._fit, generator, checkpoint)
        first = pilot(task, self.config)
        score = task_score(task, self.config.score, first.prior)
        sample = sample_structures(
            score,
            graph_prior(self.config, _known(task)),
            _known(task),
            generator,
            sample_settings(self.config),
            checkpoint=checkpoint,
            good=first.graphs,
        )
        posterior = drawn_graphs(sample)
        scale = first.prior.scale if first.prior else None
        posterior.diagnostics = dataclasses.replace(posterior.diagnostics, prior_scale=scale)
        return posterior

    def _fit(
        self,
        score: LocalScore,
        known: Knowledge,
        generator: np.random.Generator,
        draws: int,
        start: Start,
    ) -> Fit:
        settings = dataclasses.replace(
            sample_settings(self.config), draws=-(-draws // self.config.chains)
        )
        if start.candidates is not None:
            settings = dataclasses.replace(settings, rounds=0)
        prior = graph_prior(self.config, known)
        sample = sample_structures(
            score, prior, known, generator, settings, start.candidates, good=start.graphs
        )
        return Fit(drawn_graphs(sample), sample.candidates)


def sample_settings(config: MCMCConfig) -> SampleSettings:
    """The lengths of all stages."""
    return SampleSettings(
        chains=config.chains,
        draws=-(-config.n_samples // config.chains),
        n_candidates=config.n_candidates,
        max_parents=config.max_parents,
    )


def drawn_graphs(sample: StructureSample) -> DrawnGraphs:
    """The posterior (B = 1) of a sample, with its diagnostics."""
    n_nodes = sample.graphs.shape[1]
    posterior = DrawnGraphs(
        torch.from_numpy(sample.graphs)[None],
        torch.from_numpy(np.clip(sample.marginals, 0.0, 1.0))[None],
        torch.tensor([1 / (len(sample.graphs) + 2)], dtype=torch.float64),
        torch.ones(1, n_nodes, dtype=torch.bool),
    )
    posterior.diagnostics = MethodDiagnostics(
        chains=len(sample.peaks),
        acceptance=sample.acceptance,
        r_hat=_finite(sample.r_hat),
        r_hat_edges=_finite(sample.r_hat_edges),
        edge_error=float(sample.errors.max(initial=0.0)),
        chains_left_out=tuple(
            f"chain {c} ({nats:.1f} nats)" for c, nats in sample.left_out.items()
        ),
    )
    return posterior


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _known(task: Task) -> Knowledge:
    return task.knowledge or Knowledge.none(task.x.shape[1])
