"""`discover TABLE`: a posterior over the causal graphs of one table."""

from __future__ import annotations

import argparse
import sys
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_meta.cli.arguments import (
    Parser,
    UsageError,
    Verbs,
    add_flags,
    add_verb,
    add_words,
    open_store,
    whole,
)
from causal_meta.cli.making import make, threads

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table as RichTable

    from causal_meta.conf.artifacts import RunConfig
    from causal_meta.datasets.real import Table
    from causal_meta.runners.inference.discovery import Discovery
    from causal_meta.store import Artifact, Store

EXAMPLES = """  causal-meta discover table.csv --out answer/
  causal-meta discover table.csv --tiers 'age, sex; bmi; *' --forbid 'bp -> bmi'
  causal-meta discover table.csv --context site --method auto,boss
  causal-meta discover table.parquet --truth adjacency.csv --transform log
  causal-meta discover sklearn:diabetes --method mcmc n_samples=500
  causal-meta discover table.csv --model first

TABLE is a CSV, TSV, Parquet or .npz file with a header and at least 10 rows of numbers, or
sklearn:diabetes. --out receives edge_probabilities.csv (the row causes the column), effects.csv
(total effects), graphs.npz (samples), graph.graphml, graph.png, summary.json and answer.html.
Words key=value are settings of the method (causal-meta infer METHOD --help)."""
MOST, LEAST = 15, 0.1
METRICS = ("e_shd", "optimal_shd", "sid", "auroc", "auprc", "density", "f1", "log_loss", "brier")


def add(verbs: Verbs) -> None:
    """The verb."""
    verb = add_verb(
        verbs, "discover", "infer which causal edges are likely, from one table", EXAMPLES, run
    )
    verb.add_argument("table", metavar="TABLE", help="a file, or sklearn:diabetes")
    add_words(verb, "settings of the method")
    verb.add_argument(
        "--out",
        metavar="DIR",
        default="answer",
        help="folder for the answer (default: answer); an earlier answer there is replaced",
    )
    _add_method(verb)
    _add_reading(verb)
    _add_knowledge(verb)
    add_flags(verb, making=True)


def _add_method(verb: Parser) -> None:
    verb.add_argument(
        "--method",
        metavar="A,B,…",
        default="",
        help="auto (default: exact Bayesian inference for few variables, else MCMC over graphs), "
        "amortised, or kinds of causal-meta infer; of several the first is the answer",
    )
    verb.add_argument(
        "--model",
        metavar="NAME",
        help="for the method amortised: a trained model by name or id, or its exported folder "
        "(default: the one inside the package)",
    )
    verb.add_argument(
        "--seed", type=whole(0), default=0, metavar="N", help="of all random numbers (default: 0)"
    )
    verb.add_argument(
        "--n-samples", type=whole(1), metavar="N", help="graphs to draw (default: the method's)"
    )


def _add_reading(verb: Parser) -> None:
    verb.add_argument(
        "--truth",
        metavar="FILE",
        help="CSV of the true graph with the table's names as header, 1 where the row causes the "
        "column",
    )
    verb.add_argument(
        "--transform",
        default="none",
        metavar="HOW",
        help="none, or log: the natural logarithm of every value",
    )
    verb.add_argument(
        "--columns", default="", metavar="A,B,…", help="use these columns only, in this order"
    )
    verb.add_argument(
        "--categorical",
        default="",
        metavar="A,B,…",
        help="columns that hold categories, as words or numbers",
    )
    verb.add_argument(
        "--interventions",
        default="",
        metavar="A,B,…",
        help="columns that name the variable set in each row (empty or none: no variable)",
    )
    verb.add_argument(
        "--mask",
        metavar="FILE",
        help="a table of 0 and 1 with the same rows: 1 where the cell was set by an intervention",
    )
    verb.add_argument(
        "--format",
        default="",
        metavar="FORMAT",
        help="csv, tsv, parquet or npz (default: by the file's ending)",
    )


def _add_knowledge(verb: Parser) -> None:
    verb.add_argument(
        "--context",
        default="",
        metavar="A,B,…",
        help="columns that may be causes but have none, such as a site, a batch, an experiment",
    )
    verb.add_argument(
        "--forbid",
        action="append",
        default=[],
        metavar="'A -> B'",
        help="an edge that does not exist; * stands for every variable; repeatable",
    )
    verb.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="'A -> B'",
        help="an edge that exists; repeatable",
    )
    verb.add_argument(
        "--tiers",
        default="",
        metavar="'A, B; C; *'",
        help="no variable of a later tier causes one of an earlier; * stands for all others",
    )
    verb.add_argument(
        "--max-parents", type=whole(1), metavar="N", help="most direct causes of a variable"
    )
    verb.add_argument(
        "--knowledge",
        metavar="FILE",
        help="YAML with forbid, require, tiers (lists) and max_parents, in addition to the flags",
    )


