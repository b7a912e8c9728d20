"""A published table from a user's file, checked against its ready description and given its truth
and transformation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from causal_meta.conf.table_descriptions import TableDescription
from causal_meta.datasets.real import Table, read_table
from causal_meta.datasets.table_files import TableError
from causal_meta.datasets.truths import edges_truth

FILES = ("data.csv", "data.parquet", "data.npz", "data.tsv")
_CLOSE = 1e-3  # relative; the columns' means are known to five digits


def described_table(
    description: TableDescription,
    source: str | Path | None = None,
    *,
    format: str | None = None,
    transform: str | None = None,
) -> tuple[Table, np.ndarray | None]:
    """The table of a description and its true graph int8 [D, D] (None where none is known), columns
    in the description's order.

    `source` is a file, or a folder that holds data.csv (.parquet, .npz, .tsv); None for a table
    that is bundled. `transform` overrides the description's. Raises `TableError` unless columns,
    number of rows and the columns' means are the described ones.
    """
    title = description.title
    if description.bundled and source is not None:
        raise TableError(
            f"{title} comes with its library, so no file is needed; leave {source} out."
        )
    if not description.bundled and source is None:
        raise TableError(
            f"{title} is not part of this package; fetch it ({description.source}) and give its "
            "folder or file (--from PATH)."
        )
    where = description.bundled or _file(Path(str(source)))
    raw = read_table(where, format=format)
    _check(raw, description)
    table = read_table(
        where,
        format=format,
        columns=description.columns,
        transform=transform or description.transform,
    )
    truth = (
        edges_truth(description.pairs, description.columns, title) if description.edges else None
    )
    return dataclasses.replace(table, title=title), truth


def _file(path: Path) -> Path:
    if not path.is_dir():
        return path
    files = [path / name for name in FILES if (path / name).is_file()]
    if not files:
        raise TableError(
            f"The folder {path} holds none of {', '.join(FILES)}; give the table's file."
        )
    return files[0]


def _check(table: Table, description: TableDescription) -> None:
    """Raise `TableError` unless the raw table is the described one."""
    title, names = description.title, list(table.columns)
    missing = [name for name in description.columns if name not in names]
    extra = [name for name in names if name not in description.columns]
    if missing or extra:
        problem = (
            f"lacks the column {missing[0]!r}" if missing else f"has a column {extra[0]!r} too many"
        )
        raise TableError(
            f"{table.title} {problem} of {title}, which has {', '.join(description.columns[:40])}; "
            "rename or choose its columns."
        )
    if len(table.x) != description.rows:
        raise TableError(
            f"{table.title} has {len(table.x)} rows and {title} {description.rows}; import "
            "another version as a table of your own."
        )
    mean = dict(zip(names, table.x.mean(axis=0), strict=True))
    for name, expected in zip(description.columns, description.mean, strict=True):
        if abs(mean[name] - expected) > _CLOSE * abs(expected):
            raise TableError(
                f"{table.title}: the mean of {name!r} is {mean[name]:.5g}, and {expected:.5g} in "
                f"{title}; give the raw table, not a transformed "
                "one, or import it as a table of your own."
            )
