"""What goes, goes whole; what others need, or somebody works at, stays."""

import json
import os
import shutil
import signal
import time

import pytest

from causal_meta.conf.evaluation import EvaluateConfig
from causal_meta.conf.inference import EmptyConfig, PCConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import StoreError, attempts, removal, transfer

HOURS_AGO = time.time() - 7200


@pytest.fixture
def scored(store, target, run, new_builder):
    """A run of another target that has `run` as its input."""
    other = store.build(TasksConfig(seed=5), {}, new_builder(b"other"))
    return store.build(EvaluateConfig(), {"of": other, "posterior": run}, new_builder(b"metrics"))


def everything(store):
    """Every published file with its bytes."""
    files = (
        path for path in store.root.rglob("*") if path.is_file() and ".staging" not in path.parts
    )
    return {path.relative_to(store.root).as_posix(): path.read_bytes() for path in files}


def age(folder):
    """Let everything in a folder be two hours old."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (HOURS_AGO, HOURS_AGO), follow_symlinks=False)


# ----------------------------------------------------------------------------------------------- rm


def test_a_run_that_nobody_needs_goes_alone(store, target, run, builder):
    kept = store.build(PCConfig(), {"of": target}, builder)
    before = everything(store)
    store.remove(store.plan_removal(run.id))
    gone = {path for path in before if f"/{run.id}/" in path}
    after = everything(store)
    assert {path for path in before if path not in after} == gone
    assert [
        json.loads(line)["sampler"]
        for line in (target.folder / "_runs.jsonl").read_text().splitlines()
    ] == [kept.kind]
    assert store.verify() == []
    assert store.lookup(EmptyConfig(), {"of": target}) is None
    assert list((store.staging / "trash").iterdir()) == []
    assert store.build(EmptyConfig(), {"of": target}, builder).id == run.id


@pytest.mark.parametrize("whose", ["target", "run"])
def test_what_others_need_is_refused_and_they_are_named(store, target, run, scored, whose):
    token, named = {"target": ("first", (run.id, scored.id)), "run": (run.id, (scored.id,))}[whose]
    before = everything(store)
    with pytest.raises(StoreError, match="cannot be removed") as caught:
        store.remove(store.plan_removal(token))
    assert all(name in str(caught.value) for name in named)
    assert str(caught.value).endswith("--force.")
    assert everything(store) == before
    assert store.plan_removal(token).depend == {scored.id: (run.id,)}


def test_with_force_a_target_takes_its_runs_and_its_name_with_it(store, target, run, scored):
    planned = store.plan_removal("first")
    assert planned.ids == {target.id, run.id}
    store.remove(planned, force=True)
    assert not target.folder.exists()
    assert store.names() == {}
    assert not (store.root / "experiments" / "first").exists()
    assert [line["target_id"] for line in store.catalog()] == [scored.folder.parent.name]
    assert target.id not in (store.root / "targets" / "_catalog.jsonl").read_text()
    assert store.verify() == [
        f"{scored.id}: its input posterior, {run.id}, is no longer in the store."
    ]


def test_those_that_need_one_another_go_together(store, target, run, scored):
    store.remove(store.plan_removal(run.id, scored.id, run.id))
    assert [artifact.id for artifact in store.artifacts() if not artifact.is_target] == []
    assert store.verify() == []


def test_a_damaged_artifact_can_be_removed(store, target, run):
    (run.folder / "meta.json").write_text("{")
    store.remove(store.plan_removal(run.id))
    assert store.verify() == []


def test_a_run_published_meanwhile_saves_its_target(store, target, builder):
    planned = store.plan_removal("first")
    late = store.build(EmptyConfig(), {"of": target}, builder)
    with pytest.raises(StoreError, match=f"{late.id} was published in {target.id} meanwhile"):
        store.remove(planned, force=True)
    assert {artifact.id for artifact in store.artifacts()} == {target.id, late.id}
    assert store.names() == {"first": target.id}
    assert store.verify() == []


@pytest.mark.parametrize("where", ["target", "targets", ".staging"])
def test_nothing_behind_a_link_is_removed(store, target, tmp_path, where):
    place = target.folder if where == "target" else store.root / where
    place.rename(tmp_path / "outside")
    place.symlink_to(tmp_path / "outside")
    before = sorted((tmp_path / "outside").rglob("*"))
    with pytest.raises(StoreError, match="is a link"):
        store.remove(store.plan_removal(target.id), force=True)
    assert sorted((tmp_path / "outside").rglob("*")) == before


@pytest.mark.parametrize("token", ["../x", "/etc", "..", "", "targets", "tgt_/../..", "*"])
def test_only_artifacts_can_be_named(store, target, token):
    before = everything(store)
    with pytest.raises(StoreError):
        store.remove(store.plan_removal(token), force=True)
    assert everything(store) == before


REMOVING = """
import os, signal, sys
from causal_meta.store import Store, disk, removal

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(removal if sys.argv[2] == "forget" else disk, sys.argv[2], die)
store = Store(sys.argv[1])
store.remove(store.plan_removal("first"), force=True)
"""


@pytest.mark.parametrize("step", ["sync_folder", "forget", "remove_tree"])
def test_a_removal_that_is_killed_took_all_or_nothing(store, target, run, python, step):
    process = python(REMOVING, store.root, step)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not target.folder.exists()
    assert [problem for problem in store.verify() if "names.json" not in problem] == []
    assert [item.reason for item in store.leftovers() if item.kind == "staging"] == [
        "was removed before"
    ]
    store.sweep(store.leftovers())
    assert store.leftovers() == []


# ----------------------------------------------------------------------------------------------- gc


def broken_attempt(store, seed, checkpoint=0):
    """An attempt whose builder failed, at an artifact that was not published."""

    def fails(config, attempt):
        if checkpoint:
            attempt.save({"weights": [0.5]}, checkpoint, "tensors")
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        store.build(TasksConfig(seed=seed), {}, fails)
    return attempts.folders(store.staging, store.key(TasksConfig(seed=seed)).id)[-1][1]


def test_a_sound_store_has_no_leftovers(store, target, run, scored):
    assert store.leftovers(idle=0) == []


def test_leftovers_are_found_each_with_its_kind_and_go(store, target, run, scored, builder):
    dead, working = broken_attempt(store, 10), broken_attempt(store, 11, checkpoint=5)
    draft = store.root / "reports" / ".draft-0123"
    draft.mkdir(parents=True)
    (store.staging / "import-0123").mkdir()
    (store.root / "experiments" / "first" / "results" / "gone").symlink_to("../nowhere")
    (store.root / "targets" / "tgt_000000000000").mkdir()
    shutil.rmtree(run.folder)
    for folder in (dead, working, draft, store.staging / "import-0123"):
        age(folder)
    leftovers = {(item.path, item.kind) for item in store.leftovers()}
    links = store.root / "experiments" / "first"
    assert leftovers == {
        (dead, "staging"), (working, "work"), (draft, "staging"), (store.staging / "import-0123",
        "staging"), (links / "results" / "gone", "view"),
        (links / "inference" / run.id, "view"), (store.root / "targets" / "tgt_000000000000",
        "orphan"), (scored.folder, "orphan"),
    }  # fmt: skip
    gone = store.sweep([item for item in store.leftovers() if item.kind in ("staging", "view")])
    assert len(gone) == 5
    assert working.exists()
    assert scored.folder.exists()
    assert not dead.parent.exists()  # with its lock
    assert {item.kind for item in store.leftovers()} == {"work", "orphan"}
    store.build(TasksConfig(seed=11), {}, builder)
    assert builder.attempts[-1].resumed  # the checkpoint that was kept was worth it
    store.sweep(store.leftovers())
    assert store.leftovers() == []
    assert store.verify() == []


def test_only_the_furthest_checkpoint_is_work(store):
    first, second = broken_attempt(store, 10, checkpoint=9), broken_attempt(store, 10)
    for folder in (first, second):
        age(folder)
    kinds = {item.path: item.kind for item in store.leftovers()}
    # the second attempt took the first one's checkpoint along
    assert sorted(kinds.values()) == ["staging", "work"]
    (first / "checkpoints" / "last.pt").write_text("torn")
    (second / "checkpoints" / "last.pt").write_text("torn")
    assert {item.kind for item in store.leftovers(idle=0)} == {"staging"}


BUILDING = """
import sys, time
from pathlib import Path
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import Store

