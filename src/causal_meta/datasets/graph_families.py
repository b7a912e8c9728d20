"""Laws over directed acyclic graphs, batched over tasks; task b depends on seeds[b] alone. `adjacency[i, j] = 1` means i causes j.

Node numbers carry no information: every law ends in a random order or a random renumbering.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from causal_meta import graphs, randomness
from causal_meta.conf.data import ErdosRenyi, GraphConfig, GraphMixture, ScaleFree
from causal_meta.conf.registry import implementation
from causal_meta.datasets.mixtures import draw_parts, tasks_by_part


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


class ErdosRenyiGenerator(GraphGenerator):
    """Each pair of a uniformly random causal order is an edge independently with p = min(1, 2 edges_per_node / (D - 1))."""

    config: ErdosRenyi

    def edge_probability(self, n_nodes: int) -> float:
        """p of one pair."""
        return min(1.0, 2.0 * self.config.edges_per_node / max(1, n_nodes - 1))

    def expected_edges(self, n_nodes: int) -> float:
        return self.edge_probability(n_nodes) * n_nodes * (n_nodes - 1) / 2

    def __call__(self, seeds: Sequence[int], n_nodes: int) -> Tensor:
        place = randomness.permutations(seeds, ("graph", "order"), n_nodes)
        earlier = place[:, :, None] < place[:, None, :]
        chosen = randomness.uniforms(seeds, ("graph", "edges"), (n_nodes, n_nodes)) < self.edge_probability(n_nodes)
        return (chosen & earlier).to(torch.float32)


class ScaleFreeGenerator(GraphGenerator):
    """Preferential attachment (Barabási & Albert 1999), then a uniformly random renumbering.

    Node t joins min(t, edges_per_node) different earlier nodes, drawn one after another with probability ∝ (degree + 1)^power; the
    degree counts both directions and does not change while t is joining. The draw without replacement is the Gumbel top-k (Vieira
    2014; Kool, van Hoof & Welling 2019). `hubs="causes"`: edges lead from the node joined to t; `"effects"`: from t to the node joined.
    """

    config: ScaleFree

    def expected_edges(self, n_nodes: int) -> float:
        return float(sum(min(t, self.config.edges_per_node) for t in range(n_nodes)))

    def __call__(self, seeds: Sequence[int], n_nodes: int) -> Tensor:
        gumbel = -torch.log(-torch.log(randomness.uniforms(seeds, ("graph", "attachment"), (n_nodes, n_nodes))))
        joined = torch.zeros(len(seeds), n_nodes, n_nodes)  # [b, t, s]: t joined the earlier s
        degree = torch.zeros(len(seeds), n_nodes)
        for t in range(1, n_nodes):
            score = self.config.power * torch.log1p(degree[:, :t]) + gumbel[:, t, :t]
            chosen = score.topk(min(t, self.config.edges_per_node), dim=-1).indices
            joined[:, t].scatter_(1, chosen, 1.0)
            degree += joined[:, t]
            degree[:, t] = chosen.shape[-1]
        adjacency = joined if self.config.hubs == "effects" else joined.mT
        return graphs.permute(adjacency, randomness.permutations(seeds, ("graph", "order"), n_nodes))


class MixtureGenerator(GraphGenerator):
    """One of the named parts for each task."""

    def __init__(self, config: GraphMixture, path: tuple[str, ...] = ()) -> None:
        super().__init__(config, path)
        self.names = ("graph part", *path)
        self.weights = [part.weight for part in config.parts.values()]
        self.parts = [make_generator(part.graph, (*path, name)) for name, part in config.parts.items()]

    def expected_edges(self, n_nodes: int) -> float:
        total = sum(weight * part.expected_edges(n_nodes) for weight, part in zip(self.weights, self.parts, strict=True))
        return total / sum(self.weights)

    def __call__(self, seeds: Sequence[int], n_nodes: int) -> Tensor:
        out = torch.empty(len(seeds), n_nodes, n_nodes)
        for part, tasks in tasks_by_part(draw_parts(seeds, self.names, self.weights, ())):
            out[tasks] = self.parts[part]([seeds[b] for b in tasks.tolist()], n_nodes)
        return out
