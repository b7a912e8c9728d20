"""Targets made of tasks: sets of them, and statistics of the families that they are drawn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from causal_meta.conf.artifacts import Backend, TargetConfig
from causal_meta.conf.data import DataConfig, FamilyConfig
from causal_meta.conf.setting import setting


@dataclass(frozen=True, kw_only=True)
class TasksConfig(TargetConfig):
    """A fixed set of tasks: `n_tasks` draws of a family, or one real table."""

    kind: ClassVar[str] = "tasks"
    title: ClassVar[str] = "task set"
    backend: ClassVar[Backend] = "torch"
    thread_safe: ClassVar[bool] = True
    data: DataConfig = setting(FamilyConfig())
    n_tasks: int = setting(25, low=1, unit="tasks")


@dataclass(frozen=True, kw_only=True)
class PortraitConfig(TargetConfig):
    """Statistics of a family of worlds: sortabilities, degrees, shapes of its variables, over
    `n_tasks` draws, with pictures."""

    kind: ClassVar[str] = "portrait"
    title: ClassVar[str] = "portrait of a family"
    verb: ClassVar[str] = "data show"
    backend: ClassVar[Backend] = "torch"
    data: FamilyConfig = setting(FamilyConfig())
    n_tasks: int = setting(200, low=1, unit="tasks")


@dataclass(frozen=True, kw_only=True)
class DistanceConfig(TargetConfig):
    """The distance of two families of worlds, from `n_tasks` tasks of each with `n_rows` rows
    (`datasets.distances`)."""

    kind: ClassVar[str] = "distance"
    title: ClassVar[str] = "distance of two families"
    verb: ClassVar[str] = "data distance"
    backend: ClassVar[Backend] = "torch"
    first: FamilyConfig = setting(FamilyConfig())
    second: FamilyConfig = setting(FamilyConfig())
    n_tasks: int = setting(200, low=20, unit="tasks of each family")
    n_rows: int = setting(200, low=20, unit="rows")
