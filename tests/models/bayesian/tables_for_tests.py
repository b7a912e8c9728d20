"""Local scores without data, for laws of sums and samplers: any number for any family."""

import numpy as np

from causal_meta.models.bayesian.structures.set_functions import masks_of
from causal_meta.scores.local_score import LocalScore


class AnyScore(LocalScore):
    """`table[v, b]` is the score of v with the variables of the set bits of b as parents."""

    def __init__(self, table):
        self.values = np.asarray(table, np.float64)
        self.n_nodes = len(self.values)

    def families(self, node, parents):
        members = np.zeros((len(parents), self.n_nodes), bool)
        members[np.arange(len(parents))[:, None], np.asarray(parents, np.int64)] = True
        return self.values[node, masks_of(members)]

    @classmethod
    def drawn(cls, n_nodes, seed, spread=3.0):
        """Normal scores with this standard deviation in nats."""
        drawn = np.random.default_rng(seed).normal(size=(n_nodes, 1 << n_nodes))
        return cls(spread * drawn)

    @classmethod
    def constant(cls, n_nodes):
        """Every graph alike."""
        return cls(np.zeros((n_nodes, 1 << n_nodes)))
