"""What is missing is made and nothing else; a failure stops only what depends on it; processes that
die cost nothing but time."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from causal_meta.conf.setting import ConfigError
from causal_meta.workflow import carry_out, plan_of
from causal_meta.workflow.jobs import first_cause, job_of
from causal_meta.workflow.plan import estimate
from causal_meta.workflow.results import folder_of, write_results
from causal_meta.workflow.workers import TRIES, Processes

STUDY = """
targets:
  - {target: tasks, name: a, seed: 0..1, %}
runs:
  - {run: empty, of: a}
  - {run: random, of: a, n_samples: 5}
  - {run: evaluate, of: a, posterior: [empty, random]}
"""


def states(outcome, plan):
    return [outcome.states[cell.id] for cell in plan.cells]


def counted(plan):
    return {kind: dict(counts) for kind, counts in plan.counts().items()}


@pytest.fixture
def broken(monkeypatch):
    """Let every run of kind `random` fail, as long as the fixture's list holds something."""
    from causal_meta.runners.inference import per_task

    working, why = per_task.infer_per_task, ["the sky fell"]

    def fails(config, attempt):
        if config.kind == "random" and why:
            try:
                raise KeyError("deep down")
            except KeyError as error:
                raise RuntimeError(why[0]) from error
        return working(config, attempt)

    monkeypatch.setattr(per_task, "infer_per_task", fails)
    return why


def test_what_exists_is_not_made_again(plan, store):
    first = plan(STUDY)
    assert counted(first) == {
        "tasks": {"missing": 2},
        "empty": {"missing": 2},
        "random": {"missing": 2},
        "evaluate": {"missing": 4},
    }
    moments = []
    outcome = carry_out(first, store, notify=lambda cell, state: moments.append((cell.id, state)))
    assert outcome.ok
    assert set(states(outcome, first)) == {"built"}
    assert [state for key, state in moments if key == first.cells[0].id] == ["running", "built"]
    assert store.names()["a-seed0"] == first.cells[0].id
    again = plan(STUDY)
    assert again.to_make == []
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*") if path.is_file()}
    assert set(states(carry_out(again, store), again)) == {"exists"}
    assert {
        path: path.stat().st_mtime_ns for path in store.root.rglob("*") if path.is_file()
    } == before
    assert store.verify() == []


def test_a_deleted_input_is_made_again_and_what_it_left_valid_is_kept(plan, store):
    first = plan(STUDY)
    carry_out(first, store)
    by_kind = {cell.kind: cell for cell in first.cells}
    shutil.rmtree(store.root / by_kind["empty"].path)
    again = plan(STUDY)
    assert counted(again)["empty"] == {"exists": 1, "missing": 1}
    assert counted(again)["evaluate"] == {"exists": 3, "stale": 1}
    outcome = carry_out(again, store)
    scored = next(cell for cell in again.cells if again.status[cell.id] == "stale")
    assert outcome.states[scored.id] == "found"  # the same bytes came, so its score holds
    assert plan(STUDY).to_make == []


def test_a_run_whose_input_has_other_content_is_stale_and_made_again(plan, store):
    first = plan(STUDY)
    carry_out(first, store)
    run = next(cell for cell in first.cells if cell.kind == "random")
    meta = store.root / run.path / "meta.json"
    # as if other bytes had been published
    meta.write_text(meta.read_text().replace('"posterior.npz": "', '"posterior.npz": "0'))
    again = plan(STUDY)
    assert counted(again)["evaluate"] == {"exists": 3, "stale": 1}
    outcome = carry_out(again, store)
    assert [state for state in states(outcome, again) if state != "exists"] == ["built"]


def test_a_failure_stops_only_what_depends_on_it(plan, store, broken):
    first = plan(STUDY)
    outcome = carry_out(first, store)
    assert not outcome.ok
    by_kind = {
        kind: [outcome.states[c.id] for c in first.cells if c.kind == kind]
        for kind in ("empty", "random", "evaluate")
    }
    assert by_kind["empty"] == ["built"] * 2
    assert by_kind["random"] == ["failed"] * 2
    assert sorted(by_kind["evaluate"]) == ["blocked", "blocked", "built", "built"]
    answer = next(answer for answer in outcome.answers.values() if not answer.ok)
    assert answer.cause.startswith("RuntimeError: the sky fell; first cause: KeyError: 'deep down'")
    assert "the sky fell" in Path(answer.log).read_text()
    broken.clear()
    assert carry_out(plan(STUDY), store).ok


def test_after_too_many_failures_nothing_more_is_begun(plan, store, broken):
    first = plan(STUDY)
    outcome = carry_out(first, store, max_failures=1)
    assert states(outcome, first).count("failed") == 1
    assert "left" in states(outcome, first)
    assert not outcome.ok


def test_only_what_fits_and_what_it_needs(plan, study, store):
    chosen = plan(STUDY, only=["kind=evaluate", "id=*"])
    assert len(chosen.cells) == 10
    chosen = plan(STUDY, only=["kind=em*"])
    assert [cell.kind for cell in chosen.cells] == ["tasks", "tasks", "empty", "empty"]
    assert [cell.name for cell in plan(STUDY, only=["name=a-seed1"]).cells] == ["a-seed1"]
    for word, saying in (
        ("kind=boss", "there are tasks, empty"),
        ("boss", "kind=PATTERN"),
        ("seed=1", "kind=PATTERN"),
    ):
        with pytest.raises(ConfigError, match=saying):
            plan(STUDY, only=[word])


