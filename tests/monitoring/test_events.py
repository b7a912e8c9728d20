"""Pictures of a run are drawn from its facts alone, at a bounded rate, and their failure never
stops the run."""

from dataclasses import replace

import numpy as np
import pytest

from causal_meta import drawing, monitoring
from causal_meta.conf.artifacts import ArtifactConfig
from causal_meta.conf.registry import config_class, tags
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.facts import Facts, read_events, read_scalars
from causal_meta.monitoring import events
from causal_meta.monitoring.curves import loss_panels, metric_panels
from causal_meta.store import Store

VALIDATION = {"moment": "on_validation_end", "run_id": "tgt_0123456789ab", "step": 20}


def write_run(facts, steps=200, families=("er", "sf")):
    for step in range(10, steps + 1, 10):
        facts.scalars(
            step,
            "train",
            {"train/loss": 1 / step, "train/bce": 0.9 / step, "train/steps_per_second": 3.0},
        )
        if step % 50 == 0:
            metrics = {
                f"val/{family}/{name}": value / step
                for family in families
                for name, value in (("loss", 1), ("bce", 1), ("auroc", 5))
            }
            metrics |= {"val/loss": 1 / step, "val/bce": 1 / step, "val/auroc": 5 / step}
            facts.scalars(step, "val", metrics)
            facts.event("on_validation_end", step=step, split="val", metrics=metrics)


@pytest.fixture
def run(tmp_path):
    write_run(Facts(tmp_path, "tgt_0123456789ab", 1, 0))
    return tmp_path


def test_the_curves_are_the_scalars(run):
    losses, metrics = loss_panels(read_scalars(run)), metric_panels(read_scalars(run))
    assert list(losses) == ["loss", "cross-entropy per pair (nats)"], (
        "speed in steps is left out, the loss comes first"
    )
    steps, values = losses["loss"]["training"]
    assert np.array_equal(values, 1 / steps)
    assert losses["loss"]["validation"][0].tolist() == [50, 100, 150, 200]
    assert list(metrics) == ["AUROC"], "parts of the loss are no metrics"
    assert list(metrics["AUROC"]) == ["mean of the families", "er", "sf"]


def test_one_family_needs_no_mean(tmp_path):
    write_run(Facts(tmp_path, "tgt_0123456789ab", 1, 0), families=("er",))
    assert list(metric_panels(read_scalars(tmp_path))["AUROC"]) == ["er"]


def test_a_resumed_attempt_replaces_the_rows_of_the_earlier_one(run):
    facts = Facts(run, "tgt_0123456789ab", 2, 0)
    facts.scalars(200, "train", {"train/loss": 7.0})
    assert loss_panels(read_scalars(run))["loss"]["training"][1][-1] == 7.0


def test_validation_and_the_end_are_drawn_and_other_moments_are_not(run):
    written = monitoring.handle_event(VALIDATION, run)
    assert [path.relative_to(run).as_posix() for path in written] == [
        "figures/losses.png",
        "figures/metrics.png",
    ]
    first = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in monitoring.handle_event(VALIDATION, run)] == first, (
        "equal facts, equal bytes"
    )
    assert [
        path.name
        for path in monitoring.handle_event(
            VALIDATION | {"moment": "on_train_end"}, run, ["losses"]
        )
    ] == ["losses.png"]
    for moment in ("on_start", "heartbeat", "on_checkpoint"):
        assert monitoring.handle_event(VALIDATION | {"moment": moment}, run) == []


def test_nothing_to_draw_draws_nothing_and_an_unknown_family_is_refused(tmp_path, run):
    assert monitoring.handle_event(VALIDATION, tmp_path / "absent") == []
    with pytest.raises(ValueError, match="no plot family called 'landscapes'"):
        monitoring.handle_event(VALIDATION, run, ["landscapes"])
    with pytest.raises(ValueError, match="no plot family called 'landscapes'"):
        monitoring.subscriber(run, ["losses", "landscapes"])


