"""Between configuration objects and plain trees (dicts, lists, numbers, strings) with a `kind` tag
at every configuration.

The plain tree is what YAML holds, what Hydra composes and what an identity is computed from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import types
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin

from causal_meta.conf import ready
from causal_meta.conf.registry import config_class, nearest, tags
from causal_meta.conf.setting import Config, ConfigError, type_of

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

C = TypeVar("C", bound=Config)

# the laws of single numbers, which a bare number may replace: its types, and their name
_NUMBERS: dict[str, tuple[tuple[type, ...], str]] = {
    "int_range": ((int,), "a whole number"),
    "float_range": ((int, float), "a number"),
}


def to_plain(config: Any, *, identity_only: bool = False) -> Any:
    """The tree of a configuration, defaults included, a `kind` at every node; without the fields
    outside the identity if `identity`."""
    if isinstance(config, Config):
        names = (
            f for f in dataclasses.fields(config) if not identity_only or _is_identity(config, f)
        )
        return {"kind": config.kind} | {
            f.name: to_plain(getattr(config, f.name), identity_only=identity_only) for f in names
        }
    if isinstance(config, Mapping):
        return {key: to_plain(value, identity_only=identity_only) for key, value in config.items()}
    if isinstance(config, tuple | list):
        return [to_plain(value, identity_only=identity_only) for value in config]
    return config


def _is_identity(config: Config, field: dataclasses.Field[Any]) -> bool:
    return bool(field.metadata["identity"]) and not (
        field.metadata["added"] and getattr(config, field.name) == default_of(field)
    )


def default_of(field: dataclasses.Field[Any]) -> Any:
    """The default of a configuration's field; `dataclasses.MISSING` where it must be given."""
    return (
        field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    )


def from_plain(base: type[C], tree: Any, where: str = "") -> C:
    """The configuration that `tree` describes; the inverse of `to_plain`, with absent keys left at
    their defaults.

    `base` is the expected class, or the base class that the tree's `kind` must derive from. A word
    stands for the preset of that name, and a key `preset` for a preset that the other keys differ
    from. A bare number becomes a fixed `IntRange` or `FloatRange`. Raises `ConfigError`: for an
    unknown key or tag it suggests the nearest valid one.
    """
    if isinstance(tree, Config):
        tree = to_plain(tree)
    if base.kind in _NUMBERS and not isinstance(tree, Mapping):
        numbers, words = _NUMBERS[base.kind]
        if not isinstance(tree, numbers) or isinstance(tree, bool):
            raise ConfigError(f"{where or base.kind} is {tree!r}; give {words}, or low and high.")
        tree = {"low": tree, "high": tree}
    if isinstance(tree, str):
        tree = preset(base, tree)
    elif isinstance(tree, Mapping) and "preset" in tree:
        tree = ready.merge(
            preset(base, str(tree["preset"])),
            {key: value for key, value in tree.items() if key != "preset"},
        )
    if not isinstance(tree, Mapping):
        raise ConfigError(
            f"{where or base.kind} is {tree!r}; give a mapping of settings with their values."
        )
    tree = {str(key): value for key, value in tree.items()}
    tag = tree.pop("kind", base.kind)
    cls = config_class(tag, base)
    where = where or tag
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in tree:
        if key not in fields:
            raise ConfigError(f"{where} has no setting {key!r}{nearest(key, fields)}")
    values = {
        key: _value(type_of(cls, key), value, f"{where}.{key}") for key, value in tree.items()
    }
    missing = [
        n
        for n, f in fields.items()
        if n not in values
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}; give a value.")
    return cls(**values)  # type: ignore[return-value]


