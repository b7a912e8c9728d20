"""A study whose driver is killed by SIGKILL before any call that changes the disk: the same command
does the rest, and its table is that of an undisturbed one.

One process imports everything once and is forked for every kill; it carries out nothing itself,
since threads and forks do not meet. The first study makes its cells in the driver itself, so that
driver and builder die together; in the second everything is made (by the first, undisturbed) and
only what a driver writes is left (names, links, tables, the gallery).
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest

from causal_meta.store import Store

STUDY = """
name: small
targets:
  - {target: tasks, name: set, overrides: {data.n_nodes: 3, data.n_rows: 20, n_tasks: 2}}
runs:
  - {run: empty, of: set, name: nothing}
  - {run: evaluate, of: set, posterior: empty}
"""

HARNESS = """
import contextlib, io, json, os, shutil, signal, sys
from pathlib import Path
import gadjid, pandas, pyarrow.parquet, scipy.stats, torch
import causal_meta.models.classical.empty, causal_meta.models.classical.particle_method
import causal_meta.runners.evaluation.evaluation, causal_meta.runners.inference.per_task
import causal_meta.runners.tasks.task_sets, causal_meta.reports.gallery
import causal_meta.workflow.execute, causal_meta.workflow.results, causal_meta.workflow.workers
from causal_meta.cli import main
from causal_meta.store import disk

FUNCTIONS = ["write_atomic", "rename_new", "append_line", "remove_tree", "copy_files", "digests",
    "write_json", "sync_file", "sync_folder"]
CALLS = ["rename", "replace", "link", "unlink", "rmdir", "mkdir", "fsync", "symlink"]

def wrapped(counter, limit, real):
    def call(*arguments, **options):
        counter[0] += 1
        if counter[0] == limit:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)
    return call

def study(root):
    words = ["study", str(file), "--store", str(root), "--quiet", "--force", "--promote", "--to",
        str(root.parent / "gallery")]
    with contextlib.redirect_stdout(io.StringIO()):
        return main(words)

def forked(root, limit):
    process = os.fork()
    if process == 0:
        counter = [0]
        for module, names in ((disk, FUNCTIONS), (os, CALLS)):
            for name in names:
                setattr(module, name, wrapped(counter, limit, getattr(module, name)))
        status = study(root)
        (root.parent / "calls").write_text(str(counter[0]))
        os._exit(status)
    _, status = os.waitpid(process, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

def killed(name, every, base=None):
    limit, status = 1, -signal.SIGKILL
    while status == -signal.SIGKILL:
        root = folder / f"{name}-{limit}" / "store"
        if base:
            shutil.copytree(base, root, symlinks=True)
        else:
            root.parent.mkdir()
        status = forked(root, limit)
        print(json.dumps([name, str(root), status, forked(root, 0) if status else 0]), flush=True)
        limit += every
    return root

folder = Path(sys.argv[1])
file = folder / "small.yaml"
made = shutil.copytree(killed("all", 41), folder / "made", symlinks=True)
(made / "experiments" / "small" / "results.parquet").unlink()
file.write_text(file.read_text().replace("nothing", "nil"))
killed("results", 11, made)
"""


def table(root):
    return pd.read_parquet(root / "experiments" / "small" / "results.parquet").drop(
        columns="walltime_sec"
    )


@pytest.fixture(scope="module")
def place():
    """A folder in memory where there is one: thousands of flushes are waited for."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def killed(place):
    """Both studies with a kill before every n-th call; by study the stores afterwards, the last of
    which nobody disturbed."""
    (place / "small.yaml").write_text(STUDY)
    (place / "harness.py").write_text(HARNESS)
    words = [sys.executable, "-W", "error", str(place / "harness.py"), str(place)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    stores = {}
    for name in ("all", "results"):
        cases = [case for case in map(json.loads, done.stdout.splitlines()) if case[0] == name]
        assert [status for *_, status, _ in cases] == [-signal.SIGKILL] * (len(cases) - 1) + [0]
        assert {again for *_, again in cases} == {0}
        stores[name] = [Store(root) for _, root, *_ in cases]
    return stores


def check(stores):
    for store in stores:
        assert store.verify() == [], store
        assert len(store.artifacts()) == 3
        assert set(store.names()) == {"set", "nothing"}
        assert table(store.root).equals(table(stores[-1].root)), store
        assert (store.root.parent / "gallery" / "small" / "snippet.md").is_file()
        store.sweep(store.leftovers(idle=0), idle=0)
        assert store.leftovers(idle=0) == []


def test_a_study_whose_driver_was_killed_at_any_step_is_resumed(killed):
    stores = killed["all"]
    assert len(stores) > 5, "the counter counts nothing"
    check(stores)


def test_a_study_whose_driver_was_killed_while_writing_results_is_resumed(killed, place):
    stores = killed["results"]
    made = {
        artifact.id: artifact.meta["created_at"] for artifact in Store(place / "made").artifacts()
    }
    assert len(stores) > 5
    for store in stores:
        # nothing was made again
        assert {artifact.id: artifact.meta["created_at"] for artifact in store.artifacts()} == made
        assert set(store.names()) == {"set", "nothing", "nil"}
        assert table(store.root).equals(table(stores[-1].root))
        assert store.verify() == []
