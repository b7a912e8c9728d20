"""Erdős–Rényi graphs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.datasets.graph_families.law import GraphGenerator


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
