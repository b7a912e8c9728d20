"""One configuration value: its bounds, its unit, and whether it is part of an artifact's identity.

A configuration is a frozen, keyword-only dataclass derived from `Config`. Every field is made by
`setting(...)`, which holds the allowed values and whether it changes the result. Validation happens
on construction, so that every existing object is valid.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

_MISSING = dataclasses.MISSING


class ConfigError(ValueError):
    """An invalid configuration value: one sentence saying what the value was, what is
    allowed and what to do."""


def setting(
    default: Any = _MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    unit: str = "",
    identity: bool = True,
    added: bool = False,
    help: str = "",
) -> Any:
    """A configuration field.

    `low` and `high` are inclusive bounds, `above` an exclusive lower one; they hold for every
    number in a tuple. `identity=False` marks a value that cannot change the result (device,
    workers, a name): it is recorded, but is not part of the artifact's id. `added=True` marks a
    field added after artifacts of its class existed: it is part of the id only where it differs
    from its default, which must be the earlier behaviour, so that earlier ids stay the same.
    """
    metadata = {
        "low": low,
        "high": high,
        "above": above,
        "unit": unit,
        "identity": identity,
        "added": added,
        "help": help,
    }
    if isinstance(default, dict | list):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of all configurations. `kind` is the tag by which files and identities name the
    class."""

    kind: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Check type and bounds of every field; raises `ConfigError`."""
        for item in dataclasses.fields(self):
            value = check_type(
                getattr(self, item.name),
                type_of(type(self), item.name),
                f"{self._title()}.{item.name}",
            )
            object.__setattr__(self, item.name, value)
            _check_bounds(f"{self._title()}.{item.name}", value, item.metadata)
        self.validate()

    def validate(self) -> None:
        """Check relations between fields (overridden where there are any). Raises `ConfigError`."""

    def _title(self) -> str:
        return self.kind or type(self).__name__


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def type_of(cls: type, name: str) -> Any:
    """The annotated type of a configuration's field, resolved."""
    return _hints(cls)[name]


def check_type(value: Any, declared: Any, where: str) -> Any:
    """Return `value` as `declared` (an int widens to float, a list becomes a tuple), or raise
    `ConfigError`."""
    origin, args = get_origin(declared), get_args(declared)
    if declared is Any:
        return value
    if origin in (Union, types.UnionType):
        for option in args:
            try:
                return check_type(value, option, where)
            except ConfigError:
                continue
        raise _type_error(value, declared, where)
    if origin is Literal:
        if value in args and type(value) in {type(arg) for arg in args}:
            return value
        raise ConfigError(f"{where} is {value!r}; allowed are {', '.join(repr(a) for a in args)}.")
    if origin is tuple:
        if not isinstance(value, tuple | list):
            raise _type_error(value, declared, where)
        return tuple(check_type(item, args[0], f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _type_error(value, declared, where)
        # sorted, so that equal mappings are equal mixtures in whatever order they were written
        return {
            check_type(k, args[0], where): check_type(v, args[1], f"{where}.{k}")
            for k, v in sorted(value.items())
        }
    if declared in (None, type(None)):
        if value is None:
            return None
        raise _type_error(value, declared, where)
    if declared is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, bool) and declared is not bool:
        raise _type_error(value, declared, where)
    if not isinstance(value, declared):
        raise _type_error(value, declared, where)
    return value


def _type_error(value: Any, declared: Any, where: str) -> ConfigError:
    name = getattr(declared, "__name__", str(declared)).replace("NoneType", "nothing")
    return ConfigError(
        f"{where} is {value!r}, a {type(value).__name__}; give a value of type {name}."
    )


def _check_bounds(where: str, value: Any, bounds: Mapping[str, Any]) -> None:
    if isinstance(value, tuple):
        for item in value:
            _check_bounds(where, item, bounds)
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    low, high, above, unit = (bounds.get(key) for key in ("low", "high", "above", "unit"))
    wrong = (
        not math.isfinite(value)
        or (low is not None and value < low)
        or (high is not None and value > high)
        or (above is not None and value <= above)
    )
    if wrong:
        lower = (
            f"above {above}"
            if above is not None
            else f"at least {low}"
            if low is not None
            else "finite"
        )
        allowed = lower if high is None else f"{lower} and at most {high}"
        raise ConfigError(f"{where} is {value}; it must be {allowed}{f' {unit}' if unit else ''}.")
