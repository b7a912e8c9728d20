"""Real tables as targets of a study: `data: {table: FILE, …}`, with paths that are relative to the
study file.

The file is read when the study is planned, so that errors in it are reported before the first job
and its digest identifies the target. It is read again when the target is made, which fails if the
file has changed in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from causal_meta.conf.artifacts import ArtifactConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.conf.spelling import nearest
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.runners.tasks.table_sources import (
    FILES,
    KEYS,
    LISTS,
    listed,
    read_source,
    table_config,
)


def is_table(cls: type[ArtifactConfig], data: Any) -> bool:
    """Whether the setting `data` of an item of a study names the file of a table."""
    return issubclass(cls, TasksConfig) and isinstance(data, dict) and "table" in data


def table_target(data: Mapping[Any, Any], study_file: str) -> tuple[TasksConfig, dict[str, Any]]:
    """The configuration of the task set that the file holds, and the settings with whole paths, to
    read it again.

    Raises `ConfigError` or `TableError` in one sentence.
    """
    for key, value in data.items():
        if key not in KEYS:
            raise ConfigError(f"a table has no setting {key!r}{nearest(str(key), KEYS)}")
        names = value if key in LISTS and isinstance(value, list) else [value]
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ConfigError(
                f"{key} of a table is {value!r}; give "
                f"{'names of columns' if key in LISTS else 'a word'}."
            )
    settings = {
        key: _path(value, study_file) if key in FILES else value for key, value in data.items()
    }
    table, truth = read_source(settings)
    return table_config(table, listed(settings, "columns"), truth), settings


def _path(value: str, study_file: str) -> str:
    return (
        value
        if value.startswith("sklearn:")
        else str(Path(study_file).absolute().parent / Path(value).expanduser())
    )
