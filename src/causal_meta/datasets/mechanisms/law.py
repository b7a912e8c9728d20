"""Base of the laws over mechanisms: functions from the parents and the noise of a variable to its
value, drawn for all nodes of all tasks at once.

A law draws parameters with leading dimensions [B, D] (one entry per node) and applies them to any
selection of nodes. The parents of a node sit in K slots, by rising number, K the largest number of
parents in the batch; an empty slot has weight 0 everywhere. What is drawn for slot k does not
depend on K, so a task has the same functions in every batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from causal_meta.conf.mechanism_laws import MechanismConfig
from causal_meta.fixed_order import weighted_sum

Parameters = dict[str, Tensor]
Names = tuple[str | int, ...]


@dataclass(frozen=True, eq=False)
class Parents:
    """The parents of every node in K slots: `index` is 0 and `mask` is 0 in empty slots."""

    index: Int64[Tensor, "B D K"]
    mask: Float[Tensor, "B D K"]
    count: Int64[Tensor, "B D"]

    def select(self, tasks: Tensor) -> Parents:
        """The parents in some of the tasks."""
        return Parents(self.index[tasks], self.mask[tasks], self.count[tasks])


def parents_of(adjacency: Shaped[Tensor, "B D D"]) -> Parents:
    """The parents of every node, sorted by number; K is at least 1."""
    effects = adjacency.mT != 0  # [b, j, i]: i causes j
    count = effects.sum(dim=-1)
    width = max(1, int(count.max()) if count.numel() else 1)
    b, j, i = torch.nonzero(effects, as_tuple=True)
    slot = effects.cumsum(dim=-1)[b, j, i] - 1
    index = torch.zeros(*count.shape, width, dtype=torch.int64)
    index[b, j, slot] = i
    return Parents(index, (torch.arange(width) < count[..., None]).to(torch.float32), count)


class AppliedLaw(ABC):
    """A function from drawn parameters, inputs and noise to values."""

    # x = weight . parents + bias + noise_std e with parameters of these names: tables are then
    # solved at once
    affine: ClassVar[bool] = False
    # values of nodes that one call of `apply` should make: with their hidden units they fit a
    # second-level cache
    cells: ClassVar[int] = 1 << 15

    def __init__(self, config: MechanismConfig) -> None:
        self.config = config

    def pick(self, parameters: Parameters, row: Tensor, node: Tensor, width: int) -> Parameters:
        """The parameters [b, ...] of the nodes node[b] in rows row[b] of what was drawn; none of
        them has more than `width` parents."""
        return {name: value[row, node] for name, value in parameters.items()}

    @abstractmethod
    def apply(
        self,
        parameters: Parameters,
        inputs: Float[Tensor, "b K N"],
        noise: Float[Tensor, "b N"],
    ) -> Float[Tensor, "b N"]:
        """The values of b nodes from parameters [b, ...], their parents in slots, and their
        noise."""

    def location_scale(
        self, parameters: Parameters, inputs: Float[Tensor, "b K N"]
    ) -> tuple[Float[Tensor, "b N"], Float[Tensor, "b _"]] | None:
        """m and s > 0 (s may be [b, 1]) of a law x = m(parents) + s(parents) e; None
        where the noise enters in another way.

        Densities and the recovery of the noise from rows use it. Laws of this form override it;
        affine ones need not.
        """
        if not self.affine:
            return None
        mean = weighted_parents(parameters, inputs).add_(parameters["bias"][:, None])
        return mean, parameters["noise_std"][:, None]


def weighted_parents(
    parameters: Parameters, inputs: Float[Tensor, "b K N"]
) -> Float[Tensor, "b N"]:
    """w . x_pa of b nodes; 0 at a root."""
    return weighted_sum(parameters["weight"][:, : inputs.shape[1]], inputs)


class MechanismLaw(AppliedLaw):
    """A law over mechanisms. A new law is a file with a subclass, its dataclass and
    its line in the registry."""

    @abstractmethod
    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        """The parameters of all nodes, each [B, D, ...] unless `pick` reads another layout; task b
        depends on seeds[b] and its own graph alone."""


class WholeTableLaw(MechanismLaw):
    """A law whose values are not functions of one number of noise each: it makes whole tables, so a
    task has no other law beside it."""

    @property
    @abstractmethod
    def numbers_per_value(self) -> int:
        """How many numbers of noise a value takes."""

    @abstractmethod
    def tables(
        self,
        parameters: Parameters,
        parents: Parents,
        noise: Float[Tensor, "B N D numbers"],
        changes: tuple[int, Tensor, Tensor] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """The tables of B tasks; the last dimension of the noise has size `numbers_per_value`.

        `changes`: the interventions as `Interventions.columns` gives them.
        """
