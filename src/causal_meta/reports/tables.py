"""Tables of metrics: the title of each metric, whether more or less is better, which rows are best,
and the table as data, CSV or Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_meta.reports.evidence import Evaluation, Evidence, gather

if TYPE_CHECKING:
    import pandas as pd

    from causal_meta.store import Store


@dataclass(frozen=True)
class Metric:
    """How a metric is shown. `better` is +1 where more is better, -1 where less is, 0 where neither
    is."""

    title: str
    better: int
    digits: int


METRICS: dict[str, Metric] = {
    "auroc": Metric("AUROC", 1, 3),
    "auprc": Metric("AUPRC", 1, 3),
    "e_shd": Metric("E-SHD", -1, 2),
    "e_cpdag_shd": Metric("E-CPDAG-SHD", -1, 2),
    "e_sid": Metric("E-SID", -1, 1),
    "e_parent_aid": Metric("E-parent-AID", -1, 3),
    "e_f1": Metric("E-F1", 1, 3),
    "ece": Metric("ECE", -1, 3),
    "brier": Metric("Brier", -1, 3),
    "graph_nll": Metric("graph NLL", -1, 1),
    "acyclic_share": Metric("acyclic", 0, 2),
    "e_edges": Metric("edges", 0, 1),
    "shd": Metric("SHD", -1, 2),
    "sid": Metric("SID", -1, 1),
    "parent_aid": Metric("parent-AID", -1, 3),
    "ancestor_aid": Metric("ancestor-AID", -1, 3),
    "e_ancestor_aid": Metric("E-ancestor-AID", -1, 3),
    "precision": Metric("precision", 1, 3),
    "recall": Metric("recall", 1, 3),
    "f1": Metric("F1", 1, 3),
    "ece_mid": Metric("ECE (0.05–0.95)", -1, 3),
    "edge_entropy": Metric("edge entropy", 0, 3),
    "n_edges": Metric("edges > 0.5", 0, 1),
    "density": Metric("density", 0, 3),
}
HEADLINE = tuple(METRICS)[:12]
FURTHER = tuple(METRICS)[12:]


def metric(name: str) -> Metric:
    """How a metric is shown; an unknown metric has its name as title and no best row."""
    return METRICS.get(name, Metric(name, 0, 3))


def number(value: Any, digits: int) -> str:
    """A number with `digits` decimals, an em dash where there is none.

    >>> number(0.8617, 3), number(None, 3), number(float("inf"), 1)
    ('0.862', '—', '∞')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "—"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{digits}f}".replace("-", "−")
    return text.removeprefix("−") if float(f"{value:.{digits}f}") == 0 else text


def best_rows(entries: Sequence[dict[str, Any]], better: int) -> tuple[set[int], bool]:
    """The rows with the best mean of a column, and whether they are clearly better than all others.

    `entries` hold {mean, se, n} per row. A lead is clear if it exceeds the standard error of the
    difference, sqrt(se_a² + se_b²), to every other row, which is never less than one standard error
    of either; without standard errors no lead is clear. `better` as in `Metric`.

    >>> rows = [{"mean": 0.8, "se": 0.01}, {"mean": 0.7, "se": 0.02}, {"mean": None, "se": None}]
    >>> best_rows(rows, 1), best_rows(rows, -1), best_rows(rows, 0)
    (({0}, True), ({1}, True), (set(), False))
    """
    known = {
        row: entry
        for row, entry in enumerate(entries)
        if entry["mean"] is not None and math.isfinite(entry["mean"])
    }
    if not better or len(known) < 2:
        return set(), False
    top = max(better * entry["mean"] for entry in known.values())
    best = {row for row, entry in known.items() if better * entry["mean"] == top}
    if len(best) == len(known):
        return set(), False
    others = [entry for row, entry in known.items() if row not in best]
    clear = len(best) == 1 and all(lead_is_clear(known[min(best)], other) for other in others)
    return best, clear