def test_seconds_are_estimated_from_what_was_made_before(plan, store):
    assert estimate(plan(STUDY), store) == (0.0, 10)
    carry_out(plan(STUDY, only=["name=a-seed0"]), store)
    more = plan(STUDY.replace("0..1", "0..2"))
    seconds, unknown = estimate(more, store)
    assert unknown == 3 + 3 + 6
    assert seconds == pytest.approx(2 * store.find("a-seed0").meta["walltime_sec"])
    carry_out(plan(STUDY, only=["kind=empty"]), store)
    other = plan(STUDY.replace("0..1", "7"))  # known from the store alone
    assert estimate(other, store)[1] == 3


def test_the_folder_of_a_study_holds_links_and_one_table(plan, store):
    import pandas as pd

    first = plan(STUDY)
    table = write_results(first, carry_out(first, store), store)
    home = folder_of(store, "s")
    assert (home / "config.yaml").read_text() == first.study.text
    assert sorted(path.name for path in (home / "targets").iterdir()) == ["a-seed0", "a-seed1"]
    assert len(list((home / "results").iterdir())) == 4
    assert all(
        (path / "meta.json").is_file()
        for part in ("targets", "results", "inference")
        for path in (home / part).iterdir()
    )
    assert not any(os.path.isabs(os.readlink(path)) for path in (home / "targets").iterdir())
    read = pd.read_parquet(home / "results.parquet")
    assert (
        list(read["id"])
        == [cell.id for cell in first.cells if not cell.is_target]
        == list(table["id"])
    )
    scored = read[read["kind"] == "evaluate"]
    assert set(scored["method"]) == {"empty", "random"}
    for _, row in scored.iterrows():
        assert row["e_shd"] == store.find(row["id"]).meta["metrics"]["e_shd"]
    assert read["setting.n_samples"].tolist()[:2] == [1, 1]
    smaller = plan(STUDY.replace("0..1", "0"))
    write_results(smaller, carry_out(smaller, store), store)
    # links to what is no part of it any more go, the artifacts stay
    assert len(list((home / "results").iterdir())) == 2
    assert plan(STUDY).to_make == []


def test_where_links_fail_a_file_holds_the_path(plan, store, monkeypatch):
    import json

    from causal_meta.store import catalog

    monkeypatch.setattr(
        catalog.Path, "symlink_to", lambda *args: (_ for _ in ()).throw(OSError("no links here"))
    )
    first = plan("name: s\ntargets:\n  - {target: tasks, %}\nruns:\n  - {run: empty, of: tasks}\n")
    write_results(first, carry_out(first, store), store)
    pointers = list((folder_of(store, "s") / "inference").iterdir())
    assert len(pointers) == 1
    assert (
        pointers[0].parent / json.loads(pointers[0].read_text())["path"] / "meta.json"
    ).is_file()


def test_first_causes_name_the_place():
    def inner():
        raise KeyError("x")

    try:
        try:
            inner()
        except KeyError as error:
            raise RuntimeError("outer") from error
    except RuntimeError as error:
        cause = first_cause(error)
    assert cause.startswith("RuntimeError: outer; first cause: KeyError: 'x' (")
    assert "test_execute.py, line" in cause
    assert first_cause(ConfigError("What came is wrong.")) == "What came is wrong."


# ---------------------------------------------------------------------------------------- processes


def test_two_processes_make_what_one_makes(plan, study, store, tmp_path):
    from causal_meta.store import Store

    first = plan(STUDY)
    assert carry_out(first, store, executor="processes", workers=2).ok
    alone = Store(tmp_path / "alone", patience=0)
    carry_out(plan_of(study(STUDY), alone), alone)
    for cell in first.cells:
        here, there = (s.read(s.root / cell.path) for s in (store, alone))
        assert here.meta["metrics"] == there.meta["metrics"]
        if cell.kind != "evaluate":  # which records how long answers took
            assert here.digest == there.digest
    assert store.verify() == []


def test_a_process_that_is_killed_is_replaced(plan, store, tmp_path):
    target = plan(STUDY).cells[0]
    pool = Processes(store, 1, tmp_path / "log")
    pool.begin(job_of(target, store, {}))
    first = pool.pids
    os.kill(first[0], signal.SIGKILL)
    answer = pool.answer()
    assert answer.ok
    assert pool.deaths == {target.id: 1}
    assert (
        f"{target.id}: its process {first[0]} was killed by SIGKILL, time 1 of {TRIES}"
        in (tmp_path / "log").read_text()
    )
    assert pool.pids
    assert pool.pids != first
    pool.close()
    assert pool.pids == []
    assert plan(STUDY).status[target.id] == "exists"


def test_a_job_whose_processes_all_die_has_failed_and_says_how(plan, store, tmp_path):
    pool = Processes(store, 1, tmp_path / "log")
    killed, over = set(), threading.Event()

    def kill():
        while not over.is_set():
            for pid in set(pool.pids) - killed:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        pool.begin(job_of(plan(STUDY).cells[0], store, {}))
        answer = pool.answer()
    finally:
        over.set()
        killer.join()
        pool.close()
    assert not answer.ok
    assert answer.cause == f"its process was killed by SIGKILL, {TRIES} times"
    assert len(killed) >= TRIES
