"""Training of a graph model against a loop written out, its record, its choice of weights, and the
global state that it must leave alone."""

import copy
import hashlib
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from causal_meta.conf.data import DataModuleConfig, FamilyConfig, TaskSetConfig
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.conf.models import AviciConfig, ModelConfig
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.conf.setting import ConfigError
from causal_meta.conf.training import AdamWConfig, LambConfig, TrainerConfig
from causal_meta.datasets.data_module import CausalMetaModule
from causal_meta.facts import Facts, read_scalars
from causal_meta.models.base import BaseModel, ModelFactory, evaluating
from causal_meta.posteriors import IndependentEdges, pair_mask
from causal_meta.randomness import key
from causal_meta.runners.training import checkpoints, train_metrics
from causal_meta.runners.training.devices import open_fabric
from causal_meta.runners.training.graph_training import train_graph_model as train
from causal_meta.runners.training.optimizers import AdamW, Lamb, rate
from causal_meta.store import Attempt

SPARSE = FamilyConfig(n_nodes=fixed(4), n_rows=fixed(30), graph=ErdosRenyi(edges_per_node=1.0))
VARIED = FamilyConfig(n_nodes=IntRange(low=3, high=5), n_rows=IntRange(low=10, high=20))


class Toy(BaseModel):
    """Edge logits from the absolute correlations, by one hidden layer with dropout, and a buffer
    moved by `after_step`."""

    needs_pretraining = True

    def __init__(self, seed=0):
        super().__init__(ModelConfig())
        generator = torch.Generator().manual_seed(seed)
        self.inner, self.outer = (
            nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((1, 8), (8, 1))
        )
        self.register_buffer("multiplier", torch.zeros(()))
        self.dtypes: list[torch.dtype] = []
        self.poison_at = None

    def initialise(self, generator):
        pass

    def forward(self, batch):
        correlations = (batch.x.mT @ batch.x / batch.n_rows).float().abs()
        hidden = torch.tanh(correlations[..., None] * self.inner - 0.5)
        self.dtypes.append((hidden @ self.outer).dtype)
        return (nn.functional.dropout(hidden, 0.3, self.training) @ self.outer)[..., 0]

    def calculate_loss(self, output, batch):
        pairs = pair_mask(batch.node_mask)
        loss = nn.functional.binary_cross_entropy_with_logits(
            output[pairs], batch.adjacency[pairs]
        ) * (1 + self.multiplier)
        if self.poison_at is not None and self.training and len(self.dtypes) >= self.poison_at:
            loss = loss * torch.inf
        return loss, {"bce": loss.detach()}

    def posterior_of(self, output, batch):
        return IndependentEdges(output, batch.node_mask)

    @torch.no_grad()
    def after_step(self, step):
        self.multiplier.add_(0.01 * step)


def attempt_in(folder, subscribers=(), **options):
    folder.mkdir(exist_ok=True)
    facts = Facts(folder, "tgt_000000000000", 1, 5, subscribers)
    return Attempt(folder, "tgt_000000000000", 1, {}, facts, options=options)


def module_of(test=("a", "b"), family=SPARSE, **more):
    sets = {name: TaskSetConfig(family=family, n_tasks=10) for name in test}
    return CausalMetaModule(DataModuleConfig(train=family, test=sets, tasks_per_step=4, **more), 5)


OPTIMISERS = [
    (LambConfig(learning_rate=0.02, weight_decay=0.01), Lamb),
    (AdamWConfig(learning_rate=0.02), AdamW),
]


@pytest.mark.parametrize(("config", "optimizer_class"), OPTIMISERS, ids=["lamb", "adamw"])
def test_training_is_the_loop_written_out(tmp_path, config, optimizer_class):
    trainer = TrainerConfig(
        max_steps=12,
        optimizer=config,
        warmup_steps=3,
        schedule="cosine",
        gradient_clip_norm=0.05,
        val_check_interval=5,
        log_every_n_steps=4,
    )
    model, module = Toy(), module_of()
    train(model, module, trainer, attempt_in(tmp_path / "a"), 5)

    plain = Toy().train()
    optimizer = optimizer_class(config, plain.parameters())
    clipped = 0
    with torch.random.fork_rng():
        for step, batch in zip(range(12), module_of().train_dataloader(), strict=False):
            torch.manual_seed(key(5, "dropout", step, 0)[0] >> 1)
            loss, _ = plain.calculate_loss(plain(batch), batch)
            optimizer.zero_grad()
            loss.backward()
            clipped += bool(nn.utils.clip_grad_norm_(plain.parameters(), 0.05) > 0.05)
            optimizer.param_groups[0]["lr"] = rate(trainer, step)
            optimizer.step()
            plain.after_step(step + 1)
    assert clipped > 0
    for name, value in plain.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    assert not torch.equal(model.inner, Toy().inner)


