"""The exit status and message of an exception: 2 where the input cannot be used, 1 where something
else went wrong."""

from __future__ import annotations

import errno
import os
from pathlib import PurePath
from types import TracebackType

LOG = "log: "  # a note on an exception: where its facts are
_OF_LLC = ("jax", "jaxlib", "blackjax", "equinox", "optax", "h5netcdf", "h5py", "optuna")
_EXTRAS = {
    "causallearn": "causal-meta[baselines]",
    "parsl": "causal-meta[workflow]",
    **dict.fromkeys(_OF_LLC, "causal-meta[llc]"),
}
_DISK = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENOENT,
    errno.ENAMETOOLONG,
}


def described(error: BaseException) -> tuple[int, list[str]]:
    """Exit status and what to print.

    A ValueError of this package (a class of its own, or raised by its code with a full stop at the
    end) is a sentence for the user; so is a disk error. Anything else is reported with its first
    cause and where it was raised.
    """
    ours = type(error).__module__.startswith("causal_meta") or (
        _is_ours(error.__traceback__) and str(error).endswith(".")
    )
    if isinstance(error, ValueError) and ours:
        return 2, [" ".join(str(error).split())]
    if isinstance(error, OSError) and error.errno in _DISK:
        return 2, [_disk(error)]
    if isinstance(error, ModuleNotFoundError) and error.name:
        return 2, [_missing(error.name)]
    return 1, _failed(error)


def _is_ours(trace: TracebackType | None) -> bool:
    """Whether the innermost frame is one of this package."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith(
        "causal_meta"
    )


def _disk(error: OSError) -> str:
    reason = error.strerror or os.strerror(error.errno or 0)
    where = (
        f" ({os.fsdecode(error.filename)})"
        if isinstance(error.filename, str | bytes | os.PathLike)
        else ""
    )
    advice = (
        "free some space or use another disk"
        if error.errno in (errno.ENOSPC, errno.EDQUOT)
        else "check the path and its permissions"
    )
    return f"{reason}{where}; {advice} (nothing was lost)."


def _missing(name: str) -> str:
    package = _EXTRAS.get(name.partition(".")[0])
    return (
        f"The Python package {name} is missing; install {package or name!r} (pip install "
        f"{package or name})."
    )


def _failed(error: BaseException) -> list[str]:
    first = error
    while (
        cause := first.__cause__ or (None if first.__suppress_context__ else first.__context__)
    ) is not None:
        first = cause
    lines = [f"Failed: {_words(error)}"]
    if first is not error:
        lines.append(f"first cause: {_words(first)}")
    trace = first.__traceback__ or error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is not None:
        code = trace.tb_frame.f_code
        lines.append(
            f"raised in: {'/'.join(PurePath(code.co_filename).parts[-3:])}, line "
            f"{trace.tb_lineno}, in {code.co_name}"
        )
    return lines + [note for note in getattr(error, "__notes__", []) if note.startswith(LOG)]


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
