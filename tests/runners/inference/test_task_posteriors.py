"""Inference reads rows and never the truth, goes on where it was killed, and writes a posterior
that can be read again."""

import dataclasses

import numpy as np
import pytest
import torch

from causal_meta.conf.data import DataModuleConfig, FamilyConfig
from causal_meta.conf.inference import (
    BOSSConfig,
    DiscoverConfig,
    EmptyConfig,
    PCConfig,
    RandomConfig,
    SortnregressConfig,
)
from causal_meta.conf.interventions import InterventionConfig
from causal_meta.conf.models import AviciConfig
from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.conf.setting import ConfigError
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.models.base import ModelFactory
from causal_meta.models.classical.baselines import make_baseline
from causal_meta.posteriors import EmpiricalGraphs, IndependentEdges
from causal_meta.randomness import generator, torch_generator
from causal_meta.records.posteriors import read_posterior, read_seconds
from causal_meta.runners.build import make
from causal_meta.runners.inference import task_posteriors as inference
from causal_meta.runners.inference.large_tables import table_posterior
from causal_meta.runners.inference.task_posteriors import (
    amortised_posterior,
    artifact_posterior,
)
from causal_meta.runners.tasks.task_sets import load_tasks
from causal_meta.store import Store
from causal_meta.tasks import collate

FAMILY = FamilyConfig(n_nodes=IntRange(low=3, high=5), n_rows=IntRange(low=30, high=60))
MODEL = AviciConfig(dim=8, n_pairs=1, n_heads=2, key_size=4, dropout=0.1)
RUNS = [
    EmptyConfig(),
    RandomConfig(n_samples=5),
    SortnregressConfig(n_samples=3),
    SortnregressConfig(n_samples=3, order="variance"),
]
RUNS += [PCConfig(n_samples=3), BOSSConfig(n_samples=3)]
IDS = ["empty", "random", "sortnregress-r2", "sortnregress-variance", "pc", "boss"]


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


# ---------------------------------------------------------------------------------------- baselines


@pytest.mark.parametrize("config", RUNS, ids=IDS)
def test_baselines_answer_every_task_from_its_own_rows(store, tasks, config):
    run = make(store, config, {"of": tasks})
    posterior, seconds = read_posterior(run), read_seconds(run)
    assert isinstance(posterior, EmpiricalGraphs)
    batch = load_tasks(tasks)
    assert posterior.graphs.shape == (4, config.n_samples, batch.n_nodes, batch.n_nodes)
    assert seconds.shape == (4,)
    assert (seconds >= 0).all()
    assert torch.equal(posterior.node_mask, batch.node_mask)
    raw = config.kind == "sortnregress" and config.order == "variance"
    b = 2
    x = batch.task(b).x.double().numpy() if raw else batch.standardised().task(b).x.double().numpy()
    alone = make_baseline(config).posterior_for(x, generator(config.seed, config.kind, "task", b))
    np.testing.assert_array_equal(posterior.graphs[b, :, : x.shape[1], : x.shape[1]].numpy(), alone)
    assert sorted(path.name for path in run.folder.iterdir() if path.is_file()) == [
        "config.yaml",
        "meta.json",
        "posterior.npz",
    ]


@pytest.mark.parametrize("config", RUNS, ids=IDS)
def test_baselines_never_see_the_truth(store, tasks, config, monkeypatch, tmp_path):
    seen = make(store, config, {"of": tasks})
    monkeypatch.setattr(inference, "load_tasks", lambda artifact: poisoned(load_tasks(artifact)))
    other = Store(tmp_path / "poisoned")
    blind = make(other, config, {"of": make(other, TasksConfig(data=FAMILY, n_tasks=4, seed=3))})
    assert blind.meta["digests"]["posterior.npz"] == seen.meta["digests"]["posterior.npz"]


