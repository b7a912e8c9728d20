"""The process between a study and its workers: Parsl's interchange, made to end when the study's
process has ended for any reason.

Otherwise it would stay alive forever after a study was killed (its workers end by themselves, when
they miss its heartbeats).
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
import threading
import time

from causal_meta.workflow.absence import without

_PERIOD = 0.5  # seconds


def end_with(parent: int) -> None:
    """End this process as soon as its parent is no longer `parent`."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PERIOD)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def main(words: list[str]) -> None:
    """Run Parsl's interchange for the process whose id is the first word; Parsl sends its settings
    on standard input."""
    os.setsid()  # Ctrl-C interrupts the study, which then ends this process
    end_with(int(words[0]))
    with without("sqlalchemy", "kubernetes"):
        importlib.import_module("parsl.executors.high_throughput")
    runpy.run_module("parsl.executors.high_throughput.interchange", run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
