"""The first process of a block: Parsl's pool of workers, which ends when it cannot go on, so that
its block is begun again.

It cannot when the process that keeps its books has died, or when a worker was killed that waited
for a job: that one held the lock of the queue, and no other gets at the jobs any more. Without this
it would live on, give signs of life, and carry out nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import threading
import time
from typing import Any

from causal_meta.threads import sleep_while_waiting

_PERIOD = 1.0  # seconds
_BOOKS = "SyncManager"  # how multiprocessing calls the process with the books


def patience(words: list[str]) -> float:
    """Seconds that a job may wait for a worker of its block, of which one is free then: three times
    what a silent worker pool is given.

    >>> patience(["--hb_threshold=60"])
    180.0
    """
    given = [word.partition("=")[2] for word in words if word.startswith("--hb_threshold=")]
    return 3.0 * float(given[0]) if given else 360.0


def waiting() -> int:
    """Jobs that wait for a worker, as far as the pool has begun and can tell."""
    manager: Any = getattr(sys.modules["__main__"], "manager", None)
    try:
        return int(manager.pending_task_queue.qsize()) if manager is not None else 0
    except (NotImplementedError, OSError):  # macOS; a queue that is being closed
        return 0


def end_when_stuck(seconds: float) -> None:
    """End this process as soon as the process with the books has begun and ended, or when a job has
    waited for so long."""

    def watch() -> None:
        begun, since = False, time.monotonic()
        while True:
            there = any(
                child.name.startswith(_BOOKS) for child in multiprocessing.active_children()
            )
            since = since if waiting() else time.monotonic()
            if (begun and not there) or time.monotonic() > since + seconds:
                sys.stderr.write("the pool of workers could not go on\n")
                sys.stderr.flush()
                os._exit(1)
            begun = there
            time.sleep(_PERIOD)

    threading.Thread(target=watch, name="watch", daemon=True).start()


def main() -> None:
    """Be a pool of workers; its settings come as words of the command, as Parsl gives them."""
    sleep_while_waiting()
    end_when_stuck(patience(sys.argv))
    runpy.run_module(
        "parsl.executors.high_throughput.process_worker_pool", run_name="__main__", alter_sys=True
    )


if __name__ == "__main__":
    main()
