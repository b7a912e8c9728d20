"""Posteriors of runs, read back from `posterior.npz`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int8

from causal_meta.conf.setting import ConfigError
from causal_meta.facts import read_scalars
from causal_meta.method_diagnostics import MethodDiagnostics
from causal_meta.posteriors import Arrays, GraphPosterior, load_posterior

if TYPE_CHECKING:
    from causal_meta.store import Artifact

POSTERIOR = "posterior.npz"


def has_posterior(artifact: Artifact) -> bool:
    """Whether the artifact holds a posterior over graphs."""
    return (artifact.folder / POSTERIOR).is_file()


def read_posterior(artifact: Artifact) -> GraphPosterior:
    """The posterior of a run over all its tasks, with the diagnostics of its method. Raises
    `ConfigError` if the run has none."""
    posterior = load_posterior(_arrays(artifact))
    posterior.diagnostics = MethodDiagnostics.from_entries(artifact.meta)
    return posterior


def read_graphs(artifact: Artifact) -> Int8[np.ndarray, "B S D D"] | None:
    """The graphs stored with a posterior: its particles, or draws from it; None where the file
    holds none. Raises `ConfigError` if the run has no posterior."""
    graphs = _arrays(artifact).get("graphs")
    return None if graphs is None else graphs.astype(np.int8)


def read_seconds(artifact: Artifact) -> Float[np.ndarray, " B"]:
    """CPU seconds per task of a run with a posterior; NaN where unknown."""
    scalars = read_scalars(artifact.folder)
    scalars = scalars[(scalars["split"] == "infer") & (scalars["name"] == "cpu_seconds")]
    tasks = range(len(_arrays(artifact)["node_mask"]))
    return scalars.set_index("step")["value"].reindex(tasks).to_numpy(dtype=np.float64)


def _arrays(artifact: Artifact) -> Arrays:
    if not has_posterior(artifact):
        raise ConfigError(
            f"{artifact.id}, a run of kind {artifact.kind!r}, holds no posterior; give a run such "
            "as boss, empty or discover."
        )
    with np.load(artifact.folder / POSTERIOR, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
