"""Erdős–Rényi graphs by edge probability."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.graph_laws import ErdosRenyiP
from causal_meta.datasets.graph_families.law import GraphGenerator, earlier


class ErdosRenyiPGenerator(GraphGenerator):
    """G(D, p) (Gilbert 1959), directed by a uniformly random order: each of the D (D-1) / 2 pairs
    is an edge with probability p."""

    config: ErdosRenyiP

    def expected_edges(self, n_nodes: int) -> float:
        return self.config.edge_probability * n_nodes * (n_nodes - 1) / 2

    def __call__(self, seeds: Sequence[int], n_nodes: int) -> Float[Tensor, "B D D"]:
        chosen = (
            randomness.uniforms(seeds, ("graph", "erdos_renyi_p", "edges"), (n_nodes, n_nodes))
            < self.config.edge_probability
        )
        return (chosen & earlier(seeds, "erdos_renyi_p", n_nodes)).to(torch.float32)
