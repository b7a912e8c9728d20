"""How the threads of numerical libraries wait for each other.

By default OpenMP threads spin for about a millisecond before they sleep, which takes the processor
from other work: beside one busy process on two cores training takes several times as long. The
OpenMP runtime reads the variables when it is loaded, so entry points call these functions before
torch is imported. What the user has set stays.
"""

import os
import time
from pathlib import Path

_USERS_CHOICE = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
#: Rounds of spinning (some microseconds) that keep most of the speed of a machine that is otherwise
#: idle, and cost others little should it become busy.
_BRIEFLY = "3000"
_RUNNING = Path("/proc/loadavg")


def sleep_while_waiting() -> None:
    """Let OpenMP threads sleep while they wait, in this process and those it starts: for workers,
    of which there are several, and for tests."""
    if os.environ.get("GOMP_SPINCOUNT") == _BRIEFLY:  # of the command that started this process
        del os.environ["GOMP_SPINCOUNT"]
    if not any(name in os.environ for name in _USERS_CHOICE):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def wait_as_the_machine_allows() -> None:
    """Let OpenMP threads spin briefly before they sleep where nothing else runs, and sleep at once
    beside other work; in this process and those it starts."""
    if any(name in os.environ for name in _USERS_CHOICE):
        return
    if others_run():
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    else:
        os.environ["GOMP_SPINCOUNT"] = _BRIEFLY


def others_run() -> bool:
    """Whether another process than this one had a processor at each of three moments; also True
    where the system does not say."""
    try:
        for _ in range(3):
            running = int(_RUNNING.read_text().split()[3].split("/")[0])
            if running <= 1:
                return False
            time.sleep(0.005)
    except (OSError, ValueError, IndexError):
        pass
    return True
