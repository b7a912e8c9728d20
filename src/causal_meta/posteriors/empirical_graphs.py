"""Empirical graphs: a finite set of equally likely graphs."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int, Int8
from torch import Tensor

from causal_meta.posteriors.graph_posterior import (
    Arrays,
    GraphPosterior,
    check_shapes,
    or_fixed,
    pair_mask,
    to_numpy,
)
from causal_meta.posteriors.independent_edges import independent_entropy, independent_log_prob


class EmpiricalGraphs(GraphPosterior):
    """S equally likely graphs per task (bootstrap replicates, particles, draws of a chain).

    Marginals are frequencies and `sample` draws graphs again with replacement. A finite set gives
    most graphs no mass at all, so `log_prob` and `entropy` speak of another, smoothed distribution
    with independent edges: with k of S graphs having an edge its probability is (k + 1) / (S + 2),
    Laplace's rule, over the off-diagonal pairs. It is never below 1 / (S + 2), knows no
    correlations, and depends on S: compare scores of equal S.

    Args:
        graphs: 0 and 1, without self-loops and without edges at padded variables.
        node_mask: True at real variables.

    Raises:
        ValueError: other shapes or values.

    >>> graphs = torch.tensor([[[[0, 1], [0, 0]], [[0, 1], [0, 0]]]])
    >>> EmpiricalGraphs(graphs, torch.ones(1, 2, dtype=torch.bool)).edge_probabilities.tolist()
    [[[0.0, 1.0], [0.0, 0.0]]]
    """

    type_name = "empirical_graphs"
    shapes: ClassVar = {"graphs": "B S D D"}
    padding: ClassVar = {"graphs": 0}
    representatives = "the particles of the posterior"

    def __init__(self, graphs: Int[Tensor, "B S D D"], node_mask: Bool[Tensor, "B D"]) -> None:
        check_shapes(graphs, node_mask, "graphs", self.shapes["graphs"])
        if graphs.shape[1] == 0:
            raise ValueError("No graph came; an empirical posterior needs at least one per task.")
        if not bool(((graphs == 0) | (graphs == 1)).all()):
            raise ValueError("The graphs must hold 0 and 1 only; other numbers came.")
        self.node_mask = node_mask.to(torch.bool)
        self._pairs = pair_mask(self.node_mask)
        self.graphs = graphs.to(torch.int8)
        if bool(self.graphs.any(dim=1)[~self._pairs].any()):
            raise ValueError(
                "The graphs have self-loops or edges at padded variables; these entries must be 0."
            )

    @property
    def edge_probabilities(self) -> Float[Tensor, "B D D"]:
        """Frequency of every edge, float32."""
        return self.graphs.to(torch.float32).mean(dim=1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Int8[Tensor, "B n D D"]:
        """`n` of the stored graphs with replacement."""
        generator = or_fixed(generator)
        batch, stored = self.graphs.shape[:2]
        drawn = torch.randint(stored, (batch, n), generator=generator, device=generator.device)
        graphs = self.graphs.to(generator.device)
        return graphs[torch.arange(batch, device=generator.device).unsqueeze(1), drawn]

    def representative_graphs(
        self, count: int, generator: torch.Generator | None = None
    ) -> Int8[Tensor, "B S D D"]:
        """All stored graphs, whatever `count` is."""
        return self.graphs

    @property
    def smoothing(self) -> float:
        """1 / (S + 2)."""
        return 1 / (self.graphs.shape[1] + 2)

    def _smoothed_logits(self) -> Float[Tensor, "B D D"]:
        count = self.graphs.sum(dim=1, dtype=torch.float64)
        return torch.log(count + 1) - torch.log(self.graphs.shape[1] - count + 1)

    def log_prob(self, adjacency: Float[Tensor, "B D D"]) -> Float[Tensor, " B"]:
        """Log probability under the smoothed independent edges, in nats, float64."""
        return independent_log_prob(self._smoothed_logits(), adjacency, self._pairs)

    def entropy(self) -> Float[Tensor, " B"]:
        """Entropy of the smoothed independent edges in nats, float64."""
        return independent_entropy(self._smoothed_logits(), self._pairs)

    def arrays(self) -> Arrays:
        """`type`, `graphs` uint8 [B, S, D, D], `node_mask` [B, D]."""
        return super().arrays() | {"graphs": to_numpy(self.graphs.to(torch.uint8))}
