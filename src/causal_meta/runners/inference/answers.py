"""The answer for one table: a posterior over graphs, and what follows from it."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int8

import causal_meta
from causal_meta.conf.knowledge import KnowledgeConfig
from causal_meta.datasets.real import Table
from causal_meta.graphs import cpdag
from causal_meta.models.bayesian.total_effects import TotalEffects, total_effects
from causal_meta.posteriors import GraphPosterior
from causal_meta.posteriors.optimal_graph import optimal_graph
from causal_meta.posteriors.pooled_graphs import PooledGraphs
from causal_meta.randomness import generator
from causal_meta.runners.evaluation.eval_metrics import acyclic, posterior_metrics
from causal_meta.runners.inference.answer_folder import FORMAT, PAGE, replace_answer
from causal_meta.runners.inference.graphml import write_graphml
from causal_meta.runners.inference.mechanisms import KINDS, mechanism_shares, score_features

if TYPE_CHECKING:
    import networkx
    import pandas as pd

    from causal_meta.scores.features import Features


LEAST = 0.01  # an edge below this probability is not in graph.graphml
_LISTED = 30  # edges listed in summary.json
#: Makes the page of an answer from the contents of summary.json and the bytes of graph.png.
Page = Callable[[dict[str, Any], bytes], str]


@dataclass(frozen=True)
class Discovery:
    """The answer for one table.

    Args:
        posterior: the posterior of the one table (B = 1).
        graphs: draws from it.
        table: the table with its D column names.
        model_id: the method, run or model that answered.
        seed: of the draws, and of the parts of a long table.
        warnings: sentences to be read before the answer.
        truth: the true graph, if it is known; `metrics` compares the answer with it.
        method: what answered, in words.
        others: the answers of further methods for the same table.
        knowledge: what was known about the graph beforehand.
    """

    posterior: GraphPosterior
    graphs: Int8[np.ndarray, "S D D"]
    table: Table
    model_id: str
    seed: int
    warnings: tuple[str, ...] = ()
    truth: Int8[np.ndarray, "D D"] | None = None
    method: str = ""
    others: tuple[Discovery, ...] = ()
    knowledge: KnowledgeConfig = KnowledgeConfig()

    @property
    def columns(self) -> tuple[str, ...]:
        """The variables' names."""
        return self.table.columns

    @property
    def probabilities(self) -> Float[np.ndarray, "D D"]:
        """Entry (i, j) is the probability that i causes j directly."""
        return self.posterior.edge_probabilities[0].to(torch.float64).numpy()

    @property
    def edge_probabilities(self) -> pd.DataFrame:
        """`probabilities` with names: the row causes the column."""
        return self._named(self.probabilities)

    @property
    def edges(self) -> pd.DataFrame:
        """Every ordered pair as cause, effect, probability, the most probable first; with several
        methods also the probability by each of them."""
        table = self._pairs(self.probabilities)
        for other in self.others:
            table[other.method] = [
                other.edge_probabilities.loc[cause, effect]
                for cause, effect in zip(table["cause"], table["effect"], strict=True)
            ]
        return table

    @property
    def graph(self) -> Int8[np.ndarray, "D D"]:
        """The acyclic graph of least expected structural Hamming distance: the one to name if one
        must be named."""
        return optimal_graph(self.probabilities)

    @property
    def cpdag(self) -> Int8[np.ndarray, "D D"]:
        """The completed partially directed graph of `graph`: an undirected edge, with 1 in both
        directions, is one whose direction no independence decides."""
        return cpdag(torch.from_numpy(self.graph)).numpy()

    @functools.cached_property
    def features(self) -> Features:
        """The table as the local scores of the answer read it."""
        return score_features(self.table, self.posterior.diagnostics.prior_scale)

    @functools.cached_property
    def mechanisms(self) -> pd.DataFrame:
        """By variable, what share of the evidence for its causes in `graph` is from mechanisms that
        are `nonlinear`, from noise that is not Gaussian (`other_noise`) and from variances that
        depend on the causes (`varying`); NaN where it has no causes."""
        import pandas as pd

        shares = mechanism_shares(self.features, self.graph)
        return pd.DataFrame(shares, index=pd.Index(list(self.columns)), columns=list(KINDS))

    @functools.cached_property
    def effects(self) -> TotalEffects:
        """Total causal effects, linear, averaged over graphs, per unit of the cause; the
        probability that a variable acts on another at all is their `ancestor`."""
        set_cells = self.table.intervened
        return total_effects(
            self.table.x,
            self.graphs[acyclic(self.graphs)],
            generator(self.seed, "effects"),
            None if set_cells is None else ~set_cells,
        )

    @property
    def total_effects(self) -> pd.DataFrame:
        """Every ordered pair as cause, effect, probability (that the cause acts on the effect,
        directly or through others), mean, low and high of the total effect; the most probable
        first. The effect is NaN where cause or effect has more than two categories, which have no
        unit."""
        effects = self.effects
        table = self._pairs(effects.ancestor)
        names = {name: i for i, name in enumerate(self.columns)}
        cause = [names[name] for name in table["cause"]]
        effect = [names[name] for name in table["effect"]]
        for name in ("mean", "low", "high"):
            table[name] = getattr(effects, name)[cause, effect]
        unordered = [name for name in self.table.categorical if self._n_values(name) > 2]
        without_unit = table["cause"].isin(unordered) | table["effect"].isin(unordered)
        table.loc[without_unit, ["mean", "low", "high"]] = np.nan
        return table

    @property
    def members(self) -> dict[str, Float[np.ndarray, "D D"]]:
        """The edge probabilities of each member of a pooled answer, by its name; empty for others.
        Members of one name (on different rows) are averaged."""
        if not isinstance(self.posterior, PooledGraphs):
            return {}
        names = self.posterior.diagnostics.members
        probabilities = self.posterior.members[0].numpy()
        return {
            name: np.mean([p for p, n in zip(probabilities, names, strict=True) if n == name], 0)
            for name in dict.fromkeys(names)
        }

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

    def export(self, folder: str | Path, page: Page | None = None) -> Path:
        """Write the files of the answer into `folder` (see `answer_folder`), in place of an earlier
        answer there, with a page if `page` makes one; returns the folder.

        Raises:
            ValueError: the folder holds anything else.
            OSError: the disk is full.
        """
        return replace_answer(folder, lambda draft: _write(self, draft, page))

    def _n_values(self, name: str) -> int:
        return len(np.unique(self.table.x[:, self.columns.index(name)]))

    def _named(self, matrix: Float[np.ndarray, "D D"]) -> pd.DataFrame:
        import pandas as pd

        names = list(self.columns)
        return pd.DataFrame(matrix, index=pd.Index(names, name="cause"), columns=pd.Index(names))

    def _pairs(self, matrix: Float[np.ndarray, "D D"]) -> pd.DataFrame:
        """Every ordered pair as cause, effect, probability, the largest first."""
        import pandas as pd

        cause, effect = np.nonzero(~np.eye(len(matrix), dtype=bool))
        order = np.lexsort((effect, cause, -matrix[cause, effect]))
        names = np.array(self.columns, dtype=object)
        table = {
            "cause": names[cause[order]],
            "effect": names[effect[order]],
            "probability": matrix[cause[order], effect[order]],
        }
        return pd.DataFrame(table)


