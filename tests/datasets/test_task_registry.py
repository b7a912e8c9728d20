"""The registry of a list of tasks, against hashing and counting one task at a time."""

import json

import pytest
import torch

from causal_meta import graph_classes, graphs, randomness
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.datasets import task_registry
from causal_meta.datasets.scm import SCMFamily

MIXED = SCMFamily(FamilyConfig(n_nodes=IntRange(low=3, high=6), n_rows=IntRange(low=20, high=40)))


@pytest.fixture(scope="module")
def batch():
    return MIXED.sample_tasks(randomness.seeds_of(2, "registry", start=0, count=70))


def test_the_registry_is_plain_and_right(batch):
    entries = json.loads(json.dumps(task_registry.registry_of(batch)))
    assert entries["seeds"] == batch.seeds.tolist()
    tasks = [batch.task(b) for b in range(len(batch))]
    assert entries["hashes"]["graph"] == [graphs.graph_hash(task.adjacency) for task in tasks]
    for level in ("isomorphism", "equivalence"):
        assert entries["hashes"][level] == [
            graph_classes.class_hashes(task.adjacency[None], level)[0] for task in tasks
        ]
    edges = torch.tensor([float(task.adjacency.sum()) for task in tasks])
    statistics = entries["statistics"]
    assert statistics["n_edges"] == {
        "mean": pytest.approx(float(edges.mean()), rel=1e-5),
        "se": pytest.approx(float(edges.std()) / 70**0.5, rel=1e-5),
        "n": 70,
    }
    assert statistics["n_nodes"]["mean"] == pytest.approx(
        sum(task.x.shape[1] for task in tasks) / 70, rel=1e-5
    )
    assert statistics["n_rows"]["mean"] == pytest.approx(
        sum(len(task.x) for task in tasks) / 70, rel=1e-5
    )
    assert 0.5 < statistics["varsortability"]["mean"] <= 1
    assert 0 <= statistics["r2_sortability"]["mean"] <= 1


def test_missing_statistics_are_none():
    empty = SCMFamily(
        FamilyConfig(graph=ErdosRenyi(edges_per_node=0), n_nodes=fixed(3), n_rows=fixed(10))
    )
    statistics = task_registry.task_statistics(empty.sample_tasks([1]))
    assert statistics["varsortability"] == {"mean": None, "se": None, "n": 0}
    assert statistics["n_edges"] == {"mean": 0.0, "se": None, "n": 1}
    with pytest.raises(ValueError, match="no true graphs"):
        task_registry.task_statistics(empty.sample_tasks([1]).without_truth())


def test_a_level_that_takes_too_long_is_left_out(monkeypatch):
    """A ring of eight alternating arrows is ordered by trying its nodes."""
    monkeypatch.setattr(graph_classes, "_BRANCHES", 0)
    ring = torch.zeros(8, 8)
    for i in range(0, 8, 2):
        ring[i, (i + 1) % 8] = ring[i, (i - 1) % 8] = 1
    assert set(task_registry.hash_registry([ring])) == {"graph", "equivalence"}
