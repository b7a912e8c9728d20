"""Endless streams of training batches and fixed sets of tasks.

Step s of the stream (base_seed, split) is the global batch of tasks sG .. (s+1)G - 1, G tasks per
step; the size of its tables comes from (base_seed, split, "shape", s). Rank r of R takes its slice
of every batch. DataLoader worker w of W makes every W-th step, and the loader takes one batch from
each worker in turn. So ranks, workers and restarts change neither the batches nor their order: on
one kind of processor every bit of a task is the same, on another its graph is the same and its
values agree to float rounding, which steep mechanisms enlarge (`docs/reproducibility.md`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from causal_meta import randomness
from causal_meta.datasets.reserved import Reserved
from causal_meta.datasets.scm import SCMFamily, draw_range
from causal_meta.datasets.task_cache import TaskCache
from causal_meta.datasets.task_registry import hashes_of
from causal_meta.graph_classes import Level
from causal_meta.tasks import Task, TaskBatch

__all__ = ["MetaFixedDataset", "MetaIterableDataset", "draw_range"]

_REDRAWS = 100
_MOST_WORKERS = 256


class MetaIterableDataset(IterableDataset[TaskBatch | Tensor]):
    """The training stream: standardised global batches, without end.

    `reserved` are the classes of graphs that must not occur (a set of hashes is one of labelled
    graphs): a task whose graph is in one of them is drawn again at the same index, from the seed
    (seed, "redraw", 1), then 2, … The batch carries the seeds that were used. With
    `with_adjacency=False` it yields x [B, N, D] alone. `rank` and `world_size` are those of
    torch.distributed unless set. Raises ValueError if G is no multiple of `world_size`.
    """

    def __init__(
        self,
        family: SCMFamily,
        base_seed: int,
        split: str = "train",
        *,
        tasks_per_step: int,
        start_step: int = 0,
        reserved: Reserved | frozenset[str] = frozenset(),
        rank: int | None = None,
        world_size: int | None = None,
        with_adjacency: bool = True,
    ) -> None:
        super().__init__()
        self.rank, self.world_size = _place(rank, world_size)
        if tasks_per_step % self.world_size:
            raise ValueError(
                f"tasks_per_step is {tasks_per_step}, which {self.world_size} processes cannot "
                f"share evenly; give a multiple of {self.world_size}."
            )
        self.family, self.base_seed, self.split = family, base_seed, split
        self.tasks_per_step, self.start_step = tasks_per_step, start_step
        self.reserved = reserved if isinstance(reserved, Reserved) else Reserved(hashes=reserved)
        self.with_adjacency = with_adjacency
        # one cell per worker process
        self._collisions, self._overflows = torch.zeros(
            2, _MOST_WORKERS, dtype=torch.int64
        ).share_memory_()

    @property
    def collisions(self) -> int:
        """How many graphs were drawn again so far, in all workers of this process, including steps
        that were made but not yet used."""
        return int(self._collisions.sum())

    @property
    def overflows(self) -> int:
        """How many models were drawn again so far because their values overflowed, counted in the
        same way."""
        return int(self._overflows.sum())

    def shape(self, step: int) -> tuple[int, int]:
        """(D, N) of a step."""
        numbers = randomness.uniforms([self.base_seed], (self.split, "shape", step), (2,))[
            0
        ].tolist()
        return draw_range(self.family.n_nodes, numbers[0]), draw_range(
            self.family.n_rows, numbers[1]
        )

    def batch(self, step: int) -> TaskBatch:
        """This rank's slice of the global batch of a step, standardised."""
        nodes, rows = self.shape(step)
        share = self.tasks_per_step // self.world_size
        first = step * self.tasks_per_step + self.rank * share
        seeds = randomness.seeds_of(self.base_seed, self.split, "task", start=first, count=share)
        adjacency = self.family.sample_graphs(seeds, nodes)
        if self.reserved:
            self._redraw(seeds, adjacency)
        before = self.family.models.redraws
        batch = self.family.sample_tasks(
            seeds, n_rows=rows, n_nodes=nodes, adjacency=adjacency
        ).standardised()
        self._overflows[_cell()] += self.family.models.redraws - before
        return batch

    def _redraw(self, seeds: list[int], adjacency: Tensor) -> None:
        """Replace, in place, every seed and graph whose class is reserved, until none is."""
        original, left = list(seeds), self.reserved.collisions(adjacency)
        for tries in range(1, _REDRAWS + 1):
            if not left:
                return
            self._collisions[_cell()] += len(left)
            for b in left:
                seeds[b] = randomness.seeds_of(original[b], "redraw", start=tries, count=1)[0]
            adjacency[left] = self.family.sample_graphs(
                [seeds[b] for b in left], adjacency.shape[-1]
            )
            left = [left[k] for k in self.reserved.collisions(adjacency[left])]
        if left:
            raise ValueError(
                f"{_REDRAWS} draws for one task with {adjacency.shape[-1]} nodes all gave "
                f"{self.reserved.words} reserved by a test set; "
                "the training family has too few others: give it more nodes or make the test sets "
                "smaller."
            )

    def __iter__(self) -> Iterator[TaskBatch | Tensor]:
        worker = get_worker_info()
        step, stride = (
            (self.start_step + worker.id, worker.num_workers) if worker else (self.start_step, 1)
        )
        while True:
            batch = self.batch(step)
            yield batch if self.with_adjacency else batch.x
            step += stride


