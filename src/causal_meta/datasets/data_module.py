"""The training stream and the test sets it is kept disjoint from, made from one configuration (seed 001 §1)."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from causal_meta import randomness
from causal_meta.conf.convert import to_plain
from causal_meta.conf.data import DataModuleConfig
from causal_meta.datasets.scm import SCMFamily
from causal_meta.datasets.streams import MetaFixedDataset, MetaIterableDataset
from causal_meta.tasks import TaskBatch, collate

_log = logging.getLogger(__name__)


def _whole(batch: TaskBatch | Tensor) -> TaskBatch | Tensor:
    """The stream's items are batches already."""
    return batch


class _Loader(DataLoader[Any]):
    """A DataLoader that takes the configured number of workers without a warning: more than cores is the user's choice."""

    def check_worker_number_rationality(self) -> None:
        """Nothing to check."""


class CausalMetaModule:
    """Loaders of a training stream and of named test sets whose graphs never occur in it.

    The tasks of test set `name` have the seeds (seed, "test", name, index), so no two sets share a graph by construction. `reserved_hashes`
    are the graph hashes of all test tasks.
    """

    def __init__(self, config: DataModuleConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.family = SCMFamily(config.train)
        self.test_sets = {
            name: MetaFixedDataset(
                SCMFamily(task_set.family),
                randomness.seeds_of(seed, "test", name, start=0, count=task_set.n_tasks),
                cache_instances=config.cache_instances,
            )
            for name, task_set in config.test.items()
        }
        self._hashes = {name: task_set.hashes() for name, task_set in self.test_sets.items()}
        self.reserved_hashes: frozenset[str] = frozenset(digest for hashes in self._hashes.values() for digest in hashes)
        self.stream: MetaIterableDataset | None = None
        _log.info("data module with seed %d: %s", seed, to_plain(config))

    def train_stream(self, start_step: int = 0, rank: int | None = None, world_size: int | None = None) -> MetaIterableDataset:
        """The training stream as a dataset, from `start_step` on."""
        return MetaIterableDataset(
            self.family,
            self.seed,
            "train",
            tasks_per_step=self.config.tasks_per_step,
            start_step=start_step,
            reserved=self.reserved_hashes,
            rank=rank,
            world_size=world_size,
            with_adjacency=self.config.with_adjacency,
        )

    def train_dataloader(self, start_step: int = 0, rank: int | None = None, world_size: int | None = None) -> Iterable[TaskBatch]:
        """Standardised batches of this rank, from `start_step` on, for ever; `self.stream` counts the graphs drawn again."""
        self.stream = self.train_stream(start_step, rank, world_size)
        return self._loader(self.stream, batch_size=None, collate_fn=_whole, num_workers=self.config.workers)

    def test_dataloader(self) -> dict[str, DataLoader[Any]]:
        """One loader per test set, of standardised batches with the true graphs, tables of different sizes padded."""
        return {
            name: self._loader(task_set, batch_size=min(self.config.tasks_per_step, len(task_set)), collate_fn=functools.partial(collate))
            for name, task_set in self.test_sets.items()
        }

    def _loader(self, dataset: Any, **options: Any) -> DataLoader[Any]:
        order = randomness.torch_generator(self.seed, "loader")  # else a loader would draw from the global generator
        return _Loader(dataset, generator=order, pin_memory=torch.cuda.is_available(), **options)

    def describe(self) -> dict[str, Any]:
        """What is needed to draw everything again: the configuration, the seed, and seeds and graph hashes of every test set."""
        return {
            "config": to_plain(self.config),
            "seed": self.seed,
            "seed_lists": {name: task_set.seed_list for name, task_set in self.test_sets.items()},
            "hash_registry": self._hashes,
        }
