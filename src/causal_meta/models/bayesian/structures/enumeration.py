"""The posterior over graphs by a list of all directed acyclic graphs of at most 5 variables."""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float, Int8, Int64

from causal_meta.models.bayesian.structures.family_tables import FamilyTables
from causal_meta.models.bayesian.structures.graph_sums import (
    GraphSums,
    ancestor_shares,
    draw_entries,
)
from causal_meta.models.bayesian.structures.set_functions import masks_of, members_of

#: The largest number of variables that is enumerated: 29,281 graphs.
LARGEST = 5


class EnumeratedGraphs(GraphSums):
    """The modular posterior as a list of all graphs with their log weights.

    Raises:
        ValueError: more than `LARGEST` variables, or no graph has a positive weight.
    """

    def __init__(self, tables: FamilyTables) -> None:
        super().__init__(tables)
        self.graphs = all_graphs(self.n_nodes)
        weights = self.log_weights(self.graphs)
        self.log_evidence = float(np.logaddexp.reduce(weights))
        if not np.isfinite(self.log_evidence):
            raise ValueError(
                "No acyclic graph has a positive probability under these candidates and this "
                "knowledge; allow more edges or require fewer."
            )
        #: The log posterior probability of each of `graphs`.
        self.log_probabilities = weights - self.log_evidence

    def family_log_probabilities(self) -> Float[np.ndarray, "D M"]:
        """Entry (v, b): the log of the posterior probability that the parents of v are the
        candidates of the bits b."""
        out = np.zeros_like(self.tables.scores)
        chosen, probabilities = self.tables.chosen(self.graphs), np.exp(self.log_probabilities)
        for v in range(self.n_nodes):
            out[v] = np.bincount(chosen[:, v], weights=probabilities, minlength=out.shape[1])
        with np.errstate(divide="ignore"):
            return np.log(out)

    def ancestor_probabilities(
        self, n: int, generator: np.random.Generator
    ) -> Float[np.ndarray, "D D"]:
        """Entry (i, j): the exact probability that a directed path leads from i to j; 0 for i = j.
        The arguments are not used."""
        return ancestor_shares(self.graphs, np.exp(self.log_probabilities))

    def sample(self, n: int, generator: np.random.Generator) -> Int8[np.ndarray, "n D D"]:
        """`n` independent draws from the list."""
        rows = np.zeros(n, np.int64)
        return self.graphs[draw_entries(self.log_probabilities[None], rows, generator)]

    def log_prob(self, graphs: Int8[np.ndarray, "S D D"]) -> Float[np.ndarray, " S"]:
        """The log posterior probability of acyclic graphs, in nats."""
        return self.log_probabilities[self.numbers(graphs)]

    def numbers(self, graphs: Int8[np.ndarray, "S D D"]) -> Int64[np.ndarray, " S"]:
        """The place of each acyclic graph in `graphs`.

        Raises:
            ValueError: a graph has a cycle.
        """
        codes, wanted = _codes(self.graphs), _codes(np.asarray(graphs))
        places = np.minimum(np.searchsorted(codes, wanted), len(codes) - 1)
        if (codes[places] != wanted).any():
            raise ValueError("A graph has a cycle; give directed acyclic graphs.")
        return places


@functools.lru_cache(maxsize=LARGEST)
def all_graphs(n_nodes: int) -> Int8[np.ndarray, "G D D"]:
    """All directed acyclic graphs of D labelled variables, by rising code (`_codes`); read-only.

    1, 3, 25, 543, 29281 of them (OEIS A003024).

    Raises:
        ValueError: more than `LARGEST` variables.

    >>> [len(all_graphs(n)) for n in range(1, 5)]
    [1, 3, 25, 543]
    """
    if not 0 <= n_nodes <= LARGEST:
        raise ValueError(
            f"{n_nodes} variables have too many graphs to list them; give at most {LARGEST}."
        )
    if n_nodes == 0:
        return np.zeros((1, 0, 0), np.int8)
    smaller = all_graphs(n_nodes - 1)
    sets = members_of(np.arange(1 << (n_nodes - 1)), n_nodes - 1).astype(np.int8)
    count = len(sets)
    grown = np.zeros((len(smaller), count, count, n_nodes, n_nodes), np.int8)
    grown[..., :-1, :-1] = smaller[:, None, None]
    grown[..., :-1, -1] = sets[:, None]  # causes of the new variable
    grown[..., -1, :-1] = sets[None]  # its effects
    graphs = grown.reshape(-1, n_nodes, n_nodes)
    graphs = graphs[_acyclic(graphs)]
    graphs = graphs[np.argsort(_codes(graphs))]
    graphs.flags.writeable = False
    return graphs


def _acyclic(graphs: Int8[np.ndarray, "G D D"]) -> np.ndarray:
    """Which graphs have no cycle: no power of the adjacency has a diagonal entry."""
    power = edges = graphs.astype(np.int64)
    closed = np.zeros(len(graphs), bool)
    for _ in range(graphs.shape[1]):
        closed |= np.trace(power, axis1=1, axis2=2) > 0
        power = power @ edges
    return ~closed


def _codes(graphs: Int8[np.ndarray, "G D D"]) -> Int64[np.ndarray, " G"]:
    """The number whose bits are the entries of the adjacency, row by row."""
    return masks_of(np.asarray(graphs).reshape(len(graphs), -1) != 0)
