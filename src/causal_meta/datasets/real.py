"""Real tables: read, checked and named by the digest of their bytes.

Every file is checked completely; an unusable one is refused by one sentence (`TableError`) with the
problem, its place and its remedy.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_meta.conf.spelling import nearest
from causal_meta.datasets.bundled import BUNDLED, bundled_frame
from causal_meta.datasets.table_files import (
    FORMATS,
    SHOWN,
    TableError,
    format_of,
    listed,
    parse,
    read_bytes,
)
from causal_meta.datasets.table_interventions import (
    intervened_cells,
    is_intervention_column,
    labels,
    read_mask,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MIN_ROWS",
    "Table",
    "TableError",
    "as_table",
    "from_frame",
    "read_table",
]

MIN_ROWS = 10


@dataclass(frozen=True)
class Table:
    """A checked table: `x` float64 [N, D] (finite, no constant column), `columns` its D names,
    `sha256` of the bytes it was read from.

    `format` is "csv", "tsv", "parquet" or "npz"; `title` a short name for headings; `transform`
    what was done to the values. `intervened` bool [N, D] marks the cells set by interventions (None
    where none are known), read from the columns `interventions` and from the file of digest
    `mask_sha256`. The columns `categorical` hold the numbers 0, 1, … of categories in sorted order;
    the columns `context` (a site, a batch, an experiment) may be causes, but have none.
    """

    x: np.ndarray
    columns: tuple[str, ...]
    sha256: str
    format: str
    title: str
    transform: str = "none"
    intervened: np.ndarray | None = None
    interventions: tuple[str, ...] = ()
    mask_sha256: str = ""
    categorical: tuple[str, ...] = ()
    context: tuple[str, ...] = ()

    def frame(self) -> pd.DataFrame:
        """The table as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.x, columns=pd.Index(list(self.columns)))


def read_table(
    source: Any,
    *,
    format: str | None = None,
    columns: Sequence[str] = (),
    transform: str = "none",
    interventions: Sequence[str] = (),
    mask: str | Path | None = None,
    categorical: Sequence[str] = (),
    context: Sequence[str] = (),
) -> Table:
    """Read a table with a header: CSV, TSV, Parquet, `.npz` (array `x`, `data` or `X`, names in
    `columns`), or one of scikit-learn's.

    A pandas DataFrame is taken as it is; its digest is that of the canonical CSV. `format` is
    guessed from the file's ending when None. `columns` picks some columns, in that order;
    `transform="log"` takes the natural logarithm of every value. The columns `interventions` name
    the variables intervened on in each row (empty or "none": no one); or the file `mask` holds 1
    for every cell that was set. The columns `categorical` may hold words; the columns `context`
    have no causes, and are categorical where they hold words. A categorical column has at most
    N / 2 categories. Raises `TableError`.

    >>> read_table("sklearn:diabetes").x.shape
    (442, 11)
    """
    options: dict[str, Any] = {
        "columns": columns,
        "transform": transform,
        "interventions": interventions,
        "categorical": categorical,
        "context": context,
    }
    if hasattr(source, "columns") and hasattr(source, "to_numpy"):
        return _masked(from_frame(source, **options), mask)
    if str(source).startswith("sklearn:"):
        return _masked(_bundled(str(source), options), mask)
    path = Path(source)
    kind = format or format_of(path)
    if kind not in FORMATS:
        raise TableError(f"There is no table format {kind!r}{nearest(str(kind), FORMATS)}")
    data = read_bytes(path)
    frame = parse(data, kind, path.name)
    return _masked(
        _checked(frame, hashlib.sha256(data).hexdigest(), kind, path.stem, **options), mask
    )


def from_frame(
    frame: pd.DataFrame,
    *,
    columns: Sequence[str] = (),
    transform: str = "none",
    interventions: Sequence[str] = (),
    categorical: Sequence[str] = (),
    context: Sequence[str] = (),
    title: str = "table",
) -> Table:
    """A pandas DataFrame as a checked table; the digest is that of its canonical CSV. Raises
    `TableError`."""
    kinds: dict[str, Any] = {"categorical": categorical, "context": context}
    table = _checked(frame, "", "csv", title, interventions=interventions, **kinds)
    text = canonical_csv(table.x, table.columns)
    for words in (interventions, table.categorical):
        if words:
            text += json.dumps(
                labels(frame, _names(frame, title), words, title), ensure_ascii=False
            ).encode()
    return _checked(
        frame,
        hashlib.sha256(text).hexdigest(),
        "csv",
        title,
        columns=columns,
        transform=transform,
        interventions=interventions,
        **kinds,
    )


def _masked(table: Table, mask: str | Path | None) -> Table:
    """The table with the cells that the file `mask` marks, beside those its own columns name."""
    if mask is None:
        return table
    cells, digest = read_mask(mask, table.columns, len(table.x))
    return dataclasses.replace(
        table,
        intervened=cells if table.intervened is None else table.intervened | cells,
        mask_sha256=digest,
    )


