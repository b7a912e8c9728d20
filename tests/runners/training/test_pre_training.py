"""From a configuration to a published model and back; starting from another one's weights."""

import copy
import json

import numpy as np
import pytest
import torch

from causal_meta.conf.data import DataModuleConfig, FamilyConfig, TaskSetConfig
from causal_meta.conf.inference import EmptyConfig
from causal_meta.conf.models import AviciConfig
from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.conf.ranges import IntRange
from causal_meta.conf.setting import ConfigError
from causal_meta.conf.training import LambConfig, TrainerConfig
from causal_meta.datasets import summaries
from causal_meta.datasets.data_module import CausalMetaModule
from causal_meta.models.base import ModelFactory
from causal_meta.runners.build import make
from causal_meta.runners.training import checkpoints, pre_training
from causal_meta.runners.training.pre_training import load_weights
from causal_meta.store import Store

FAMILY = FamilyConfig(n_nodes=IntRange(low=3, high=5), n_rows=IntRange(low=20, high=30))
SMALL = AviciConfig(dim=8, n_pairs=1, n_heads=2, key_size=4, penalty_every_n_steps=2)


def experiment(model=SMALL, **more):
    trainer = TrainerConfig(
        max_steps=6,
        val_check_interval=3,
        threads=1,
        device="cpu",
        optimizer=LambConfig(learning_rate=0.01),
    )
    values = {
        "data": DataModuleConfig(
            train=FAMILY, test={"er": TaskSetConfig(family=FAMILY, n_tasks=6)}, tasks_per_step=3
        ),
        "trainer": trainer,
    }
    return ExperimentConfig(model=model, **(values | more))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A store with one trained model; summaries of few tasks, which is all that is asked of them
    here."""
    before, whole = torch.get_num_threads(), pre_training.stream_summary
    torch.set_num_threads(1)
    pre_training.stream_summary = lambda family, seed: whole(family, seed, n_tasks=200)
    store = Store(tmp_path_factory.mktemp("store"))
    yield store, make(store, experiment(), name="first")
    pre_training.stream_summary = whole
    torch.set_num_threads(before)


def test_the_artifact_holds_what_later_steps_need(built):
    store, artifact = built
    assert store.verify() == []
    files = {
        str(path.relative_to(artifact.folder))
        for path in artifact.folder.rglob("*")
        if path.is_file()
    }
    wanted = {
        "checkpoints/best.pt",
        "checkpoints/last.pt",
        "checkpoints/last.json",
        "data.json",
        "stream_summary.npz",
        "config.yaml",
        "meta.json",
    }
    assert files == wanted | {"facts/events.jsonl", "facts/scalars.csv"}
    assert artifact.meta["dims"] == {
        "p": sum(p.numel() for p in ModelFactory.build(SMALL, 0).parameters()),
        "n_nodes": [3, 5],
        "n_rows": [20, 30],
        "tasks_per_step": 3,
    }
    assert artifact.meta["tasks"] == 18
    assert set(artifact.meta["metrics"]) >= {"val/auroc", "val/er/auprc"}
    record = json.loads((artifact.folder / "data.json").read_text())
    assert sorted(record["hash_registry"]["er"]) == sorted(
        CausalMetaModule(experiment().data, 0).reserved_hashes
    )
    assert "workers" not in record["config"]
    with np.load(artifact.folder / "stream_summary.npz", allow_pickle=False) as stored:
        expected = summaries.stream_summary(
            CausalMetaModule(experiment().data, 0).family, 0, n_tasks=200
        )
        assert {name: stored[name].tolist() for name in stored} == {
            name: value.tolist() for name, value in expected.items()
        }


def test_the_same_configuration_is_built_once(built):
    store, artifact = built
    again = make(
        store,
        experiment(
            trainer=TrainerConfig(
                **vars(experiment().trainer) | {"log_every_n_steps": 1, "threads": 2}
            )
        ),
    )
    assert again.id == artifact.id
    assert store.find("first").id == artifact.id


@pytest.mark.parametrize("which", ["best", "last"])
def test_load_weights_gives_the_trained_model(built, which):
    _, artifact = built
    model = load_weights(artifact, which)
    stored = checkpoints.read(artifact.folder / "checkpoints" / f"{which}.pt")["model"]
    assert not model.training
    assert all(torch.equal(stored[name], value) for name, value in model.state_dict().items())
    assert not torch.equal(
        model.state_dict()["embed.weight"],
        ModelFactory.build(SMALL, 0).state_dict()["embed.weight"],
    )


def test_first_weights_depend_on_the_seed_alone():
    torch.manual_seed(0)
    first = ModelFactory.build(SMALL, 4)
    state = torch.get_rng_state()
    torch.rand(7)
    torch.manual_seed(1)
    again, other = ModelFactory.build(SMALL, 4), ModelFactory.build(SMALL, 5)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)
    )
    assert not torch.equal(first.embed.weight, other.embed.weight)


def test_init_takes_the_parameters_and_leaves_the_rest(built, monkeypatch):
    store, artifact = built
    seen = {}

    def watched(model, *rest):
        seen.update(copy.deepcopy(model.state_dict()))
        return train(model, *rest)

    train = pre_training.train_graph_model
    monkeypatch.setattr(pre_training, "train_graph_model", watched)
    child = make(store, experiment(seed=1), {"init": artifact})
    best = load_weights(artifact)
    parameters = dict(best.named_parameters())
    assert all(torch.equal(seen[name], value) for name, value in parameters.items())
    assert float(seen["penalty_steps"]) == 0 != float(best.state_dict()["penalty_steps"])
    assert child.inputs == {"init": artifact.id}


def test_init_of_another_shape_is_one_sentence(built):
    store, artifact = built
    with pytest.raises(
        ConfigError,
        match=rf"init={artifact.id} cannot be taken. The weights do not fit: .* has shape",
    ):
        make(
            store,
            experiment(model=AviciConfig(dim=16, n_pairs=1, n_heads=2, key_size=4)),
            {"init": artifact},
        )


def test_settings_that_cannot_train_are_refused(built):
    store, artifact = built
    with pytest.raises(ConfigError, match="with_adjacency is false"):
        make(store, experiment(data=DataModuleConfig(train=FAMILY, with_adjacency=False)))
    with pytest.raises(ValueError, match="holds no model; give an amortised target"):
        load_weights(_of_kind(artifact, EmptyConfig()))


def _of_kind(artifact, config):
    other = copy.copy(artifact)
    other.__dict__["config"] = config
    return other


def test_a_damaged_file_is_one_sentence(built, tmp_path):
    store, artifact = built
    copied = store.export(artifact, tmp_path / "out")
    from causal_meta.store.artifact import read_artifact

    damaged = copied / "checkpoints" / "best.pt"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"best\.pt is no readable checkpoint"):
        load_weights(read_artifact(copied))
