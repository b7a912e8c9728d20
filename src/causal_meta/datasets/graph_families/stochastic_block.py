"""Graphs of communities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.graph_laws import StochasticBlock
from causal_meta.datasets.graph_families.law import GraphGenerator, earlier, values_of

_DRAWS = 4096  # block sizes averaged over where the expected number of edges has no closed form


class StochasticBlockGenerator(GraphGenerator):
    """Stochastic block model (Holland, Laskey & Leinhardt 1983) on min(n_blocks, D) blocks,
    directed by a uniformly random order.

    A pair is an edge with probability p inside a block and damp * p between blocks. From
    `edges_per_node`, p = min(1, edges_per_node * D / (W + damp (T - W))), with W the pairs inside
    this graph's blocks and T = D (D-1) / 2, so every graph expects edges_per_node * D edges unless
    p reaches 1. Random blocks: the D nodes in random order are cut at n_blocks - 1 of the D - 1
    gaps, all cuts equally likely.
    """

    config: StochasticBlock

    def expected_edges(self, n_nodes: int) -> float:
        """Exact, except where random blocks make p reach 1 in some graphs only: then a mean over
        4,096 drawn sizes."""
        if (
            self.config.edges_per_node is None
            and self.config.p_within is not None
            and self.config.blocks == "random"
        ):
            inside = self._mean_pairs_within(n_nodes)
            return self.config.p_within * (
                inside + self.config.damp * (n_nodes * (n_nodes - 1) / 2 - inside)
            )
        seeds = randomness.seeds_of(
            0, "expected edges", start=0, count=_DRAWS if self.config.blocks == "random" else 1
        )
        which = torch.zeros(len(seeds), dtype=torch.int64)
        within, between = _pairs(_blocks([self], which, seeds, n_nodes))
        return float(
            (
                _probability([self], which, within, between, n_nodes)
                * (within + self.config.damp * between)
            ).mean()
        )

    def _mean_pairs_within(self, n_nodes: int) -> float:
        """E W of random blocks: a pair g gaps apart is in one block when no cut falls into the g
        gaps between."""
        cuts, gaps = min(self.config.n_blocks, n_nodes) - 1, n_nodes - 1
        together, mean = 1.0, 0.0
        for apart in range(1, n_nodes):
            # the gap added holds no cut, given that those before do not
            together *= max(0.0, 1.0 - cuts / (gaps - apart + 1))
            mean += (n_nodes - apart) * together
        return mean

    @property
    def group(self) -> tuple[object, ...]:
        return (self.config.blocks,)

    def __call__(self, seeds: Sequence[int], n_nodes: int) -> Float[Tensor, "B D D"]:
        return self.together([self], torch.zeros(len(seeds), dtype=torch.int64), seeds, n_nodes)

    @classmethod
    def together(
        cls,
        laws: Sequence[StochasticBlockGenerator],
        which: Tensor,
        seeds: Sequence[int],
        n_nodes: int,
    ) -> Tensor:
        block = _blocks(laws, which, seeds, n_nodes)
        inside = _probability(laws, which, *_pairs(block), n_nodes).to(torch.float32)[:, None, None]
        between = inside * values_of(laws, which, lambda law: law.config.damp, 2)
        block = block.gather(
            1, randomness.permutations(seeds, ("graph", "stochastic_block", "arrangement"), n_nodes)
        )
        u = randomness.uniforms(seeds, ("graph", "stochastic_block", "edges"), (n_nodes, n_nodes))
        chosen = u < torch.where(block[:, :, None] == block[:, None, :], inside, between)
        return (chosen & earlier(seeds, "stochastic_block", n_nodes)).to(torch.float32)


def _blocks(
    laws: Sequence[StochasticBlockGenerator], which: Tensor, seeds: Sequence[int], n_nodes: int
) -> Tensor:
    """Int64 [B, D]: the block of each place in the random arrangement."""
    place = torch.arange(n_nodes)
    count = torch.tensor([min(law.config.n_blocks, n_nodes) for law in laws])[which][:, None]
    if laws[0].config.blocks == "equal" or n_nodes == 1:
        return place * count // n_nodes
    most = int(count.max())
    cut = (
        randomness.permutations(seeds, ("graph", "stochastic_block", "sizes"), n_nodes - 1)[
            :, : most - 1
        ]
        + 1
    )
    # a cut that no place is beyond
    cut = torch.where(torch.arange(most - 1) < count - 1, cut, n_nodes)
    return (cut[:, None, :] <= place[:, None]).sum(dim=-1)


def _pairs(block: Tensor) -> tuple[Tensor, Tensor]:
    """Float64 [B]: the numbers of pairs within and between blocks."""
    sizes = torch.zeros(block.shape, dtype=torch.float64).scatter_add_(
        1, block, torch.ones(block.shape, dtype=torch.float64)
    )
    within = (sizes * (sizes - 1) / 2).sum(dim=1)
    return within, block.shape[1] * (block.shape[1] - 1) / 2 - within


def _probability(
    laws: Sequence[StochasticBlockGenerator],
    which: Tensor,
    within: Tensor,
    between: Tensor,
    n_nodes: int,
) -> Tensor:
    """Float64 [B]: p of a pair inside a block."""
    configs = [law.config for law in laws]
    fixed = torch.tensor(
        [-1.0 if config.p_within is None else config.p_within for config in configs],
        dtype=torch.float64,
    )[which]
    degree = torch.tensor(
        [2.0 if config.edges_per_node is None else config.edges_per_node for config in configs],
        dtype=torch.float64,
    )[which]
    damp = torch.tensor([config.damp for config in configs], dtype=torch.float64)[which]
    reached = (degree * n_nodes / (within + damp * between).clamp(min=1e-300)).clamp(max=1.0)
    return torch.where(fixed >= 0, fixed, reached)
