"""Methods that answer one task at a time read rows and never the truth, are resumed where they were
killed, and write a posterior that keeps its own type."""

import dataclasses

import numpy as np
import pytest
import torch

from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.inference import (
    BOSSConfig,
    EmptyConfig,
    PCConfig,
    RandomConfig,
    SortnregressConfig,
)
from causal_meta.conf.interventions import InterventionConfig
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.conf.registry import implementation
from causal_meta.conf.setting import ConfigError
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.method_diagnostics import MethodDiagnostics
from causal_meta.models.task_method import TaskMethod
from causal_meta.posteriors import EmpiricalGraphs, IndependentEdges, OrderedEdges
from causal_meta.randomness import generator
from causal_meta.records.posteriors import read_graphs, read_posterior, read_seconds
from causal_meta.runners.build import make
from causal_meta.runners.inference import per_task
from causal_meta.runners.tasks.task_sets import load_tasks
from causal_meta.store import Store

FAMILY = FamilyConfig(n_nodes=IntRange(low=3, high=5), n_rows=IntRange(low=30, high=60))
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


def poisoned(batch):
    return dataclasses.replace(batch, adjacency=torch.full_like(batch.adjacency, float("nan")))


@pytest.mark.parametrize("config", RUNS, ids=IDS)
def test_methods_answer_every_task_from_its_own_rows(store, tasks, config):
    run = make(store, config, {"of": tasks})
    posterior, seconds = read_posterior(run), read_seconds(run)
    assert isinstance(posterior, EmpiricalGraphs)
    batch = load_tasks(tasks)
    assert posterior.graphs.shape == (4, config.n_samples, batch.n_nodes, batch.n_nodes)
    assert seconds.shape == (4,)
    assert (seconds >= 0).all()
    assert torch.equal(posterior.node_mask, batch.node_mask)
    alone = implementation(config)(config).answer(
        batch.task(2), generator(config.seed, config.kind, "task", 2)
    )
    assert torch.equal(posterior.task(2).graphs, alone.graphs)
    assert sorted(path.name for path in run.folder.iterdir() if path.is_file()) == [
        "config.yaml",
        "meta.json",
        "posterior.npz",
    ]


@pytest.mark.parametrize("config", RUNS, ids=IDS)
def test_methods_never_read_the_truth(store, tasks, config, monkeypatch, tmp_path):
    run = make(store, config, {"of": tasks})
    monkeypatch.setattr(per_task, "load_tasks", lambda artifact: poisoned(load_tasks(artifact)))
    other = Store(tmp_path / "poisoned")
    blind = make(other, config, {"of": make(other, TasksConfig(data=FAMILY, n_tasks=4, seed=3))})
    assert blind.meta["digests"]["posterior.npz"] == run.meta["digests"]["posterior.npz"]


def test_methods_leave_rows_under_interventions_out(store):
    """The same graphs as for the same tables without those rows; with them the answer would be
    another."""
    interventions = InterventionConfig(row_share=None, rows=fixed(20))
    family = FamilyConfig(n_nodes=fixed(4), n_rows=fixed(40), interventions=interventions)
    mixed, plain = (
        make(store, TasksConfig(data=data, n_tasks=3, seed=3))
        for data in (family, dataclasses.replace(family, interventions=None))
    )
    assert load_tasks(mixed).intervened.any()
    config = SortnregressConfig(n_samples=3, order="variance")
    first, other = (make(store, config, {"of": tasks}) for tasks in (mixed, plain))
    assert first.meta["digests"]["posterior.npz"] == other.meta["digests"]["posterior.npz"]
    assert first.meta["interventional_rows_left_out"] == 3 * 20
    assert other.meta["interventional_rows_left_out"] == 0
    few = make(store, TasksConfig(data=dataclasses.replace(family, n_rows=fixed(9)), n_tasks=1))
    with pytest.raises(
        ConfigError,
        match="Task 0 cannot be answered: 9 rows are without interventions; a baseline reads only "
        "those and needs at least 10",
    ):
        make(store, config, {"of": few})


def test_another_seed_is_another_bootstrap(store, tasks):
    first, second = (make(store, SortnregressConfig(seed=seed), {"of": tasks}) for seed in (0, 1))
    assert first.meta["digests"]["posterior.npz"] != second.meta["digests"]["posterior.npz"]


