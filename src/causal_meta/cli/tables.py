"""A user's table on its way into the store."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_meta.cli.making import make

if TYPE_CHECKING:
    import numpy as np

    from causal_meta.datasets.real import Table
    from causal_meta.store import Artifact, Store

KEYS = ("table", "truth", "format", "columns", "transform", "title", "interventions", "mask")
_FILES = ("table", "truth", "mask")


def table_settings(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The settings of a table by key (data.table=FILE, data.truth=FILE, data.columns=a,b and the other `KEYS`), and the other words."""
    from causal_meta.conf.registry import nearest
    from causal_meta.conf.setting import ConfigError

    settings, others = {}, []
    for word in words:
        key, equals, value = word.partition("=")
        if not key.startswith("data."):
            others.append(word)
            continue
        if key.removeprefix("data.") not in KEYS or not equals:
            raise ConfigError(f"A table has no setting {key!r}{nearest(key, [f'data.{known}' for known in KEYS])}")
        settings[key.removeprefix("data.")] = value
    if not settings.get("table"):
        raise ConfigError("data.truth came without a table; give data.table=FILE too.")
    return settings, others


def read(settings: Mapping[str, str]) -> tuple[Table, np.ndarray | None]:
    """The table and the true graph that the settings name."""
    import dataclasses

    from causal_meta.datasets.real import read_table, read_truth

    table = read_table(
        settings["table"],
        format=settings.get("format") or None,
        columns=_listed(settings, "columns"),
        transform=settings.get("transform") or "none",
        interventions=_listed(settings, "interventions"),
        mask=settings.get("mask") or None,
    )
    if settings.get("title"):
        table = dataclasses.replace(table, title=settings["title"])
    return table, read_truth(settings["truth"], table.columns) if settings.get("truth") else None


def _listed(settings: Mapping[str, str], key: str) -> tuple[str, ...]:
    listed = settings.get(key, "").strip().removeprefix("[").removesuffix("]")
    return tuple(name.strip() for name in listed.split(",")) if listed else ()


def stored(
    args: argparse.Namespace, store: Store, settings: Mapping[str, str], table: Table, truth: np.ndarray | None, *, name: str = ""
) -> Artifact:
    """Find or make the task set of a table. Of its files only their names are recorded, never where they lie."""
    from causal_meta.runners.task_sets import table_config

    overrides = [f"data.{key}={Path(value).name if key in _FILES else value}" for key, value in settings.items()]
    config: Any = table_config(table, _listed(settings, "columns"), truth)
    return make(args, store, config, {}, name=name, overrides=overrides, options={"table": table, "truth": truth})
