"""Reading a study file: its entries, with the line on which every key stands, and their sweeps.

name: sizes                       # default: the file's name
targets:
  - target: tasks
    name: small
    data: [wide, bcnp_linear_er40] # a list is a sweep: one target for each
    seed: 0..2                    # also [0, 1, 2] or {from: 0, to: 2}; both ends belong to it
    overrides: {n_tasks: 10, data.n_nodes: [5, 10]}
  - {target: tasks, name: mine, data: {table: table.csv, truth: graph.csv}} # relative to this file;
    also sklearn:diabetes
runs:                             # or `samplers:`
  - {run: [empty, boss], of: small}
  - {run: evaluate, of: small, posterior: [empty, boss]}
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from causal_meta.conf import yaml_1_2
from causal_meta.conf.artifacts import ArtifactConfig, RunConfig, TargetConfig
from causal_meta.conf.compose import compose
from causal_meta.conf.convert import from_plain, to_plain
from causal_meta.conf.registry import config_class, nearest
from causal_meta.conf.setting import ConfigError
from causal_meta.store import StoreError, check_name
from causal_meta.workflow.study_tables import is_table, table_target

MOST_CELLS = 100_000
_SECTIONS: dict[str, tuple[str, type[ArtifactConfig]]] = {
    "targets": ("target", TargetConfig),
    "runs": ("run", RunConfig),
}
_RANGE = re.compile(r"([0-9]+)\.\.([0-9]+)")


@dataclass(frozen=True)
class Place:
    """A line of a file, named in messages."""

    file: str
    line: int

    def error(self, sentence: str) -> ConfigError:
        """A `ConfigError` whose message names file and line."""
        return ConfigError(f"{self.file}, line {self.line}: {sentence}")


@dataclass(frozen=True)
class Entry:
    """An item of `targets` or `runs` for one kind, before its sweeps are expanded."""

    cls: type[ArtifactConfig]
    name: str
    suffix: str
    settings: dict[str, Any]
    overrides: list[dict[str, Any]]
    roles: dict[str, list[str]]
    places: dict[str, Place]

    @property
    def place(self) -> Place:
        """The line on which the item begins."""
        return self.places[""]

    def at(self, key: str) -> Place:
        """The line of one of its keys."""
        return self.places.get(key, self.place)


@dataclass(frozen=True)
class StudyFile:
    """A study file that was read: its name, its text and its entries."""

    name: str
    path: str
    text: str
    place: Place
    entries: list[Entry]


def read_study_file(path: str | Path, default_name: str = "") -> StudyFile:
    """Read a study file; without a `name` in it the study is called `default_name`, or as the file.
    Raises `ConfigError` in one sentence with the line."""
    file = Path(path)
    if not file.is_file():
        raise ConfigError(
            f"{path} is not a file; give a study file such as experiments/benchmark_small.yaml."
        )
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(
            f"{path} is not a text file; give a study file such as "
            "experiments/benchmark_small.yaml."
        ) from None
    tree, lines = yaml_1_2.load_with_lines(text, str(path))
    top = Place(str(path), 1)
    if not isinstance(tree, dict) or not tree.keys() & {"targets", "runs", "samplers"}:
        raise top.error(
            "a study file has the keys targets and runs, each with a list; for one target use "
            "causal-meta build --experiment FILE."
        )
    for key in tree:
        if key not in ("name", "targets", "runs", "samplers"):
            raise Place(str(path), lines[key,]).error(
                f"a study has no {key!r}{nearest(str(key), ['name', 'targets', 'runs'])}"
            )
    if "runs" in tree and "samplers" in tree:
        raise Place(str(path), lines["samplers",]).error(
            "samplers is an older word for runs; give one of them."
        )
    entries: list[Entry] = []
    for section in ("targets", "runs", "samplers"):
        listed = tree.get(section)
        if listed is None:
            continue
        if not isinstance(listed, list):
            raise Place(str(path), lines[section,]).error(
                f"{section} is {listed!r}; give a list, each item after a dash."
            )
        for i, item in enumerate(listed):
            places = {
                str(p[2]) if len(p) > 2 else "": Place(str(path), n)
                for p, n in lines.items()
                if p[:2] == (section, i) and len(p) <= 3
            }
            entries += _entries("runs" if section == "samplers" else section, item, places)
    if not entries:
        raise top.error("the study holds no targets and no runs; give one at least.")
    place = Place(str(path), lines.get(("name",), 1))
    name = tree.get("name", default_name or re.sub(r"[^A-Za-z0-9_-]", "_", file.stem))
    return StudyFile(_name(name, place), str(path), text, place, entries)


def _name(value: Any, place: Place) -> str:
    try:
        return check_name(value)
    except StoreError as error:
        raise place.error(str(error)) from None


def _entries(section: str, item: Any, places: dict[str, Place]) -> list[Entry]:
    """The entries of one item: one for each kind that it lists."""
    word, base = _SECTIONS[section]
    place = places[""]
    if not isinstance(item, dict) or word not in item:
        raise place.error(f"an item of {section} names no kind; begin it with '{word}: KIND'.")
    keys = {str(key): value for key, value in item.items()}
    kinds = keys.pop(word) if isinstance(keys[word], list) else [keys.pop(word)]
    if not kinds:
        raise places[word].error(f"{word} is an empty list; name a kind.")
    name = _name(keys.pop("name"), places["name"]) if "name" in keys else ""
    overrides = keys.pop("overrides", {})
    entries = []
    for kind in kinds:
        try:
            cls: Any = config_class(kind, base)
        except ConfigError as error:
            raise places[word].error(str(error)) from None
        roles, settings = _parts(cls, keys, places)
        suffix = f"-{kind}" if len(kinds) > 1 else ""
        entries.append(
            Entry(
                cls,
                name,
                suffix,
                settings,
                _overrides(overrides, places.get("overrides", place)),
                roles,
                places,
            )
        )
    return entries


def _parts(
    cls: type[ArtifactConfig], keys: dict[str, Any], places: dict[str, Place]
) -> tuple[dict[str, list[str]], dict[str, Any]]:
    """The inputs by role and the settings of an item, from its keys other than kind, name and
    overrides."""
    fields = {item.name for item in dataclasses.fields(cls)} - {"name"}
    known = [role.removesuffix("?") for role in cls.inputs]
    roles: dict[str, list[str]] = {}
    settings: dict[str, Any] = {}
    for key, value in keys.items():
        if key in known:
            roles[key] = _patterns(key, value, places[key])
        elif key in fields:
            settings[key] = value
        else:
            raise places[key].error(
                f"{cls.kind} has no setting or input "
                f"{key!r}{nearest(key, [*fields, *known, 'name', 'overrides'])}"
            )
    missing = [role for role in cls.inputs if not role.endswith("?") and role not in roles]
    if missing:
        raise places[""].error(
            f"{cls.kind} needs the input {missing[0]}; give '{missing[0]}: NAME', a kind or a "
            "pattern."
        )
    return roles, settings


def _patterns(key: str, value: Any, place: Place) -> list[str]:
    listed = value if isinstance(value, list) else [value]
    if not listed or not all(isinstance(item, str) and item for item in listed):
        raise place.error(
            f"{key} is {value!r}; give a name, a kind, a pattern such as 'small*', or a list of "
            "them."
        )
    return listed


def _overrides(value: Any, place: Place) -> list[dict[str, Any]]:
    """The mappings in a mapping or a list of mappings, with dotted keys."""
    listed = value if isinstance(value, list) else [value]
    if not listed or not all(isinstance(item, dict) for item in listed):
        raise place.error(
            f"overrides is {value!r}; give a mapping of settings with their values, or a list of "
            "such mappings."
        )
    return [dict(_flat(item)) for item in listed]


def _flat(tree: Mapping[Any, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Pairs of dotted key and value; a mapping that names its kind or preset is one value."""
    pairs: list[tuple[str, Any]] = []
    for key, value in tree.items():
        inner = isinstance(value, dict) and value and not value.keys() & {"kind", "preset"}
        pairs += _flat(value, f"{prefix}{key}.") if inner else [(f"{prefix}{key}", value)]
    return pairs


