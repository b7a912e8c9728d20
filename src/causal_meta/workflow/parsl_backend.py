"""Jobs carried out by Parsl: in threads of this process, or by workers in blocks that a scheduler
starts, here or on a cluster. Needs Parsl.

Whatever dies is begun again: a worker, a block, the interchange between the workers and this
process. It costs time and nothing else, since work is published whole and trainings go on from
their checkpoints. `workflow.workers.Processes` stays beside it for one machine: it needs no Parsl,
begins in a fraction of the time and takes less of it for each job (`benchmarks/studies.py
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

_PERIOD = 0.25  # seconds between looks at the interchanges


class Threads:
    """Carries out jobs in `count` threads of this process, one of torch's threads each. What is
    under way cannot be broken off: `close` waits."""

    def __init__(self, count: int) -> None:
        from causal_meta.datasets.threads import one_thread

        self._calm = contextlib.ExitStack()
        self._calm.enter_context(one_thread())  # threads that come later take it over
        self._executor = ThreadPoolExecutor(label="threads", max_threads=count)
        self._executor.start()
        self._count, self._busy = count, 0
        self._said: queue.Queue[Future[Answer]] = queue.Queue()

    def free(self) -> bool:
        """Whether a thread idles."""
        return self._busy < self._count

    def begin(self, job: Job) -> None:
        """Give the job to a thread."""
        self._busy += 1
        self._executor.submit(carry_out_job, {}, job).add_done_callback(self._said.put)

    def answer(self) -> Answer:
        """The next answer."""
        answer = self._said.get().result()
        self._busy -= 1
        return answer

    def close(self) -> None:
        """Wait for what is under way."""
        self._executor.shutdown()
        self._calm.close()


class ParslWorkers:
    """Carries out jobs of `kinds` by workers that a card describes; Parsl's own files go below
    `folder`, what happens to workers to the file `log`.

    A worker that dies (killed, out of memory, at the end of its walltime) fails nothing at once:
    its job is begun again, `card.tries` times in all. The same holds for blocks and interchanges,
    as long as something is answered in between.
    """

    def __init__(
        self, store: Store, card: CardConfig, kinds: Iterable[str], folder: Path, log: Path
    ) -> None:
        self._level = logging.getLogger("parsl").level
        # what matters of what it says stands in our log
        logging.getLogger("parsl").setLevel(logging.CRITICAL + 1)
        _clear(folder)
        self.store, self.card = store, card
        self.folder = folder / f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.deaths: Counter[str] = Counter()
        self.log = Log(log)
        self._said: queue.Queue[tuple[Pool, Any, str, Future[Any]]] = queue.Queue()
        self._failed: deque[Answer] = deque()
        self._looked = 0.0
        self._pools: dict[str, Pool] = {}
        for kind in kinds:
            needs = card.needs_of(kind)
            pool = next((pool for pool in self.pools if pool.needs == needs), None)
            label = "jobs" if needs == card.jobs else kind
            self._pools[kind] = pool or Pool(label, card, needs, self.folder, self.log, self._said)

    @property
    def pools(self) -> list[Pool]:
        """The pools, each once."""
        return list({id(pool): pool for pool in self._pools.values()}.values())

    def free(self) -> bool:
        """Whether there may be an idle worker, or a block may be had."""
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
        """The next answer; what was lost is begun again meanwhile."""
        while True:
            self._look()
            if self._failed:
                return self._failed.popleft()
            try:
                pool, executor, key, future = self._said.get(timeout=_PERIOD)
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
            # otherwise it is begun again with all others
            if executor is pool.executor and not executor.bad_state_is_set:
                self._died(pool, job, error)

    def _look(self) -> None:
        now = time.monotonic()
        if now < self._looked + _PERIOD:
            return
        self._looked = now
        for pool in self.pools:
            pool.look()
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
        """End everything. What Parsl wrote is kept only where something went wrong."""
        for pool in self.pools:
            pool.stop()
        if not self.log.lines:
            shutil.rmtree(self.folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                self.folder.parent.rmdir()
        logging.getLogger("parsl").setLevel(self._level)


def _clear(folder: Path) -> None:
    """Remove what earlier drivers of a study on this machine left behind, unless they live."""
    for left in folder.glob(f"{platform.node()}-*-*"):
        pid = left.name.split("-")[-2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc").is_dir():
            shutil.rmtree(left, ignore_errors=True)
