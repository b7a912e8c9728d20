"""The clock that tells what an answer cost."""

import threading
import time


def cpu_seconds() -> float:
    """CPU seconds of this process so far, all its threads together; asked in another thread than
    the main one, those of that thread alone (where jobs share a process, the rest belongs to other
    jobs, and each keeps to one thread).

    >>> begin = cpu_seconds()
    >>> 0 <= cpu_seconds() - begin < 1
    True
    """
    return (
        time.process_time()
        if threading.current_thread() is threading.main_thread()
        else time.thread_time()
    )
