"""Ways of combining posteriors under different assumptions: fixed weights, weights by evidence and
by held-out evidence, powers of the likelihood, halves of the rows.

    python benchmarks/pool_weights.py --seeds 1021,1022 --folder members    # some minutes a seed
    python benchmarks/pool_weights.py --seeds 1021,1022 --folder members --only-compare

Every table is fitted once under each assumption, on all rows, on halves of them, and with the
likelihood to the power 1/2; the edge probabilities are kept in the folder, and every combination is
computed from them. Seeds from 1000 on, since weights are chosen here.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from causal_meta.conf.inference import MCMCConfig
from causal_meta.knowledge import Knowledge
from causal_meta.models.bayesian.exact import graph_prior
from causal_meta.models.bayesian.structure_mcmc import sample_settings
from causal_meta.models.bayesian.structures.structure_sample import sample_structures
from causal_meta.posteriors.optimal_graph import optimal_graph
from causal_meta.scores.assumptions import ASSUMPTIONS, assumption_scores
from causal_meta.scores.local_score import LocalScore
from made_tables import WORLDS, made

SPLITS = 2  # of the rows into halves
_RECORDS = ("graph", "evidence", "held_out")  # what is kept beside edge probabilities
#: Fixed weights: NAME is the posterior on all rows, NAME/2 the mean of those on the halves of one
#: split, NAME/all of all splits, NAME^.5 that of the power 1/2.
FIXED: dict[str, dict[str, float]] = {
    "default": {"linear": 0.105, "additive": 0.105, "noise": 0.14, "variance": 0.35}
    | {"additive/2": 0.3},
    "default without halves": {"linear": 0.15, "additive": 0.15, "noise": 0.2, "variance": 0.5},
    "default, halves under variance": {"linear": 0.105, "additive": 0.105, "noise": 0.14}
    | {"variance": 0.35, "variance/2": 0.3},
    "default, linear only on halves": {"linear/all": 0.105, "additive": 0.105, "noise": 0.14}
    | {"variance": 0.35, "additive/2": 0.3},
    ".3/.1/.3/.3": {"linear": 0.3, "additive": 0.1, "noise": 0.3, "variance": 0.3},
    "only halves": {f"{name}/all": 0.25 for name in ASSUMPTIONS},
    "powers 1/2": {"linear^.5": 1 / 3, "additive^.5": 1 / 3, "variance^.5": 1 / 3},
}


class Power(LocalScore):
    """A score times a number: the likelihood to that power."""

    def __init__(self, score: LocalScore, power: float) -> None:
        self.n_nodes, self._score, self._power = score.n_nodes, score, power

    def families(self, node, parents):
        """The scores of families."""
        return self._power * self._score.families(node, parents)

    def table(self, node, candidates, max_parents=None):
        """The scores of all subsets."""
        return self._power * self._score.table(node, candidates, max_parents)


class Fits:
    """Edge probabilities of one table under many scores; the first search's candidates serve all
    later fits."""

    def __init__(self, x: np.ndarray, seed: int) -> None:
        config, known = MCMCConfig(n_samples=1000), Knowledge.none(x.shape[1])
        self._shared = known, graph_prior(config, known)
        self._settings = sample_settings(config)
        self._generator = np.random.default_rng(seed)
        self._candidates: Sequence[Sequence[int]] | None = None
        self.probabilities: dict[str, np.ndarray] = {}
        self.best: dict[str, np.ndarray] = {}

    def add(self, name: str, score: LocalScore, draws: int) -> None:
        """Fit under a score."""
        known, prior = self._shared
        rounds = self._settings.rounds if self._candidates is None else 0
        settings = dataclasses.replace(self._settings, draws=-(-draws // 8), rounds=rounds)
        sample = sample_structures(score, prior, known, self._generator, settings, self._candidates)
        self._candidates = self._candidates or sample.candidates
        self.probabilities[name] = np.clip(sample.marginals, 0, 1)
        self.best[name] = sample.best


def evidence(score: LocalScore, graph: np.ndarray) -> float:
    """log p(table | graph) under a score."""
    parents = [np.flatnonzero(column)[None] for column in graph.T]
    return sum(float(score.families(v, row)[0]) for v, row in enumerate(parents))


def fitted(world: str, seed: int) -> dict[str, np.ndarray]:
    """All posteriors of one table, by name; `graph`; `evidence` and `held_out`, the evidence of
    each assumption's best graph, and of one half of the rows given the other, of both halves."""
    x, graph = made(world, seed)
    whole, fits = assumption_scores(x), Fits(x, seed)
    for name in ("additive", "linear", "noise", "variance"):
        fits.add(name, whole[name], 400)
    for name in ("linear", "additive", "variance"):
        fits.add(f"{name}^.5", Power(whole[name], 0.5), 200)
    held_out = dict.fromkeys(ASSUMPTIONS, 0.0)
    source = np.random.default_rng([seed, 1])
    for k in range(SPLITS):
        order = source.permutation(len(x))
        for h, rows in enumerate((order[: len(x) // 2], order[len(x) // 2 :])):
            half = assumption_scores(x[np.sort(rows)])
            for name in ASSUMPTIONS:
                fits.add(f"{name}/{k}{h}", half[name], 160)
                best = fits.best[f"{name}/{k}{h}"]
                held_out[name] += evidence(whole[name], best) - evidence(half[name], best)
    logs = [evidence(whole[name], fits.best[name]) for name in ASSUMPTIONS]
    return fits.probabilities | {
        "graph": graph,
        "evidence": np.array(logs),
        "held_out": np.array([held_out[name] / SPLITS for name in ASSUMPTIONS]),
    }


def combined(kept: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Edge probabilities of every combination, and of single posteriors."""
    single = {name: value for name, value in kept.items() if name not in _RECORDS}
    for name in ASSUMPTIONS:
        halves = [value for key, value in kept.items() if key.startswith(f"{name}/")]
        single[f"{name}/2"], single[f"{name}/all"] = np.mean(halves[:2], 0), np.mean(halves, 0)
    pools = {
        title: sum(weight * single[name] for name, weight in weights.items())
        for title, weights in FIXED.items()
    }
    for title, key in (("evidence", "evidence"), ("held-out evidence", "held_out")):
        weights = np.exp(kept[key] - kept[key].max())
        shares = zip(weights / weights.sum(), ASSUMPTIONS, strict=True)
        pools[f"weights by {title}"] = sum(share * single[name] for share, name in shares)
    names = [*ASSUMPTIONS, *(f"{name}/all" for name in ASSUMPTIONS)]
    return pools | {f"only {name}": single[name] for name in names}


def scored(p: np.ndarray, graph: np.ndarray) -> tuple[float, float]:
    """Log loss per ordered pair (probabilities kept within .001) and SHD of the optimal graph."""
    pairs = ~np.eye(len(graph), dtype=bool)
    q = np.clip(p, 1e-3, 1 - 1e-3)
    loss = -np.where(graph > 0, np.log(q), np.log(1 - q))[pairs].mean()
    wrong = optimal_graph(p) != graph
    return float(loss), float(np.triu(wrong | wrong.T, 1).sum())


def compared(folder: Path, draw: Callable[[str], None] = print) -> None:
    """A row for each combination: means over all tables of the folder, and by world."""
    rows: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            kept = dict(arrays)
        for title, p in combined(kept).items():
            world = path.stem.rpartition("_")[0]
            rows.setdefault(title, {}).setdefault(world, []).append(scored(p, kept["graph"]))
    worlds = sorted(next(iter(rows.values()), {}))
    draw("| combination | all | " + " | ".join(worlds) + " |")
    draw("|---|---" + "|---" * len(worlds) + "|")
    for title, by_world in rows.items():
        means = [np.mean(by_world[world], axis=0) for world in worlds]
        cells = [f"{loss:.3f} / {shd:.1f}" for loss, shd in [np.mean(means, axis=0), *means]]
        draw(f"| {title} | " + " | ".join(cells) + " |")


def main() -> None:
    """Fit what is missing in the folder, then compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", default=";".join(w for w in WORLDS if "D=50" not in w))
    parser.add_argument("--seeds", default="1021")
    parser.add_argument("--folder", default="members", help="of the posteriors")
    parser.add_argument("--only-compare", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(args.folder)
    folder.mkdir(exist_ok=True)
    for seed in [] if args.only_compare else args.seeds.split(","):
        for world in args.worlds.split(";"):
            path = folder / f"{world.replace(' ', '-')}_{seed}.npz"
            if not path.exists():
                np.savez(path, **fitted(world, int(seed)))
    compared(folder)


if __name__ == "__main__":
    main()
