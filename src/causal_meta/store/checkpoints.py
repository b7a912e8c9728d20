"""Checkpoints of an unfinished build: one state in `checkpoints/`, replaced as a whole.

The state is a file of one of three forms:

- "tensors" (torch): `last.pt`, by `torch.save`, read with `weights_only`;
- "arrays" (NumPy, JAX): `last.npz`;
- "record" (plain values): inside `last.json` itself, as its entry "record".

`last.json` is {"step", "sha256", "file", "previous": {"step", "sha256", "file"}}; "file" is left
out where it is `last.pt`. It is replaced first and names both the new and the old file; then the
file is replaced. So a process killed anywhere in between leaves a file that one of the two entries
matches.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from causal_meta.store import disk

Form = Literal["tensors", "arrays", "record"]
FILES: dict[Form, str] = {"tensors": "last.pt", "arrays": "last.npz", "record": "last.json"}
_NOTE = "last.json"
_DEFAULT = FILES["tensors"]


@dataclass(frozen=True)
class Entry:
    """The entry of a state in `last.json`: its step, its digest, and its file."""

    step: int
    sha256: str
    file: str

    def tree(self) -> dict[str, Any]:
        """The entry in the form of `last.json`."""
        named = {} if self.file == _DEFAULT else {"file": self.file}
        return {"step": self.step, "sha256": self.sha256, **named}


# ------------------------------------------------------------------------------------------ writing


def write(folder: Path, state: Any, step: int, form: Form) -> Entry:
    """Replace the state in `folder` (made if absent), whole and durably."""
    folder.mkdir(parents=True, exist_ok=True)
    if form == "record":
        entry = Entry(int(step), _record_digest(state), FILES[form])
        text = json.dumps({**entry.tree(), "record": state}, allow_nan=False)
        disk.write_atomic(folder / _NOTE, text)
        return entry
    temporary = folder / f"{FILES[form]}.tmp"
    if form == "tensors":
        import torch

        torch.save(canonical(state), temporary)
    else:
        _write_arrays(temporary, state)
    return seal(temporary, step)


def seal(temporary: Path, step: int) -> Entry:
    """Put a complete new file in place: `temporary`, named `last.pt.tmp` or `last.npz.tmp`, loses
    its ending, and `last.json` names it."""
    folder, name = temporary.parent, temporary.name.removesuffix(".tmp")
    disk.sync_file(temporary)
    entry = Entry(int(step), disk.sha256(temporary), name)
    before = verified(folder)
    previous = {} if before is None or before.file == _NOTE else {"previous": before.tree()}
    disk.write_atomic(folder / _NOTE, json.dumps(entry.tree() | previous))
    os.replace(temporary, folder / name)
    disk.sync_folder(folder)
    return entry


def forget_previous(folder: Path, entry: Entry) -> None:
    """Make `last.json` name only the state of `entry`, so that it depends on that state alone."""
    disk.write_atomic(folder / _NOTE, json.dumps(entry.tree()))


def _write_arrays(file: Path, state: Mapping[str, Any]) -> None:
    import numpy as np

    with file.open("wb") as opened:
        np.savez(opened, **{name: np.asarray(values) for name, values in state.items()})  # type: ignore[arg-type]


def canonical(tree: Any) -> Any:
    """The same tree with equal strings as one object, so that its pickle depends on its values
    alone: pickle writes a repeated object as a reference, but equal objects in full."""
    if isinstance(tree, dict):
        return {sys.intern(str(name)): canonical(value) for name, value in tree.items()}
    return sys.intern(tree) if isinstance(tree, str) else tree


def _record_digest(record: Any) -> str:
    return hashlib.sha256(json.dumps(record, allow_nan=False).encode("ascii")).hexdigest()


# ------------------------------------------------------------------------------------------ reading


def read(folder: Path, form: Form) -> Any:
    """The state in `folder`, tensors on the CPU; None if there is none that can be verified, or one
    of another form: earlier versions wrote every form into `last.pt`."""
    entry = verified(folder)
    if entry is None or entry.file != FILES[form]:
        return None
    file = folder / entry.file
    if form == "tensors":
        import torch

        return torch.load(file, map_location="cpu", weights_only=True)
    if form == "arrays":
        import numpy as np

        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    return json.loads(file.read_text("utf-8"))["record"]


def verified(folder: Path) -> Entry | None:
    """The entry of `last.json` whose digest is that of its file; None if there is none."""
    return next(
        (entry for entry in entries(folder) if _digest(folder, entry) == entry.sha256), None
    )


def verified_step(folder: Path) -> int | None:
    """The step of the state in `folder`; None if it is torn, absent or not named by `last.json`."""
    entry = verified(folder)
    return None if entry is None else entry.step


def entries(folder: Path) -> list[Entry]:
    """The entries of `last.json`, whether or not the files match them: the new state, then the one
    before."""
    note = _note(folder)
    return [
        Entry(tree["step"], tree["sha256"], tree.get("file", _DEFAULT))
        for tree in (note, note.get("previous"))
        if isinstance(tree, dict)
        and type(tree.get("step")) is int
        and isinstance(tree.get("sha256"), str)
        and tree.get("file", _DEFAULT) in FILES.values()
    ]


def _note(folder: Path) -> dict[str, Any]:
    try:
        tree = json.loads((folder / _NOTE).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _digest(folder: Path, entry: Entry) -> str | None:
    """The digest of the file that an entry names, or of the record in `last.json`."""
    if entry.file == _NOTE:
        note = _note(folder)
        return _record_digest(note["record"]) if "record" in note else None
    try:
        return disk.sha256(folder / entry.file)
    except OSError:
        return None