def test_training_teaches(tmp_path):
    """The loss falls by five standard errors of its batches, and the ranking of edges beats
    chance."""
    trainer = TrainerConfig(
        max_steps=200,
        optimizer=AdamWConfig(learning_rate=0.02),
        val_check_interval=200,
        log_every_n_steps=1,
    )
    model = Toy()
    model.after_step = lambda step: None
    result = train(model, module_of(), trainer, attempt_in(tmp_path / "a"), 5)
    table = read_scalars(tmp_path / "a")
    losses = table[table["name"] == "train/loss"]["value"].to_numpy()
    first, last = losses[:30], losses[-60:]
    error = math.hypot(
        first.std(ddof=1) / math.sqrt(len(first)), last.std(ddof=1) / math.sqrt(len(last))
    )
    assert first.mean() - last.mean() > 5 * error
    assert result["metrics"]["val/auroc"] > 0.6


def test_the_record_holds_what_happened(tmp_path):
    events = []
    trainer = TrainerConfig(
        max_steps=25,
        val_check_interval=10,
        log_every_n_steps=5,
        checkpoint_every_n_steps=8,
        optimizer=AdamWConfig(),
    )
    attempt = attempt_in(tmp_path / "a", [events.append])
    result = train(Toy(), module_of(), trainer, attempt, 5)
    events = [event for event in events if event["moment"] != "on_scalars"]
    moments = [(event["moment"], event["step"]) for event in events]
    expected = [
        ("on_start", 0),
        ("on_checkpoint", 8),
        ("on_validation_end", 10),
        ("on_checkpoint", 16),
        ("on_validation_end", 20),
    ]
    expected += [
        ("on_checkpoint", 24),
        ("on_validation_end", 25),
        ("on_checkpoint", 25),
        ("on_train_end", 25),
    ]
    assert moments == expected
    assert events[0]["data"]["families"] == ["a", "b"]
    assert len(events[0]["data"]["sha256"]) == 64
    assert events[-1]["tasks"] == result["tasks"] == 100
    assert events[-1]["total_time_s"] > 0
    table = read_scalars(tmp_path / "a")
    rows = table[table["split"] == "train"]
    assert set(rows["step"]) == {5, 10, 15, 20, 25}
    names = {
        "loss",
        "bce",
        "gradient_norm",
        "learning_rate",
        "tasks_per_second",
        "steps_per_second",
        "redrawn_graphs",
        "redrawn_models",
    }
    assert set(rows["name"]) == {f"train/{name}" for name in names}
    redrawn = rows[rows["name"] == "train/redrawn_graphs"]["value"].to_numpy()
    assert (np.diff(redrawn) >= 0).all()
    assert redrawn[-1] == events[-1]["redrawn_graphs"] > 0, (
        "four nodes: the twenty test graphs come up again in a hundred tasks"
    )
    val = table[table["step"] == 20].set_index("name")["value"]
    for metric in ("loss", "auroc", "auprc", "ece", "brier", "graph_nll"):
        assert val[f"val/{metric}"] == pytest.approx(
            (val[f"val/a/{metric}"] + val[f"val/b/{metric}"]) / 2
        )
    note = json.loads((tmp_path / "a/checkpoints/last.json").read_text())
    assert note == {
        "step": 25,
        "sha256": hashlib.sha256((tmp_path / "a/checkpoints/last.pt").read_bytes()).hexdigest(),
    }
    assert "optimizer" not in checkpoints.read(tmp_path / "a/checkpoints/last.pt")
    assert len(events[-2]["digest"]) == 64


