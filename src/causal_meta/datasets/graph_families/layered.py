"""Graphs of layers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.graph_laws import Layered
from causal_meta.datasets.graph_families.law import GraphGenerator


class LayeredGenerator(GraphGenerator):
    """min(n_layers, D) layers of nearly equal size, filled at random; a node causes nodes of the
    next layer with probability p each and nodes of later layers with probability skip * p each,
    never its own layer.

    p = min(1, edges_per_node * D / (pairs of neighbouring layers + skip * other pairs of layers)).
    """

    config: Layered

    def _odds(self, n_nodes: int) -> Tensor:
        """Float64 [D, D]: 1 for places in neighbouring layers, `skip` for places further apart, 0
        elsewhere; cause first."""
        layer = torch.arange(n_nodes) * min(self.config.n_layers, n_nodes) // n_nodes
        apart = layer[None, :] - layer[:, None]
        return (apart == 1).to(torch.float64) + self.config.skip * (apart > 1)

    def _probabilities(self, n_nodes: int) -> Tensor:
        odds = self._odds(n_nodes)
        return odds * min(
            1.0, self.config.edges_per_node * n_nodes / max(float(odds.sum()), 1e-300)
        )

    def expected_edges(self, n_nodes: int) -> float:
        return float(self._probabilities(n_nodes).sum())

    def __call__(self, seeds: Sequence[int], n_nodes: int) -> Float[Tensor, "B D D"]:
        place = randomness.permutations(seeds, ("graph", "layered", "order"), n_nodes)
        p = self._probabilities(n_nodes).to(torch.float32)[place[:, :, None], place[:, None, :]]
        return (
            randomness.uniforms(seeds, ("graph", "layered", "edges"), (n_nodes, n_nodes)) < p
        ).to(torch.float32)
