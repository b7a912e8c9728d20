"""A quick search for linear graphs of a table, before its posterior is computed: it chooses the
scale of the prior, and structure MCMC begins from its graphs too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Int8

from causal_meta.conf.inference import BayesianConfig
from causal_meta.knowledge import Knowledge
from causal_meta.models.bayesian.task_scores import WITHOUT_PRIOR, scored_table
from causal_meta.models.classical.boss import graph_of, random_order, relocate
from causal_meta.models.classical.gaussian_bic import GaussianBIC, members
from causal_meta.randomness import generator
from causal_meta.scores.bge import BGe, BGePrior
from causal_meta.scores.graph_prior import GraphPrior
from causal_meta.scores.statistics import Table, prepare
from causal_meta.tasks import Task

#: The scales that are compared, from the default of `BGePrior` down.
SCALES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.004, 0.002, 0.0008)
#: A column of which less than this share of its variance is left by others is a copy or a sum.
EXACT_RELATION = 1e-5
#: Starts of the search for good graphs, and its penalty for a parameter in units of log N.
_STARTS, _PENALTY = 2, 1.0
_WORK = 250_000  # families after which the search ends: reached at about 100 variables
_ROWS = 5  # for every parent of a variable


@dataclass(frozen=True, eq=False)
class Pilot:
    """What the search says.

    Args:
        prior: the prior for all scores of the table; None for scores without it.
        graphs: good linear graphs that the knowledge allows.
    """

    prior: BGePrior | None
    graphs: Int8[np.ndarray, "S D D"]


def pilot(task: Task, config: BayesianConfig, seed: int = 0) -> Pilot:
    """Search a table for good linear graphs, and take the prior of `config.prior_scale`, or else
    that with the t of `SCALES` under which the best of these graphs has the highest score,

        max_G log p(x | G, t) + log p(G).

    One t serves all variables, so that graphs of one equivalence class keep equal scores.

    The prior adds t to the sums of squared residuals, and expects effects of the size sigma /
    sqrt(t). With the default, 1/2, that is far too much where causes leave less than t / N of a
    variable's variance: false causes then pay by keeping the coefficients small. A smaller t costs
    log(1 / 2t) nats for every edge instead, and is chosen where the evidence gains more. Copies and
    sums of other columns are left out, as an exact relation would ask for the smallest t whatever
    the others need.

    A search that has computed `_WORK` families ends where it is; its graph serves for the scale
    alone. `seed` is that of the search.
    """
    x, categories, intervened = scored_table(task)
    d = x.shape[1]
    kept = independent_columns(x)
    if len(kept) < 2:
        return Pilot(_prior(config, SCALES[0]), np.zeros((0, d, d), np.int8))
    kinds = None if categories is None else [categories[v] for v in kept]
    table = prepare(x[:, kept], kinds, intervened[:, kept] if intervened.any() else None)
    graphs, ended = good_graphs(table, _known(task, kept), generator(seed, "pilot"))
    whole = np.zeros((ended, d, d), np.int8)
    whole[:, kept[:, None], kept] = graphs[:ended]
    return Pilot(_prior(config, _best_scale(table, graphs, config)), whole)


def _prior(config: BayesianConfig, scale: float) -> BGePrior | None:
    if config.score in WITHOUT_PRIOR:
        return None
    return BGePrior(t=scale if config.prior_scale is None else config.prior_scale)


def _known(task: Task, kept: Int[np.ndarray, " K"]) -> Knowledge:
    """What is known of these variables; a bound on parents by the rows too."""
    known = task.knowledge or Knowledge.none(task.x.shape[1])
    pairs = np.ix_(kept, kept)
    required = known.required[pairs]
    bound = max(1, len(task.x) // _ROWS, int(required.sum(axis=0).max()))
    if known.max_parents is not None:
        bound = min(bound, known.max_parents)
    return Knowledge(known.forbidden[pairs], required, max_parents=bound)


def _best_scale(table: Table, graphs: Int8[np.ndarray, "S D D"], config: BayesianConfig) -> float:
    prior = GraphPrior(
        n_nodes=table.n_nodes, kind=config.graph_prior, edge_penalty=config.edge_penalty
    )
    scores = [
        max(_log_posterior(BGe(table, BGePrior(t=t)), prior, graph) for graph in graphs)
        for t in SCALES
    ]
    return SCALES[int(np.argmax(scores))]


def _log_posterior(score: BGe, prior: GraphPrior, graph: Int8[np.ndarray, "D D"]) -> float:
    parents = [np.flatnonzero(column) for column in graph.T]
    evidence = sum(float(score.families(v, row[None])[0]) for v, row in enumerate(parents))
    return evidence + float(prior.families(graph.sum(axis=0, dtype=np.int64)).sum())


def good_graphs(
    table: Table, known: Knowledge, source: np.random.Generator
) -> tuple[Int8[np.ndarray, "S D D"], int]:
    """The graphs of some searches by BIC from random orders (see `BOSS`), and how many of these
    searches ended by themselves. Of a categorical variable the first contrast counts, and cells
    that were set by interventions count like others: these graphs are starts, no answers."""
    rows = table.values[:, [block[0] for block in table.blocks]]
    score = GaussianBIC(rows, _PENALTY, known)
    graphs = np.zeros((_STARTS, *(table.n_nodes,) * 2), np.int8)
    for start, graph in enumerate(graphs):
        order = random_order(score, source)
        moved = True
        while moved:
            moved = False
            for node in source.permutation(len(order)).tolist():
                moved |= score.work < _WORK and relocate(score, node, order)
        for node, parents in enumerate(graph_of(score, order)[1]):
            graph[members(parents), node] = 1
        if score.work >= _WORK:
            return graphs[: start + 1], start
    return graphs, _STARTS


def independent_columns(x: Float[np.ndarray, "N D"]) -> Int[np.ndarray, " K"]:
    """The columns that are not, up to `EXACT_RELATION` of their variance, constant or linear
    functions of others among them: those that a Cholesky decomposition of the correlation matrix
    takes, the column with the largest remaining variance first. In rising order.

    >>> x = np.random.default_rng(0).normal(size=(50, 2))
    >>> independent_columns(np.column_stack([x, 2 * x[:, 0] - x[:, 1], np.ones(50)])).size
    2
    """
    values = prepare(x).values
    left = values.copy()
    kept: list[int] = []
    while len(kept) < x.shape[1]:
        variances = np.square(left).mean(axis=0)
        variances[kept] = 0.0
        v = int(np.argmax(variances))
        if variances[v] <= EXACT_RELATION:
            break
        kept.append(v)
        direction = left[:, v] / np.linalg.norm(left[:, v])
        left -= np.outer(direction, direction @ left)
    return np.sort(np.array(kept, np.int64))
