"""Where a result was made: version of the code, of the libraries, the machine. Collected once,
without loading anything."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

# fmt: off
_PACKAGES = (
    "arviz", "blackjax", "causal-learn", "causal-meta", "equinox", "gadjid", "hydra-core", "jax",
    "jaxlib", "lightning-fabric",
    "networkx", "numpy", "omegaconf", "optax", "pandas", "pyarrow", "scikit-learn", "scipy",
    "torch", "vector-quantize-pytorch",
)
# fmt: on


@functools.cache
def code_sha() -> str | None:
    """The git commit of the checkout that this package runs from, or None if it runs from an
    installation. Reads files, starts no process."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "pyproject.toml").is_file() or not (root / "src" / "causal_meta").is_dir():
        return None
    try:
        return _head(root / ".git")
    except (OSError, ValueError, IndexError):
        return None


def _head(git: Path) -> str | None:
    if git.is_file():  # a linked work tree: "gitdir: PATH"
        git = (git.parent / git.read_text("utf-8").split(":", 1)[1].strip()).resolve()
    head = (git / "HEAD").read_text("utf-8").strip()
    if not head.startswith("ref: "):
        return head if re.fullmatch(r"[0-9a-f]{40,64}", head) else None
    name = head.removeprefix("ref: ")
    common = git
    if (git / "commondir").is_file():
        common = (git / (git / "commondir").read_text("utf-8").strip()).resolve()
    for folder in (git, common):
        if (folder / name).is_file():
            return (folder / name).read_text("utf-8").strip()
    for line in (common / "packed-refs").read_text("utf-8").splitlines():
        if line.endswith(f" {name}"):
            return line.split()[0]
    return None


@functools.cache
def package_versions() -> dict[str, str]:
    """Version of every installed library that a result can depend on."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


@functools.cache
def hardware() -> dict[str, Any]:
    """Machine, processor model and processors this process may use."""
    model = platform.processor() or platform.machine()
    try:
        match = re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE
        )
        model = match.group(1).strip() if match else model
    except OSError:
        pass
    return {"machine": platform.machine(), "processor": model, "processors": processors()}


def processors() -> int:
    """The number of processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads() -> int:
    """Threads of a torch operation if torch is loaded, else of OpenMP as the environment says, else
    the processors."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        return int(torch.get_num_threads())
    setting = os.environ.get("OMP_NUM_THREADS", "")
    return int(setting) if setting.isdigit() else processors()


def jax_enable_x64() -> bool | None:
    """Whether JAX computes in 64 bit; None if JAX is not loaded."""
    jax = sys.modules.get("jax")
    return bool(jax.config.jax_enable_x64) if jax is not None and hasattr(jax, "config") else None


def cuda_info() -> dict[str, Any]:
    """Whether CUDA is there and which device, as far as a loaded torch knows."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "cuda") or not torch.cuda.is_available():
        return {"available": False}
    current = torch.cuda.current_device()
    return {
        "available": True,
        "device_count": torch.cuda.device_count(),
        "current_device": current,
        "device_name": torch.cuda.get_device_name(current),
    }


def cpu_seconds() -> float:
    """Processor seconds used by this process and by its children that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system
