"""`watch FILE`: follow a study that another process runs, from the contents of the store alone."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from causal_meta.cli.arguments import Verbs, add_flags, add_verb, open_store

if TYPE_CHECKING:
    from causal_meta.store import Store
    from causal_meta.workflow import Study

EXAMPLES = """  causal-meta watch experiments/benchmark_small.yaml
  causal-meta watch benchmark_small --once

A study that was started before can be given by its name. The command ends when everything is made,
or with Ctrl-C; it writes nothing."""


def add(verbs: Verbs) -> None:
    """The verb."""
    verb = add_verb(
        verbs, "watch", "follow the progress of a study from another terminal", EXAMPLES, run
    )
    verb.add_argument(
        "study", metavar="FILE", help="the study file, or the name of a study in the store"
    )
    verb.add_argument("--once", action="store_true", help="print the progress once and exit")
    add_flags(verb)


def run(args: argparse.Namespace) -> int:
    """Print the progress whenever it changes."""
    from causal_meta.workflow import load_study, plan_of

    store = open_store(args)
    path, name = _file(args.study, store)
    study = load_study(path, store, name)
    before: list[str] = []
    while True:
        begin = time.monotonic()
        plan = plan_of(study, store)
        lines = [
            *(
                f"{kind}: {count['exists']} of {count.total()}"
                for kind, count in plan.counts().items()
            ),
            *at_work(study, store),
        ]
        if lines != before:
            print("\n".join(["", *lines] if before else lines), flush=True)
        before = lines
        if args.once or not plan.to_make:
            return 0
        # large studies are polled less often
        time.sleep(max(1.0, 4 * (time.monotonic() - begin)))


def _file(token: str, store: Store) -> tuple[Path, str]:
    """The study file, or the copy in the folder of the study of that name, and the name where it is
    known."""
    from causal_meta.store.key import NAME
    from causal_meta.workflow.results import folder_of

    copy = folder_of(store, token) / "config.yaml"
    if (
        not Path(token).is_file()
        and NAME.fullmatch(token)
        and copy.is_file()
        and not copy.is_symlink()
    ):
        return copy, token
    return Path(token), ""


def at_work(study: Study, store: Store) -> list[str]:
    """A line for every cell that a running process works on, with its last event."""
    from causal_meta.facts import read_events
    from causal_meta.store.attempts import folders, is_live

    lines = []
    for cell in study.cells:
        for number, folder in folders(store.staging, cell.id):
            if is_live(store.staging, cell.id, number):
                events = read_events(folder)
                last = f", {events[-1]['moment']}" if events else ""
                step = (
                    f" at step {events[-1]['step']}"
                    if events and events[-1].get("step") is not None
                    else ""
                )
                lines.append(f"  at work: {cell.label}, attempt {number}{last}{step}")
    return lines
