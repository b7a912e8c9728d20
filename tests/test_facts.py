"""Facts: whole lines, never edited, readable after any interruption; version 1 can be read too."""

import datetime
import json
import math
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from causal_meta.conf.inference import EmptyConfig
from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.facts import (
    MOMENTS,
    ON_SCALARS,
    Facts,
    FactsError,
    aggregate_results,
    append_jsonl_event,
    append_scalars_csv,
    build_event_payload,
    discover_runs,
    load_runs,
    provenance,
    read_events,
    read_scalars,
)
from causal_meta.facts.write import finite
from causal_meta.store import Store

RUN = "tgt_0123456789ab"


@pytest.fixture
def facts(tmp_path):
    return Facts(tmp_path, RUN, 1, seed=7)


def events_file(folder: Path) -> Path:
    return folder / "facts" / "events.jsonl"


def scalars_file(folder: Path) -> Path:
    return folder / "facts" / "scalars.csv"


def violations(event: dict) -> list[str]:
    """The violations of schema version 2 by an event, which is written out here a second
    time."""
    kinds = {
        "schema_version": int, "moment": str, "run_id": str, "attempt": int, "step": int | None,
        "split": str | None, "metrics": dict,
        "wall_s": float | int | None, "cpu_s": float | int | None, "timestamp": str,
    }  # fmt: skip
    wrong = [
        name
        for name, kind in kinds.items()
        if name not in event or not isinstance(event[name], kind)
    ]
    if "timestamp" not in wrong and datetime.datetime.fromisoformat(
        event["timestamp"]
    ).utcoffset() != datetime.timedelta(0):
        wrong.append("timestamp is not UTC")
    if ("meta" in event) != (event.get("moment") in ("on_start", "on_resume")):
        wrong.append("meta")
    if event.get("schema_version") != 2:
        wrong.append("version")
    return wrong + [name for name in event if name.startswith("histor")]


# ------------------------------------------------------------------------------------------- events


def test_every_event_follows_the_schema(facts, tmp_path):
    for moment in MOMENTS:
        facts.event(
            moment,
            step=3,
            split="val",
            metrics={"val/loss": np.float32(0.5)},
            path=Path("checkpoints/last.pt"),
        )
    events = read_events(tmp_path)
    assert [event["moment"] for event in events] == list(MOMENTS)
    assert [violations(event) for event in events] == [[]] * len(MOMENTS)
    assert {event["run_id"] for event in events} == {RUN}
    assert events[3]["metrics"] == {"val/loss": 0.5}
    assert events[3]["path"] == "checkpoints/last.pt"
    assert events.problems == []


def test_the_schema_check_rejects_wrong_events():
    good = build_event_payload("on_checkpoint", run_id=RUN, step=1)
    assert violations(good) == []
    assert violations(good | {"step": "1"}) == ["step"]
    assert violations(good | {"meta": {}}) == ["meta"]
    assert violations({key: value for key, value in good.items() if key != "attempt"}) == [
        "attempt"
    ]
    assert violations(good | {"histories": {}}) == ["histories"]
    assert violations(good | {"timestamp": "2026-01-01T00:00:00+01:00"}) == ["timestamp is not UTC"]


def test_the_first_event_of_an_attempt_is_its_start(facts, tmp_path):
    facts.scalars(1, "train", {"loss": 1.0})
    facts.event("on_validation_end", step=1)
    assert [event["moment"] for event in read_events(tmp_path)] == ["on_start", "on_validation_end"]
    again = Facts(tmp_path, RUN, 2, seed=7)
    again.event("heartbeat")
    assert [(event["attempt"], event["moment"]) for event in read_events(tmp_path)][2:] == [
        (2, "on_resume"),
        (2, "heartbeat"),
    ]


def test_a_builder_may_write_the_start_itself(facts, tmp_path):
    facts.event("on_start", data_digest="abc")
    facts.ensure_started()
    (event,) = read_events(tmp_path)
    assert event["data_digest"] == "abc"
    assert event["meta"]["seed"] == 7
    assert event["meta"]["git_commit"] == provenance.code_sha()


