"""Mixtures of graph laws."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta.conf.graph_laws import GraphMixture
from causal_meta.datasets.graph_families.law import GraphGenerator, make_generator
from causal_meta.datasets.mixtures import draw_parts


class MixtureGenerator(GraphGenerator):
    """One of the named parts for each task. Parts that differ in numbers only are drawn in one
    call."""

    def __init__(self, config: GraphMixture, path: tuple[str, ...] = ()) -> None:
        super().__init__(config, path)
        self.names = ("graph part", *path)
        self.weights = [part.weight for part in config.parts.values()]
        self.parts = [
            make_generator(part.graph, (*path, name)) for name, part in config.parts.items()
        ]
        groups: dict[tuple[object, ...], list[int]] = {}
        for number, law in enumerate(self.parts):
            groups.setdefault((type(law), *law.group), []).append(number)
        self.groups = [
            (type(self.parts[members[0]]), [self.parts[number] for number in members])
            for members in groups.values()
        ]
        place = {
            number: (g, k)
            for g, members in enumerate(groups.values())
            for k, number in enumerate(members)
        }
        self.group_of, self.place_of = torch.tensor(
            [place[number] for number in range(len(self.parts))]
        ).T

    def expected_edges(self, n_nodes: int) -> float:
        total = sum(
            weight * part.expected_edges(n_nodes)
            for weight, part in zip(self.weights, self.parts, strict=True)
        )
        return total / sum(self.weights)

    def __call__(self, seeds: Sequence[int], n_nodes: int) -> Float[Tensor, "B D D"]:
        out = torch.empty(len(seeds), n_nodes, n_nodes)
        part = draw_parts(seeds, self.names, self.weights, ())
        group, place = self.group_of[part], self.place_of[part]
        for number, (kind, laws) in enumerate(self.groups):
            tasks = torch.nonzero(group == number)[:, 0]
            if len(tasks):
                out[tasks] = kind.together(
                    laws, place[tasks], [seeds[b] for b in tasks.tolist()], n_nodes
                )
        return out
