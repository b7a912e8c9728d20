"""Simulation-based calibration of the explicit posteriors over graphs (Talts et al. 2018).

    python benchmarks/calibration.py ranks --member additive --nodes 10 --rows 50 --count 400
    python benchmarks/calibration.py ranks --member linear --power 2     # too narrow: rejected
    python benchmarks/calibration.py ranks --member linear --method mcmc
    python benchmarks/calibration.py ranks --member noise --columns raw
    python benchmarks/calibration.py edges --member variance --nodes 10 --rows 200 --count 100

`ranks` draws a graph from the prior over graphs, a table from the member's own prior, and graphs
from the posterior; the rank of the truth among these is uniform if the posterior is that of the
prior. Statistics: the number of edges, a fixed linear form of the adjacency, the number of ancestor
pairs, the log posterior weight. `edges` is the calibration error of edge probabilities of all
members and of the pool on such tables, standardised as `discover` does it.

The laws of columns given their parents' columns (t = 1/2):

    linear      sigma^2 ~ InvGamma((p + 3) / 2, t / 2), b ~ N(0, sigma^2 / t) for each parent
    additive    linear, or with features of the parents too: weights ~ N(0, s sigma^2),
                s in {0.1, 1, 10}, and products with N(0, s sigma^2 / p) for half of those
    noise       the same with noise of any class of `scores.noise`, of variance sigma^2
    variance    the same with a log scale that is linear in functions of the parents, sometimes

The first two are exactly the densities that the scores integrate, where means are known to be 0
(`KnownMeans`). Those of the other two are not densities (places, scales and residuals are fitted):
the laws here are the nearest that can be sampled.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtri
from scipy.stats import chi2, laplace
from scipy.stats import t as student

from causal_meta.conf.inference import EDGE_PENALTY, ExactConfig
from causal_meta.knowledge import Knowledge
from causal_meta.models.bayesian.exact import Exact
from causal_meta.models.bayesian.structures.enumeration import LARGEST, EnumeratedGraphs
from causal_meta.models.bayesian.structures.family_tables import FamilyTables, ancestors_or_self
from causal_meta.models.bayesian.structures.structure_sample import sample_structures
from causal_meta.models.bayesian.structures.subset_sums import ModularSums
from causal_meta.runners.evaluation.eval_metrics import MID, expected_calibration_error
from causal_meta.scores import (
    ASSUMPTIONS,
    BGe,
    BGePrior,
    ClassGains,
    Features,
    GraphPrior,
    LocalScore,
    Mixture,
    MixtureWeights,
    Table,
    prepare,
)
from causal_meta.scores.additive import SCALES
from causal_meta.scores.noise import CLASSES
from causal_meta.scores.statistics import standardised
from causal_meta.scores.variance import SPREAD
from causal_meta.tasks import Task

DRAWS, BINS = 99, 20
#: How columns are made and read: with means known to be 0 (the score is their density), centred,
#: standardised afterwards as `discover` does it, or each before it causes others.
COLUMNS = ("exact", "raw", "standardised", "in turn")
STATISTICS = ("edges", "linear form", "ancestor pairs", "log weight")
_SHAPE = 4096  # points on which a free shape of noise is drawn


class Flat(LocalScore):
    """Every family alike: no data."""

    def __init__(self, n_nodes):
        self.n_nodes = n_nodes

    def families(self, node, parents):
        return np.zeros(len(parents))


class Tempered(LocalScore):
    """A power of the likelihood: above 1 the posterior is too narrow, below 1 too wide."""

    def __init__(self, score, power):
        self.n_nodes, self._score, self._power = score.n_nodes, score, power

    def families(self, node, parents):
        return self._power * self._score.families(node, parents)

    def table(self, node, candidates, max_parents=None):
        return self._power * self._score.table(node, candidates, max_parents)


class KnownMeans(Table):
    """A table whose columns and features have mean 0 by assumption: sums of products are not
    centred, so that a score is the density of its columns exactly."""

    def grams(self, values):
        return [values.T @ values]


def raw_table(x, kind=Table):
    """A table of continuous columns as they are, not standardised."""
    n_rows, n_nodes = x.shape
    return kind(
        values=x,
        blocks=tuple(np.arange(n_nodes)[:, None]),
        codes=(None,) * n_nodes,
        categories=(0,) * n_nodes,
        groups=(np.arange(n_rows),),
        group_of=np.zeros(n_nodes, np.int64),
    )


def member_score(member, table):
    """The score of a member on a table."""
    if member == "linear":
        return BGe(table)
    features = Features(table)
    gains = None if member == "additive" else ClassGains(features)
    return Mixture(features, gains, member == "variance")


# ------------------------------------------------------------------------------------- the priors


def drawn_graphs(n_nodes, count, generator, penalty=EDGE_PENALTY):
    """Acyclic graphs from the fair prior with an edge penalty in nats."""
    return exact(Flat(n_nodes), penalty).sample(count, generator)


def drawn_rows(member, graph, n_rows, generator, in_turn=False):
    """A table [N, D] from the member's prior given the graph; `in_turn`: every column is
    standardised before it causes others."""
    n_nodes = len(graph)
    x = np.zeros((n_rows, n_nodes))
    above = ancestors_or_self(graph[None])[0].sum(axis=0)
    for v in np.argsort(above, kind="stable"):
        x[:, v] = drawn_column(member, x[:, graph[:, v] != 0], generator)
        if in_turn:
            x[:, v] = standardised(x[:, v])
    return x


def drawn_column(member, causes, generator):
    """A column from the member's law given the columns of its causes [N, p]."""
    n_rows, p = causes.shape
    prior, weights = BGePrior(), MixtureWeights()
    sigma = np.sqrt(prior.scale / generator.chisquare(prior.a_w_excess + p + 1))
    varying = member == "variance" and p and generator.random() < weights.variance
    additive = p and member != "linear" and (varying or generator.random() < weights.additive)
    mean, log_scale = causes @ (generator.normal(size=p) / prior.scale**0.5), np.zeros(n_rows)
    if additive:
        features = Features(raw_table(causes), prior)
        mean = additive_mean(features, generator)
        if varying:
            log_scale = drawn_log_scale(features, generator)
    other = member in ("noise", "variance") and generator.random() < weights.noise
    kind = CLASSES[generator.integers(len(CLASSES))] if other else ("gaussian", False)
    return sigma * (mean + np.exp(log_scale) * drawn_noise(*kind, n_rows, generator))


