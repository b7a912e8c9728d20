"""What is ready to be named on the command line, with a line for each: families of worlds, streams and published tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib import resources
from typing import Any

from causal_meta.conf.convert import from_plain, presets
from causal_meta.conf.data import DataModuleConfig, FamilyConfig
from causal_meta.conf.ranges import IntRange
from causal_meta.conf.table_descriptions import table_descriptions

_SHARED = 3  # so many names with one first word make a group


@dataclass(frozen=True)
class Entry:
    """A name with the group it is listed in, its line, and its size (variables by rows)."""

    name: str
    group: str
    line: str
    size: str


def catalogue() -> list[Entry]:
    """Families first, by group, then streams, then tables."""
    families, streams = _named(FamilyConfig), _named(DataModuleConfig)
    lines = _first_comments()
    shared = Counter(name.partition("_")[0] for name in families)
    found = [_family(name, tree, lines.get(name, ""), shared) for name, tree in families.items()]
    found.sort(key=lambda entry: (entry.group != "families", entry.group))
    for name, tree in streams.items():
        config = from_plain(DataModuleConfig, tree)
        told = lines.get(name) or f"{family_line(config.train)}; {len(config.test)} test sets"
        found.append(Entry(name, "streams for training", told, _size(config.train)))
    for name, table in table_descriptions().items():
        truth = f"{len(table.edges)} edges" if table.edges else "no truth"
        where = table.bundled or "give --from"
        found.append(Entry(name, "tables (data import)", f"{table.line} [{table.values}, {truth}, {where}]", f"{len(table.columns)} × {table.rows}"))
    return found


def _named(base: Any) -> dict[str, Any]:
    """The presets of a class that are more than its defaults."""
    return {name: tree for name, tree in presets(base).items() if name != base.kind}


def _family(name: str, tree: Any, comment: str, shared: Counter[str]) -> Entry:
    config = from_plain(FamilyConfig, tree)
    first = name.partition("_")[0]
    group = f"families: {first}" if shared[first] >= _SHARED else "families"
    return Entry(name, group, comment or family_line(config), _size(config))


def family_line(config: FamilyConfig) -> str:
    """A family in a line: its graphs, mechanisms and noise by their tags."""
    parts = getattr(config.graph, "parts", None)
    graph = config.graph.kind if parts is None else " + ".join(sorted({part.graph.kind for part in parts.values()}))
    mechanisms = " + ".join(dict.fromkeys(part.mechanism.kind for part in config.mechanisms.values()))
    told = f"{graph}; {mechanisms}; {config.noise.kind} noise"
    return told if config.interventions is None else f"{told}; with interventions"


def _size(config: FamilyConfig) -> str:
    return f"{_range(config.n_nodes)} × {_range(config.n_rows)}"


def _range(bounds: IntRange) -> str:
    return str(bounds.low) if bounds.is_fixed else f"{bounds.low}-{bounds.high}"


def _first_comments() -> dict[str, str]:
    """The comment on the first line of each preset's file."""
    folder = resources.files("causal_meta.conf") / "presets"
    heads = {item.name.removesuffix(".yaml"): item.read_text("utf-8").partition("\n")[0] for item in folder.iterdir() if item.name.endswith(".yaml")}
    return {name: head.removeprefix("#").strip() for name, head in heads.items() if head.startswith("#")}