def lead_is_clear(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two means differ by more than the standard error of their difference."""
    if first["se"] is None or second["se"] is None:
        return False
    return abs(first["mean"] - second["mean"]) > math.hypot(first["se"], second["se"])


def rows_of(evidence: Evidence) -> list[dict[str, Any]]:
    """One flat record per evaluation: task set, method, number of tasks, and mean, standard error
    and count of every metric."""
    return [
        _row(tasks.title, tasks.artifact.id, item)
        for tasks in evidence.task_sets
        for item in tasks.evaluations
    ]


def _row(title: str, tasks_id: str, item: Evaluation) -> dict[str, Any]:
    row: dict[str, Any] = {
        "tasks": title,
        "tasks_id": tasks_id,
        "method": item.label,
        "kind": item.method.kind,
        "method_id": item.method.id,
        "run_id": item.run.id,
        "n_tasks": item.metrics.get("n_tasks"),
        "shd_reversal": getattr(item.run.config, "shd_reversal", None),
        "seconds_per_task": (item.metrics.get("seconds_per_task") or {}).get("mean"),
    }
    for name in dict.fromkeys([*METRICS, *item.metrics.get("summary", {})]):
        entry = item.entry(name)
        row |= {name: entry["mean"], f"{name}_se": entry["se"], f"{name}_n": entry["n"]}
    return row


def metric_table(store: Store, name: str = "", *, metrics: Sequence[str] = ()) -> pd.DataFrame:
    """Every evaluation that a report on `name` would show, a row each: tasks, method, ids, n_tasks,
    seconds_per_task and `metrics` (all if none are named), each with columns `<metric>`,
    `<metric>_se` (standard error over tasks) and `<metric>_n` (tasks where it is defined).
    """
    return metric_frame(gather(store, name), metrics)


def metric_frame(evidence: Evidence, metrics: Sequence[str] = ()) -> pd.DataFrame:
    """`metric_table` of gathered evidence."""
    import pandas as pd

    rows = rows_of(evidence)
    frame = pd.DataFrame(rows)
    if metrics and rows:
        unknown = [word for word in metrics if word not in frame.columns]
        if unknown:
            raise ValueError(
                f"There is no metric called {unknown[0]!r}; allowed are {', '.join(METRICS)}."
            )
        first = list(frame.columns[: frame.columns.get_loc("seconds_per_task") + 1])  # type: ignore[operator]
        frame = frame[[*first, *(f"{word}{end}" for word in metrics for end in ("", "_se", "_n"))]]
    return frame


def markdown(frame: pd.DataFrame, metrics: Sequence[str] = HEADLINE) -> str:
    """A `metric_table` as Markdown: a row per method, cells `mean ± standard error`."""
    lines = [
        "| tasks | method | n | " + " | ".join(metric(name).title for name in metrics) + " |",
        "|---" * (3 + len(metrics)) + "|",
    ]
    for row in frame.to_dict("records"):
        cells = [_plain_cell(row, name) for name in metrics]
        lines.append(
            "| "
            + " | ".join(
                [_escaped(row["tasks"]), _escaped(row["method"]), str(row["n_tasks"]), *cells]
            )
            + " |"
        )
    return "\n".join(lines) + "\n"


def _plain_cell(row: dict[Any, Any], name: str) -> str:
    shown = metric(name)
    mean, error = row.get(name), row.get(f"{name}_se")
    missing = error is None or (isinstance(error, float) and math.isnan(error))
    return number(mean, shown.digits) + ("" if missing else f" ± {number(error, shown.digits)}")


def _escaped(text: Any) -> str:
    return (
        " ".join(str(text).split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    )


def write_csv(frame: pd.DataFrame, path: str | Path) -> Path:
    """Write a table as CSV with full precision; texts that a spreadsheet would run as a formula get
    an apostrophe in front."""
    safe = frame.map(
        lambda value: (
            f"'{value}" if isinstance(value, str) and value.startswith(tuple("=+-@\t\r")) else value
        )
    )
    safe.to_csv(path, index=False, lineterminator="\n")
    return Path(path)
