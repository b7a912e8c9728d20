"""YAML with the booleans and floats of version 1.2: `on` stays a word and `1e-4` is a number; no
Python objects are created."""

from __future__ import annotations

import re
from typing import Any

import yaml

from causal_meta.conf.setting import ConfigError

# the same loader, its scanner and parser in C where libyaml is there
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """SafeLoader with the core schema of YAML 1.2, which refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of a node."""
        known = set()
        for key, _ in node.value:
            if key.value in known and isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} occurs twice", key.start_mark
                )
            known.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in rules
        if tag
        not in (
            "tag:yaml.org,2002:bool",
            "tag:yaml.org,2002:float",
            "tag:yaml.org,2002:int",
            "tag:yaml.org,2002:timestamp",
        )
    ]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


def _int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node))


def _float(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    text = str(loader.construct_scalar(node)).lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


def load(text: str, where: str = "the YAML text") -> Any:
    """The plain tree that `text` holds; raises `ConfigError` with the line of a mistake."""
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{where}{line} is not valid YAML: {getattr(error, 'problem', error)}."
        ) from None


def load_with_lines(
    text: str, where: str = "the YAML text"
) -> tuple[Any, dict[tuple[str | int, ...], int]]:
    """The tree that `text` holds, and the line (from 1) on which each key and each item of a list
    stands, by its path.

    >>> load_with_lines("a: 1\\nb:\\n- c: 2\\n")[1]
    {(): 1, ('a',): 1, ('b',): 2, ('b', 0): 3, ('b', 0, 'c'): 3}
    """
    tree = load(text, where)
    node = _Loader(text).get_single_node()
    lines: dict[tuple[str | int, ...], int] = {(): 1}
    if node is not None:
        _collect_lines(node, (), lines, (), where)
    return tree, lines


def _collect_lines(
    node: yaml.Node,
    path: tuple[str | int, ...],
    lines: dict[tuple[str | int, ...], int],
    above: tuple[int, ...],
    where: str,
) -> None:
    if id(node) in above:
        raise ConfigError(
            f"{where}, line {node.start_mark.line + 1} holds an anchor that contains itself; "
            "write its content out."
        )
    children: list[tuple[str | int, yaml.Node, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        children = [(str(key.value), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [(i, item, item) for i, item in enumerate(node.value)]
    for name, marked, child in children:
        lines[(*path, name)] = marked.start_mark.line + 1
        _collect_lines(child, (*path, name), lines, (*above, id(node)), where)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes every word that one of the two versions would read as something else
    (`1e3`, `on`)."""


_Dumper.yaml_implicit_resolvers = {
    first: [
        *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
        *_Loader.yaml_implicit_resolvers.get(first, []),
    ]
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
}


def dump(tree: Any) -> str:
    """`tree` as YAML, keys in their order."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)  # a SafeDumper
