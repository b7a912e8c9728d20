"""Threads sleep while they wait, in every process that an entry point starts, unless the user has
set how they wait."""

import os
import subprocess
import sys

import pytest

from causal_meta.threads import sleep_while_waiting

CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
# torch is not loaded: the first attempt prints what the OpenMP runtime would read
ENTRY = """
import os, sys
class Torch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("before torch:", os.environ.get("OMP_WAIT_POLICY"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Torch())
"""
COMMAND = "from causal_meta.cli import main; main(['discover', 'sklearn:diabetes'])"
WORKER = "from causal_meta.workflow.jobs import work; work(); import torch"
BLOCK = (
    "import runpy; runpy.run_module = lambda *a, **k: __import__('torch');"
    "from causal_meta.workflow.block import main; main()"
)


@pytest.mark.parametrize("code", [COMMAND, WORKER, BLOCK], ids=["command", "worker", "block"])
def test_the_policy_is_set_before_torch_is_loaded(code, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in CHOICES}
    done = subprocess.run(
        [sys.executable, "-c", ENTRY + code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        env=environment,
    )
    assert "before torch: PASSIVE" in done.stdout + done.stderr


@pytest.mark.parametrize("choice", CHOICES)
def test_the_users_choice_stays(choice, monkeypatch):
    for name in CHOICES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(choice, "1")
    sleep_while_waiting()
    assert {name: os.environ[name] for name in CHOICES if name in os.environ} == {choice: "1"}
    monkeypatch.delenv(choice)
    sleep_while_waiting()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.delenv("OMP_WAIT_POLICY")
