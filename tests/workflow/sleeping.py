"""A kind of target that does nothing but sleep: for tests and benchmarks of what carries out
jobs."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from causal_meta.conf import registry
from causal_meta.conf.artifacts import TargetConfig
from causal_meta.conf.setting import setting

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class SleepConfig(TargetConfig):
    """Sleep for so long. `deadly` takes the process along that carries it out."""

    kind: ClassVar[str] = "sleep"
    thread_safe: ClassVar[bool] = True
    seconds: float = setting(0.0, low=0, unit="seconds")
    deadly: bool = setting(False)


@dataclass(frozen=True, kw_only=True)
class NapConfig(SleepConfig):
    """The same, of another kind."""

    kind: ClassVar[str] = "nap"


def build_sleep(config, attempt):
    if config.deadly:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(config.seconds)
    (attempt.folder / "slept.txt").write_text(f"{config.seconds} {config.seed}\n")
    return {"dims": {}, "gpu": os.environ.get("CUDA_VISIBLE_DEVICES", "")}


def register():
    registry._MEMBERS[SleepConfig] = registry._MEMBERS[NapConfig] = "sleeping:build_sleep"
    registry.by_tag.cache_clear()


def unregister():
    registry._MEMBERS.pop(SleepConfig, None)
    registry._MEMBERS.pop(NapConfig, None)
    registry.by_tag.cache_clear()


def path_for_workers(folder):
    """A PYTHONPATH with which every Python process that carries out jobs knows the kind."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "others = ('workflow.interchange', 'workflow.block', 'resource_tracker')\n"
        "if not any(other in word for word in sys.orig_argv for other in others):\n"
        "    import sleeping\n"
        "    sleeping.register()\n"
    )
    return f"{folder}:{HERE}"
