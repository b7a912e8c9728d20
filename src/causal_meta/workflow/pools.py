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

_LOCAL_POLL = 1.0  # seconds between checks of the blocks on this machine
_HEARTBEATS = 3.0  # heartbeats of the card between checks of the blocks of a scheduler
_SEND_POLL = 200  # milliseconds between checks of an interchange that accepts no message yet
_LONGEST_SEND = 10_000  # milliseconds before a message to an interchange just killed is dropped
IDLE = 120.0  # seconds without a job after which a pool cancels its blocks


@dataclass
class Log:
    """The log of a study."""

    path: Path
    lines: int = 0

    def write(self, sentence: str) -> None:
        """Append a line."""
        self.lines += 1
        with self.path.open("a", encoding="utf-8") as log:
            log.write(f"{sentence}\n")


@dataclass
class Pool:
    """The workers for jobs of equal needs: one executor of Parsl, and as many blocks as its jobs
    fill.

    All blocks are cancelled together when there has been no job for two minutes, since only the
    interchange, which may be dead, knows which workers are idle. When a job ends, this pool, its
    executor, the id of the job and the future with its answer are put into `results`.
    """

    label: str
    card: CardConfig
    needs: JobNeeds
    folder: Path
    log: Log
    results: queue.Queue[tuple[Pool, Any, str, Future[Any]]]
    busy: dict[str, Job] = field(default_factory=dict)
    executor: Any = None
    ended: int = 0  # interchanges and generations of blocks that ended in a row without an answer
    why: str = ""  # the last of them
    given_up: bool = False
    started: dict[str, float] = field(default_factory=dict)
    noted: float = 0.0
    polled: float = 0.0
    idle_since: float = 0.0

    @property
    def capacity(self) -> int:
        """Jobs that can run at once."""
        return self.card.max_blocks * self.needs.per_block

    @property
    def period(self) -> float:
        """Seconds between checks of the blocks."""
        return (
            _LOCAL_POLL if isinstance(self.card, LocalCard) else _HEARTBEATS * self.card.heartbeat
        )

    def start(self) -> bool:
        """Start the interchange unless it runs; returns whether it runs now. Its keys and logs and
        the scripts of blocks go into a new folder."""
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
        """Send the job to the interchange, and ask for more blocks if it needs them."""
        self.busy[job.id] = job
        if not self.start():
            return  # `check` will try again
        executor = self.executor
        try:
            self._wait_until_heard()
            future = executor.submit(carry_out_tree, {}, asdict(job))
        except Exception as error:  # the executor failed; its reason is in the error
            future = Future()
            future.set_exception(error)
        future.add_done_callback(lambda done: self.results.put((self, executor, job.id, done)))
        self.provide()

    def _wait_until_heard(self) -> None:
        """Wait until the interchange accepts messages, since Parsl's socket would wait for ever
        without one. Raises RuntimeError if it has died."""
        socket, process = self.executor.outgoing_q.zmq_socket, self.executor.interchange_proc
        while not socket.poll(_SEND_POLL, zmq.POLLOUT):
            if process.poll() is not None:
                raise RuntimeError(f"the interchange {process.pid} {how(process.returncode)}")

    def provide(self) -> None:
        """Ask for as many more blocks as the jobs fill; after one that could not be started, only
        at the next check."""
        needed = max(self.card.min_blocks, math.ceil(len(self.busy) / self.needs.per_block))
        lacking = min(needed, self.card.max_blocks) - len(self.blocks())
        if lacking <= 0 or self.started.get("", 0.0) > time.monotonic():
            return
        for _ in range(lacking):
            known = set(self.executor.status_facade)
            blocks = self.executor.scale_out_facade(1)
            if not blocks:
                failed = next(iter(set(self.executor.status_facade) - known), "")
                status = self.executor.status_facade.get(failed)
                self.started[""] = time.monotonic() + self.period
                self.note(
                    f"a block could not be started: {words(status.message if status else '')}"
                )
                return
            self.started[self.executor.blocks_to_job_id[blocks[0]]] = time.monotonic()

    def blocks(self) -> list[str]:
        """The scheduler's ids of the blocks that waited or ran when it was last asked."""
        resources = self.executor.provider.resources
        return [
            job
            for job in self.executor.blocks_to_job_id.values()
            if job in resources and not resources[job]["status"].terminal
        ]

    def check(self) -> None:
        """Check that the interchange and the blocks run, and restart those that ended."""
        now = time.monotonic()
        if self.executor is not None:
            process = self.executor.interchange_proc
            code = process.poll()
            if code is not None or self.executor.bad_state_is_set:
                dead = "" if code is None else f"the interchange {process.pid} {how(code)}"
                self.note(dead or f"the executor failed: {words(self.executor.executor_exception)}")
                self.stop()
            elif now >= self.polled + self.period:
                self.polled = now
                self._check_blocks(now)
        if self.executor is None and self.busy and self.ended < self.card.tries:
            for job in list(self.busy.values()):
                self.begin(job)

    def _check_blocks(self, now: float) -> None:
        before = self.blocks()
        # a scheduler that does not answer now is asked again at the next check
        with contextlib.suppress(Exception):
            self.executor.provider.status(list(self.executor.provider.resources))
        for block in set(before) - set(self.blocks()):
            self.note(
                f"block {block} ended ({self.last_state(block)})", self.started.get(block, now)
            )
        if self.busy:
            self.idle_since = now
            if self.ended < self.card.tries:
                self.provide()
        elif now > self.idle_since + IDLE and not self.card.min_blocks:
            self.stop()

    def note(self, sentence: str, started: float = math.inf) -> None:
        """Count and log that an interchange or a block ended too early. Blocks that were started
        before the last such end count once, together."""
        if started > self.noted:
            self.ended += 1
            self.noted = time.monotonic()
        self.why = sentence
        self.log.write(
            f"{self.label}: {sentence}, time {self.ended} of {self.card.tries} without an answer"
        )

    def last_state(self, block: str) -> str:
        """The state of a block and the last line that it wrote to its standard error."""
        status = self.executor.provider.resources[block]["status"]
        lines = (status.stderr or "").strip().splitlines()
        name = status.status_name.lower()
        return f"{name}: {words(lines[-1])[:200]}" if lines else f"{name}{words(status.message)}"

    def stop(self) -> None:
        """End the blocks and the interchange; jobs that run in them are aborted."""
        executor, self.executor = self.executor, None
        if executor is None:
            return
        try:
            blocks = list(executor.blocks_to_job_id.values())
            if blocks:
                executor.provider.cancel(blocks)
        except Exception as error:
            self.log.write(f"{self.label}: blocks could not be cancelled: {words(error)}")
        if executor.interchange_proc is not None:
            # do not wait for messages to a dead interchange
            executor.outgoing_q.zmq_socket.setsockopt(zmq.LINGER, 0)
            executor.shutdown()
        shutil.rmtree(Path(executor.run_dir) / self.label / "certificates", ignore_errors=True)


def high_throughput(label: str, card: CardConfig, needs: JobNeeds) -> HighThroughputExecutor:
    """Parsl's executor for jobs of these needs: `per_block` workers in a block, each with a
    separate GPU if they use one."""
    # Kubernetes sets no time limit for a pod
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
    """The address at which workers reach this machine: the card's, else the only one that it has;
    no other machine is contacted. Raises `ConfigError` if it has several."""
    if isinstance(card, LocalCard):
        return card.address or "127.0.0.1"
    if card.address:
        return card.address
    import psutil

    addresses = {
        name: entry.address
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if entry.family.name == "AF_INET" and not entry.address.startswith("127.")
    }
    if len(addresses) > 1:
        listed = ", ".join(f"{address} ({name})" for name, address in sorted(addresses.items()))
        raise ConfigError(
            f"This machine has the addresses {listed}; write the one by which the workers reach "
            "it into the card: 'address: …'."
        )
    return next(iter(addresses.values()), "127.0.0.1")


def how(code: int) -> str:
    """How a process ended."""
    return (
        f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    )


def words(message: Any) -> str:
    """A message in one line of at most 400 characters."""
    return " ".join(str(message or "").split())[:400]
