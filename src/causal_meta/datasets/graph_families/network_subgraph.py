"""Pieces of a known network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta import graphs, randomness
from causal_meta.conf.edge_lists import node_names, parse_edge
from causal_meta.conf.graph_laws import NetworkSubgraph
from causal_meta.conf.setting import ConfigError
from causal_meta.datasets.graph_families.law import GraphGenerator, earlier

_DRAWS = 128  # graphs averaged over for the expected number of edges
_MOST_NODES = 20_000  # of a network, whose adjacency is held as D^2 bytes


class NetworkSubgraphGenerator(GraphGenerator):
    """A connected subgraph of D nodes of the configured network with all its edges, made acyclic
    and renumbered at random.

    Growing: the first node is uniform among those (with effects, if `start="cause"`) whose
    connected part has D nodes; then one neighbour of the nodes so far is added at a time, uniform
    among all of them, or, with `top` < 1, among the floor(top * number) + 1 with the largest gain
    of modularity and those level with the last of them. The gain of v, on the undirected network of
    m links, is links(v, S) - degree(v) * degree(S) / 2m - degree(v)² / 4m (Newman 2006); Marbach et
    al. (2009) cut benchmark networks out of real ones in this way, with top = 0.2.

    Cycles: an edge that lies on no directed cycle of the subgraph stays. An edge that does stays if
    it agrees with a uniformly random order of the nodes; of two opposite edges exactly one stays.
    Self-loops are left out.
    """

    config: NetworkSubgraph

    def __init__(self, config: NetworkSubgraph, path: tuple[str, ...] = ()) -> None:
        super().__init__(config, path)
        names = node_names(config.edges)
        if len(names) > _MOST_NODES:
            raise ConfigError(
                f"network_subgraph has {len(names)} nodes; at most {_MOST_NODES} fit, so give a "
                "part of the network."
            )
        number = {name: i for i, name in enumerate(names)}
        ends = torch.tensor(
            [[number[name] for name in parse_edge(edge)] for edge in config.edges]
        ).T
        self.directed = torch.zeros(len(names), len(names), dtype=torch.bool)
        self.directed[ends[0], ends[1]] = True
        self.directed.fill_diagonal_(False)
        self.joined = self.directed | self.directed.T
        self.degree = self.joined.sum(dim=1)
        self.part_size = self._part_sizes()
        self._means: dict[int, float] = {}

    def _part_sizes(self) -> Tensor:
        """Int64 [V]: the number of nodes of each node's connected part."""
        part = torch.arange(len(self.joined))
        ends = self.joined.nonzero().T
        while True:
            lower = part.scatter_reduce(0, ends[0], part[ends[1]], "amin")
            lower = lower[lower]
            if torch.equal(lower, part):
                return torch.bincount(part, minlength=len(part))[part]
            part = lower

    def expected_edges(self, n_nodes: int) -> float:
        """The mean over 128 graphs of fixed seeds: there is no closed form."""
        if n_nodes not in self._means:
            drawn = self(randomness.seeds_of(0, "expected edges", start=0, count=_DRAWS), n_nodes)
            self._means[n_nodes] = float(drawn.sum(dim=(1, 2)).mean())
        return self._means[n_nodes]

    def __call__(self, seeds: Sequence[int], n_nodes: int) -> Float[Tensor, "B D D"]:
        number = randomness.uniforms(seeds, ("graph", "network_subgraph", "walk"), (n_nodes,))
        nodes = self._grown(number, n_nodes)
        nodes = nodes.gather(
            1, randomness.permutations(seeds, ("graph", "network_subgraph", "order"), n_nodes)
        )
        edges = self.directed[nodes[:, :, None], nodes[:, None, :]]
        on_cycle = graphs.ancestors(edges).mT != 0  # the effect leads back to the cause
        return (edges & (~on_cycle | earlier(seeds, "network_subgraph", n_nodes))).to(torch.float32)

    def _grown(self, number: Tensor, n_nodes: int) -> Tensor:
        """Int64 [B, D]: the nodes of each subgraph in the order of their choice, by one number in
        (0, 1) each."""
        can_start = self.part_size >= n_nodes
        start = torch.nonzero(
            can_start & self.directed.any(dim=1) if self.config.start == "cause" else can_start
        )[:, 0]
        if not len(start):
            raise ValueError(
                f"The network has no connected part of {n_nodes} nodes (its largest has "
                f"{int(self.part_size.max())}); ask for fewer."
            )
        task = torch.arange(len(number))
        nodes = torch.empty(number.shape, dtype=torch.int64)
        nodes[:, 0] = start[(number[:, 0] * len(start)).to(torch.int64)]
        inside = torch.zeros(len(number), len(self.joined), dtype=torch.bool)
        around = torch.zeros(inside.shape, dtype=torch.bool)
        links = torch.zeros(inside.shape, dtype=torch.int32) if self.config.top < 1 else None
        for step in range(1, n_nodes):
            reached = self.joined[nodes[:, step - 1]]
            inside[task, nodes[:, step - 1]] = True
            around |= reached
            candidates = around & ~inside
            if links is not None:
                links += reached
                candidates = self._best(candidates, links, self.degree[nodes[:, :step]].sum(dim=1))
            so_far = candidates.cumsum(dim=1, dtype=torch.int32)
            chosen = (number[:, step] * so_far[:, -1]).to(torch.int32)
            nodes[:, step] = torch.searchsorted(so_far, chosen[:, None], right=True)[:, 0]
        return nodes

    def _best(self, candidates: Tensor, links: Tensor, degree: Tensor) -> Tensor:
        """The candidates bool [B, V] with the largest gain of modularity; in whole numbers: 4m
        times the gain."""
        gain = 2 * self.degree.sum() * links.to(torch.int64) - self.degree * (
            2 * degree[:, None] + self.degree
        )
        gain = torch.where(candidates, gain, torch.iinfo(torch.int64).min)
        number = candidates.sum(dim=1, keepdim=True)
        count = torch.minimum(
            torch.floor(self.config.top * number + 1e-9).to(torch.int64) + 1, number
        )
        last = gain.topk(int(count.max()), dim=1).values.gather(1, count - 1)
        return candidates & (gain >= last)