def run(args: argparse.Namespace) -> int:
    """Print the strongest edges, the effects and the metrics if the truth is known; the last line
    is the folder."""
    from causal_meta.cli.tables import stored
    from causal_meta.runners.inference.methods import (
        AMORTISED,
        AUTO,
        listed_methods,
        method_configs,
    )
    from causal_meta.runners.tasks.table_sources import KEYS, read_source
    from causal_meta.store import check_name

    name = check_name(args.name) if args.name else ""
    words = listed_methods(args.method or (AUTO if args.model is None else AMORTISED))
    if args.model is not None and AMORTISED not in words:
        raise UsageError("--model names a trained model; give --method amortised, or leave it out.")
    settings = {key: getattr(args, key) for key in KEYS if getattr(args, key, "")}
    table, truth = read_source(settings)
    shared = {"n_samples": args.n_samples, "seed": args.seed, "knowledge": knowledge(args)}
    configs = method_configs(words, len(table.columns), args.words, **shared)
    store = open_store(args)

    from causal_meta.runners.inference.answer_folder import check_folder

    check_folder(args.out)

    from causal_meta.runners.inference.discovery import check_methods, side_by_side

    check_methods(configs, table)
    model = _model(args, store, configs)
    tasks = stored(args, store, settings, table, truth)
    answers = []
    for config in configs:
        inputs = _inputs(config, tasks, model)
        called = name if config is configs[0] else ""
        answers.append(_answer(args, store, config, inputs, table, truth, called))
    from causal_meta.reports.answer import answer_page

    with threads(args.threads):
        answer = side_by_side(answers)
        folder = answer.export(args.out, answer_page)
    for warning in answer.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    if not args.quiet:
        show(answer)
    print(folder)
    return 0


def _model(args: argparse.Namespace, store: Store, configs: list[RunConfig]) -> Artifact | None:
    """The trained model, where one of the methods needs it. It is refused before anything is
    stored."""
    if not any(config.needs_pretraining for config in configs):
        return None
    from causal_meta.runners.inference.named_models import installed_model
    from causal_meta.runners.inference.trained import experiment_of

    model = installed_model(args.model, store)
    experiment_of(model)
    return model


def _inputs(config: RunConfig, tasks: Artifact, model: Artifact | None) -> dict[str, Artifact]:
    if not config.needs_pretraining:
        return {"of": tasks}
    assert model is not None
    return {"of": model, "tasks": tasks}


def _answer(
    args: argparse.Namespace,
    store: Store,
    config: RunConfig,
    inputs: dict[str, Artifact],
    table: Table,
    truth: np.ndarray | None,
    name: str,
) -> Discovery:
    """The answer of one method, from the store or made now."""
    trained = None
    run = make(args, store, config, inputs, name=name, overrides=args.words)

    from causal_meta.runners.inference.discovery import from_run

    with threads(args.threads):
        if config.needs_pretraining:
            from causal_meta.runners.inference.trained import trained_model

            trained = trained_model(inputs["of"])
        return from_run(run, trained, table, truth)


def knowledge(args: argparse.Namespace) -> dict[str, Any]:
    """The knowledge of the flags and of the file, as a tree of `KnowledgeConfig`; empty without
    any."""
    tree: dict[str, Any] = {"forbid": [], "require": [], "tiers": [], "max_parents": 0}
    if args.knowledge:
        tree |= _knowledge_file(args.knowledge)
    tree["forbid"] = [*tree["forbid"], *args.forbid]
    tree["require"] = [*tree["require"], *args.require]
    if args.tiers:
        if tree["tiers"]:
            raise UsageError(
                f"Tiers stand in {args.knowledge} and after --tiers; leave one of them out."
            )
        tree["tiers"] = _tiers(args.tiers)
        if not tree["tiers"]:
            raise UsageError("--tiers names no variable; write tiers such as 'A, B; C; *'.")
    if args.max_parents is not None:
        tree["max_parents"] = args.max_parents
    return tree if any(tree.values()) else {}


