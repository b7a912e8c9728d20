"""Batches per second of a training stream with 0, 1 and 2 DataLoader workers, and the memory of a
worker.

    python benchmarks/loader_workers.py [--family benchmark_train …] [--steps 40] [--rounds 3]

Wall time, since it is the waiting of a training loop that workers shorten: read the ratio of two
workers to one on a machine with nothing else to do and at least two cores. The consumer does
nothing with a batch but look at its seeds, which must be the same whatever the number of workers.
Memory is what a worker holds alone (private, Linux: smaps_rollup) and with what it shares with its
parent (resident), after the last step.
"""

import argparse
import itertools
import multiprocessing
import statistics
import time
from pathlib import Path

import torch

from causal_meta.conf.convert import from_plain
from causal_meta.conf.data import DataModuleConfig
from causal_meta.datasets.data_module import CausalMetaModule

FAMILIES = ("linear_er", "wide", "avici_train_rff")


def megabytes(process_id: int) -> dict[str, float]:
    """Private and resident memory of a process in MB (10^6 bytes)."""
    told = dict(
        line.split(":", 1)
        for line in Path(f"/proc/{process_id}/smaps_rollup").read_text().splitlines()
        if ":" in line[:32]
    )
    kilobytes = {
        name: float(told[name].split()[0]) for name in ("Private_Clean", "Private_Dirty", "Rss")
    }
    return {
        "private": (kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]) * 1.024e-3,
        "resident": kilobytes["Rss"] * 1.024e-3,
    }


def measure(
    family: str, workers: int, tasks: int, steps: int
) -> tuple[float, list[int], dict[str, float]]:
    """Steps per second after the first, the seeds of all tasks, and the memory of the largest
    worker."""
    config = from_plain(
        DataModuleConfig, {"train": family, "tasks_per_step": tasks, "workers": workers}
    )
    batches = iter(CausalMetaModule(config, 0).train_dataloader())
    seeds = next(batches).seeds.tolist()
    begin = time.perf_counter()
    for batch in itertools.islice(batches, steps):
        seeds += batch.seeds.tolist()
    rate = steps / (time.perf_counter() - begin)
    used = [megabytes(child.pid) for child in multiprocessing.active_children() if child.pid]
    return (
        rate,
        seeds,
        max(used, key=lambda entry: entry["resident"], default={"private": 0.0, "resident": 0.0}),
    )


def main() -> None:
    """Print a line per family and number of workers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", nargs="+", default=FAMILIES)
    parser.add_argument("--tasks", type=int, default=32, help="tasks per step")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| family | workers | tasks per second | against 1 worker | worker, private MB | worker, "
        "resident MB |\n|---|---|---|---|---|---|"
    )
    for family in options.family:
        found = {
            workers: [
                measure(family, workers, options.tasks, options.steps)
                for _ in range(options.rounds)
            ]
            for workers in (0, 1, 2)
        }
        assert len({tuple(seeds) for runs in found.values() for _, seeds, _ in runs}) == 1, (
            "the batches depend on the number of workers"
        )
        rates = {
            workers: statistics.median(rate for rate, _, _ in runs) * options.tasks
            for workers, runs in found.items()
        }
        for workers, runs in found.items():
            most = max((used for _, _, used in runs), key=lambda entry: entry["resident"])
            print(
                f"| {family} | {workers} | {rates[workers]:,.0f} | "
                f"{rates[workers] / rates[1]:.2f} | "
                f"{most['private']:.0f} | {most['resident']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
