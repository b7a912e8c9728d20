"""`--processes N` is torchrun with the same command, whose restarts do not share a store;
`tests/runners/test_distributed.py` trains with it."""

import argparse
import sys

import pytest

from causal_meta.cli import launching
from causal_meta.cli.launching import UNSHARED, launcher


@pytest.fixture
def launched(monkeypatch):
    """The commands that would have replaced the process."""
    commands = []

    def become(file, words, environment):
        commands.append((words, environment))
        raise SystemExit(0)

    monkeypatch.setattr(launching.os, "execve", become)
    return commands


def test_the_command_is_given_to_torchrun_as_it_was(run, launched):
    words = [
        "build",
        "amortised",
        "seed=3",
        "--processes",
        "2",
        "--max-restarts",
        "1",
        "--threads",
        "1",
        "model.dim=8",
    ]
    with pytest.raises(SystemExit):
        run(*words)
    ((command, environment),) = launched
    assert command[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert command[command.index("causal_meta") + 1 :] == words
    assert {"--standalone", "--nproc-per-node=2", "--max-restarts=1"} < set(command)
    assert environment[UNSHARED] == "1"


def test_threads_are_shared_out_unless_the_user_says_how_many():
    def threads(**environment):
        args = argparse.Namespace(processes=10_000, threads=0, max_restarts=3, argv=[])
        return launcher(args, environment)[1]["OMP_NUM_THREADS"]

    assert threads() == "1"
    assert threads(OMP_NUM_THREADS="5") == "5"


def test_what_exists_or_is_not_trained_starts_no_processes(run, refused, store, launched):
    from causal_meta.conf.convert import leaves
    from causal_meta.store import Store

    first = Store(store).find("first")
    same = [
        f"{key}={value}"
        for key, value in leaves(first.stored_tree())
        if key in ("seed", "trainer.max_steps", "data.tasks_per_step")
    ]
    same += [
        "model.dim=8",
        "model.n_pairs=1",
        "model.n_heads=2",
        "model.key_size=4",
        "model.dropout=0",
        "data.train.n_nodes=4",
        "data.train.n_rows=30",
    ]
    assert run("build", "amortised", *same, "--processes", "2", "--quiet").last == first.id
    refused("build", "tasks", "data=wide", "--processes", "2", saying="tasks is not trained")
    refused("build", "amortised", "--processes", "0", saying="whole number of at least 1")
    refused("build", "amortised", "model=avicii", "--processes", "2", saying="did you mean 'avici'")
    assert not launched


def test_a_torchrun_whose_restarts_may_hang_gives_a_warning(monkeypatch, capsys):
    def warning(**environment):
        for name in (
            "TORCHELASTIC_RUN_ID",
            "TORCHELASTIC_MAX_RESTARTS",
            "TORCHELASTIC_USE_AGENT_STORE",
            "RANK",
        ):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        launching.warn_of_restarts()
        return capsys.readouterr().err

    risky = {
        "TORCHELASTIC_RUN_ID": "x",
        "TORCHELASTIC_MAX_RESTARTS": "2",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    assert UNSHARED in warning(**risky, RANK="0")
    assert (
        warning(**risky, RANK="1")
        == warning()
        == warning(**risky | {"TORCHELASTIC_MAX_RESTARTS": "0"})
        == ""
    )
    assert warning(**risky | {"TORCHELASTIC_USE_AGENT_STORE": "False"}) == ""
