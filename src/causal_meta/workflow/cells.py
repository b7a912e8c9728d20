"""From the entries of a study file to its cells: one artifact each, with its id, which follows from
the configuration and the ids of its inputs.

A name or pattern in a role (`of: small*`) means entries of this file with such a kind or name and,
only if there are none, artifacts of the store. A pattern takes those that the role accepts. A run
in a role other than `of` is combined only with the target that it was computed on.
"""

from __future__ import annotations

import fnmatch
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from causal_meta.conf.artifacts import ArtifactConfig, TargetConfig
from causal_meta.conf.data import TableConfig
from causal_meta.conf.registry import by_tag, nearest
from causal_meta.conf.setting import ConfigError
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.runners.inference.named_models import DEFAULT, find_model
from causal_meta.store import Artifact, Key, Store, StoreError, key_of
from causal_meta.store.catalog import is_study
from causal_meta.workflow.study_file import (
    MOST_CELLS,
    Entry,
    Place,
    StudyFile,
    Variant,
    read_study_file,
    variants,
)


@dataclass(frozen=True)
class Cell:
    """One artifact of a study, built or not: its key, its configuration, the ids of its inputs by
    role, and for a table how to read it."""

    key: Key
    config: ArtifactConfig
    inputs: dict[str, str]
    name: str
    place: Place
    swept: dict[str, Any]
    table: dict[str, Any] | None = None

    @property
    def id(self) -> str:
        """The id of the artifact."""
        return self.key.id

    @property
    def kind(self) -> str:
        """The kind of the artifact."""
        return self.config.kind

    @property
    def is_target(self) -> bool:
        """Whether it is a target (and not a run)."""
        return isinstance(self.config, TargetConfig)

    @property
    def label(self) -> str:
        """Its kind and its name or id, for messages."""
        return f"{self.kind} {self.name or self.id}"

    @property
    def path(self) -> str:
        """Its folder, relative to the store."""
        return f"targets/{self.id}" if self.is_target else f"targets/{self.inputs['of']}/{self.id}"


@dataclass(frozen=True)
class Study:
    """A study: its cells, inputs before the cells that need them; and by id the artifacts of the
    store that are inputs (`others`) and the `words` by which the file names them.

    `force`: names in the file are moved from other artifacts that have them.
    """

    name: str
    text: str
    cells: list[Cell]
    others: dict[str, Artifact]
    words: dict[str, str]
    force: bool = False

    @property
    def by_id(self) -> dict[str, Cell]:
        """The cells by id."""
        return {cell.id: cell for cell in self.cells}


def load_study(
    path: str | Path, store: Store, default_name: str = "", *, force: bool = False
) -> Study:
    """Read and check a study file; nothing is built or written. Raises `ConfigError` in one
    sentence with the line.

    `force`: names that other artifacts in the store have will be moved from them.
    """
    return study_of(read_study_file(path, default_name), store, force=force)


def study_of(file: StudyFile, store: Store, *, force: bool = False) -> Study:
    """The study of a file that was read; raises `ConfigError` with the line."""
    if file.name in store.names():
        raise file.place.error(
            f"the study is called {file.name!r}, a name that an artifact has already; give the "
            "study another one ('name: …')."
        )
    expansion = _Expansion(file.entries, store)
    for index in range(len(file.entries)):
        expansion.cells(index)
    _check_names(file, expansion.order, store, force)
    return Study(file.name, file.text, expansion.order, expansion.others, expansion.words, force)


def _check_names(file: StudyFile, cells: list[Cell], store: Store, force: bool) -> None:
    taken = store.names()
    places: dict[str, Place] = {}
    for cell in cells:
        if not cell.name:
            continue
        if cell.name == file.name:
            raise cell.place.error(
                f"{cell.name!r} is the name of the study already; choose another name."
            )
        if cell.name in places:
            raise cell.place.error(
                f"the name {cell.name!r} is that of line {places[cell.name].line} already; choose "
                "another name."
            )
        if taken.get(cell.name, cell.id) != cell.id and not force:
            raise cell.place.error(
                f"the name {cell.name!r} means {taken[cell.name]} in the store already; choose "
                "another one, or give --force to take it."
            )
        if cell.name not in taken and is_study(store.root, cell.name):
            raise cell.place.error(
                f"{cell.name!r} is the name of another study in the store; choose another name."
            )
        places[cell.name] = cell.place


