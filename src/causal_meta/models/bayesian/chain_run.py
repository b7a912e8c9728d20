"""The chains of a sample of structures: order MCMC, each draw a graph freed of the orders' bias."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from causal_meta.models.bayesian.family_tables import FamilyTables
from causal_meta.models.bayesian.graph_chains import corrected, drawn_graph
from causal_meta.models.bayesian.look_ups import LookUps
from causal_meta.models.bayesian.order_chains import OrderChains
from causal_meta.models.bayesian.order_search import best_parents, climbed

#: Nats by which a chain must be worse than the best one to be left out.
WORSE = 2.0
_BATCHES = 5  # parts of each chain from which Monte Carlo errors are estimated
_CLIMB_EVERY = 5  # draws between two ascents that look for a chain's best graph


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """How a sample of structures is made.

    Args:
        chains: Markov chains.
        draws: graphs drawn from each chain.
        n_candidates: usual number of candidate parents of a variable; up to 3 more where there is
            reason.
        max_parents: largest number of parents of a variable.
        rounds: largest number of refinements of the candidates.
        anneal: steps of annealing of each start, per variable.
        thin: transitions of an order between two draws, per variable.
        sweeps: transitions of each drawn graph that correct the bias of orders, per variable.
    """

    chains: int = 8
    draws: int = 125
    n_candidates: int = 10
    max_parents: int = 10
    rounds: int = 8
    anneal: int = 200
    thin: int = 10
    sweeps: int = 20

    @property
    def recorded(self) -> int:
        """Sweeps of each draw that enter the marginals."""
        return max(1, self.sweeps // 2)


@dataclass(eq=False)
class ChainRun:
    """The chains of a sample while they run: what is saved in a checkpoint.

    Attributes:
        chains: orders and random numbers.
        done: draws made of each chain.
        chosen: the graphs drawn, as bits of the candidates.
        sums: conditional probabilities of parents, summed over the draws of each batch.
        peaks: the best graph that each chain came upon, as bits of the candidates.
    """

    settings: SampleSettings
    chains: OrderChains
    done: int
    chosen: Int64[np.ndarray, "C T D"]
    sums: Float[np.ndarray, "C B D K"]
    peaks: Int64[np.ndarray, "C D"]

    @classmethod
    def begin(cls, arrays: LookUps, chains: OrderChains, settings: SampleSettings) -> ChainRun:
        """A run before its first draw."""
        n_nodes, width = arrays.candidates.shape
        count = settings.chains
        batches = min(_BATCHES, settings.draws)
        return cls(
            settings,
            chains,
            0,
            np.zeros((count, settings.draws, n_nodes), np.int64),
            np.zeros((count, batches, n_nodes, width)),
            np.stack([best_parents(arrays, order) for order in chains.orders]),
        )

    def finish(self, arrays: LookUps) -> None:
        """Make the draws that are left."""
        while self.done < self.settings.draws:
            for c in range(self.settings.chains):
                self._draw(c, arrays)
            self.done += 1

    def _draw(self, c: int, arrays: LookUps) -> None:
        settings = self.settings
        n_nodes = len(arrays.candidates)
        state = self.chains.states[c]
        self.chains.advance(c, arrays, settings.thin * n_nodes)
        graph = drawn_graph(arrays, self.chains.orders[c], state)
        batch = self.done * self.sums.shape[1] // settings.draws
        corrected(arrays, graph, state, settings.sweeps, settings.recorded, self.sums[c, batch])
        self.chosen[c, self.done] = graph
        if self.done % _CLIMB_EVERY == 0:
            top = climbed(arrays, self.chains.orders[c], state)
            if _level(arrays, top) > _level(arrays, self.peaks[c]):
                self.peaks[c] = top

    def marginals(
        self, tables: FamilyTables, kept: list[int]
    ) -> tuple[Float[np.ndarray, "D D"], Float[np.ndarray, "D D"]]:
        """The probabilities of edges within the candidates from the chains `kept`, and their
        standard errors from the spread of all batches of these chains."""
        n_batches = self.sums.shape[1]
        batch_of = np.arange(self.settings.draws) * n_batches // self.settings.draws
        counts = np.bincount(batch_of, minlength=n_batches) * self.settings.recorded
        means = self.sums[kept] / counts[:, None, None]
        weights = np.broadcast_to(counts / counts.sum() / len(kept), means.shape[:2])
        mean = (weights[..., None, None] * means).sum(axis=(0, 1))
        spread = (weights[..., None, None] * (means - mean) ** 2).sum(axis=(0, 1))
        error = np.sqrt(spread / max(1, len(kept) * n_batches - 1))
        v, k = np.nonzero(tables.candidates >= 0)
        probabilities, errors = np.zeros((2, *tables.place.shape))
        probabilities[tables.candidates[v, k], v] = mean[v, k]
        errors[tables.candidates[v, k], v] = error[v, k]
        return probabilities, errors


def _level(arrays: LookUps, chosen: Int64[np.ndarray, "*S D"]) -> Float[np.ndarray, "*S"]:
    """Log posterior of graphs up to the constant of the tables."""
    return arrays.scores[np.arange(len(arrays.scores)), chosen].sum(axis=-1)


def worse_chains(
    log_scores: Float[np.ndarray, "C T"], peaks: Float[np.ndarray, " C"]
) -> dict[int, float]:
    """The chains that stay in a worse mode: how many nats the best graph of each is below the best
    of all.

    A chain is one of them when both its best graph and the mean log posterior of its draws are more
    than `WORSE` nats below those of the chain with the best graph, the latter beyond twice the
    standard error of the difference (from batches of draws).
    """
    means = log_scores.mean(axis=1)
    parts = np.array_split(log_scores, min(_BATCHES, log_scores.shape[1]), axis=1)
    batches = np.stack([part.mean(axis=1) for part in parts])
    squared = batches.var(axis=0) / max(1, len(batches) - 1)
    top = int(np.argmax(peaks))
    bound = WORSE + 2 * np.sqrt(squared + squared[top])
    worse = (peaks < peaks[top] - WORSE) & (means < means[top] - bound)
    return {int(c): float(peaks[top] - peaks[c]) for c in np.flatnonzero(worse)}
