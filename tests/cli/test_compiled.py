"""Compiled programs are kept in the user's own folder, and nowhere if the user says so or there is
none."""

import os

from causal_meta.cli.compiled import keep_compiled_programs


def test_programs_are_kept_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keep_compiled_programs()
    folder = tmp_path / "causal-meta"
    (inside,) = folder.iterdir()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(inside)
    assert inside.stat().st_mode & 0o077 == 0  # only the user can write there
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    keep_compiled_programs()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"


def test_no_home_means_no_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    keep_compiled_programs()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