def additive_mean(features, generator):
    """A function of the causes from the prior of additive mechanisms, in units of the noise's
    standard deviation."""
    p = features.table.n_nodes
    # products count for two to five causes, as in `Additive`
    products = 2 <= p <= 5 and generator.random() < 0.5
    columns = features.of(np.arange(p)[None], bool(products))[0]
    columns = columns[columns != features.empty]
    precision = features.precisions(generator.choice(SCALES), p)[columns]
    precision = np.where(precision > 0, precision, features.prior.scale)
    return features.columns[:, columns] @ (generator.normal(size=len(columns)) / precision**0.5)


def drawn_log_scale(features, generator):
    """A log scale that is linear in each cause and its three leading features."""
    own = features.table.n_nodes
    smooth = [features.blocks[u][1:4] for u in range(own)]
    columns = np.hstack(
        [np.clip(features.table.values, -3, 3), features.columns[:, np.concatenate(smooth)]]
    )
    columns -= columns.mean(axis=0)
    size = columns[:, own:].std(axis=0)
    columns[:, own:] /= np.where(size > 1e-6, size, np.inf)
    return columns @ (SPREAD * generator.normal(size=columns.shape[1]))


def drawn_noise(name, free, n_rows, generator):
    """Noise of a class, with mean 0 and variance 1; a free shape is drawn from its prior."""
    if name == "gaussian" and not free:
        return generator.normal(size=n_rows)
    u = (np.arange(_SHAPE) + 0.5) / _SHAPE
    k = np.arange(1, 13)
    exponent = np.zeros(_SHAPE)
    if free:
        exponent = np.sqrt(2) * np.cos(np.pi * np.outer(u, k)) @ (generator.normal(size=12) / k)
    weights = np.exp(exponent - exponent.max())
    weights /= weights.sum()
    quantiles = {"laplace": laplace.ppf, "student": student(3).ppf, "uniform": lambda u: u}
    quantile = quantiles.get(name, ndtri)
    points = quantile(u)
    mean = weights @ points
    spread = np.sqrt(weights @ (points - mean) ** 2)
    cells = generator.choice(_SHAPE, size=n_rows, p=weights)
    return (quantile((cells + generator.random(n_rows)) / _SHAPE) - mean) / spread


# -------------------------------------------------------------------------------------- posteriors