def test_lines_grow_linearly_and_meta_is_written_once(facts, tmp_path):
    """Version 1 wrote full histories twice into every event: 80,800 numbers at 100 epochs."""
    for step in range(100):
        facts.event("on_validation_end", step=step, metrics={"val/loss": 1.0})
    lengths = [len(line) for line in events_file(tmp_path).read_text().splitlines()[1:]]
    assert max(lengths) - min(lengths) < 10
    assert sum("meta" in event for event in read_events(tmp_path)) == 1


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.text(), st.floats() | st.integers(-(2**63), 2**63) | st.none() | st.text(), max_size=5
    )
)
def test_numbers_that_are_not_finite_become_null_and_are_named(tmp_path_factory, metrics):
    event = build_event_payload("on_validation_end", metrics=metrics)
    folder = tmp_path_factory.mktemp("facts")
    append_jsonl_event(folder, event)
    (line,) = events_file(folder).read_text("utf-8").split("\n")[:-1]
    strict = json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    wrong = {
        name
        for name, value in metrics.items()
        if isinstance(value, float) and not math.isfinite(value)
    }
    assert strict["metrics"] == {
        name: None if name in wrong else value for name, value in metrics.items()
    }
    assert sorted(strict.get("non_finite", [])) == sorted(f"metrics.{name}" for name in wrong)


def test_values_of_other_libraries_become_plain():
    assert finite(
        {"a": np.arange(2), "b": np.array(1.5), "c": np.int64(3), "d": np.array([np.inf])}
    ) == (
        {"a": [0, 1], "b": 1.5, "c": 3, "d": [None]},
        ["d[0]"],
    )
    with pytest.raises(TypeError, match="give numbers"):
        finite({"a": object()})


def test_reserved_fields_cannot_be_passed():
    with pytest.raises(ValueError, match="schema_version"):
        build_event_payload("on_start", **{"schema_version": 3})
    with pytest.raises(ValueError, match="moment"):
        build_event_payload("")


def test_odd_text_survives(facts, tmp_path):
    text = 'line\nbreak "quoted" é \ud800 \x00 \u2028'
    facts.event("on_exception", message=text)
    facts.event("heartbeat")
    events = read_events(tmp_path)
    assert events[1]["message"] == text
    assert (len(events), events.problems) == (3, [])


# ------------------------------------------------------------------------------------------ scalars


def test_scalars_come_back_with_full_precision(tmp_path):
    values = {"loss": 0.1 + 0.2, "nan": math.nan, "inf": -math.inf, "a,b": 1e-300, 'quo"te': 5}
    append_scalars_csv(tmp_path, values, step=3, split="val", attempt=2, wall_s=1.5, cpu_s=None)
    frame = read_scalars(tmp_path)
    assert dict(zip(frame["name"], frame["value"], strict=True)) == pytest.approx(
        values, nan_ok=True, rel=0, abs=0
    )
    assert (
        scalars_file(tmp_path).read_text().splitlines()[0]
        == "attempt,step,split,name,value,wall_s,cpu_s"
    )
    assert frame["wall_s"].tolist() == [1.5] * 5
    assert frame["cpu_s"].isna().all()
    assert len(pd.read_csv(scalars_file(tmp_path))) == 5  # any reader can have it


def test_a_new_metric_shifts_no_column(facts, tmp_path):
    facts.scalars(1, "train", {"loss": 1.0})
    facts.scalars(2, "train", {"auroc": 0.5, "loss": 0.9})
    frame = read_scalars(tmp_path)
    assert frame[["step", "name", "value"]].values.tolist() == [
        [1, "loss", 1.0],
        [2, "auroc", 0.5],
        [2, "loss", 0.9],
    ]


def test_of_repeated_steps_the_highest_attempt_counts(tmp_path):
    for attempt, steps in ((1, (1, 2, 3)), (2, (2, 3, 4)), (3, (4,))):
        for step in steps:
            append_scalars_csv(
                tmp_path, {"loss": 10.0 * attempt + step}, step=step, split="train", attempt=attempt
            )
    assert read_scalars(tmp_path)["value"].tolist() == [11.0, 22.0, 23.0, 34.0]
    assert len(read_scalars(tmp_path, all_attempts=True)) == 7


@pytest.mark.parametrize("name", ["", "a\nb", "a\rb"])
def test_a_scalar_has_a_name_of_one_line(tmp_path, name):
    with pytest.raises(ValueError, match="cannot name a scalar"):
        append_scalars_csv(tmp_path, {name: 1.0}, step=1, split="train")


