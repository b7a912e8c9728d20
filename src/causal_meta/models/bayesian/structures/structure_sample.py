"""A sample of graphs from the posterior under one local score: candidates, search, chains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int8, Int64, UInt64

from causal_meta.knowledge import Knowledge
from causal_meta.models.bayesian.structures.candidates import (
    CandidateBounds,
    Candidates,
    Sampled,
    chosen_candidates,
    refined,
)
from causal_meta.models.bayesian.structures.chain_run import ChainRun, SampleSettings
from causal_meta.models.bayesian.structures.convergence import split_r_hat, worse_chains
from causal_meta.models.bayesian.structures.family_scores import FamilyScores
from causal_meta.models.bayesian.structures.family_tables import FamilyTables
from causal_meta.models.bayesian.structures.graph_chains import drawn_graph
from causal_meta.models.bayesian.structures.look_ups import MOST, look_ups
from causal_meta.models.bayesian.structures.order_chains import advance
from causal_meta.models.bayesian.structures.order_search import (
    best_graphs,
    compatible_order,
    heated,
    random_state,
)
from causal_meta.models.bayesian.structures.plus_one import with_added_edges
from causal_meta.models.task_method import NO_CHECKPOINT, Checkpoint
from causal_meta.scores.bge import BGe
from causal_meta.scores.graph_prior import GraphPrior
from causal_meta.scores.local_score import LocalScore

#: How many more candidates than usual a variable may have: a table has 2^K families, and they are
#: quick for the linear score.
_MORE_LINEAR, _MORE = 4, 2
_DRAWS = 25  # from each order, for the last candidates
#: Powers of the posterior under which orders away from the best one are drawn, in which parents are
#: grown for the next candidates.
_HEATS = (0.3, 0.1, 0.1, 0.03, 0.03, 0.01)


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
    good: Int8[np.ndarray, "R D D"] | None = None,
) -> StructureSample:
    """Sample graphs G of D variables from p(G | data), proportional to
    prod_v exp(score(v, P_v) + log prior(P_v)) over the acyclic graphs that the knowledge allows.

    Candidate parents and a search first (`searched_candidates`), then chains over graphs
    (`ChainRun`). A function of its arguments alone.

    Args:
        score: the local score of the data.
        prior: the log prior of a family.
        knowledge: forbidden and required edges, obeyed by every draw.
        generator: the only source of random numbers.
        settings: lengths of all stages.
        candidates: candidates to begin from, for instance those of another score of the same table;
            they are refined all the same.
        checkpoint: where the state of the chains is kept.
        good: graphs of another search of the same table: the search begins from their orders too,
            and their edges are candidates. Those that the knowledge does not allow are left out.
    """
    settings = settings or SampleSettings()
    families = FamilyScores(score, prior, knowledge, settings.max_parents)
    last = random_state(generator)  # drawn first, so that a resumed run has the same
    state = checkpoint.load()
    if state is None:
        checkpoint.stage("which variables may be causes of which")
        names, reached = searched_candidates(families, settings, generator, candidates, good)
        arrays = look_ups(families.tables(names))
        run = ChainRun.begin(arrays, knowledge.required, reached.orders, settings, generator)
    else:
        names = [[int(u) for u in row if u >= 0] for row in state["candidates"]]
        arrays = look_ups(families.tables(names))
        run = ChainRun.from_arrays(settings, state)
    checkpoint.stage("chains")
    run.finish(arrays, checkpoint)
    return _sample(run, families, names, last)


def searched_candidates(
    families: FamilyScores,
    settings: SampleSettings,
    generator: np.random.Generator,
    start: Sequence[Sequence[int]] | None = None,
    good: Int8[np.ndarray, "R D D"] | None = None,
) -> tuple[Candidates, Sampled]:
    """The candidates by refinement with a search of `settings.chains` starts in each round, the
    first one also from orders of the `good` graphs, and what the last search reached. The last
    refinement is from draws."""
    more = _MORE_LINEAR if isinstance(families.score, BGe) else _MORE
    largest = min(settings.n_candidates + more, MOST)
    every = families.n_nodes - 1  # candidates where that is hardly more than usual
    bounds = CandidateBounds(every if every <= largest else settings.n_candidates, largest)
    steps = settings.anneal * families.n_nodes
    required = families.knowledge.required
    if good is not None:
        good = good[[families.knowledge.allows(graph) for graph in good]]
    orders = [compatible_order(graph == 1, generator) for graph in (() if good is None else good)]

    def sample(names: Candidates, before: Sampled | None) -> Sampled:
        tables = families.tables(names)
        known = before.orders[:1] if before else np.array(orders) if orders else None
        best = best_graphs(tables, required, generator, settings.chains, steps, known)
        arrays = look_ups(tables)
        away = [heated(arrays, best.orders[0], h, random_state(generator)) for h in _HEATS]
        return Sampled(
            tables.adjacency(best.chosen),
            best.orders[: settings.chains],
            np.stack(away),
            float(best.log_scores[0]),
        )

    names, best = chosen_candidates(
        families, bounds, sample, generator, start, settings.rounds, good
    )
    if bounds.usual >= every or not settings.rounds:
        return names, best
    # once more with draws instead of best graphs, for edges whose direction is not certain
    drawn = _drawn_graphs(families.tables(names), best.orders, generator)
    graphs = np.concatenate([drawn, best.graphs[:1]])
    last = refined(families, graphs, best.orders[:1], bounds)
    reached = sample(last, best)
    return (last, reached) if reached.best >= best.best - 1e-6 else (names, best)


def _drawn_graphs(
    tables: FamilyTables, orders: Int64[np.ndarray, "R D"], generator: np.random.Generator
) -> Int8[np.ndarray, "S D D"]:
    """Graphs from order MCMC, `_DRAWS` from each order on."""
    arrays, chosen = look_ups(tables), []
    for start in orders:
        order, state = start.copy(), random_state(generator)
        for _ in range(_DRAWS):
            advance(arrays, order, 3 * len(order), state)
            chosen.append(drawn_graph(arrays, order, state))
    return tables.adjacency(np.stack(chosen))


def _sample(
    run: ChainRun, families: FamilyScores, names: Candidates, state: UInt64[np.ndarray, " 4"]
) -> StructureSample:
    """The answer of finished chains: those in a worse mode left out, edges from outside the
    candidates added."""
    tables = families.tables(names)
    log_scores = tables.log_weights(run.chosen)
    peaks = tables.log_weights(run.peaks)
    left_out = worse_chains(log_scores, peaks)
    kept = [c for c in range(len(peaks)) if c not in left_out]
    graphs = tables.adjacency(run.chosen[kept].reshape(-1, len(names)))
    graphs, outside = with_added_edges(families, graphs, tables.place.T >= 0, state)
    marginals, errors = run.marginals(tables, kept)
    edges = (run.chosen[kept][..., None] >> np.arange(tables.n_candidates)) & 1
    top = int(np.argmax(peaks))
    return StructureSample(
        graphs=graphs,
        marginals=marginals + outside,
        errors=errors,
        log_scores=log_scores,
        peaks=peaks,
        left_out=left_out,
        r_hat=float(split_r_hat(log_scores[kept])),
        r_hat_edges=float(split_r_hat(edges).max(initial=1.0)),
        acceptance=run.acceptance,
        best=tables.adjacency(run.peaks[top]),
        best_score=float(peaks[top]),
        candidates=names,
    )
