"""What is shown of the progress of a run, and where."""

import io
import sys

import pytest

from causal_meta.runners.progress import stages


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "title", "shown"),
    [(Terminal, "mcmc", True), (Terminal, "", False), (io.StringIO, "mcmc", False)],
)
def test_stages_are_shown_on_a_terminal_and_only_there(stream, title, shown, monkeypatch):
    error = stream()
    monkeypatch.setattr(sys, "stderr", error)
    monkeypatch.setenv("TERM", "xterm")
    with stages(title) as show:
        show("chains of graphs")
    assert ("mcmc: chains of graphs" in error.getvalue()) == shown
    assert shown or not error.getvalue()
