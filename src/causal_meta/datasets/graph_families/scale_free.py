"""Scale-free graphs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta import graphs, randomness
from causal_meta.conf.graph_laws import ScaleFree
from causal_meta.datasets.graph_families.law import GraphGenerator, values_of


class ScaleFreeGenerator(GraphGenerator):
    """Preferential attachment (Barabási & Albert 1999), then a uniformly random renumbering.

    Node t joins min(t, edges_per_node) different earlier nodes, drawn one after another with
    probability ∝ (degree + 1)^power; the degree counts both directions and does not change while t
    is joining. The draw without replacement is the Gumbel top-k (Vieira 2014; Kool, van Hoof &
    Welling 2019). `hubs="causes"`: edges lead from the node joined to t; `"effects"`: from t to the
    node joined.
    """

    config: ScaleFree

    def expected_edges(self, n_nodes: int) -> float:
        return float(sum(min(t, self.config.edges_per_node) for t in range(n_nodes)))

    @property
    def group(self) -> tuple[object, ...]:
        return ()

    def __call__(self, seeds: Sequence[int], n_nodes: int) -> Float[Tensor, "B D D"]:
        return self.together([self], torch.zeros(len(seeds), dtype=torch.int64), seeds, n_nodes)

    @classmethod
    def together(
        cls, laws: Sequence[ScaleFreeGenerator], which: Tensor, seeds: Sequence[int], n_nodes: int
    ) -> Tensor:
        power = values_of(laws, which, lambda law: law.config.power, 1)
        count = values_of(laws, which, lambda law: law.config.edges_per_node, 1)
        most = int(count.max())
        used = (torch.arange(most) < count).to(torch.float32)
        gumbel = -torch.log(
            -torch.log(randomness.uniforms(seeds, ("graph", "attachment"), (n_nodes, n_nodes)))
        )
        joined = torch.zeros(len(seeds), n_nodes, n_nodes)  # [b, t, s]: t joined the earlier s
        degree = torch.zeros(len(seeds), n_nodes)
        for t in range(1, n_nodes):
            score = power * torch.log1p(degree[:, :t]) + gumbel[:, t, :t]
            chosen = score.topk(min(t, most), dim=-1).indices
            joined[:, t].scatter_(1, chosen, used[:, : chosen.shape[1]])
            degree += joined[:, t]
            degree[:, t] = count[:, 0].clamp(max=t)
        to_causes = values_of(laws, which, lambda law: law.config.hubs == "causes", 2) != 0
        adjacency = torch.where(to_causes, joined.mT, joined)
        return graphs.permute(
            adjacency, randomness.permutations(seeds, ("graph", "order"), n_nodes)
        )
