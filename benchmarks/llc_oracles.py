"""Exact finite-n expectations: their cost, and whether the standard errors of the exact draws are
right.

python benchmarks/llc_oracles.py            # a minute and a half of one core
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import numpy as np

from causal_meta.conf.forms import DeepLinearConfig, ReducedRankConfig
from causal_meta.llc.exact import oracles, quadrature
from causal_meta.llc.exact.cubature import cubature
from causal_meta.llc.exact.gibbs import LinearNetwork
from causal_meta.llc.landscapes.forms import form_landscape, gibbs_network
from causal_meta.llc.landscapes.local_posterior import tempered_rows

ZERO_MAPS = [(5, 3, 5), (5, 4, 5), (4, 3, 8), (3, 8, 4), (2, 2, 2)]
MEASURED = {
    "reduced rank 5-4-5, r=2": ReducedRankConfig(),
    "the same at ranks (4, 2)": ReducedRankConfig(rank_in=4),
    "deep linear 4-3-3-4, r=1": DeepLinearConfig(),
}


def timed(function: Callable[[], quadrature.Expectation]) -> tuple[quadrature.Expectation, float]:
    begin = time.process_time()
    return function(), time.process_time() - begin


def formulas() -> None:
    print("| K | n | exact | its error | CPU ms |\n|---|---|---|---|---|")
    for n in (1e4, 1e9):
        rows = {
            "w1² + w2⁴": lambda n=n: quadrature.power_sum([2, 4], tempered_rows(n), 1.0),
            "(w1 w2)²": lambda n=n: quadrature.normal_crossing([2, 2], tempered_rows(n), 1.0),
            "(w1 … w20)²": lambda n=n: quadrature.normal_crossing([2] * 20, tempered_rows(n), 1.0),
            "½ |BA|², 5-4-5": lambda n=n: quadrature.zero_map(5, 4, 5, tempered_rows(n), 1.0),
        }
        if n == 1e4:
            rows["(x² - y²)² / 4 by cubature"] = lambda n=n: cubature(
                lambda w: (w[:, 0] ** 2 - w[:, 1] ** 2) ** 2 / 4, 2, tempered_rows(n), 1.0
            )
            rows["(x y z)² by cubature"] = lambda n=n: cubature(
                lambda w: np.prod(w, 1) ** 2, 3, tempered_rows(n), 1.0, tolerance=1e-4
            )
        for name, function in rows.items():
            expectation, seconds = timed(function)
            print(
                f"| {name} | {n:.0e} | {expectation.value:.8g} | {expectation.error:.1e} | "
                f"{1000 * seconds:.1f} |"
            )


def draws_against_pfaffians(seeds: int) -> None:
    scores = []
    for sizes, n, seed in itertools.product(ZERO_MAPS, (1e3, 1e5), range(seeds)):
        layers = tuple(np.zeros((b, a)) for a, b in itertools.pairwise(sizes))
        sampled = LinearNetwork(
            layers, np.eye(sizes[0]), np.zeros((sizes[-1], sizes[0]))
        ).expectation(tempered_rows(n), 1.0, chains=64, sweeps=500, seed=seed)
        scores.append(
            (sampled.value - quadrature.zero_map(*sizes, tempered_rows(n), 1.0).value)
            / sampled.error
        )
    inside = sum(abs(score) < 2.0 for score in scores)
    mean, spread, limit = np.mean(scores), np.std(scores), 1 / np.sqrt(len(scores))
    print(
        f"{len(scores)} estimates: mean {mean:.2f} ± {limit:.2f} of their errors, standard "
        f"deviation {spread:.2f}, {inside} within 2"
    )


def measured() -> None:
    print("| target | λ, m | n=1e3 | 1e4 | 1e6 | CPU s each |\n|---|---|---|---|---|---|")
    for name, config in MEASURED.items():
        known = form_landscape(config, 1000, 1).exact
        network, cells, seconds = gibbs_network(config, 1000, 1), [], 0.0
        for n in (1e3, 1e4, 1e6):
            expectation, seconds = timed(
                lambda n=n, network=network: network.expectation(
                    tempered_rows(n), 1.0, chains=128, sweeps=2000
                )
            )
            cells.append(f"{expectation.value:.3f} ± {expectation.error:.3f}")
        print(
            f"| {name} | {known['lambda']:g}, {known['multiplicity']:g} | {' | '.join(cells)} | "
            f"{seconds:.1f} |"
        )


def tables() -> None:
    begin, cases, agree = time.process_time(), 0, 0
    for m, h, n in itertools.product(range(1, 9), repeat=3):
        for r in range(min(m, h, n) + 1):
            cases += 1
            agree += (
                oracles.reduced_rank(m, h, n, r)
                == oracles.deep_linear((m, h, n), r)
                == oracles.reduced_rank_at(m, h, n, r, r, r)
            )
    print(
        f"{agree} of {cases} cases of reduced-rank regression agree in λ and m, "
        f"{time.process_time() - begin:.2f} CPU s"
    )


if __name__ == "__main__":
    tables()
    formulas()
    draws_against_pfaffians(10)
    measured()
