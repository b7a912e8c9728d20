"""The files of an answer, written whole or not at all.

edge_probabilities.csv   variables by variables, the row causes the column
effects.csv              every ordered pair: probability that the cause acts on the effect at all,
                         posterior mean of the total effect with an interval
graphs.npz               graphs int8 [S, D, D] (posterior samples), edge_probabilities [D, D],
                         columns [D]
graph.graphml            edges with probability of at least `LEAST`, attribute `probability`
graph.png                edges drawn by probability
answer.html              all of this on one page, from the command line
summary.json             table, method, warnings, the best single graph, strongest edges, members of
                         the answer and how far they disagree, metrics where the truth is known
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import causal_meta
from causal_meta import drawing
from causal_meta.runners.inference.answers import Discovery

if TYPE_CHECKING:
    import pandas as pd

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
LEAST = 0.01  # an edge below this probability is not in graph.graphml
_LISTED = 30  # edges listed in summary.json


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


#: Makes the page of an answer from the contents of summary.json and the bytes of graph.png.
Page = Callable[[dict[str, Any], bytes], str]


def export(answer: Discovery, folder: str | Path, page: Page | None = None) -> Path:
    """Write the files of an answer into `folder`, in place of an earlier answer there, with a page
    if `page` makes one; returns the folder.

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
        _write(answer, draft, page)
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


def _write(answer: Discovery, folder: Path, page: Page | None) -> None:
    import networkx

    answer.edge_probabilities.to_csv(folder / "edge_probabilities.csv", lineterminator="\n")
    answer.total_effects.to_csv(folder / "effects.csv", index=False, lineterminator="\n")
    np.savez_compressed(
        folder / "graphs.npz",
        graphs=answer.graphs,
        edge_probabilities=answer.probabilities,
        columns=np.array(list(answer.columns), dtype=np.str_),
    )
    networkx.write_graphml(answer.to_networkx(LEAST), folder / "graph.graphml")
    drawing.save(
        drawing.graph(
            answer.probabilities, answer.columns, truth=answer.truth, title=answer.table.title
        ),
        folder / "graph.png",
    )
    contents = summary(answer)
    (folder / "summary.json").write_text(
        json.dumps(contents, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8"
    )
    if page is not None:
        picture = (folder / "graph.png").read_bytes()
        (folder / PAGE).write_text(page(contents, picture), "utf-8")


def summary(answer: Discovery) -> dict[str, Any]:
    """The contents of `summary.json`."""
    edges = answer.edges
    strongest = edges[edges["probability"] >= LEAST].head(_LISTED)
    return {
        "format": FORMAT,
        "version": causal_meta.__version__,
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "table": _table(answer),
        "method": answer.method,
        "model": answer.model_id,
        "seed": answer.seed,
        "n_samples": len(answer.graphs),
        "warnings": list(answer.warnings),
        "diagnostics": answer.posterior.diagnostics.in_words(),
        "acyclic_share": answer.acyclic_share,
        "expected_edges": float(edges["probability"].sum()),
        "graph": _edge_list(answer, answer.graph),
        "undirected": _edge_list(answer, np.triu(answer.cpdag * answer.cpdag.T)),
        "strongest_edges": _rounded(strongest),
        "effects": _rounded(answer.total_effects.query("probability >= 0.5").head(_LISTED)),
        "members": _members(answer),
        "metrics": answer.metrics,
        "direction": "cause -> effect; in edge_probabilities.csv the row causes the column",
    }


def _table(answer: Discovery) -> dict[str, Any]:
    table = answer.table
    return {
        "title": table.title,
        "sha256": table.sha256,
        "format": table.format,
        "transform": table.transform,
        "n_rows": len(table.x),
        "columns": list(table.columns),
        "categorical": list(table.categorical),
        "context": list(table.context),
    }


def _edge_list(answer: Discovery, graph: np.ndarray) -> list[list[str]]:
    """The edges of a graph as pairs of names."""
    return [[answer.columns[i], answer.columns[j]] for i, j in np.argwhere(graph).tolist()]


def _rounded(pairs: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table of pairs, numbers to six digits."""
    return [
        {
            str(name): float(f"{value:.6g}") if isinstance(value, float) else str(value)
            for name, value in row.items()
        }
        for row in pairs.to_dict("records")
    ]


def _members(answer: Discovery) -> list[dict[str, Any]]:
    """For each member of a pooled answer its expected number of edges, and how far its edge
    probabilities are from the answer's: the sum of absolute differences, in edges."""
    return [
        {
            "name": name,
            "expected_edges": round(float(p.sum()), 3),
            "differs_by": round(float(np.abs(p - answer.probabilities).sum()), 3),
        }
        for name, p in answer.members.items()
    ]