def test_no_facts_are_no_rows(tmp_path):
    assert len(read_scalars(tmp_path)) == 0
    assert read_events(tmp_path) == []


# --------------------------------------------------------------------------------------- torn lines


def test_a_torn_event_is_left_out_and_reported_wherever_it_was_cut(facts, tmp_path):
    facts.event("on_start")
    whole = events_file(tmp_path).read_bytes()
    for cut in range(1, len(whole) - 1, 7):
        events_file(tmp_path).write_bytes(whole + whole[:cut])
        events = read_events(tmp_path)
        assert len(events) == 1
        assert len(events.problems) == 1
        assert "line 2: torn last line" in events.problems[0]
        Facts(tmp_path, RUN, 2, 7).event("heartbeat")
        events = read_events(tmp_path)
        assert [event["moment"] for event in events] == ["on_start", "on_resume", "heartbeat"]
        assert len(events.problems) == 1


@pytest.mark.parametrize("header", [True, False], ids=["two rows", "one row"])
def test_a_torn_row_is_left_out_and_reported_wherever_it_was_cut(tmp_path, header):
    append_scalars_csv(
        tmp_path, {"loss": 0.125}, step=10, split="train", wall_s=123.456, cpu_s=234.567
    )
    head, row = scalars_file(tmp_path).read_bytes().splitlines(keepends=True)
    before = head + row if header else head
    for cut in range(1, len(row)):
        scalars_file(tmp_path).write_bytes(before + row[:cut])
        frame = read_scalars(tmp_path)
        assert len(frame) == int(header)
        assert "torn last line" in frame.attrs["problems"][0]
        append_scalars_csv(tmp_path, {"loss": 0.5}, step=11, split="train")
        frame = read_scalars(tmp_path)
        # the torn row is never read as a whole one
        assert frame["step"].tolist() == ([10, 11] if header else [11])
        assert len(frame.attrs["problems"]) == 1


def test_a_torn_header_is_written_again(tmp_path):
    scalars_file(tmp_path).parent.mkdir()
    scalars_file(tmp_path).write_text("attempt,st")
    append_scalars_csv(tmp_path, {"loss": 0.5}, step=11, split="train")
    assert read_scalars(tmp_path)["step"].tolist() == [11]


def test_writers_at_the_same_time_write_whole_lines(tmp_path):
    def write(number):
        for step in range(50):
            append_scalars_csv(tmp_path, {"a": step, "b": number}, step=step, split=f"s{number}")
            append_jsonl_event(
                tmp_path, build_event_payload("heartbeat", step=step, attempt=number)
            )

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    frame, events = read_scalars(tmp_path), read_events(tmp_path)
    assert (len(frame), len(events)) == (400, 200)
    assert frame.attrs["problems"] == events.problems == []


def test_malformed_lines_in_the_middle_are_reported(facts, tmp_path):
    facts.scalars(1, "train", {"loss": 1.0})
    with scalars_file(tmp_path).open("a") as file:
        file.write("1,2,train,loss\n1,x,train,loss,1,1,1\n1,2,train,loss,1,1,1,1\n")
    with events_file(tmp_path).open("a") as file:
        file.write('[1]\n{"schema_version": 2}\n')
    facts.event("heartbeat")
    assert len(read_scalars(tmp_path).attrs["problems"]) == 3
    assert len(read_scalars(tmp_path)) == 1
    assert len(read_events(tmp_path).problems) == 2


