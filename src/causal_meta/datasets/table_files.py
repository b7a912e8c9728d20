"""The four file formats of a table, read strictly: bytes in, a pandas frame out, or one sentence
saying which line is wrong."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("csv", "tsv", "parquet", "npz")
_ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".npz": "npz",
}
_ARRAYS = ("x", "data", "X")
_NAMES = ("columns", "names")


#: How many names a sentence lists.
SHOWN = 5


class TableError(ValueError):
    """A table that cannot be used: one sentence with the problem and its remedy."""


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, each in quotation marks; of many the first `SHOWN`."""
    shown = ", ".join(repr(name) for name in names[:SHOWN])
    return f" {shown}{f' and {len(names) - SHOWN} more' if len(names) > SHOWN else ''}"


def format_of(path: Path) -> str:
    """The format that a file's ending stands for; raises `TableError`."""
    if path.is_dir():
        raise TableError(f"{path} is a directory; give the table's file.")
    try:
        return _ENDINGS[path.suffix.lower()]
    except KeyError:
        raise TableError(
            f"{path.name} does not tell its format; let it end in {', '.join(_ENDINGS)}."
        ) from None


def read_bytes(path: Path) -> bytes:
    """All bytes of a file that exists and is not empty; raises `TableError`."""
    if path.is_dir():
        raise TableError(f"{path} is a directory; give the table's file.")
    if not path.exists():
        raise TableError(f"There is no file {path}; check the path.")
    if not path.is_file():
        raise TableError(f"{path} is no ordinary file; give the table's file.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror}.") from None
    if not data.strip():
        raise TableError(f"{path.name} is empty; give a table with a header and at least 10 rows.")
    return data


def parse(data: bytes, kind: str, title: str) -> pd.DataFrame:
    """The frame in `data`, header names as they stand (repeated ones too); raises `TableError`."""
    readers = {"csv": _delimited, "tsv": _delimited, "parquet": _parquet, "npz": _npz}
    return readers[kind](data, title, "\t" if kind == "tsv" else ",")


# -------------------------------------------------------------------------------------- CSV and TSV


def _delimited(data: bytes, title: str, separator: str) -> pd.DataFrame:
    import pandas as pd

    text = _text(data, title)
    header = _check_lines(text, separator, title)
    if all(_numeric(name) for name in header):
        raise TableError(
            f"{title} has no header: its first line holds only numbers; put the column names into "
            "the first line."
        )
    try:
        frame = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            header=0,
            names=range(len(header)),
            index_col=False,
            low_memory=False,
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise TableError(f"{title} cannot be read: {str(error).splitlines()[0]}.") from None
    frame.columns = pd.Index(header)
    return frame


def _text(data: bytes, title: str) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(
            f"{title} is not text in UTF-8 (byte {error.start}); save the table as CSV, TSV, "
            "Parquet or .npz."
        ) from None
    if "\0" in text:
        raise TableError(
            f"{title} is a binary file (it holds a zero byte); save the table as CSV, TSV, "
            "Parquet or .npz."
        )
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n") + "\n"


def _check_lines(text: str, separator: str, title: str) -> list[str]:
    """The header's names, after a check that every line has as many fields; raises `TableError`
    with the line number."""
    if '"' in text:
        return _check_quoted(text, separator, title)
    first, _, _ = text.lstrip("\n").partition("\n")
    header = [name.strip() for name in first.split(separator)]
    raw = np.frombuffer(text.encode(), dtype=np.uint8)
    ends = np.flatnonzero(raw == ord("\n"))
    fields = np.diff(np.searchsorted(np.flatnonzero(raw == ord(separator)), ends), prepend=0) + 1
    lengths = np.diff(ends, prepend=-1) - 1
    wrong = np.flatnonzero((fields != len(header)) & (lengths > 0))
    if wrong.size:
        raise _ragged(title, int(wrong[0]) + 1, int(fields[wrong[0]]), header)
    return header


def _check_quoted(text: str, separator: str, title: str) -> list[str]:
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    header: list[str] = []
    try:
        for fields in reader:
            header = header or [name.strip() for name in fields]
            if fields and len(fields) != len(header):
                raise _ragged(title, reader.line_num, len(fields), header)
    except csv.Error as error:
        raise TableError(f"{title}, line {reader.line_num}, cannot be read: {error}.") from None
    return header


def _ragged(title: str, line: int, fields: int, header: list[str]) -> TableError:
    counts = f"{fields} field{'s' if fields != 1 else ''} where the header has {len(header)}"
    return TableError(
        f"{title} is ragged: line {line} has {counts}; give every line as many fields as the "
        "header."
    )


def _numeric(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------------------------- Parquet and npz


def _parquet(data: bytes, title: str, _: str) -> pd.DataFrame:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(data))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise TableError(
            f"{title} is no Parquet file that can be read "
            f"({str(error).splitlines()[0][:80].rstrip('.')}); write it again."
        ) from None
    names = [str(name) for name in table.column_names]
    kept = [i for i, name in enumerate(names) if not name.startswith("__index_level_")]
    frame = (
        table.rename_columns([str(i) for i in range(len(names))])
        .replace_schema_metadata(None)
        .to_pandas()
    )
    frame = frame.iloc[:, kept]
    frame.columns = [names[i] for i in kept]
    return frame


def _npz(data: bytes, title: str, _: str) -> pd.DataFrame:
    import pandas as pd

    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            key = next((name for name in _ARRAYS if name in archive.files), None)
            if key is None:
                raise TableError(
                    f"{title} holds no array x, data or X (it has "
                    f"{', '.join(archive.files) or 'none'}); save the rows under 'x'."
                )
            rows = archive[key]
            label = next((name for name in _NAMES if name in archive.files), None)
            names = None if label is None else archive[label]
    except TableError:
        raise
    except (
        ValueError,
        OSError,
        EOFError,
        KeyError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
    ) as error:
        reason = str(error).splitlines()[0][:80].rstrip(".") if str(error) else type(error).__name__
        raise TableError(
            f"{title} is no .npz archive of plain arrays that can be read ({reason}); write it "
            "again with numpy.savez."
        ) from None
    if rows.ndim != 2:
        raise TableError(f"{title}: the array {key!r} has {rows.ndim} axes; give rows by columns.")
    if names is None:
        names = np.array([f"X{i + 1}" for i in range(rows.shape[1])])
    if names.ndim != 1 or len(names) != rows.shape[1] or names.dtype.kind not in "UT":
        raise TableError(
            f"{title}: the array {label!r} does not name the {rows.shape[1]} columns; give one "
            "text per column."
        )
    return pd.DataFrame(rows, columns=pd.Index([str(name) for name in names]))
