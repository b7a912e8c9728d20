"""A model on fresh tasks of the worlds it was trained on, beside bootstrap BOSS on the same tables.

    python benchmarks/held_in.py [--model NAME|PATH] [--tasks 100] [--nodes 5 10 20] [--bootstraps
    20]

The tasks have the model's own training family (rows drawn from its range) at a fixed number of
variables, and seeds of their own. A markdown table goes to standard output: means over tasks with
standard errors, seconds per table, and for the model its AUPRC over the density.
"""

import argparse
import dataclasses
import sys
import time

import numpy as np
import torch

from causal_meta.conf.evaluation import EvaluateConfig
from causal_meta.conf.inference import BOSSConfig, EmptyConfig
from causal_meta.conf.ranges import fixed
from causal_meta.conf.registry import implementation
from causal_meta.datasets.scm import SCMFamily
from causal_meta.posteriors import stack
from causal_meta.randomness import generator, seeds_of
from causal_meta.runners.evaluation.evaluation import score
from causal_meta.runners.inference.amortised import amortised_posterior
from causal_meta.runners.inference.discovery import load_model
from causal_meta.tasks import TaskBatch

SHOWN = ("auroc", "auprc", "density", "e_shd", "ece", "e_f1", "e_sid", "graph_nll")


def by_baseline(config, batch: TaskBatch):
    """The posterior of a baseline for every table, and CPU seconds per table [B]."""
    method, answers, seconds = implementation(config)(config), [], np.zeros(len(batch))
    for b in range(len(batch)):
        begin = time.process_time()
        source = generator(config.seed, "held in", config.kind, b)
        answers.append(method.answer(batch.task(b), source))
        seconds[b] = time.process_time() - begin
    return stack(answers), seconds


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--model", default=None, help="name, id or folder of a model; without it the embedded one"
    )
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--nodes", type=int, nargs="+", default=[5, 10, 20])
    parser.add_argument("--bootstraps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    trained = load_model(given.model)

    print(
        f"Model {trained.id}: {given.tasks} fresh tasks of its training family per D, seed "
        f"{given.seed}; mean ± standard error over tasks\n"
    )
    print("| D | method | " + " | ".join(SHOWN) + " | AUPRC / density | CPU s per table |")
    print("|---" * (len(SHOWN) + 4) + "|", flush=True)
    for n_nodes in given.nodes:
        family = SCMFamily(dataclasses.replace(trained.config.data.train, n_nodes=fixed(n_nodes)))
        batch = family.sample_tasks(
            seeds_of(given.seed, "benchmark", "held in", n_nodes, start=0, count=given.tasks)
        )
        answers = {
            "model": lambda batch=batch: amortised_posterior(
                trained.model, batch, most_rows=trained.most_rows, seed=given.seed
            ),
            f"BOSS, {given.bootstraps} bootstraps": lambda batch=batch: by_baseline(
                BOSSConfig(seed=given.seed, n_samples=given.bootstraps), batch
            ),
            "empty graph": lambda batch=batch: by_baseline(EmptyConfig(), batch),
        }
        for title, answer in answers.items():
            posterior, seconds = answer()
            found = score(posterior, batch.adjacency, EvaluateConfig(seed=given.seed))["summary"]
            ratio = found["auprc"]["mean"] / found["density"]["mean"]
            cells = " | ".join(cell(found[name]) for name in SHOWN)
            print(
                f"| {n_nodes} | {title} | {cells} | {ratio:.2f} | {seconds.mean():.3f} |",
                flush=True,
            )
    return 0


def cell(entry) -> str:
    """Mean ± standard error."""
    if entry["mean"] is None:
        return "–"
    return f"{entry['mean']:.3f}" + ("" if entry["se"] is None else f" ± {entry['se']:.3f}")


if __name__ == "__main__":
    sys.exit(main())
