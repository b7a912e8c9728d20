"""The workers of Parsl for jobs of equal needs: an executor, its interchange, and the blocks that a
scheduler starts. Needs Parsl.

Only Parsl's executors and providers are used. Its data-flow kernel is not: the study knows what
depends on what, the store knows what exists (so nothing is memoised), and no data about use are
sent anywhere.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import shutil
import signal
import sys
import time
import uuid
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import zmq
from parsl.executors import HighThroughputExecutor
from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD

from causal_meta.conf.clusters import CardConfig, JobNeeds, KubernetesCard, LocalCard
from causal_meta.conf.setting import ConfigError
from causal_meta.workflow.jobs import Job, carry_out_tree
from causal_meta.workflow.schedulers import interpreter, provider_of

# seconds between looks at the blocks on this machine; a scheduler is asked every three signs of
# life
_LOCAL_POLL = 1.0
_KNOCK = 200  # milliseconds between looks at an interchange that cannot be sent to
# milliseconds after which a message that was to go to an interchange just killed is given up
_LONGEST_SEND = 10_000
IDLE = 120.0  # seconds after which the blocks of a pool that has nothing to do are given back


@dataclass
class Log:
    """The log of a study."""

    path: Path
    lines: int = 0

    def write(self, sentence: str) -> None:
        """A line at its end."""
        self.lines += 1
        with self.path.open("a", encoding="utf-8") as log:
            log.write(f"{sentence}\n")


@dataclass
class Pool:
    """The workers for jobs of equal needs: one executor of Parsl, and as many blocks as its jobs
    fill.

    All blocks are given back when nothing has been left to do for two minutes; not a part of them,
    since only the interchange, which may be dead, knows which of the workers idle. What is said
    about a job comes to `said`, with the executor that it came from.
    """

    label: str
    card: CardConfig
    needs: JobNeeds
    folder: Path
    log: Log
    said: queue.Queue[tuple[Pool, Any, str, Future[Any]]]
    busy: dict[str, Job] = field(default_factory=dict)
    executor: Any = None
    ended: int = 0  # interchanges and generations of blocks that ended in a row without an answer
    why: str = ""  # the last of them
    given_up: bool = False
    begun: dict[str, float] = field(default_factory=dict)
    noted: float = 0.0
    polled: float = 0.0
    idle_since: float = 0.0

    @property
    def capacity(self) -> int:
        """Jobs that can be under way at once."""
        return self.card.max_blocks * self.needs.per_block

    @property
    def period(self) -> float:
        """Seconds between questions about the blocks."""
        return _LOCAL_POLL if isinstance(self.card, LocalCard) else 3.0 * self.card.heartbeat

    def start(self) -> bool:
        """Start the interchange, unless it runs; whether it does now. Its keys and logs, and the
        scripts of blocks, go to a folder of its own."""
        if self.executor is not None:
            return True
        home = self.folder / f"{self.label}-{uuid.uuid4().hex[:8]}"
        (home / "submit_scripts").mkdir(parents=True)
        self.executor = high_throughput(self.label, self.card, self.needs)
        self.executor.run_id, self.executor.run_dir, self.executor.log_config = (
            uuid.uuid4().hex,
            str(home),
            None,
        )
        self.executor.provider.script_dir = str(home / "submit_scripts")
        try:
            self.executor.start()
            self.executor.outgoing_q.zmq_socket.setsockopt(zmq.SNDTIMEO, _LONGEST_SEND)
        except Exception as error:
            self.note(f"the interchange did not start ({words(error)})")
            self.stop()
        return self.executor is not None

    def begin(self, job: Job) -> None:
        """Give the job to the interchange, and ask for blocks where it needs more."""
        self.busy[job.id] = job
        if not self.start():
            return  # `look` will try again
        executor = self.executor
        try:
            self._wait_until_heard()
            future = executor.submit(carry_out_tree, {}, asdict(job))
        except Exception as error:  # the executor has given up, and says why
            future = Future()
            future.set_exception(error)
        future.add_done_callback(lambda done: self.said.put((self, executor, job.id, done)))
        self.provide()

    def _wait_until_heard(self) -> None:
        """Wait until the interchange is there to be sent to; without one Parsl's socket waits for
        ever. Raises RuntimeError where it died instead."""
        socket, process = self.executor.outgoing_q.zmq_socket, self.executor.interchange_proc
        while not socket.poll(_KNOCK, zmq.POLLOUT):
            if process.poll() is not None:
                raise RuntimeError(f"the interchange {process.pid} {how(process.returncode)}")

    def provide(self) -> None:
        """Ask for as many more blocks as the jobs fill; after one that could not be had not before
        the next look."""
        wanted = max(self.card.min_blocks, math.ceil(len(self.busy) / self.needs.per_block))
        lacking = min(wanted, self.card.max_blocks) - len(self.blocks())
        if lacking <= 0 or self.begun.get("", 0.0) > time.monotonic():
            return
        for _ in range(lacking):
            known = set(self.executor.status_facade)
            blocks = self.executor.scale_out_facade(1)
            if not blocks:
                failed = next(iter(set(self.executor.status_facade) - known), "")
                status = self.executor.status_facade.get(failed)
                self.begun[""] = time.monotonic() + self.period
                self.note(f"a block could not be begun: {words(status.message if status else '')}")
                return
            self.begun[self.executor.blocks_to_job_id[blocks[0]]] = time.monotonic()

    def blocks(self) -> list[str]:
        """The scheduler's ids of the blocks that wait or run, as far as it was asked."""
        resources = self.executor.provider.resources
        return [
            job
            for job in self.executor.blocks_to_job_id.values()
            if job in resources and not resources[job]["status"].terminal
        ]

    def look(self) -> None:
        """See that the interchange and the blocks live, and begin again what does not."""
        now = time.monotonic()
        if self.executor is not None:
            process = self.executor.interchange_proc
            code = process.poll()
            if code is not None or self.executor.bad_state_is_set:
                dead = "" if code is None else f"the interchange {process.pid} {how(code)}"
                self.note(
                    dead or f"the executor gave up: {words(self.executor.executor_exception)}"
                )
                self.stop()
            elif now >= self.polled + self.period:
                self.polled = now
                self._look_at_blocks(now)
        if self.executor is None and self.busy and self.ended < self.card.tries:
            for job in list(self.busy.values()):
                self.begin(job)

    def _look_at_blocks(self, now: float) -> None:
        before = self.blocks()
        # a scheduler that does not answer now will be asked again
        with contextlib.suppress(Exception):
            self.executor.provider.status(list(self.executor.provider.resources))
        for block in set(before) - set(self.blocks()):
            self.note(f"block {block} ended ({self.said_by(block)})", self.begun.get(block, now))
        if self.busy:
            self.idle_since = now
            if self.ended < self.card.tries:
                self.provide()
        elif now > self.idle_since + IDLE and not self.card.min_blocks:
            self.stop()

    def note(self, sentence: str, begun: float = math.inf) -> None:
        """Something ended that was not to end. Blocks of one generation (begun before the last of
        them ended) count once."""
        if begun > self.noted:
            self.ended += 1
            self.noted = time.monotonic()
        self.why = sentence
        self.log.write(
            f"{self.label}: {sentence}, time {self.ended} of {self.card.tries} without an answer"
        )

    def said_by(self, block: str) -> str:
        """The state of a block and the last line that it wrote to its standard error."""
        status = self.executor.provider.resources[block]["status"]
        lines = (status.stderr or "").strip().splitlines()
        name = status.status_name.lower()
        return f"{name}: {words(lines[-1])[:200]}" if lines else f"{name}{words(status.message)}"

    def stop(self) -> None:
        """End the blocks and the interchange; what is under way in them is broken off."""
        executor, self.executor = self.executor, None
        if executor is None:
            return
        try:
            blocks = list(executor.blocks_to_job_id.values())
            if blocks:
                executor.provider.cancel(blocks)
        except Exception as error:
            self.log.write(f"{self.label}: blocks could not be given back: {words(error)}")
        if executor.interchange_proc is not None:
            # what was sent to a dead interchange is not waited for
            executor.outgoing_q.zmq_socket.setsockopt(zmq.LINGER, 0)
            executor.shutdown()
        shutil.rmtree(Path(executor.run_dir) / self.label / "certificates", ignore_errors=True)


