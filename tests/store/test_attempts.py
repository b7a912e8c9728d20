"""Builders that are killed, leave half-written files or run at the same time still publish one
complete artifact."""

import contextlib
import errno
import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from causal_meta.conf.inference import EmptyConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.facts import Facts, read_events, read_scalars
from causal_meta.store import Store, StoreError, disk
from causal_meta.store import attempts as attempts_module
from causal_meta.store.checkpoints import seal, verified_step

# A builder of ten steps that checkpoints each, and dies by SIGKILL after step argv[2] (0: never).
DYING = """
import os, signal, sys
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import Store
from causal_meta.store.checkpoints import seal, verified_step

def train(config, attempt):
    folder = attempt.folder / "checkpoints"
    folder.mkdir(exist_ok=True)
    step = verified_step(folder) or 0
    weights = (folder / "last.pt").read_text() if step else ""
    for step in range(step + 1, 11):
        weights += f"{step};"
        (folder / "last.pt.tmp").write_text(weights)
        seal(folder / "last.pt.tmp", step)
        attempt.facts.scalars(step, "train", {"loss": 1.0 / step})
        if step == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
    (attempt.folder / "result").write_text(weights)

print(Store(sys.argv[1]).build(TasksConfig(), {}, train).id)
"""
UNDISTURBED = "".join(f"{step};" for step in range(1, 11))


def attempt_folders(store):
    return sorted(store.staging.glob("tgt_*/attempt-*-*"))


def killed(python, store, after):
    process = python(DYING, store.root, after)
    assert process.communicate()[0] == ""
    assert process.returncode == -signal.SIGKILL


# ----------------------------------------------------------------------------------------- resuming


def test_a_killed_builder_is_taken_up_from_its_checkpoint(store, python):
    killed(python, store, 4)
    killed(python, store, 7)
    out, err = python(DYING, store.root, 0).communicate()
    assert err == ""
    made = store.find(out.strip())
    assert (made.folder / "result").read_text() == UNDISTURBED
    assert made.meta["attempt"] == 3
    assert [event["moment"] for event in read_events(made.folder)] == [
        "on_start",
        "on_resume",
        "on_resume",
    ]
    every = read_scalars(made.folder, all_attempts=True)
    assert every["attempt"].tolist() == [1] * 4 + [2] * 3 + [3] * 3
    assert every["step"].tolist() == list(range(1, 11))
    assert every["wall_s"].is_monotonic_increasing  # the clock continues over attempts
    assert not attempt_folders(store)
    assert store.verify() == []


def test_a_killed_builder_leaves_its_attempt_and_no_artifact(store, python):
    killed(python, store, 4)
    assert store.artifacts() == []
    assert len(attempt_folders(store)) == 1


@pytest.mark.parametrize(
    "damage", ["torn", "one bit", "no sidecar", "torn sidecar", "no file", "lying sidecar"]
)
def test_a_checkpoint_that_cannot_be_verified_is_not_used(store, python, builder, damage):
    killed(python, store, 4)
    (folder,) = (path / "checkpoints" for path in attempt_folders(store))
    last, sidecar = folder / "last.pt", folder / "last.json"
    if damage == "torn":
        last.write_bytes(last.read_bytes()[:-1])
    elif damage == "one bit":
        last.write_bytes(bytes([last.read_bytes()[0] ^ 1]) + last.read_bytes()[1:])
    elif damage == "no sidecar":
        sidecar.unlink()
    elif damage == "torn sidecar":
        sidecar.write_text(sidecar.read_text()[:-3])
    elif damage == "no file":
        last.unlink()
    else:
        sidecar.write_text(json.dumps({"step": True, "sha256": disk.sha256(last)}))
    assert verified_step(folder) is None
    store.build(TasksConfig(), {}, builder)
    (attempt,) = builder.attempts
    assert (attempt.number, attempt.resumed) == (2, False)
    # nothing of the damaged one was kept
    assert set(store.find("tgt_").meta["digests"]) == {
        "config.yaml",
        "data.npz",
        "facts/events.jsonl",
    }


def test_the_most_advanced_verified_checkpoint_is_taken(store, python, builder):
    killed(python, store, 6)
    (first,) = attempt_folders(store)
    for number, step, verified in ((7, 9, False), (8, 3, True), (9, 5, True)):
        folder = first.parent / f"attempt-{number}-{number:032x}" / "checkpoints"
        folder.mkdir(parents=True)
        (folder / "last.pt").write_text("other")
        (folder / "last.json").write_text(
            json.dumps(
                {"step": step, "sha256": disk.sha256(folder / "last.pt") if verified else "0"}
            )
        )
    made = store.build(TasksConfig(), {}, builder)
    assert [(attempt.number, attempt.resumed) for attempt in builder.attempts] == [(10, True)]
    assert verified_step(made.folder / "checkpoints") == 6


