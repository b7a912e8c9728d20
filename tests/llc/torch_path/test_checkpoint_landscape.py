"""Learning coefficients of trained graph models: the loss is that of training, and the command line
gives estimates."""

import json

import numpy as np
import pytest
import torch

from causal_meta.cli import main
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.models import AviciConfig
from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.conf.ranges import IntRange
from causal_meta.conf.setting import ConfigError
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.datasets.scm import SCMFamily
from causal_meta.models.base import ModelFactory
from causal_meta.runners.build import make
from causal_meta.runners.llc.checkpoint_landscape import checkpoint_landscape, model_landscape
from causal_meta.runners.training import checkpoints
from causal_meta.tasks import collate

TINY = AviciConfig(dim=8, n_pairs=1, n_heads=2, key_size=3, widening=2, dropout=0.5)
FAMILY = FamilyConfig(n_nodes=IntRange(low=3, high=5), n_rows=IntRange(low=10, high=20))


@pytest.fixture(scope="module")
def landscape():
    """A tiny model over twelve padded tasks, with the model and the tasks."""
    model, batch = ModelFactory.build(TINY, 0), SCMFamily(FAMILY).sample_tasks(list(range(12)))
    return model_landscape(model, batch), model, batch


def test_the_loss_is_that_of_training_times_the_pairs(landscape):
    """Tasks of one size: D (D - 1) times the mean binary cross-entropy of `calculate_loss`, without
    dropout; each task as if it were alone."""
    whole, model, batch = landscape
    losses = whole.item_losses(whole.centre).detach()
    model.eval()
    for b in range(len(batch)):
        alone = collate([batch.task(b)])
        with torch.no_grad():
            _, parts = model.calculate_loss(model(alone), alone)
        nodes = alone.n_nodes
        assert float(losses[b]) == pytest.approx(
            nodes * (nodes - 1) * float(parts["bce"]), rel=1e-4
        )
    assert float(whole.mean_loss(whole.centre)) == pytest.approx(float(losses.mean()), rel=1e-12)
    assert whole.n == 12
    assert whole.n_parameters == sum(parameter.numel() for parameter in model.parameters())


def test_training_mode_and_the_truth_elsewhere_change_nothing(landscape):
    whole, model, batch = landscape
    model.train()
    again = model_landscape(model, batch)
    assert torch.equal(whole.item_losses(whole.centre), again.item_losses(again.centre))
    assert model.training
    assert all(part.training for part in model.modules())


def test_everything_is_in_double_precision(landscape):
    whole = landscape[0]
    step = 1e-9 * torch.ones_like(whole.centre)
    _, slope = whole.value_and_gradient(whole.centre[None])
    change = float(whole.mean_loss(whole.centre + step) - whole.mean_loss(whole.centre - step))
    assert change == pytest.approx(2 * float(slope[0] @ step), rel=1e-4)


@pytest.mark.parametrize(
    ("mask", "count"),
    [("blocks.0.*@head:1", 3 * (3 * 8 + 3) + 8 * 3), ("blocks.1.*norm.*", 4 * 2 * 8), ("bias", 1)],
)
def test_heads_and_layers_can_be_selected(landscape, mask, count):
    assert landscape[0].restricted(mask).n_parameters == count


@pytest.fixture
def targets(llc_store):
    """An untrained model, and tasks with and without a truth, in the store."""

    def keep(config, attempt):
        model = ModelFactory.build(config.model, config.seed)
        checkpoints.write_best(
            attempt.folder / "checkpoints",
            checkpoints.payload(checkpoints.header_of(model), checkpoints.weights_of(model), 0),
        )
        return {}

    model = llc_store.build(ExperimentConfig(model=TINY), {}, keep, name="first")
    tasks = make(llc_store, TasksConfig(data=FAMILY, n_tasks=8), name="held")
    return model, tasks


WORDS = ["of=first", "tasks=held", "draws=12", "thin=2", "chains=2", "posterior.mask=cause.*"]


def test_estimates_from_the_command_line(llc_store, targets, capsys):
    assert main(["infer", "sgld", *WORDS, "warmup=20", "batch_size=3"]) == 0
    run = llc_store.find(capsys.readouterr().out.split()[-1])
    analysis = json.loads((run.folder / "analysis.json").read_text())
    assert (analysis["n"], analysis["n_parameters"]) == (8, 72)
    assert analysis["is_minimum"] is False
    assert "not_a_minimum" in analysis["flags"]
    assert analysis["statistics"]["centre"]["descent_gain"] > 0.1
    assert set(run.inputs) == {"of", "tasks"}
    assert main(["infer", "sgld", *WORDS, "warmup=20", "batch_size=3"]) == 0
    captured = capsys.readouterr()
    assert captured.out.split()[-1] == run.id
    assert "in the store already" in captured.err
    assert (
        main(
            [
                *("infer", "mala", *WORDS, "warmup=100", "thin=5"),
                *("posterior.polish=60", "posterior.gamma=100"),
            ]
        )
        == 0
    )
    polished = json.loads(
        (llc_store.find(capsys.readouterr().out.split()[-1]).folder / "analysis.json").read_text()
    )
    assert (
        polished["statistics"]["polish"]["loss_after"]
        < polished["statistics"]["polish"]["loss_before"]
    )
    assert polished["centre_loss"] == pytest.approx(
        polished["statistics"]["polish"]["loss_after"], rel=1e-12
    )
    assert np.isfinite(polished["llc_mean"])


def test_incompatible_inputs_are_refused(llc_store, targets, capsys):
    for kind, words, says in (
        ("nuts", ["of=first", "tasks=held"], "hmc, mala, sgld, sgnht do"),
        ("sgld", ["of=first"], "needs the tasks that its loss is taken over"),
        ("sgld", [*WORDS, "batch_size=9"], "there are 8 items"),
        (
            "mala",
            ["of=first", "tasks=held", "posterior.mask=blocks.0.*@head:2"],
            "heads are 0 to 1",
        ),
        ("mala", ["of=held", "tasks=held"], "mala takes network, amortised as of"),
    ):
        assert main(["infer", kind, *words]) == 2
        message = capsys.readouterr().err
        assert says in message
        assert "Traceback" not in message


def test_tasks_that_give_no_loss_are_refused(llc_store, targets, tmp_path):
    model, _ = targets
    alone = make(llc_store, TasksConfig(data=FAMILY, n_tasks=1))
    with pytest.raises(ConfigError, match="hold 1 task"):
        checkpoint_landscape(model, alone)
    table = tmp_path / "table.csv"
    table.write_text("a,b,c\n" + "\n".join(f"{i},{i * i % 7},{i % 3}" for i in range(30)) + "\n")
    assert main(["build", "tasks", f"data.table={table}", "--name", "plain"]) == 0
    with pytest.raises(ConfigError, match="no true graph"):
        checkpoint_landscape(model, llc_store.find("plain"))