def high_throughput(label: str, card: CardConfig, needs: JobNeeds) -> HighThroughputExecutor:
    """Parsl's executor for jobs of these needs: `per_block` workers in a block, each on a GPU of
    its own where they use one."""
    # a pod has no walltime of its own
    limit = f"timeout {needs.seconds} " if isinstance(card, KubernetesCard) else ""
    pool = f"{limit}{interpreter(card)} -m causal_meta.workflow.block"
    return HighThroughputExecutor(
        label=label,
        provider=provider_of(card, needs),
        address=address_of(card),
        worker_port_range=(card.ports[0], card.ports[1]),
        launch_cmd=DEFAULT_LAUNCH_CMD.replace("process_worker_pool.py", pool, 1),
        interchange_launch_cmd=[
            sys.executable,
            "-m",
            "causal_meta.workflow.interchange",
            str(os.getpid()),
        ],
        cores_per_worker=float(needs.cores),
        mem_per_worker=float(needs.memory_gb),
        max_workers_per_node=needs.per_block,
        available_accelerators=needs.per_block if needs.gpus else (),
        heartbeat_period=card.heartbeat,
        heartbeat_threshold=6 * card.heartbeat,
        poll_period=100,
        block_error_handler=False,
        encrypted=card.encrypted,
    )


def address_of(card: CardConfig) -> str:
    """The address by which workers reach this machine: the card's, or the only one. Nobody outside
    is asked. Raises `ConfigError` if it is open."""
    if isinstance(card, LocalCard):
        return card.address or "127.0.0.1"
    if card.address:
        return card.address
    import psutil

    found = {
        name: entry.address
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if entry.family.name == "AF_INET" and not entry.address.startswith("127.")
    }
    if len(found) > 1:
        told = ", ".join(f"{address} ({name})" for name, address in sorted(found.items()))
        raise ConfigError(
            f"This machine has the addresses {told}; write into the card by which of them the "
            "workers reach it: 'address: …'."
        )
    return next(iter(found.values()), "127.0.0.1")


def how(code: int) -> str:
    """How a process ended."""
    return (
        f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    )


def words(said: Any) -> str:
    """What was said, in one line that is not too long."""
    return " ".join(str(said or "").split())[:400]
