"""Whatever happens to the lists of artifacts, they say what the folders say; and a disk that fills
up at any step of a publication loses nothing."""

import json
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from causal_meta.conf.inference import EmptyConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import Store, catalog
from causal_meta.store.disk import read_lines, torn_lines

STEADY = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
SEEDS = st.integers(0, 2)
ACTS = st.one_of(
    st.tuples(st.just("build"), SEEDS),
    st.tuples(st.just("run"), SEEDS, SEEDS),
    st.tuples(st.just("remove"), SEEDS),
    st.tuples(st.just("delete by hand"), SEEDS),
    st.tuples(st.just("crash before the entry"), SEEDS),
    st.tuples(st.just("tear"), st.integers(1, 400)),
    st.tuples(st.just("damage"), st.integers(0, 2000), st.binary(min_size=1, max_size=3)),
    st.tuples(st.just("lose the file")),
    st.tuples(st.just("rebuild")),
)


def result(config, attempt):
    (attempt.folder / "data.npz").write_bytes(b"result of " + attempt.artifact_id.encode())


def carry_out(store, act):
    """One thing that users and crashes do."""
    deed, *arguments = act
    file = store.root / "targets" / catalog.CATALOG
    target = (
        store.lookup(TasksConfig(seed=arguments[0]))
        if arguments and deed != "tear" and deed != "damage"
        else None
    )
    if deed == "build":
        store.build(TasksConfig(seed=arguments[0]), {}, result)
    elif deed == "run" and target is not None:
        store.build(EmptyConfig(seed=arguments[1]), {"of": target}, result)
    elif deed == "remove" and target is not None:
        store.remove(store.plan_removal(target.id), force=True)
    elif deed == "delete by hand" and target is not None:
        shutil.rmtree(target.folder)
    elif deed == "crash before the entry" and target is None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(catalog, "add", lambda artifact, root: None)
            store.build(TasksConfig(seed=arguments[0]), {}, result)
    elif deed == "tear" and file.exists():
        file.write_bytes(file.read_bytes()[: -arguments[0]])
    elif deed == "damage" and file.exists():
        data = file.read_bytes()
        file.write_bytes(
            data[: arguments[0]] + arguments[1] + data[arguments[0] + len(arguments[1]) :]
        )
    elif deed == "lose the file":
        file.unlink(missing_ok=True)
    elif deed == "rebuild":
        store.rebuild_catalog()


def from_folders(store):
    return [catalog.target_line(artifact) for artifact in store.artifacts() if artifact.is_target]


@STEADY
@given(st.lists(ACTS, max_size=12))
@example([("build", 0), ("delete by hand", 0), ("crash before the entry", 0)])
def test_after_any_history_the_catalog_is_that_of_the_folders(tmp_path_factory, acts):
    store = Store(tmp_path_factory.mktemp("history") / "runs", patience=0)
    altered = False
    for act in acts:
        carry_out(store, act)
        altered = (altered or act[0] == "damage") and act[0] not in ("rebuild", "lose the file")
        ids = [line["target_id"] for line in store.catalog()]
        assert sorted(ids) == sorted(line["target_id"] for line in from_folders(store))
        # bytes that were changed may still be a line; then it is listed as it stands, until the
        # catalog is rebuilt
        if not altered:
            assert store.catalog() == from_folders(store)
        problems = [problem for problem in store.verify() if "rebuild-catalog" not in problem]
        assert problems == []
    store.rebuild_catalog()
    assert store.verify() == []
    file = store.root / "targets" / catalog.CATALOG
    assert read_lines(file) == store.catalog() == from_folders(store)
    for target in (artifact for artifact in store.artifacts() if artifact.is_target):
        runs = [catalog.run_line(run, store.root) for run in store.runs_of(target)]
        assert read_lines(target.folder / catalog.RUNS) == runs