def test_a_killed_run_is_resumed_and_gives_the_same_graphs(store, tasks, monkeypatch, tmp_path):
    config = SortnregressConfig(n_samples=3)
    other = Store(tmp_path / "undisturbed")
    undisturbed = make(
        other, config, {"of": make(other, TasksConfig(data=FAMILY, n_tasks=4, seed=3))}
    )

    class Killed(BaseException):
        pass

    answered = []
    method = implementation(config)
    particles = method.particles

    def counted(self, x, source, knowledge):
        if len(answered) == 2:
            answered.append("killed")
            raise Killed
        answered.append(x.shape)
        return particles(self, x, source, knowledge)

    monkeypatch.setattr(per_task, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    monkeypatch.setattr(method, "particles", counted)
    with pytest.raises(Killed):
        make(store, config, {"of": tasks})
    run = make(store, config, {"of": tasks})
    assert len(answered) == 2 + 1 + 2  # two done, one lost, the two that were left
    assert run.meta["attempt"] == 2
    assert run.meta["digests"]["posterior.npz"] == undisturbed.meta["digests"]["posterior.npz"]
    assert run.digest == undisturbed.digest
    assert run.meta["mended"] == undisturbed.meta["mended"]


# ------------------------------------------------------------------------------------ a toy method


class Killed(BaseException):
    pass


class Toy(TaskMethod):
    """Orders and edges from a chain of six draws whose state is saved after each."""

    draws = 0
    killed_at = -1

    def answer(self, task, generator, checkpoint):
        n_nodes, state = task.x.shape[1], checkpoint.load()
        positions = [] if state is None else list(state["positions"])
        if state is not None:
            generator.random((len(positions), n_nodes))  # the draws that were made before
        while len(positions) < 6:
            positions.append(generator.random(n_nodes))
            Toy.draws += 1
            checkpoint.save({"positions": np.array(positions)})
            if Toy.draws == Toy.killed_at:
                raise Killed
        posterior = OrderedEdges(
            torch.full((1, 1, n_nodes, n_nodes), 0.5),
            torch.from_numpy(np.array(positions))[None],
            torch.zeros(1, 6),
            torch.ones(1, n_nodes, dtype=torch.bool),
        )
        posterior.diagnostics = MethodDiagnostics(chains=1, acceptance=0.25)
        return posterior


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(per_task, "implementation", lambda config: Toy)
    monkeypatch.setattr(Toy, "draws", 0)
    monkeypatch.setattr(Toy, "killed_at", -1)


def test_a_posterior_keeps_its_type_marginals_and_diagnostics_on_disk(store, tasks, toy):
    config = EmptyConfig(n_samples=50)
    run = make(store, config, {"of": tasks})
    posterior = read_posterior(run)
    assert isinstance(posterior, OrderedEdges)
    batch = load_tasks(tasks)
    assert torch.equal(posterior.node_mask, batch.node_mask)
    assert posterior.diagnostics == MethodDiagnostics(chains=4, acceptance=0.25)
    assert run.meta["diagnostics"] == {"chains": 4, "acceptance": 0.25}
    assert read_graphs(run).shape == (4, 50, batch.n_nodes, batch.n_nodes)


def test_a_method_killed_within_a_task_continues_from_its_own_state(store, tasks, toy, tmp_path):
    other = Store(tmp_path / "undisturbed")
    undisturbed = make(
        other, EmptyConfig(), {"of": make(other, TasksConfig(data=FAMILY, n_tasks=4, seed=3))}
    )
    assert Toy.draws == 4 * 6
    Toy.draws, Toy.killed_at = 0, 9
    with pytest.raises(Killed):
        make(store, EmptyConfig(), {"of": tasks})
    run = make(store, EmptyConfig(), {"of": tasks})
    assert Toy.draws == 4 * 6  # no draw is repeated
    assert run.meta["digests"]["posterior.npz"] == undisturbed.meta["digests"]["posterior.npz"]
    assert (read_seconds(run) > 0).all()


def test_answers_of_several_types_are_refused(store, tasks, toy, monkeypatch):
    def answer(self, task, generator, checkpoint):
        n_nodes = task.x.shape[1]
        mask = torch.ones(1, n_nodes, dtype=torch.bool)
        Toy.draws += 1
        if Toy.draws % 2:
            return EmpiricalGraphs(torch.zeros(1, 1, n_nodes, n_nodes), mask)
        return IndependentEdges(torch.zeros(1, n_nodes, n_nodes), mask)

    monkeypatch.setattr(Toy, "answer", answer)
    with pytest.raises(ValueError, match="types empirical_graphs, independent_edges cannot be put"):
        make(store, EmptyConfig(), {"of": tasks})


def test_an_artifact_without_a_posterior_is_refused_in_one_sentence(tasks):
    with pytest.raises(ConfigError, match="holds no posterior"):
        read_posterior(tasks)