# ------------------------------------------------------------------------------------------- sweeps


@dataclass(frozen=True)
class Variant:
    """One configuration of an entry: the values that sweeps set in it, the suffix that they add to
    its name, and how to read its table if it is one."""

    config: ArtifactConfig
    swept: dict[str, Any]
    suffix: str
    table: dict[str, Any] | None = None


def variants(entry: Entry) -> list[Variant]:
    """Every configuration of an entry. Each choice of settings is composed once; seeds and
    overrides are then set in the result."""
    axes = {
        key: value if isinstance(value, list) else [value]
        for key, value in entry.settings.items()
        if key != "seed"
    }
    seeds = _seeds(entry.settings["seed"], entry.at("seed")) if "seed" in entry.settings else [0]
    for key, values in (axes | {"seed": seeds}).items():
        if not values:
            raise entry.at(key).error(f"{key} is an empty list; give a value.")
    if _count(axes) > MOST_CELLS:
        raise entry.place.error(f"the sweep has more than {MOST_CELLS} members; split the study.")
    members: list[Variant] = []
    for settings, word in _choices(axes):
        if is_table(entry.cls, settings.get("data")):
            members.append(_table(entry, settings["data"], word if len(axes["data"]) > 1 else ""))
            continue
        base = to_plain(_composed(entry, settings))
        several = {key: value for key, value in settings.items() if len(axes[key]) > 1}
        members += _overridden(entry, base, seeds, several, word, MOST_CELLS - len(members))
    return members


def _table(entry: Entry, data: dict[str, Any], word: str) -> Variant:
    """The task set of a table. It has no other settings, since file and reading options say what it
    is."""
    for key in (
        *entry.settings,
        *(f"overrides: {key}" for overrides in entry.overrides for key in overrides),
    ):
        if key != "data":
            place = entry.at("overrides" if key.startswith("overrides") else key)
            raise place.error(
                f"{key!r} cannot be given with a table; how it is read is written in data, so "
                "give the table its own item."
            )
    try:
        config, source = table_target(data, entry.place.file)
    except ValueError as error:
        raise entry.at("data").error(str(error)) from None
    return Variant(
        config, {"data": Path(data["table"]).name} if word else {}, f"{entry.suffix}{word}", source
    )