def test_torn_lines_are_skipped_and_reported(store, target, run, builder):
    for file in (store.root / "targets" / catalog.CATALOG, target.folder / catalog.RUNS):
        assert torn_lines(file) == []
        whole = file.read_text()
        file.write_text(whole + whole[:20])
        assert torn_lines(file) == [2]
        (problem,) = store.verify()
        assert file.name in problem
        assert "line 2" in problem
        assert "causal-meta store rebuild-catalog" in problem
        assert store.verify(target.id) == ([] if file.parent != target.folder else [problem])
        file.write_text(whole)
    assert torn_lines(store.root / "none") == []
    assert store.verify() == []


# -------------------------------------------------------------------------------------- a full disk

# On a file system of 512 kB: how many pages are left free is tried one after the other, so that the
# disk fills up at every step of a publication.
FILLING = """
import json, os, sys
from pathlib import Path
from causal_meta.conf.inference import EmptyConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import Store, StoreError

root = Path(sys.argv[1])
store, ballast = Store(root / "runs", patience=0), root / "ballast"

def result(config, attempt):
    (attempt.folder / "data.npz").write_bytes(b"result of " + attempt.artifact_id.encode())

def publish(seed):
    target = store.build(TasksConfig(seed=seed), {}, result, name=f"n{seed}")
    store.build(EmptyConfig(), {"of": target}, result)

def state():
    return {a.id: [(p.name, p.read_bytes()) for p in sorted(a.folder.glob("*.*")) if
        p.name != "_runs.jsonl"] for a in store.artifacts()}

publish(0)
for pages in range(int(sys.argv[2])):
    before, names = state(), store.names()
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
        free = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize
        os.ftruncate(file.fileno(), max(0, file.tell() + free - 4096 * pages))
    try:
        publish(1)
        message = ""
    except StoreError as error:
        message = str(error)
    after = state()
    kept = all(after[key] == value for key, value in before.items()) and store.names().items(
        ) >= names.items()
    wrong = [problem for problem in store.verify() if "rebuild-catalog" not in problem]
    ballast.unlink()
    publish(1)
    store.sweep(store.leftovers(idle=0), idle=0)
    whole = len(store.artifacts()) == 4 and store.names().keys() == {"n0", "n1"} and len(
        store.catalog()) == 2
    print(json.dumps([message, kept, wrong, whole, store.verify(), [str(item.path) for
        item in store.leftovers(idle=0)]]), flush=True)
    store.remove(store.plan_removal("n1"), force=True)
    store.rebuild_catalog()
"""


def mounting():
    """The words that give a command a mount name space of its own, if that is allowed."""
    for words in (("unshare", "-m"), ("unshare", "-rm")):
        try:
            if (
                subprocess.run(
                    [*words, "mount", "-t", "tmpfs", "none", "/mnt"],
                    capture_output=True,
                    check=False,
                ).returncode
                == 0
            ):
                return words
        except FileNotFoundError:
            return ()
    return ()


MOUNTING = mounting()


@pytest.mark.skipif(not MOUNTING, reason="needs the right to mount in a name space of its own")
def test_a_disk_that_fills_up_at_any_step_loses_nothing(tmp_path, python):
    place = tmp_path / "small"
    place.mkdir()
    setup = f'mount -t tmpfs -o size=512k none {place} && exec "$@"'
    out, err = python(FILLING, place, 24, before=(*MOUNTING, "sh", "-c", setup, "sh")).communicate(
        timeout=120
    )
    assert err == ""
    cases = [json.loads(line) for line in out.splitlines()]
    assert len(cases) == 24
    refused = [message for message, *_ in cases if message]
    assert 5 < len(refused) < 24, "the disk was never full, or always"
    assert all(
        "no space left" in message and message.endswith(".") and "\n" not in message
        for message in refused
    )
    assert not any(message for message, *_ in cases[-3:])
    for message, kept, wrong, whole, problems, left in cases:
        assert (kept, wrong, whole, problems, left) == (True, [], True, [], []), message
