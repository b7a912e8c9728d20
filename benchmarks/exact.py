"""Exact inference over all acyclic graphs: CPU seconds, memory and digits lost for D = 5 to 20.

    python benchmarks/exact.py [--sizes 5 8 10 12 15 18 20] [--weights flat linear sharp]

flat: every graph alike, so nothing can be left out (the slowest case), and the evidence is a known
number (OEIS A003024). linear: 200 rows of a linear Gaussian Erdős–Rényi model with 2 edges per
node, BGe. sharp: 20,000 rows with a tenth of the noise, whose families differ by 1e5 nats. In the
last two at most 3 parents from D = 15 on. One thread, CPU time; each line is a process of its own,
whose peak memory is that beyond the imports. `rounding` is the relative difference of two
evaluations of the evidence, forwards and backwards; `sum - 1` the largest deviation from 1 of the
sum of a variable's families' probabilities; `error` that of the log evidence against the known
number of graphs, in nats. First: the largest errors against a list of all graphs of 5 variables,
and how far the order-modular posterior is from the modular one.
"""

import argparse
import math
import resource
import subprocess
import sys
import time

import numpy as np

from causal_meta.knowledge import Knowledge
from causal_meta.models.bayesian.structures.enumeration import EnumeratedGraphs
from causal_meta.models.bayesian.structures.family_tables import FamilyTables
from causal_meta.models.bayesian.structures.order_sums import OrderSums
from causal_meta.models.bayesian.structures.subset_sums import ModularSums, memory_needed
from causal_meta.scores.bge import BGe
from causal_meta.scores.graph_prior import GraphPrior
from causal_meta.scores.local_score import LocalScore
from causal_meta.scores.statistics import prepare

WEIGHTS = {"linear": (200, 1.0), "sharp": (20000, 0.1)}
BOUNDED = 15
DRAWS = 1000


class Flat(LocalScore):
    """Every family alike."""

    def __init__(self, n_nodes):
        self.n_nodes = n_nodes

    def families(self, node, parents):
        return np.zeros(len(parents))

    def table(self, node, candidates, max_parents=None):
        return np.zeros(1 << len(candidates))


def rows(n_nodes, n_rows, noise, seed=0):
    """A linear Gaussian model on a random graph with 2 edges per node on average."""
    generator = np.random.default_rng([n_nodes, n_rows, seed])
    graph = np.triu(generator.random((n_nodes, n_nodes)) < 4 / max(n_nodes - 1, 4), 1)
    signs = generator.choice([-1, 1], size=graph.shape)
    weights = graph * signs * generator.uniform(0.5, 2, size=graph.shape)
    x = noise * generator.normal(size=(n_rows, n_nodes)) @ np.linalg.inv(np.eye(n_nodes) - weights)
    return x[:, generator.permutation(n_nodes)]


def made(weights, n_nodes, kind="fair", seed=0):
    """The tables of one setting."""
    if weights == "flat":
        score, kind = Flat(n_nodes), "uniform"
    else:
        n_rows, noise = WEIGHTS[weights]
        score = BGe(prepare(rows(n_nodes, n_rows, noise, seed)))
    bound = 3 if n_nodes >= BOUNDED and weights != "flat" else None
    prior = GraphPrior(n_nodes=n_nodes, kind=kind)
    return FamilyTables.build(score, prior, Knowledge.none(n_nodes), None, bound)


def log_number(n):
    """log of the number of acyclic graphs, by Robinson's recursion in integers."""
    counts = [1]
    for k in range(1, n + 1):
        terms = (
            (-1) ** (j + 1) * math.comb(k, j) * 2 ** (j * (k - j)) * counts[k - j]
            for j in range(1, k + 1)
        )
        counts.append(sum(terms))
    return math.log(counts[n])


