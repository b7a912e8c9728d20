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
from causal_meta.runners.evaluation.eval_metrics import expected_calibration_error
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
from causal_meta.scores.variance import SPREAD
from causal_meta.tasks import Task

DRAWS, BINS = 99, 20
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


def drawn_graphs(n_nodes, count, generator):
    """Graphs from the default prior of the explicit posteriors, each acyclic graph counted once."""
    return exact(Flat(n_nodes)).sample(count, generator)


def drawn_rows(member, graph, n_rows, generator):
    """A table [N, D] from the member's prior given the graph."""
    n_nodes = len(graph)
    x = np.zeros((n_rows, n_nodes))
    above = ancestors_or_self(graph[None])[0].sum(axis=0)
    for v in np.argsort(above, kind="stable"):
        x[:, v] = drawn_column(member, x[:, graph[:, v] != 0], generator)
    return x


def drawn_column(member, causes, generator):
    """A column from the member's law given the columns of its causes [N, p]."""
    n_rows, p = causes.shape
    prior, weights = BGePrior(), MixtureWeights()
    sigma = np.sqrt(prior.scale / generator.chisquare(prior.a_w_excess + p + 1))
    varying = member == "variance" and p and generator.random() < weights.variance
    mean, log_scale = np.zeros(n_rows), np.zeros(n_rows)
    if p:
        features = Features(raw_table(causes))
        additive = member != "linear" and (varying or generator.random() < weights.additive)
        mean = sigma * unit_mean(features, additive, generator)
        if varying:
            log_scale = drawn_log_scale(features, generator)
    classes = member in ("noise", "variance")
    other = classes and generator.random() < weights.noise
    kind = CLASSES[generator.integers(len(CLASSES))] if other else ("gaussian", False)
    return mean + sigma * np.exp(log_scale) * drawn_noise(*kind, n_rows, generator)


def unit_mean(features, additive, generator):
    """A function of the causes from the prior of linear or of additive mechanisms, in units of the
    noise's standard deviation."""
    p = features.table.n_nodes
    # products count for two to five causes, as in `Additive`
    products = additive and 2 <= p <= 5 and generator.random() < 0.5
    columns = features.of(np.arange(p)[None], products)[0]
    columns = columns[columns != features.empty]
    if not additive:
        columns = columns[~features.is_smooth[columns]]
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


def default_prior(n_nodes):
    """The default prior of the explicit posteriors."""
    return GraphPrior(n_nodes=n_nodes, kind="fair", edge_penalty=EDGE_PENALTY)


def tables_of(score):
    """The weights of all families."""
    known = Knowledge.none(score.n_nodes)
    return FamilyTables.build(score, default_prior(score.n_nodes), known)


def exact(score):
    """The exact posterior."""
    kind = EnumeratedGraphs if score.n_nodes <= LARGEST else ModularSums
    return kind(tables_of(score))


def mcmc_graphs(score, generator):
    """`DRAWS` graphs from structure MCMC, evenly spaced in its chains."""
    known = Knowledge.none(score.n_nodes)
    graphs = sample_structures(score, default_prior(score.n_nodes), known, generator).graphs
    return graphs[np.linspace(0, len(graphs) - 1, DRAWS).astype(int)]


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
    """The member's score of a table: `exact` (means known to be 0), `raw` or `standardised`."""
    if columns == "standardised":
        return member_score(member, prepare(x))
    return member_score(member, raw_table(x, KnownMeans if columns == "exact" else Table))


def replications(member, n_nodes, n_rows, count, seed, power=1.0, method="exact", columns="exact"):
    """The ranks [count, 4], the edge probabilities and the true graphs [count, D, D]."""
    generator = np.random.default_rng([seed, n_nodes, n_rows, ASSUMPTIONS.index(member)])
    truths = drawn_graphs(n_nodes, count, generator)
    ranks, probabilities = np.zeros((count, len(STATISTICS)), int), np.zeros(truths.shape)
    for k, truth in enumerate(truths):
        x = drawn_rows(member, truth, n_rows, generator)
        score = Tempered(scored(member, x, columns), power)
        if method == "exact":
            sums = exact(score)
            graphs, probabilities[k] = sums.sample(DRAWS, generator), sums.edge_probabilities
            tables = sums.tables
        else:
            graphs, tables = mcmc_graphs(score, generator), tables_of(score)
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