def test_baselines_leave_rows_under_interventions_out(store):
    """The same graphs as for the same tables without those rows; with them the answer would be
    another."""
    asked = InterventionConfig(row_share=None, rows=fixed(20))
    family = FamilyConfig(n_nodes=fixed(4), n_rows=fixed(40), interventions=asked)
    mixed, plain = (
        make(store, TasksConfig(data=data, n_tasks=3, seed=3))
        for data in (family, dataclasses.replace(family, interventions=None))
    )
    whole = load_tasks(mixed)
    assert whole.intervened.any()
    left = inference.observational(whole.without_truth())
    assert torch.equal(left.x, load_tasks(plain).x)
    config = SortnregressConfig(n_samples=3, order="variance")
    told, other = (make(store, config, {"of": tasks}) for tasks in (mixed, plain))
    assert told.meta["digests"]["posterior.npz"] == other.meta["digests"]["posterior.npz"]
    assert told.meta["interventional_rows_left_out"] == 3 * 20
    assert other.meta["interventional_rows_left_out"] == 0
    few = make(store, TasksConfig(data=dataclasses.replace(family, n_rows=fixed(9)), n_tasks=1))
    with pytest.raises(
        ConfigError,
        match="Task 0 has 9 rows without interventions; a baseline reads only those and needs at "
        "least 10",
    ):
        make(store, config, {"of": few})


def test_another_seed_is_another_bootstrap(store, tasks):
    first, second = (make(store, SortnregressConfig(seed=seed), {"of": tasks}) for seed in (0, 1))
    assert first.meta["digests"]["posterior.npz"] != second.meta["digests"]["posterior.npz"]


def test_a_killed_baseline_goes_on_and_gives_the_same_graphs(store, tasks, monkeypatch, tmp_path):
    config = SortnregressConfig(n_samples=3)
    other = Store(tmp_path / "undisturbed")
    undisturbed = make(
        other, config, {"of": make(other, TasksConfig(data=FAMILY, n_tasks=4, seed=3))}
    )

    class Killed(BaseException):
        pass

    answered = []
    replicates = inference.make_baseline(config).replicates.__func__

    def counted(self, x, source):
        if len(answered) == 2:
            answered.append("killed")
            raise Killed
        answered.append(x.shape)
        return replicates(self, x, source)

    monkeypatch.setattr(inference, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    monkeypatch.setattr(type(make_baseline(config)), "replicates", counted)
    with pytest.raises(Killed):
        make(store, config, {"of": tasks})
    run = make(store, config, {"of": tasks})
    assert len(answered) == 2 + 1 + 2  # two done, one lost, the two that were left
    assert run.meta["attempt"] == 2
    assert run.meta["digests"]["posterior.npz"] == undisturbed.meta["digests"]["posterior.npz"]
    assert run.digest == undisturbed.digest
    assert run.meta["mended"] == undisturbed.meta["mended"]


# --------------------------------------------------------------------------------- amortised models


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
    with np.load(run.folder / "posterior.npz") as arrays:
        graphs = arrays["graphs"]
    assert graphs.shape == (4, 200, batch.n_nodes, batch.n_nodes)
    assert graphs.dtype == np.uint8
    p = posterior.edge_probabilities.numpy()
    assert np.abs(graphs.mean(1) - p).max() < 4.5 * np.sqrt(0.25 / 200)
    again = posterior.representative_graphs(200, torch_generator(5, "discover", "graphs"))
    np.testing.assert_array_equal(again.numpy(), graphs)


def test_amortised_inference_never_sees_the_truth(tasks, target):
    batch = load_tasks(tasks)
    seen, blind = (
        artifact_posterior(target, given)[0].edge_probabilities
        for given in (batch, poisoned(batch))
    )
    assert torch.equal(seen, blind)
    other = dataclasses.replace(
        batch, x=batch.x.roll(1, dims=0) * batch.node_mask[:, None] * batch.row_mask[:, :, None]
    )
    # it does see the rows
    assert not torch.equal(seen, artifact_posterior(target, other)[0].edge_probabilities)


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


def test_wrong_artifacts_are_one_sentence(store, tasks):
    with pytest.raises(ValueError, match="give a pre-trained model"):
        artifact_posterior(tasks, load_tasks(tasks))
    with pytest.raises(ConfigError, match="holds no posterior"):
        read_posterior(tasks)
