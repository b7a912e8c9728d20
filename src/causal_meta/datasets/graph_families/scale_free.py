"""Scale-free graphs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from causal_meta import graphs, randomness
from causal_meta.conf.graph_laws import ScaleFree
from causal_meta.datasets.graph_families.law import GraphGenerator


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
