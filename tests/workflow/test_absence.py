"""Packages are absent for a while, and only those that were not loaded."""

import importlib
import sys

import pytest

from causal_meta.workflow.absence import without


def test_packages_are_absent_inside_and_can_be_imported_afterwards(tmp_path, monkeypatch):
    (tmp_path / "a_package_of_this_test.py").write_text("here = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError), without("a_package_of_this_test"):
        importlib.import_module("a_package_of_this_test")
    try:
        loaded = importlib.import_module("a_package_of_this_test")
        assert loaded.here
        with without("a_package_of_this_test"):
            assert importlib.import_module("a_package_of_this_test") is loaded
    finally:
        sys.modules.pop("a_package_of_this_test", None)
