"""The scale t of the prior of a table, by the evidence of good linear graphs."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

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
_WORK = 50_000  # families after which the search ends: reached at about 100 variables
_ROWS = 5  # for every parent of a variable


def table_prior(task: Task, config: BayesianConfig) -> BGePrior | None:
    """The prior for all scores of a table: that of `config.prior_scale`, or of `chosen_scale`;
    None for scores without it."""
    if config.score in WITHOUT_PRIOR:
        return None
    if config.prior_scale is not None:
        return BGePrior(t=config.prior_scale)
    prior = GraphPrior(
        n_nodes=task.x.shape[1], kind=config.graph_prior, edge_penalty=config.edge_penalty
    )
    return BGePrior(t=chosen_scale(task, prior))


def chosen_scale(task: Task, prior: GraphPrior, seed: int = 0) -> float:
    """The t of `SCALES` under which good linear graphs have the highest score,

        max_G log p(x | G, t) + log p(G)

    over the graphs of some searches by BIC (see `BOSS`). One t serves all variables, so that graphs
    of one equivalence class keep equal scores.

    The prior adds t to the sums of squared residuals, and expects effects of the size sigma /
    sqrt(t). With the default, 1/2, that is far too much where causes leave less than t / N of a
    variable's variance: false causes then pay by keeping the coefficients small. A smaller t costs
    log(1 / 2t) nats for every edge instead, and is chosen where the evidence gains more. Copies and
    sums of other columns are left out, as an exact relation would ask for the smallest t whatever
    the others need. What is known of the graph is not used; `seed` is that of the search.
    """
    x, categories, intervened = scored_table(task)
    kept = independent_columns(x)
    if len(kept) < 2:
        return SCALES[0]
    kinds = None if categories is None else [categories[v] for v in kept]
    table = prepare(x[:, kept], kinds, intervened[:, kept] if intervened.any() else None)
    prior = GraphPrior(n_nodes=len(kept), kind=prior.kind, edge_penalty=prior.edge_penalty)
    graphs = good_graphs(table, generator(seed, "prior scale"))
    scores = [[_log_posterior(BGe(table, BGePrior(t=t)), prior, g) for g in graphs] for t in SCALES]
    return SCALES[int(np.argmax(np.max(scores, axis=1)))]


def good_graphs(table: Table, source: np.random.Generator) -> list[list[list[int]]]:
    """The parents of each variable in the graphs of some searches by BIC; of a categorical variable
    the first contrast counts."""
    rows = table.values[:, [block[0] for block in table.blocks]]
    known = dataclasses.replace(
        Knowledge.none(table.n_nodes), max_parents=max(1, len(rows) // _ROWS)
    )
    score = GaussianBIC(rows, _PENALTY, known)
    graphs = []
    for _ in range(_STARTS):
        order = random_order(score, source)
        moved = True
        while moved:
            moved = False
            for node in source.permutation(len(order)).tolist():
                moved |= score.work < _WORK and relocate(score, node, order)
        graphs.append([members(parents) for parents in graph_of(score, order)[1]])
        if score.work >= _WORK:
            break
    return graphs


def _log_posterior(score: BGe, prior: GraphPrior, graph: list[list[int]]) -> float:
    return sum(
        float(score.families(v, np.array([parents], np.int64).reshape(1, -1))[0])
        + float(prior.families(np.array(len(parents))))
        for v, parents in enumerate(graph)
    )


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
