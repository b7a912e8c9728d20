"""The folder of an answer, written whole or not at all.

edge_probabilities.csv   variables by variables, the row causes the column
effects.csv              every ordered pair: probability that the cause acts on the effect at all,
                         posterior mean of the total effect with an interval
graphs.npz               graphs int8 [S, D, D] (posterior samples), edge_probabilities [D, D],
                         columns [D]
graph.graphml            edges with probability of at least 0.01, attribute `probability`
graph.png                edges drawn by probability
answer.html              all of this on one page, from the command line
summary.json             table, method, warnings, the best single graph, strongest edges, members of
                         the answer and how far they disagree, kinds of mechanisms, metrics where
                         the truth is known
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

FORMAT = "causal_meta discovery 2"
PAGE = "answer.html"
_FORMATS = (FORMAT, "causal_meta discovery 1")
FILES = (
    "edge_probabilities.csv",
    "effects.csv",
    "graphs.npz",
    "graph.graphml",
    "graph.png",
    "summary.json",
    PAGE,
)


def check_folder(folder: str | Path) -> Path:
    """The folder for an answer: new, empty, or holding an earlier answer and nothing else. Raises
    ValueError otherwise."""
    path = Path(folder)
    if not path.exists() and not path.is_symlink():
        for parent in path.absolute().parents:
            if parent.exists():
                if not parent.is_dir():
                    raise ValueError(
                        f"{folder} cannot be made, since {parent.name} is a file; give another "
                        "folder for the answer."
                    )
                break
        return path
    if not path.is_dir():
        raise ValueError(f"{folder} is no folder; give a new folder for the answer.")
    others = sorted(item.name for item in path.iterdir() if item.name not in FILES)
    if others:
        raise ValueError(
            f"{folder} holds other files ({', '.join(others[:3])}); give a new folder for the "
            "answer, so that nothing is lost."
        )
    if any(path.iterdir()) and not _is_answer(path):
        raise ValueError(
            f"{folder} holds files that are no earlier answer of this program; give a new folder "
            "for the answer."
        )
    return path


def _is_answer(folder: Path) -> bool:
    try:
        return bool(json.loads((folder / "summary.json").read_text("utf-8"))["format"] in _FORMATS)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def replace_answer(folder: str | Path, write: Callable[[Path], None]) -> Path:
    """Let `write` make the files of an answer, in place of an earlier answer in `folder`; returns
    the folder.

    They are written into a new folder in the same place, which is then renamed: a crash leaves the
    earlier answer or none, never half of one. Raises ValueError if the folder holds anything else,
    OSError if the disk is full.
    """
    goal = check_folder(folder)
    home = goal.resolve() if goal.exists() else goal.absolute()
    home.parent.mkdir(parents=True, exist_ok=True)
    draft = home.with_name(f".{home.name}.{uuid.uuid4().hex}.tmp")
    old = home.with_name(f".{home.name}.{uuid.uuid4().hex}.old")
    try:
        draft.mkdir()
        write(draft)
        if home.exists():
            os.rename(home, old)
        try:
            os.rename(draft, home)
        except OSError:
            if old.exists():
                os.rename(old, home)
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return goal