# --------------------------------------------------------------------------------------- contents


def _write(answer: Discovery, folder: Path, page: Page | None) -> None:
    from causal_meta import drawing

    answer.edge_probabilities.to_csv(folder / "edge_probabilities.csv", lineterminator="\n")
    answer.total_effects.to_csv(folder / "effects.csv", index=False, lineterminator="\n")
    np.savez_compressed(
        folder / "graphs.npz",
        graphs=answer.graphs,
        edge_probabilities=answer.probabilities,
        columns=np.array(list(answer.columns), dtype=np.str_),
    )
    write_graphml(folder / "graph.graphml", answer.columns, answer.probabilities, LEAST)
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
        "knowledge": _knowledge(answer),
        "warnings": list(answer.warnings),
        "diagnostics": answer.posterior.diagnostics.in_words(),
        "acyclic_share": answer.acyclic_share,
        "expected_edges": float(edges["probability"].sum()),
        "graph": _edge_list(answer, answer.graph),
        "undirected": _edge_list(answer, np.triu(answer.cpdag * answer.cpdag.T)),
        "strongest_edges": _rounded(strongest),
        "effects": _rounded(answer.total_effects.query("probability >= 0.5").head(_LISTED)),
        "members": _members(answer),
        "mechanisms": _mechanisms(answer),
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


def _knowledge(answer: Discovery) -> dict[str, Any]:
    """What was known beforehand; empty if nothing was."""
    known = answer.knowledge
    tree = {"forbid": known.forbid, "require": known.require, "tiers": known.tiers}
    lists: dict[str, Any] = {key: list(value) for key, value in tree.items() if value}
    return lists | ({"max_parents": known.max_parents} if known.max_parents else {})


def _edge_list(answer: Discovery, graph: np.ndarray) -> list[list[str]]:
    """The edges of a graph as pairs of names."""
    return [[answer.columns[i], answer.columns[j]] for i, j in np.argwhere(graph).tolist()]


def _rounded(pairs: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table of pairs, numbers to six digits, None for NaN."""
    return [
        {str(name): _rounded_value(value) for name, value in row.items()}
        for row in pairs.to_dict("records")
    ]


def _rounded_value(value: Any) -> float | str | None:
    if not isinstance(value, float):
        return str(value)
    return None if np.isnan(value) else float(f"{value:.6g}")


def _mechanisms(answer: Discovery) -> list[dict[str, Any]]:
    """By variable the shares of `Discovery.mechanisms`, None for NaN."""
    return [
        {"variable": name} | {kind: _rounded_value(float(row[kind])) for kind in KINDS}
        for name, row in answer.mechanisms.iterrows()
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
