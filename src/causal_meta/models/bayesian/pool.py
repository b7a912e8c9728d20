"""One answer from posteriors under several sets of assumptions, on all rows and on halves of them.

Inside its assumptions a posterior is best alone. Outside them its evidence is wrong by thousands of
nats, so weights by evidence let one wrong assumption decide. The answer is therefore a linear pool
with fixed weights (`PooledGraphs`), a part of it from halves of the rows, which are less sure
of what a violated assumption makes look certain.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from jaxtyping import Int, Int8
from numpy.typing import NDArray

from causal_meta.conf.inference import BayesianConfig, PoolConfig
from causal_meta.knowledge import Knowledge
from causal_meta.method_diagnostics import MethodDiagnostics
from causal_meta.models.bayesian.pilot import pilot
from causal_meta.models.bayesian.task_scores import scored_table
from causal_meta.models.task_method import Checkpoint
from causal_meta.posteriors import DrawnGraphs, PooledGraphs, load_posterior
from causal_meta.randomness import torch_generator
from causal_meta.scores.assumptions import assumption_scores
from causal_meta.scores.bge import BGePrior
from causal_meta.scores.local_score import LocalScore
from causal_meta.tasks import Task

#: The end of the name of a member that saw half of the rows.
HALF = " (half)"
#: Halves with fewer rows are not used.
LEAST_ROWS = 50
LEAST_DRAWS = 80

#: Candidates that later fits keep: those with an edge of this probability in an earlier fit, and
#: this many in any case.
WORTH, FEW = 0.01, 7

Candidates = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Fit:
    """The posterior (B = 1) under one score, and the candidate parents that another fit on the
    same variables may begin from."""

    posterior: DrawnGraphs
    candidates: Candidates | None = None


@dataclass(frozen=True, eq=False)
class Start:
    """What a fit may begin from: candidates of an earlier member, which are then not refined, and
    graphs of another search."""

    candidates: Candidates | None
    graphs: Int8[np.ndarray, "S D D"]


#: The posterior under a score, given what is known, with that many draws.
Fitting = Callable[[LocalScore, Knowledge, np.random.Generator, int, Start], Fit]


@dataclass(frozen=True, eq=False)
class Member:
    """One posterior of the pool: the set of assumptions, its weight, and its rows (None: all)."""

    assumption: str
    weight: float
    rows: Int[np.ndarray, " n"] | None = None

    @property
    def name(self) -> str:
        """The assumptions, and whether it reads half of the rows."""
        return self.assumption if self.rows is None else self.assumption + HALF


def members(config: PoolConfig, n_rows: int, generator: np.random.Generator) -> list[Member]:
    """The members of a pool: each set of assumptions on all rows, then one of them on both halves
    of one random split of the rows.

    Args:
        config: the weights; assumptions of weight 0 are left out.
        n_rows: N; no halves where they would be too small.
        generator: for the split.
    """
    kept = {name: weight for name, weight in config.weights.items() if weight > 0}
    # the candidates of the first are refined, and it should be quick and see every mechanism
    kept = {name: kept[name] for name in ("additive", *kept) if name in kept}
    halves = config.halves if n_rows >= 2 * LEAST_ROWS else 0.0
    result = [Member(name, weight * (1 - halves)) for name, weight in kept.items() if halves < 1]
    if halves > 0:
        order = generator.permutation(n_rows)
        split = [np.sort(order[: n_rows // 2]), np.sort(order[n_rows // 2 :])]
        result += [Member(config.halved, halves / 2, rows) for rows in split]
    return result


def pooled_posterior(
    task: Task,
    config: BayesianConfig,
    fit: Fitting,
    generator: np.random.Generator,
    checkpoint: Checkpoint,
) -> PooledGraphs:
    """The pool of the posteriors that `fit` gives under each member's score.

    Finished members are saved in the checkpoint. Every member has random numbers of its own, so
    the answer does not depend on where a killed run was resumed.
    """
    pool = members(config.pool, len(task.x), generator)
    seeds = generator.integers(2**63, size=len(pool) + 1)
    sources = [np.random.default_rng(seed) for seed in seeds]
    known = task.knowledge or Knowledge.none(task.x.shape[1])
    fits = _load(checkpoint)
    first = pilot(task, config)
    scores = _Scores(task, first.prior)
    for m in range(len(fits), len(pool)):
        member = pool[m]
        checkpoint.stage(f"{member.name}, {m + 1} of {len(pool)} posteriors")
        start = Start(_start(fits), first.graphs)
        draws = draws_of(member.weight, config.n_samples)
        fits.append(fit(scores.of(member), known, sources[m], draws, start))
        if m + 1 < len(pool):
            _save(checkpoint, fits)
    posteriors = [one.posterior for one in fits]
    source = torch_generator(int(sources[-1].integers(2**62)), "pool")
    weights = [one.weight for one in pool]
    answer = PooledGraphs.pool(posteriors, weights, config.n_samples, source)
    total = MethodDiagnostics.total(one.diagnostics for one in posteriors)
    answer.diagnostics = dataclasses.replace(
        total,
        members=tuple(one.name for one in pool),
        prior_scale=first.prior.scale if first.prior else None,
        edge_error=_pooled_error(weights, [one.diagnostics.edge_error for one in posteriors]),
    )
    return answer


def _pooled_error(weights: Sequence[float], errors: Sequence[float | None]) -> float | None:
    """The standard error of a weighted mean whose members err independently by at most these."""
    if None in errors:
        return None
    squares = [(w * (e or 0.0)) ** 2 for w, e in zip(weights, errors, strict=True)]
    return float(np.sqrt(sum(squares)) / sum(weights))


def draws_of(weight: float, n_samples: int) -> int:
    """The number of graphs that a member draws: twice its share of the answer's, at least
    `LEAST_DRAWS`."""
    return min(n_samples, max(LEAST_DRAWS, int(np.ceil(2 * weight * n_samples))))


class _Scores:
    """The scores of the members; those of the same rows share their Gram matrices."""

    def __init__(self, task: Task, prior: BGePrior | None) -> None:
        self._task, self._prior = task, prior
        self._rows: Int[np.ndarray, " n"] | None = None
        self._scores: Mapping[str, LocalScore] | None = None

    def of(self, member: Member) -> LocalScore:
        """The score of a member."""
        if self._scores is None or self._rows is not member.rows:
            self._rows, self._scores = member.rows, self._row_scores(member.rows)
        return self._scores[member.assumption]

    def _row_scores(self, rows: Int[np.ndarray, " n"] | None) -> Mapping[str, LocalScore]:
        x, categories, intervened = scored_table(self._task)
        if rows is not None:
            x, intervened = x[rows], intervened[rows]
        cells = intervened if intervened.any() else None
        return assumption_scores(x, categories, cells, self._prior)


def _start(fits: Sequence[Fit]) -> Candidates | None:
    """The candidates of the first fit that matter: of each variable those to or from which some
    fit gives an edge a probability above `WORTH`, and others in their order up to `FEW`."""
    if not fits or fits[0].candidates is None:
        return None
    p = np.max([one.posterior.probabilities[0].numpy() for one in fits], axis=0)
    matters = p + p.T > WORTH
    result = []
    for v, names in enumerate(fits[0].candidates):
        kept = [u for u in names if matters[u, v]]
        rest = [u for u in names if not matters[u, v]]
        result.append(kept + rest[: max(0, FEW - len(kept))])
    return result


def _save(checkpoint: Checkpoint, fits: Sequence[Fit]) -> None:
    state: dict[str, NDArray[Any]] = {}
    for m, one in enumerate(fits):
        arrays = one.posterior.arrays()
        record = [one.posterior.diagnostics.entries(), one.candidates]
        arrays["record"] = np.array(json.dumps(record))
        state |= {f"{m}.{name}": value for name, value in arrays.items()}
    checkpoint.save(state)


def _load(checkpoint: Checkpoint) -> list[Fit]:
    state = checkpoint.load() or {}
    fits: list[Fit] = []
    while f"{len(fits)}.record" in state:
        start = f"{len(fits)}."
        arrays = {key[len(start) :]: v for key, v in state.items() if key.startswith(start)}
        posterior = load_posterior(arrays)
        entries, candidates = json.loads(str(arrays["record"]))
        posterior.diagnostics = MethodDiagnostics.from_entries(entries)
        fits.append(Fit(cast(DrawnGraphs, posterior), candidates))
    return fits
