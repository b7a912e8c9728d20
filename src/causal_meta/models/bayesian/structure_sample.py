"""A sample of graphs from the posterior under one local score: candidates, search, chains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int8

from causal_meta.knowledge import Knowledge
from causal_meta.models.bayesian.candidates import (
    CandidateBounds,
    Candidates,
    Sampled,
    chosen_candidates,
)
from causal_meta.models.bayesian.chain_run import ChainRun, SampleSettings
from causal_meta.models.bayesian.convergence import split_r_hat, worse_chains
from causal_meta.models.bayesian.family_scores import FamilyScores
from causal_meta.models.bayesian.family_tables import FamilyTables
from causal_meta.models.bayesian.look_ups import look_ups
from causal_meta.models.bayesian.order_search import best_graphs
from causal_meta.models.bayesian.plus_one import with_added_edges
from causal_meta.models.task_method import NO_CHECKPOINT, Checkpoint
from causal_meta.scores.graph_prior import GraphPrior
from causal_meta.scores.local_score import LocalScore


@dataclass(frozen=True, eq=False)
class StructureSample:
    """Graphs from the posterior, and how far to trust them.

    Attributes:
        graphs: S graphs, equally likely, from the chains that count.
        marginals: probability of every edge, averaged over the conditional probabilities given the
            rest of the graph; edges from outside the candidates by one update of that edge alone.
        errors: Monte Carlo standard errors of `marginals`.
        log_scores: log posterior (up to a constant) of the graphs drawn, by chain.
        peaks: the best log posterior that each chain came upon.
        left_out: the chains that do not count, and how many nats their best graph is worse.
        r_hat: of the log posterior.
        r_hat_edges: the largest one of an edge.
        acceptance: share of the jumps of all variables that were accepted.
        best: the best graph of all, and its log posterior.
        candidates: for each variable the candidate parents.
    """

    graphs: Int8[np.ndarray, "S D D"]
    marginals: Float[np.ndarray, "D D"]
    errors: Float[np.ndarray, "D D"]
    log_scores: Float[np.ndarray, "C T"]
    peaks: Float[np.ndarray, " C"]
    left_out: dict[int, float]
    r_hat: float
    r_hat_edges: float
    acceptance: float
    best: Int8[np.ndarray, "D D"]
    best_score: float
    candidates: Candidates


def sample_structures(
    score: LocalScore,
    prior: GraphPrior,
    knowledge: Knowledge,
    generator: np.random.Generator,
    settings: SampleSettings | None = None,
    candidates: Sequence[Sequence[int]] | None = None,
    checkpoint: Checkpoint = NO_CHECKPOINT,
) -> StructureSample:
    """Sample graphs G of D variables from p(G | data), proportional to
    prod_v exp(score(v, P_v) + log prior(P_v)) over the acyclic graphs that the knowledge allows.

    Candidates, then a search, then order MCMC with corrected graphs. A function of its arguments
    alone.

    Args:
        score: the local score of the data.
        prior: the log prior of a family.
        knowledge: forbidden and required edges, obeyed by every draw.
        generator: the only source of random numbers.
        settings: lengths of all stages.
        candidates: candidates to begin from, for instance those of another score of the same table;
            they are refined all the same.
        checkpoint: where the state of the chains is kept.
    """
    settings = settings or SampleSettings()
    families = FamilyScores(score, prior, knowledge, settings.max_parents)
    names, reached = searched_candidates(families, settings, generator, candidates)
    tables = families.tables(names)
    arrays = look_ups(tables)
    run = ChainRun.begin(arrays, knowledge.required, reached.orders, settings, generator)
    run.finish(arrays)
    return _sample(run, families, tables, reached, names, generator)


def searched_candidates(
    families: FamilyScores,
    settings: SampleSettings,
    generator: np.random.Generator,
    start: Sequence[Sequence[int]] | None = None,
) -> tuple[Candidates, Sampled]:
    """The candidates by refinement with a search of `settings.chains` starts in each round, and
    what the last search reached."""
    bounds = CandidateBounds(settings.n_candidates, settings.n_candidates + 3)
    steps = settings.anneal * families.n_nodes
    required = families.knowledge.required

    def sample(names: Candidates, before: Sampled | None) -> Sampled:
        tables = families.tables(names)
        known = None if before is None else before.orders[:1]
        best = best_graphs(tables, required, generator, settings.chains, steps, known)
        return Sampled(tables.adjacency(best.chosen), best.orders[:4], float(best.log_scores[0]))

    return chosen_candidates(families, bounds, sample, start, settings.rounds)


def _sample(
    run: ChainRun,
    families: FamilyScores,
    tables: FamilyTables,
    reached: Sampled,
    names: Candidates,
    generator: np.random.Generator,
) -> StructureSample:
    """The answer of finished chains: those in a worse mode left out, edges from outside the
    candidates added."""
    log_scores = tables.log_weights(run.chosen)
    peaks = tables.log_weights(run.peaks)
    left_out = worse_chains(log_scores, peaks)
    kept = [c for c in range(len(peaks)) if c not in left_out]
    inside = tables.place.T >= 0
    graphs, outside = with_added_edges(
        families, tables.adjacency(run.chosen[kept].reshape(-1, len(names))), inside, generator
    )
    marginals, errors = run.marginals(tables, kept)
    marginals += outside
    edges = (run.chosen[kept][..., None] >> np.arange(tables.n_candidates)) & 1
    top = int(np.argmax(peaks))
    best = tables.adjacency(run.peaks[top])
    return StructureSample(
        graphs,
        marginals,
        errors,
        log_scores,
        peaks,
        left_out,
        float(split_r_hat(log_scores[kept])),
        float(split_r_hat(edges).max()),
        run.acceptance,
        best,
        float(peaks[top]),
        names,
    )