@dataclass(frozen=True)
class _Node:
    """A possible input: a cell of this file or an artifact of the store."""

    id: str
    kind: str
    inputs: dict[str, str]
    label: str

    @property
    def is_target(self) -> bool:
        return self.id.startswith("tgt_")


@dataclass
class _Expansion:
    """Makes the cells of a study file entry by entry; entries that another one refers to come
    first."""

    entries: list[Entry]
    store: Store
    order: list[Cell] = field(default_factory=list)
    others: dict[str, Artifact] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    done: dict[int, list[Cell]] = field(default_factory=dict)
    in_progress: list[int] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)

    def cells(self, index: int) -> list[Cell]:
        """The cells of an entry; the entries that it refers to are expanded first."""
        if index in self.done:
            return self.done[index]
        entry = self.entries[index]
        if index in self.in_progress:
            cycle = self.in_progress[self.in_progress.index(index) :]
            lines = ", ".join(str(self.entries[i].place.line) for i in cycle)
            raise entry.place.error(
                f"the inputs form a cycle through line{'s' * (len(cycle) > 1)} {lines}; remove "
                "one of them."
            )
        self.in_progress.append(index)
        combinations = self._inputs(index, entry)
        configurations = variants(entry)
        made = [
            self._cell(entry, variant, nodes)
            for nodes in combinations
            for variant in configurations
        ]
        for cell in made:
            if cell.id in self.places:
                raise cell.place.error(
                    f"{cell.label} is {cell.id}, the same as that of line "
                    f"{self.places[cell.id].line}; remove one or make them differ."
                )
            self.places[cell.id] = cell.place
        if len(self.order) + len(made) > MOST_CELLS:
            raise entry.place.error(f"the study has more than {MOST_CELLS} members; split it.")
        self.in_progress.pop()
        self.order += made
        self.done[index] = made
        return made

    def _cell(self, entry: Entry, variant: Variant, nodes: dict[str, tuple[_Node, bool]]) -> Cell:
        config = variant.config
        inputs = {role: node.id for role, (node, _) in nodes.items()}
        key = key_of(config, inputs)
        if (
            variant.table is None
            and isinstance(config, TasksConfig)
            and isinstance(config.data, TableConfig)
            and self.store.folder_of(key.id) is None
        ):
            raise entry.at("data").error(
                "the digest of a table does not contain its values; give its file ('data: {table: "
                "FILE}')."
            )
        among = "".join(f"-{node.label}" for node, several in nodes.values() if several)
        name = f"{entry.name}{variant.suffix}{among}" if entry.name else ""
        return Cell(key, config, inputs, name, entry.place, variant.swept, variant.table)

    # --------------------------------------------------------------------------------------- inputs

    def _inputs(self, index: int, entry: Entry) -> list[dict[str, tuple[_Node, bool]]]:
        """Every combination of inputs by role that fits together, each input with whether its role
        had several."""
        choices = {role: self._choices(index, entry, role) for role in entry.roles}
        combinations = []
        for nodes in itertools.product(*choices.values()):
            chosen = dict(zip(choices, nodes, strict=True))
            if _fit_together(chosen):
                combinations.append(
                    {role: (node, len(choices[role]) > 1) for role, node in chosen.items()}
                )
        if not combinations:
            raise entry.place.error(
                f"none of the runs that {entry.cls.kind} names was computed on a target that "
                "'of:' names; let them go together."
            )
        for nodes_by_role in combinations:
            try:
                entry.cls.check_inputs(
                    {role: node.kind for role, (node, _) in nodes_by_role.items()}
                )
            except ConfigError as error:
                raise entry.place.error(str(error)) from None
        return combinations

    def _choices(self, index: int, entry: Entry, role: str) -> list[_Node]:
        nodes_by_id: dict[str, _Node] = {}
        for pattern in entry.roles[role]:
            nodes = self._in_file(index, entry, role, pattern) or self._in_store(
                entry, role, pattern
            )
            nodes_by_id |= {node.id: node for node in nodes}
        return list(nodes_by_id.values())

    def _in_file(self, index: int, entry: Entry, role: str, pattern: str) -> list[_Node]:
        """The cells of this file that match a name, kind or pattern and that the role accepts.
        Raises `ConfigError` if a name or kind means only cells that the role does not accept."""
        needs_target = role == "of" or issubclass(entry.cls, TargetConfig)
        candidates = [
            i
            for i, other in enumerate(self.entries)
            if _may_match(pattern, other)
            and not (_is_glob(pattern) and i == index)
            and not (needs_target and not issubclass(other.cls, TargetConfig))
        ]
        fitting = [i for i in candidates if entry.cls.accepts(role, self.entries[i].cls)]
        nodes = [
            _Node(cell.id, cell.kind, cell.inputs, cell.name or cell.id[-8:])
            for i in fitting
            for cell in self._matching(i, pattern)
        ]
        if not nodes and not _is_glob(pattern):
            misfit = next(
                (
                    cell
                    for i in candidates
                    if i not in fitting
                    for cell in self._matching(i, pattern)
                ),
                None,
            )
            if misfit is not None:
                raise entry.at(role).error(
                    f"{role} of {entry.cls.kind} cannot be "
                    f"{misfit.label}{_allowed_kinds(entry, role)}"
                )
        return nodes

    def _matching(self, index: int, pattern: str) -> list[Cell]:
        """The cells of an entry that a pattern matches by kind, name, or name of the entry."""
        name = self.entries[index].name
        return [
            cell
            for cell in self.cells(index)
            if any(
                fnmatch.fnmatchcase(word, pattern) for word in (cell.kind, name, cell.name) if word
            )
        ]

    def _in_store(self, entry: Entry, role: str, pattern: str) -> list[_Node]:
        """The artifacts of the store that match a name, id or pattern and that the role accepts;
        `default` is the model inside the package. Raises `ConfigError` if there are none."""
        names = self.store.names()
        tokens = (
            sorted(name for name in names if fnmatch.fnmatchcase(name, pattern))
            if _is_glob(pattern)
            else [pattern]
        )
        nodes = []
        for token in tokens:
            try:
                artifact = (
                    find_model(token, self.store) if token == DEFAULT else self.store.find(token)
                )
            except StoreError as error:
                here = sorted(
                    {
                        word
                        for other in self.entries
                        for word in (other.cls.kind, other.name)
                        if word
                    }
                )
                known = token in names or token == DEFAULT or token.startswith(("tgt_", "run_"))
                sentence = (
                    str(error)
                    if known
                    else "nothing here or in the store is called "
                    f"{token!r}{nearest(token, [*here, *names, DEFAULT])}"
                )
                raise entry.at(role).error(sentence) from None
            cls: Any = by_tag().get(artifact.kind, ArtifactConfig)
            fits = entry.cls.accepts(role, cls) and (artifact.is_target or role != "of")
            if fits:
                self.others[artifact.id], self.words[artifact.id] = artifact, token
                nodes.append(
                    _Node(
                        artifact.id,
                        artifact.kind,
                        artifact.inputs,
                        token.replace("tgt_", "").replace("run_", ""),
                    )
                )
            elif not _is_glob(pattern):
                raise entry.at(role).error(
                    f"{role} of {entry.cls.kind} cannot be {artifact.kind} "
                    f"{token}{_allowed_kinds(entry, role)}"
                )
        if not nodes:
            raise entry.at(role).error(
                f"the pattern {pattern!r} matches nothing here or in the store that can be the "
                f"{role!r} of {entry.cls.kind}."
            )
        return nodes


def _fit_together(nodes: dict[str, _Node]) -> bool:
    """Whether the runs in further roles were computed on the target in the role `of`."""
    of = nodes.get("of")
    return of is None or all(
        node.is_target or of.id in node.inputs.values() for node in nodes.values()
    )


def _allowed_kinds(entry: Entry, role: str) -> str:
    kinds = sorted(
        tag
        for tag, cls in by_tag().items()
        if issubclass(cls, ArtifactConfig) and entry.cls.accepts(role, cls)
    )
    return f"; it can be of kind {', '.join(kinds)}."


def _is_glob(pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[")


def _may_match(pattern: str, other: Entry) -> bool:
    """Whether a pattern could match a cell of an entry that is not expanded yet: its kind, its
    name, or a longer name that begins with it."""
    if fnmatch.fnmatchcase(other.cls.kind, pattern):
        return True
    if not other.name:
        return False
    start = next((pattern[:i] for i, sign in enumerate(pattern) if sign in "*?["), pattern)
    longer = start.startswith(f"{other.name}-") or (
        start != pattern and f"{other.name}-".startswith(start)
    )
    return fnmatch.fnmatchcase(other.name, pattern) or longer
