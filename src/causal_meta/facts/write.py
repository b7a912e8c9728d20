"""Facts are appended, never edited: `events.jsonl` (moments) and `scalars.csv` (curves), schema
version 2.

An event is one JSON object on a line: schema_version, moment, run_id (the id of the artifact),
attempt, step, split, metrics, wall_s, cpu_s, timestamp, and any further fields of the moment;
`meta` (versions, machine, seed) only in on_start and on_resume; `non_finite` names the values that
were NaN or infinite and are null. A scalar is one row of a long table: attempt, step, split, name,
value, wall_s, cpu_s; so a new metric never shifts a column. `wall_s` and `cpu_s` count from the
beginning of the first attempt, pauses left out.

Subscribers are called with every event and, at the moment `on_scalars`, with every batch of rows
added to `scalars.csv`, so that a mirror of the facts in another tool need not read the files.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import json
import math
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from time import perf_counter
from typing import Any

from causal_meta.facts import provenance

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

SCHEMA_VERSION = 2
COLUMNS = ("attempt", "step", "split", "name", "value", "wall_s", "cpu_s")
EVENTS, SCALARS = "events.jsonl", "scalars.csv"
# fmt: off
MOMENTS = (
    "on_start", "on_resume", "on_epoch_end", "on_validation_end", "on_checkpoint",
    "on_test_end", "on_train_end", "on_exception", "heartbeat", "on_subscriber_error",
)
# fmt: on

#: The moment of the records with which subscribers hear of new scalars; never in `events.jsonl`.
ON_SCALARS = "on_scalars"

Subscriber = Callable[[dict[str, Any]], None]


def finite(value: Any, where: str = "") -> tuple[Any, list[str]]:
    """`value` as plain JSON values, and the dotted names of the numbers in it that were not finite
    and are None now.

    Arrays and tensors of any library become numbers or lists, paths become strings. Raises
    `TypeError` for anything else.

    >>> finite({"loss": float("nan"), "steps": (1, 2)})
    ({'loss': None, 'steps': [1, 2]}, ['loss'])
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None, [where]
    if value is None or isinstance(value, bool | int | float | str):
        return value, []
    if isinstance(value, PurePath):
        return str(value), []
    if isinstance(value, Mapping):
        parts: dict[str, Any] = {
            str(key): finite(item, f"{where}.{key}" if where else str(key))
            for key, item in value.items()
        }
        return {key: part[0] for key, part in parts.items()}, [
            name for part in parts.values() for name in part[1]
        ]
    if isinstance(value, Sequence):
        rows = [finite(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return [row[0] for row in rows], [name for row in rows for name in row[1]]
    if hasattr(value, "tolist"):
        return finite(value.tolist(), where)
    raise TypeError(
        f"The fact {where or 'in question'} is {value!r}, a {type(value).__name__}; give numbers, "
        "strings, lists or mappings."
    )


def build_event_payload(
    moment: str,
    *,
    run_id: str = "",
    attempt: int = 1,
    step: int | None = None,
    split: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    wall_s: float | None = None,
    cpu_s: float | None = None,
    meta: Mapping[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """One event of schema version 2; further `fields` (train_loss, path, digest, …) stand beside
    the fixed ones.

    >>> build_event_payload("on_validation_end", step=3, metrics={"val/loss": float("inf")})[
    ... "non_finite"]
    ['metrics.val/loss']
    """
    if not moment or not isinstance(moment, str):
        raise ValueError(
            f"An event's moment is {moment!r}; give a name such as {', '.join(MOMENTS[:3])}."
        )
    event: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "moment": moment,
        "run_id": run_id,
        "attempt": attempt,
        "step": step,
        "split": split,
        "metrics": dict(metrics or {}),
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "timestamp": _now(),
    }
    reserved = {"schema_version", "timestamp", "non_finite"} & fields.keys()
    if reserved:
        raise ValueError(
            f"The fields {', '.join(sorted(reserved))} of an event are written by the facts "
            "themselves; leave them out."
        )
    plain, non_finite = finite(event | ({"meta": dict(meta)} if meta is not None else {}) | fields)
    return plain | ({"non_finite": non_finite} if non_finite else {})


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat()


def append_jsonl_event(run_dir: str | os.PathLike[str], payload: Mapping[str, Any]) -> Path:
    """Append an event to `<run_dir>/facts/events.jsonl` (made if absent), as one whole line under a
    lock; returns the file."""
    path = Path(run_dir) / "facts" / EVENTS
    append_text(path, json.dumps(dict(payload), allow_nan=False, ensure_ascii=False) + "\n")
    return path


def append_scalars_csv(
    run_dir: str | os.PathLike[str],
    values: Mapping[str, float],
    *,
    step: int | None,
    split: str | None,
    attempt: int = 1,
    wall_s: float | None = None,
    cpu_s: float | None = None,
) -> Path:
    """Append one row per value to `<run_dir>/facts/scalars.csv` (made with its header if absent),
    under a lock; returns the file.

    Numbers keep full precision; NaN and infinities are written as nan, inf and -inf. Raises
    `ValueError` for a name with a line break.
    """
    path = Path(run_dir) / "facts" / SCALARS
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    clock = ["" if seconds is None else f"{seconds:.3f}" for seconds in (wall_s, cpu_s)]
    for name, value in values.items():
        if not name or any(character in name for character in "\r\n"):
            raise ValueError(f"{name!r} cannot name a scalar; give a name of one line.")
        writer.writerow(
            [attempt, "" if step is None else step, split or "", name, repr(float(value)), *clock]
        )
    append_text(path, lines.getvalue(), header=",".join(COLUMNS) + "\n")
    return path


def append_text(path: Path, text: str, *, header: str = "") -> None:
    """Write whole lines at the end of `path` under a lock, after `header` if it is new.

    A torn last line (a crash inside a write) is closed so that it spoils no other, and in a table
    so that it cannot pass for a whole row.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        if size and size < len(header):
            os.ftruncate(descriptor, 0)  # nothing but a torn header
            size = 0
        os.lseek(descriptor, max(size - 1, 0), os.SEEK_SET)
        torn = size > 0 and os.read(descriptor, 1) != b"\n"
        closing = (",torn\n" if header else "\n") if torn else ""
        data = ((header if size == 0 else closing) + text).encode("utf-8", "backslashreplace")
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(descriptor)


class Facts:
    """The facts of one attempt at an artifact, written while it runs.

    Events and scalars are on the disk when a call returns. Subscribers are then called with the
    record: an event as it stands in `events.jsonl`, or new rows of `scalars.csv` as a record of
    moment `on_scalars` with run_id, attempt, step, split, wall_s and cpu_s, whose `metrics` map
    each name to its value (NaN and infinities as they are). A subscriber that raises is recorded as
    an event `on_subscriber_error` and is not called again; the run continues.
    """

    def __init__(
        self,
        folder: Path,
        artifact_id: str,
        attempt: int,
        seed: int,
        subscribers: Sequence[Subscriber] = (),
    ) -> None:
        """Open the facts in `folder`/facts; in a resumed folder `wall_s` and `cpu_s` continue from
        the times recorded there."""
        self.folder = Path(folder)
        self.artifact_id = artifact_id
        self.attempt = attempt
        self.seed = seed
        self._subscribers = list(subscribers)
        self._started = False
        self._begin = (perf_counter(), provenance.cpu_seconds())
        self._before = _clocks(self.folder / "facts")
        self._is_resumed = (self.folder / "facts" / EVENTS).is_file()

    @property
    def wall_s(self) -> float:
        """Seconds on the wall clock spent on this artifact, earlier attempts included."""
        return self._before[0] + perf_counter() - self._begin[0]

    @property
    def cpu_s(self) -> float:
        """Processor seconds spent on this artifact, earlier attempts included."""
        return self._before[1] + provenance.cpu_seconds() - self._begin[1]

    def event(
        self,
        moment: str,
        *,
        step: int | None = None,
        split: str | None = None,
        metrics: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Write an event, call the subscribers with it and return it. `meta` is added at on_start
        and on_resume.

        The first event of an attempt is on_start or on_resume: if the builder begins with another
        one, on_start is written before it.
        """
        starts = moment in ("on_start", "on_resume")
        if not starts:
            self.ensure_started()
        self._started = True
        event = build_event_payload(
            moment,
            run_id=self.artifact_id,
            attempt=self.attempt,
            step=step,
            split=split,
            metrics=metrics,
            wall_s=round(self.wall_s, 3),
            cpu_s=round(self.cpu_s, 3),
            **({"meta": self._meta()} if starts else {}),
            **fields,
        )
        append_jsonl_event(self.folder, event)
        if moment != "on_subscriber_error":
            self._notify(event)
        return event

    def scalars(self, step: int | None, split: str | None, values: Mapping[str, float]) -> None:
        """Write one row per value and call the subscribers with a record of moment `on_scalars`."""
        self.ensure_started()
        row: dict[str, Any] = {"step": step, "split": split, "attempt": self.attempt}
        row |= {"wall_s": round(self.wall_s, 3), "cpu_s": round(self.cpu_s, 3)}
        append_scalars_csv(self.folder, values, **row)
        if self._subscribers and values:
            metrics = {name: float(value) for name, value in values.items()}
            record = {"schema_version": SCHEMA_VERSION, "moment": ON_SCALARS}
            self._notify(record | {"run_id": self.artifact_id, "metrics": metrics} | row)

    def ensure_started(self) -> None:
        """Write on_start (on_resume in an attempt that continues an earlier one) unless this
        attempt has written an event already."""
        if not self._started:
            self.event("on_resume" if self._is_resumed else "on_start")

    def exception(self, error: BaseException) -> dict[str, Any]:
        """Write on_exception: type, message and the traceback, with the files' last three names
        only."""
        frames = traceback.extract_tb(error.__traceback__)
        lines = [
            f"{'/'.join(PurePath(frame.filename).parts[-3:])}:{frame.lineno} in {frame.name}: "
            f"{frame.line}"
            for frame in frames
        ]
        return self.event(
            "on_exception", type=type(error).__name__, message=str(error), traceback=lines
        )

    def _notify(self, record: dict[str, Any]) -> None:
        for subscriber in list(self._subscribers):
            try:
                subscriber(record)
            except Exception as error:
                self._subscribers.remove(subscriber)
                self.event(
                    "on_subscriber_error",
                    step=record["step"],
                    subscriber=getattr(subscriber, "__qualname__", type(subscriber).__qualname__),
                    type=type(error).__name__,
                    message=str(error),
                    at=record["moment"],
                )

    def _meta(self) -> dict[str, Any]:
        return {
            "git_commit": provenance.code_sha(),
            "pkg_versions": provenance.package_versions(),
            "cuda_info": provenance.cuda_info(),
            "hardware": provenance.hardware(),
            "threads": provenance.threads(),
            "seed": self.seed,
        }


def _clocks(folder: Path) -> tuple[float, float]:
    """The largest wall_s and cpu_s in the events and in the last rows of the scalars."""
    times = [(0.0, 0.0)]
    for line in _lines(folder / EVENTS):
        with contextlib.suppress(ValueError, AttributeError):  # a torn line; the reader reports it
            event = json.loads(line)
            times.append((event.get("wall_s") or 0.0, event.get("cpu_s") or 0.0))
    for line in _lines(folder / SCALARS)[-2:]:
        with contextlib.suppress(ValueError):
            wall, cpu = line.rsplit(",", 2)[1:]
            times.append((float(wall), float(cpu)))
    return max(wall for wall, _ in times), max(cpu for _, cpu in times)


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else []
