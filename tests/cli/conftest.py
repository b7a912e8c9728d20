"""A store with a tiny trained model and a task set, built once through the command line; and
fixtures that run commands in this process."""

import shutil
from dataclasses import dataclass

import numpy as np
import pytest

from causal_meta.cli import main

TINY = [
    "model.dim=8",
    "model.n_pairs=1",
    "model.n_heads=2",
    "model.key_size=4",
    "model.dropout=0",
    "data.train.n_nodes=4",
    "data.train.n_rows=30",
]
TINY += ["data.tasks_per_step=2", "trainer.max_steps=2"]


@dataclass
class Ran:
    """Exit status, standard output and standard error of a command."""

    status: int
    out: str
    err: str

    @property
    def last(self):
        return self.out.splitlines()[-1]


@pytest.fixture
def run(capsys, monkeypatch, tmp_path, store):
    """Run a command with the test's own store, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAUSAL_META_STORE", str(store))

    def command(*words):
        capsys.readouterr()
        status = main([str(word) for word in words])
        return Ran(status, *capsys.readouterr())

    return command


@pytest.fixture
def refused(run, store):
    """Run a command that must be refused: status 2, one sentence on standard error, nothing on
    standard output, the store as it was."""

    def command(*words, saying=""):
        before = listing(store)
        ran = run(*words)
        assert ran.status == 2, ran
        assert ran.out == ""
        assert len(ran.err.splitlines()) == 1, ran.err
        assert ran.err.rstrip().endswith((".", "!", "…"))
        assert "Traceback" not in ran.err
        assert saying in ran.err
        assert listing(store) == before
        return ran.err

    return command


def listing(store):
    """Relative paths and sizes of everything published in a store."""
    files = (path for path in store.rglob("*") if path.is_file() and ".staging" not in path.parts)
    return sorted((path.relative_to(store).as_posix(), path.stat().st_size) for path in files)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The folder of a store that holds the model `first` and the task set `held_in`."""
    root = tmp_path_factory.mktemp("cli") / "store"
    flags = ["--store", str(root), "--quiet", "--threads", "1"]
    assert main(["build", "amortised", *TINY, "seed=1", "--name", "first", *flags]) == 0
    assert (
        main(
            [
                "build",
                "tasks",
                "data=wide",
                "data.n_nodes=4",
                "data.n_rows=40",
                "n_tasks=3",
                "--name",
                "held_in",
                *flags,
            ]
        )
        == 0
    )
    return root


@pytest.fixture
def store(built, tmp_path):
    """A copy of the built store for one test."""
    return shutil.copytree(built, tmp_path / "store", symlinks=True)


@pytest.fixture
def table(tmp_path):
    """A CSV of 20 rows and columns a, b, c."""
    path = tmp_path / "table.csv"
    np.savetxt(
        path,
        np.random.default_rng(0).normal(size=(20, 3)),
        delimiter=",",
        header="a,b,c",
        comments="",
    )
    return path