@pytest.mark.parametrize("version", [3, "3.1", None, "x"])
def test_an_unknown_version_is_refused_in_one_sentence(facts, tmp_path, version):
    facts.event("on_start")
    append_jsonl_event(tmp_path, {"schema_version": version, "moment": "on_start"})
    with pytest.raises(FactsError, match="line 2 has schema_version") as caught:
        read_events(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_unknown_table_is_refused_in_one_sentence(tmp_path):
    scalars_file(tmp_path).parent.mkdir()
    scalars_file(tmp_path).write_text("attempt,step,phase,name,value\n")
    with pytest.raises(FactsError, match="begins with") as caught:
        read_scalars(tmp_path)
    assert "\n" not in str(caught.value)


# -------------------------------------------------------------------------------------- subscribers


def test_subscribers_are_called_after_the_event_is_written(tmp_path):
    calls = []

    def count(event):
        calls.append((event["moment"], len(read_events(tmp_path))))

    facts = Facts(tmp_path, RUN, 1, 7, subscribers=[count])
    facts.event("heartbeat")
    assert calls == [("on_start", 1), ("heartbeat", 2)]


class Mirror:
    """Copies scalars as another tool would, without reading the file."""

    def __init__(self):
        self.rows = []

    def __call__(self, record):
        if record["moment"] == ON_SCALARS:
            first = [record[key] for key in ("attempt", "step", "split")]
            last = [record[key] for key in ("wall_s", "cpu_s")]
            self.rows += [[*first, name, value, *last] for name, value in record["metrics"].items()]


def test_a_mirror_of_the_scalars_gets_exactly_the_rows_of_the_file(tmp_path):
    mirror = Mirror()
    for attempt in (1, 2):
        facts = Facts(tmp_path, RUN, attempt, 7, subscribers=[mirror])
        for step in range(attempt, attempt + 3):  # the second attempt repeats two steps
            facts.scalars(step, "train", {"loss": 1 / 3 + step, "rate": math.inf})
            facts.scalars(step, None, {})
        facts.scalars(None, "val", {"loss": math.nan, "auroc": np.float32(0.1)})
        facts.event("on_validation_end", step=3, metrics={"loss": 0.0})
    table = read_scalars(tmp_path, all_attempts=True)
    mirrored = pd.DataFrame(mirror.rows, columns=table.columns).astype(table.dtypes)
    key = ["attempt", "step", "split", "name"]
    pd.testing.assert_frame_equal(
        mirrored.sort_values(key, ignore_index=True), table.sort_values(key, ignore_index=True)
    )
    assert len(table) == 2 * (3 * 2 + 2)
    moments = [event["moment"] for event in read_events(tmp_path)]
    assert moments == ["on_start", "on_validation_end", "on_resume", "on_validation_end"]


def test_a_mirror_that_raises_at_scalars_becomes_a_fact_and_loses_no_row(tmp_path):
    def offline(record):
        if record["moment"] == ON_SCALARS:
            raise ConnectionError("no server")

    mirror = Mirror()
    facts = Facts(tmp_path, RUN, 1, 7, subscribers=[offline, mirror])
    for step in range(3):
        facts.scalars(step, "train", {"loss": float(step)})
    assert len(read_scalars(tmp_path)) == len(mirror.rows) == 3
    events = read_events(tmp_path)
    assert [event["moment"] for event in events] == ["on_start", "on_subscriber_error"]
    assert (events[1]["type"], events[1]["at"], events[1]["step"]) == (
        "ConnectionError",
        ON_SCALARS,
        0,
    )


def test_a_subscriber_that_raises_becomes_a_fact_and_the_run_continues(tmp_path):
    moments = []

    def plot(event):
        raise ZeroDivisionError("no data")

    def listen(event):
        moments.append(event["moment"])

    facts = Facts(tmp_path, RUN, 1, 7, subscribers=[plot, listen])
    for step in range(3):
        facts.event("on_validation_end", step=step)
    events = read_events(tmp_path)
    assert [event["moment"] for event in events] == [
        "on_start",
        "on_subscriber_error",
        *["on_validation_end"] * 3,
    ]
    assert (events[1]["type"], events[1]["message"], events[1]["at"]) == (
        "ZeroDivisionError",
        "no data",
        "on_start",
    )
    assert "plot" in events[1]["subscriber"]
    assert moments == ["on_start", *["on_validation_end"] * 3]


def test_time_continues_over_attempts(facts, tmp_path):
    append_jsonl_event(tmp_path, build_event_payload("heartbeat", wall_s=100.0, cpu_s=200.0))
    append_scalars_csv(tmp_path, {"loss": 1.0}, step=1, split="train", wall_s=110.0, cpu_s=220.0)
    again = Facts(tmp_path, RUN, 2, 7)
    # a difference of floats may fall short by its last digit
    assert 110 - 1e-6 <= again.wall_s < 120
    assert 220 - 1e-6 <= again.cpu_s < 230


# ---------------------------------------------------------------------------------------- version 1


def v1_event(moment, **fields):
    base = {
        "schema_version": 1, "moment": moment, "run_dir": "outputs/job2", "epoch": None,
        "step": None, "split": None, "train_loss": None,
        "val_loss": None, "metrics": {}, "epoch_time_s": None, "total_time_s": None,
        "throughput": None,
        "meta": {"timestamp": "2025-11-03T10:00:00+00:00", "run_id": "x", "git_commit": None,
        "hostname": "h", "cuda_info": {"available": False},
                 "seed": 3},
    }  # fmt: skip
    return base | fields


@pytest.fixture
def v1(tmp_path):
    """A finished run of two epochs as the earlier system wrote it."""
    folder = tmp_path / "job2"
    events = [v1_event("on_start")]
    for epoch in range(2):
        curves = {
            "train_loss": [0.9, 0.7][: epoch + 1],
            "val_loss": [1.0, 0.8][: epoch + 1],
            "metrics_acc": [0.5, 0.6][: epoch + 1],
        }
        flat = {f"history_{name}": curve for name, curve in curves.items()}
        times = {"epoch_time_s": 2.5, "throughput": 100.0}
        losses = {
            "train_loss": curves["train_loss"][-1],
            "val_loss": curves["val_loss"][-1],
            "metrics": {"acc": curves["metrics_acc"][-1]},
        }
        events.append(
            v1_event(
                "on_epoch_end",
                epoch=epoch,
                split="val",
                **losses,
                **times,
                histories=curves,
                **flat,
                beta=0.25,
            )
        )
    events.append(
        v1_event("on_train_end", epoch=1, train_loss=0.7, val_loss=float("nan"), total_time_s=5.25)
    )
    (folder / "facts").mkdir(parents=True)
    events_file(folder).write_text("".join(json.dumps(event) + "\n" for event in events))
    scalars_file(folder).write_text(
        "epoch,split,train_loss,val_loss,epoch_time_s,throughput,max_memory_mib,metric_acc\n"
        "0,train,0.9,,2.5,100,,\n0,val,,1.0,2.5,100,,0.5\n1,train,0.7,,2.5,100,,\n1,val,,0.8,2.5,100,,0.6\n"
    )
    return folder


def test_version_1_events_are_converted(v1):
    start, first, second, end = read_events(v1)
    assert start["meta"]["seed"] == 3
    assert "meta" not in first
    assert (
        first["schema_version"],
        first["run_id"],
        first["attempt"],
        first["step"],
        first["epoch"],
    ) == (2, "outputs/job2", 1, 0, 0)
    assert first["metrics"] == {"train_loss": 0.9, "val_loss": 1.0, "acc": 0.5}
    assert second["histories"] == {
        "train_loss": [0.9, 0.7],
        "val_loss": [1.0, 0.8],
        "metrics_acc": [0.5, 0.6],
    }
    assert not [name for name in second if name.startswith("history_")]
    assert second["beta"] == 0.25
    assert (second["epoch_time_s"], second["throughput"], second["timestamp"]) == (
        2.5,
        100.0,
        "2025-11-03T10:00:00+00:00",
    )
    assert end["wall_s"] == 5.25
    assert (end["metrics"]["val_loss"], end["non_finite"]) == (None, ["metrics.val_loss"])


def test_flat_histories_alone_are_understood(tmp_path):
    append_jsonl_event(tmp_path, v1_event("on_train_end", history_val_loss=[1.0, 0.8]))
    assert read_events(tmp_path)[0]["histories"] == {"val_loss": [1.0, 0.8]}


def test_the_version_1_table_becomes_long_and_wide_again(v1):
    """No number is lost: the wide table is rebuilt from the long one."""
    long = read_scalars(v1)
    assert long.attrs["problems"] == []
    wide = long.pivot_table(index=["step", "split"], columns="name", values="value").reset_index()
    old = (
        pd.read_csv(scalars_file(v1))
        .rename(columns={"epoch": "step", "metric_acc": "acc"})
        .drop(columns="max_memory_mib")
    )
    pd.testing.assert_frame_equal(
        wide[old.columns.tolist()],
        old,
        check_dtype=False,
        check_names=False,
        check_column_type=False,
    )
    assert long.groupby("step")["wall_s"].first().tolist() == [2.5, 5.0]


def test_a_metric_named_like_a_column_keeps_its_prefix(tmp_path):
    scalars_file(tmp_path).parent.mkdir()
    scalars_file(tmp_path).write_text(
        "epoch,split,train_loss,throughput,metric_throughput\n-1,,1.0,2.0,3.0\n0,val,1.0\n"
    )
    frame = read_scalars(tmp_path)
    assert frame["name"].tolist() == ["train_loss", "throughput", "metric_throughput"]
    assert frame["step"].isna().all()
    assert len(frame.attrs["problems"]) == 1


def test_version_1_runs_are_tabled(v1):
    table, curves, order = load_runs(v1)
    assert order == [str(v1)]
    row = table.iloc[0]
    assert (row["run_id"], row["seed"], row["complete"], row["last_step"], row["total_time_s"]) == (
        "outputs/job2",
        3,
        True,
        1,
        5.25,
    )
    assert row["val/val_loss"] == 0.8
    assert set(curves["run_dir"]) == {str(v1)}


# ---------------------------------------------------------------------------------------- many runs


@pytest.fixture
def store(tmp_path):
    """A trained target with two runs, and a task set."""

    def train(config, attempt):
        for step in (1, 2):
            attempt.facts.scalars(step, "train", {"loss": 1.0 / step})
        attempt.facts.event("on_train_end", step=2)
        return {"dims": {"p": 93501}, "metrics": {"L0": 0.045}}

    def analyse(config, attempt):
        values = {
            "llc_mean": 12.34 + config.seed,
            "sampler_config": {"draws": 1000},
            "per_task": [1, 2],
        }
        (attempt.folder / "analysis.json").write_text(json.dumps(values))

    store = Store(tmp_path / "runs", patience=0)
    target = store.build(ExperimentConfig(seed=42), {}, train)
    store.build(EmptyConfig(seed=0), {"of": target}, analyse)
    store.build(EmptyConfig(seed=1), {"of": target}, analyse)
    store.build(TasksConfig(), {}, lambda config, attempt: {})
    return store


def snippet(runs_root):
    """The reading pattern of the earlier system's users, on nothing but paths and JSON."""
    results = []
    for target_dir in (Path(runs_root) / "targets").iterdir():
        if not target_dir.is_dir() or not target_dir.name.startswith("tgt_"):
            continue
        meta = json.loads((target_dir / "meta.json").read_text())
        for run_dir in target_dir.iterdir():
            if (
                not run_dir.is_dir()
                or not run_dir.name.startswith("run_")
                or not (run_dir / "analysis.json").exists()
            ):
                continue
            analysis = json.loads((run_dir / "analysis.json").read_text())
            results.append(
                {
                    "target_id": meta["target_id"],
                    "model": meta["model_cfg"].get("depth", "unknown"),
                    "batch": meta["data_cfg"]["tasks_per_step"],
                    "steps": meta["training_cfg"]["max_steps"],
                    "target_params": meta["dims"]["p"],
                    "L0": meta["metrics"]["L0"],
                    "seed": meta["seed"],
                    "sampler": run_dir.name.split("_")[1],
                    "llc_mean": analysis["llc_mean"],
                }
            )
    return pd.DataFrame(results)


def test_the_users_reading_pattern_works_on_the_layout(store):
    frame = snippet(store.root).sort_values("llc_mean")
    assert len(frame) == 2
    assert frame["sampler"].tolist() == ["empty", "empty"]
    assert frame.iloc[0].to_dict() | {"target_id": ""} == {
        "target_id": "", "model": "unknown", "batch": 32, "steps": 1000, "target_params": 93501,
        "L0": 0.045, "seed": 42, "sampler": "empty",
        "llc_mean": 12.34,
    }  # fmt: skip


def test_aggregate_results_agrees_with_the_layout(store):
    frame, pattern = aggregate_results(store.root), snippet(store.root)
    assert sorted(frame["llc_mean"]) == sorted(pattern["llc_mean"])
    assert set(frame["target_id"]) == set(pattern["target_id"])
    row = frame.set_index("run_seed").loc[1]
    assert (
        row["sampler"],
        row["target.p"],
        row["target.L0"],
        row["sampler_config.draws"],
        row["model"],
    ) == ("empty", 93501, 0.045, 1000, "avici")
    assert "per_task" not in frame
    assert len(aggregate_results(store.root / "nowhere")) == 0


def test_runs_are_discovered_and_loaded(store):
    folders = discover_runs(store.root)
    assert len(folders) == 4
    assert {path.name for path in folders} == {artifact.id for artifact in store.artifacts()}
    table, curves, order = load_runs(store.root)
    assert order == [str(path) for path in folders]
    row = table.set_index("kind").loc["amortised"]
    assert (
        row["train/loss"],
        row["last_step"],
        row["seed"],
        row["model.dim"],
        row["trainer.max_steps"],
    ) == (0.5, 2, 42, 128, 1000)
    assert table.attrs["problems"] == []
    assert curves["value"].tolist() == [1.0, 0.5]


def test_damage_in_one_run_is_reported_and_the_others_are_read(store):
    runs = sorted(store.root.glob("targets/*/run_*"))
    assert (
        aggregate_results(store.root).attrs["problems"]
        == load_runs(store.root)[0].attrs["problems"]
        == []
    )
    (runs[0] / "analysis.json").write_text('{"llc_mean": 12.')
    (runs[1] / "config.yaml").write_text("kind: empty\nseed: [0")
    scalars = next(store.root.glob("targets/*/facts/scalars.csv"))
    scalars.write_text(scalars.read_text()[:-4])
    frame = aggregate_results(store.root)
    assert len(frame) == 2
    assert frame.attrs["problems"] == [
        f"{runs[0] / 'analysis.json'}: no readable JSON object, left out."
    ]
    table, curves, _ = load_runs(store.root)
    assert len(table) == 4
    assert len(curves) == 1
    assert [problem.split(",")[0] for problem in table.attrs["problems"]] == [
        str(scalars),
        str(runs[1] / "config.yaml"),
    ]


def test_a_run_counts_as_complete_when_it_ended(tmp_path):
    for name, moment in (
        ("job10", "on_train_end"),
        ("job2", "heartbeat"),
        ("job1", "on_train_end"),
    ):
        Facts(tmp_path / name, name, 1, 0).event(moment)
    assert [Path(run).name for run in load_runs(tmp_path)[2]] == ["job1", "job10"]
    # not job10 before job2
    assert [Path(run).name for run in load_runs(tmp_path, require_complete=False)[2]] == [
        "job1",
        "job2",
        "job10",
    ]
    assert [
        path.name for path in discover_runs([tmp_path / "job10", tmp_path / "job2", tmp_path])
    ] == ["job10", "job2", "job1"]
    with pytest.raises(FactsError, match="is not a folder"):
        discover_runs(tmp_path / "nowhere")
    assert len(load_runs([])[0]) == 0


# --------------------------------------------------------------------------------------- provenance


def test_the_commit_is_that_of_git():
    root = Path(provenance.__file__).parents[3]
    git = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True
    )
    if git.returncode == 0 and (root / "pyproject.toml").is_file():
        provenance.code_sha.cache_clear()
        assert provenance.code_sha() == git.stdout.strip()


