"""SQL queries about a store: its manifests as the tables `targets` and `runs`, queried with DuckDB.

The tables are copied into memory; then the database is locked: a query reads only them, neither
files nor the network nor variables of this process, and changes nothing.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from causal_meta.conf.convert import leaves
from causal_meta.conf.setting import ConfigError
from causal_meta.store import catalog
from causal_meta.store.artifact import Artifact
from causal_meta.store.key import StoreError, identity_part
from causal_meta.store.shelf import Shelf

_SHARED = (
    "name",
    "kind",
    "model",
    "data",
    "seed",
    "revision",
    "created_at",
    "walltime_sec",
    "cpu_sec",
    "code_sha",
    "path",
)
TARGET_COLUMNS = ("target_id", *_SHARED)
RUN_COLUMNS = ("run_id", "target_id", "sampler", "inputs", *_SHARED)
RESULTS = ("analysis.json", "metrics.json")
_SHUT = (
    "autoinstall_known_extensions",
    "autoload_known_extensions",
    "python_enable_replacements",
    "enable_external_access",
)


@dataclass(frozen=True)
class Answer:
    """The columns and rows of a query's result."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def ask(store: Shelf, question: str) -> Answer:
    """The result of one SQL `select`.

    `targets` and `runs` have the columns `TARGET_COLUMNS` and `RUN_COLUMNS` (created_at in seconds
    since 1970; model, data of a run are those of its target; inputs is JSON, role to id) and, by
    their dotted paths in double quotes, every setting as `config.…` (`hyperparams.…` too for a
    run), dims and metrics as `dims.…` and `metrics.…`, and the numbers and words of a run's
    `analysis.json` or `metrics.json` as `result.…` (lists are left out). Raises `StoreError` for
    anything else than one select, an error in it, or if DuckDB is not installed.
    """
    try:
        import duckdb
    except ModuleNotFoundError:
        raise StoreError(
            "store query needs the Python package duckdb; install it with pip install "
            "'causal-meta[workflow]'."
        ) from None
    targets, runs = records(store)
    with contextlib.closing(duckdb.connect(":memory:")) as database:
        _fill(database, "targets", TARGET_COLUMNS, targets)
        _fill(database, "runs", RUN_COLUMNS, runs)
        for setting in _SHUT:
            database.execute(f"set {setting}=false")
        database.execute("set lock_configuration=true")
        try:
            statements = database.extract_statements(question)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise StoreError(
                    "store query takes one query; write a single select … from targets or runs."
                )
            result = database.execute(statements[0])
            columns = tuple(column[0] for column in result.description or ())
            return Answer(columns, result.fetchall())
        except duckdb.Error as error:
            raise StoreError(f"The query failed: {_first(str(error))}") from None


def _first(text: str) -> str:
    """DuckDB's message on one line, without the marked position and the suggestions, which name
    internal tables."""
    text = " ".join(text.partition("\n\nLINE")[0].partition("\nDid you mean")[0].split())
    tables = " The tables are targets and runs." if "Table with name" in text else ""
    return (text if text.endswith((".", "!")) else f"{text}.") + tables


def records(store: Shelf) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A record per target and per run, from the files in their folders. Unreadable ones are left
    out (`verify` names them)."""
    names: dict[str, list[str]] = {}
    for name, artifact_id in store.names().items():
        names.setdefault(artifact_id, []).append(name)
    targets, runs = [], []
    for artifact in store.artifacts():
        shared = {
            "name": ", ".join(names.get(artifact.id, [])) or None,
            "path": artifact.folder.relative_to(store.root).as_posix(),
        }
        if artifact.is_target:
            line = catalog.target_line(artifact)
            settings = _under("config", _stored(artifact))
            targets.append(line | _common(artifact) | shared | settings)
        else:
            # artifacts() puts a run after its target
            runs.append({"model": line["model"], "data": line["data"]} | _run(artifact) | shared)
    return targets, runs


def _run(artifact: Artifact) -> dict[str, Any]:
    settings = _stored(artifact)
    results = {
        key: value
        for file in RESULTS
        for key, value in _under("result", _json(artifact.folder / file)).items()
    }
    return {
        "run_id": artifact.id,
        "target_id": artifact.folder.parent.name,
        "sampler": artifact.kind,
        "kind": artifact.kind,
        "inputs": json.dumps(artifact.inputs),
        **_common(artifact),
        **_under("config", settings),
        **_under("hyperparams", settings),
        **results,
    }


def _common(artifact: Artifact) -> dict[str, Any]:
    meta = artifact.meta
    picked = {
        key: meta.get(key)
        for key in ("seed", "revision", "created_at", "walltime_sec", "cpu_sec", "code_sha")
    }
    return picked | _under("dims", meta.get("dims")) | _under("metrics", meta.get("metrics"))


def _stored(artifact: Artifact) -> Any:
    try:
        tree = identity_part(artifact.stored_tree())
    except (StoreError, ConfigError):
        return {}
    return (
        {key: value for key, value in tree.items() if key != "kind"}
        if isinstance(tree, Mapping)
        else {}
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}


def _under(top: str, tree: Any) -> dict[str, Any]:
    entries = leaves(tree) if isinstance(tree, Mapping) else ()
    return {
        f"{top}.{key}": value
        for key, value in entries
        if key and not isinstance(value, list | Mapping)
    }


# ------------------------------------------------------------------------------------------- tables


def _fill(
    database: Any, table: str, fixed: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> None:
    """A table of the records: the fixed columns, then the others by name; no two names that SQL
    considers equal."""
    others = sorted({key for row in rows for key in row} - set(fixed))
    columns = {key: _column(key, [row.get(key) for row in rows]) for key in (*fixed, *others)}
    names = list(_different(columns))
    declared = ", ".join(
        f"{_quoted(name)} {kind}" for name, (kind, _) in zip(names, columns.values(), strict=True)
    )
    database.execute(f"create table {table} ({declared})")
    if rows:
        import pyarrow as pa

        arrays = [pa.array(values, type=_ARROW[kind]()) for kind, values in columns.values()]
        database.register(
            "incoming", pa.table(arrays, names=[str(number) for number in range(len(names))])
        )
        database.execute(f"insert into {table} select * from incoming")
        database.unregister("incoming")


def _arrow(name: str) -> Any:
    import pyarrow as pa

    return getattr(pa, name)()


_ARROW = {
    "boolean": lambda: _arrow("bool_"), "bigint": lambda: _arrow("int64"), "double": lambda: _arrow(
        "float64"), "varchar": lambda: _arrow("string"),
}  # fmt: skip
_NUMBERS = {"seed", "revision"}
_REALS = {"created_at", "walltime_sec", "cpu_sec"}


def _column(key: str, values: list[Any]) -> tuple[str, list[Any]]:
    """The narrowest type that holds all values, and the values in it."""
    present = [value for value in values if value is not None]
    if present and all(type(value) is bool for value in present):
        return "boolean", values
    if (
        all(type(value) is int and abs(value) < 2**63 for value in present)
        and (present or key in _NUMBERS)
        and key not in _REALS
    ):
        return "bigint", values
    if all(type(value) in (int, float) for value in present) and (present or key in _REALS):
        return "double", [None if value is None else float(value) for value in values]
    return "varchar", [
        value if value is None or isinstance(value, str) else json.dumps(value) for value in values
    ]


def _different(names: Iterable[str]) -> Iterator[str]:
    taken: set[str] = set()
    for name in names:
        candidate, number = name, 1
        while candidate.casefold() in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.add(candidate.casefold())
        yield candidate


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
