"""Importing a user's table into the store."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from causal_meta.cli.making import make
from causal_meta.runners.tasks.table_sources import KEYS, listed, recorded, table_config

if TYPE_CHECKING:
    import numpy as np

    from causal_meta.datasets.real import Table
    from causal_meta.store import Artifact, Store


def table_settings(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The settings of a table by key (data.table=FILE, data.truth=FILE, data.columns=a,b and the
    other `KEYS`), and the other words."""
    from causal_meta.conf.setting import ConfigError
    from causal_meta.conf.spelling import nearest

    settings, others = {}, []
    for word in words:
        key, equals, value = word.partition("=")
        if not key.startswith("data."):
            others.append(word)
            continue
        if key.removeprefix("data.") not in KEYS or not equals:
            raise ConfigError(
                f"A table has no setting {key!r}{nearest(key, [f'data.{known}' for known in KEYS])}"
            )
        settings[key.removeprefix("data.")] = value
    if not settings.get("table"):
        raise ConfigError("data.truth was given without a table; give data.table=FILE too.")
    return settings, others


def stored(
    args: argparse.Namespace,
    store: Store,
    settings: Mapping[str, str],
    table: Table,
    truth: np.ndarray | None,
    *,
    name: str = "",
) -> Artifact:
    """Find or make the task set of a table. Only the names of its files are recorded, never their
    paths."""
    config: Any = table_config(table, listed(settings, "columns"), truth)
    return make(
        args,
        store,
        config,
        {},
        name=name,
        overrides=recorded(settings),
        options={"table": table, "truth": truth},
    )
