"""Programs compiled by JAX are cached for later commands in the user's cache folder, never in a
store, which may come from someone else."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
from pathlib import Path

_SECONDS = "0.1"  # programs that take longer to compile are kept


def keep_compiled_programs() -> None:
    """Set JAX's cache folder by environment variables, for this process and those it starts, unless
    the user has set one.

    Each kind of processor has its own folder, since machines with different instruction sets may
    share a home folder. JAX_ENABLE_COMPILATION_CACHE=false turns the cache off.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    # without a writable home folder there is no cache
    with contextlib.suppress(OSError, RuntimeError):
        folder = (
            Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            / "causal-meta"
            / f"jax-{_processor()}"
        )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
            os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", _SECONDS)
            os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
            # arrays become arguments: one program for all seeds and points
            os.environ.setdefault("JAX_USE_SIMPLIFIED_JAXPR_CONSTANTS", "true")


def _processor() -> str:
    """A text that differs between processors with different instruction sets."""
    processor = platform.machine() + platform.processor()
    with contextlib.suppress(OSError):
        match = re.search(
            r"^(flags|Features)\s*:.*$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE
        )
        processor += match.group(0) if match else ""
    return hashlib.sha256(processor.encode()).hexdigest()[:12]
