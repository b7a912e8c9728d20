"""The data module: disjoint train and test graphs, a loader per family, equal training whatever the
workers."""

import dataclasses
import itertools
import json
import random

import numpy as np
import pytest
import torch

from causal_meta import graph_classes, graphs
from causal_meta.conf.convert import from_plain, to_plain
from causal_meta.conf.data import DataModuleConfig, FamilyConfig, TaskSetConfig
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.conf.mechanism_laws import MLP, LinearHeteroskedastic, MechanismPart
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.datasets.data_module import CausalMetaModule
from causal_meta.datasets.distances import family_distances
from causal_meta.tasks import TaskBatch

BOTH = {
    "linear": MechanismPart(mechanism=LinearHeteroskedastic()),
    "mlp": MechanismPart(mechanism=MLP()),
}
TRAIN = FamilyConfig(
    mechanisms=BOTH, n_nodes=IntRange(low=3, high=5), n_rows=IntRange(low=10, high=30)
)
CONFIG = DataModuleConfig(
    train=TRAIN,
    test={
        "same": TaskSetConfig(family=TRAIN, n_tasks=11),
        "large": TaskSetConfig(family=dataclasses.replace(TRAIN, n_nodes=fixed(8)), n_tasks=4),
    },
    tasks_per_step=8,
)


@pytest.fixture(scope="module")
def module():
    return CausalMetaModule(CONFIG, 3)


def test_one_loader_per_family_of_standardised_padded_batches(module):
    loaders = module.test_dataloader()
    assert set(loaders) == {"same", "large"}
    batches = list(loaders["same"])
    assert [len(batch) for batch in batches] == [8, 3]
    for batch in batches:
        assert isinstance(batch, TaskBatch)
        for b in range(len(batch)):
            x = batch.task(b).x
            assert x.mean(0).abs().max() < 1e-5
            assert (x.std(0, correction=0) - 1).abs().max() < 1e-4
    assert all(torch.equal(a.x, b.x) for a, b in zip(batches, loaders["same"], strict=True)), (
        "a second pass gives the same"
    )


def test_train_and_test_graphs_are_disjoint(module):
    reserved = {
        graphs.graph_hash(batch.task(b).adjacency)
        for loader in module.test_dataloader().values()
        for batch in loader
        for b in range(len(batch))
    }
    assert reserved == module.reserved_hashes
    drawn = set()
    for batch in itertools.islice(module.train_dataloader(), 60):
        drawn |= set(graphs.graph_hashes(batch.adjacency))
    assert not drawn & reserved
    assert module.stream.collisions > 0
    free = CausalMetaModule(dataclasses.replace(CONFIG, test={}), 3)
    without = {
        digest
        for batch in itertools.islice(free.train_dataloader(), 60)
        for digest in graphs.graph_hashes(batch.adjacency)
    }
    assert without & reserved, "the check must see that the family does draw these graphs"


def test_sets_seeds_and_modules_differ(module):
    lists = module.describe()["seed_lists"]
    assert not set(lists["same"]) & set(lists["large"])
    assert not set(lists["same"]) & set(
        CausalMetaModule(CONFIG, 4).describe()["seed_lists"]["same"]
    )
    stream_seeds = {
        seed
        for batch in itertools.islice(module.train_dataloader(), 20)
        for seed in batch.seeds.tolist()
    }
    assert not stream_seeds & {seed for seeds in lists.values() for seed in seeds}


def test_the_description_is_plain_and_enough(module):
    facts = json.loads(json.dumps(module.describe()))
    again = CausalMetaModule(from_plain(DataModuleConfig, facts["config"]), facts["seed"])
    assert again.describe() == facts
    assert {
        digest for hashes in facts["hash_registry"].values() for digest in hashes
    } == module.reserved_hashes


@pytest.mark.parametrize("level", ["graph", "isomorphism", "equivalence"])
def test_the_level_of_disjointness_is_chosen(level):
    family = dataclasses.replace(TRAIN, graph=ErdosRenyi(edges_per_node=0.7), n_nodes=fixed(4))
    tests = {
        "same": TaskSetConfig(family=family, n_tasks=6),
        "large": TaskSetConfig(family=dataclasses.replace(family, n_nodes=fixed(8)), n_tasks=4),
    }
    config = DataModuleConfig(train=family, test=tests, tasks_per_step=8, disjoint=level)
    module = CausalMetaModule(config, 3)
    tested = [
        task_set[b].adjacency
        for task_set in module.test_sets.values()
        for b in range(len(task_set))
    ]
    classes = {graph_classes.class_hashes(graph[None], level)[0] for graph in tested}
    assert module.reserved_hashes == classes
    for batch in itertools.islice(module.train_dataloader(), 40):
        assert not classes & set(graph_classes.class_hashes(batch.adjacency, level))
    assert module.stream.collisions > 0
    description = module.describe()
    assert (
        description["hash_registry"]
        == CausalMetaModule(dataclasses.replace(config, disjoint="graph"), 3).describe()[
            "hash_registry"
        ]
    ), "labelled graphs are always told"
    assert ("class_registry" in description) == (level != "graph")
    assert {
        digest
        for hashes in description.get("class_registry", description["hash_registry"]).values()
        for digest in hashes
    } == classes


