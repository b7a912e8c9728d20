"""Settings that say where the table of a task set lies and how it is read, and the configuration of
the table. Does not load torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from causal_meta.conf.data import TableConfig
from causal_meta.conf.task_sets import TasksConfig

if TYPE_CHECKING:
    import numpy as np

    from causal_meta.datasets.real import Table

FILES = ("table", "truth", "mask")
LISTS = ("columns", "interventions", "categorical", "context")
KEYS = ("table", "truth", "format", "transform", "title", "mask", *LISTS)


def read_source(settings: Mapping[str, Any]) -> tuple[Table, np.ndarray | None]:
    """The table and the true graph (None without one) that settings by `KEYS` name; raises
    `TableError`.

    Lists are lists of names, or one string with commas between them.
    """
    from causal_meta.datasets.real import read_table
    from causal_meta.datasets.truths import read_truth

    table = read_table(
        settings["table"],
        format=settings.get("format") or None,
        columns=listed(settings, "columns"),
        transform=settings.get("transform") or "none",
        interventions=listed(settings, "interventions"),
        mask=settings.get("mask") or None,
        categorical=listed(settings, "categorical"),
        context=listed(settings, "context"),
    )
    if settings.get("title"):
        table = dataclasses.replace(table, title=settings["title"])
    return table, read_truth(settings["truth"], table.columns) if settings.get("truth") else None


def listed(settings: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """The names that a setting lists.

    >>> listed({"columns": "[a, b]"}, "columns")
    ('a', 'b')
    """
    value = settings.get(key) or ""
    if not isinstance(value, str):
        return tuple(value)
    text = value.strip().removeprefix("[").removesuffix("]")
    return tuple(name.strip() for name in text.split(",")) if text else ()


def table_config(table: Table, columns: Sequence[str], truth: np.ndarray | None) -> TasksConfig:
    """The configuration of the task set that holds one table, read with these columns."""
    from causal_meta.datasets.truths import truth_digest

    data = TableConfig(
        sha256=table.sha256,
        format=cast(Any, table.format),
        columns=tuple(columns),
        transform=cast(Any, table.transform),
        truth_sha256="" if truth is None else truth_digest(truth, table.columns),
        interventions=table.interventions,
        mask_sha256=table.mask_sha256,
        categorical=table.categorical,
        context=table.context,
        title=table.title,
    )
    return TasksConfig(data=data, n_tasks=1)


def recorded(settings: Mapping[str, Any]) -> list[str]:
    """The settings as words for `meta.json`: of files only their names, never where they lie."""
    values = {
        key: Path(value).name
        if key in FILES
        else ",".join(listed(settings, key))
        if key in LISTS
        else value
        for key, value in settings.items()
    }
    return [f"data.{key}={value}" for key, value in values.items()]
