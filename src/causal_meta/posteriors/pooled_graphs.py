"""Pooled graphs: a mixture with fixed weights of several posteriors over the same graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from causal_meta.posteriors.drawn_graphs import DrawnGraphs
from causal_meta.posteriors.graph_posterior import check_shapes


class PooledGraphs(DrawnGraphs):
    """The linear pool p(A) = sum over m of w_m p_m(A) of M members: posteriors under different
    assumptions, or from different rows. Its marginals are the weighted means of the members'.

    A mixture with weights by evidence lets one wrong assumption decide alone when it is wrong by
    thousands of nats; fixed weights bound the loss by -log w_m of the best member (Stone 1961,
    "The opinion pool").

    Args:
        graphs: draws from the pool, as for `DrawnGraphs`.
        members: the edge probabilities of each member.
        weights: at least 0, their sum 1 in every task.
        resolution: as for `DrawnGraphs`.
        node_mask: True at real variables.

    Raises:
        ValueError: other shapes or values.
    """

    type_name = "pooled_graphs"
    shapes: ClassVar = {
        "graphs": "B S D D",
        "members": "B M D D",
        "weights": "B M",
        "resolution": "B",
    }
    padding: ClassVar = {"graphs": 0, "members": 0.0, "weights": 0.0, "resolution": 0.0}

    def __init__(
        self,
        graphs: Int[Tensor, "B S D D"],
        members: Float[Tensor, "B M D D"],
        weights: Float[Tensor, "B M"],
        resolution: Float[Tensor, " B"],
        node_mask: Bool[Tensor, "B D"],
    ) -> None:
        check_shapes(members, node_mask, "members' probabilities", self.shapes["members"])
        ones = torch.ones((), dtype=weights.dtype)
        if bool((weights < 0).any()) or not torch.allclose(weights.sum(1), ones, atol=1e-6):
            raise ValueError("The weights of the members must be at least 0 with sum 1.")
        pooled = (weights[:, :, None, None] * members).sum(dim=1).clamp(max=1.0)
        super().__init__(graphs, pooled, resolution, node_mask)
        self.members, self.weights = members, weights

    @property
    def disagreement(self) -> Float[Tensor, "B D D"]:
        """The standard deviation over members, with their weights, of each edge's probability."""
        deviation = self.members - self.probabilities[:, None]
        return (self.weights[:, :, None, None] * deviation.square()).sum(dim=1).sqrt()

    @classmethod
    def pool(
        cls,
        posteriors: Sequence[DrawnGraphs],
        weights: Sequence[float],
        n_draws: int,
        generator: torch.Generator,
    ) -> Self:
        """The pool of posteriors of one task (B = 1). `n_draws` of their graphs are taken in
        proportion to the weights: the numbers from each differ by less than one from it."""
        w = torch.tensor(weights, dtype=torch.float64)
        w = w / w.sum()
        start = torch.rand((), generator=generator, dtype=torch.float64)
        points = (torch.arange(n_draws, dtype=torch.float64) + start) / n_draws
        member = torch.searchsorted(torch.cumsum(w, 0), points).clamp(max=len(w) - 1)
        counts = torch.bincount(member, minlength=len(w)).tolist()
        graphs = torch.cat(
            [
                one.sample(count, generator)
                for one, count in zip(posteriors, counts, strict=True)
                if count
            ],
            dim=1,
        )
        return cls(
            graphs,
            torch.stack([one.probabilities.to(torch.float64) for one in posteriors], dim=1),
            w[None],
            torch.stack([one.resolution for one in posteriors]).amin(dim=0),
            posteriors[0].node_mask,
        )