def _overridden(
    entry: Entry,
    base: dict[str, Any],
    seeds: list[Any],
    settings: dict[str, Any],
    before: str,
    most: int,
) -> list[Variant]:
    """The configurations made from one base: for every mapping of overrides, every choice of values
    from its lists, with every seed."""
    members: list[Variant] = []
    for n, overrides in enumerate(entry.overrides):
        axes = {"seed": seeds} | {
            key: value if isinstance(value, list) else [value] for key, value in overrides.items()
        }
        if len(members) + _count(axes) > most:
            raise entry.place.error(
                f"the sweep has more than {MOST_CELLS} members; split the study."
            )
        numbered = f"-{n}" if len(entry.overrides) > 1 else ""
        for changes, word in _choices(axes):
            several = settings | {
                key: value for key, value in changes.items() if len(axes[key]) > 1 or numbered
            }
            members.append(
                Variant(
                    _changed(entry, base, changes),
                    several,
                    f"{entry.suffix}{numbered}{before}{word}",
                )
            )
    return members


def _choices(axes: Mapping[str, list[Any]]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every choice of one value for each key, with the suffix that it adds to a name: a word for
    each key that has several values."""
    words = {key: [""] if len(values) == 1 else _words(key, values) for key, values in axes.items()}
    for numbers in itertools.product(*(range(len(values)) for values in axes.values())):
        chosen = dict(zip(axes, numbers, strict=True))
        yield (
            {key: axes[key][i] for key, i in chosen.items()},
            "".join(words[key][i] for key, i in chosen.items()),
        )


def _words(key: str, values: list[Any]) -> list[str]:
    """The suffix that each of several values adds to a name; equal ones are numbered."""
    words = [_word(key, value) for value in values]
    alike = len(set(words)) < len(words)
    return [f"-{word}_{i}" if alike else f"-{word}" for i, word in enumerate(words)]


def _count(axes: Mapping[str, list[Any]]) -> int:
    count = 1
    for values in axes.values():
        count *= len(values)
    return count


def _seeds(value: Any, place: Place) -> list[Any]:
    if (
        isinstance(value, dict)
        and value.keys() == {"from", "to"}
        and all(type(v) is int for v in value.values())
    ):
        low, high = value["from"], value["to"]
    elif isinstance(value, str) and (match := _RANGE.fullmatch(value)):
        low, high = int(match.group(1)), int(match.group(2))
    else:
        return value if isinstance(value, list) else [value]
    if not low <= high < low + MOST_CELLS:
        raise place.error(
            f"the seeds go from {low} to {high}; give a last seed that is not below the first, "
            f"and at most {MOST_CELLS} of them."
        )
    return list(range(low, high + 1))


def _word(key: str, value: Any) -> str:
    """The word for a swept value in a name."""
    if isinstance(value, dict):
        file = value.get("table")
        value = (
            Path(file).stem
            if isinstance(file, str)
            else value.get("preset")
            or value.get("kind")
            or "-".join(f"{name}{inner}" for name, inner in _flat(value))
        )
    text = str(value) if isinstance(value, str) else f"{key.rpartition('.')[2]}{value}"
    return re.sub(r"[^A-Za-z0-9_]+", "_", text)[:60].strip("_")


def _composed(entry: Entry, tree: dict[str, Any]) -> ArtifactConfig:
    """The base of an entry; an error gives the line of the setting that is wrong by itself."""
    try:
        return compose(entry.cls.kind, [], tree)
    except ConfigError as error:
        for key, value in tree.items():
            try:
                compose(entry.cls.kind, [], {key: value})
            except ConfigError as inner:
                raise entry.at(key).error(str(inner)) from None
        raise entry.place.error(str(error)) from None


def _changed(entry: Entry, base: dict[str, Any], changes: dict[str, Any]) -> ArtifactConfig:
    tree = base
    for key, value in sorted(changes.items(), key=lambda item: item[0].count(".")):
        tree = _put(tree, key.split("."), value)
    try:
        return from_plain(entry.cls, tree)
    except ConfigError as error:
        try:
            from_plain(entry.cls, _put(base, ["seed"], changes["seed"]))
        except ConfigError:
            raise entry.at("seed").error(str(error)) from None
        raise entry.at("overrides").error(str(error)) from None


def _put(tree: Any, path: list[str], value: Any) -> dict[str, Any]:
    """A copy of `tree` with `value` at `path`; what does not change is shared. A word along the
    path is the name of a preset."""
    inner = tree if isinstance(tree, dict) else {"preset": tree} if isinstance(tree, str) else {}
    return {
        **inner,
        path[0]: value if len(path) == 1 else _put(inner.get(path[0]), path[1:], value),
    }