def test_version_one_facts_are_drawn(tmp_path):
    (tmp_path / "facts").mkdir()
    lines = [
        "epoch,split,train_loss,val_loss,epoch_time_s,throughput,max_memory_mib,metric_acc",
        "0,train,1.0,,1,2,,",
        "0,val,,0.9,1,2,,0.5",
    ]
    (tmp_path / "facts" / "scalars.csv").write_text("\n".join(lines) + "\n")
    assert monitoring.handle_event({"moment": "on_epoch_end", "run_id": "", "step": None}, tmp_path)


def test_drawing_is_throttled_by_time_and_by_its_cost(monkeypatch, tmp_path):
    clock, cost, drawn = [0.0], 2.0, []

    def slow(event, folder, families):
        drawn.append((event["moment"], clock[0]))
        clock[0] += cost

    monkeypatch.setattr(events.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(events, "handle_event", slow)
    draw = events.subscriber(tmp_path, every_seconds=10, share=0.1)
    for _ in range(100):
        draw(VALIDATION)
        clock[0] += 1
    draw(VALIDATION | {"moment": "on_train_end"})
    draw(VALIDATION | {"moment": "on_scalars"})
    moments = [moment for moment, _ in drawn]
    assert moments.count("on_train_end") == 1
    assert 4 <= len(drawn) <= 7, "a drawing of 2 seconds is allowed a tenth of the time"


def test_a_picture_that_fails_becomes_a_fact_and_the_run_continues(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no such glyph")

    monkeypatch.setitem(events.FAMILIES, "losses", replace(events.FAMILIES["losses"], draw=broken))
    write_run(Facts(tmp_path, "tgt_0123456789ab", 1, 0, [events.subscriber(tmp_path)]))
    moments = [event["moment"] for event in read_events(tmp_path)]
    assert moments.count("on_validation_end") == 4
    assert moments.count("on_subscriber_error") == 1
    assert not (tmp_path / "figures" / "losses.png").exists()


def test_a_new_family_is_a_function_and_its_entry(tmp_path, monkeypatch):
    def last(folder, event):
        scalars = read_scalars(folder)
        steps = {"loss": (scalars["step"], scalars["value"])}
        return {"first": drawing.curves({"a": steps}), "second": drawing.curves({"b": steps})}

    monkeypatch.setitem(
        monitoring.FAMILIES, "toy", monitoring.Family(last, ("on_epoch_end",), "toys")
    )
    facts = Facts(tmp_path, "tgt_0123456789ab", 1, 0, [monitoring.subscriber(tmp_path, ["toy"])])
    write_run(facts)
    assert not (tmp_path / "toys").exists()
    facts.event("on_epoch_end", step=200)
    assert sorted(path.name for path in (tmp_path / "toys").iterdir()) == [
        "first.png",
        "second.png",
    ]
    assert not (tmp_path / "figures").exists()


def test_every_kind_names_families_that_exist():
    named = {name for tag in tags(ArtifactConfig) for name in config_class(tag).pictures}
    assert named == set(monitoring.FAMILIES)
    assert config_class("amortised").pictures == ("losses", "metrics")
    assert config_class("hmc").pictures == ("chains",)


def test_a_build_in_a_store_is_drawn_in_its_artifact_folder(tmp_path):
    def builder(config, attempt):
        write_run(attempt.facts)
        return {}

    store = Store(tmp_path)
    artifact = store.build(TasksConfig(), {}, builder, subscribers=[monitoring.subscriber(store)])
    assert sorted(path.name for path in (artifact.folder / "figures").iterdir()) == [
        "losses.png",
        "metrics.png",
    ]
    assert store.verify() == []
    assert not any(
        event["moment"] == "on_subscriber_error" for event in read_events(artifact.folder)
    )
    with pytest.raises(FileNotFoundError, match="has no folder"):
        events.folder_of(store, VALIDATION | {"attempt": 3})
