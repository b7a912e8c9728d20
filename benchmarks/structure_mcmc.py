"""Structure MCMC: does the search reach the best graph, do chains agree, what does it cost?

    python benchmarks/structure_mcmc.py search --world linear --nodes 20 --tasks 20
    python benchmarks/structure_mcmc.py steps --nodes 20
    python benchmarks/structure_mcmc.py bias

`search` draws tables (Erdős–Rényi graphs with two edges a variable, standardised, columns shuffled)
and prints, for each, the scale t of the prior that is chosen for it, how many of the 8 chains come
within 1 nat of the best graph, and how far that graph is above the true graph and above the graph
of BOSS (plain BIC, 10 starts) under the same score; `steps` the cost of a transition; `bias` the
error of the marginals against exact ones, beside that of order MCMC without a correction.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter

import numpy as np
import torch

from causal_meta.conf.inference import BOSSConfig, MCMCConfig
from causal_meta.knowledge import Knowledge
from causal_meta.models.bayesian.pilot import pilot
from causal_meta.models.bayesian.structures.chain_run import SampleSettings
from causal_meta.models.bayesian.structures.enumeration import EnumeratedGraphs
from causal_meta.models.bayesian.structures.family_scores import FamilyScores
from causal_meta.models.bayesian.structures.family_tables import FamilyTables
from causal_meta.models.bayesian.structures.look_ups import look_ups
from causal_meta.models.bayesian.structures.order_chains import advance
from causal_meta.models.bayesian.structures.order_search import random_state
from causal_meta.models.bayesian.structures.order_sums import OrderSums
from causal_meta.models.bayesian.structures.structure_sample import sample_structures
from causal_meta.models.bayesian.structures.subset_sums import ModularSums
from causal_meta.models.classical.bootstrap import consistent_extension
from causal_meta.models.classical.boss import BOSS
from causal_meta.scores.assumptions import assumption_scores
from causal_meta.scores.graph_prior import GraphPrior
from causal_meta.tasks import Task

SCORES = {"linear": "linear", "nonlinear": "additive", "mixed": "additive"}


def made(world, n_nodes, n_rows, seed):
    """A table and its graph: linear mechanisms with weights of 0.5 to 2, smooth random functions
    (sums of 50 cosines), or either for each edge."""
    r = np.random.default_rng([seed, n_nodes, sorted(SCORES).index(world)])
    graph = np.triu(r.random((n_nodes, n_nodes)) < 4 / (n_nodes - 1), 1)
    x = np.zeros((n_rows, n_nodes))
    for v in range(n_nodes):
        for u in np.flatnonzero(graph[:, v]):
            if world == "linear" or (world == "mixed" and r.random() < 0.5):
                x[:, v] += r.uniform(0.5, 2.0) * r.choice([-1, 1]) * x[:, u]
            else:
                cause = (x[:, u] - x[:, u].mean()) / x[:, u].std()
                angles = np.outer(cause, r.normal(size=50)) + r.uniform(0, 2 * np.pi, 50)
                x[:, v] += np.cos(angles) @ r.normal(size=50) / 5
        x[:, v] += r.uniform(0.5, 1.5) * r.normal(size=n_rows)
    order = r.permutation(n_nodes)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return x[:, order], graph[np.ix_(order, order)].astype(np.int8)


def boss_graph(x, seed, starts):
    """A directed graph of the class that BOSS ends in."""
    r = np.random.default_rng(seed)
    method = BOSS(BOSSConfig(starts=starts, penalty=0.5))
    cpdag = method.fit(x, r, Knowledge.none(x.shape[1]), Counter())
    graphs, _ = consistent_extension(cpdag[None], r)
    return np.asarray(graphs)[0]


def search(args):
    print("world D seed t | chains within 1 nat, best - truth, best - BOSS (nats) | AUROC, E-SHD |"
          " R-hat, left out, CPU s, MB")  # fmt: skip
    good = []
    for seed in range(args.seed, args.seed + args.tasks):
        x, truth = made(args.world, args.nodes, args.rows, seed)
        known = Knowledge.none(args.nodes)
        prior = GraphPrior(n_nodes=args.nodes)
        start = time.process_time()
        cells = torch.from_numpy(x)
        task = Task(cells, None, torch.zeros_like(cells, dtype=torch.bool))
        first = pilot(task, MCMCConfig(edge_penalty=0.0))
        t = first.prior.scale
        score = assumption_scores(x, prior=first.prior)[args.score or SCORES[args.world]]
        settings = SampleSettings()
        sample = sample_structures(
            score, prior, known, np.random.default_rng(seed), settings, good=first.graphs
        )
        seconds = time.process_time() - start
        families = FamilyScores(score, prior, known, args.nodes)
        over_truth = sample.best_score - families.graph(truth)
        over_boss = np.nan
        if args.boss:
            over_boss = sample.best_score - families.graph(boss_graph(x, seed, args.boss))
        agree = int((sample.peaks > sample.best_score - 1).sum())
        good.append(agree >= 6 and over_truth > -1e-6 and not over_boss < -1e-6)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{args.world} {args.nodes} {seed} {t} | {agree}, {over_truth:.1f}, {over_boss:.1f} "
              f"| {auroc(truth, sample.marginals):.4f}, "
              f"{expected_shd(truth, sample.marginals):.1f} |"
              f" {sample.r_hat:.3f}, {len(sample.left_out)}, {seconds:.1f}, {memory:.0f}",
              flush=True)  # fmt: skip
    print(f"{np.mean(good):.0%} of {len(good)} tasks have 6 of 8 chains within 1 nat of a graph at "
          "or above the truth's and BOSS's scores")  # fmt: skip


def expected_shd(truth, p):
    """The expected number of pairs whose edge is wrong; a reversal counts once."""
    none = (1 - p - p.T) * np.triu(np.ones_like(p), 1)
    right = (p * truth).sum() + (none * (1 - truth - truth.T)).sum()
    return len(p) * (len(p) - 1) / 2 - right


def auroc(truth, p):
    """Of ordered pairs."""
    from sklearn.metrics import roc_auc_score

    off = ~np.eye(len(p), dtype=bool)
    return roc_auc_score(truth[off], p[off])


def steps(args):
    """The cost of a relocation by the compiled loop, and by NumPy over 8 chains at once."""
    x, _ = made("linear", args.nodes, args.rows, args.seed)
    families = FamilyScores(
        assumption_scores(x)["linear"],
        GraphPrior(n_nodes=args.nodes),
        Knowledge.none(args.nodes),
        args.nodes,
    )
    near = np.argsort(-np.abs(np.corrcoef(x.T)), axis=1)
    arrays = look_ups(families.tables([list(map(int, row[1:9])) for row in near]))
    r = np.random.default_rng(0)
    order = r.permutation(args.nodes)
    advance(arrays, order, 10, random_state(r))
    count = 500_000
    start = time.process_time()
    advance(arrays, order, count, random_state(r))
    compiled = (time.process_time() - start) / count
    orders = np.stack([r.permutation(args.nodes) for _ in range(8)])
    count = 300
    start = time.process_time()
    for _ in range(count):
        batched_relocation(arrays, orders, r)
    batched = (time.process_time() - start) / count / 8
    print(f"D={args.nodes}: compiled {1e6 * compiled:.2f} us a step, NumPy over 8 chains "
          f"{1e6 * batched:.1f} us a step")  # fmt: skip


def batched_relocation(arrays, orders, r):
    """One Gibbs relocation in each of C chains by array operations."""
    c, d = orders.shape
    rows = np.arange(c)
    at = r.integers(d, size=c)
    v = orders[rows, at]
    rest = orders[np.arange(d) != at[:, None]].reshape(c, d - 1)
    bit = np.where(arrays.place >= 0, 1 << np.maximum(arrays.place, 0), 0)
    mine = np.concatenate([np.zeros((c, 1), int), np.cumsum(bit[v[:, None], rest], axis=1)], axis=1)
    before = np.tril(np.ones((d - 1, d - 1), bool), -1)
    masks = (bit[rest[:, :, None], rest[:, None, :]] * before).sum(axis=2)
    of_v = bit[rest, v[:, None]]
    gain = arrays.sums[rest, masks] - arrays.sums[rest, masks | of_v]
    values = arrays.sums[v[:, None], mine]
    values[:, 1:] += np.cumsum(gain, axis=1)
    to = np.argmax(values + r.gumbel(size=values.shape), axis=1)
    place = np.arange(d)[None]
    source = np.clip(place - (place > to[:, None]), 0, d - 2)
    orders[:] = np.where(place == to[:, None], v[:, None], np.take_along_axis(rest, source, axis=1))


def bias(args):
    print("D N seed | order MCMC's marginals, exact: mean, largest error | structure MCMC: the same"
          " | jumps accepted, CPU s")  # fmt: skip
    for n_nodes, n_rows in ((5, 50), (12, 100), (12, 1000)):
        for seed in range(args.seed, args.seed + args.tasks):
            x, _ = made("linear", n_nodes, n_rows, seed)
            prior, known = GraphPrior(n_nodes=n_nodes), Knowledge.none(n_nodes)
            score = assumption_scores(x)["linear"]
            tables = FamilyTables.build(score, prior, known)
            exact = (EnumeratedGraphs if n_nodes == 5 else ModularSums)(tables).edge_probabilities
            order = np.abs(OrderSums(tables).edge_probabilities - exact)
            start = time.process_time()
            sample = sample_structures(score, prior, known, np.random.default_rng(seed))
            seconds = time.process_time() - start
            error = np.abs(sample.marginals - exact)
            pairs = n_nodes * (n_nodes - 1)
            print(f"{n_nodes} {n_rows} {seed} | {order.sum() / pairs:.4f}, {order.max():.3f} | "
                  f"{error.sum() / pairs:.4f}, {error.max():.3f} | {sample.acceptance:.2f}, "
                  f"{seconds:.1f}", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["search", "steps", "bias"])
    parser.add_argument("--world", choices=sorted(SCORES), default="linear")
    parser.add_argument("--score", default="", help="another score than the one that fits")
    parser.add_argument("--nodes", type=int, default=20)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--boss", type=int, default=10, help="starts of BOSS; 0: not run")
    args = parser.parse_args()
    torch.set_num_threads(1)
    {"search": search, "steps": steps, "bias": bias}[args.what](args)


if __name__ == "__main__":
    main()
