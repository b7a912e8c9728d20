"""Base of the laws over directed acyclic graphs: batched over tasks, task b depends on seeds[b]
alone; `adjacency[i, j] = 1` means i causes j.

Node numbers carry no information: every law ends in a random order or a random renumbering.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.graph_laws import GraphConfig
from causal_meta.conf.registry import implementation


class GraphGenerator(ABC):
    """A law over graphs. A new law needs a file with a subclass, its dataclass and its line in
    the registry.

    `path` names the place of the law inside nested mixtures, so that each mixture draws its parts
    by independent numbers.
    """

    def __init__(self, config: GraphConfig, path: tuple[str, ...] = ()) -> None:
        self.config = config

    @abstractmethod
    def __call__(self, seeds: Sequence[int], n_nodes: int) -> Float[Tensor, "B D D"]:
        """Acyclic graphs of 0 and 1, one per seed."""

    @property
    def group(self) -> tuple[object, ...]:
        """Laws of one class and equal groups are drawn in one call of `together`; a law is by
        default alone in its group."""
        return (id(self),)

    @classmethod
    def together(
        cls, laws: Sequence[Any], which: Int64[Tensor, " B"], seeds: Sequence[int], n_nodes: int
    ) -> Float[Tensor, "B D D"]:
        """Graphs of several laws of one group, task b by laws[which[b]]; each is the graph that its
        law draws alone."""
        adjacency: Tensor = laws[0](seeds, n_nodes)
        return adjacency

    @abstractmethod
    def expected_edges(self, n_nodes: int) -> float:
        """The mean number of edges of a graph with D nodes."""


def make_generator(config: GraphConfig, path: tuple[str, ...] = ()) -> GraphGenerator:
    """The law that `config` describes."""
    law: GraphGenerator = implementation(config)(config, path)
    return law


def values_of(
    laws: Sequence[Any], which: Int64[Tensor, " B"], value: Callable[[Any], float], dims: int
) -> Float[Tensor, "B ..."]:
    """A number of each task's law, with `dims` trailing dimensions of size 1."""
    return torch.tensor([value(law) for law in laws], dtype=torch.float32)[which].view(
        -1, *[1] * dims
    )


def earlier(seeds: Sequence[int], law: str, n_nodes: int) -> Bool[Tensor, "B D D"]:
    """Whether i comes before j in a uniformly random order of the nodes, drawn by numbers that
    depend on the name of the law."""
    place = randomness.permutations(seeds, ("graph", law, "order"), n_nodes)
    return place[:, :, None] < place[:, None, :]
