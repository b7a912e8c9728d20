"""Erdős–Rényi graphs by exact number of edges."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.graph_laws import ErdosRenyiM
from causal_meta.datasets.graph_families.law import GraphGenerator
from causal_meta.datasets.ranges import draw_wholes


class ErdosRenyiMGenerator(GraphGenerator):
    """G(D, m) (Erdős & Rényi 1959), directed by a uniformly random order: a set of m pairs, all
    sets equally likely.

    m is drawn per task. Raises ValueError if D nodes have fewer than m pairs.
    """

    config: ErdosRenyiM

    def expected_edges(self, n_nodes: int) -> float:
        sizes = range(self.config.n_edges.low, self.config.n_edges.high + 1)
        weights = [(size / self.config.n_edges.low) ** self.config.n_edges.power for size in sizes]
        return sum(size * weight for size, weight in zip(sizes, weights, strict=True)) / sum(
            weights
        )

    def __call__(self, seeds: Sequence[int], n_nodes: int) -> Float[Tensor, "B D D"]:
        most, pairs = self.config.n_edges.high, torch.triu_indices(n_nodes, n_nodes, 1)
        if most > pairs.shape[1]:
            raise ValueError(
                f"erdos_renyi_m is to draw {most} edges, but {n_nodes} nodes have "
                f"{pairs.shape[1]} pairs; ask for fewer edges."
            )
        count = draw_wholes(self.config.n_edges, seeds, ("graph", "erdos_renyi_m", "count"), (1,))
        chosen = randomness.permutations(
            seeds, ("graph", "erdos_renyi_m", "edges"), pairs.shape[1]
        )[:, :most]
        node_at = randomness.permutations(seeds, ("graph", "erdos_renyi_m", "order"), n_nodes)
        cells = node_at.gather(1, pairs[0][chosen]) * n_nodes + node_at.gather(1, pairs[1][chosen])
        flat = torch.zeros(len(seeds), n_nodes * n_nodes)
        flat.scatter_(1, cells, (torch.arange(most) < count).to(torch.float32))
        return flat.view(-1, n_nodes, n_nodes)
