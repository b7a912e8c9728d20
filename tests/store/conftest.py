"""A store, a builder that counts its calls, and small artifacts."""

import subprocess
import sys
from pathlib import Path

import pytest

from causal_meta.conf.inference import EmptyConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import Store


class Builder:
    """Writes `content` to data.npz and remembers the attempts it saw."""

    def __init__(self, content: bytes = b"numbers") -> None:
        self.content = content
        self.attempts = []

    def __call__(self, config, attempt):
        self.attempts.append(attempt)
        (attempt.folder / "data.npz").write_bytes(self.content)
        return {"dims": {"n": 3}, "metrics": {"L0": 0.5}}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs", patience=0)


@pytest.fixture
def builder():
    return Builder()


@pytest.fixture
def new_builder():
    return Builder


@pytest.fixture
def target(store):
    return store.build(TasksConfig(seed=1), {}, Builder(), name="first")


@pytest.fixture
def run(store, target):
    return store.build(EmptyConfig(), {"of": target}, Builder(b"posterior"))


@pytest.fixture
def python(tmp_path):
    """Start a Python program on this package with arguments; returns the process (text pipes)."""

    def start(
        code: str, *arguments: str | Path, before: tuple[str, ...] = ()
    ) -> subprocess.Popen[str]:
        script = tmp_path / f"script_{len(list(tmp_path.glob('script_*')))}.py"
        script.write_text(code, "utf-8")
        command = [*before, sys.executable, str(script), *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start
