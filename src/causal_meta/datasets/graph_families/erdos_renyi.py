"""Erdős–Rényi graphs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.datasets.graph_families.law import GraphGenerator, values_of


class ErdosRenyiGenerator(GraphGenerator):
    """Each pair of a uniformly random causal order is an edge independently with p = min(1, 2
    edges_per_node / (D - 1))."""

    config: ErdosRenyi

    def edge_probability(self, n_nodes: int) -> float:
        """p of one pair."""
        return min(1.0, 2.0 * self.config.edges_per_node / max(1, n_nodes - 1))

    def expected_edges(self, n_nodes: int) -> float:
        return self.edge_probability(n_nodes) * n_nodes * (n_nodes - 1) / 2

    @property
    def group(self) -> tuple[object, ...]:
        return ()

    def __call__(self, seeds: Sequence[int], n_nodes: int) -> Float[Tensor, "B D D"]:
        return self.together([self], torch.zeros(len(seeds), dtype=torch.int64), seeds, n_nodes)

    @classmethod
    def together(
        cls, laws: Sequence[ErdosRenyiGenerator], which: Tensor, seeds: Sequence[int], n_nodes: int
    ) -> Tensor:
        place = randomness.permutations(seeds, ("graph", "order"), n_nodes)
        earlier = place[:, :, None] < place[:, None, :]
        p = values_of(laws, which, lambda law: law.edge_probability(n_nodes), 2)
        return (
            (randomness.uniforms(seeds, ("graph", "edges"), (n_nodes, n_nodes)) < p) & earlier
        ).to(torch.float32)
