"""`discover TABLE`: a posterior over the causal graphs of one table."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from causal_meta.cli.arguments import Verbs, add_flags, add_verb, open_store, whole
from causal_meta.cli.making import make, threads

if TYPE_CHECKING:
    from causal_meta.runners.inference.discovery import Discovery

EXAMPLES = """  causal-meta discover table.csv --out answer/
  causal-meta discover sklearn:diabetes --out answer/
  causal-meta discover table.parquet --model first --truth adjacency.csv --transform log

TABLE is a CSV, TSV, Parquet or .npz file with a header and at least 10 rows of numbers, or
sklearn:diabetes. --out receives edge_probabilities.csv (the row causes the column), graphs.npz
(samples), graph.graphml, graph.png and summary.json."""
MOST, LEAST = 15, 0.1
METRICS = ("e_shd", "shd", "sid", "auroc", "auprc", "density", "f1", "e_f1", "graph_nll", "brier")


def add(verbs: Verbs) -> None:
    """The verb."""
    verb = add_verb(
        verbs, "discover", "infer which causal edges are likely, from one table", EXAMPLES, run
    )
    verb.add_argument("table", metavar="TABLE", help="a file, or sklearn:diabetes")
    verb.add_argument(
        "--out",
        metavar="DIR",
        default="answer",
        help="folder for the answer (default: answer); an earlier answer there is replaced",
    )
    verb.add_argument(
        "--model",
        metavar="NAME",
        help="a trained model by name or id, or its exported folder (default: the one inside the "
        "package)",
    )
    verb.add_argument(
        "--truth",
        metavar="FILE",
        help="CSV of the true graph with the table's names as header, 1 where the row causes the "
        "column",
    )
    verb.add_argument(
        "--seed",
        type=whole(0),
        default=0,
        metavar="N",
        help="seed of the sampled graphs (default: 0)",
    )
    verb.add_argument(
        "--n-samples",
        type=whole(1),
        default=1000,
        metavar="N",
        help="graphs to sample (default: 1000)",
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
    add_flags(verb, making=True)


def run(args: argparse.Namespace) -> int:
    """Print the strongest edges, the share of acyclic samples and the metrics if the truth is
    known; the last line is the folder."""
    from causal_meta.cli.tables import stored
    from causal_meta.conf.inference import DiscoverConfig
    from causal_meta.runners.inference.named_models import installed_model
    from causal_meta.runners.tasks.table_sources import KEYS, read_source
    from causal_meta.store import check_name

    name = check_name(args.name) if args.name else ""
    settings = {key: getattr(args, key) for key in KEYS if getattr(args, key, "")}
    table, truth = read_source(settings)
    store = open_store(args)

    from causal_meta.runners.inference.answers import check_folder

    check_folder(args.out)
    model = installed_model(args.model, store)
    tasks = stored(args, store, settings, table, truth)
    config = DiscoverConfig(n_samples=args.n_samples, seed=args.seed)
    artifact = make(args, store, config, {"of": model, "tasks": tasks}, name=name)

    from causal_meta.runners.inference.discovery import from_run
    from causal_meta.runners.inference.trained import trained_model

    with threads(args.threads):
        answer = from_run(artifact, trained_model(model), table, truth)
        folder = answer.export(args.out)
    for warning in answer.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    if not args.quiet:
        show(answer)
    print(folder)
    return 0


def show(answer: Discovery) -> None:
    """The answer in words and a table."""
    from rich.console import Console
    from rich.table import Table

    edges = answer.edges
    strong = edges[edges["probability"] >= LEAST].head(MOST)
    strong = strong if len(strong) >= 5 else edges.head(5)
    table = Table(
        "cause",
        "",
        "effect",
        "probability",
        title=f"{answer.table.title}: strongest edges",
        title_justify="left",
        box=None,
    )
    table.columns[3].justify = "right"
    for cause, effect, probability in zip(
        strong["cause"], strong["effect"], strong["probability"], strict=True
    ):
        table.add_row(str(cause), "→", str(effect), f"{probability:.3f}")
    Console(markup=False, highlight=False).print(table)
    rows, columns = answer.table.x.shape
    print(
        f"{rows} rows, {columns} variables, {len(edges)} possible edges, "
        f"{edges['probability'].sum():.1f} expected; model {answer.model_id}"
    )
    print(f"acyclic: {answer.acyclic_share:.1%} of {len(answer.graphs)} sampled graphs")
    if answer.metrics is not None:
        scores = [
            f"{key} {value:.3f}"
            for key in METRICS
            if (value := answer.metrics.get(key)) is not None
        ]
        print("against the truth: " + ", ".join(scores))
