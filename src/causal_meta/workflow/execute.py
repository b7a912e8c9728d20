"""Carrying out a plan: missing cells are made, inputs first; a failure stops only the cells that
depend on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from causal_meta.store import Artifact, Store
from causal_meta.store.disk import disk_errors
from causal_meta.workflow.cards import Executor, check_plan, executor_of
from causal_meta.workflow.cells import Cell
from causal_meta.workflow.jobs import Answer, carry_out_job, job_of, relative
from causal_meta.workflow.plan import Plan
from causal_meta.workflow.workers import Here, Processes, Workers

State = Literal["exists", "waiting", "running", "built", "found", "failed", "blocked", "left"]
Notify = Callable[[Cell, State], None]


@dataclass
class Outcome:
    """The final state of every cell, the answers of those that were carried out, and which failure
    stopped which cell."""

    states: dict[str, State]
    answers: dict[str, Answer] = field(default_factory=dict)
    blocked_by: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every cell of the plan exists now."""
        return not set(self.states.values()) & {"failed", "blocked", "left", "waiting", "running"}


def carry_out(
    plan: Plan,
    store: Store,
    *,
    executor: str | Executor = "local",
    workers: int = 2,
    max_failures: int | None = None,
    notify: Notify | None = None,
) -> Outcome:
    """Make the missing and stale cells of a plan in this process (`local`), in `workers` threads or
    processes, or where a card specifies.

    Nothing more is started after `max_failures` failures. The states in the outcome are built,
    found (another process made it meanwhile), failed, blocked (an input failed) and left (not
    started, after too many failures).

    Raises:
        ConfigError: the executor cannot carry out the plan; nothing has been made then.
    """
    tell = notify or (lambda cell, state: None)
    chosen = executor_of(executor, workers) if isinstance(executor, str) else executor
    check_plan(chosen, plan, store)
    outcome = Outcome(
        {
            cell.id: "exists" if plan.status[cell.id] == "exists" else "waiting"
            for cell in plan.cells
        }
    )
    to_make = plan.to_make
    if not to_make:
        _name_existing(plan, store)
        return outcome
    places = _places(plan, store)
    _name_existing(plan, store)
    pool = _pool(chosen, plan, store)
    try:
        _Schedule(plan, store, outcome, places, tell, max_failures).run(pool)
    finally:
        pool.close()
    return outcome


def _pool(executor: Executor, plan: Plan, store: Store) -> Workers:
    """The workers of an executor for the cells that a plan lacks. Parsl is loaded only if
    needed."""
    if executor.word == "local":
        return Here()
    kinds = {cell.kind: None for cell in plan.to_make if not cell.table}
    count = max(1, min(executor.workers, len(plan.to_make)))
    log = log_file(plan, store)
    if executor.word == "processes":
        return Processes(store, count, log)
    from causal_meta.workflow.parsl_backend import ParslWorkers, Threads

    if executor.card is None:
        return Threads(count)
    return ParslWorkers(store, executor.card, kinds, log.parent / "parsl", log)


def log_file(plan: Plan, store: Store) -> Path:
    """The file for the output of workers and libraries while a study runs; its folder is
    created."""
    folder = store.root / "experiments" / plan.study.name
    with disk_errors(store.root):
        folder.mkdir(parents=True, exist_ok=True)
    return folder / "study.log"


def _places(plan: Plan, store: Store) -> dict[str, str]:
    """The folder of every artifact that may be an input, relative to the store; artifacts from
    elsewhere are installed in the store."""
    places = {cell.id: cell.path for cell in plan.cells}
    needed = {artifact_id for cell in plan.cells for artifact_id in cell.inputs.values()}
    for other in plan.study.others.values():
        if other.id in needed:
            places[other.id] = relative(_installed(other, store).folder, store)
    return places


def _installed(artifact: Artifact, store: Store) -> Artifact:
    return (
        artifact
        if store.root in artifact.folder.absolute().parents
        else store.install(artifact.folder)
    )


def _name_existing(plan: Plan, store: Store) -> None:
    """Give existing artifacts the names that they have in the file, before anything is made."""
    names = store.names()
    for cell in plan.cells:
        if cell.name and plan.status[cell.id] == "exists" and names.get(cell.name) != cell.id:
            store.name(plan.artifacts[cell.id], cell.name, force=plan.study.force)


@dataclass
class _Schedule:
    plan: Plan
    store: Store
    outcome: Outcome
    places: dict[str, str]
    tell: Notify
    max_failures: int | None

    cells: dict[str, Cell] = field(init=False)
    needed_by: dict[str, list[str]] = field(init=False, default_factory=dict)
    lacking: dict[str, set[str]] = field(init=False, default_factory=dict)
    ready: deque[str] = field(init=False)
    failures: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.cells = {cell.id: cell for cell in self.plan.to_make}
        for cell in self.cells.values():
            self.lacking[cell.id] = set(cell.inputs.values()) & self.cells.keys()
            for needed in self.lacking[cell.id]:
                self.needed_by.setdefault(needed, []).append(cell.id)
        self.ready = deque(cell_id for cell_id in self.cells if not self.lacking[cell_id])

    def run(self, pool: Workers) -> None:
        """Start ready cells while the pool accepts jobs, then wait for an answer, until no cell is
        left."""
        running = 0
        while self.ready or running:
            while (
                self.ready
                and not self._enough()
                and (pool.free() or self.cells[self.ready[0]].table)
            ):
                cell = self.cells[self.ready.popleft()]
                self._set(cell, "running")
                job = job_of(cell, self.store, self.places, force=self.plan.study.force)
                if cell.table:  # its file may be readable on this machine only
                    self._take(carry_out_job(job))
                else:
                    pool.begin(job)
                    running += 1
            if not running:
                break
            self._take(pool.answer())
            running -= 1
        for cell in self.cells.values():
            if self.outcome.states[cell.id] == "waiting":
                self._set(cell, "left")

    def _take(self, answer: Answer) -> None:
        """Record an answer, and which cells can start or cannot be made now."""
        self.outcome.answers[answer.id] = answer
        self._set(
            self.cells[answer.id], ("built" if answer.built else "found") if answer.ok else "failed"
        )
        if not answer.ok:
            self.failures += 1
            self._block(answer.id)
            return
        for other in self.needed_by.get(answer.id, []):
            self.lacking[other].discard(answer.id)
            if not self.lacking[other]:
                self.ready.append(other)

    def _enough(self) -> bool:
        return self.max_failures is not None and self.failures >= self.max_failures

    def _set(self, cell: Cell, state: State) -> None:
        self.outcome.states[cell.id] = state
        self.tell(cell, state)

    def _block(self, failed: str) -> None:
        """Mark the cells that depend on a failed cell, directly or not, as blocked."""
        queue = list(self.needed_by.get(failed, []))
        while queue:
            cell_id = queue.pop()
            if self.outcome.states[cell_id] == "waiting":
                self.outcome.blocked_by[cell_id] = failed
                self._set(self.cells[cell_id], "blocked")
                queue += self.needed_by.get(cell_id, [])