def _knowledge_file(path: str) -> dict[str, Any]:
    from causal_meta.conf import yaml_1_2
    from causal_meta.conf.convert import from_plain, to_plain
    from causal_meta.conf.knowledge import KnowledgeConfig

    if not Path(path).is_file():
        raise UsageError(f"There is no file {path}; check the path.")
    tree = yaml_1_2.load(Path(path).read_text("utf-8", "replace"), path)
    if not isinstance(tree, dict):
        raise UsageError(f"{path} holds no knowledge; write forbid, require, tiers, max_parents.")
    for key in ("forbid", "require", "tiers"):
        value = tree.get(key) or []
        if isinstance(value, str):
            value = _tiers(value) if key == "tiers" else [value]
        if not isinstance(value, list):
            raise UsageError(f"{key} in {path} is {value!r}; write a list.")
        tree[key] = [
            ", ".join(map(str, item)) if isinstance(item, list) else str(item) for item in value
        ]
    plain = to_plain(from_plain(KnowledgeConfig, tree))
    return {key: value for key, value in plain.items() if key != "kind"}


def _tiers(text: str) -> list[str]:
    return [tier.strip() for tier in text.split(";") if tier.strip()]


def show(answer: Discovery) -> None:
    """The answer in words and tables."""
    from rich.console import Console

    console = Console(markup=False, highlight=False)
    console.print(_edge_table(answer))
    rows, columns = answer.table.x.shape
    edges = answer.edges
    print(
        f"{rows} rows, {columns} variables, {len(edges)} possible edges, "
        f"{edges['probability'].sum():.1f} expected; {answer.method}: {answer.model_id}"
    )
    if answer.acyclic_share < 1:
        print(f"acyclic: {answer.acyclic_share:.1%} of {len(answer.graphs)} sampled graphs")
    for line in answer.posterior.diagnostics.in_words():
        print(line)
    if len(answer.members) > 1:
        print("under different assumptions, expected edges: " + _members(answer))
    for other in answer.others:
        apart = abs(other.probabilities - answer.probabilities).sum()
        print(
            f"{other.method}: {other.probabilities.sum():.1f} edges expected, "
            f"differs by {apart:.1f}"
        )
    if answer.acyclic_share > 0:
        console.print(_effect_table(answer))
    if answer.metrics is not None:
        for one in (answer, *answer.others):
            scores = [
                f"{key} {value:.3f}"
                for key in METRICS
                if one.metrics and (value := one.metrics.get(key)) is not None
            ]
            print(f"{one.method} against the truth: " + ", ".join(scores))


def _members(answer: Discovery) -> str:
    return ", ".join(f"{name} {p.sum():.1f}" for name, p in answer.members.items())


def _edge_table(answer: Discovery) -> RichTable:
    from rich.table import Table as RichTable

    edges = answer.edges
    strong = edges[edges["probability"] >= LEAST].head(MOST)
    strong = strong if len(strong) >= 5 else edges.head(5)
    methods = [answer.method, *(other.method for other in answer.others)]
    table = RichTable(
        "cause",
        "",
        "effect",
        *(methods if answer.others else ["probability"]),
        title=f"{answer.table.title}: strongest edges",
        title_justify="left",
        box=None,
    )
    for column in table.columns[3:]:
        column.justify = "right"
    for row in strong.to_dict("records"):
        values = [row["probability"], *(row[other.method] for other in answer.others)]
        table.add_row(
            str(row["cause"]), "→", str(row["effect"]), *(f"{value:.3f}" for value in values)
        )
    return table


def _effect_table(answer: Discovery) -> RichTable:
    """The total effects that are more probable than not."""
    from rich.table import Table as RichTable

    from causal_meta.models.bayesian.total_effects import COVERED

    table = RichTable(
        "cause",
        "",
        "effect",
        "acts at all",
        "mean",
        f"{100 * COVERED:.0f} % interval",
        title="total effects, linear part, per unit of the cause",
        title_justify="left",
        box=None,
    )
    for column in table.columns[3:]:
        column.justify = "right"
    for row in answer.total_effects.query("probability >= 0.5").head(MOST).to_dict("records"):
        table.add_row(
            str(row["cause"]),
            "→",
            str(row["effect"]),
            f"{row['probability']:.3f}",
            *(
                ("–", "–")
                if isnan(row["mean"])
                else (f"{row['mean']:.3g}", f"{row['low']:.3g} to {row['high']:.3g}")
            ),
        )
    return table
