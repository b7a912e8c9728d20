"""A fixed list of tasks kept on disk and read through memory maps: drawn once, shared by all
processes, never read half-written.

One folder per list, named by a digest of the family, the seeds and the format. In it `x.f32`,
`adjacency.i8` and `intervened.b1`, each task's cells one after another, and `index.json`: the sizes
(D, N) of the tasks and the SHA-256 of each of these files. A folder is written under another name
and renamed when it is whole, so a killed process leaves no folder of that name, and of
several processes that write one list the first one is kept. A folder is used only if its files have
their digests and its first, middle and last task equal those that the family draws now; otherwise
it is replaced.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from causal_meta.conf.convert import to_plain
from causal_meta.tasks import Task

if TYPE_CHECKING:
    from causal_meta.datasets.scm import SCMFamily

_FORMAT = 1
_BLOCK = 64  # tasks drawn at once
# a value may differ by this share of its column's size, and this share of the values by more
_ROUNDING, _ROUNDED = 1e-3, 0.01
_FILES = {
    "x": ("x.f32", np.float32),
    "adjacency": ("adjacency.i8", np.int8),
    "intervened": ("intervened.b1", np.bool_),
}


class TaskCache:
    """The tasks of `seeds`, by their place in the list, from the files under `folder`, which are
    written when the first task is read.

    A copy in another process opens the files again.
    """

    def __init__(self, family: SCMFamily, seeds: Sequence[int], folder: str | Path) -> None:
        self.family, self.seeds = family, list(seeds)
        named = {
            "format": _FORMAT,
            "family": to_plain(family.config, identity_only=True),
            "seeds": self.seeds,
        }
        self.folder = (
            Path(folder)
            / f"tasks_{hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:24]}"
        )
        self._files: _Files | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": None}  # a memory map would be sent as its contents

    def __getitem__(self, index: int) -> Task:
        """Task number `index` of the list, copied into memory. Raises OSError if the folder
        cannot be written."""
        if self._files is None:
            self._files = self._opened() or self._written()
        return self._files.task(index, self.seeds[index])

    def _opened(self) -> _Files | None:
        """The files, if they exist, are complete, and hold the tasks that the family draws now."""
        try:
            files = _Files(self.folder)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        last = len(self.seeds) - 1
        if len(files.sizes) != len(self.seeds):
            return None
        return (
            files
            if all(
                self._is_current(files.task(index, self.seeds[index]))
                for index in {0, last // 2, last}
            )
            else None
        )

    def _is_current(self, task: Task) -> bool:
        drawn = self.family.sample_tasks([task.seed]).task(0)
        assert task.adjacency is not None
        assert drawn.adjacency is not None
        if task.x.shape != drawn.x.shape or not torch.equal(task.adjacency, drawn.adjacency):
            return False
        size = drawn.x.abs().amax(dim=0).clamp_(min=torch.finfo(torch.float32).tiny)
        return bool((((task.x - drawn.x).abs() > _ROUNDING * size).double().mean()) <= _ROUNDED)

    def _written(self) -> _Files:
        """Draw all tasks into a folder of another name, put it in place, and open it."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}.", dir=self.folder.parent))
        try:
            self._draw(fresh)
            for _ in range(2):
                with contextlib.suppress(OSError):  # the folder exists
                    fresh.rename(self.folder)
                    return _Files(self.folder)
                files = self._opened()
                if files is not None:  # by another process, which drew the same
                    return files
                old = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}.", dir=self.folder.parent))
                with contextlib.suppress(OSError):
                    self.folder.rename(old / "damaged")
                shutil.rmtree(old, ignore_errors=True)
            raise OSError(
                f"The tasks cannot be kept in {self.folder}; remove it, or give another cache "
                "folder."
            )
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def _draw(self, folder: Path) -> None:
        sizes: list[tuple[int, int]] = []
        digests = {name: hashlib.sha256() for name in _FILES}
        with contextlib.ExitStack() as stack:
            streams = {
                name: stack.enter_context((folder / file).open("wb"))
                for name, (file, _) in _FILES.items()
            }
            for first in range(0, len(self.seeds), _BLOCK):
                batch = self.family.sample_tasks(self.seeds[first : first + _BLOCK])
                for task in map(batch.task, range(len(batch))):
                    sizes.append((task.x.shape[1], len(task.x)))
                    for name, (_, dtype) in _FILES.items():
                        content = getattr(task, name).numpy().astype(dtype).tobytes()
                        digests[name].update(content)
                        streams[name].write(content)
        index = {
            "format": _FORMAT,
            "sizes": sizes,
            "sha256": {name: digest.hexdigest() for name, digest in digests.items()},
        }
        (folder / "index.json").write_text(json.dumps(index) + "\n", "utf-8")


class _Files:
    """The files of one list, mapped. Raises OSError, ValueError, KeyError or TypeError unless all
    are there and have their digests."""

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text("utf-8"))
        self.sizes = np.array(index["sizes"], dtype=np.int64).reshape(-1, 2)
        self.arrays: dict[str, np.ndarray] = {}
        for name, (file, dtype) in _FILES.items():
            with (folder / file).open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != index["sha256"][name]:
                    raise ValueError(f"{folder / file} is damaged.")
            self.arrays[name] = np.memmap(folder / file, dtype=dtype, mode="r")
        nodes, rows = self.sizes.T
        self.cells = np.concatenate([[0], np.cumsum(nodes * rows)])
        self.pairs = np.concatenate([[0], np.cumsum(nodes * nodes)])

    def task(self, index: int, seed: int) -> Task:
        """One task; its tensors are copies."""
        nodes, rows = self.sizes[index].tolist()
        cells, pairs = (
            slice(self.cells[index], self.cells[index + 1]),
            slice(self.pairs[index], self.pairs[index + 1]),
        )
        return Task(
            x=torch.from_numpy(np.array(self.arrays["x"][cells])).view(rows, nodes),
            adjacency=torch.from_numpy(self.arrays["adjacency"][pairs].astype(np.float32)).view(
                nodes, nodes
            ),
            intervened=torch.from_numpy(np.array(self.arrays["intervened"][cells])).view(
                rows, nodes
            ),
            seed=seed,
        )
