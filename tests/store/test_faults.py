"""Killed at every step: SIGKILL before each call that changes the disk, in every verb that
publishes, moves or removes.

One process imports the package once and is forked for every kill. In the child the functions of
`store.disk` and the calls of the system below that give names, flush or remove are counted, and the
child kills itself before the k-th. Afterwards, whatever k: what was published before is there byte
for byte, nothing published is wrong or half-written, and the same command, run again, does the rest
and leaves nothing behind.
"""

import json
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from causal_meta.conf.evaluation import EvaluateConfig
from causal_meta.conf.inference import EmptyConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import Store, archive, disk

HARNESS = '''
import json, os, shutil, signal, sys
from pathlib import Path
from causal_meta.conf.evaluation import EvaluateConfig
from causal_meta.conf.inference import EmptyConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import Store, disk

FUNCTIONS = ["write_atomic", "rename_new", "append_line", "remove_tree", "copy_files", "digests",
    "write_json", "sync_file", "sync_folder"]
CALLS = ["rename", "replace", "link", "unlink", "rmdir", "mkdir", "fsync", "open", "symlink",
    "ftruncate", "write"]

def result(config, attempt):
    (attempt.folder / "data.npz").write_bytes(b"result of " + attempt.artifact_id.encode())
    attempt.facts.scalars(1, "train", {"loss": 0.5})

def step(store, verb):
    target = store.find("first")
    if verb == "target":
        store.build(TasksConfig(seed=2), {}, result, name="second")
    elif verb == "run":
        store.build(EmptyConfig(seed=2), {"of": target}, result)
    elif verb == "stale":
        posterior = store.lookup(EmptyConfig(), {"of": target})
        store.build(EvaluateConfig(), {"of": target, "posterior": posterior}, result)
    elif verb == "take":
        store.take(store.root.parent / "archive.tar")
    elif verb == "name":
        store.name(target, "other", force=True)
    elif verb == "catalog":
        store.rebuild_catalog()
    elif verb == "remove":
        gone = store.root / "targets" / Path(sys.argv[3])
        if gone.exists():
            store.remove(store.plan_removal(gone.name), force=True)

def wrapped(counter, limit, real):
    def call(*arguments, **options):
        counter[0] += 1
        if counter[0] == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call

def child(root, verb, limit):
    store, counter = Store(root, patience=0), [0]
    for module, names in ((disk, FUNCTIONS), (os, CALLS)):
        for name in names:
            setattr(module, name, wrapped(counter, limit, getattr(module, name)))
    step(store, verb)
    return counter[0]

def forked(root, verb, limit):
    """Exit status of a child killed before its call number `limit`; None for one that ended."""
    process = os.fork()
    if process == 0:
        try:
            child(root, verb, limit)
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    _, status = os.waitpid(process, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

base, verb, every = Path(sys.argv[1]), sys.argv[2], int(sys.argv[4])
limit, done = 1, False
while not done:
    case = base.parent / f"{verb}-{limit}"
    shutil.copytree(base, case / "runs", symlinks=True)
    if (base.parent / "archive.tar").exists():
        shutil.copyfile(base.parent / "archive.tar", case / "archive.tar")
    status = forked(case / "runs", verb, limit)
    print(json.dumps([str(case / "runs"), status]), flush=True)
    done, limit = status != -signal.SIGKILL, limit + every
'''


def published(store):
    """Bytes of the result files and the record of every artifact, by id."""
    return {
        artifact.id: {path.name: path.read_bytes() for _, path in disk.results(artifact.folder)}
        | {"meta": (artifact.folder / "meta.json").read_bytes()}
        for artifact in store.artifacts()
    }


