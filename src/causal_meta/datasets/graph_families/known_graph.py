"""One graph that is known."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta import graphs, randomness
from causal_meta.conf.edge_lists import parse_edge
from causal_meta.conf.graph_laws import KnownGraph
from causal_meta.datasets.graph_families.law import GraphGenerator


class KnownGraphGenerator(GraphGenerator):
    """The configured graph under a uniformly random renumbering. Raises ValueError for another
    number of nodes than it has."""

    config: KnownGraph

    def __init__(self, config: KnownGraph, path: tuple[str, ...] = ()) -> None:
        super().__init__(config, path)
        number = {name: i for i, name in enumerate(config.nodes)}
        self.adjacency = torch.zeros(len(number), len(number))
        for cause, effect in map(parse_edge, config.edges):
            self.adjacency[number[cause], number[effect]] = 1.0

    def expected_edges(self, n_nodes: int) -> float:
        return float(len(self.config.edges))

    def __call__(self, seeds: Sequence[int], n_nodes: int) -> Float[Tensor, "B D D"]:
        if n_nodes != len(self.adjacency):
            raise ValueError(
                f"known_graph has {len(self.adjacency)} nodes, not {n_nodes}; ask for "
                f"{len(self.adjacency)}."
            )
        order = randomness.permutations(seeds, ("graph", "known_graph", "order"), n_nodes)
        return graphs.permute(self.adjacency.expand(len(seeds), -1, -1), order)
