"""Carrying out one cell: in this process, in a worker process that reads jobs and writes answers as
lines of JSON (`work`), or in a worker of Parsl.

A worker process ends when its input ends, so it outlives its driver by at most one job.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from causal_meta.conf.artifacts import ArtifactConfig
from causal_meta.conf.convert import from_plain, to_plain
from causal_meta.conf.setting import ConfigError
from causal_meta.facts.write import Subscriber
from causal_meta.runners.tasks.table_sources import read_source, recorded
from causal_meta.store import Store
from causal_meta.threads import sleep_while_waiting
from causal_meta.workflow.cells import Cell


@dataclass(frozen=True)
class Job:
    """What a worker needs for one cell: the store, the configuration as a tree, and the folders of
    the inputs by role, relative to the store.

    `force`: the name may be moved from another artifact; `table`: how to read the table of the
    target.
    """

    root: str
    id: str
    config: dict[str, Any]
    inputs: dict[str, str]
    name: str
    overrides: list[str]
    force: bool = False
    table: dict[str, Any] | None = None


@dataclass(frozen=True)
class Answer:
    """The outcome of a job: `built` says that the artifact was made and did not exist before,
    `cause` the first cause of a failure, `log` the place of its facts, `worker` the host and
    process that carried it out."""

    id: str
    ok: bool
    seconds: float
    built: bool = False
    cause: str = ""
    log: str = ""
    worker: str = ""


def job_of(cell: Cell, store: Store, places: Mapping[str, str], *, force: bool = False) -> Job:
    """The job of a cell; `places` holds the folder of each input by id, relative to the store;
    `force` takes its name from another artifact."""
    inputs = {role: places[artifact_id] for role, artifact_id in cell.inputs.items()}
    words = (
        recorded(cell.table)
        if cell.table
        else [f"{key}={value}" for key, value in cell.swept.items()]
    )
    return Job(
        str(store.root), cell.id, to_plain(cell.config), inputs, cell.name, words, force, cell.table
    )


def carry_out_job(job: Job) -> Answer:
    """Make the artifact unless it exists; a failure is an answer, not an exception."""
    return replace(_carried_out(job), worker=f"{platform.node()}:{os.getpid()}")


def carry_out_tree(tree: dict[str, Any]) -> dict[str, Any]:
    """`carry_out_job` between plain trees: what a worker of Parsl calls."""
    return asdict(carry_out_job(Job(**tree)))


def _carried_out(job: Job) -> Answer:
    from causal_meta.runners.build import make

    begin = time.monotonic()
    attempts: set[int] = set()
    store = Store(job.root)
    try:
        config = from_plain(ArtifactConfig, job.config)
        inputs = {role: store.read(store.root / folder) for role, folder in job.inputs.items()}
        make(
            store,
            config,
            inputs,
            name=job.name,
            force=job.force,
            overrides=job.overrides,
            subscribers=[
                lambda event: attempts.add(int(event["attempt"])),
                *_pictures(store, config),
            ],
            options={"progress": "off", **_table(job)},
        )
    except Exception as error:
        return Answer(
            job.id, False, time.monotonic() - begin, True, first_cause(error), log_of(store, job.id)
        )
    return Answer(job.id, True, time.monotonic() - begin, bool(attempts))


def _table(job: Job) -> dict[str, Any]:
    """The table and the true graph, for a target that holds one."""
    if job.table is None:
        return {}
    table, truth = read_source(job.table)
    if table.sha256 != job.config["data"]["sha256"]:
        raise ConfigError(
            f"The table {job.table['table']} has changed since the study was planned; run the "
            "command again."
        )
    return {"table": table, "truth": truth}


def _pictures(store: Store, config: ArtifactConfig) -> list[Subscriber]:
    """The subscriber that draws the plot families of a kind."""
    if not config.pictures:
        return []
    from causal_meta.monitoring import subscriber

    return [subscriber(store, config.pictures)]


def log_of(store: Store, artifact_id: str) -> str:
    """The events of the newest attempt at an artifact in the staging area; empty if there is
    none."""
    logs = sorted(
        (store.staging / artifact_id).glob("attempt-*/facts/events.jsonl"),
        key=lambda path: path.stat().st_mtime,
    )
    return str(logs[-1]) if logs else ""


def first_cause(error: BaseException) -> str:
    """An error in one line, with its first cause and where that was raised; a sentence for the user
    stands alone."""
    first = error
    while (
        cause := first.__cause__ or (None if first.__suppress_context__ else first.__context__)
    ) is not None:
        first = cause
    if isinstance(error, ValueError) and type(error).__module__.startswith("causal_meta"):
        return _words(error)
    trace = first.__traceback__ or error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = (
        ""
        if trace is None
        else f" ({'/'.join(PurePath(trace.tb_frame.f_code.co_filename).parts[-3:])}, line "
        f"{trace.tb_lineno})"
    )
    before = "" if first is error else f"; first cause: {type(first).__name__}: {_words(first)}"
    return f"{type(error).__name__}: {_words(error)}{before}{where}"


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())


def work() -> int:
    """Carry out jobs until the input ends. Output of libraries goes to standard error."""
    sleep_while_waiting()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        for line in sys.stdin:
            answer = carry_out_job(Job(**json.loads(line)))
            answers.write(json.dumps(asdict(answer)) + "\n")
            answers.flush()
    except (KeyboardInterrupt, BrokenPipeError):
        return 130
    return 0


def relative(folder: Path, store: Store) -> str:
    """A folder of the store, relative to it."""
    return folder.relative_to(store.root).as_posix()