def tables_of(score, penalty=EDGE_PENALTY):
    """The weights of all families under the fair prior."""
    n_nodes = score.n_nodes
    prior = GraphPrior(n_nodes=n_nodes, kind="fair", edge_penalty=penalty)
    return FamilyTables.build(score, prior, Knowledge.none(n_nodes))


def exact(score, penalty=EDGE_PENALTY):
    """The exact posterior."""
    kind = EnumeratedGraphs if score.n_nodes <= LARGEST else ModularSums
    return kind(tables_of(score, penalty))


def mcmc_graphs(tables, generator):
    """`DRAWS` graphs from structure MCMC, evenly spaced in its chains."""
    sample = sample_structures(tables.score, tables.prior, tables.knowledge, generator)
    return sample.graphs[np.linspace(0, len(sample.graphs) - 1, DRAWS).astype(int)]


# ------------------------------------------------------------------------------------------ ranks


def statistics(graphs, tables):
    """The statistics of graphs [S, D, D], [4, S]."""
    form = np.random.default_rng(0).normal(size=graphs.shape[1:])
    return np.array([
        graphs.sum(axis=(1, 2)),
        (graphs * form).sum(axis=(1, 2)),
        ancestors_or_self(graphs).sum(axis=(1, 2)),
        tables.log_weights(tables.chosen(graphs)),
    ])  # fmt: skip


def ranks_of(truth, graphs, tables, generator):
    """For each statistic, how many of the graphs [S, D, D] have a smaller value than the true
    graph, ties broken at random: 0 to S."""
    values = statistics(np.concatenate([truth[None], graphs]), tables)
    below = (values[:, 1:] < values[:, :1]).sum(axis=1)
    equal = (values[:, 1:] == values[:, :1]).sum(axis=1)
    return below + generator.integers(equal + 1)


