"""The predefined entries of the command line with a line for each: families of worlds, streams and
published tables."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any

from causal_meta.conf import yaml_1_2
from causal_meta.conf.convert import from_plain
from causal_meta.conf.data import DataModuleConfig, FamilyConfig
from causal_meta.conf.ranges import IntRange
from causal_meta.conf.ready import ready_families
from causal_meta.conf.table_descriptions import table_descriptions


@dataclass(frozen=True)
class Entry:
    """A name with the group it is listed in, its line, and its size (variables by rows)."""

    name: str
    group: str
    line: str
    size: str


def catalogue() -> list[Entry]:
    """Families first, by collection and group, then streams, then tables."""
    presets, entries = _presets(), []
    for name, (tree, comment) in presets.items():
        if tree["kind"] == FamilyConfig.kind:
            config = from_plain(FamilyConfig, tree)
            entries.append(Entry(name, "families", comment or family_line(config), _size(config)))
    for family in ready_families():
        config = from_plain(FamilyConfig, family.tree)
        group = f"families: {family.collection}" + (
            f", {family.group}" if family.group != family.collection else ""
        )
        entries.append(
            Entry(family.name, group, family.about or family_line(config), _size(config))
        )
    for name, (tree, comment) in presets.items():
        if tree["kind"] == DataModuleConfig.kind:
            stream = from_plain(DataModuleConfig, tree)
            description = comment or f"{family_line(stream.train)}; {len(stream.test)} test sets"
            entries.append(Entry(name, "streams for training", description, _size(stream.train)))
    for name, table in table_descriptions().items():
        truth = f"{len(table.edges)} edges" if table.edges else "no truth"
        where = table.bundled or "give --from"
        entries.append(
            Entry(
                name,
                "tables (data import)",
                f"{table.line} [{table.values}, {truth}, {where}]",
                f"{len(table.columns)} × {table.rows}",
            )
        )
    return entries


def family_line(config: FamilyConfig) -> str:
    """One line about a family: the tags of its graphs, mechanisms and noise."""
    parts = getattr(config.graph, "parts", None)
    graph = (
        config.graph.kind
        if parts is None
        else " + ".join(sorted({part.graph.kind for part in parts.values()}))
    )
    mechanisms = " + ".join(
        dict.fromkeys(part.mechanism.kind for part in config.mechanisms.values())
    )
    description = f"{graph}; {mechanisms}; {config.noise.kind} noise"
    return description if config.interventions is None else f"{description}; with interventions"


def _size(config: FamilyConfig) -> str:
    return f"{_range(config.n_nodes)} × {_range(config.n_rows)}"


def _range(bounds: IntRange) -> str:
    return str(bounds.low) if bounds.is_fixed else f"{bounds.low}-{bounds.high}"


def _presets() -> dict[str, tuple[dict[str, Any], str]]:
    """The files of `conf/presets` by name: the tree, and the comment on its first line."""
    folder = resources.files("causal_meta.conf") / "presets"
    texts = {
        item.name.removesuffix(".yaml"): item.read_text("utf-8")
        for item in folder.iterdir()
        if item.name.endswith(".yaml")
    }
    heads = {name: text.partition("\n")[0] for name, text in texts.items()}
    return {
        name: (
            yaml_1_2.load(text, f"{name}.yaml"),
            heads[name].removeprefix("#").strip() if heads[name].startswith("#") else "",
        )
        for name, text in sorted(texts.items())
    }
