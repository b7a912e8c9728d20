"""The whole metric table on the protein data of Sachs et al. (2005): 853 rows, 11 variables, a
consensus graph of 17 (or 20) edges.

    python benchmarks/sachs.py FOLDER [--transform log] [--edges 20] [--model NAME|PATH]
    [--bootstraps 50]

FOLDER holds data.csv and adjacency.csv (and adjacency_20edge.csv). A markdown table goes to
standard output. The empty graph must have E-SHD 17 and SID 53; published anchors: bootstrap BOSS
E-SHD 14.7, AUROC 0.66, bootstrap PC AUROC 0.71 (logarithms, 50 replicates).
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

from causal_meta.conf.evaluation import EvaluateConfig
from causal_meta.conf.inference import (
    BOSSConfig,
    CorrelationConfig,
    EmptyConfig,
    GESConfig,
    PartialCorrelationConfig,
    PCConfig,
    RandomConfig,
    SortnregressConfig,
)
from causal_meta.conf.registry import implementation
from causal_meta.datasets.real import read_table
from causal_meta.datasets.truths import read_truth
from causal_meta.randomness import generator
from causal_meta.runners.evaluation.eval_metrics import METRICS
from causal_meta.runners.evaluation.evaluation import score
from causal_meta.runners.inference.discovery import load_model
from causal_meta.runners.tasks.task_sets import centred
from causal_meta.tasks import full_batch


def baselines(n_edges: int, count: int, seed: int):
    """Title and configuration of every baseline; random graphs get the density of the truth over 11
    variables."""
    return [
        ("empty graph", EmptyConfig(seed=seed)),
        ("random graphs", RandomConfig(seed=seed, n_samples=1000, edges_per_node=n_edges / 11)),
        *(
            (
                f"sortnregress, {order}, {count} bootstraps",
                SortnregressConfig(seed=seed, order=order, n_samples=count),
            )
            for order in ("random", "r2")
        ),
        (
            f"sortnregress, variance (raw), {count} bootstraps",
            SortnregressConfig(seed=seed, order="variance", n_samples=count),
        ),
        (f"PC 0.05, {count} bootstraps", PCConfig(seed=seed, n_samples=count)),
        (
            "sortnregress, r2, one graph",
            SortnregressConfig(seed=seed, n_samples=1, bootstrap=False),
        ),
        ("PC, one graph", PCConfig(seed=seed, n_samples=1, bootstrap=False)),
        ("correlation", CorrelationConfig()),
        ("partial correlation", PartialCorrelationConfig()),
        (f"GES BIC, {count} bootstraps", GESConfig(seed=seed, n_samples=count)),
        (f"BOSS BIC, {count} bootstraps", BOSSConfig(seed=seed, n_samples=count)),
    ]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--transform", choices=["none", "log"], default="none")
    parser.add_argument("--edges", type=int, choices=[17, 20], default=17)
    parser.add_argument(
        "--model", default=None, help="name, id or folder of a model; without it the embedded one"
    )
    parser.add_argument("--bootstraps", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)

    table = read_table(given.folder / "data.csv", transform=given.transform)
    truth = read_truth(
        given.folder / ("adjacency.csv" if given.edges == 17 else "adjacency_20edge.csv"),
        table.columns,
    )
    true = torch.from_numpy(truth.astype(np.float32))[None]
    batch = full_batch(torch.from_numpy(centred(table.x)[0])[None], None, [-1])
    columns: dict[str, tuple[dict, float]] = {}

    def add(title, posterior, seconds):
        columns[title] = (
            score(posterior, true, EvaluateConfig(n_samples=1000, seed=given.seed))["summary"],
            seconds,
        )
        print(f"{title}: {seconds:.2f} CPU seconds", file=sys.stderr)

    try:
        trained = load_model(given.model)
        begin = time.process_time()
        posterior = trained.posterior(table, given.seed)
        add(f"model {trained.id}", posterior, time.process_time() - begin)
    except ValueError as error:
        print(f"No model: {error}", file=sys.stderr)
    for title, config in baselines(int(truth.sum()), given.bootstraps, given.seed):
        method, begin = implementation(config)(config), time.process_time()
        posterior = method.answer(batch.task(0), generator(given.seed, "sachs", config.kind))
        add(title, posterior, time.process_time() - begin)

    print(
        f"Sachs, {len(table.x)} rows, {int(truth.sum())} edges, transform {given.transform}, seed "
        f"{given.seed}\n"
    )
    print("| method | " + " | ".join(METRICS) + " | CPU s |")
    print("|---" * (len(METRICS) + 2) + "|")
    for title, (summary, seconds) in columns.items():
        cells = (
            "–" if summary[name]["mean"] is None else f"{summary[name]['mean']:.3g}"
            for name in METRICS
        )
        print(f"| {title} | " + " | ".join(cells) + f" | {seconds:.2f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
