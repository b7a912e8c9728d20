"""The settings of a configuration in words, for the help of the command line: key, default, type,
bounds, unit and meaning of each, those of nested configurations included."""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from causal_meta.conf.convert import preset_names
from causal_meta.conf.ranges import FloatRange, IntRange
from causal_meta.conf.setting import Config, type_of

_UNBOUNDED = 2**62  # larger bounds are those of the number type and are not shown
_PLAIN = {int: "whole number", float: "number", bool: "true or false", str: "text"}


@dataclass(frozen=True)
class Line:
    """One setting: `word` is what to type with its default (`warmup=1000`), or the name of a group
    whose settings follow; `meaning` gives the allowed values and the effect."""

    word: str
    meaning: str


def summary(cls: type[Config]) -> str:
    """The documentation of a configuration class, a paragraph per line."""
    paragraphs = re.split(r"\n\s*\n", cls.__doc__ or "")
    return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def setting_lines(config: Config, prefix: str = "") -> Iterator[Line]:
    """A line for each setting of `config` and of the configurations in it, with the values that it
    holds as defaults."""
    for item in dataclasses.fields(config):
        value, declared = getattr(config, item.name), type_of(type(config), item.name)
        key, help = f"{prefix}{item.name}", str(item.metadata["help"])
        if isinstance(value, IntRange | FloatRange):
            number = _PLAIN[int if isinstance(value, IntRange) else float]
            yield Line(f"{key}={_range(value)}", _joined(f"{number}, or {{low: …, high: …}}", help))
        elif get_origin(declared) is dict:
            yield from _mapping(key, value, declared, help)
        elif (base := _config_class(declared)) is None:
            meaning = _joined(_allowed(declared, item.metadata), help)
            outside = "" if item.metadata["identity"] else " (no part of the id)"
            yield Line(f"{key}={_plain(value)}", meaning + outside)
        else:
            yield from _nested(key, value, base, help)


def _nested(key: str, value: Config | None, base: type[Config], help: str) -> Iterator[Line]:
    """The choice of a configuration, and the settings of the one that is the default."""
    names = preset_names(base)
    about = help or ("" if value is None else summary(type(value)).splitlines()[0])
    if value is not None and names == [value.kind]:
        yield Line(f"{key}.…", about)
    else:
        more = [*names, "a family of causal-meta data ls"] if "family" in names else names
        choices = _listed([*(["null"] if value is None else []), *more])
        yield Line(f"{key}={'null' if value is None else value.kind}", _joined(choices, about))
    if value is not None:
        yield from setting_lines(value, f"{key}.")


def _mapping(key: str, value: Mapping[str, Any], declared: Any, help: str) -> Iterator[Line]:
    """A mapping from names to configurations or numbers, and the settings of its default parts."""
    part = get_args(declared)[1]
    base = _config_class(part)
    kind = _allowed(part, {}) if base is None else base.kind.replace("_", " ")
    yield Line(f"{key}.NAME=…", _joined(f"by name: {kind}", help))
    for name, inner in value.items():
        if isinstance(inner, Config):
            yield from setting_lines(inner, f"{key}.{name}.")


def _config_class(declared: Any) -> type[Config] | None:
    """The configuration class in an annotation, possibly optional."""
    for option in (declared, *get_args(declared)):
        if isinstance(option, type) and issubclass(option, Config):
            return option
    return None


def _allowed(declared: Any, bounds: Mapping[str, Any]) -> str:
    """Type, bounds and unit of a plain value.

    >>> _allowed(int, {"low": 1, "high": 5, "unit": "steps"})
    'whole number from 1 to 5 (steps)'
    """
    if types.NoneType in get_args(declared):
        return f"null or {_allowed(_without_none(declared), bounds)}"
    if get_origin(declared) is Literal:
        return _listed([str(word) for word in get_args(declared)])
    if get_origin(declared) is tuple:
        return f"list, each a {_allowed(get_args(declared)[0], bounds)}"
    low, high, above, unit = (bounds.get(name) for name in ("low", "high", "above", "unit"))
    words = _PLAIN.get(declared, str(getattr(declared, "__name__", declared)))
    if above is not None:
        words += f" above {above:g}"
    elif low is not None:
        words += f" from {low:g}"
    if high is not None and high < _UNBOUNDED:
        words += f" to {high:g}" if low is not None else f", at most {high:g}"
    return f"{words} ({unit})" if unit else words


def _without_none(declared: Any) -> Any:
    """The type in an optional annotation other than None."""
    return next(option for option in get_args(declared) if option is not types.NoneType)


def _plain(value: Any) -> str:
    """A default as it would be typed."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, tuple):
        return f"[{','.join(_plain(item) for item in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value) or "''"


def _range(value: IntRange | FloatRange) -> str:
    low, high = _plain(value.low), _plain(value.high)
    return low if value.is_fixed else f"{{low: {low}, high: {high}}}"


def _listed(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _joined(allowed: str, help: str) -> str:
    return f"{allowed}: {help}" if help else allowed
