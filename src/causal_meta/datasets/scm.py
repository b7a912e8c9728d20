"""Structural causal models: a graph, a mechanism at every node and independent noise; drawn one by
one or batched over tasks.

A task depends on its seed alone. Row b of `sample_tasks(seeds)` is, bit for bit, the table of
`sample_task(seeds[b])`, whatever the other tasks of the batch, the number of threads, ranks and
workers: sums run in a fixed order (`causal_meta.fixed_order`). Between processors, and between
versions of torch and NumPy, graphs are equal and values agree to float rounding, which steep
mechanisms enlarge; `docs/reproducibility.md` has figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.convert import to_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.ranges import IntRange
from causal_meta.datasets.graph_families import make_generator
from causal_meta.datasets.instances import SCMInstance
from causal_meta.datasets.interventions import InterventionLaw
from causal_meta.datasets.mechanisms import MechanismFactory
from causal_meta.datasets.model_law import ModelLaw
from causal_meta.datasets.noise import make_noise
from causal_meta.datasets.path_noise import PathNoise
from causal_meta.datasets.threads import one_thread
from causal_meta.tasks import TaskBatch, full_batch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SCMFamily", "SCMInstance", "draw_range"]

# cells of tables made at once: few enough for the caches, enough to hide the cost of a call
_CHUNK = 1 << 18


def draw_range(config: IntRange, u: float) -> int:
    """The whole number of `config` at the quantile u in (0, 1): P(n) ∝ n^power for low <= n <=
    high.

    >>> [draw_range(IntRange(low=3, high=6), u) for u in (0.1, 0.3, 0.6, 0.9)]
    [3, 4, 5, 6]
    """
    if config.is_fixed:
        return config.low
    values = torch.arange(config.low, config.high + 1, dtype=torch.float64)
    mass = (values / config.low).pow(config.power).cumsum(0)
    return config.low + min(
        int(torch.searchsorted(mass, u * mass[-1], right=True)), len(values) - 1
    )


class SCMFamily:
    """A distribution over structural causal models, composed of a law of graphs, of mechanisms and
    of noise.

    Attributes: `n_nodes` and `n_rows` (ranges), `sparsity_param` (expected edges per node at the
    largest number of nodes), `mechanism_proportions` (probability of each named part), `noise_type`
    (tag of the noise law), `models.redraws` (how many models were drawn again because their values
    overflowed; the rule is in `model_law`).
    """

    def __init__(self, config: FamilyConfig) -> None:
        self.config = config
        self.generator = make_generator(config.graph)
        self.mechanism_factory = MechanismFactory(
            config.mechanisms, config.mechanism_mixing, config.root_mechanism
        )
        self.noise = make_noise(config.noise)
        if self.mechanism_factory.numbers_per_value > 1:
            self.noise = PathNoise(self.noise, self.mechanism_factory.numbers_per_value)
        self.models = ModelLaw(config, self.mechanism_factory, self.noise)
        self.interventions = (
            None if config.interventions is None else InterventionLaw(config.interventions)
        )
        self.n_nodes, self.n_rows = config.n_nodes, config.n_rows
        self.sparsity_param = (
            self.generator.expected_edges(config.n_nodes.high) / config.n_nodes.high
        )
        self.mechanism_proportions = self.mechanism_factory.proportions
        self.noise_type = config.noise.kind

    def shapes(
        self, seeds: Sequence[int], names: tuple[str | int, ...] = ()
    ) -> list[tuple[int, int]]:
        """(D, N) of each seed, drawn from (seed, names..., "shape"). Interventional rows that a
        family adds to its tables are not counted."""
        if self.n_nodes.is_fixed and self.n_rows.is_fixed:
            return [(self.n_nodes.low, self.n_rows.low)] * len(seeds)
        numbers = randomness.uniforms(seeds, (*names, "shape"), (2,)).tolist()
        return [(draw_range(self.n_nodes, u), draw_range(self.n_rows, v)) for u, v in numbers]

    def _row_counts(self, seeds: Sequence[int], n_rows: Sequence[int]) -> list[tuple[int, int]]:
        """(rows of the table, interventional ones) of each seed."""
        return (
            [(rows, 0) for rows in n_rows]
            if self.interventions is None
            else self.interventions.rows(seeds, n_rows)
        )

    def sample_graphs(self, seeds: Sequence[int], n_nodes: int) -> Float[Tensor, "B D D"]:
        """The graphs of the tasks, without their mechanisms and tables."""
        with one_thread():
            return self.generator(seeds, n_nodes)

    def sample_task(self, seed: int, n_nodes: int | None = None) -> SCMInstance:
        """The structural causal model of one seed.

        Its number of variables is `n_nodes`, or the fixed one of the family, or else drawn from
        (seed, "shape"). On the same processor its `table()` equals, bit for bit, the table of that
        seed in `sample_tasks`.
        """
        size, rows = self.shapes([seed])[0]
        total, interventional = self._row_counts([seed], [rows])[0]
        adjacency = self.sample_graphs([seed], n_nodes or size)
        with one_thread():
            model, drawn_from = self.models.draw([seed], adjacency), seed
            if len(self.models.wild(model, [seed])):
                drawn_from = self.models.settle([seed], adjacency)[0]
                model = self.models.draw([drawn_from], adjacency)
        return SCMInstance(
            seed,
            model,
            self.noise.law_of(drawn_from),
            total,
            to_plain(self.config),
            drawn_from=drawn_from,
            interventions=self.interventions,
            n_interventional=interventional,
        )

    def sample_tasks(
        self,
        seeds: Sequence[int],
        n_rows: int | None = None,
        n_nodes: int | None = None,
        adjacency: Float[Tensor, "B D D"] | None = None,
    ) -> TaskBatch:
        """The tables of many seeds, as measured (not standardised).

        A task's bits do not depend on the other seeds; on another processor its values agree to
        float rounding, which steep mechanisms enlarge.

        Args:
            seeds: one per task.
            n_rows, n_nodes: sizes of all tasks; without them each task has a size of its own, and
                the batch is padded. Interventional rows that a family adds come on top.
            adjacency: the graphs of these seeds, if they have been drawn before by `sample_graphs`;
                the tasks must then have one size.

        Raises:
            ValueError: no seeds.
        """
        if not len(seeds):
            raise ValueError("There are no seeds to draw tasks of; give at least one.")
        drawn = self.shapes(seeds)
        counts = self._row_counts(seeds, [n_rows or rows for _, rows in drawn])
        shapes = [(n_nodes or size, *count) for (size, _), count in zip(drawn, counts, strict=True)]
        with one_thread():
            if len(set(shapes)) > 1:
                return self._padded(seeds, shapes, adjacency)
            nodes, rows, interventional = shapes[0]
            batch = full_batch(
                torch.empty(len(seeds), rows, nodes),
                self.generator(seeds, nodes) if adjacency is None else adjacency,
                seeds,
            )
            self._fill(batch, interventional)
            return batch

    def _fill(self, batch: TaskBatch, interventional: int) -> None:
        """Put rows and, if there are any, interventions into a batch of one size that has its
        graphs and seeds; some tasks at a time."""
        assert batch.adjacency is not None
        seeds = batch.seeds.tolist()
        # parameters take memory too, where there are few rows
        step = max(1, _CHUNK // (max(64, batch.n_rows) * batch.n_nodes))
        done = (
            self.interventions.draw(seeds, batch.n_rows, interventional, batch.n_nodes)
            if self.interventions
            else None
        )
        if done is not None and len(done):
            batch.intervened = done.mask(len(batch), batch.n_rows, batch.n_nodes)
        for first in range(0, len(seeds), step):
            some, place = seeds[first : first + step], slice(first, first + step)
            graph = batch.adjacency[place]
            drawn = None if done is None else done.part(first, first + step)
            model, noise = self.models.sample(some, graph, batch.n_rows)
            x = model.rows(noise, drawn)
            wild = self.models.wild(model, some, x[:, : batch.n_rows - interventional])
            if len(wild):
                settled = self.models.settle([some[b] for b in wild.tolist()], graph[wild])
                calm, noise = self.models.sample(settled, graph[wild], batch.n_rows)
                x[wild] = calm.rows(noise, None if drawn is None else drawn.select(wild))
            batch.x[place] = x

    def _padded(
        self, seeds: Sequence[int], shapes: list[tuple[int, int, int]], adjacency: Tensor | None
    ) -> TaskBatch:
        nodes, rows = max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)
        batch = full_batch(
            torch.zeros(len(seeds), rows, nodes), torch.zeros(len(seeds), nodes, nodes), seeds
        )
        assert batch.adjacency is not None
        for d, n, interventional in sorted(set(shapes)):
            tasks = [b for b, shape in enumerate(shapes) if shape == (d, n, interventional)]
            chosen = [seeds[b] for b in tasks]
            graph = self.generator(chosen, d) if adjacency is None else adjacency[tasks]
            part = full_batch(torch.empty(len(chosen), n, d), graph, chosen)
            self._fill(part, interventional)
            batch.adjacency[tasks, :d, :d] = graph
            batch.x[tasks, :n, :d] = part.x
            batch.intervened[tasks, :n, :d] = part.intervened
            batch.node_mask[tasks, d:] = False
            batch.row_mask[tasks, n:] = False
        return batch

    def metadata(self) -> dict[str, Any]:
        """The attributes and the whole configuration of the family, in plain values that JSON can
        hold."""
        return {
            "n_nodes": [self.n_nodes.low, self.n_nodes.high],
            "n_rows": [self.n_rows.low, self.n_rows.high],
            "sparsity_param": self.sparsity_param,
            "mechanism_proportions": self.mechanism_proportions,
            "noise_type": self.noise_type,
            "interventions": None
            if self.interventions is None
            else to_plain(self.interventions.config),
            "config": to_plain(self.config),
        }

    def plot_example(self, seed: int = 0) -> Figure:
        """The structural causal model of `seed`, drawn."""
        return self.sample_task(seed).visualize()
