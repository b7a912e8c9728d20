"""The answer for one table: a posterior over graphs, with warnings and metrics, and its files,
written whole or not at all.

edge_probabilities.csv   variables by variables, the row causes the column
graphs.npz               graphs int8 [S, D, D] (posterior samples), edge_probabilities [D, D],
                         columns [D]
graph.graphml            edges with probability of at least `LEAST`, attribute `probability`
graph.png                edges drawn by probability
summary.json             table, model, warnings, strongest edges, share of acyclic samples, metrics
                         where the truth is known
"""

from __future__ import annotations

import datetime
import functools
import json
import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int8

import causal_meta
from causal_meta import drawing
from causal_meta.datasets.real import Table
from causal_meta.posteriors import GraphPosterior
from causal_meta.runners.evaluation.eval_metrics import acyclic, posterior_metrics

if TYPE_CHECKING:
    import networkx
    import pandas as pd

FORMAT = "causal_meta discovery 1"
FILES = ("edge_probabilities.csv", "graphs.npz", "graph.graphml", "graph.png", "summary.json")
LEAST = 0.01  # an edge below this probability is not in graph.graphml
_LISTED = 30  # edges listed in summary.json


@dataclass(frozen=True)
class Discovery:
    """The answer for one table.

    Args:
        posterior: the posterior of the one table (B = 1).
        graphs: draws from it.
        table: the table with its D column names.
        model_id: the model that answered.
        seed: of the draws, and of the parts of a long table.
        warnings: sentences to be read before the answer.
        truth: the true graph, if it is known; `metrics` compares the answer with it.
    """

    posterior: GraphPosterior
    graphs: Int8[np.ndarray, "S D D"]
    table: Table
    model_id: str
    seed: int
    warnings: tuple[str, ...] = ()
    truth: Int8[np.ndarray, "D D"] | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The variables' names."""
        return self.table.columns

    @property
    def probabilities(self) -> Float[np.ndarray, "D D"]:
        """Entry (i, j) is the probability that i causes j."""
        return self.posterior.edge_probabilities[0].to(torch.float64).numpy()

    @property
    def edge_probabilities(self) -> pd.DataFrame:
        """`probabilities` with names: the row causes the column."""
        import pandas as pd

        names = list(self.columns)
        return pd.DataFrame(
            self.probabilities, index=pd.Index(names, name="cause"), columns=pd.Index(names)
        )

    @property
    def edges(self) -> pd.DataFrame:
        """Every ordered pair as cause, effect, probability, the most probable first."""
        import pandas as pd

        p = self.probabilities
        cause, effect = np.nonzero(~np.eye(len(p), dtype=bool))
        order = np.lexsort((effect, cause, -p[cause, effect]))
        names = np.array(self.columns, dtype=object)
        table = {
            "cause": names[cause[order]],
            "effect": names[effect[order]],
            "probability": p[cause[order], effect[order]],
        }
        return pd.DataFrame(table)

    @property
    def acyclic_share(self) -> float:
        """Share of the sampled graphs that are acyclic."""
        return float(acyclic(self.graphs).mean())

    @functools.cached_property
    def metrics(self) -> dict[str, float | None] | None:
        """Every metric against the truth; None without one."""
        if self.truth is None:
            return None
        log_prob = float(self.posterior.log_prob(torch.from_numpy(self.truth)[None])[0])
        return posterior_metrics(self.graphs, self.probabilities, self.truth, log_prob)

    def to_networkx(self, threshold: float = 0.0) -> networkx.DiGraph:
        """A directed graph whose edges carry `probability`; those at or below `threshold` are left
        out."""
        return self.posterior.to_networkx(0, list(self.columns), threshold)

    def export(self, folder: str | Path) -> Path:
        """Write the answer's files into `folder`: see `export`."""
        return export(self, folder)


# -------------------------------------------------------------------------------------------- files


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
        return bool(json.loads((folder / "summary.json").read_text("utf-8"))["format"] == FORMAT)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def export(answer: Discovery, folder: str | Path) -> Path:
    """Write the files of an answer into `folder`, in place of an earlier answer there; returns it.

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
        _write(answer, draft)
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


def _write(answer: Discovery, folder: Path) -> None:
    import networkx

    answer.edge_probabilities.to_csv(folder / "edge_probabilities.csv", lineterminator="\n")
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
    (folder / "summary.json").write_text(
        json.dumps(summary(answer), indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8"
    )


def summary(answer: Discovery) -> dict[str, Any]:
    """The contents of `summary.json`."""
    edges = answer.edges
    strongest = edges[edges["probability"] >= LEAST].head(_LISTED)
    return {
        "format": FORMAT,
        "version": causal_meta.__version__,
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "table": {
            "title": answer.table.title,
            "sha256": answer.table.sha256,
            "format": answer.table.format,
            "transform": answer.table.transform,
            "n_rows": len(answer.table.x),
            "columns": list(answer.columns),
        },
        "model": answer.model_id,
        "seed": answer.seed,
        "n_samples": len(answer.graphs),
        "warnings": list(answer.warnings),
        "acyclic_share": answer.acyclic_share,
        "expected_edges": float(edges["probability"].sum()),
        "strongest_edges": [
            {
                "cause": str(row.cause),
                "effect": str(row.effect),
                "probability": round(float(row.probability), 6),  # type: ignore[arg-type]
            }
            for row in strongest.itertuples()
        ],
        "metrics": answer.metrics,
        "direction": "cause -> effect; in edge_probabilities.csv the row causes the column",
    }
