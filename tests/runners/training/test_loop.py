"""The loop alone: a trainable with two optimisers and batches of its own trains, is killed and
resumed, through the same loop as graph models."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from causal_meta.conf.setting import ConfigError
from causal_meta.conf.training import AdamWConfig, TrainerConfig
from causal_meta.facts import Facts, read_events, read_scalars
from causal_meta.randomness import torch_generator
from causal_meta.runners.training import checkpoints
from causal_meta.runners.training.loop import Trainable, fit
from causal_meta.runners.training.optimizers import rate
from causal_meta.store import Attempt

SEED, TRUE_MEAN = 3, 2.0


class Killed(BaseException):
    """Stands for the end of the process."""


class Adversaries(Trainable):
    """A generator of numbers against a critic: Wasserstein with a clipped linear critic, dropout in
    the generator, Adam for one and momentum for the other. The critic is not published."""

    must_be_finite = ("loss", "critic_loss")

    def __init__(self, trainer, kill_at=None, between=False):
        self.trainer, self.kill_at, self.between = trainer, kill_at, between
        self.generator, self.critic = nn.Linear(1, 1), nn.Linear(1, 1)
        with torch.no_grad():
            for module in (self.generator, self.critic):
                module.weight.fill_(0.1)
                module.bias.fill_(0.0)
        self.poison_at = None

    def direction(self, monitor):
        if monitor != "val/gap":
            raise ConfigError(f"trainer.monitor is {monitor!r}; allowed is val/gap.")
        return "min"

    def prepare(self, fabric):
        self.fabric = fabric
        self.wrapped = [fabric.setup_module(module) for module in (self.generator, self.critic)]
        self.optimizers = [
            torch.optim.Adam(self.generator.parameters()),
            torch.optim.SGD(self.critic.parameters(), lr=0.05, momentum=0.5),
        ]

    def batches(self, start_step):
        step = start_step
        while True:
            source = torch_generator(SEED, "toy", step)
            yield TRUE_MEAN + torch.randn(8, 1, generator=source)
            step += 1

    def step(self, batch, step):
        first, second = self.optimizers
        generator, critic = self.wrapped
        invented = generator(nn.functional.dropout(torch.ones_like(batch), 0.3))
        if step == self.poison_at:
            invented = invented * torch.inf
        critic_loss = critic(invented.detach()).mean() - critic(batch).mean()
        second.zero_grad()
        self.fabric.backward(critic_loss)
        second.step()
        with torch.no_grad():
            self.critic.weight.clamp_(-1, 1)
        if step == self.kill_at and self.between:  # one optimiser has moved and the other has not
            raise Killed
        loss = -critic(invented).mean()
        first.zero_grad()
        self.fabric.backward(loss)
        first.param_groups[0]["lr"] = rate(self.trainer, step)
        first.step()
        if step == self.kill_at:
            raise Killed
        return {"loss": loss.detach(), "critic_loss": critic_loss.detach()}

    def validate(self):
        with torch.no_grad():
            mean = float(self.generator(torch.ones(1, 1)))
        return {"val/gap": abs(mean - TRUE_MEAN)}

    def header(self):
        return {"format": checkpoints.FORMAT, "kind": "adversaries"}

    def weights(self):
        return checkpoints.weights_of(self.generator)

    def state(self):
        parts = {
            "critic": checkpoints.weights_of(self.critic),
            "first": checkpoints.flat_optimizer(self.optimizers[0]),
            "second": checkpoints.flat_optimizer(self.optimizers[1]),
        }
        return {f"{part}/{name}": value for part in parts for name, value in parts[part].items()}

    def load(self, weights, state):
        checkpoints.load(self.generator, weights)
        parts = {"critic": {}, "first": {}, "second": {}}
        for path, value in (state or {}).items():
            part, _, name = path.partition("/")
            parts[part][name] = value
        if state is not None:
            checkpoints.load(self.critic, parts["critic"])
            for optimizer, part in zip(self.optimizers, ("first", "second"), strict=True):
                checkpoints.load_optimizer(optimizer, parts[part])


TRAINER = TrainerConfig(
    max_steps=40,
    optimizer=AdamWConfig(learning_rate=0.1),
    warmup_steps=5,
    schedule="cosine",
    monitor="val/gap",
    val_check_interval=7,
    log_every_n_steps=5,
    checkpoint_every_n_steps=4,
)


def train(folder, number=1, trainer=TRAINER, **how):
    folder.mkdir(exist_ok=True)
    facts = Facts(folder, "tgt_000000000000", number, SEED)
    attempt = Attempt(folder, "tgt_000000000000", number, {}, facts)
    trainable = Adversaries(trainer, **how)
    return trainable, fit(trainable, trainer, attempt, SEED)


def files(folder):
    return {path.name: path.read_bytes() for path in (folder / "checkpoints").iterdir()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loop") / "a"
    return folder, *train(folder)


def test_two_optimisers_train_and_what_they_do_is_recorded(undisturbed):
    folder, trainable, result = undisturbed
    assert result["metrics"]["val/gap"] < 0.5 * TRUE_MEAN
    assert not torch.equal(trainable.critic.weight, torch.full((1, 1), 0.1))
    table = read_scalars(folder)
    names = set(table[table["split"] == "train"]["name"])
    assert {"train/loss", "train/critic_loss", "train/learning_rate"} <= names
    curve = table[table["name"] == "val/gap"]
    assert result["metrics"]["val/gap"] == curve["value"].min()
    assert checkpoints.read(folder / "checkpoints/best.pt")["kind"] == "adversaries"
    last = checkpoints.read(folder / "checkpoints/last.pt")
    assert set(last["model"]) == {"weight", "bias"}  # the critic is not published
    assert "optimizer" not in last
    assert result["tasks"] == 320


def test_a_killed_training_resumes_to_the_same_bits(undisturbed, tmp_path):
    folder, trainable, result = undisturbed
    kills = [(2, False), (9, True), (20, False), (27, True), (39, True)]
    for number, (step, between) in enumerate(kills, 1):
        with pytest.raises(Killed):
            train(tmp_path / "a", number, kill_at=step, between=between)
    again, resumed_result = train(tmp_path / "a", 9)
    assert resumed_result == result
    assert files(tmp_path / "a") == files(folder)
    assert torch.equal(again.critic.weight, trainable.critic.weight)
    moments = [event for event in read_events(tmp_path / "a") if event["moment"] == "on_resume"]
    assert [event["step"] for event in moments] == [8, 20, 24, 36]


@pytest.mark.parametrize("lost", ["critic", "first", "second"])
def test_a_part_of_the_state_that_is_lost_changes_the_result(undisturbed, tmp_path, lost):
    with pytest.raises(Killed):
        train(tmp_path / "a", kill_at=20)

    class Forgetful(Adversaries):
        def load(self, weights, state):
            super().load(weights, state)
            if lost == "critic":
                nn.init.zeros_(self.critic.weight)
            else:
                self.optimizers[lost == "second"].state.clear()

    facts = Facts(tmp_path / "a", "tgt_000000000000", 2, SEED)
    attempt = Attempt(tmp_path / "a", "tgt_000000000000", 2, {}, facts)
    forgetful = Forgetful(TRAINER)
    fit(forgetful, TRAINER, attempt, SEED)
    assert not torch.equal(forgetful.generator.weight, undisturbed[1].generator.weight)


def test_a_part_that_is_not_finite_ends_the_training(tmp_path):
    class Poisoned(Adversaries):
        def __init__(self, trainer):
            super().__init__(trainer)
            self.poison_at = 6

    facts = Facts(tmp_path, "tgt_000000000000", 1, SEED)
    attempt = Attempt(tmp_path, "tgt_000000000000", 1, {}, facts)
    with pytest.raises(RuntimeError, match="not finite at step 7 "):
        fit(Poisoned(TRAINER), TRAINER, attempt, SEED)
    assert attempt.load("tensors")["step"] == 4


def test_a_metric_that_does_not_exist_is_refused_before_anything_is_made(tmp_path):
    import dataclasses

    with pytest.raises(ConfigError, match=r"allowed is val/gap"):
        train(tmp_path / "a", trainer=dataclasses.replace(TRAINER, monitor="val/auroc"))
    assert not list((tmp_path / "a").iterdir())


def test_the_loop_imports_nothing_of_graphs_models_or_data_sets():
    program = (
        "import sys, causal_meta.runners.training.loop\n"
        "rooms = {name.split('.')[1] for name in sys.modules if name.startswith('causal_meta.')}\n"
        "print(*sorted(rooms))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    rooms = set(done.stdout.split())
    assert not rooms & {"graphs", "models", "datasets", "posteriors", "tasks", "layers", "scores"}
    assert {"conf", "runners", "store"} <= rooms
