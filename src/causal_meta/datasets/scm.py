"""Structural causal models: a graph, a mechanism at every node and independent noise; drawn one by one or batched over tasks.

A task depends on its seed alone. Row b of `sample_tasks(seeds)` has exactly the graph, parameters and noise of `sample_task(seeds[b])`; its
values agree to float rounding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from causal_meta import graphs, randomness
from causal_meta.conf.convert import to_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.ranges import IntRange
from causal_meta.datasets.graph_families import make_generator
from causal_meta.datasets.mechanisms import Mechanism, MechanismBatch, MechanismFactory
from causal_meta.datasets.noise import NoiseLaw, make_noise
from causal_meta.tasks import TaskBatch, full_batch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CHUNK = 1 << 18  # cells of tables made at once: few enough for the caches, enough to hide the cost of a call


def draw_range(config: IntRange, u: float) -> int:
    """The whole number of `config` at the quantile u in (0, 1): P(n) ∝ n^power for low <= n <= high.

    >>> [draw_range(IntRange(low=3, high=6), u) for u in (0.1, 0.3, 0.6, 0.9)]
    [3, 4, 5, 6]
    """
    if config.is_fixed:
        return config.low
    values = torch.arange(config.low, config.high + 1, dtype=torch.float64)
    mass = (values / config.low).pow(config.power).cumsum(0)
    return config.low + min(int(torch.searchsorted(mass, u * mass[-1], right=True)), len(values) - 1)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Tables are made on one thread, so that neither their bits nor their speed depend on the process they are made in."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class SCMFamily:
    """A distribution over structural causal models (seed 001 §3), composed of a law of graphs, of mechanisms and of noise.

    Attributes: `n_nodes` and `n_rows` (ranges), `sparsity_param` (expected edges per node at the largest number of nodes),
    `mechanism_proportions` (probability of each named part), `noise_type` (tag of the noise law).
    """

    def __init__(self, config: FamilyConfig) -> None:
        self.config = config
        self.generator = make_generator(config.graph)
        self.mechanism_factory = MechanismFactory(config.mechanisms, config.mechanism_mixing)
        self.noise = make_noise(config.noise)
        self.n_nodes, self.n_rows = config.n_nodes, config.n_rows
        self.sparsity_param = self.generator.expected_edges(config.n_nodes.high) / config.n_nodes.high
        self.mechanism_proportions = self.mechanism_factory.proportions
        self.noise_type = config.noise.kind

    def shapes(self, seeds: Sequence[int], names: tuple[str | int, ...] = ()) -> list[tuple[int, int]]:
        """(D, N) of each seed, from the numbers (seed, names..., "shape")."""
        if self.n_nodes.is_fixed and self.n_rows.is_fixed:
            return [(self.n_nodes.low, self.n_rows.low)] * len(seeds)
        numbers = randomness.uniforms(seeds, (*names, "shape"), (2,)).tolist()
        return [(draw_range(self.n_nodes, u), draw_range(self.n_rows, v)) for u, v in numbers]

    def sample_graphs(self, seeds: Sequence[int], n_nodes: int) -> Tensor:
        """Float32 [B, D, D]: the graphs of the tasks, without their mechanisms and tables."""
        with _one_thread():
            return self.generator(seeds, n_nodes)

    def sample_task(self, seed: int, n_nodes: int | None = None) -> SCMInstance:
        """The structural causal model of one seed; its size is drawn from (seed, "shape") unless given or fixed."""
        size, rows = self.shapes([seed])[0]
        adjacency = self.sample_graphs([seed], n_nodes or size)
        return SCMInstance(seed, self.mechanism_factory.draw([seed], adjacency), self.noise.law_of(seed), rows, to_plain(self.config))

    def sample_tasks(self, seeds: Sequence[int], n_rows: int | None = None, n_nodes: int | None = None, adjacency: Tensor | None = None) -> TaskBatch:
        """The tables of many seeds, as measured (not standardised). Sizes not given are each task's own, and the batch is padded.

        `adjacency` float32 [B, D, D]: graphs of these seeds that are there already (`sample_graphs`), which must then all have one size.
        Raises ValueError on no seeds.
        """
        if not len(seeds):
            raise ValueError("There are no seeds to draw tasks of; give at least one.")
        shapes = [(n_nodes or size, n_rows or rows) for size, rows in self.shapes(seeds)]
        with _one_thread():
            if len(set(shapes)) == 1:
                nodes, rows = shapes[0]
                graph = self.generator(seeds, nodes) if adjacency is None else adjacency
                return full_batch(self._tables(seeds, graph, rows), graph, seeds)
            return self._padded(seeds, shapes)

    def _tables(self, seeds: Sequence[int], adjacency: Tensor, n_rows: int) -> Tensor:
        """Float32 [B, N, D], some tasks at a time."""
        nodes = adjacency.shape[-1]
        out = torch.empty(len(seeds), n_rows, nodes)
        step = max(1, _CHUNK // (n_rows * nodes))
        for first in range(0, len(seeds), step):
            some = seeds[first : first + step]
            mechanisms = self.mechanism_factory.draw(some, adjacency[first : first + step])
            out[first : first + step] = mechanisms.rows(self.noise.sample(some, n_rows, nodes))
        return out

    def _padded(self, seeds: Sequence[int], shapes: list[tuple[int, int]]) -> TaskBatch:
        nodes, rows = max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)
        batch = full_batch(torch.zeros(len(seeds), rows, nodes), torch.zeros(len(seeds), nodes, nodes), seeds)
        assert batch.adjacency is not None
        for d, n in sorted(set(shapes)):
            tasks = [b for b, shape in enumerate(shapes) if shape == (d, n)]
            chosen = [seeds[b] for b in tasks]
            graph = self.generator(chosen, d)
            batch.adjacency[tasks, :d, :d] = graph
            batch.x[tasks, :n, :d] = self._tables(chosen, graph, n)
            batch.node_mask[tasks, d:] = False
            batch.row_mask[tasks, n:] = False
        return batch

    def plot_example(self, seed: int = 0) -> Figure:
        """The structural causal model of `seed`, drawn."""
        return self.sample_task(seed).visualize()


class SCMInstance:
    """One structural causal model (seed 001 §2.3).

    Attributes: `adjacency_matrix` float32 [D, D], `mechanisms` (one callable per node), `topological_order` (list of node numbers), `seed`.
    """

    def __init__(self, seed: int, batch: MechanismBatch, noise: NoiseLaw, n_rows: int, config: dict[str, Any]) -> None:
        self.seed = seed
        self.adjacency_matrix = batch.adjacency[0]
        self.mechanisms: list[Mechanism] = [batch.mechanism(0, j) for j in range(len(self.adjacency_matrix))]
        self.topological_order: list[int] = graphs.topological_order(self.adjacency_matrix).tolist()
        self.n_rows = n_rows
        self._batch, self._noise, self._config = batch, noise, config

    def noise(self, n_samples: int, seed: int | None = None) -> Tensor:
        """Float32 [N, D]: the exogenous noise behind `sample(n_samples, seed)`."""
        rows_seed = self.seed if seed is None else randomness.seeds_of(self.seed, "rows", start=seed, count=1)[0]
        return self._noise.sample([rows_seed], n_samples, len(self.adjacency_matrix))[0]

    def sample(self, n_samples: int, seed: int | None = None) -> Tensor:
        """Float32 [N, D]: rows as measured, not standardised.

        Without `seed` the rows are those that `SCMFamily.sample_tasks` puts into a batch; any `seed` gives further, independent rows.
        """
        with _one_thread():
            return self._batch.rows(self.noise(n_samples, seed)[None])[0].contiguous()

    def metadata(self) -> dict[str, Any]:
        """What was drawn, in plain values."""
        return {
            "seed": self.seed,
            "n_nodes": len(self.adjacency_matrix),
            "n_edges": int(self.adjacency_matrix.sum()),
            "graph_hash": graphs.graph_hash(self.adjacency_matrix),
            "topological_order": self.topological_order,
            "mechanisms": [mechanism.name for mechanism in self.mechanisms],
            "noise": self._noise.config.kind,
            "family": self._config,
        }

    def visualize(self) -> Figure:
        """The graph as a matplotlib figure, every node with the name of its mechanism."""
        from causal_meta import drawing

        names = [f"{j} {mechanism.name}" for j, mechanism in enumerate(self.mechanisms)]
        return drawing.graph(self.adjacency_matrix.numpy(), names, title=f"seed {self.seed}")
