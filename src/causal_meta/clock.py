"""CPU time of a process or a thread."""

import threading
import time


def cpu_seconds() -> float:
    """CPU seconds used so far: by all threads of the process if called in the main thread, else by
    the calling thread alone (jobs in threads share a process, and each uses one thread).

    >>> begin = cpu_seconds()
    >>> 0 <= cpu_seconds() - begin < 1
    True
    """
    return (
        time.process_time()
        if threading.current_thread() is threading.main_thread()
        else time.thread_time()
    )
