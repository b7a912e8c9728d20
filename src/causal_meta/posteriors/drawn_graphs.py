"""Drawn graphs: draws of a posterior whose edge probabilities are known better than from them."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor

from causal_meta.posteriors.empirical_graphs import EmpiricalGraphs
from causal_meta.posteriors.graph_posterior import (
    GraphPosterior,
    check_shapes,
    pair_mask,
)
from causal_meta.posteriors.independent_edges import independent_entropy, independent_log_prob


class DrawnGraphs(GraphPosterior):
    """S equally likely draws per task with edge probabilities of their own: exact ones, or averages
    of conditional probabilities (Rao-Blackwell estimates), which a finite set of draws only
    approximates.

    `sample` draws the stored graphs again with replacement. As for `EmpiricalGraphs`, `log_prob`
    and `entropy` speak of a distribution with independent edges, whose probabilities are here the
    stored ones, kept within [resolution, 1 - resolution].

    Args:
        graphs: 0 and 1, without self-loops and without edges at padded variables.
        probabilities: the marginal probability of every edge; the diagonal and padded entries are
            ignored.
        resolution: the least probability that the method can tell from 0, above 0 and at most 1/2;
            1 / (S + 2) is that of S independent draws.
        node_mask: True at real variables.

    Raises:
        ValueError: other shapes or values.

    >>> graphs = torch.tensor([[[[0, 1], [0, 0]], [[0, 0], [0, 0]]]])
    >>> p = torch.tensor([[[0.0, 0.6], [0.1, 0.0]]])
    >>> one = DrawnGraphs(graphs, p, torch.tensor([1e-3]), torch.ones(1, 2, dtype=torch.bool))
    >>> round(float(one.log_prob(graphs[:, 0])[0].exp()), 3)  # 0.6 (1 - 0.1)
    0.54
    """

    type_name = "drawn_graphs"
    shapes: ClassVar = {"graphs": "B S D D", "probabilities": "B D D", "resolution": "B"}
    representatives = "the stored draws from the posterior"
    padding: ClassVar = {"graphs": 0, "probabilities": 0.0, "resolution": 0.0}

    def __init__(
        self,
        graphs: Int[Tensor, "B S D D"],
        probabilities: Float[Tensor, "B D D"],
        resolution: Float[Tensor, " B"],
        node_mask: Bool[Tensor, "B D"],
    ) -> None:
        drawn = EmpiricalGraphs(graphs, node_mask)  # checks the graphs
        check_shapes(probabilities, node_mask, "edge probabilities", "B D D")
        self.node_mask = drawn.node_mask
        self._pairs = pair_mask(self.node_mask)
        real = probabilities[self._pairs]
        if not bool(((real >= 0) & (real <= 1)).all()):
            raise ValueError("Edge probabilities must lie between 0 and 1; some do not.")
        if not bool(((resolution > 0) & (resolution <= 0.5)).all()):
            raise ValueError("The resolution of the probabilities must lie in (0, 1/2].")
        self.graphs, self._drawn = drawn.graphs, drawn
        self.probabilities = torch.where(self._pairs, probabilities, 0.0)
        self.resolution = resolution

    @property
    def edge_probabilities(self) -> Float[Tensor, "B D D"]:
        """The stored marginal probabilities."""
        return self.probabilities

    def sample(self, n: int, generator: torch.Generator | None = None) -> Int8[Tensor, "B n D D"]:
        """`n` of the stored graphs with replacement."""
        return self._drawn.sample(n, generator)

    def representative_graphs(
        self, count: int, generator: torch.Generator | None = None
    ) -> Int8[Tensor, "B S D D"]:
        """All stored graphs, whatever `count` is."""
        return self.graphs

    @property
    def smoothing(self) -> float:
        """The largest resolution of all tasks."""
        return float(self.resolution.max())

    def _logits(self) -> Float[Tensor, "B D D"]:
        least = self.resolution[:, None, None].to(torch.float64)
        p = self.probabilities.to(torch.float64)
        return torch.logit(torch.minimum(torch.maximum(p, least), 1 - least))

    def log_prob(self, adjacency: Float[Tensor, "B D D"]) -> Float[Tensor, " B"]:
        """Log probability of one graph per task in nats under independent edges with the stored
        probabilities; -inf for a graph with a self-loop."""
        return independent_log_prob(self._logits(), adjacency, self._pairs)

    def entropy(self) -> Float[Tensor, " B"]:
        """Entropy in nats of the distribution with independent edges."""
        return independent_entropy(self._logits(), self._pairs)
