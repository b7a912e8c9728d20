"""Random graphs that do not read the rows."""

from __future__ import annotations

from collections import Counter

import numpy as np
from jaxtyping import Float, Int8

from causal_meta.conf.inference import RandomConfig
from causal_meta.knowledge import Knowledge
from causal_meta.models.classical.particle_method import ParticleMethod


class RandomGraphs(ParticleMethod[RandomConfig]):
    """Erdős–Rényi graphs that do not read the rows: every pair of a random order is an edge with
    p = min(1, 2 edges_per_node / (D - 1))."""

    def particles(
        self,
        x: Float[np.ndarray, "N D"],
        generator: np.random.Generator,
        knowledge: Knowledge | None = None,
    ) -> tuple[Int8[np.ndarray, "S D D"], Counter[str]]:
        count, n_nodes = self.config.n_samples, x.shape[1]
        p = min(1.0, 2 * self.config.edges_per_node / max(n_nodes - 1, 1))
        position = np.argsort(generator.random((count, n_nodes)), axis=1)
        earlier = position[:, :, None] < position[:, None, :]
        graphs = earlier & (generator.random((count, n_nodes, n_nodes)) < p)
        return graphs.astype(np.int8), Counter()
