"""`make`: from a configuration to its artifact, by the builder that the registry names."""

import subprocess
import sys

import pytest

from causal_meta.conf import registry
from causal_meta.conf.inference import EmptyConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.runners import build
from causal_meta.store import Store, StoreError


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, patience=0)


@pytest.fixture
def builders(monkeypatch):
    """Replaces every builder by one that writes its kind; the list of their arguments."""
    calls = []

    def builder_of(config):
        def builder(config, attempt):
            calls.append((config, dict(attempt.options)))
            (attempt.folder / "kind").write_text(config.kind)
            attempt.facts.event("on_train_end")
            return {"dims": {"n": 1}}

        return builder

    monkeypatch.setattr(registry, "builder", builder_of)
    return calls


def test_make_builds_once_and_passes_on_all_arguments(store, builders):
    moments = []
    made = build.make(
        store,
        TasksConfig(),
        name="x",
        overrides=["seed=0"],
        subscribers=[lambda event: moments.append(event["moment"])],
        options={"a": 1},
    )
    assert build.make(store, TasksConfig()) == made == store.find("x")
    assert builders == [(TasksConfig(), {"a": 1})]
    assert (made.meta["overrides"], made.meta["dims"]) == (["seed=0"], {"n": 1})
    assert moments == ["on_start", "on_train_end"]
    run = build.make(store, EmptyConfig(), {"of": made})
    assert (run.folder / "kind").read_text() == "empty"
    with pytest.raises(StoreError, match="already"):
        build.make(store, TasksConfig(seed=1), name="x")
    assert store.find("x") == made
    assert build.make(store, TasksConfig(seed=1), name="x", force=True) == store.find("x")


def test_a_hit_imports_no_builder(store, builders, monkeypatch):
    made = build.make(store, TasksConfig())
    monkeypatch.setattr(registry, "builder", None)
    assert build.make(store, TasksConfig()) == made


def test_the_builder_is_the_registrys(store, monkeypatch):
    monkeypatch.setitem(registry._MEMBERS, TasksConfig, "json:dumps")
    with pytest.raises(TypeError, match=r"JSONEncoder|dumps"):
        build.make(store, TasksConfig())


def test_make_loads_neither_torch_nor_jax():
    code = (
        "import sys, causal_meta.runners.build; print({'torch', 'jax', 'pandas'} & "
        "set(sys.modules))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "set()"
    )
