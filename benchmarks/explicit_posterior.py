"""Explicit posteriors beside their rivals on fresh tables: AUROC, E-SHD, SHD of the optimal graph,
log loss per ordered pair and CPU seconds, world by world.

    python benchmarks/explicit_posterior.py                          # all worlds, four tables each
    python benchmarks/explicit_posterior.py --worlds 'joint GP' --methods auto,boss --tables 2
    python benchmarks/explicit_posterior.py --methods 'auto;mcmc score=linear'
    python benchmarks/explicit_posterior.py --first-seed 1000        # tables to choose settings on
    python benchmarks/explicit_posterior.py --rows 100               # their first 100 rows
    python benchmarks/explicit_posterior.py --files a.npz,b.npz      # tables x with their G

Seeds from 1000 on are for choosing settings, those below for the figures that are reported.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import pandas as pd
import torch

from causal_meta import discover
from made_tables import WORLDS, made

SHOWN = ("auroc", "e_shd", "optimal_shd", "log_loss")


def answered(method: str, x: np.ndarray, graph: np.ndarray) -> dict[str, float]:
    """The metrics of a method (its name, then settings) for one table, and its CPU seconds."""
    name, *settings = method.split()
    frame = pd.DataFrame(x, columns=[f"X{i + 1}" for i in range(x.shape[1])])
    options = {} if name in ("boss", "pc", "ges") else {"n_samples": 1000}
    if name in ("empty", "correlation", "partial_correlation"):
        options = {"n_samples": 1}
    begin = time.process_time()
    answer = discover(
        frame, method=name, settings=settings, truth=graph, **({"n_samples": 20} | options)
    )
    seconds = time.process_time() - begin
    return {key: answer.metrics[key] for key in SHOWN} | {
        "cpu_s": seconds,
        "edges": int(graph.sum()),
        "warnings": len(answer.warnings),
    }


def main() -> None:
    """Print one row for each world and method, and every table's figures as JSON with --json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", default=";".join(WORLDS))
    parser.add_argument("--methods", default="auto;boss;pc;ges;correlation;empty")
    parser.add_argument("--tables", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rows", type=int, help="read only so many rows of each table")
    parser.add_argument("--files", default="", help=".npz files with x [N, D] and G [D, D]")
    parser.add_argument("--json", help="append every table's figures to this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    separator = ";" if ";" in args.methods else ","
    print("| world (edges) | method | AUROC | E-SHD | optimal SHD | log loss | CPU s | warned |")
    print("|---|---|---|---|---|---|---|---|")
    for world in ["the files"] if args.files else args.worlds.split(";"):
        if args.files:
            tables = [read(path) for path in args.files.split(",")]
        else:
            tables = [made(world, args.first_seed + k) for k in range(args.tables)]
        for method in args.methods.split(separator):
            rows = [answered(method, x[: args.rows], graph) for x, graph in tables]
            if args.json:
                with open(args.json, "a") as file:
                    for k, row in enumerate(rows):
                        file.write(
                            json.dumps(
                                {"world": world, "rows": args.rows, "method": method, "k": k} | row
                            )
                        )
                        file.write("\n")
            print(line(world, method, rows), flush=True)


def read(path: str) -> tuple[np.ndarray, np.ndarray]:
    """The table and the graph of a file."""
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["x"], arrays["G"]


def line(world: str, method: str, rows: list[dict[str, float]]) -> str:
    """One row of the table: means over tables, with standard errors of the first four."""
    frame = pd.DataFrame(rows).astype(float)
    mean, error = frame.mean(), frame.sem()
    cells = [
        f"{mean[key]:.3f} ± {error[key]:.3f}"
        if key in ("auroc", "log_loss")
        else f"{mean[key]:.1f} ± {error[key]:.1f}"
        for key in SHOWN
    ]
    warned = int((frame["warnings"] > 0).sum())
    return (
        f"| {world} ({mean['edges']:.1f}) | {method} | {' | '.join(cells)} | "
        f"{mean['cpu_s']:.1f} | {warned} of {len(rows)} |"
    )


if __name__ == "__main__":
    main()
