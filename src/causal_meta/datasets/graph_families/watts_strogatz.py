"""Small worlds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.graph_laws import WattsStrogatz
from causal_meta.datasets.graph_families.law import GraphGenerator, earlier, values_of


def lattice(side: int, dim: int, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """The ends u, v int64 [E] of the edges of a periodic lattice of side^dim nodes: pairs at most
    `neighbours` steps along the axes apart.

    Sorted by their distance, then by u; v lies in the positive direction from u. In one dimension v
    = u + 1, then v = u + 2, …

    >>> [ends.tolist() for ends in lattice(4, 1, 1)]
    [[0, 1, 2, 3], [1, 2, 3, 0]]
    """
    place = np.stack(np.unravel_index(np.arange(side**dim), (side,) * dim), axis=-1)
    forward = (place[None] - place[:, None]) % side  # [u, v, axis]
    offset = np.where(2 * forward <= side, forward, forward - side)
    steps = np.abs(offset).sum(axis=-1)
    axis = (offset != 0).argmax(axis=-1)
    positive = np.take_along_axis(offset, axis[..., None], axis=-1)[..., 0] > 0
    u, v = np.nonzero(positive & (steps <= neighbours))
    order = np.argsort(steps[u, v], kind="stable")
    u, v = u[order], v[order]
    # half a round away: both directions are positive
    first = np.unique(np.minimum(u, v) * side**dim + np.maximum(u, v), return_index=True)[1]
    return u[np.sort(first)], v[np.sort(first)]


class WattsStrogatzGenerator(GraphGenerator):
    """Watts & Strogatz (1998) on a lattice of one or more dimensions, directed by a uniformly
    random order or by that of the lattice.

    The edges (u, v) of the lattice, nearest first, are visited in turn; with probability `rewire`
    an edge gets another end, uniform among the nodes that u is not joined to (if there are none it
    stays). A lattice with more than D nodes is thinned to D of them, uniformly. Where the ring has
    2 neighbours + 1 nodes or fewer, all pairs are joined.
    """

    config: WattsStrogatz

    def __init__(self, config: WattsStrogatz, path: tuple[str, ...] = ()) -> None:
        super().__init__(config, path)
        self._lattices: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def _lattice(self, n_nodes: int) -> tuple[int, np.ndarray, np.ndarray]:
        """The number of nodes of the lattice and the ends of its edges."""
        side = 1
        while side**self.config.dim < n_nodes:
            side += 1
        if side not in self._lattices:
            self._lattices[side] = lattice(side, self.config.dim, self.config.neighbours)
        return side**self.config.dim, *self._lattices[side]

    def expected_edges(self, n_nodes: int) -> float:
        """Rewiring keeps the number of edges, and an edge survives the thinning when both its ends
        do."""
        nodes, u, _ = self._lattice(n_nodes)
        return len(u) * n_nodes * (n_nodes - 1) / max(1, nodes * (nodes - 1))

    @property
    def group(self) -> tuple[object, ...]:
        return (self.config.dim, self.config.neighbours, self.config.order)

    def __call__(self, seeds: Sequence[int], n_nodes: int) -> Float[Tensor, "B D D"]:
        return self.together([self], torch.zeros(len(seeds), dtype=torch.int64), seeds, n_nodes)

    @classmethod
    def together(
        cls,
        laws: Sequence[WattsStrogatzGenerator],
        which: Tensor,
        seeds: Sequence[int],
        n_nodes: int,
    ) -> Tensor:
        nodes, u, v = laws[0]._lattice(n_nodes)
        joined = np.zeros((len(seeds), nodes, nodes), dtype=bool)
        joined[:, u, v] = joined[:, v, u] = joined[:, range(nodes), range(nodes)] = True
        rewire = values_of(laws, which, lambda law: law.config.rewire, 1)
        if rewire.any():
            numbers = randomness.uniforms(
                seeds, ("graph", "watts_strogatz", "rewiring"), (2, len(u))
            )
            _rewire(joined, u, v, (numbers[:, 0] < rewire).numpy(), numbers[:, 1].numpy())
        kept = randomness.permutations(seeds, ("graph", "watts_strogatz", "kept"), nodes)[
            :, :n_nodes
        ]
        ends = (
            torch.from_numpy(joined)
            .gather(1, kept[:, :, None].expand(-1, -1, nodes))
            .gather(2, kept[:, None, :].expand(-1, n_nodes, -1))
        )
        forward = (
            earlier(seeds, "watts_strogatz", n_nodes)
            if laws[0].config.order == "random"
            else kept[:, :, None] < kept[:, None, :]
        )
        return (ends & forward).to(torch.float32)


def _rewire(
    joined: np.ndarray, u: np.ndarray, v: np.ndarray, moved: np.ndarray, number: np.ndarray
) -> None:
    """Carry out, in place, the rewiring of the edges `moved` bool [B, E], one after another in
    every task, all tasks at once.

    `joined` bool [B, V, V], contiguous; a node counts as joined to itself. `number` [B, E] in (0,
    1) chooses the new end.
    """
    nodes = joined.shape[1]
    count = moved.sum(axis=1)
    # those with most to do first, so that the ones still at work are a slice
    tasks = np.argsort(-count, kind="stable")
    edges = np.argsort(~moved[tasks], axis=1, kind="stable")
    share = np.take_along_axis(number[tasks], edges, axis=1)
    from_a, to_old = u[edges], v[edges]
    still = np.searchsorted(-count[tasks], -np.arange(count.max(initial=0)), side="left")
    rows, cells, first = joined.reshape(-1, nodes), joined.reshape(-1), tasks * nodes
    for step, active in enumerate(still):
        a, old, base = from_a[:active, step], to_old[:active, step], first[:active]
        row = base + a
        # free nodes up to each
        so_far = np.logical_not(rows.take(row, axis=0)).cumsum(axis=1, dtype=np.int32)
        some = so_far[:, -1]
        chosen = np.minimum((share[:active, step] * some).astype(np.int32), some - 1)
        new = np.where(some > 0, (so_far <= chosen[:, None]).sum(axis=1), old)
        cells[row * nodes + old] = cells[(base + old) * nodes + a] = False
        cells[row * nodes + new] = cells[(base + new) * nodes + a] = True