def test_training_that_had_ended_but_was_not_published_is_not_done_again(tmp_path):
    trainer = TrainerConfig(max_steps=6, val_check_interval=4)
    first = train(Toy(), module_of(), trainer, attempt_in(tmp_path / "a"), 5)
    before = {path.name: path.read_bytes() for path in (tmp_path / "a/checkpoints").iterdir()}
    events = []
    assert (
        train(Toy(), module_of(), trainer, attempt_in(tmp_path / "a", [events.append]), 5) == first
    )
    assert next(event["moment"] for event in events) == "on_resume"
    assert {
        path.name: path.read_bytes() for path in (tmp_path / "a/checkpoints").iterdir()
    } == before


@pytest.mark.parametrize(
    ("monitor", "position"), [("val/loss", np.nanargmin), ("val/a/auprc", np.nanargmax)]
)
def test_best_holds_the_best_weights(tmp_path, monitor, position):
    trainer = TrainerConfig(
        max_steps=40,
        val_check_interval=4,
        monitor=monitor,
        optimizer=AdamWConfig(learning_rate=0.3),
    )
    model, module = Toy(), module_of()
    result = train(model, module, trainer, attempt_in(tmp_path / "a"), 5)
    table = read_scalars(tmp_path / "a")
    curve = table[table["name"] == monitor].sort_values("step")
    best = curve.iloc[int(position(curve["value"].to_numpy()))]
    assert result["best_step"] == best["step"] < 40
    assert result["metrics"][monitor] == best["value"]
    payload = checkpoints.read(tmp_path / "a/checkpoints/best.pt")
    assert payload["step"] == best["step"]
    again = Toy(seed=9)
    checkpoints.load(again, payload["model"])
    values = []
    with evaluating(again), torch.no_grad():
        for part in module.test_dataloader()["a"]:
            values.append(
                train_metrics.posterior_metrics(again.posterior_of(again(part), part), part)[
                    "auprc"
                ]
            )
    assert float(torch.cat(values).nanmean()) == pytest.approx(
        result["metrics"]["val/a/auprc"], abs=1e-12
    )
    assert not torch.equal(again.inner, model.inner)


def test_without_test_families_the_last_weights_are_best(tmp_path):
    model = Toy()
    result = train(
        model,
        module_of(test=()),
        TrainerConfig(max_steps=5, val_check_interval=2),
        attempt_in(tmp_path / "a"),
        5,
    )
    assert (result["best_step"], result["metrics"]) == (5, {})
    best = checkpoints.read(tmp_path / "a/checkpoints/best.pt")["model"]
    assert all(torch.equal(best[name], value) for name, value in model.state_dict().items())


def test_a_finished_folder_is_left_as_it_is(tmp_path):
    trainer = TrainerConfig(max_steps=6, val_check_interval=4)
    results, files = [], []
    for _ in range(2):
        results.append(train(Toy(), module_of(), trainer, attempt_in(tmp_path / "a"), 5))
        files.append(
            {path.name: path.read_bytes() for path in (tmp_path / "a/checkpoints").iterdir()}
        )
    assert results[0] == results[1]
    assert files[0] == files[1]


def test_a_torn_checkpoint_is_not_used(tmp_path):
    trainer = TrainerConfig(max_steps=6, val_check_interval=4)
    train(Toy(), module_of(), trainer, attempt_in(tmp_path / "a"), 5)
    file = tmp_path / "a/checkpoints/last.pt"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    events = []
    train(Toy(), module_of(), trainer, attempt_in(tmp_path / "a", [events.append]), 5)
    assert events[0]["moment"] == "on_start"
    assert file.read_bytes() == whole


