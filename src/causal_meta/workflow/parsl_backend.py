"""Jobs carried out by Parsl: in threads of this process, or by workers in blocks that a scheduler
starts, here or on a cluster. Needs Parsl.

Whatever dies is restarted: a worker, a block, or the interchange between the workers and this
process. That costs time but no results, since artifacts are published whole and trainings resume
from their checkpoints. `workflow.workers.Processes` is the alternative for one machine: it needs no
Parsl, starts in a fraction of the time and has less overhead per job (`benchmarks/studies.py
overhead`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import queue
import shutil
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from parsl.executors import ThreadPoolExecutor

from causal_meta.conf.clusters import CardConfig
from causal_meta.store import Store
from causal_meta.workflow.jobs import Answer, Job, carry_out_job, log_of
from causal_meta.workflow.pools import Log, Pool, words

_PERIOD = 0.25  # seconds between checks of the interchanges


class Threads:
    """Carries out jobs in `count` threads of this process, with one torch thread each. Running jobs
    cannot be aborted: `close` waits for them."""

    def __init__(self, count: int) -> None:
        from causal_meta.datasets.threads import one_thread

        self._one_thread = contextlib.ExitStack()
        self._one_thread.enter_context(one_thread())  # threads started later inherit it
        self._executor = ThreadPoolExecutor(label="threads", max_threads=count)
        self._executor.start()
        self._count, self._busy = count, 0
        self._results: queue.Queue[Future[Answer]] = queue.Queue()

    def free(self) -> bool:
        """Whether a thread is idle."""
        return self._busy < self._count

    def begin(self, job: Job) -> None:
        """Give the job to a thread."""
        self._busy += 1
        self._executor.submit(carry_out_job, {}, job).add_done_callback(self._results.put)

    def answer(self) -> Answer:
        """The next answer."""
        answer = self._results.get().result()
        self._busy -= 1
        return answer

    def close(self) -> None:
        """Wait for running jobs."""
        self._executor.shutdown()
        self._one_thread.close()


class ParslWorkers:
    """Carries out jobs of `kinds` by workers that a card describes; Parsl's files go below
    `folder`, deaths of workers are written to the file `log`.

    The job of a worker that dies (killed, out of memory, at the end of its walltime) is restarted,
    up to `card.tries` times in all. Blocks and interchanges are restarted as often, counted from
    the last answer.
    """

    def __init__(
        self, store: Store, card: CardConfig, kinds: Iterable[str], folder: Path, log: Path
    ) -> None:
        self._level = logging.getLogger("parsl").level
        # the study's log holds what matters of Parsl's messages
        logging.getLogger("parsl").setLevel(logging.CRITICAL + 1)
        _clear(folder)
        self.store, self.card = store, card
        self.folder = folder / f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.deaths: Counter[str] = Counter()
        self.log = Log(log)
        self._results: queue.Queue[tuple[Pool, Any, str, Future[Any]]] = queue.Queue()
        self._failed: deque[Answer] = deque()
        self._checked = 0.0
        self._pools: dict[str, Pool] = {}
        for kind in kinds:
            needs = card.needs_of(kind)
            pool = next((pool for pool in self.pools if pool.needs == needs), None)
            label = "jobs" if needs == card.jobs else kind
            self._pools[kind] = pool or Pool(
                label, card, needs, self.folder, self.log, self._results
            )

    @property
    def pools(self) -> list[Pool]:
        """The pools, without repetition."""
        return list({id(pool): pool for pool in self._pools.values()}.values())

    def free(self) -> bool:
        """Whether a worker may be idle, or another block may be started."""
        return sum(len(pool.busy) for pool in self.pools) < sum(
            pool.capacity for pool in self.pools
        )

    def begin(self, job: Job) -> None:
        """Give the job to the pool of its kind."""
        pool = self._pools[job.config["kind"]]
        if pool.given_up:
            self._failed.append(self._lost(job, f"{pool.why}, {pool.ended} times in a row"))
        else:
            pool.begin(replace(job, root=os.path.abspath(job.root)))

    def answer(self) -> Answer:
        """The next answer; lost jobs are restarted meanwhile."""
        while True:
            self._check()
            if self._failed:
                return self._failed.popleft()
            try:
                pool, executor, key, future = self._results.get(timeout=_PERIOD)
            except queue.Empty:
                continue
            job = pool.busy.get(key)
            if job is None:  # answered already, by another worker
                continue
            error = future.exception()
            if error is None:
                del pool.busy[key]
                pool.ended = 0
                return Answer(**future.result())
            # otherwise it is restarted with all others
            if executor is pool.executor and not executor.bad_state_is_set:
                self._died(pool, job, error)

    def _check(self) -> None:
        now = time.monotonic()
        if now < self._checked + _PERIOD:
            return
        self._checked = now
        for pool in self.pools:
            pool.check()
            if pool.busy and pool.ended >= self.card.tries:
                pool.stop()
                self._failed += [
                    self._lost(job, f"{pool.why}, {pool.ended} times in a row")
                    for job in pool.busy.values()
                ]
                pool.busy.clear()
                pool.given_up = True

    def _died(self, pool: Pool, job: Job, error: BaseException) -> None:
        self.deaths[job.id] += 1
        cause = f"its worker was lost ({type(error).__name__}: {words(error)})"
        self.log.write(f"{job.id}: {cause}, time {self.deaths[job.id]} of {self.card.tries}")
        if self.deaths[job.id] < self.card.tries:
            pool.begin(job)
        else:
            del pool.busy[job.id]
            self._failed.append(self._lost(job, f"{cause}, {self.deaths[job.id]} times"))

    def _lost(self, job: Job, cause: str) -> Answer:
        return Answer(
            job.id, False, 0.0, True, cause, log_of(self.store, job.id) or str(self.log.path)
        )

    def close(self) -> None:
        """End everything. Parsl's files are kept only if something went wrong."""
        for pool in self.pools:
            pool.stop()
        if not self.log.lines:
            shutil.rmtree(self.folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                self.folder.parent.rmdir()
        logging.getLogger("parsl").setLevel(self._level)


def _clear(folder: Path) -> None:
    """Remove what earlier drivers of a study on this machine left behind, unless they are still
    running."""
    for left in folder.glob(f"{platform.node()}-*-*"):
        pid = left.name.split("-")[-2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc").is_dir():
            shutil.rmtree(left, ignore_errors=True)
