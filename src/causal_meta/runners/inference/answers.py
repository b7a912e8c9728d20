"""The answer for one table: a posterior over graphs, and what follows from it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int8

from causal_meta.datasets.real import Table
from causal_meta.graphs import cpdag
from causal_meta.models.bayesian.total_effects import TotalEffects, total_effects
from causal_meta.posteriors import GraphPosterior
from causal_meta.posteriors.optimal_graph import optimal_graph
from causal_meta.posteriors.pooled_graphs import PooledGraphs
from causal_meta.randomness import generator
from causal_meta.runners.evaluation.eval_metrics import acyclic, posterior_metrics

if TYPE_CHECKING:
    import networkx
    import pandas as pd


@dataclass(frozen=True)
class Discovery:
    """The answer for one table.

    Args:
        posterior: the posterior of the one table (B = 1).
        graphs: draws from it.
        table: the table with its D column names.
        model_id: the method, run or model that answered.
        seed: of the draws, and of the parts of a long table.
        warnings: sentences to be read before the answer.
        truth: the true graph, if it is known; `metrics` compares the answer with it.
        method: what answered, in words.
        others: the answers of further methods for the same table.
    """

    posterior: GraphPosterior
    graphs: Int8[np.ndarray, "S D D"]
    table: Table
    model_id: str
    seed: int
    warnings: tuple[str, ...] = ()
    truth: Int8[np.ndarray, "D D"] | None = None
    method: str = ""
    others: tuple[Discovery, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The variables' names."""
        return self.table.columns

    @property
    def probabilities(self) -> Float[np.ndarray, "D D"]:
        """Entry (i, j) is the probability that i causes j directly."""
        return self.posterior.edge_probabilities[0].to(torch.float64).numpy()

    @property
    def edge_probabilities(self) -> pd.DataFrame:
        """`probabilities` with names: the row causes the column."""
        return self._named(self.probabilities)

    @property
    def edges(self) -> pd.DataFrame:
        """Every ordered pair as cause, effect, probability, the most probable first; with several
        methods also the probability by each of them."""
        table = self._pairs(self.probabilities)
        for other in self.others:
            table[other.method] = [
                other.edge_probabilities.loc[cause, effect]
                for cause, effect in zip(table["cause"], table["effect"], strict=True)
            ]
        return table

    @property
    def graph(self) -> Int8[np.ndarray, "D D"]:
        """The acyclic graph of least expected structural Hamming distance: the one to name if one
        must be named."""
        return optimal_graph(self.probabilities)

    @property
    def cpdag(self) -> Int8[np.ndarray, "D D"]:
        """The completed partially directed graph of `graph`: an undirected edge, with 1 in both
        directions, is one whose direction no independence decides."""
        return cpdag(torch.from_numpy(self.graph)).numpy()

    @functools.cached_property
    def effects(self) -> TotalEffects:
        """Total causal effects, linear, averaged over graphs, per unit of the cause; the
        probability that a variable acts on another at all is their `ancestor`."""
        set_cells = self.table.intervened
        return total_effects(
            self.table.x,
            self.graphs[acyclic(self.graphs)],
            generator(self.seed, "effects"),
            None if set_cells is None else ~set_cells,
        )

    @property
    def total_effects(self) -> pd.DataFrame:
        """Every ordered pair as cause, effect, probability (that the cause acts on the effect,
        directly or through others), mean, low and high of the total effect; the most probable
        first."""
        effects = self.effects
        table = self._pairs(effects.ancestor)
        names = {name: i for i, name in enumerate(self.columns)}
        cause = [names[name] for name in table["cause"]]
        effect = [names[name] for name in table["effect"]]
        for name in ("mean", "low", "high"):
            table[name] = getattr(effects, name)[cause, effect]
        return table

    @property
    def members(self) -> dict[str, Float[np.ndarray, "D D"]]:
        """The edge probabilities of each member of a pooled answer, by its name; empty for others.
        Members of one name (on different rows) are averaged."""
        if not isinstance(self.posterior, PooledGraphs):
            return {}
        names = self.posterior.diagnostics.members
        probabilities = self.posterior.members[0].numpy()
        return {
            name: np.mean([p for p, n in zip(probabilities, names, strict=True) if n == name], 0)
            for name in dict.fromkeys(names)
        }

    @property
    def acyclic_share(self) -> float:
        """Share of the sampled graphs that are acyclic."""
        return float(acyclic(self.graphs).mean())

    @functools.cached_property
    def metrics(self) -> dict[str, float | None] | None:
        """Every metric against the truth; None without one."""
        if self.truth is None:
            return None
        log_prob = float(self.posterior.log_prob(torch.from_numpy(self.truth)[None])[0])
        return posterior_metrics(self.graphs, self.probabilities, self.truth, log_prob)

    def to_networkx(self, threshold: float = 0.0) -> networkx.DiGraph:
        """A directed graph whose edges carry `probability`; those at or below `threshold` are left
        out."""
        return self.posterior.to_networkx(0, list(self.columns), threshold)

    def export(self, folder: str | Path) -> Path:
        """Write the answer's files into `folder`: see `answer_files.export`."""
        from causal_meta.runners.inference.answer_files import export

        return export(self, folder)

    def _named(self, matrix: Float[np.ndarray, "D D"]) -> pd.DataFrame:
        import pandas as pd

        names = list(self.columns)
        return pd.DataFrame(matrix, index=pd.Index(names, name="cause"), columns=pd.Index(names))

    def _pairs(self, matrix: Float[np.ndarray, "D D"]) -> pd.DataFrame:
        """Every ordered pair as cause, effect, probability, the largest first."""
        import pandas as pd

        cause, effect = np.nonzero(~np.eye(len(matrix), dtype=bool))
        order = np.lexsort((effect, cause, -matrix[cause, effect]))
        names = np.array(self.columns, dtype=object)
        table = {
            "cause": names[cause[order]],
            "effect": names[effect[order]],
            "probability": matrix[cause[order], effect[order]],
        }
        return pd.DataFrame(table)
