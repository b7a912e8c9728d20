"""`store.json`: the format of a store, so that an older version of the package does not change a
newer store."""

from __future__ import annotations

import json
from pathlib import Path

from causal_meta.store import disk
from causal_meta.store.key import FORMAT, StoreError

FILE = "store.json"


def check(root: Path) -> None:
    """Raise `StoreError` if a store is written in a format that this version does not read. A store
    without a format has the first one."""
    path = root / FILE
    try:
        tree = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise StoreError(
            f"{path} cannot be read: {(error.strerror or str(error)).lower()}; check the path and "
            "its permissions."
        ) from None
    except ValueError:
        tree = None
    version = tree.get("format") if isinstance(tree, dict) else None
    if type(version) is not int or version < 1:
        raise StoreError(
            f"{path} does not give the format of the store; write "
            f"{json.dumps({'format': FORMAT})} into it if this version made the store."
        )
    if version > FORMAT:
        raise StoreError(
            f"The store {root} is of format {version}, written by a newer version of causal_meta, "
            f"and this one reads up to {FORMAT}; "
            "install the newer version, or choose another store with --store."
        )


def mark(root: Path) -> None:
    """Write the format into a store that has none yet."""
    if not (root / FILE).exists():
        disk.write_atomic(
            root / FILE, json.dumps({"format": FORMAT}) + "\n", drafts=root / ".staging"
        )