def test_two_sets_of_one_family_have_unrelated_graphs():
    """Dense graphs of eight nodes: a chance match of two of 400 is 1 in 500."""
    family = dataclasses.replace(TRAIN, n_nodes=fixed(8))
    module = CausalMetaModule(
        DataModuleConfig(
            train=TRAIN,
            test={name: TaskSetConfig(family=family, n_tasks=20) for name in ("a", "b")},
        ),
        3,
    )
    registry = module.describe()["hash_registry"]
    assert not set(registry["a"]) & set(registry["b"])


def test_statistics_of_families(module):
    statistics = json.loads(json.dumps(module.statistics()))
    assert set(statistics) == {"train", "test"}
    assert set(statistics["test"]) == {"same", "large"}
    assert statistics["test"]["large"]["n_nodes"] == {"mean": 8.0, "se": 0.0, "n": 4}
    assert statistics["train"]["n_edges"]["n"] == 64
    assert module.statistics() == statistics


def test_test_sets_can_be_kept_on_disk(tmp_path, module):
    kept = CausalMetaModule(dataclasses.replace(CONFIG, cache_folder=str(tmp_path)), 3)
    for name, loader in kept.test_dataloader().items():
        for batch, expected in zip(loader, module.test_dataloader()[name], strict=True):
            assert torch.equal(batch.adjacency, expected.adjacency)
            torch.testing.assert_close(batch.x, expected.x, rtol=1e-3, atol=1e-4)
    assert len(list(tmp_path.iterdir())) == 2
    assert to_plain(kept.config, identity_only=True) == to_plain(CONFIG, identity_only=True)


def trained(workers):
    """Weights after 50 steps of a logistic regression of edges on squared correlations."""
    module = CausalMetaModule(dataclasses.replace(CONFIG, workers=workers), 3)
    weights = torch.zeros(3, requires_grad=True)
    optimiser = torch.optim.Adam([weights], lr=0.05)
    for batch in itertools.islice(module.train_dataloader(), 50):
        correlation = (batch.x.mT @ batch.x / batch.n_rows).square()
        logits = (
            weights[0]
            + weights[1] * correlation
            + weights[2] * correlation.mean(dim=2, keepdim=True)
        )
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.adjacency)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return weights.detach()


def test_fifty_training_steps_with_0_1_and_3_workers_give_equal_weights():
    expected = trained(0)
    assert expected.abs().min() > 0.01
    assert torch.equal(trained(1), expected)
    assert torch.equal(trained(3), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_resumes_and_ranks_share(workers):
    module = CausalMetaModule(dataclasses.replace(CONFIG, workers=workers), 3)
    whole = list(itertools.islice(module.train_dataloader(), 5))
    resumed = list(itertools.islice(module.train_dataloader(start_step=3), 2))
    assert all(torch.equal(a.x, b.x) for a, b in zip(whole[3:], resumed, strict=True))
    second = list(itertools.islice(module.train_dataloader(start_step=3, rank=1, world_size=2), 2))
    assert all(torch.equal(a.x[4:], b.x) for a, b in zip(whole[3:], second, strict=True))


def test_without_adjacency_training_batches_are_x_alone():
    module = CausalMetaModule(dataclasses.replace(CONFIG, with_adjacency=False), 3)
    batch = next(iter(module.train_dataloader()))
    assert isinstance(batch, torch.Tensor)
    assert next(iter(module.test_dataloader()["same"])).adjacency is not None


def test_no_global_generator_is_touched(module):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    next(iter(module.train_dataloader()))
    list(module.test_dataloader()["large"])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


@pytest.mark.usefixtures("few_trees")
def test_distances_of_the_training_family_to_the_test_sets(module):
    """Those of `family_distances`, and the set that is drawn from the training family is at
    distance 0 within the error."""
    distances = module.distances(n_tasks=40, seed=1)
    assert set(distances) == set(CONFIG.test)
    assert distances["large"] == family_distances(CONFIG.train, CONFIG.test["large"].family, 40, 1)
    z = {
        name: {
            key: (e["value"] - e["null"]) / e["se"]
            for key, e in distances[name].items()
            if e["se"] > 0
        }
        for name in distances
    }
    assert max(map(abs, z["same"].values())) < 4.5
    assert max(map(abs, z["large"].values())) > 4.5
    assert module.distances(n_tasks=40, seed=1) is distances
