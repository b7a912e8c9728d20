"""What a law over directed acyclic graphs is: batched over tasks, task b depends on seeds[b] alone; `adjacency[i, j] = 1` means i causes j.

Node numbers carry no information: every law ends in a random order or a random renumbering.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.graph_laws import GraphConfig
from causal_meta.conf.registry import implementation


class GraphGenerator(ABC):
    """A law over graphs (seed 001 §4.1). A new law is a file with a subclass, its dataclass and its line in the registry.

    `path` names the place of the law inside nested mixtures, so that each mixture draws its parts by numbers of its own.
    """

    def __init__(self, config: GraphConfig, path: tuple[str, ...] = ()) -> None:
        self.config = config

    @abstractmethod
    def __call__(self, seeds: Sequence[int], n_nodes: int) -> Tensor:
        """Float32 [B, D, D] of 0 and 1, acyclic."""

    @abstractmethod
    def expected_edges(self, n_nodes: int) -> float:
        """The mean number of edges of a graph with D nodes."""


def make_generator(config: GraphConfig, path: tuple[str, ...] = ()) -> GraphGenerator:
    """The law that `config` describes."""
    law: GraphGenerator = implementation(config)(config, path)
    return law


def earlier(seeds: Sequence[int], law: str, n_nodes: int) -> Tensor:
    """Bool [B, D, D]: whether i comes before j in a uniformly random order of the nodes, by numbers of the law's own."""
    place = randomness.permutations(seeds, ("graph", law, "order"), n_nodes)
    return place[:, :, None] < place[:, None, :]
