"""The training stream and the test sets it is kept disjoint from, made from one configuration."""

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
from causal_meta.datasets.distances import Estimate, family_distances
from causal_meta.datasets.reserved import Reserved
from causal_meta.datasets.scm import SCMFamily
from causal_meta.datasets.streams import MetaFixedDataset, MetaIterableDataset
from causal_meta.datasets.task_registry import hashes_of, task_statistics
from causal_meta.graph_classes import class_signatures
from causal_meta.tasks import TaskBatch, collate

_log = logging.getLogger(__name__)
_SUMMARISED = 64  # tasks that a family's statistics are means of


def _whole(batch: TaskBatch | Tensor) -> TaskBatch | Tensor:
    """The stream's items are batches already."""
    return batch


class _Loader(DataLoader[Any]):
    """A DataLoader that takes the configured number of workers without a warning: more than cores
    is the user's choice."""

    def check_worker_number_rationality(self) -> None:
        """Nothing to check."""


class CausalMetaModule:
    """Loaders of a training stream and of named test sets whose graphs never occur in it.

    The tasks of test set `name` have the seeds (seed, "test", name, index), so the graphs of two
    sets are independent, even if their families are the same. `reserved` are the
    classes of all test graphs at the level `config.disjoint`, `reserved_hashes` their hashes.
    """

    def __init__(self, config: DataModuleConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        self.family = SCMFamily(config.train)
        self.test_sets = {
            name: MetaFixedDataset(
                SCMFamily(task_set.family),
                randomness.seeds_of(seed, "test", name, start=0, count=task_set.n_tasks),
                cache_instances=config.cache_instances,
                cache_folder=config.cache_folder or None,
            )
            for name, task_set in config.test.items()
        }
        graphs = {name: task_set.graphs() for name, task_set in self.test_sets.items()}
        self._hashes = {name: hashes_of(drawn, "graph") for name, drawn in graphs.items()}
        self._classes = (
            self._hashes
            if config.disjoint == "graph"
            else {name: hashes_of(drawn, config.disjoint) for name, drawn in graphs.items()}
        )
        signatures = (
            value
            for drawn in graphs.values()
            for graph in drawn
            for value in class_signatures(graph[None], config.disjoint)
        )
        self.reserved = Reserved(
            config.disjoint,
            (digest for hashes in self._classes.values() for digest in hashes),
            signatures,
        )
        self.stream: MetaIterableDataset | None = None
        self._distances: dict[tuple[int, int], dict[str, dict[str, Estimate]]] = {}
        _log.info("data module with seed %d: %s", seed, to_plain(config))

    @property
    def reserved_hashes(self) -> frozenset[str]:
        """The hashes of the classes that never occur in training."""
        return self.reserved.hashes

    def train_stream(
        self, start_step: int = 0, rank: int | None = None, world_size: int | None = None
    ) -> MetaIterableDataset:
        """The training stream as a dataset, from `start_step` on."""
        return MetaIterableDataset(
            self.family,
            self.seed,
            "train",
            tasks_per_step=self.config.tasks_per_step,
            start_step=start_step,
            reserved=self.reserved,
            rank=rank,
            world_size=world_size,
            with_adjacency=self.config.with_adjacency,
        )

    def train_dataloader(
        self, start_step: int = 0, rank: int | None = None, world_size: int | None = None
    ) -> Iterable[TaskBatch]:
        """Standardised batches of this rank, from `start_step` on, without end; `self.stream`
        counts the graphs drawn again."""
        self.stream = self.train_stream(start_step, rank, world_size)
        return self._loader(
            self.stream, batch_size=None, collate_fn=_whole, num_workers=self.config.workers
        )

    def test_dataloader(self) -> dict[str, DataLoader[Any]]:
        """One loader per test set, of standardised batches with the true graphs, tables of
        different sizes padded."""
        return {
            name: self._loader(
                task_set,
                batch_size=min(self.config.tasks_per_step, len(task_set)),
                collate_fn=functools.partial(collate),
            )
            for name, task_set in self.test_sets.items()
        }

    def _loader(self, dataset: Any, **options: Any) -> DataLoader[Any]:
        # without it a loader would draw from the global generator
        order = randomness.torch_generator(self.seed, "loader")
        return _Loader(dataset, generator=order, pin_memory=torch.cuda.is_available(), **options)

    def describe(self) -> dict[str, Any]:
        """The record from which all tasks can be drawn again: the configuration, the seed, and
        seeds and graph hashes of every test set."""
        record = {
            "config": to_plain(self.config),
            "seed": self.seed,
            "seed_lists": {name: task_set.seed_list for name, task_set in self.test_sets.items()},
            "hash_registry": self._hashes,
        }
        if self.config.disjoint != "graph":
            record["class_registry"] = self._classes
        return record

    def statistics(self) -> dict[str, Any]:
        """`task_statistics` of the training family ("train") and of every test set ("test", by
        name), each over 64 tasks at most."""
        seeds = randomness.seeds_of(self.seed, "statistics", start=0, count=_SUMMARISED)
        tests = {
            name: task_statistics(task_set.family.sample_tasks(task_set.seed_list[:_SUMMARISED]))
            for name, task_set in self.test_sets.items()
        }
        return {"train": task_statistics(self.family.sample_tasks(seeds)), "test": tests}

    def distances(self, n_tasks: int = 200, seed: int = 0) -> dict[str, dict[str, Estimate]]:
        """`family_distances` of the training family to the family of every test set, by its name;
        computed once per module and arguments."""
        if (n_tasks, seed) not in self._distances:
            record = {
                name: family_distances(self.family, task_set.family, n_tasks, seed)
                for name, task_set in self.test_sets.items()
            }
            self._distances[n_tasks, seed] = record
        return self._distances[n_tasks, seed]
