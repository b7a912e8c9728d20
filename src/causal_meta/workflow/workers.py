"""Executors for jobs: this process, one job after the other, or worker processes. Both take jobs
and return answers, one at a time."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter, deque
from dataclasses import asdict
from pathlib import Path
from typing import IO, Protocol

from causal_meta.store import Store
from causal_meta.workflow.jobs import Answer, Job, carry_out_job, log_of

TRIES = 3  # times that the process of a job may die before the job counts as failed


class Workers(Protocol):
    """Takes jobs and gives answers."""

    def free(self) -> bool:
        """Whether another job can be started."""

    def begin(self, job: Job) -> None:
        """Start a job."""

    def answer(self) -> Answer:
        """Wait for the next answer."""

    def close(self) -> None:
        """Release everything; jobs that run in workers are aborted."""


class Here:
    """Carries out jobs in this process, one after the other."""

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()

    def free(self) -> bool:
        """Whether no job waits."""
        return not self._jobs

    def begin(self, job: Job) -> None:
        """Take a job, to be carried out by `answer`."""
        self._jobs.append(job)

    def answer(self) -> Answer:
        """Carry out the job."""
        return carry_out_job(self._jobs.popleft())

    def close(self) -> None:
        """Nothing to release."""


class Processes:
    """Carries out jobs in `count` processes of one thread each, whose output goes to `log`.

    The job of a process that dies (killed, out of memory) is sent to a new process, up to `TRIES`
    times in all.
    """

    def __init__(self, store: Store, count: int, log: Path) -> None:
        self.store = store
        self.log = log
        self.deaths: Counter[str] = Counter()
        self._lines: queue.Queue[tuple[subprocess.Popen[str], str]] = queue.Queue()
        self._busy: dict[int, Job] = {}
        self._idle: list[subprocess.Popen[str]] = []
        self._all: list[subprocess.Popen[str]] = []
        self._left = count

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that run."""
        return [process.pid for process in self._all if process.poll() is None]

    def free(self) -> bool:
        """Whether a process is idle or may be started."""
        return bool(self._idle) or self._left > 0

    def begin(self, job: Job) -> None:
        """Give the job to a process."""
        while True:
            process = self._idle.pop() if self._idle else self._start()
            self._busy[process.pid] = job
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps(asdict(job)) + "\n")
                process.stdin.flush()
                return
            except BrokenPipeError:  # it died while idle
                del self._busy[process.pid]

    def answer(self) -> Answer:
        """The next answer; a job whose process died is restarted, or has failed after `TRIES`
        deaths."""
        while True:
            process, line = self._lines.get()
            job = self._busy.pop(process.pid, None)
            if line:
                self._idle.append(process)
                return Answer(**json.loads(line))
            code = process.wait()
            self._idle = [other for other in self._idle if other is not process]
            self._left += 1
            if job is None:
                continue
            self.deaths[job.id] += 1
            how = (
                f"was killed by {signal.Signals(-code).name}"
                if code < 0
                else f"ended with status {code}"
            )
            with self.log.open("a", encoding="utf-8") as log:
                log.write(
                    f"{job.id}: its process {process.pid} {how}, time {self.deaths[job.id]} of "
                    f"{TRIES}\n"
                )
            if self.deaths[job.id] >= TRIES:
                return Answer(
                    job.id,
                    False,
                    0.0,
                    True,
                    f"its process {how}, {TRIES} times",
                    log_of(self.store, job.id) or str(self.log),
                )
            self.begin(job)

    def _start(self) -> subprocess.Popen[str]:
        self._left -= 1
        environment = os.environ | {
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            "PYTHONUNBUFFERED": "1",
        }
        with self.log.open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "from causal_meta.workflow.jobs import work; raise SystemExit(work())",
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=environment,
                start_new_session=True,
            )
        self._all.append(process)
        assert process.stdout is not None
        threading.Thread(target=self._listen, args=(process, process.stdout), daemon=True).start()
        return process

    def _listen(self, process: subprocess.Popen[str], output: IO[str]) -> None:
        for line in output:
            if line.endswith("\n"):
                self._lines.put((process, line))
        self._lines.put((process, ""))

    def close(self) -> None:
        """End every process."""
        for process in self._all:
            busy = process.pid in self._busy
            if process.poll() is None and busy:
                process.terminate()
            if process.stdin is not None:
                try:
                    process.stdin.close()
                except BrokenPipeError:
                    continue
        for process in self._all:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for process in self._all:
            if process.stdout is not None:
                process.stdout.close()