@pytest.fixture
def memory():
    """A folder in memory where there is one: thousands of flushes are waited for."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def base(memory, new_builder):
    """A store with a named target, two runs, of which one is stale, and an archive of what another
    store holds."""
    store = Store(memory / "runs", patience=0)
    target = store.build(TasksConfig(seed=1), {}, new_builder(), name="first")
    run = store.build(EmptyConfig(), {"of": target}, new_builder(b"posterior"))
    scored = store.build(
        EvaluateConfig(), {"of": target, "posterior": run}, new_builder(b"old score")
    )
    shutil.rmtree(run.folder)
    store.build(EmptyConfig(), {"of": target}, new_builder(b"another posterior"))
    other = Store(memory / "elsewhere", patience=0)
    theirs = other.build(TasksConfig(seed=8), {}, new_builder(b"theirs"))
    other.build(EmptyConfig(), {"of": theirs}, new_builder(b"their run"))
    other.pack(archive.closure(other, [theirs], runs=True), memory / "archive.tar")
    return store, scored


def expected(verb, store, scored):
    """The problems that the verb repairs, and the ids that it may take away or replace."""
    stale = f"{scored.id} is stale"
    lost = {scored.id} if verb in ("stale", "remove") else set()
    return stale, lost


EVERY = [
    ("target", 1),
    ("run", 1),
    ("stale", 1),
    ("take", 2),
    ("name", 1),
    ("catalog", 1),
    ("remove", 1),
]


@pytest.mark.parametrize(("verb", "every"), EVERY, ids=[verb for verb, _ in EVERY])
def test_a_kill_before_any_call_loses_nothing(base, python, verb, every):
    store, scored = base
    before, names = published(store), store.names()
    stale, lost = expected(verb, store, scored)
    gone = scored.folder.relative_to(store.root / "targets").as_posix()
    out, err = python(HARNESS, store.root, verb, gone, every).communicate()
    assert err == ""
    cases = [json.loads(line) for line in out.splitlines()]
    assert [status for _, status in cases] == [-signal.SIGKILL] * (len(cases) - 1) + [0]
    assert len(cases) > (3 if verb in ("name", "catalog") else 8), "the counter counts nothing"
    undisturbed = published(Store(cases[-1][0]))
    for root, _ in cases:
        reopened = Store(root, patience=0)
        after = published(reopened)
        assert all(after[key] == value for key, value in before.items() if key not in lost), root
        assert set(after) <= set(undisturbed) | lost, root
        assert reopened.names().items() >= names.items(), root
        wrong = [problem for problem in reopened.verify() if not problem.startswith(stale)]
        assert wrong == [], (root, wrong)


@pytest.mark.parametrize("verb", ["target", "run", "stale", "take", "remove"])
def test_the_same_command_after_a_kill_does_the_rest(base, python, verb):
    """Every ninth call, since each is followed by a whole second command."""
    store, scored = base
    gone = scored.folder.relative_to(store.root / "targets").as_posix()
    out, _ = python(HARNESS, store.root, verb, gone, 9).communicate()
    cases = [json.loads(line)[0] for line in out.splitlines()]
    again, err = python(
        HARNESS.partition("base, verb, every")[0] + AGAIN, verb, "x", gone, json.dumps(cases)
    ).communicate()
    assert err == ""
    assert json.loads(again) == [0] * len(cases)
    whole = {
        key: {name: data for name, data in files.items() if name == "data.npz"}
        for key, files in published(Store(cases[-1])).items()
    }
    for root in cases:
        reopened = Store(root, patience=0)
        assert {
            key: {"data.npz": files["data.npz"]} for key, files in published(reopened).items()
        } == whole, root
        assert [
            problem for problem in reopened.verify() if "is stale" not in problem or verb == "stale"
        ] == [], root
        reopened.sweep(reopened.leftovers(idle=0), idle=0)
        assert reopened.leftovers(idle=0) == [], root
        listed = [line["target_id"] for line in reopened.catalog()]
        assert sorted(listed) == sorted(
            artifact.id for artifact in reopened.artifacts() if artifact.is_target
        ), root


AGAIN = """
verb = sys.argv[1]
print(json.dumps([forked(root, verb, 0) for root in json.loads(sys.argv[4])]))
"""


CARELESS = """
def careless(source, destination):
    destination.mkdir()
    for path in sorted(source.rglob("*"), reverse=True):
        disk.sync_folder(destination)
        if path.is_file():
            goal = destination / path.relative_to(source)
            goal.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, goal)
    return True
disk.rename_new = careless
"""


def test_the_harness_sees_a_store_that_is_not_crash_safe(base, python):
    """A publication that copies file by file instead of renaming is caught: half of a folder is
    found in its place, at every third call already."""
    store, _ = base
    code = HARNESS.replace("base, verb, every =", CARELESS + "base, verb, every =")
    out, _ = python(code, store.root, "target", "x", 3).communicate()
    roots = [json.loads(line)[0] for line in out.splitlines()]
    assert any(
        problem for root in roots for problem in Store(root).verify() if "is stale" not in problem
    )


# ------------------------------------------------------------------------------------------- damage


def pieces(store):
    """Every file that is a result or a record."""
    return sorted(
        path
        for artifact in store.artifacts()
        for path in artifact.folder.rglob("*")
        if path.is_file() and path.name != "_runs.jsonl"
    )


@pytest.mark.parametrize("damage", ["truncated", "flipped", "deleted", "emptied"])
def test_every_damaged_file_is_named_and_no_other(store, target, run, damage):
    for path in pieces(store):
        content = path.read_bytes()
        if damage == "deleted":
            path.unlink()
        elif damage == "flipped":
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 32]))
        else:
            path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
        problems = store.verify()
        owner = next(part for part in reversed(path.parts) if part.startswith(("tgt_", "run_")))
        # the last byte is a line end: the JSON may still be the same
        if path.name == "meta.json" and damage == "flipped":
            path.write_bytes(content.replace(b'"attempt": 1', b'"attempt": 1, "x"'))
            problems = store.verify()
        assert any(owner in problem and path.name in problem for problem in problems), (
            path,
            problems,
        )
        assert all(owner in problem for problem in problems), (path, problems)
        path.write_bytes(content)
    assert store.verify() == []


@pytest.mark.skipif(
    os.geteuid() == 0 and not shutil.which("setpriv"),
    reason="root may write into read-only folders",
)
def test_read_only_folders_are_a_sentence_and_reading_goes_on(store, target, run, python):
    code = """
