"""Ready families by name, from the collections in `conf/families`: one YAML file per paper or
benchmark, holding differences only.

A collection is a mapping with

- `about`: what it is;
- `pieces`: named differences, each with an `about` of its own;
- `families`: name -> differences from the defaults of a family, and the reserved words `group`,
  `about`, `column_std`, `use` (names of pieces, which are put over each other in this order, under
  the family's own differences), `mix_graphs` (names of pieces whose graph laws are mixed with equal
  weights; then the pieces' `about` is left out) and `over` (axis -> values).

A family's seed name is its own name, so task sets of different families share no task.

An entry with `over` stands for one entry for each combination of values: `{axis}` in texts and a
value `$axis` are replaced. An axis `a,b` has values [a, b] that go together. Pieces, parts of a
mixture and families alike may be written so. Only the file that can contain a name is read.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from causal_meta.conf.setting import ConfigError

_RESERVED = ("group", "about", "column_std", "use", "mix_graphs")


@dataclass(frozen=True)
class ReadyFamily:
    """A ready family: the tree of differences from the defaults, and its description.

    `column_std` is the range within which the measured median standard deviation of its columns
    must be.
    """

    name: str
    collection: str
    group: str
    about: str
    column_std: tuple[float, float]
    tree: dict[str, Any]


@functools.cache
def collection_names() -> tuple[str, ...]:
    """The collections, without reading them."""
    folder = resources.files("causal_meta.conf") / "families"
    return tuple(
        sorted(
            item.name.removesuffix(".yaml")
            for item in folder.iterdir()
            if item.name.endswith(".yaml")
        )
    )


@functools.cache
def _text(name: str) -> str:
    return (resources.files("causal_meta.conf") / "families" / f"{name}.yaml").read_text("utf-8")


@functools.cache
def collection(name: str) -> dict[str, ReadyFamily]:
    """The families of one collection by name. Raises `ConfigError` if its file makes no sense."""
    from causal_meta.conf import yaml_1_2

    return {
        family.name: family
        for family in read_collection(name, yaml_1_2.load(_text(name), f"{name}.yaml"))
    }


def read_collection(name: str, tree: Mapping[str, Any]) -> list[ReadyFamily]:
    """The families that a collection's tree describes. Raises `ConfigError`."""
    pieces, families = expand(tree.get("pieces", {})), []
    for family, entry in expand(tree["families"]).items():
        mixed = entry.get("mix_graphs", [])
        unknown = [piece for piece in [*entry.get("use", []), *mixed] if piece not in pieces]
        if unknown:
            raise ConfigError(
                f"Family {family!r} of the collection {name} uses the piece {unknown[0]!r}, which "
                "does not exist; add it to its pieces."
            )
        layers = [*(pieces[piece] for piece in entry.get("use", [])), entry]
        merged: dict[str, Any] = {"kind": "family", "seed_name": family}
        if mixed:
            merged["graph"] = {
                "kind": "graph_mixture",
                "parts": {piece: {"graph": pieces[piece]["graph"]} for piece in mixed},
            }
        for layer in layers:
            merged = merge(
                merged, {key: value for key, value in layer.items() if key not in _RESERVED}
            )
        descriptions = [
            str(layer["about"])
            for layer in layers
            if "about" in layer and (layer is entry or not mixed)
        ]
        spread = next(
            (layer["column_std"] for layer in reversed(layers) if "column_std" in layer), None
        )
        if spread is None:
            raise ConfigError(
                f"Family {family!r} of the collection {name} has no column_std; give [low, high] "
                "of the median."
            )
        families.append(
            ReadyFamily(
                family,
                name,
                str(entry.get("group", name)),
                "; ".join(descriptions),
                (float(spread[0]), float(spread[1])),
                merged,
            )
        )
    return families


def find(name: str) -> ReadyFamily | None:
    """The ready family of this name, if there is one."""
    for stem in collection_names():
        # the patterns of the names in it, without parsing the file
        keys = re.findall(r"^  ([\w{}]+):", _text(stem), re.MULTILINE)
        if any(
            re.fullmatch(re.sub(r"\{\w+\}", ".*", key), name) for key in keys
        ) and name in collection(stem):
            return collection(stem)[name]
    return None


def ready_families() -> Iterator[ReadyFamily]:
    """All ready families, collection after collection."""
    for stem in collection_names():
        yield from collection(stem).values()


def expand(tree: Any) -> Any:
    """A tree in which every mapping entry with `over` has become one entry per combination of its
    values.

    >>> expand({"sf{m}": {"over": {"m": [1, 2]}, "edges": "$m"}})
    {'sf1': {'edges': 1}, 'sf2': {'edges': 2}}
    """
    if isinstance(tree, list):
        return [expand(item) for item in tree]
    if not isinstance(tree, Mapping):
        return tree
    expanded: dict[str, Any] = {}
    for key, value in tree.items():
        axes = value.get("over") if isinstance(value, Mapping) else None
        for chosen in _combinations(axes or {}):
            body = {name: item for name, item in value.items() if name != "over"} if axes else value
            title = _filled(str(key), chosen)
            if title in expanded:
                raise ConfigError(f"{title!r} comes from two entries; give each its own name.")
            expanded[title] = expand(_replaced(body, chosen) if chosen else body)
    return expanded


def _combinations(axes: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Each choice of one value per axis, by name."""
    names = [tuple(axis.split(",")) for axis in axes]
    options = [
        [value if len(group) > 1 else [value] for value in values]
        for group, values in zip(names, axes.values(), strict=True)
    ]
    for values in itertools.product(*options):
        yield {
            name: item
            for group, value in zip(names, values, strict=True)
            for name, item in zip(group, value, strict=True)
        }


def _replaced(tree: Any, chosen: Mapping[str, Any]) -> Any:
    """`$axis` replaced by its value, and `{axis}` inside texts."""
    if isinstance(tree, Mapping):
        return {
            (_filled(key, chosen) if isinstance(key, str) else key): _replaced(value, chosen)
            for key, value in tree.items()
        }
    if isinstance(tree, list):
        return [_replaced(item, chosen) for item in tree]
    if isinstance(tree, str):
        return (
            chosen[tree[1:]]
            if tree.startswith("$") and tree[1:] in chosen
            else _filled(tree, chosen)
        )
    return tree


def _filled(text: str, chosen: Mapping[str, Any]) -> str:
    return (
        re.sub(
            r"\{(\w+)\}",
            lambda match: str(chosen[match[1]]) if match[1] in chosen else match[0],
            text,
        )
        if "{" in text
        else text
    )


def merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`old` with the leaves replaced by those of `new`; a value that names another kind or preset
    replaces the whole node."""
    result = dict(old)
    for key, value in new.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        same_kind = (
            both
            and "preset" not in value
            and value.get("kind", result[key].get("kind")) == result[key].get("kind")
        )
        result[key] = merge(result[key], value) if same_kind else value
    return result
