"""Summaries of training streams, read back from `stream_summary.npz` of a trained model. Loads
neither torch nor JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from causal_meta.records.files import read_arrays

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from causal_meta.store import Artifact

STREAM_SUMMARY = "stream_summary.npz"


def read_stream_summary(model: Artifact) -> dict[str, NDArray[Any]] | None:
    """The summary of the tasks that a model was trained on, with which a table is compared before
    it is answered; None if the model has none. Raises ValueError if it cannot be read."""
    path = model.folder / STREAM_SUMMARY
    return read_arrays(path) if path.is_file() else None