@pytest.mark.parametrize("form", ["detached", "packed", "loose", "worktree", "broken", "unborn"])
def test_the_commit_is_read_in_every_form_git_keeps_it(tmp_path, form):
    git, sha = tmp_path / ".git", "a" * 40
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text(
        f"{sha}\n"
        if form == "detached"
        else "nonsense"
        if form == "broken"
        else "ref: refs/heads/main\n"
    )
    (git / "packed-refs").write_text(
        f"# pack-refs\n{sha} refs/heads/main\n" if form == "packed" else ""
    )
    if form in ("loose", "worktree"):
        (git / "refs" / "heads" / "main").write_text(f"{sha}\n")
    if form == "worktree":
        (git / "worktrees" / "w").mkdir(parents=True)
        (git / "worktrees" / "w" / "HEAD").write_text("ref: refs/heads/main\n")
        (git / "worktrees" / "w" / "commondir").write_text("../..\n")
        (tmp_path / "w").mkdir()
        git = tmp_path / "w" / ".git"
        git.write_text(f"gitdir: {tmp_path}/.git/worktrees/w\n")
    assert provenance._head(git) == (None if form in ("broken", "unborn") else sha)


def test_facts_load_neither_torch_nor_jax_nor_pandas():
    code = (
        "import sys, causal_meta.facts; print({'torch', 'jax', 'pandas', 'numpy'} & "
        "set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "set()"
    )
