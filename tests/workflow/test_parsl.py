"""Threads and local workers of Parsl make what one process makes, survive what dies, and leave
nothing behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from causal_meta.conf.clusters import JobNeeds, LocalCard
from causal_meta.conf.setting import ConfigError
from causal_meta.store import Store
from causal_meta.workflow import carry_out, plan_of
from causal_meta.workflow.cards import Executor

sys.path.insert(0, str(Path(__file__).parent))
import sleeping

STUDY = """
targets:
  - {target: tasks, name: a, seed: 0..1, %}
runs:
  - {run: empty, of: a}
  - {run: random, of: a, n_samples: 5}
  - {run: evaluate, of: a, posterior: [empty, random]}
  - {run: evaluate, of: default, tasks: a}
"""
SLEEPS = "targets:\n  - {target: sleep, name: s, seed: 0..7, seconds: 0.4}\n"


def card(**settings):
    """Two workers on this machine that give signs of life every second."""
    needs = JobNeeds(memory_gb=1, per_block=2)
    return Executor("parsl", 2, LocalCard(**{"jobs": needs, "heartbeat": 1} | settings))


def digests(store, plan):
    """The digest of every artifact; of scores, which tell how long answers took, the means."""
    artifacts = [store.read(store.root / cell.path) for cell in plan.cells]
    return [
        artifact.meta["metrics"] if artifact.kind == "evaluate" else artifact.digest
        for artifact in artifacts
    ]


def processes_of(store):
    """The processes of Parsl that work for a store, by what they are: blocks and managers with what
    they began, and interchanges started here."""
    processes = {"manager": [], "books": [], "worker": [], "interchange": []}
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
            if (
                "causal_meta.workflow.block" in words
                and str(store) in words
                and "python" in process.name()
            ):
                processes["manager"].append(process)
                books, *workers = [
                    child
                    for child in process.children()
                    if "spawn_main" in " ".join(child.cmdline())
                ] or [None]
                processes["books"] += [books] if books else []
                processes["worker"] += workers
            elif "interchange" in words and process.ppid() == os.getpid():
                processes["interchange"].append(process)
        except psutil.Error:
            continue
    return processes


def all_of(processes):
    return [process for several in processes.values() for process in several]


def wait_until(true, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


# ------------------------------------------------------------------------------------------ threads


def test_threads_make_what_one_thread_makes(plan, study, store, tmp_path):
    import torch

    threads = torch.get_num_threads()
    first = plan(STUDY)
    outcome = carry_out(first, store, executor="threads", workers=3)
    assert outcome.ok
    assert {answer.worker.rpartition(":")[2] for answer in outcome.answers.values()} == {
        str(os.getpid())
    }
    alone = Store(tmp_path / "alone", patience=0)
    carry_out(plan_of(study(STUDY), alone), alone)
    assert digests(store, first) == digests(alone, first)
    assert store.verify() == []
    assert torch.get_num_threads() == threads


def test_threads_work_at_once(plan, store, sleep, monkeypatch):
    both = threading.Barrier(2)
    monkeypatch.setattr(
        sleeping, "build_sleep", lambda config, attempt: {"dims": {}, "here": both.wait(timeout=60)}
    )
    assert carry_out(plan(SLEEPS.replace("0..7", "0..3")), store, executor="threads", workers=2).ok


def test_a_failure_in_a_thread_is_an_answer(plan, store, sleep, monkeypatch):
    def fails(config, attempt):
        raise RuntimeError("the sky fell")

    monkeypatch.setattr(sleeping, "build_sleep", fails)
    outcome = carry_out(plan(SLEEPS), store, executor="threads", workers=2)
    assert {answer.cause.partition(" (")[0] for answer in outcome.answers.values()} == {
        "RuntimeError: the sky fell"
    }


def test_kinds_that_change_what_threads_share_are_refused(plan, store):
    requested = plan("targets:\n  - {target: tasks, %}\nruns:\n  - {run: pc, of: tasks}\n")
    with pytest.raises(
        ConfigError,
        match=r"s.yaml, line 4: pc cannot be made in threads, since .*; use --executor "
        r"processes\.$",
    ):
        carry_out(requested, store, executor="threads")
    assert not store.root.exists() or store.catalog() == []


# ------------------------------------------------------------------------------------ local workers


def test_local_workers_are_other_processes_on_loopback_and_leave_nothing(
    plan, study, store, tmp_path, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    first = plan(STUDY)
    addresses, workers = set(), []

    def note_processes(cell, state):
        if state == "built":
            workers[:] = all_of(processes_of(store.root))
            for process in [psutil.Process(), *workers]:
                addresses.update(
                    line.laddr.ip.removeprefix("::ffff:")
                    for line in process.net_connections("inet")
                    if line.status == "LISTEN"
                )

    before = set(tmp_path.iterdir())
    outcome = carry_out(first, store, executor=card(), notify=note_processes)
    assert outcome.ok
    pids = {answer.worker.rpartition(":")[2] for answer in outcome.answers.values()}
    assert len(pids) == 2
    assert str(os.getpid()) not in pids
    assert addresses == {"127.0.0.1"}
    assert workers
    assert not any(process.is_running() and process.status() != "zombie" for process in workers)
    assert set(tmp_path.iterdir()) - before <= {store.root}  # and not in the working directory
    assert not (store.root / "experiments" / "s" / "parsl").exists()
    alone = Store(tmp_path / "alone", patience=0)
    carry_out(plan_of(study(STUDY), alone), alone)
    assert digests(store, first) == digests(alone, first)
    assert store.verify() == []


def test_killed_processes_cost_only_time(plan, study, store, sleep, tmp_path):
    first, done, killed = plan(SLEEPS), [], []

    def kill(cell, state):
        done.append(cell) if state == "built" else None
        victim = (
            {1: "interchange", 3: "worker", 5: "books"}.get(len(done)) if state == "built" else None
        )
        if victim:
            victim_process = processes_of(store.root)[victim][0]
            killed.append((victim, victim_process.pid))
            victim_process.kill()

    outcome = carry_out(first, store, executor=card(tries=10), notify=kill)
    assert outcome.ok
    assert [victim for victim, _ in killed] == ["interchange", "worker", "books"]
    log = (store.root / "experiments" / "s" / "study.log").read_text()
    assert (
        f"the interchange {killed[0][1]} was killed by SIGKILL, time 1 of 10 without an answer"
        in log
    )
    assert "its worker was lost (" in log
    alone = Store(tmp_path / "alone", patience=0)
    carry_out(plan_of(study(SLEEPS), alone), alone)
    assert digests(store, first) == digests(alone, first)
    assert store.verify() == []
    assert not all_of(processes_of(store.root))


@pytest.fixture
def working(plan, store, sleep, tmp_path):
    """Workers that have answered one of five jobs, and the other four. Nothing of them is left
    afterwards."""
    from causal_meta.workflow.jobs import job_of
    from causal_meta.workflow.parsl_backend import ParslWorkers

    first, *others = [
        job_of(cell, store, {}) for cell in plan(SLEEPS.replace("0..7", "0..4")).cells
    ]
    workers = ParslWorkers(
        store, card(tries=10).card, ["sleep"], tmp_path / "parsl", tmp_path / "log"
    )
    try:
        workers.begin(first)
        assert workers.answer().ok
        yield workers, others
    finally:
        workers.close()
    assert not all_of(processes_of(tmp_path))


def test_workers_and_an_interchange_killed_while_they_wait_cost_only_time(working, tmp_path):
    """One of the workers holds the lock of its block's queue then. When the interchange is dead,
    the socket to it has noticed already, nothing else has: a job sent to it does not wait for
    ever."""
    import zmq

    workers, others = working

    def answers(jobs):
        for job in jobs:
            workers.begin(job)
        return [workers.answer().ok for _ in jobs]

    for process in processes_of(tmp_path)["worker"]:
        process.kill()
    assert answers(others[:2]) == [True, True]
    executor = workers.pools[0].executor
    os.kill(executor.interchange_proc.pid, signal.SIGKILL)
    wait_until(lambda: not executor.outgoing_q.zmq_socket.poll(0, zmq.POLLOUT))
    assert answers(others[2:]) == [True, True]
    assert workers.pools[0].executor is not executor


def test_a_job_whose_workers_all_die_has_failed_and_stops_no_other(plan, store, sleep):
    requested = plan(
        "targets:\n  - {target: sleep, deadly: true}\n  - {target: sleep, seed: 1..3}\n"
    )
    outcome = carry_out(requested, store, executor=card(tries=2))
    assert sorted(outcome.states.values()) == ["built", "built", "built", "failed"]
    cause = next(answer.cause for answer in outcome.answers.values() if not answer.ok)
    assert cause.startswith("its worker was lost (WorkerLost: Task failure due to loss of worker")
    assert cause.endswith(", 2 times")


def test_blocks_that_end_at_once_are_reported_with_their_last_line(plan, store, sleep):
    outcome = carry_out(
        plan(SLEEPS), store, executor=card(worker_init="echo no such module >&2; exit 3", tries=2)
    )
    assert set(outcome.states.values()) == {"failed"}
    causes = {answer.cause for answer in outcome.answers.values()}
    assert len(causes) == 1
    assert "ended (failed: no such module), 2 times in a row" in causes.pop()
    assert not all_of(processes_of(store.root))


def test_what_counts_against_a_pool(store, tmp_path, monkeypatch):
    """Blocks that end together count once, one that cannot be had now is asked for later, an
    interchange that does not start is started again."""
    from causal_meta.workflow import pools

    monkeypatch.setattr(
        pools, "high_throughput", lambda *words: (_ for _ in ()).throw(AssertionError("not yet"))
    )
    here = LocalCard(max_blocks=3, tries=2)
    pool = pools.Pool(
        "jobs", here, here.jobs, tmp_path / "parsl", pools.Log(tmp_path / "log"), None
    )
    start = time.monotonic()
    for block in range(3):
        pool.note(f"block {block} ended", start)
    assert pool.ended == 1
    pool.note("block 3 ended", time.monotonic())
    assert pool.ended == 2

    class Executor:  # of which nothing can be had
        interchange_proc, blocks_to_job_id, requests = None, {}, 0
        status_facade = {}  # noqa: RUF012
        provider = type("Provider", (), {"resources": {}})

        def start(self):
            raise RuntimeError("no port")

        def scale_out_facade(self, count):
            Executor.requests += 1
            return []

    pool.ended, pool.executor = 0, Executor()
    pool.busy = {str(i): None for i in range(3)}
    pool.provide()
    pool.provide()
    assert (Executor.requests, pool.ended) == (1, 1)
    assert "a block could not be started" in pool.why
    pool.executor = None
    monkeypatch.setattr(pools, "high_throughput", lambda *words: Executor())
    assert not pool.start()
    assert pool.executor is None
    assert pool.why == "the interchange did not start (no port)"


def test_what_a_killed_driver_left_is_cleared_and_a_living_one_is_not_disturbed(tmp_path):
    import platform

    from causal_meta.workflow.parsl_backend import _clear

    gone = subprocess.Popen(["true"])
    gone.wait()
    for name in (
        f"{platform.node()}-{gone.pid}-0a",
        f"{platform.node()}-{os.getpid()}-0b",
        "elsewhere-1-0c",
    ):
        (tmp_path / name).mkdir()
    _clear(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [f"{platform.node()}-{os.getpid()}-0b", "elsewhere-1-0c"]
    )


def test_nothing_outlives_a_driver_that_is_killed_and_the_same_command_resumes(
    store, sleep, tmp_path
):
    file, where = tmp_path / "s.yaml", tmp_path / "here.yaml"
    file.write_text(SLEEPS)
    where.write_text("kind: local\nheartbeat: 1\njobs: {memory_gb: 1, per_block: 2}\n")
    words = [
        sys.executable,
        "-m",
        "causal_meta",
        "study",
        str(file),
        "--store",
        str(store.root),
        "--executor",
        str(where),
        "--quiet",
    ]
    driver = subprocess.Popen(words)
    wait_until(lambda: len(list((store.root / "targets").glob("tgt_*/meta.json"))) > 1)
    family = [
        *psutil.Process(driver.pid).children(recursive=True),
        *all_of(processes_of(store.root)),
    ]
    assert len(family) >= 4
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    wait_until(
        lambda: not any(process.is_running() and process.status() != "zombie" for process in family)
    )
    subprocess.run(words, check=True)
    assert len(list((store.root / "targets").glob("tgt_*/meta.json"))) == 8
    assert store.verify() == []