def scored(member, x, columns):
    """The member's score of a table, see `COLUMNS`."""
    if columns in ("standardised", "in turn"):
        return member_score(member, prepare(x))
    return member_score(member, raw_table(x, KnownMeans if columns == "exact" else Table))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is replicated: whose prior, D, N, the power of the likelihood, the method (`exact` or
    `mcmc`), the columns and the edge penalty."""

    member: str = "linear"
    n_nodes: int = 5
    n_rows: int = 50
    power: float = 1.0
    method: str = "exact"
    columns: str = "exact"
    penalty: float = EDGE_PENALTY


def replications(setting, count, seed):
    """The ranks [count, 4], the edge probabilities and the true graphs [count, D, D]."""
    s = setting
    generator = np.random.default_rng([seed, s.n_nodes, s.n_rows, ASSUMPTIONS.index(s.member)])
    truths = drawn_graphs(s.n_nodes, count, generator, s.penalty)
    ranks, probabilities = np.zeros((count, len(STATISTICS)), int), np.zeros(truths.shape)
    for k, truth in enumerate(truths):
        x = drawn_rows(s.member, truth, s.n_rows, generator, s.columns == "in turn")
        score = Tempered(scored(s.member, x, s.columns), s.power)
        if s.method == "exact":
            sums = exact(score, s.penalty)
            tables, graphs = sums.tables, sums.sample(DRAWS, generator)
            probabilities[k] = sums.edge_probabilities
        else:
            tables = tables_of(score, s.penalty)
            graphs = mcmc_graphs(tables, generator)
            probabilities[k] = graphs.mean(axis=0)
        ranks[k] = ranks_of(truth, graphs, tables, generator)
    return ranks, probabilities, truths


def uniformity(ranks):
    """The p-value of the chi-square test of uniform ranks for each statistic."""
    bins = ranks * BINS // (DRAWS + 1)
    counts = np.array([np.bincount(b, minlength=BINS) for b in bins.T])
    expected = len(ranks) / BINS
    return chi2(BINS - 1).sf(((counts - expected) ** 2 / expected).sum(axis=1))


def distance(ranks):
    """The total variation between the bins of ranks and uniform ones, for each statistic, and what
    uniform ranks have on average."""
    bins = np.append(ranks * BINS // (DRAWS + 1), reference(len(ranks)), axis=1)
    counts = np.array([np.bincount(b, minlength=BINS) for b in bins.T])
    apart = np.abs(counts / len(ranks) - 1 / BINS).sum(axis=1) / 2
    return apart[: ranks.shape[1]], apart[ranks.shape[1] :].mean()


def reference(count):
    """Uniform bins, 200 samples."""
    return np.random.default_rng(1).integers(BINS, size=(count, 200))


def calibration_error(probabilities, truths, inside=(-1.0, 2.0)):
    """The expected calibration error over the ordered pairs of all tables (10 bins), of those whose
    probability lies strictly between two bounds."""
    off = ~np.eye(truths.shape[1], dtype=bool)
    p, edge = np.clip(probabilities[:, off].ravel(), 0, 1), truths[:, off].ravel()
    kept = (p > inside[0]) & (p < inside[1])
    return expected_calibration_error(p[kept], edge[kept])


def print_ranks(args):
    """One row of the table of ranks."""
    start = time.process_time()
    names = ("member", "n_nodes", "n_rows", "power", "method", "columns", "penalty")
    setting = Setting(**{name: getattr(args, name) for name in names})
    ranks, probabilities, truths = replications(setting, args.count, args.seed)
    p, (apart, by_chance) = uniformity(ranks), distance(ranks)
    limit = args.alarms / len(p)
    print(
        f"| {args.member}, {args.columns} | {args.method} | {args.power:g} | {args.n_nodes}, "
        f"{args.n_rows}, {args.count} | {' | '.join(f'{value:.2g}' for value in p)} | "
        f"{'rejected' if (p < limit).any() else 'uniform'} | "
        f"{', '.join(f'{value:.2f}' for value in apart)} ({by_chance:.2f}) | "
        f"{ranks.mean(axis=0)[3] / DRAWS:.2f} | {calibration_error(probabilities, truths):.3f} | "
        f"{time.process_time() - start:.0f} |",
        flush=True,
    )


# ------------------------------------------------------------------------------------------ edges


def pooled(x, penalty, seed):
    """The edge probabilities of the pool and of its members on a table, as `discover` makes
    them."""
    task = Task(
        x=torch.tensor(x, dtype=torch.float32),
        adjacency=None,
        intervened=torch.zeros(x.shape, dtype=torch.bool),
    )
    config = ExactConfig(n_samples=80, edge_penalty=penalty)
    answer = Exact(config).answer(task, np.random.default_rng(seed))
    named = {"pool": answer.edge_probabilities[0].numpy()}
    for name, p in zip(answer.diagnostics.members, answer.members[0].numpy(), strict=True):
        named.setdefault(name, p)
    return named


def print_edges(args):
    """Calibration error over all pairs, that over pairs with probabilities between 0.05 and 0.95,
    and log loss per pair, of the empty graph, the pool and its members."""
    start = time.process_time()
    generator = np.random.default_rng(
        [args.seed, args.n_nodes, args.n_rows, ASSUMPTIONS.index(args.member)]
    )
    truths = drawn_graphs(args.n_nodes, args.count, generator, args.penalty)
    answers = []
    for k, truth in enumerate(truths):
        x = drawn_rows(args.member, truth, args.n_rows, generator, args.columns == "in turn")
        answers.append(pooled(x, args.penalty, k))
    cells = []
    off = ~np.eye(args.n_nodes, dtype=bool)
    for name in answers[0]:
        p = np.array([answer[name] for answer in answers])
        q = np.clip(p[:, off], 1e-6, 1 - 1e-6)
        loss = -np.where(truths[:, off], np.log(q), np.log1p(-q)).mean()
        middle = calibration_error(p, truths, MID)
        cells.append(f"{name} {calibration_error(p, truths):.3f}, {middle:.2f}, {loss:.3f}")
    columns = "in turn" if args.columns == "in turn" else "standardised"
    print(
        f"| {args.member}, {columns} | {args.n_nodes}, {args.n_rows}, {args.count} | "
        f"{truths[:, off].mean():.3f} | {' | '.join(cells)} | {time.process_time() - start:.0f} |",
        flush=True,
    )


def main():
    """Print one row of the chosen table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["ranks", "edges"])
    parser.add_argument("--member", choices=ASSUMPTIONS, default="linear")
    parser.add_argument("--nodes", dest="n_nodes", type=int, default=5)
    parser.add_argument("--rows", dest="n_rows", type=int, default=50)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--power", type=float, default=1.0, help="of the likelihood")
    parser.add_argument("--method", choices=["exact", "mcmc"], default="exact")
    parser.add_argument("--columns", choices=COLUMNS, default="exact")
    parser.add_argument("--penalty", type=float, default=EDGE_PENALTY, help="of an edge, in nats")
    parser.add_argument("--alarms", type=float, default=0.01, help="over the four statistics")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    {"ranks": print_ranks, "edges": print_edges}[args.what](args)


if __name__ == "__main__":
    main()
