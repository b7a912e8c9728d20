"""From schema version 1 (epochs, wide table) to version 2."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from typing import Any

_TIMES = ("epoch_time_s", "throughput", "max_memory_mib")
_LOSSES = ("train_loss", "val_loss")


def event_from_v1(event: Mapping[str, Any]) -> dict[str, Any]:
    """A version 1 event as version 2.

    run_id is the run's folder (the old id was new at every event); the epoch, which the old loops
    counted in, stays and stands as the step where none was set; the losses join the metrics; wall_s
    is total_time_s where it was recorded; flat copies of the histories (`history_<name>`) become
    one `histories`; meta stays at on_start only.
    """
    known = {
        "schema_version",
        "moment",
        "run_dir",
        "epoch",
        "step",
        "split",
        "metrics",
        "meta",
        "histories",
        *_LOSSES,
        *_TIMES,
        "total_time_s",
    }
    meta = event.get("meta") or {}
    epoch, step = event.get("epoch"), event.get("step")
    histories = dict(event.get("histories") or {})
    for name in [key for key in event if key.startswith("history_")]:
        histories.setdefault(name.removeprefix("history_"), event[name])
    new: dict[str, Any] = {
        "schema_version": 2,
        "moment": event["moment"],
        "run_id": event.get("run_dir") or "",
        "attempt": 1,
        "step": epoch if step is None else step,
        "split": event.get("split"),
        "metrics": {
            **{name: event[name] for name in _LOSSES if event.get(name) is not None},
            **(event.get("metrics") or {}),
        },
        "wall_s": event.get("total_time_s"),
        "cpu_s": None,
        "timestamp": meta.get("timestamp"),
        "epoch": epoch,
        **{name: event[name] for name in _TIMES if event.get(name) is not None},
        **({"histories": histories} if histories else {}),
        **{
            key: value
            for key, value in event.items()
            if key not in known and not key.startswith("history_")
        },
    }
    if event["moment"] == "on_start":
        new["meta"] = meta
    wrong = sorted(
        name
        for name, value in new["metrics"].items()
        if isinstance(value, float) and not math.isfinite(value)
    )
    if wrong:
        new["metrics"] |= dict.fromkeys(wrong)
        new["non_finite"] = [f"metrics.{name}" for name in wrong]
    return new


def rows_from_v1(
    header: Sequence[str], lines: Sequence[str]
) -> tuple[list[tuple[Any, ...]], list[int]]:
    """The rows (attempt, step, split, name, value, wall_s, cpu_s) of a wide version 1 table, and
    the numbers of malformed lines.

    Every filled cell becomes a row named after its column, `metric_<name>` after `<name>` (unless
    that is the name of a fixed column); the epoch stands as the step; wall_s sums the epochs'
    times.
    """
    names = [_metric(column) for column in header]
    rows: list[tuple[Any, ...]] = []
    wrong = []
    timed: set[int] = set()
    wall = 0.0
    for number, line in enumerate(lines):
        try:
            cells = next(csv.reader([line]))
            if len(cells) != len(header):
                raise ValueError("columns")
            record = dict(zip(header, cells, strict=True))
            epoch = int(record["epoch"]) if record["epoch"] else -1
            values = [
                (name, float(cell)) for name, cell in zip(names[2:], cells[2:], strict=True) if cell
            ]
        except (ValueError, StopIteration):
            wrong.append(number)
            continue
        # the rows of an epoch all carry its time
        if record.get("epoch_time_s") and epoch not in timed:
            timed.add(epoch)
            wall += float(record["epoch_time_s"])
        step = None if epoch < 0 else epoch
        rows += [
            (1, step, record["split"] or None, name, value, wall if timed else math.nan, math.nan)
            for name, value in values
        ]
    return rows, wrong


def _metric(column: str) -> str:
    name = column.removeprefix("metric_")
    return column if name in (*_LOSSES, *_TIMES, "epoch", "split") else name
