"""Files of an artifact, read whole, with errors in one sentence. Loads neither torch nor JAX."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_json(path: Path) -> Any:
    """What the JSON file at `path` holds; raises ValueError if it is missing or cannot be read."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def read_arrays(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    """The arrays of the NumPy archive at `path` by name, those called `names` if any are named and
    as far as they are there; raises ValueError if the archive is missing or cannot be read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in names or arrays.files if name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> ValueError:
    if isinstance(error, FileNotFoundError):
        return ValueError(f"{path} is missing; delete {path.parent} to have it made again.")
    words = " ".join(str(error).split())[:120].rstrip(".")
    return ValueError(
        f"{path} cannot be read ({words}); delete {path.parent} to have it made again."
    )
