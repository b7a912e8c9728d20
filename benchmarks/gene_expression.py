"""Gene-expression tables: tasks per CPU-second, the least they could take, and how far their few
steps are from the exact law.

    python benchmarks/gene_expression.py [--tasks 128] [--rounds 5]

D = 10, 600 observational and 200 knock-out rows with every gene in turn, counts with 10x Chromium
noise, AVICI's training law of networks. End to end: every task has a seed of its own, from which
its network, rates, cells and counts are made. One thread, CPU time. The limit is the same normals
alone. The same run compares 20 of the timed tasks with `sample_task(seed).table()`. The law: an
unregulated gene at full noise against its exact steady state (a Gamma law cut at 0), beside the
original simulator's rule (Euler steps of 0.01, what falls below 0 set to 0) over the same time.
"""

import argparse
import time

import numpy as np
import scipy.stats
import torch

from causal_meta import randomness
from causal_meta.conf.convert import from_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.gene_laws import GeneExpression
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.conf.mechanism_laws import MechanismPart
from causal_meta.conf.ranges import constant, fixed
from causal_meta.datasets.scm import SCMFamily

NODES, ROWS, KNOCKED = 10, 600, 200
BATCH = 32
REFERENCE = 0.78  # SERGIO inside AVICI's generator, data sets per CPU-second
DECAY, CELLS = 0.8, 100_000


def rate(work, tasks, rounds):
    """Tasks per CPU-second: the median round, after one that warms up."""
    found = []
    for number in range(rounds + 1):
        batches = [
            randomness.seeds_of(number, "genes", start=first, count=BATCH)
            for first in range(0, tasks, BATCH)
        ]
        start = time.process_time()
        for seeds in batches:
            work(seeds)
        found.append(tasks / (time.process_time() - start))
    return float(np.median(found[1:]))


def exact(production):
    """Mean and variance of the steady state: x + P/l has the Gamma law of shape 4 P/l and scale
    1/2, cut at x = 0."""
    level = production / DECAY
    y = np.linspace(level, level + 40, 400_001)
    weight = scipy.stats.gamma(4 * level, scale=0.5).pdf(y)
    weight /= weight.sum()
    mean = (weight * (y - level)).sum()
    return mean, (weight * (y - level - mean) ** 2).sum()


def ours(production):
    """Cells of the package's simulator."""
    same = {
        "decay": constant(DECAY),
        "noise_amplitude": constant(1.0),
        "basal_rate": constant(production),
    }
    mechanism = GeneExpression(cell_types=1, technical_noise=None, output="expression", **same)
    parts = {"genes": MechanismPart(mechanism=mechanism)}
    family = SCMFamily(
        FamilyConfig(
            graph=ErdosRenyi(edges_per_node=0.0),
            mechanisms=parts,
            n_nodes=fixed(2),
            n_rows=fixed(CELLS // 2),
        )
    )
    return family.sample_task(1).sample(CELLS // 2).double().numpy().ravel()


def small_steps(production):
    """Cells by Euler steps of 0.01 for 6 lifetimes; what falls below 0 is set to 0."""
    generator, h = np.random.default_rng(0), 0.01
    x = np.full(CELLS // 2, production / DECAY)
    for _ in range(int(6 / DECAY / h)):
        x += (production - DECAY * x) * h + np.sqrt(
            (production + DECAY * x) * h
        ) * generator.standard_normal(len(x))
        np.maximum(x, 0, out=x)
    return x


def main() -> None:
    """Print the speed, then the law."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", type=int, default=128, help="tasks per round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    knock_outs = {
        "value_law": "constant",
        "value_mean": 0.0,
        "rows": KNOCKED,
        "row_share": None,
        "observational_share": 0.0,
    }
    tree = {
        "preset": "avici_train_grn",
        "n_nodes": NODES,
        "n_rows": ROWS,
        "interventions": knock_outs,
    }
    family = SCMFamily(from_plain(FamilyConfig, tree))
    numbers = family.mechanism_factory.numbers_per_value
    found = rate(family.sample_tasks, options.tasks, options.rounds)
    limit = rate(
        lambda seeds: randomness.normals(seeds, ("noise",), (ROWS + KNOCKED, NODES * numbers)),
        options.tasks,
        options.rounds,
    )
    seeds = randomness.seeds_of(1, "genes", start=0, count=BATCH)
    batch = family.sample_tasks(seeds)
    for b in range(20):
        assert torch.equal(family.sample_task(seeds[b]).table().x, batch.x[b]), (
            "a table differs from that of its seed"
        )
    print(
        f"{found:,.0f} tasks per CPU-second, {found / limit:.2f} of drawing the same {numbers} "
        "normals per value, "
        f"{found / REFERENCE:,.0f} x SERGIO in AVICI's generator; 20 tables equal sample_task's "
        "bit for bit"
    )
    for production in (0.5, 1.0, 2.0, 3.0):
        mean, variance = exact(production)
        told = [
            f"mean {x.mean() / mean - 1:+.2%}, variance {x.var() / variance - 1:+.2%}"
            for x in (ours(production), small_steps(production))
        ]
        print(
            f"rate {production}: ours {told[0]}; steps of 0.01 {told[1]} (standard error of the "
            f"mean {np.sqrt(variance / CELLS) / mean:.2%})"
        )


if __name__ == "__main__":
    main()
