"""Ready descriptions of published tables (`conf/tables/*.yaml`): their content and the known
causes, without the data themselves."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from causal_meta.conf import yaml_1_2
from causal_meta.conf.edge_lists import parse_edge
from causal_meta.conf.setting import Config, ConfigError, setting
from causal_meta.conf.spelling import nearest


@dataclass(frozen=True, kw_only=True)
class TableDescription(Config):
    """A table that many papers use: how to recognise it, its true graph and the usual
    transformation of its values.

    `mean` are the means of the raw columns, to five digits, by which a table in another version or
    unit is detected. `edges` are "cause -> effect"; none means that no truth is known. `bundled`
    names a table that comes with a library; others are read from a user's file.
    """

    line: str = setting("", help="what it is, in one line")
    title: str = setting()
    about: str = setting("")
    published: str = setting()
    source: str = setting()
    licence: str = setting()
    values: Literal["continuous", "discrete", "mixed"] = setting()
    transform: Literal["none", "log"] = setting("none")
    rows: int = setting(low=1)
    columns: tuple[str, ...] = setting()
    mean: tuple[float, ...] = setting()
    edges: tuple[str, ...] = setting(())
    bundled: str = setting("")

    def validate(self) -> None:
        if len(self.mean) != len(self.columns) or len(set(self.columns)) < len(self.columns):
            raise ConfigError(
                f"{self.title}: {len(self.mean)} means and {len(self.columns)} columns; give one "
                "mean for each of different columns."
            )
        for edge in self.pairs:
            if any(name not in self.columns for name in edge):
                raise ConfigError(
                    f"{self.title}: the edge {' -> '.join(edge)!r} is not one between columns; "
                    "write cause -> effect."
                )

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The edges as (cause, effect)."""
        return [parse_edge(edge, f"{self.title}: edges") for edge in self.edges]


@functools.cache
def table_descriptions() -> dict[str, TableDescription]:
    """Every ready description by name."""
    folder = resources.files("causal_meta.conf") / "tables"
    texts = {
        item.name.removesuffix(".yaml"): item.read_text("utf-8")
        for item in folder.iterdir()
        if item.name.endswith(".yaml")
    }
    trees: dict[str, dict[str, Any]] = {
        name: yaml_1_2.load(text, f"{name}.yaml") for name, text in sorted(texts.items())
    }
    descriptions = {}
    for name, tree in trees.items():
        first = texts[name].partition("\n")[0].removeprefix("#").strip()
        base = trees[tree.pop("like")] if "like" in tree else {}
        descriptions[name] = TableDescription(line=first, **(base | tree))
    return descriptions


def table_description(name: str) -> TableDescription:
    """The ready description called `name`; raises `ConfigError` with the nearest."""
    known = table_descriptions()
    if name not in known:
        raise ConfigError(f"There is no table called {name!r}{nearest(name, known)}")
    return known[name]
