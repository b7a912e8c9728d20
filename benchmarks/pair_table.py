"""The pair table: log Bayes factors for the true direction of two variables, by world and by
assumption, and what single changes of the full mixture do to them.

    python benchmarks/pair_table.py [--draws 50] [--rows 500] [--seed 5000] [--world NAME ...]

The worlds are those of the law in `tests/scores/test_pair_table.py`, on other seeds. A cell is
mean ± standard deviation over draws in nats, and the share of draws below -3.
"""

from __future__ import annotations

import argparse
import runpy
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np

from causal_meta.scores import class_gains
from causal_meta.scores.assumptions import ASSUMPTIONS, assumption_scores
from causal_meta.scores.mixture import MixtureWeights

PAIRS = runpy.run_path(str(Path(__file__).parent.parent / "tests" / "scores" / "pairs.py"))


def no_noise_at_roots(gains: Callable) -> Callable:
    """Roots without noise classes, as if only residuals had densities."""

    def changed(self, node, parents):
        constant = gains(self, node, parents)
        return constant if parents.shape[1] else np.full_like(constant, -np.inf)

    return changed


def no_noise_beside_variance(gains: Callable) -> Callable:
    """A varying variance with Gaussian noise only."""

    def changed(self, node, parents):
        varying = gains(self, node, parents)
        varying[:, 1:] = -np.inf
        return varying

    return changed


def ablations() -> dict[str, mock._patch]:
    """Changes of the full mixture, by name."""
    of = class_gains.ClassGains
    return {
        "roots Gaussian": mock.patch.object(
            of, "_constant_gains", no_noise_at_roots(of._constant_gains)
        ),
        "variance x Gaussian": mock.patch.object(
            of, "_varying_gains", no_noise_beside_variance(of._varying_gains)
        ),
        "ties as they are": mock.patch.object(class_gains, "tie_spacing", return_value=0.0),
    }


def cell(factors: list[float]) -> str:
    """Mean ± standard deviation, and the share that is confidently wrong."""
    values = np.array(factors)
    return f"{values.mean():.2f} ± {values.std():.1f}, {(values < -3).mean():.0%}"


def row(world: str, seeds: range, n: int) -> list[str]:
    """The cells of a world."""
    factor, tables = PAIRS["log_bayes_factor"], [PAIRS["draw_pair"](world, s, n) for s in seeds]
    members = [assumption_scores(table) for table in tables]
    cells = [cell([factor(scores[name]) for scores in members]) for name in ASSUMPTIONS[1:]]
    for change in ablations().values():
        with change:
            cells.append(cell([factor(assumption_scores(t)["variance"]) for t in tables]))
    even = MixtureWeights(additive=0.5, noise=0.8, variance=0.5)
    cells.append(cell([factor(assumption_scores(t, weights=even)["variance"]) for t in tables]))
    return cells


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--seed", type=int, default=5000)
    parser.add_argument("--world", nargs="*", default=list(PAIRS["WORLDS"]))
    options = parser.parse_args()
    start = time.process_time()
    heads = ["world", "L+A", "L+A+N", "L+A+N+H", *ablations(), "other weights"]
    print("| " + " | ".join(heads) + " |")
    print("|---" * len(heads) + "|")
    for world in options.world:
        seeds = range(options.seed, options.seed + options.draws)
        print(f"| {world} | " + " | ".join(row(world, seeds, options.rows)) + " |", flush=True)
    print(f"\n{time.process_time() - start:.0f} CPU seconds")


if __name__ == "__main__":
    main()
