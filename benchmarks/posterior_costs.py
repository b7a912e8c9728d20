"""CPU seconds and memory of explicit posteriors by the numbers of variables and rows.

    python benchmarks/posterior_costs.py                              # D = 5 ... 200, N = 1,000
    python benchmarks/posterior_costs.py --nodes 10 --rows 100,1000,10000,100000
    python benchmarks/posterior_costs.py --methods 'auto;mcmc score=linear'

Tables have additive Gaussian-process mechanisms and one edge a variable. Every fit is a process of
its own: CPU seconds are those of the fit alone, with compiled code on disk; memory is the peak of
the whole process, of which the imports have some 300 MiB.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time

import numpy as np
import pandas as pd
import torch

import made_tables
from made_tables import World

METHODS = "auto;mcmc score=linear;mcmc score=additive;boss"


def table(n_nodes: int, n_rows: int, seed: int) -> np.ndarray:
    """A table of a world with these numbers."""
    name = "additive GP D=20 N=500"  # its place among the worlds belongs to the seed
    made_tables.WORLDS[name] = World(n_nodes, n_rows, "additive", 1.0)
    return made_tables.made(name, seed)[0]


def fit(method: str, n_nodes: int, n_rows: int, results: multiprocessing.Queue) -> None:
    """Put CPU seconds and MiB of one answer into `results`."""
    from causal_meta import discover

    torch.set_num_threads(1)
    frame = pd.DataFrame(table(n_nodes, n_rows, 0))
    frame.columns = [f"X{i}" for i in frame.columns]
    name, *settings = method.split()
    warm = frame.iloc[:60, :3]  # reads compiled code
    discover(warm, method="mcmc", settings=["score=linear"], n_samples=20)
    begin = time.process_time()
    discover(frame, method=name, settings=settings)
    seconds = time.process_time() - begin
    results.put((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def main() -> None:
    """Print one row for each method, D and N."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", default="5,10,20,50,100,200")
    parser.add_argument("--rows", default="1000")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--limit", type=float, default=600, help="wall seconds of a fit")
    args = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    print("| method | D | N | CPU s | MiB |\n|---|---|---|---|---|")
    for method in args.methods.split(";"):
        for n_nodes in map(int, args.nodes.split(",")):
            for n_rows in map(int, args.rows.split(",")):
                results = spawn.Queue()
                process = spawn.Process(target=fit, args=(method, n_nodes, n_rows, results))
                process.start()
                process.join(args.limit)
                if process.is_alive():
                    process.kill()
                cells = "{:.1f} | {:.0f}".format(*results.get()) if not results.empty() else " | "
                print(f"| {method} | {n_nodes} | {n_rows:,} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