class MetaFixedDataset(Dataset[Task]):
    """A fixed list of tasks by their seeds; each size is drawn from (seed, "shape")
    unless the family fixes it.

    With `cache_instances=True` every task is kept after it was first made: in memory, or, with a
    `cache_folder`, in memory-mapped files that processes share (see `task_cache`).
    """

    def __init__(
        self,
        family: SCMFamily,
        seed_list: Sequence[int],
        cache_instances: bool = True,
        cache_folder: str | Path | None = None,
    ) -> None:
        self.family, self.seed_list, self.cache_instances = family, list(seed_list), cache_instances
        self._cache: dict[int, Task] = {}
        self._files = (
            TaskCache(family, self.seed_list, cache_folder)
            if cache_instances and cache_folder
            else None
        )

    def __len__(self) -> int:
        return len(self.seed_list)

    def __getitem__(self, index: int) -> Task:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[Task]:
        """Several tasks at once; a DataLoader calls this method if it exists."""
        if self._files is not None:
            return [self._files[index] for index in indices]
        seeds = [self.seed_list[index] for index in indices]
        known = self._cache if self.cache_instances else {}
        missing = [seed for seed in dict.fromkeys(seeds) if seed not in known]
        if missing:
            batch = self.family.sample_tasks(missing)
            known = known | {seed: batch.task(b) for b, seed in enumerate(missing)}
            if self.cache_instances:
                self._cache = known
        return [known[seed] for seed in seeds]

    def graphs(self) -> list[Float[Tensor, "D D"]]:
        """The graphs of all tasks, without making the tables."""
        shapes = self.family.shapes(self.seed_list)
        graphs: dict[int, Tensor] = {}
        for nodes in {shape[0] for shape in shapes}:
            places = [b for b, shape in enumerate(shapes) if shape[0] == nodes]
            graphs |= dict(
                zip(
                    places,
                    self.family.sample_graphs([self.seed_list[b] for b in places], nodes),
                    strict=True,
                )
            )
        return [graphs[b] for b in range(len(self))]

    def hashes(self, level: Level = "graph") -> list[str]:
        """The hash of every task's graph, or of its class at another level, without making the
        tables."""
        return hashes_of(self.graphs(), level)


def _cell() -> int:
    """The index of this process in the counters."""
    worker = get_worker_info()
    return worker.id % _MOST_WORKERS if worker else 0


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    distributed = torch.distributed
    running = distributed.is_available() and distributed.is_initialized()
    rank = (distributed.get_rank() if running else 0) if rank is None else rank
    world_size = (
        (distributed.get_world_size() if running else 1) if world_size is None else world_size
    )
    if not 0 <= rank < world_size:
        raise ValueError(
            f"rank is {rank} of {world_size} processes; it must be at least 0 and below their "
            "number."
        )
    return cast(int, rank), cast(int, world_size)
