"""`study FILE`: make everything that a study still lacks. Prints the plan, a live table of the
progress, and the results."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from causal_meta.cli.arguments import UsageError, Verbs, add_flags, add_verb, open_store, whole
from causal_meta.cli.estimates import failed_chains, print_estimates

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from causal_meta.store import Store
    from causal_meta.workflow import Cell, Outcome, Plan
    from causal_meta.workflow.execute import Notify, State

EXAMPLES = """  causal-meta study experiments/benchmark_small.yaml --dry-run
  causal-meta study experiments/benchmark_small.yaml
  causal-meta study experiments/benchmark_small.yaml --executor processes --workers 4
  causal-meta study experiments/benchmark_small.yaml --executor my_cluster.yaml
  causal-meta study experiments/benchmark_small.yaml --only 'kind=boss' --max-failures 1
  causal-meta study experiments/benchmark_small.yaml --promote --to docs/gallery

Existing artifacts are kept; stale and missing ones are made, inputs first. A failure stops only
what depends on it; run the same command again to make the rest. Results:
experiments/NAME/results.parquet in the store. Exit status 1 if anything failed or was not started.
Cards in the package: laptop, slurm, slurm_gpu, kubernetes, htcondor; copy one and adapt it to your
cluster."""
SHOWN = ("e_shd", "e_f1", "auroc", "graph_nll", "ece")
MARKDOWN_ROWS = 100
STATES = ("exists", "built", "found", "running", "waiting", "failed", "blocked", "left")


def add(verbs: Verbs) -> None:
    """The verb."""
    verb = add_verb(
        verbs,
        "study",
        "make the targets and runs of a study file that do not exist yet",
        EXAMPLES,
        run,
    )
    verb.add_argument("file", metavar="FILE", help="the study file")
    add_study_flags(verb)


def add_study_flags(verb: argparse.ArgumentParser) -> None:
    """The flags of the verb, also for `python -m causal_meta.run`."""
    verb.add_argument(
        "--executor",
        metavar="WHERE",
        default="local",
        help="where jobs run: local, threads, processes, parsl, or a card (default: local)",
    )
    verb.add_argument(
        "--workers",
        type=whole(1),
        metavar="N",
        default=os.cpu_count() or 1,
        help="workers of threads, processes or parsl (default: one per core)",
    )
    verb.add_argument("--dry-run", action="store_true", help="print the plan and exit")
    verb.add_argument(
        "--only",
        action="append",
        metavar="WORD",
        default=[],
        help="kind=PATTERN, name=PATTERN or id=PATTERN: only these and their inputs; repeatable",
    )
    verb.add_argument(
        "--max-failures",
        type=whole(1),
        metavar="N",
        help="start nothing new after this many failures (default: no limit)",
    )
    verb.add_argument(
        "--force",
        action="store_true",
        help="take the names in the file from other artifacts that have them",
    )
    verb.add_argument(
        "--promote",
        action="store_true",
        help="copy plots and tables to a gallery folder, with a Markdown snippet",
    )
    verb.add_argument(
        "--to", metavar="DIR", help="with --promote: the folder of the gallery (default: gallery/)"
    )
    verb.add_argument("--quiet", action="store_true", help="print only failures")
    add_flags(verb)  # type: ignore[arg-type]


def run(args: argparse.Namespace) -> int:
    """Plan, work, results."""
    from causal_meta.workflow import carry_out, load_study, plan_of
    from causal_meta.workflow.cards import check_plan, executor_of
    from causal_meta.workflow.results import RESULTS, folder_of, write_file, write_results

    store = open_store(args)
    gallery = _gallery(args)
    executor = executor_of(args.executor, args.workers)
    study = load_study(args.file, store, force=args.force)
    plan = plan_of(study, store, args.only)
    check_plan(executor, plan, store)
    if not args.quiet or args.dry_run:
        print("\n".join(plan_lines(plan, store)))
    if args.dry_run:
        return 0
    write_file(plan, store)
    with _display(plan, store, quiet=args.quiet) as notify:
        outcome = carry_out(
            plan, store, executor=executor, max_failures=args.max_failures, notify=notify
        )
    table = write_results(plan, outcome, store)
    if not args.quiet:
        _print_results(table)
        print_estimates(table)
        print(f"{folder_of(store, study.name) / RESULTS}")
    broken = failed_chains(table)
    problems = failure_lines(plan, outcome) + broken
    if problems:
        print("\n".join(problems), file=sys.stderr)
    return 0 if _promoted(gallery, plan, store, table, args) and outcome.ok and not broken else 1


# --------------------------------------------------------------------------------------------- plan


def plan_lines(plan: Plan, store: Store) -> list[str]:
    """Print how many artifacts of each kind exist, are stale or are missing, and an estimate of the
    time left."""
    from causal_meta.workflow.plan import estimate

    counts = plan.counts()
    width = max(len("kind"), *(len(kind) for kind in counts))
    lines = [
        f"study {plan.study.name}, store {store.root}",
        f"{'kind':{width}}  exists   stale  missing",
    ]
    lines += [
        f"{kind:{width}}  {count['exists']:6}  {count['stale']:6}  {count['missing']:7}"
        for kind, count in counts.items()
    ]
    left = len(plan.to_make)
    if not left:
        return [*lines, "Everything is there."]
    seconds, unknown = estimate(plan, store)
    known = (
        f"about {_duration(seconds)} of one process"
        if unknown < left
        else "no estimate, since nothing of these kinds was made here before"
    )
    rest = f", and {unknown} of unknown length" if 0 < unknown < left else ""
    return [*lines, f"{left} to make: {known}{rest}"]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


# ------------------------------------------------------------------------------------------ display


@contextlib.contextmanager
def _display(plan: Plan, store: Store, *, quiet: bool) -> Iterator[Notify]:
    """A live table on a terminal (output of libraries goes to the study's log); a line per artifact
    elsewhere; nothing if quiet."""
    if quiet or not plan.to_make:
        yield lambda cell, state: None
        return
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.live import Live

    from causal_meta.workflow.execute import log_file

    board = Board(plan)
    live = Live(
        console=Console(file=sys.stderr),
        get_renderable=board.table,
        refresh_per_second=4,
        redirect_stderr=False,
    )
    with (
        live,
        log_file(plan, store).open("a", encoding="utf-8") as log,
        contextlib.redirect_stderr(log),
    ):
        yield board


class _Lines:
    """A line on standard error when something is made or fails."""

    def __init__(self) -> None:
        self.started: dict[str, float] = {}

    def __call__(self, cell: Cell, state: State) -> None:
        if state == "running":
            self.started[cell.id] = time.monotonic()
        elif state in ("built", "found", "failed"):
            print(
                f"{cell.label}: {state} after {time.monotonic() - self.started[cell.id]:.1f} s",
                file=sys.stderr,
            )


class Board:
    """The states of the cells of a plan, counted by kind, as a table of rich."""

    def __init__(self, plan: Plan) -> None:
        self.kinds = {cell.id: cell.kind for cell in plan.cells}
        self.states: dict[str, str] = {
            key: "exists" if value == "exists" else "waiting" for key, value in plan.status.items()
        }
        self.running: dict[str, str] = {}

    def __call__(self, cell: Cell, state: State) -> None:
        """Update the state of a cell."""
        self.states[cell.id] = state
        self.running.pop(cell.id, None)
        if state == "running":
            self.running[cell.id] = cell.label

    def table(self) -> Table:
        """The table of the counts, with the running cells below it."""
        from rich.table import Table

        table = Table(caption=", ".join(list(self.running.values())[:4]) or None)
        counts = {kind: Counter[str]() for kind in self.kinds.values()}
        for key, state in list(self.states.items()):
            counts[self.kinds[key]][state] += 1
        shown = [state for state in STATES if any(count[state] for count in counts.values())]
        for column in ("kind", *shown):
            table.add_column(column, justify="left" if column == "kind" else "right")
        for kind, count in counts.items():
            table.add_row(kind, *(str(count[state] or "") for state in shown))
        return table


# ------------------------------------------------------------------------------------------ results


def failure_lines(plan: Plan, outcome: Outcome) -> list[str]:
    """Each failure with its first cause and log, what it stopped, and what was not started."""
    cells = {cell.id: cell for cell in plan.cells}
    lines = []
    for key, answer in outcome.answers.items():
        if not answer.ok:
            stopped = sum(1 for failed in outcome.blocked_by.values() if failed == key)
            behind = f" ({stopped} that need it were not made)" if stopped else ""
            lines.append(
                f"Failed: {cells[key].label}, {cells[key].place.file} line "
                f"{cells[key].place.line}: {answer.cause}{behind}"
            )
            if answer.log:
                lines.append(f"  log: {answer.log}")
    left = sum(1 for state in outcome.states.values() if state == "left")
    if left:
        lines.append(
            f"{left} were not started after too many failures; the same command continues."
        )
    return lines


def _print_results(table: pd.DataFrame) -> None:
    """Means over tasks, a line per evaluation, with their standard errors where there is room for
    them."""
    shown = [name for name in SHOWN if name in table]
    if not shown:
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 160)
    errors = console.width >= 130
    out = Table(title="means over tasks ± standard error" if errors else "means over tasks")
    for column in ("method", "on", *shown):
        out.add_column(
            column,
            justify="right" if column in shown else "left",
            overflow="fold",
            no_wrap=column in shown,
        )
    for row in table[table[shown].notna().any(axis=1)].to_dict("records"):
        method = row["method"] if row["of"] == row["on"] else f"{row['method']} {row['of']}"
        out.add_row(
            method,
            row["on"],
            *(_cell(row[name], row[f"{name}_se"] if errors else None) for name in shown),
        )
    console.print(out)


def _cell(mean: float | None, error: float | None) -> str:
    if mean is None or mean != mean:
        return ""
    return f"{mean:.3f}" if error is None or error != error else f"{mean:.3f} ± {error:.3f}"


# ------------------------------------------------------------------------------------------ gallery


def _gallery(args: argparse.Namespace) -> Path | None:
    """The folder to promote to, or None; that it can be written to is checked before the first
    job."""
    if not args.promote:
        if args.to:
            raise UsageError("--to says where --promote copies to; give --promote too.")
        return None
    gallery = Path(args.to or "gallery")
    for place in (gallery, *gallery.parents):
        if place.exists():
            if not place.is_dir() or not os.access(place, os.W_OK):
                raise UsageError(
                    f"{place} cannot be used as a folder to write to; give another one with --to."
                )
            break
    return gallery


def _promoted(
    gallery: Path | None, plan: Plan, store: Store, table: pd.DataFrame, args: argparse.Namespace
) -> bool:
    """Copy the results to the gallery and print the path of the snippet; a failure is only
    reported, since all results are already published."""
    if gallery is None:
        return True
    from causal_meta.reports.gallery import promote_study
    from causal_meta.store import StoreError
    from causal_meta.workflow.results import folder_of

    artifacts = {}
    for cell in plan.study.cells:
        with contextlib.suppress(StoreError):
            artifacts[cell.name or cell.id] = store.read(store.root / cell.path)
    try:
        results = folder_of(store, plan.study.name) / "results.csv"
        snippet = promote_study(
            plan.study.name, artifacts, [results], gallery, lines=_markdown(table)
        )
    except (StoreError, OSError) as error:
        print(f"Not promoted: {error}", file=sys.stderr)
        return False
    if not args.quiet:
        print(snippet)
    return True


def _markdown(table: pd.DataFrame) -> list[str]:
    """The means over tasks as a table of Markdown, where it is short enough to be read."""
    shown = [name for name in SHOWN if name in table]
    rows = table[table[shown].notna().any(axis=1)].to_dict("records") if shown else []
    if not 0 < len(rows) <= MARKDOWN_ROWS:
        return []
    lines = [["method", "of", "on", *shown], ["---"] * (3 + len(shown))]
    lines += [
        [
            str(row["method"]),
            str(row["of"]),
            str(row["on"]),
            *(_cell(row[name], row[f"{name}_se"]) for name in shown),
        ]
        for row in rows
    ]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]