def calibration_error(probabilities, truths):
    """The expected calibration error over the ordered pairs of all tables (10 bins)."""
    off = ~np.eye(truths.shape[1], dtype=bool)
    return expected_calibration_error(
        np.clip(probabilities[:, off].ravel(), 0, 1), truths[:, off].ravel()
    )


def print_ranks(args):
    """One row of the table of ranks."""
    start = time.process_time()
    ranks, probabilities, truths = replications(
        args.member, args.nodes, args.rows, args.count, args.seed,
        args.power, args.method, args.columns,
    )  # fmt: skip
    p, (apart, by_chance) = uniformity(ranks), distance(ranks)
    limit = args.alarms / len(p)
    print(
        f"| {args.member}, {args.columns} | {args.method} | {args.power:g} | {args.nodes}, "
        f"{args.rows}, {args.count} | {' | '.join(f'{value:.2g}' for value in p)} | "
        f"{'rejected' if (p < limit).any() else 'uniform'} | "
        f"{', '.join(f'{value:.2f}' for value in apart)} ({by_chance:.2f}) | "
        f"{ranks.mean(axis=0)[3] / DRAWS:.2f} | {calibration_error(probabilities, truths):.3f} | "
        f"{time.process_time() - start:.0f} |",
        flush=True,
    )


# ------------------------------------------------------------------------------------------ edges


def pooled(x, seed):
    """The edge probabilities of the pool and of its members on a table, as `discover` makes
    them."""
    task = Task(
        x=torch.tensor(x, dtype=torch.float32),
        adjacency=None,
        intervened=torch.zeros(x.shape, dtype=torch.bool),
    )
    answer = Exact(ExactConfig(n_samples=80)).answer(task, np.random.default_rng(seed))
    named = {"pool": answer.edge_probabilities[0].numpy()}
    for name, p in zip(answer.diagnostics.members, answer.members[0].numpy(), strict=True):
        named.setdefault(name, p)
    return named


def print_edges(args):
    """Calibration errors, with standard errors from ten parts of the tables."""
    start = time.process_time()
    generator = np.random.default_rng(
        [args.seed, args.nodes, args.rows, ASSUMPTIONS.index(args.member)]
    )
    truths = drawn_graphs(args.nodes, args.count, generator)
    answers = []
    for k, truth in enumerate(truths):
        answers.append(pooled(drawn_rows(args.member, truth, args.rows, generator), k))
    cells = []
    off = ~np.eye(args.nodes, dtype=bool)
    for name in answers[0]:
        p = np.array([answer[name] for answer in answers])
        q = np.clip(p[:, off], 1e-6, 1 - 1e-6)
        loss = -np.where(truths[:, off], np.log(q), np.log1p(-q)).mean()
        cells.append(f"{name} {calibration_error(p, truths):.3f} ({loss:.3f})")
    print(
        f"| {args.member} | {args.nodes}, {args.rows}, {args.count} | {' | '.join(cells)} | "
        f"{time.process_time() - start:.0f} |",
        flush=True,
    )


def main():
    """Print one row of the chosen table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["ranks", "edges"])
    parser.add_argument("--member", choices=ASSUMPTIONS, default="linear")
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--rows", type=int, default=50)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--power", type=float, default=1.0, help="of the likelihood")
    parser.add_argument("--method", choices=["exact", "mcmc"], default="exact")
    parser.add_argument(
        "--columns", choices=["exact", "raw", "standardised"], default="exact",
        help="exact: means known to be 0; raw: centred; standardised: as discover reads a table",
    )  # fmt: skip
    parser.add_argument("--alarms", type=float, default=0.01, help="over the four statistics")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    {"ranks": print_ranks, "edges": print_edges}[args.what](args)


if __name__ == "__main__":
    main()