def test_a_failed_builder_is_taken_up_as_a_killed_one(store, builder):
    def fails(config, attempt):
        folder = attempt.folder / "checkpoints"
        folder.mkdir()
        (folder / "last.pt.tmp").write_text("weights")
        seal(folder / "last.pt.tmp", 5)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        store.build(TasksConfig(), {}, fails)
    made = store.build(TasksConfig(), {}, builder)
    assert builder.attempts[0].resumed
    assert [event["moment"] for event in read_events(made.folder)] == [
        "on_start",
        "on_exception",
        "on_resume",
    ]


def test_another_revision_does_not_resume(store, python, builder, monkeypatch):
    killed(python, store, 4)
    monkeypatch.setattr(TasksConfig, "revision", 2)
    store.build(TasksConfig(), {}, builder)
    assert not builder.attempts[0].resumed


@pytest.mark.parametrize("point", ["before the sidecar", "after the sidecar", "after both"])
def test_a_kill_inside_the_checkpoint_write_loses_no_checkpoint(tmp_path, monkeypatch, point):
    class Killed(BaseException):
        pass

    def kill(*_):
        raise Killed

    (tmp_path / "last.pt.tmp").write_text("old")
    seal(tmp_path / "last.pt.tmp", 1)
    (tmp_path / "last.pt.tmp").write_text("new")
    with monkeypatch.context() as patch:
        if point == "before the sidecar":
            patch.setattr(disk, "write_atomic", kill)
        elif point == "after the sidecar":
            real = os.replace
            patch.setattr(
                os, "replace", lambda a, b: kill() if str(b).endswith("last.pt") else real(a, b)
            )
        else:
            patch.setattr(
                disk,
                "sync_folder",
                lambda folder: kill() if (folder / "last.pt").read_text() == "new" else None,
            )
        with pytest.raises(Killed):
            seal(tmp_path / "last.pt.tmp", 2)
    assert verified_step(tmp_path) == (2 if point == "after both" else 1)
    (tmp_path / "last.pt.tmp").write_text("newer")
    seal(tmp_path / "last.pt.tmp", 3)
    assert verified_step(tmp_path) == 3


# -------------------------------------------------------------------------------------- concurrency

# Builds with its own content after all processes are there; prints the id and whether its own bytes
# won.
RACING = """
import os, sys, time
from pathlib import Path
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import Store

root, me, count, patience = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
def builder(config, attempt):
    (root.parent / f"began-{me}").touch()
    if patience == 0:
        while len(list(root.parent.glob("began-*"))) < count:
            time.sleep(0.01)
    else:
        time.sleep(1.0)
    (attempt.folder / "data.npz").write_text(me)

print(Store(root, patience=patience).build(TasksConfig(), {}, builder, name=f"n{me}").id)
"""


def race(python, store, count, patience):
    processes = [python(RACING, store.root, number, count, patience) for number in range(count)]
    results = [process.communicate() for process in processes]
    assert [err for _, err in results] == [""] * count
    return {out.strip() for out, _ in results}


@pytest.mark.parametrize("count", [2, 8])
def test_builders_at_the_same_time_make_one_artifact_that_all_get(store, python, count):
    """Every one of them is inside its builder before any may finish, so all but one lose, and
    discard."""
    (made,) = race(python, store, count, 0)
    assert len(list(store.root.parent.glob("began-*"))) == count
    assert set(store.names().values()) == {made}
    assert len(store.names()) == count
    assert (store.find(made).folder / "data.npz").read_text() in {
        str(number) for number in range(count)
    }
    assert not attempt_folders(store)
    assert store.verify() == []
    assert len((store.root / "targets" / "_catalog.jsonl").read_text().splitlines()) == 1


def test_with_patience_only_one_works(store, python):
    race(python, store, 3, 30.0)
    assert len(list(store.root.parent.glob("began-*"))) == 1


def test_nobody_waits_for_the_dead(store, python, builder):
    killed(python, store, 4)
    start = time.monotonic()
    Store(store.root, patience=60).build(TasksConfig(), {}, builder)
    assert time.monotonic() - start < 20
    assert builder.attempts[0].resumed


