"""Threads sleep while they wait, in every process that an entry point starts, unless the user has
set how they wait; those of a command spin briefly first where nothing else runs."""

import os
import subprocess
import sys

import pytest

from causal_meta import threads
from causal_meta.threads import others_run, sleep_while_waiting, wait_as_the_machine_allows

CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
# torch is not loaded: the first attempt prints what the OpenMP runtime would read
ENTRY = """
import os, sys
class Torch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
            print("before torch:", *[os.environ.get(name) for name in names], flush=True)
            os._exit(0)
sys.meta_path.insert(0, Torch())
"""
COMMAND = "from causal_meta.cli import main; main(['discover', 'sklearn:diabetes'])"
WORKER = "from causal_meta.workflow.jobs import work; work(); import torch"
BLOCK = (
    "import runpy; runpy.run_module = lambda *a, **k: __import__('torch');"
    "from causal_meta.workflow.block import main; main()"
)


CASES = {
    "command": (COMMAND, {}, ("PASSIVE None", "None 3000")),  # as the machine is
    "worker": (WORKER, {}, ("PASSIVE None",)),
    "worker of a command": (WORKER, {"GOMP_SPINCOUNT": "3000"}, ("PASSIVE None",)),
    "block": (BLOCK, {}, ("PASSIVE None",)),
}


@pytest.mark.parametrize(("code", "inherited", "expected"), CASES.values(), ids=CASES)
def test_the_policy_is_set_before_torch_is_loaded(code, inherited, expected, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES}
    environment |= inherited
    done = subprocess.run(
        [sys.executable, "-c", ENTRY + code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        env=environment,
    )
    printed = done.stdout + done.stderr
    assert any(f"before torch: {words}" in printed for words in expected)


@pytest.mark.parametrize(
    ("contents", "busy"),
    [
        ("0.00 0.01 0.05 1/123 4567", False),
        ("3.00 3.01 3.05 1/123 4567", False),
        ("0.00 0.01 0.05 2/123 4567", True),
        ("of another system", True),
        (None, True),
    ],
)
def test_a_command_sleeps_beside_others_and_where_it_cannot_know(
    contents, busy, monkeypatch, tmp_path
):
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "loadavg"
    if contents is not None:
        file.write_text(contents)
    monkeypatch.setattr(threads, "_RUNNING", file)
    assert others_run() is busy
    wait_as_the_machine_allows()
    chosen = {name: os.environ.pop(name) for name in CHOICES if name in os.environ}
    assert chosen == ({"OMP_WAIT_POLICY": "PASSIVE"} if busy else {"GOMP_SPINCOUNT": "3000"})


@pytest.mark.skipif(not threads._RUNNING.exists(), reason="the system does not say what runs")
def test_a_busy_process_is_noticed():
    with subprocess.Popen([sys.executable, "-c", "print(1, flush=True)\nwhile True: pass"],
                          stdout=subprocess.PIPE) as other:  # fmt: skip
        other.stdout.readline()
        try:
            assert others_run()
        finally:
            other.kill()


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("choose", [sleep_while_waiting, wait_as_the_machine_allows])
def test_the_users_choice_stays(choose, choice, monkeypatch):
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(choice, "1")
    choose()
    assert {name: os.environ[name] for name in CHOICES if name in os.environ} == {choice: "1"}
    monkeypatch.delenv(choice)
    sleep_while_waiting()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.delenv("OMP_WAIT_POLICY")
