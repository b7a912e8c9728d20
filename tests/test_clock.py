"""The cost of an answer counts its own thread alone, also where other threads are at work."""

import threading
import time

from causal_meta.clock import cpu_seconds


def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_thread_counts_its_own_work_and_the_process_all_of_it():
    begin, times = cpu_seconds(), []

    def work(seconds):
        before = cpu_seconds()
        burn(seconds)
        times.append(cpu_seconds() - before)

    threads = [threading.Thread(target=work, args=(seconds,)) for seconds in (0.1, 0.3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.1 <= min(times) < 0.15
    assert 0.3 <= max(times) < 0.35
    assert cpu_seconds() - begin >= 0.4