def test_diverged_training_stops_and_keeps_nothing_of_it(tmp_path):
    model = Toy()
    model.poison_at = 7
    trainer = TrainerConfig(
        max_steps=20, log_every_n_steps=2, checkpoint_every_n_steps=3, val_check_interval=50
    )
    with pytest.raises(RuntimeError, match=r"not finite at step 7 \(seed 5\)"):
        train(model, module_of(), trainer, attempt_in(tmp_path / "a"), 5)
    kept = checkpoints.read(tmp_path / "a/checkpoints/last.pt")
    assert kept["step"] == 6
    assert all(bool(torch.isfinite(value).all()) for value in kept["model"].values())


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_global_is_disturbed_and_nothing_is_printed(tmp_path, capfd, workers):
    torch.manual_seed(1)
    before, threads, numpy_before = (
        torch.get_rng_state(),
        torch.get_num_threads(),
        np.random.get_state()[1].copy(),
    )
    train(
        Toy(),
        module_of(workers=workers),
        TrainerConfig(max_steps=3, threads=2),
        attempt_in(tmp_path / "a"),
        5,
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert np.array_equal(np.random.get_state()[1], numpy_before)
    assert capfd.readouterr() == ("", "")


def test_lines_of_progress_come_only_when_asked_for(tmp_path, capfd):
    train(
        Toy(),
        module_of(),
        TrainerConfig(max_steps=4, log_every_n_steps=2),
        attempt_in(tmp_path / "a", progress="lines"),
        5,
    )
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("step 4/4  loss ")
    assert "tasks/s" in err
    assert "0:00 left" in err


def test_the_bar_goes_to_standard_error(tmp_path, capfd):
    train(
        Toy(),
        module_of(),
        TrainerConfig(max_steps=4, log_every_n_steps=2),
        attempt_in(tmp_path / "a", progress="bar"),
        5,
    )
    out, err = capfd.readouterr()
    assert out == ""
    assert "4/4" in err
    assert "tasks/s" in err


def test_bf16_is_autocast_and_weights_stay_fp32(tmp_path, capfd):
    kinds = {}
    for precision in ("fp32", "bf16"):
        model = Toy()
        train(
            model,
            module_of(),
            TrainerConfig(max_steps=2, precision=precision),
            attempt_in(tmp_path / precision),
            5,
        )
        kinds[precision] = set(model.dtypes), model.inner.dtype
    assert kinds == {
        "fp32": ({torch.float32}, torch.float32),
        "bf16": ({torch.bfloat16}, torch.float32),
    }
    assert capfd.readouterr() == ("", "")


def test_user_errors_are_one_sentence_and_early(tmp_path):
    for trainer, words in [
        (
            TrainerConfig(monitor="val/accuracy"),
            r"trainer.monitor is 'val/accuracy'; allowed are val/loss, .*val/a/auroc",
        ),
        (TrainerConfig(device="tpu"), r"trainer.device is 'tpu'; allowed are auto, cpu"),
        (TrainerConfig(device="cpu:x"), r"trainer.device is 'cpu:x'"),
    ]:
        with pytest.raises(ConfigError, match=words):
            train(Toy(), module_of(test=("a",)), trainer, attempt_in(tmp_path / "a"), 5)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="which this machine does not have"):
            open_fabric(TrainerConfig(device="cuda"))


def test_hostile_and_foreign_files_are_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("owned",))

    for name, thing, words in [
        ("evil.pt", {"format": 1, "model": Evil()}, "no readable"),
        ("other.pt", {"weights": torch.ones(1)}, "lacks 'format'"),
    ]:
        torch.save(thing, tmp_path / name)
        with pytest.raises(ValueError, match=words):
            checkpoints.read(tmp_path / name)
    with pytest.raises(ValueError, match=r"no checkpoint gone\.pt"):
        checkpoints.read(tmp_path / "gone.pt")


def test_weights_that_do_not_fit_are_named():
    small, large = (
        ModelFactory.build(AviciConfig(dim=dim, n_pairs=1, n_heads=2, key_size=4), 0)
        for dim in (8, 16)
    )
    before = copy.deepcopy(small.state_dict())
    with pytest.raises(
        ValueError, match=r"embed.weight has shape \[16, 2\] in tgt_x and \[8, 2\] in this model"
    ):
        checkpoints.load(small, checkpoints.weights_of(large), parameters_only=True, whose="tgt_x")
    assert all(torch.equal(before[name], value) for name, value in small.state_dict().items())


@pytest.mark.parametrize("checkpoint_blocks", [False, True])
def test_avici_trains_on_tables_of_varied_size(tmp_path, checkpoint_blocks):
    model = ModelFactory.build(
        AviciConfig(dim=8, n_pairs=1, n_heads=2, key_size=4, checkpoint_blocks=checkpoint_blocks), 5
    )
    result = train(
        model,
        module_of(family=VARIED),
        TrainerConfig(max_steps=6, precision="bf16"),
        attempt_in(tmp_path / "a"),
        5,
    )
    assert 0 < result["metrics"]["val/auroc"] < 1
