"""Fixtures and settings of the whole suite."""

import os

import pytest

from causal_meta.threads import sleep_while_waiting

sleep_while_waiting()  # before any test module imports torch
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # for SciPy's, and for processes begun by tests


@pytest.fixture
def every():
    """Run a check for every case of a mapping from names; all failures are reported at once."""

    def run(check, cases):
        errors = []
        for name, case in cases.items():
            try:
                check(case)
            except Exception as error:
                error.add_note(f"the case {name}")
                errors.append(error)
        if errors:
            raise ExceptionGroup(f"{len(errors)} of {len(cases)} cases fail", errors)

    return run


@pytest.fixture
def few_trees(monkeypatch):
    """Small forests in the distances between families, where the classifier is not the subject."""
    monkeypatch.setattr("causal_meta.datasets.distances._TREES", 3)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Small tensors on a machine that others use: more threads only wait for each other. Those of
    OpenBLAS spin meanwhile, which doubles the work of an estimate from a few thousand draws."""
    import threadpoolctl
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpoolctl.threadpool_limits(1, "blas"):
        yield
    torch.set_num_threads(before)


@pytest.fixture
def register(monkeypatch):
    """A function `register(configuration class, "module:attribute")` that adds a kind for the
    duration of a test, as a line of `causal_meta.conf.registry` would."""
    from causal_meta.conf import registry

    def add(cls, place):
        monkeypatch.setitem(registry._MEMBERS, cls, place)
        registry.by_tag.cache_clear()

    yield add
    monkeypatch.undo()
    registry.by_tag.cache_clear()
