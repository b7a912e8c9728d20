"""The first process of a block: Parsl's pool of workers, made to end when it is stuck, so that its
block is started again.

It is stuck when its manager process, which holds the queues, has died, or when a worker was killed
while it waited for a job: that worker held the lock of the queue, so that no other can take a job.
Otherwise the pool would stay alive, send heartbeats, and carry out nothing.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import runpy
import sys
import threading
import time
from typing import Any

from causal_meta.threads import sleep_while_waiting
from causal_meta.workflow.absence import without

_PERIOD = 1.0  # seconds
_MANAGER = "SyncManager"  # name of the process that holds the queues


def patience(words: list[str]) -> float:
    """Seconds that a job may wait in a block that has a free worker: three times as long as a pool
    may miss heartbeats.

    >>> patience(["--hb_threshold=60"])
    180.0
    """
    values = [word.partition("=")[2] for word in words if word.startswith("--hb_threshold=")]
    return 3.0 * float(values[0]) if values else 360.0


def waiting() -> int:
    """Number of jobs that wait for a worker; 0 where it is unknown."""
    manager: Any = getattr(sys.modules["__main__"], "manager", None)
    try:
        return int(manager.pending_task_queue.qsize()) if manager is not None else 0
    except (NotImplementedError, OSError):  # macOS; a queue that is being closed
        return 0


def end_when_stuck(seconds: float) -> None:
    """End this process as soon as its manager process has ended, or when a job has waited for
    `seconds`."""

    def watch() -> None:
        existed, since = False, time.monotonic()
        while True:
            exists = any(
                child.name.startswith(_MANAGER) for child in multiprocessing.active_children()
            )
            since = since if waiting() else time.monotonic()
            if (existed and not exists) or time.monotonic() > since + seconds:
                sys.stderr.write("the pool of workers had to end\n")
                sys.stderr.flush()
                os._exit(1)
            existed = exists
            time.sleep(_PERIOD)

    threading.Thread(target=watch, name="watch", daemon=True).start()


def main() -> None:
    """Run Parsl's pool of workers with the arguments of the command line."""
    sleep_while_waiting()
    end_when_stuck(patience(sys.argv))
    with without("sqlalchemy", "kubernetes"):
        importlib.import_module("parsl.executors.high_throughput")
    runpy.run_module(
        "parsl.executors.high_throughput.process_worker_pool", run_name="__main__", alter_sys=True
    )


if __name__ == "__main__":
    main()
