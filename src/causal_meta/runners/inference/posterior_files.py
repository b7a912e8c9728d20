"""Posteriors of runs, written: `posterior.npz`, which `records.posteriors` reads back.

It holds the arrays of `GraphPosterior.arrays` and `graphs` uint8 [B, S, D, D]: the particles
themselves, or S draws. The CPU seconds per task are facts (scalars `cpu_seconds` of split "infer",
the task as the step): they differ between two makings of one result, whose digest stays the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int8
from torch import Tensor

from causal_meta.posteriors import GraphPosterior
from causal_meta.records.posteriors import POSTERIOR

if TYPE_CHECKING:
    from causal_meta.store import Attempt


def write_posterior(
    attempt: Attempt,
    posterior: GraphPosterior,
    graphs: Int8[Tensor, "B S D D"],
    seconds: Float[np.ndarray, " B"],
) -> None:
    """Write `posterior.npz`, and the CPU seconds of each task as facts."""
    arrays = posterior.arrays() | {"graphs": graphs.to(torch.uint8).numpy()}
    np.savez_compressed(attempt.folder / POSTERIOR, **arrays)  # type: ignore[arg-type]
    for b, value in enumerate(seconds):
        attempt.facts.scalars(b, "infer", {"cpu_seconds": float(value)})


def dims(posterior: GraphPosterior, n_samples: int) -> dict[str, int]:
    """The sizes that stand in the run's `meta.json`."""
    n_tasks, n_nodes = posterior.node_mask.shape
    return {"n_tasks": n_tasks, "n_nodes": n_nodes, "n_samples": n_samples}
