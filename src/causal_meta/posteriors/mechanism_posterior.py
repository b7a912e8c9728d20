"""Posteriors over mechanisms: how each variable arises from its parents."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class MechanismPosterior(ABC):
    """A distribution over the mechanisms of each of B tasks, conditional on a graph.

    It is known by its predictions: p(x | A, data) with the mechanisms integrated out, where A is
    one graph per task. Values are in the units of the rows that the method read. A variable that
    was set by an intervention contributes no factor.
    """

    @abstractmethod
    def log_predictive(
        self,
        x: Float[Tensor, "B N D"],
        adjacency: Float[Tensor, "B D D"],
        intervened: Bool[Tensor, "B N D"] | None = None,
    ) -> Float[Tensor, "B N"]:
        """Log predictive density of each new row in nats.

        Args:
            x: new rows.
            adjacency: one directed acyclic graph per task; `adjacency[i, j] = 1` means i causes j.
            intervened: the cells that were set; None for observational rows.
        """

    @abstractmethod
    def sample_rows(
        self, adjacency: Float[Tensor, "B D D"], n: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "B n D"]:
        """`n` rows per task from the predictive distribution, each with mechanisms of its own."""
