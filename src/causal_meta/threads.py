"""How the threads of numerical libraries wait for each other."""

import os

_USERS_CHOICE = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def sleep_while_waiting() -> None:
    """Let OpenMP threads sleep while they wait, in this process and those it starts, unless the
    user has set how they wait.

    By default they spin for about a millisecond, which takes the processor from other work: beside
    one busy process on two cores training takes several times as long. The OpenMP runtime reads the
    variable when it is loaded, so entry points call this before torch is imported.
    """
    if not any(name in os.environ for name in _USERS_CHOICE):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
