"""Amortised inference reads rows and never the truth, in parts where a table is long, and its
posterior can be read again."""

import dataclasses

import numpy as np
import pytest
import torch

from causal_meta.conf.data import DataModuleConfig, FamilyConfig
from causal_meta.conf.inference import DiscoverConfig
from causal_meta.conf.models import AviciConfig
from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.models.base import ModelFactory
from causal_meta.posteriors import IndependentEdges
from causal_meta.randomness import torch_generator
from causal_meta.records.posteriors import read_graphs, read_posterior, read_seconds
from causal_meta.runners.build import make
from causal_meta.runners.inference.amortised import amortised_posterior, artifact_posterior
from causal_meta.runners.inference.large_tables import table_posterior
from causal_meta.runners.tasks.task_sets import load_tasks
from causal_meta.tasks import collate

FAMILY = FamilyConfig(n_nodes=IntRange(low=3, high=5), n_rows=IntRange(low=30, high=60))
MODEL = AviciConfig(dim=8, n_pairs=1, n_heads=2, key_size=4, dropout=0.1)


@pytest.fixture
def tasks(store):
    return make(store, TasksConfig(data=FAMILY, n_tasks=4, seed=3))


@pytest.fixture
def target(store, untrained):
    return store.build(
        ExperimentConfig(model=MODEL, data=DataModuleConfig(train=FamilyConfig(n_rows=fixed(60)))),
        {},
        untrained,
    )


def poisoned(batch):
    return dataclasses.replace(batch, adjacency=torch.full_like(batch.adjacency, float("nan")))


def test_a_discover_run_holds_the_models_posterior_and_samples_of_it(store, tasks, target):
    config = DiscoverConfig(n_samples=200, seed=5)
    run = make(store, config, {"of": target, "tasks": tasks})
    posterior, seconds = read_posterior(run), read_seconds(run)
    assert isinstance(posterior, IndependentEdges)
    assert (seconds > 0).all()
    batch = load_tasks(tasks)
    model = ModelFactory.build(MODEL, 0)
    for b in range(4):
        alone = model.posterior(batch.slice(b, b + 1)).edge_probabilities[0]
        torch.testing.assert_close(posterior.edge_probabilities[b], alone, rtol=1e-4, atol=1e-6)
    graphs = read_graphs(run)
    assert graphs.shape == (4, 200, batch.n_nodes, batch.n_nodes)
    p = posterior.edge_probabilities.numpy()
    assert np.abs(graphs.mean(1) - p).max() < 4.5 * np.sqrt(0.25 / 200)
    again = posterior.representative_graphs(200, torch_generator(5, "discover", "graphs"))
    np.testing.assert_array_equal(again.numpy(), graphs)


def test_amortised_inference_never_sees_the_truth(tasks, target):
    batch = load_tasks(tasks)
    answer, blind = (
        artifact_posterior(target, tables)[0].edge_probabilities
        for tables in (batch, poisoned(batch))
    )
    assert torch.equal(answer, blind)
    other = dataclasses.replace(
        batch, x=batch.x.roll(1, dims=0) * batch.node_mask[:, None] * batch.row_mask[:, :, None]
    )
    # it does read the rows
    assert not torch.equal(answer, artifact_posterior(target, other)[0].edge_probabilities)


def test_a_table_longer_than_the_training_tables_is_answered_in_parts(store, tasks):
    """As `discover` does: the same posterior for one table alone, and another one than with all
    rows at once."""
    batch, model = load_tasks(tasks), ModelFactory.build(MODEL, 0)
    lengths = batch.row_mask.sum(1)
    most = int(lengths.max()) - 1
    b = int(lengths.argmax())
    posterior, _ = amortised_posterior(model, batch, most_rows=most, seed=1)
    alone = table_posterior(model, collate([batch.task(b)], standardise=False), most, 1)
    size = alone.node_mask.shape[1]
    torch.testing.assert_close(
        posterior.edge_probabilities[b, :size, :size], alone.edge_probabilities[0]
    )
    whole, _ = amortised_posterior(model, batch, most_rows=10_000)
    assert not torch.allclose(
        posterior.edge_probabilities[b], whole.edge_probabilities[b], atol=1e-6
    )


def test_a_target_of_another_kind_is_refused_in_one_sentence(tasks):
    with pytest.raises(ValueError, match="give a pre-trained model"):
        artifact_posterior(tasks, load_tasks(tasks))