def peak():
    """MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def line(weights, n_nodes):
    """One line of the table."""
    before, clock = peak(), [time.process_time()]
    tables = made(weights, n_nodes)
    clock.append(time.process_time())
    sums = ModularSums(tables)
    clock.append(time.process_time())
    total = np.abs(np.exp(sums.family_log_probabilities()).sum(axis=1) - 1).max()
    assert sums.edge_probabilities.max() <= 1
    clock.append(time.process_time())
    sums.sample(DRAWS, np.random.default_rng(0))
    clock.append(time.process_time())
    seconds = " | ".join(f"{s:.3g}" for s in np.diff(clock))
    error = f"{sums.log_evidence - log_number(n_nodes):.0e}" if weights == "flat" else ""
    planned = memory_needed(n_nodes, n_nodes - 1) / 2**20
    return (
        f"| {weights} | {n_nodes} | {seconds} | {peak() - before:.0f} | {planned:.0f} "
        f"| {sums.rounding:.0e} | {total:.0e} | {error} |"
    )


def against_a_list(count=30):
    """The largest errors at D = 5 over seeds."""
    for weights in ("linear", "sharp"):
        evidence, edges = 0.0, 0.0
        for seed in range(count):
            tables = made(weights, 5, seed=seed)
            listed, sums = EnumeratedGraphs(tables), ModularSums(tables)
            evidence = max(evidence, abs(listed.log_evidence - sums.log_evidence))
            difference = listed.edge_probabilities - sums.edge_probabilities
            edges = max(edges, np.abs(difference).max())
        print(f"{weights}, D=5, {count} tables: evidence {evidence:.0e} nats, edges {edges:.0e}")


def order_bias(count=10):
    """How far the order-modular posterior is from the modular one: total variation at D = 4, and
    differences of edge probabilities at D = 12, means over tables."""
    for kind in ("fair", "uniform"):
        for n_rows in (30, 200, 1000):
            distance, largest, mean = [], [], []
            for seed in range(count):
                modular, order = both(4, n_rows, kind, seed)
                listed = EnumeratedGraphs(modular.tables)
                p, q = (np.exp(s.log_prob(listed.graphs)) for s in (modular, order))
                distance.append(np.abs(p - q).sum() / 2)
                modular, order = both(12, n_rows, kind, seed)
                difference = np.abs(modular.edge_probabilities - order.edge_probabilities)
                largest.append(difference.max())
                mean.append(difference.sum() / (12 * 11))
            print(
                f"order against modular, {kind}, {n_rows} rows: total variation at D=4 "
                f"{np.mean(distance):.2f}, edges at D=12 largest {np.mean(largest):.2f}, "
                f"mean {np.mean(mean):.3f}"
            )


def both(n_nodes, n_rows, kind, seed):
    """The modular and the order-modular posterior of one table."""
    score = BGe(prepare(rows(n_nodes, n_rows, 1.0, seed)))
    prior = GraphPrior(n_nodes=n_nodes, kind=kind)
    tables = FamilyTables.build(score, prior, Knowledge.none(n_nodes))
    return ModularSums(tables), OrderSums(tables)


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[5, 8, 10, 12, 15, 18, 20])
    parser.add_argument("--weights", nargs="*", default=["flat", "linear", "sharp"])
    parser.add_argument("--one", action="store_true", help="one line, in this process")
    chosen = parser.parse_args()
    if chosen.one:
        print(line(chosen.weights[0], chosen.sizes[0]))
        return
    against_a_list()
    order_bias()
    names = "weights,D,tables s,sums s,marginals s,1000 draws s,peak MiB,planned MiB"
    print("| " + " | ".join([*names.split(","), "rounding", "sum - 1", "error"]) + " |")
    print("|" + "---|" * 11)
    for weights in chosen.weights:
        for size in chosen.sizes:
            words = ["--one", "--sizes", str(size), "--weights", weights]
            done = subprocess.run(
                [sys.executable, __file__, *words], check=True, capture_output=True, text=True
            )
            print(done.stdout.strip(), flush=True)


if __name__ == "__main__":
    main()