def test_a_stopped_process_is_waited_for_only_so_long_and_loses(store, python, new_builder):
    """A paused builder holds its lock; the newcomer continues after `patience`, wins, and the
    paused one takes the winner's when it wakes."""
    process = python(RACING, store.root, 0, 1, 30.0)
    while not (store.root.parent / "began-0").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    try:
        made = Store(store.root, patience=0.3).build(TasksConfig(), {}, new_builder(b"newcomer"))
        assert len(attempt_folders(store)) == 1  # that of the paused one, which is alive
    finally:
        process.send_signal(signal.SIGCONT)
    out, err = process.communicate()
    assert (out.strip(), err) == (made.id, "")
    assert (made.folder / "data.npz").read_bytes() == b"newcomer"
    assert not attempt_folders(store)


# DYING, but paused by SIGSTOP after step argv[2].
PAUSING = DYING.replace(
    "os.kill(os.getpid(), signal.SIGKILL)", "os.kill(os.getpid(), signal.SIGSTOP)"
)


def until_stopped(process):
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert process.poll() is None
        time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("wakes", ["after", "during"])
def test_a_builder_paused_past_its_lease_and_the_one_that_took_over_make_one_artifact(
    store, python, wakes
):
    """The newcomer continues from the paused one's checkpoint. The paused one wakes when the
    newcomer has published, or in the midst of its work and then publishes first: nothing is
    written twice into one folder, and both get the same artifact."""
    first = python(PAUSING, store.root, 4)
    until_stopped(first)
    answers = []

    def take_over(config, attempt):
        folder = attempt.folder / "checkpoints"
        step = verified_step(folder)
        weights = (folder / "last.pt").read_text()
        for number in range(step + 1, 11):
            weights += f"{number};"
            (folder / "last.pt.tmp").write_text(weights)
            seal(folder / "last.pt.tmp", number)
            attempt.facts.scalars(number, "train", {"loss": 1.0 / number})
            if number == 7 and wakes == "during":
                first.send_signal(signal.SIGCONT)
                answers.append(first.communicate(timeout=60))
        (attempt.folder / "result").write_text(weights)

    try:
        made = Store(store.root, patience=0.3).build(TasksConfig(), {}, take_over)
        if wakes == "after":
            assert len(attempt_folders(store)) == 1  # it is alive
            first.send_signal(signal.SIGCONT)
            answers.append(first.communicate(timeout=60))
    finally:
        first.kill()
        first.wait()
    assert answers == [(f"{made.id}\n", "")]
    assert made.meta["attempt"] == (2 if wakes == "after" else 1)
    assert (made.folder / "result").read_text() == UNDISTURBED
    every = read_scalars(made.folder, all_attempts=True)
    assert every["step"].tolist() == list(range(1, 11))
    assert every["attempt"].tolist() == ([1] * 4 + [2] * 6 if wakes == "after" else [1] * 10)
    assert not attempt_folders(store)
    assert store.verify() == []
    assert (store.root / "targets" / "_catalog.jsonl").read_text().count("\n") == 1


# Works for argv[2] seconds and gives a heartbeat every argv[3] seconds (0: none).
BEATING = """
import sys, time
from pathlib import Path
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import Store

root, seconds, pause = Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
def builder(config, attempt):
    attempt.facts.ensure_started()
    (root.parent / "began").touch()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(pause or seconds)
        if pause:
            attempt.facts.event("heartbeat")
    (attempt.folder / "data.npz").write_text("first")

print(Store(root).build(TasksConfig(), {}, builder).id)
"""


@pytest.mark.parametrize(("pause", "works"), [(0.2, 0), (0, 1)], ids=["heartbeats", "silent"])
def test_a_builder_is_waited_for_as_long_as_it_gives_heartbeats(
    store, python, builder, pause, works
):
    process = python(BEATING, store.root, 5.0, pause)
    while not (store.root.parent / "began").exists():
        time.sleep(0.01)
    made = Store(store.root, patience=2.5).build(TasksConfig(), {}, builder)
    process.communicate(timeout=60)
    assert len(builder.attempts) == works
    assert (made.folder / "data.npz").read_bytes() == (b"numbers" if works else b"first")


@pytest.mark.parametrize("clock", [-86400.0, 86400.0], ids=["a day behind", "a day ahead"])
def test_clocks_that_differ_cost_patience_or_doubled_work_and_nothing_else(
    store, builder, new_builder, clock
):
    """A builder on another machine, alive and silent, whose files bear the times of another
    clock."""
    other = new_builder(b"of the other machine")

    def on_the_other_machine(config, attempt):
        other(config, attempt)
        attempt.facts.ensure_started()
        for path in (attempt.folder, *attempt.folder.rglob("*")):
            os.utime(path, (time.time() + clock, time.time() + clock))
        start = time.monotonic()
        Store(store.root, patience=0.5).build(TasksConfig(), {}, builder)
        waited.append(time.monotonic() - start)

    waited = []
    made = store.build(TasksConfig(), {}, on_the_other_machine)
    assert len(builder.attempts) == 1
    assert (waited[0] >= 0.5) == (clock > 0)
    assert waited[0] < 60
    assert (made.folder / "data.npz").read_bytes() == b"numbers"  # who published first
    assert store.verify() == []


