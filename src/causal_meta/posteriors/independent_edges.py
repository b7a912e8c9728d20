"""Independent edges: one Bernoulli variable for each ordered pair of variables."""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from jaxtyping import Bool, Float, Int8
from torch import Tensor
from torch.nn import functional

from causal_meta.posteriors.graph_posterior import (
    GraphPosterior,
    check_one_graph_per_task,
    check_shapes,
    or_fixed,
    pair_mask,
)


class IndependentEdges(GraphPosterior):
    """log p(A) = sum over i != j of log Bernoulli(A_ij; sigmoid(logits_ij)).

    Exact about marginals; it knows no correlations between edges, and its samples can have cycles.

    Args:
        logits: log odds of each edge; the diagonal and padded entries are ignored; infinite logits
            are certain edges.
        node_mask: True at real variables.

    Raises:
        ValueError: other shapes, or NaN at real edges.

    >>> posterior = IndependentEdges(torch.zeros(1, 3, 3), torch.ones(1, 3, dtype=torch.bool))
    >>> round(float(posterior.entropy()), 4)  # six fair coins: 6 log 2
    4.1589
    """

    type_name = "independent_edges"
    shapes: ClassVar = {"logits": "B D D"}
    padding: ClassVar = {"logits": -torch.inf}

    def __init__(self, logits: Float[Tensor, "B D D"], node_mask: Bool[Tensor, "B D"]) -> None:
        check_shapes(logits, node_mask, "logits", self.shapes["logits"])
        self.node_mask = node_mask.to(torch.bool)
        self._pairs = pair_mask(self.node_mask)
        if torch.isnan(logits[self._pairs]).any():
            raise ValueError(
                "The logits hold NaN at real edges; the model that gave them has diverged."
            )
        self.logits = torch.where(self._pairs, logits, torch.full_like(logits, -torch.inf))

    @classmethod
    def from_probabilities(
        cls, probabilities: Float[Tensor, "B D D"], node_mask: Bool[Tensor, "B D"]
    ) -> Self:
        """From edge probabilities in [0, 1]; raises ValueError outside."""
        if not bool(((probabilities >= 0) & (probabilities <= 1)).all()):
            raise ValueError("Edge probabilities must lie between 0 and 1; some do not.")
        return cls(torch.logit(probabilities), node_mask)

    @property
    def edge_probabilities(self) -> Float[Tensor, "B D D"]:
        """sigmoid(logits)."""
        return torch.sigmoid(self.logits)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Int8[Tensor, "B n D D"]:
        """Independent draws of every edge."""
        generator = or_fixed(generator)
        batch, nodes, _ = self.logits.shape
        uniform = torch.rand((batch, n, nodes, nodes), generator=generator, device=generator.device)
        p = self.edge_probabilities.unsqueeze(1).to(generator.device, torch.float32)
        return (uniform < p).to(torch.int8)

    def log_prob(self, adjacency: Float[Tensor, "B D D"]) -> Float[Tensor, " B"]:
        """Sum of the edges' log probabilities in nats; -inf for a graph with a self-loop."""
        return independent_log_prob(self.logits, adjacency, self._pairs)

    def entropy(self) -> Float[Tensor, " B"]:
        """Sum of the edges' binary entropies in nats."""
        return independent_entropy(self.logits, self._pairs)

    def pooled(self) -> Self:
        """The mean over parts of the edges' log odds: logit p_ij = (1/B) sum_b logit p_ij(b), a
        geometric mean of odds."""
        finite = torch.where(torch.isfinite(self.logits), self.logits, 0.0)
        return type(self)(finite.mean(dim=0, keepdim=True), self.node_mask[:1])


def independent_log_prob(
    logits: Float[Tensor, "B D D"],
    adjacency: Float[Tensor, "B D D"],
    pairs: Bool[Tensor, "B D D"],
) -> Float[Tensor, " B"]:
    """Log probability of a graph whose edges are independent; -inf for one with a self-loop."""
    check_one_graph_per_task(adjacency, pairs)
    has_edge = adjacency.to(logits.device) > 0.5
    terms = functional.logsigmoid(torch.where(has_edge, logits, -logits))
    total = torch.where(pairs, terms, torch.zeros_like(terms)).sum(dim=(-2, -1))
    looped = torch.diagonal(has_edge, dim1=-2, dim2=-1).any(dim=-1)
    return total.masked_fill(looped, -torch.inf)


def independent_entropy(
    logits: Float[Tensor, "B D D"], pairs: Bool[Tensor, "B D D"]
) -> Float[Tensor, " B"]:
    """Sum of the binary entropies of independent edges in nats."""
    terms = torch.special.entr(torch.sigmoid(logits)) + torch.special.entr(torch.sigmoid(-logits))
    return torch.where(pairs, terms, torch.zeros_like(terms)).sum(dim=(-2, -1))
