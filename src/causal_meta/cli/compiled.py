"""Programs that JAX has compiled are kept for the next command, in the user's own cache folder;
never in a store, which may come from elsewhere."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
from pathlib import Path

_SECONDS = "0.1"  # programs that take longer to compile are kept


def keep_compiled_programs() -> None:
    """Name the folder to JAX by its environment variables, for this process and those it starts,
    unless the user has named one.

    Each kind of processor has a folder of its own: a home folder may be shared by machines that do
    not know each other's instructions. JAX's own switch JAX_ENABLE_COMPILATION_CACHE=false turns it
    off.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    # no home, or none that can be written to: then nothing is kept
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
    """What tells processors with other instructions apart."""
    processor = platform.machine() + platform.processor()
    with contextlib.suppress(OSError):
        match = re.search(
            r"^(flags|Features)\s*:.*$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE
        )
        processor += match.group(0) if match else ""
    return hashlib.sha256(processor.encode()).hexdigest()[:12]