def test_time_is_that_of_the_disk(tmp_path, monkeypatch):
    """Our own clock may be wrong by a day: the heartbeat and what it is compared with are stamped
    by the same one."""
    monkeypatch.setattr(attempts_module.time, "time", lambda: 0.0)
    folder, _, descriptor = attempts_module.reserve(tmp_path, "tgt_000000000000")
    try:
        assert attempts_module.reserve(tmp_path, "tgt_000000000000", 60.0) is None
        os.utime(folder, (1, 1))
        again = attempts_module.reserve(tmp_path, "tgt_000000000000", 60.0)
        assert again is not None
        os.close(again[2])
    finally:
        os.close(descriptor)
    assert disk.clock(tmp_path / "none") == 0.0


def test_where_locks_fail_a_fresh_heartbeat_is_trusted(tmp_path, monkeypatch):
    """Locks that raise (ENOLCK) make everybody look alive; the heartbeat alone decides, and nothing
    is cleared away."""
    folder, _, descriptor = attempts_module.reserve(tmp_path, "tgt_000000000000")
    os.close(descriptor)

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(disk.fcntl, "flock", no_locks)
    assert attempts_module.busy(tmp_path, "tgt_000000000000", 60.0)
    assert not attempts_module.busy(tmp_path, "tgt_000000000000", 60.0, time.time() + 61.0)
    assert attempts_module.is_live(tmp_path, "tgt_000000000000", 1)
    assert folder.is_dir()


def test_threads_of_one_process_do_not_mix(store):
    inside = threading.Barrier(4)
    results = []

    def builder(config, attempt):
        inside.wait()
        (attempt.folder / "data.npz").write_text(str(attempt.number))

    def work():
        results.append(store.build(TasksConfig(), {}, builder))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert len({made.id for made in results}) == 1
    assert store.verify() == []


def test_without_locks_the_store_is_still_right(store, monkeypatch, builder):
    monkeypatch.setattr(disk, "fcntl", None)
    made = store.build(TasksConfig(), {}, builder, name="x")
    assert store.find("x") == made
    assert store.verify() == []


def test_what_vanishes_while_it_is_copied_is_let_go(store, python, builder, monkeypatch):
    """The other process published and cleared its attempt just then: the newcomer takes the
    published artifact."""
    killed(python, store, 4)
    winner = Store(store.root, patience=0)
    real = disk.copy_files
    first = iter([True])

    def copy(source, destination):
        with contextlib.suppress(StopIteration):
            next(first)
            winner.build(TasksConfig(), {}, builder)
        real(source, destination)

    monkeypatch.setattr(attempts_module.disk, "copy_files", copy)
    assert store.build(TasksConfig(), {}, None) == winner.find("tgt_")
    assert len(builder.attempts) == 1


def test_the_loser_takes_the_winners_artifact_and_discards_its_own(store, new_builder):
    def slow(config, attempt):
        store.build(TasksConfig(), {}, new_builder(b"fast"))
        (attempt.folder / "data.npz").write_bytes(b"slow")

    made = store.build(TasksConfig(), {}, slow)
    assert (made.folder / "data.npz").read_bytes() == b"fast"
    assert not attempt_folders(store)


def test_a_target_deleted_while_a_run_is_computed_is_a_sentence(store, target, builder):
    with pytest.raises(StoreError, match="could not be published"):
        store.build(
            EmptyConfig(), {"of": target}, lambda config, attempt: shutil.rmtree(target.folder)
        )


def test_facts_of_a_live_attempt_are_a_sign_of_life(tmp_path):
    folder, _, descriptor = attempts_module.reserve(tmp_path, "tgt_000000000000")
    try:
        os.utime(folder, (1, 1))
        assert not attempts_module.busy(tmp_path, "tgt_000000000000", 5)
        Facts(folder, "tgt_000000000000", 1, 0).event("heartbeat")
        assert attempts_module.busy(tmp_path, "tgt_000000000000", 5)
    finally:
        os.close(descriptor)
    assert not attempts_module.busy(tmp_path, "tgt_000000000000", 5)