def as_table(source: Any, **options: Any) -> Table:
    """A `Table` as it is, rows [N, D] of any array library (columns X1 to XD), or what `read_table`
    takes, with its options.

    Raises `TableError`.
    """
    if isinstance(source, Table):
        return source
    if hasattr(source, "detach"):
        source = source.detach().cpu().numpy()
    if isinstance(source, np.ndarray):
        if source.ndim != 2:
            raise TableError(
                f"The rows have shape {source.shape}; give an array of rows by columns."
            )
        import pandas as pd

        source = pd.DataFrame(
            source, columns=pd.Index([f"X{i + 1}" for i in range(source.shape[1])])
        )
    return read_table(source, **options)


def canonical_csv(x: np.ndarray, columns: Sequence[str]) -> bytes:
    """The bytes that name a table which came from no file: JSON header line, then rows of shortest
    exact decimals."""
    rows = [",".join(map(repr, row)) for row in np.asarray(x, dtype=np.float64).tolist()]
    return "\n".join([json.dumps(list(columns), ensure_ascii=False), *rows, ""]).encode()


def _bundled(source: str, options: dict[str, Any]) -> Table:
    if source not in BUNDLED:
        raise TableError(f"There is no bundled table {source!r}{nearest(source, BUNDLED)}")
    title = source.partition(":")[2]
    return from_frame(bundled_frame(title), title=title, **options)


def _checked(
    frame: pd.DataFrame,
    sha256: str,
    kind: str,
    title: str,
    *,
    columns: Sequence[str] = (),
    transform: str = "none",
    interventions: Sequence[str] = (),
    categorical: Sequence[str] = (),
    context: Sequence[str] = (),
) -> Table:
    """The frame's values and names after every check."""
    names = _names(frame, title)
    _check_kinds(names, title, interventions, categorical=categorical, context=context)
    words = labels(frame, names, interventions, title) if interventions else []
    variables = [name for name in names if name not in interventions]
    if columns or interventions:
        for name in columns:
            if name in interventions:
                raise TableError(
                    f"{title}: column {name!r} cannot be a variable and name the interventions; "
                    "leave it out of one of the two."
                )
        frame, names = _select(frame, names, columns or variables, title)
    lost = [name for name in context if name not in names]
    if lost:
        raise TableError(
            f"{title}: the context {lost[0]!r} is not among the chosen columns; choose it too, or "
            "do not name it as a context."
        )
    if len(names) < 2:
        hint = (
            " (separate the columns by commas)"
            if kind == "csv" and names and any(mark in names[0] for mark in ";\t|")
            else ""
        )
        count = (
            f"only one column, {names[0]!r}"
            if names
            else "no column beside those of the interventions"
        )
        raise TableError(f"{title} has {count}; a causal graph needs at least two variables{hint}.")
    x, coded = _numbers(frame, names, title, categorical, context)
    x = _finite(x, names, title)
    _check_repeated(x, names, coded, title)
    if len(x) < MIN_ROWS:
        raise TableError(f"{title} has {len(x)} rows; give at least {MIN_ROWS}.")
    x = _transformed(x, names, transform, title, coded)
    constant = [
        name
        for name, low, high in zip(names, x.min(axis=0), x.max(axis=0), strict=True)
        if low == high
    ]
    if constant:
        raise TableError(
            f"{title}: {_several('column', constant)} always the same value; leave constant "
            "columns out."
        )
    cells = intervened_cells(words, names, variables, title) if interventions else None
    return Table(
        x,
        tuple(names),
        sha256,
        kind,
        title,
        transform,
        cells,
        tuple(interventions),
        categorical=tuple(name for name in names if name in coded),
        context=tuple(name for name in names if name in context),
    )


def _check_kinds(
    names: Sequence[str], title: str, interventions: Sequence[str], **kinds: Sequence[str]
) -> None:
    """Raise `TableError` unless the columns of each kind exist and hold no interventions."""
    for kind, chosen in kinds.items():
        for name in chosen:
            if name not in names:
                raise TableError(f"{title} has no {kind} column {name!r}{nearest(name, names)}")
            if name in interventions:
                raise TableError(
                    f"{title}: column {name!r} cannot be {kind} and name the interventions; leave "
                    "it out of one of the two."
                )


def _names(frame: pd.DataFrame, title: str) -> list[str]:
    names = [str(name).strip() for name in frame.columns]
    if not names:
        raise TableError(f"{title} has no columns; give a table with at least two.")
    if "" in names:
        where = names.index("") + 1
        raise TableError(
            f"{title}: column {where} has no name; name it in the header or leave it out (pandas: "
            "to_csv(..., index=False))."
        )
    odd = [name for name in names if not name.isprintable()]
    if odd:
        raise TableError(
            f"{title}: the column name {odd[0]!r} holds characters that cannot be printed; rename "
            "the column."
        )
    repeated = sorted({name for name in names if names.count(name) > 1}, key=names.index)
    if repeated:
        raise TableError(
            f"{title}: the column name{listed(repeated)} stands more than once in the header; "
            "make the names distinct."
        )
    return names


