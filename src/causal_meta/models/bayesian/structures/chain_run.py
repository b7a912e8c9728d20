"""The chains of a sample of structures: graphs, changed by way of orders and directly."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt64

from causal_meta.models.bayesian.structures.family_tables import FamilyTables
from causal_meta.models.bayesian.structures.graph_chains import drawn_graph, move, order_of
from causal_meta.models.bayesian.structures.look_ups import LookUps
from causal_meta.models.bayesian.structures.order_chains import started_orders
from causal_meta.models.bayesian.structures.order_search import best_parents, climbed, random_state
from causal_meta.models.task_method import NO_CHECKPOINT, Checkpoint, State

_BATCHES = 5  # parts of each chain from which Monte Carlo errors are estimated
_CLIMB_EVERY = 5  # draws between two ascents that look for a chain's best graph
_SECONDS_BETWEEN_SAVES = 20.0


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """How a sample of structures is made.

    Args:
        chains: Markov chains.
        draws: graphs drawn from each chain.
        burn_in: draws of each chain before these, not kept.
        n_candidates: usual number of candidate parents of a variable; some more where there is
            reason.
        max_parents: largest number of parents of a variable.
        rounds: largest number of refinements of the candidates.
        anneal: steps of annealing of each start of a search, per variable.
    """

    chains: int = 8
    draws: int = 125
    burn_in: int = 20
    n_candidates: int = 10
    max_parents: int = 15
    rounds: int = 14
    anneal: int = 200

    def moves(self, n_nodes: int) -> int:
        """Times that a graph is moved between two draws: more for few variables, where it is
        quick and marginals are less certain."""
        return int(np.clip(round(100 / n_nodes), 1, 10))


@dataclass(eq=False)
class ChainRun:
    """The chains of a sample while they run: all that a checkpoint holds.

    Attributes:
        settings: their number and length.
        states: of the random numbers.
        graphs: where the chains are, as bits of the candidates.
        done: draws made of each chain, those of the burn-in included.
        chosen: the graphs drawn.
        sums: conditional probabilities of parents, summed over the sweeps of each batch of draws.
        accepted: jumps of all variables, and of some, that were accepted.
        peaks: the best graph that each chain came upon.
    """

    settings: SampleSettings
    states: UInt64[np.ndarray, "C 4"]
    graphs: Int64[np.ndarray, "C D"]
    done: int
    chosen: Int64[np.ndarray, "C T D"]
    sums: Float[np.ndarray, "C B D K"]
    accepted: Int64[np.ndarray, " 2"]
    peaks: Int64[np.ndarray, "C D"]

    @classmethod
    def begin(
        cls,
        arrays: LookUps,
        required: Bool[np.ndarray, "D D"],
        optima: Int64[np.ndarray, "S D"],
        settings: SampleSettings,
        generator: np.random.Generator,
    ) -> ChainRun:
        """A run before its first draw: see `started_orders`; the graphs are drawn from orders.
        Starts are annealed ten times as long as those of a search."""
        n_nodes, width = arrays.candidates.shape
        count = settings.chains
        states = np.stack([random_state(generator) for _ in range(count)])
        steps = 10 * settings.anneal * n_nodes
        levels = [_level(arrays, best_parents(arrays, order)) for order in optima]
        optima = optima[np.array(levels) > max(levels) - 1]
        orders = started_orders(arrays, required, optima, states, steps, generator)
        graphs = [drawn_graph(arrays, orders[c], states[c]) for c in range(count)]
        return cls(
            settings,
            states,
            np.stack(graphs),
            0,
            np.zeros((count, settings.draws, n_nodes), np.int64),
            np.zeros((count, min(_BATCHES, settings.draws), n_nodes, width)),
            np.zeros(2, np.int64),
            np.stack([climbed(arrays, orders[c], states[c]) for c in range(count)]),
        )

    def finish(self, arrays: LookUps, checkpoint: Checkpoint = NO_CHECKPOINT) -> None:
        """Make the draws that are left."""
        saved = time.monotonic()
        while self.done < self.settings.burn_in + self.settings.draws:
            for c in range(self.settings.chains):
                self._draw(c, arrays)
            self.done += 1
            if time.monotonic() - saved > _SECONDS_BETWEEN_SAVES:
                checkpoint.save(self.arrays() | {"candidates": arrays.candidates})
                saved = time.monotonic()

    def _draw(self, c: int, arrays: LookUps) -> None:
        draw = self.done - self.settings.burn_in
        batch = draw * self.sums.shape[1] // self.settings.draws
        sums = self.sums[c, batch] if draw >= 0 else np.zeros_like(self.sums[c, 0])
        times = self.settings.moves(len(arrays.candidates))
        move(arrays, self.graphs[c], times, self.states[c], sums, self.accepted)
        if draw >= 0:
            self.chosen[c, draw] = self.graphs[c]
        if self.done % _CLIMB_EVERY == 0:
            top = climbed(arrays, order_of(arrays, self.graphs[c]), self.states[c])
            if _level(arrays, top) > _level(arrays, self.peaks[c]):
                self.peaks[c] = top

    def arrays(self) -> dict[str, np.ndarray]:
        """The state for a checkpoint."""
        names = ("states", "graphs", "chosen", "sums", "accepted", "peaks")
        return {name: getattr(self, name) for name in names} | {"done": np.array(self.done)}

    @classmethod
    def from_arrays(cls, settings: SampleSettings, arrays: State) -> ChainRun:
        """The inverse of `arrays`; other keys are ignored."""
        names = ("states", "graphs", "chosen", "sums", "accepted", "peaks")
        parts = {name: np.array(arrays[name]) for name in names}
        return cls(settings=settings, done=int(arrays["done"]), **parts)

    @property
    def acceptance(self) -> float:
        """The share of jumps of all variables that were accepted."""
        moves = self.settings.moves(self.graphs.shape[1])
        return float(self.accepted[0] / max(1, self.done * moves * self.settings.chains))

    def marginals(
        self, tables: FamilyTables, kept: list[int]
    ) -> tuple[Float[np.ndarray, "D D"], Float[np.ndarray, "D D"]]:
        """The probabilities of edges within the candidates from the chains `kept`, and their
        standard errors: from the spread of all batches of these chains, or from that of the chains
        where it is larger, as it is when a chain rarely crosses between modes."""
        n_batches = self.sums.shape[1]
        batch_of = np.arange(self.settings.draws) * n_batches // self.settings.draws
        counts = np.bincount(batch_of, minlength=n_batches)
        moves = self.settings.moves(tables.n_nodes)
        means = self.sums[kept] / (moves * counts)[:, None, None]
        by_chain = np.tensordot(counts / counts.sum(), means, axes=(0, 1))
        mean = by_chain.mean(axis=0)
        weights = (counts / counts.sum())[:, None, None] / len(kept)
        within = (weights * (means - mean) ** 2).sum(axis=(0, 1))
        within /= max(1, len(kept) * n_batches - 1)
        between = ((by_chain - mean) ** 2).mean(axis=0) / max(1, len(kept) - 1)
        error = np.sqrt(np.maximum(within, between))
        v, k = np.nonzero(tables.candidates >= 0)
        probabilities, errors = np.zeros((2, *tables.place.shape))
        probabilities[tables.candidates[v, k], v] = mean[v, k]
        errors[tables.candidates[v, k], v] = error[v, k]
        return probabilities, errors


def _level(arrays: LookUps, chosen: Int64[np.ndarray, " D"]) -> float:
    """Log posterior of a graph up to the constant of the tables."""
    return float(arrays.scores[np.arange(len(arrays.scores)), chosen].sum())
