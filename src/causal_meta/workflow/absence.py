"""Optional packages that a process does not load."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def without(*packages: str) -> Iterator[None]:
    """Let packages that are not loaded yet look as if they were not installed; afterwards they can
    be imported again.

    Parsl loads the optional packages of its providers and of its monitoring whenever they are
    installed: more than half of the time that a worker takes to start.
    """
    absent = [package for package in packages if package not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for package in absent:
            del sys.modules[package]