def _value(declared: Any, value: Any, where: str) -> Any:
    """Turn the trees inside `value` into configurations where the annotation requires them; plain
    values are returned unchanged."""
    origin, args = get_origin(declared), get_args(declared)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        inner = [
            option for option in args if isinstance(option, type) and issubclass(option, Config)
        ]
        return _value(inner[0], value, where) if inner else value
    if origin is dict and isinstance(value, Mapping):
        return {str(key): _value(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(declared, type) and issubclass(declared, Config):
        return from_plain(declared, value, where)
    return value


class Choices(Mapping[str, dict[str, Any]]):
    """Ready configurations of class `base` by name, created on access: every registered tag with
    its defaults, the files of `conf/presets` and its folders of such a kind, and, for a family, the
    ready families. Presets of different kinds may share a name."""

    def __init__(self, base: type[Config]) -> None:
        self.base = base

    def __getitem__(self, name: str) -> dict[str, Any]:
        tree = _preset(self.base, name)
        if tree is None:
            raise KeyError(name)
        return tree

    def __iter__(self) -> Iterator[str]:
        yield from preset_names(self.base)
        if "family" in tags(self.base):
            yield from (family.name for family in ready.ready_families())

    def __len__(self) -> int:
        return sum(1 for _ in self)


def preset_names(base: type[Config]) -> list[str]:
    """The names for a configuration of class `base`, except the ready families: each registered tag
    with complete defaults, and the files of `conf/presets`."""
    allowed = tags(base)
    files = _preset_texts().items()
    return [
        *(tag for tag in allowed if _has_defaults(config_class(tag))),
        *(name for name, texts in files if any(kind in allowed for kind, _ in texts)),
    ]


def _has_defaults(cls: type[Config]) -> bool:
    """Whether a class can be made without a setting (a mixture and a table cannot)."""
    try:
        cls()
    except (ConfigError, TypeError):
        return False
    return True


def presets(base: type[Config]) -> Choices:
    """Ready configurations of class `base` by name."""
    return Choices(base)


def preset(base: type[Config], name: str) -> dict[str, Any]:
    """The plain tree of one preset; raises `ConfigError` naming the nearest."""
    tree = _preset(base, name)
    if tree is None:
        base_name = base.__name__.removesuffix("Config").lower()
        raise ConfigError(f"There is no {base_name} called {name!r}{nearest(name, presets(base))}")
    return tree


def _preset(base: type[Config], name: str) -> dict[str, Any] | None:
    allowed = tags(base)
    kind = next((kind for kind, _ in _preset_texts().get(name, ()) if kind in allowed), None)
    if kind is not None:
        tree = _preset_tree(name, kind)
        return to_plain(from_plain(base, tree, f"preset {name}"))  # type: ignore[no-any-return]
    if name in allowed:
        # a class without complete defaults (a mixture, a table) has no bare preset
        with contextlib.suppress(ConfigError):
            return to_plain(from_plain(base, {"kind": name}))  # type: ignore[no-any-return]
        return None
    family = ready.find(name) if "family" in allowed else None
    return None if family is None else to_plain(from_plain(base, family.tree, f"family {name}"))


@functools.cache
def _preset_texts() -> dict[str, list[tuple[str, str]]]:
    """The kind and the text of the files called NAME.yaml, by name: `conf/presets` first, then its
    folders. A file begins with its kind."""
    top = resources.files("causal_meta.conf") / "presets"
    folders = [top, *sorted((item for item in top.iterdir() if item.is_dir()), key=_name)]
    texts: dict[str, list[tuple[str, str]]] = {}
    for folder in folders:
        for file in sorted(folder.iterdir(), key=_name):
            if file.name.endswith(".yaml"):
                text = file.read_text("utf-8")
                kind = re.search(r"^kind: *(\w+)", text, re.MULTILINE)
                if kind is None:
                    raise ConfigError(f"The preset {file.name} names no kind; add kind: … to it.")
                texts.setdefault(file.name.removesuffix(".yaml"), []).append((kind[1], text))
    return texts


def _name(item: Traversable) -> str:
    return item.name


@functools.cache
def _preset_tree(name: str, kind: str) -> dict[str, Any]:
    """The tree of the preset of this name and kind."""
    from causal_meta.conf import yaml_1_2

    text = next(text for tag, text in _preset_texts()[name] if tag == kind)
    tree: dict[str, Any] = yaml_1_2.load(text, f"{name}.yaml")
    return tree


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and value of every leaf of a plain tree, for columns and diffs."""
    if isinstance(tree, Mapping) and tree:
        for key, value in tree.items():
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


def difference(old: Any, new: Any) -> list[str]:
    """One line per leaf in which two plain trees differ."""
    a, b = dict(leaves(old)), dict(leaves(new))
    return [
        f"{key}: {a.get(key, 'absent')!r} -> {b.get(key, 'absent')!r}"
        for key in sorted(a | b)
        if key not in a or key not in b or a[key] != b[key]
    ]
