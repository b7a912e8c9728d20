"""Mixtures of graph laws."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from causal_meta.conf.graph_laws import GraphMixture
from causal_meta.datasets.graph_families.law import GraphGenerator, make_generator
from causal_meta.datasets.mixtures import draw_parts, tasks_by_part


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
