"""The process between a study and its workers: Parsl's interchange, which ends when the study's
process has ended in whatever way.

Without that it would stay for ever after a study that was killed (its workers leave by themselves,
when they miss its signs of life).
"""

from __future__ import annotations

import os
import runpy
import sys
import threading
import time

_PERIOD = 0.5  # seconds


def end_with(parent: int) -> None:
    """End this process as soon as its parent is another one than `parent`."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PERIOD)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def main(words: list[str]) -> None:
    """Be the interchange of the process whose id is given; its settings come on standard input, as
    Parsl sends them."""
    os.setsid()  # a Ctrl-C is for the study, which then ends this process
    end_with(int(words[0]))
    runpy.run_module("parsl.executors.high_throughput.interchange", run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