root = Path(sys.argv[1])
def builder(config, attempt):
    (attempt.folder / "data.npz").write_text("half")
    (root.parent / "began").touch()
    while not (root.parent / "go").exists():
        time.sleep(0.01)
    (attempt.folder / "data.npz").write_text("whole")
print(Store(root).build(TasksConfig(seed=77), {}, builder).id)
"""


@pytest.mark.parametrize("paused", [False, True])
def test_an_attempt_that_is_alive_is_never_touched(store, python, paused):
    """However long it has been silent, and even while it is stopped: it holds its lock."""
    process = python(BUILDING, store.root)
    while not (store.root.parent / "began").exists():
        time.sleep(0.01)
    if paused:
        process.send_signal(signal.SIGSTOP)
    try:
        (folder,) = store.staging.glob("tgt_*/attempt-*-*")
        age(folder)
        assert store.leftovers(idle=0) == []
        wrong = removal.Leftover(folder, "staging", "an entry that is wrong", 0)
        assert store.sweep([wrong], idle=0) == []
    finally:
        process.send_signal(signal.SIGCONT)
        (store.root.parent / "go").touch()
    out, err = process.communicate()
    assert err == ""
    assert (store.find(out.strip()).folder / "data.npz").read_text() == "whole"


def test_an_import_that_is_under_way_is_never_touched(store):
    with transfer.draft(store.staging) as folder:
        (folder / "half").write_text("half")
        age(folder)
        assert store.leftovers(idle=0) == []
    folder.mkdir()
    assert [item.path for item in store.leftovers(idle=0)] == [folder]


def test_without_a_lock_a_sign_of_life_saves_an_attempt(store):
    """On a network file system whose locks do not reach other machines, the time of the last fact
    counts."""
    folder = broken_attempt(store, 10)
    assert store.leftovers(idle=3600) == []
    age(folder)
    (item,) = store.leftovers(idle=3600)
    assert item.path == folder
    (folder / "facts" / "events.jsonl").touch()
    assert store.sweep([item], idle=3600) == []  # looked at again first
    assert folder.exists()


def test_what_lies_outside_is_never_swept(store, target, tmp_path):
    (tmp_path / "mine").write_text("years")
    for lie in (tmp_path / "mine", target.folder, store.root, store.root / "names.json"):
        assert store.sweep([removal.Leftover(lie, "staging", "a lie", 0)]) == []
    (store.staging / "trash").mkdir()
    (store.staging / "trash" / "link").symlink_to(tmp_path)
    (store.staging / "tgt_111111111111").symlink_to(tmp_path)
    store.sweep(store.leftovers(idle=0), idle=0)
    assert (tmp_path / "mine").read_text() == "years"
    assert not (store.staging / "trash" / "link").is_symlink()
