"""Graphs of communities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.graph_laws import StochasticBlock
from causal_meta.datasets.graph_families.law import GraphGenerator, earlier

_DRAWS = 4096  # block sizes averaged over where the expected number of edges has no closed form


class StochasticBlockGenerator(GraphGenerator):
    """Stochastic block model (Holland, Laskey & Leinhardt 1983) on min(n_blocks, D) blocks, directed by a uniformly random order.

    A pair is an edge with probability p inside a block and damp * p between blocks. From `edges_per_node`, p = min(1, edges_per_node * D /
    (W + damp (T - W))), with W the pairs inside this graph's blocks and T = D (D-1) / 2, so every graph expects edges_per_node * D edges
    unless p reaches 1. Random blocks: the D nodes in random order are cut at n_blocks - 1 of the D - 1 gaps, all cuts equally likely.
    """

    config: StochasticBlock

    def expected_edges(self, n_nodes: int) -> float:
        """Exact, except where random blocks make p reach 1 in some graphs only: then a mean over 4,096 drawn sizes."""
        block = self._blocks(randomness.seeds_of(0, "expected edges", start=0, count=_DRAWS if self.config.blocks == "random" else 1), n_nodes)
        within, between = self._pairs(block)
        probability = self._probability(within, between)
        if self.config.edges_per_node is None and self.config.p_within is not None and self.config.blocks == "random":
            inside = self._mean_pairs_within(n_nodes)
            return self.config.p_within * (inside + self.config.damp * (n_nodes * (n_nodes - 1) / 2 - inside))
        return float((probability * (within + self.config.damp * between)).mean())

    def _mean_pairs_within(self, n_nodes: int) -> float:
        """E W of random blocks: a pair g gaps apart is in one block when no cut falls into the g gaps between."""
        cuts, gaps = min(self.config.n_blocks, n_nodes) - 1, n_nodes - 1
        together, mean = 1.0, 0.0
        for apart in range(1, n_nodes):
            together *= max(0.0, 1.0 - cuts / (gaps - apart + 1))  # the gap added holds no cut, given that those before do not
            mean += (n_nodes - apart) * together
        return mean

    def _blocks(self, seeds: Sequence[int], n_nodes: int) -> Tensor:
        """Int64 [B, D]: the block of each place in the random arrangement."""
        count, place = min(self.config.n_blocks, n_nodes), torch.arange(n_nodes)
        if self.config.blocks == "equal" or count == 1:
            return (place * count // n_nodes).expand(len(seeds), n_nodes)
        cut = randomness.permutations(seeds, ("graph", "stochastic_block", "sizes"), n_nodes - 1)[:, : count - 1] + 1
        return (cut[:, None, :] <= place[:, None]).sum(dim=-1)

    def _pairs(self, block: Tensor) -> tuple[Tensor, Tensor]:
        """Float64 [B]: the numbers of pairs within and between blocks."""
        count, n_nodes = min(self.config.n_blocks, block.shape[1]), block.shape[1]
        sizes = torch.zeros(len(block), count, dtype=torch.float64).scatter_add_(1, block, torch.ones(block.shape, dtype=torch.float64))
        within = (sizes * (sizes - 1) / 2).sum(dim=1)
        return within, n_nodes * (n_nodes - 1) / 2 - within

    def _probability(self, within: Tensor, between: Tensor) -> Tensor:
        """Float64 [B]: p of a pair inside a block."""
        if self.config.p_within is not None:
            return torch.full_like(within, self.config.p_within)
        n_nodes = 0.5 + torch.sqrt(0.25 + 2 * (within + between))  # T = D (D-1) / 2, solved for D
        wanted = (2.0 if self.config.edges_per_node is None else self.config.edges_per_node) * n_nodes
        return (wanted / (within + self.config.damp * between).clamp(min=1e-300)).clamp(max=1.0)

    def __call__(self, seeds: Sequence[int], n_nodes: int) -> Tensor:
        block = self._blocks(seeds, n_nodes)
        probability = self._probability(*self._pairs(block)).to(torch.float32)[:, None, None]
        block = block.gather(1, randomness.permutations(seeds, ("graph", "stochastic_block", "arrangement"), n_nodes))
        same = block[:, :, None] == block[:, None, :]
        u = randomness.uniforms(seeds, ("graph", "stochastic_block", "edges"), (n_nodes, n_nodes))
        chosen = u < torch.where(same, probability, self.config.damp * probability)
        return (chosen & earlier(seeds, "stochastic_block", n_nodes)).to(torch.float32)