import sys
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import Store, StoreError
store = Store(sys.argv[1])
assert len(store.artifacts()) == 2 and store.verify() == []
for act in (
    lambda: store.build(TasksConfig(seed=2), {}, lambda config, attempt: {}),
    lambda: store.remove(store.plan_removal("first"), force=True),
    lambda: store.name(store.find("first"), "x"),
    lambda: store.rebuild_catalog(),
    lambda: store.sweep([]),
    lambda: store.take(sys.argv[2]),
):
    try:
        act()
        print("done")
    except StoreError as error:
        print(error)
"""
    file = store.pack([target], store.root.parent / "one.tar")
    before = published(store)
    folders = [
        store.root,
        *(path for path in store.root.rglob("*") if path.is_dir() and not path.is_symlink()),
    ]
    for folder in folders:
        folder.chmod(0o555)
    files = [path for path in store.root.rglob("*") if path.is_file()]
    for path in files:
        path.chmod(0o444)
    for parent in (store.root.parent, *store.root.parent.parents):
        if parent.stat().st_uid == os.geteuid() and len(parent.parts) > 2:
            parent.chmod(0o755)
    plain = (
        ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if os.geteuid() == 0 else ()
    )
    try:
        out, err = python(code, store.root, file, before=plain).communicate()
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert err == ""
    sentences = out.splitlines()
    assert len(sentences) == 6
    assert all(
        line.startswith("The store") and "permission denied" in line and line.endswith(".")
        for line in sentences
    ), sentences
    assert published(store) == before


# --------------------------------------------------------------------------- many processes at once

CROWD = """
import json, os, sys, time
from pathlib import Path
from causal_meta.conf.inference import EmptyConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import Store

root = Path(sys.argv[1])

def result(config, attempt):
    time.sleep(0.02)
    (attempt.folder / "data.npz").write_bytes(b"result of " + attempt.artifact_id.encode())

def member(number):
    while not (root.parent / "go").exists():
        time.sleep(0.005)
    store = Store(root, patience=0 if number % 2 else 60)
    for seed in (number % 3, 10 + number):
        target = store.build(TasksConfig(seed=seed), {}, result, name=f"n{number}-{seed}")
        store.build(EmptyConfig(seed=number % 4), {"of": target}, result)
    if number == 0:
        store.rebuild_catalog()
    if number == 1:
        store.sweep(store.leftovers(idle=0), idle=0)

processes = []
for number in range(16):
    process = os.fork()
    if process == 0:
        try:
            member(number)
            os._exit(0)
        except BaseException as error:
            print(number, repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    processes.append(process)
(root.parent / "go").touch()
print(json.dumps([os.waitpid(process, 0)[1] for process in processes]))
"""


def test_sixteen_processes_publish_the_same_and_different_ids_at_once(store, python):
    """While one of them rebuilds the catalog and another one sweeps."""
    out, err = python(CROWD, store.root).communicate()
    assert err == ""
    assert json.loads(out) == [0] * 16
    targets = {
        artifact.config.seed: artifact for artifact in store.artifacts() if artifact.is_target
    }
    assert set(targets) == {0, 1, 2} | set(range(10, 26))
    for number in range(16):
        for seed in (number % 3, 10 + number):
            assert store.names()[f"n{number}-{seed}"] == targets[seed].id
            assert store.lookup(EmptyConfig(seed=number % 4), {"of": targets[seed]}) is not None
    assert all(
        (artifact.folder / "data.npz").read_text() == f"result of {artifact.id}"
        for artifact in store.artifacts()
    )
    assert store.verify() == []
    assert [line["target_id"] for line in store.catalog()] == [
        artifact.id for artifact in store.artifacts() if artifact.is_target
    ]
    assert store.leftovers(idle=0) == []