def _select(
    frame: pd.DataFrame, names: list[str], columns: Sequence[str], title: str
) -> tuple[pd.DataFrame, list[str]]:
    chosen = list(columns)
    for name in chosen:
        if name not in names:
            raise TableError(f"{title} has no column {name!r}{nearest(name, names)}")
    if len(set(chosen)) < len(chosen):
        raise TableError(
            f"{title}: a column is chosen twice in {', '.join(chosen)}; name each once."
        )
    return frame.iloc[:, [names.index(name) for name in chosen]], chosen


def _numbers(
    frame: pd.DataFrame,
    names: list[str],
    title: str,
    categorical: Sequence[str] = (),
    context: Sequence[str] = (),
) -> tuple[np.ndarray, set[str]]:
    """The values as float64 [N, D], and the columns whose values are numbers of categories: those
    of `categorical`, and of `context` where they hold words. Other columns of text, dates or truth
    values are refused by name."""
    from pandas.api import types

    columns, words, coded = [], [], set()
    for i, name in enumerate(names):
        series = frame.iloc[:, i]
        if series.isna().all():
            series = series.astype("float64")
        number = (
            types.is_numeric_dtype(series)
            and not types.is_bool_dtype(series)
            and not types.is_complex_dtype(series)
        )
        if name in categorical or (name in context and not number):
            coded.add(name)
            columns.append(_codes(series))
        elif number:
            columns.append(series.to_numpy(dtype=np.float64, na_value=np.nan))
        else:
            words.append(
                (name, next((value for value in series.dropna() if not _is_number(value)), None))
            )
    if words:
        shown = ", ".join(
            f"{name!r} (such as {str(value)[:20]!r})" for name, value in words[:SHOWN]
        )
        more = f" and {len(words) - SHOWN} more" if len(words) > SHOWN else ""
        plural = "columns" if len(words) > 1 else "column"
        naming = [
            name
            for name, _ in words
            if is_intervention_column(
                list(frame.iloc[:, names.index(name)]), [n for n in names if n != name]
            )
        ]
        hint = (
            f", or say that {naming[0]!r} names the variable intervened on in each row "
            "(interventions)"
            if naming
            else ""
        )
        raise TableError(
            f"{title}: the values of {plural} {shown}{more} are not numbers; leave such columns "
            f"out, code them as numbers, or name them as categorical{hint}."
        )
    return np.stack(columns, axis=1), coded


def _codes(series: pd.Series) -> np.ndarray:
    """The number of each value among the distinct values in sorted order; NaN where it is
    missing."""
    words = series.map(str, na_action="ignore") if series.dtype == object else series
    codes, _ = words.factorize(sort=True)
    return np.where(codes < 0, np.nan, codes).astype(np.float64)


def _check_repeated(x: np.ndarray, names: list[str], coded: Set[str], title: str) -> None:
    """Raise `TableError` for names of rows: where hardly any category occurs twice, it explains
    everything and nothing."""
    for place, name in enumerate(names):
        count = len(np.unique(x[:, place])) if name in coded else 0
        if 2 * count > len(x) >= MIN_ROWS:
            raise TableError(
                f"{title}: column {name!r} has {count} categories in {len(x)} rows; leave it out, "
                "or join categories until each has several rows."
            )


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, bool)


def _finite(x: np.ndarray, names: list[str], title: str) -> np.ndarray:
    for problem, wrong in (("missing (NaN)", np.isnan(x)), ("infinite", np.isinf(x))):
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            count = int(wrong.sum())
            verb = "value is" if count == 1 else "values are"
            raise TableError(
                f"{title}: {count} {verb} {problem}, the first in data row {row + 1}, column "
                f"{names[column]!r}; fill or drop such rows."
            )
    return x


def _transformed(
    x: np.ndarray, names: list[str], transform: str, title: str, coded: Set[str] = frozenset()
) -> np.ndarray:
    if transform == "none":
        return x
    if transform != "log":
        raise TableError(
            f"There is no transform {transform!r}{nearest(transform, ('none', 'log'))}"
        )
    number = np.array([name not in coded for name in names])
    if (x <= 0)[:, number].any():
        row, column = np.argwhere((x <= 0) & number)[0]
        raise TableError(
            f"{title}: the logarithm needs positive values, but data row {row + 1}, column "
            f"{names[column]!r} is {x[row, column]:g}."
        )
    return np.where(number, np.log(np.where(number, x, 1.0)), x)


def _several(noun: str, names: Sequence[str]) -> str:
    return (
        f"{noun}{'s' if len(names) > 1 else ''}{listed(names)} "
        f"{'have' if len(names) > 1 else 'has'}"
    )
