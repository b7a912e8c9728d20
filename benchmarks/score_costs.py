"""CPU seconds and memory of local scores: building them, and the table of all subsets of K
candidates of one node, by assumption.

    python benchmarks/score_costs.py [--candidates 10]

Each row is a process of its own, so its memory is its own. Linear mechanisms, Laplace noise, one
parent each.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

from causal_meta.scores.assumptions import ASSUMPTIONS, assumption_scores

SIZES = [(5, 1000), (20, 100), (20, 1000), (20, 10_000), (20, 100_000), (50, 1000), (100, 1000),
         (200, 1000), (500, 1000)]  # fmt: skip


def measure(d: int, n: int, k: int) -> str:
    """One row of the table."""
    r = np.random.default_rng(0)
    x = r.laplace(size=(n, d))
    for v in range(1, d):
        x[:, v] += x[:, r.integers(v)]
    start = time.process_time()
    scores = assumption_scores(x)
    cells = [f"{time.process_time() - start:.2f}"]
    candidates = np.arange(1, min(d, k + 1))
    for name in ASSUMPTIONS:
        start = time.process_time()
        scores[name].table(0, candidates, None)
        cells.append(f"{time.process_time() - start:.3f}")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return f"| {d} | {n} | {len(candidates)} | " + " | ".join(cells) + f" | {memory} |"


def main() -> None:
    """Print the table, or one row of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--row", type=int, nargs=2, help="D and N: only this row")
    options = parser.parse_args()
    if options.row:
        print(measure(*options.row, options.candidates))
        return
    heads = ["D", "N", "K", "building, s", *(f"{name}, s" for name in ASSUMPTIONS), "MB"]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|", flush=True)
    for d, n in SIZES:
        command = [sys.executable, __file__, "--candidates", str(options.candidates)]
        subprocess.run([*command, "--row", str(d), str(n)], check=True)


if __name__ == "__main__":
    main()
