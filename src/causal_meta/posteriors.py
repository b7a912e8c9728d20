"""Posteriors over causal graphs: what a model answers with, and what every metric, picture and
export asks.

A `GraphPosterior` holds one distribution over directed graphs for each of B tasks of a batch,
padded to D variables. Padded variables and self-loops have probability zero everywhere.
`adjacency[i, j] = 1` means i causes j. Shape letters: B tasks, D variables, S graphs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from causal_meta.randomness import torch_generator

if TYPE_CHECKING:
    import networkx

Arrays = dict[str, np.ndarray]


def pair_mask(node_mask: Tensor) -> Tensor:
    """Ordered pairs that can be an edge: both variables real and different; [B, D] bool -> [B, D,
    D] bool.

    >>> pair_mask(torch.tensor([[True, True, False]]))[0].int().tolist()
    [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    """
    both = node_mask.unsqueeze(-1) & node_mask.unsqueeze(-2)
    return both & ~torch.eye(node_mask.shape[-1], dtype=torch.bool, device=node_mask.device)


class GraphPosterior(ABC):
    """One distribution over directed graphs per task. `type_name` is the tag in stored arrays."""

    type_name: ClassVar[str]
    node_mask: Tensor

    @property
    @abstractmethod
    def edge_probabilities(self) -> Tensor:
        """Marginal probability of every edge, [B, D, D] float; 0 on the diagonal and at padded
        variables."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """`n` graphs per task, [B, n, D, D] int8. Without a generator the draw is a fixed one; the
        global generator is never used."""

    @abstractmethod
    def log_prob(self, adjacency: Tensor) -> Tensor:
        """Log probability of one graph per task in nats: [B, D, D] -> [B]. Entries at padded
        variables are ignored."""

    @abstractmethod
    def entropy(self) -> Tensor:
        """Entropy of the distribution that `log_prob` states, in nats, [B]."""

    @abstractmethod
    def arrays(self) -> Arrays:
        """All that is needed to make this posterior again, as arrays without objects: for
        `numpy.savez`."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The inverse of `arrays`; further keys are ignored."""

    def mechanism_posterior(self) -> None:
        """The posterior over mechanisms; None for models that answer about graphs alone."""
        return None

    def __len__(self) -> int:
        return self.node_mask.shape[0]

    def to_networkx(
        self, b: int, columns: Sequence[str], threshold: float = 0.0
    ) -> networkx.DiGraph:
        """Task `b` as a directed graph whose edges carry `probability`; edges with a probability at
        or below `threshold` are left out.

        Raises ValueError if `columns` does not name the task's real variables one for one.
        """
        import networkx

        real = torch.nonzero(self.node_mask[b]).flatten().tolist()
        if len(columns) != len(real) or len(set(columns)) != len(real):
            raise ValueError(
                f"{len(columns)} column names came for {len(real)} variables; give one name for "
                "each, all different."
            )
        graph = networkx.DiGraph()
        graph.add_nodes_from(columns)
        probabilities = self.edge_probabilities[b][real][:, real].tolist()
        for cause, row in zip(columns, probabilities, strict=True):
            for effect, probability in zip(columns, row, strict=True):
                if probability > threshold:
                    graph.add_edge(cause, effect, probability=float(probability))
        return graph


class IndependentEdges(GraphPosterior):
    """Every edge is a Bernoulli variable of its own: log p(A) = sum over i != j of log
    Bernoulli(A_ij; sigmoid(logits_ij)).

    Good for marginals; knows no correlations between edges, and its samples can have cycles.

    Parameters: `logits` [B, D, D], the diagonal and padded entries are ignored; infinite logits are
    certain edges; `node_mask` [B, D] bool, True at real variables. Raises ValueError for other
    shapes or NaN.

    >>> posterior = IndependentEdges(torch.zeros(1, 3, 3), torch.ones(1, 3, dtype=torch.bool))
    >>> round(float(posterior.entropy()), 4)  # six fair coins: 6 log 2
    4.1589
    """

    type_name = "independent_edges"

    def __init__(self, logits: Tensor, node_mask: Tensor) -> None:
        _check_square(logits, node_mask, "logits", dimensions=3)
        self.node_mask = node_mask.to(torch.bool)
        self._pairs = pair_mask(self.node_mask)
        if torch.isnan(logits[self._pairs]).any():
            raise ValueError(
                "The logits hold NaN at real edges; the model that gave them has diverged."
            )
        self.logits = torch.where(self._pairs, logits, torch.full_like(logits, -torch.inf))

    @classmethod
    def from_probabilities(cls, probabilities: Tensor, node_mask: Tensor) -> Self:
        """From edge probabilities [B, D, D] in [0, 1]; raises ValueError outside."""
        if not bool(((probabilities >= 0) & (probabilities <= 1)).all()):
            raise ValueError("Edge probabilities must lie between 0 and 1; some do not.")
        return cls(torch.logit(probabilities), node_mask)

    @property
    def edge_probabilities(self) -> Tensor:
        """sigmoid(logits), [B, D, D]."""
        return torch.sigmoid(self.logits)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Independent draws of every edge, [B, n, D, D] int8."""
        generator = _own_generator(generator)
        batch, nodes, _ = self.logits.shape
        uniform = torch.rand((batch, n, nodes, nodes), generator=generator, device=generator.device)
        return (
            uniform < self.edge_probabilities.unsqueeze(1).to(generator.device, torch.float32)
        ).to(torch.int8)

    def log_prob(self, adjacency: Tensor) -> Tensor:
        """Sum of the edges' log probabilities in nats, [B]; -inf for a graph with a self-loop."""
        return _independent_log_prob(self.logits, adjacency, self._pairs)

    def entropy(self) -> Tensor:
        """Sum of the edges' binary entropies in nats, [B]."""
        return _independent_entropy(self.logits, self._pairs)

    def arrays(self) -> Arrays:
        """`type`, `logits` [B, D, D] (-inf where no edge can be), `node_mask` [B, D]."""
        return {
            "type": np.array(self.type_name),
            "logits": _numpy(self.logits),
            "node_mask": _numpy(self.node_mask),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The inverse of `arrays`."""
        return cls(
            torch.from_numpy(np.array(arrays["logits"])),
            torch.from_numpy(np.array(arrays["node_mask"])),
        )


class EmpiricalGraphs(GraphPosterior):
    """S equally likely graphs per task (bootstrap replicates, particles, draws of a chain).

    Marginals are frequencies and `sample` draws graphs again with replacement. A finite set gives
    most graphs no mass at all, so `log_prob` and `entropy` speak of another, smoothed distribution
    with independent edges: with k of S graphs having an edge its probability is (k + 1) / (S + 2),
    Laplace's rule, over the off-diagonal pairs. It is never below 1 / (S + 2), knows no
    correlations, and depends on S: compare scores of equal S.

    Parameters: `graphs` [B, S, D, D] of 0 and 1; `node_mask` [B, D] bool. Raises ValueError for
    other shapes or values, self-loops, and edges at padded variables.

    >>> graphs = torch.tensor([[[[0, 1], [0, 0]], [[0, 1], [0, 0]]]])
    >>> EmpiricalGraphs(graphs, torch.ones(1, 2, dtype=torch.bool)).edge_probabilities.tolist()
    [[[0.0, 1.0], [0.0, 0.0]]]
    """

    type_name = "empirical_graphs"

    def __init__(self, graphs: Tensor, node_mask: Tensor) -> None:
        _check_square(graphs, node_mask, "graphs", dimensions=4)
        if graphs.shape[1] == 0:
            raise ValueError("No graph came; an empirical posterior needs at least one per task.")
        if not bool(((graphs == 0) | (graphs == 1)).all()):
            raise ValueError("The graphs must hold 0 and 1 only; other numbers came.")
        self.node_mask = node_mask.to(torch.bool)
        self._pairs = pair_mask(self.node_mask)
        self.graphs = graphs.to(torch.int8)
        if bool(self.graphs.any(dim=1)[~self._pairs].any()):
            raise ValueError(
                "The graphs have self-loops or edges at padded variables; these entries must be 0."
            )

    @property
    def edge_probabilities(self) -> Tensor:
        """Frequency of every edge, [B, D, D] float32."""
        return self.graphs.to(torch.float32).mean(dim=1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """`n` of the stored graphs with replacement, [B, n, D, D] int8."""
        generator = _own_generator(generator)
        batch, stored = self.graphs.shape[:2]
        chosen = torch.randint(stored, (batch, n), generator=generator, device=generator.device)
        graphs = self.graphs.to(generator.device)
        return graphs[torch.arange(batch, device=generator.device).unsqueeze(1), chosen]

    def _smoothed_logits(self) -> Tensor:
        count = self.graphs.sum(dim=1, dtype=torch.float64)
        return torch.log(count + 1) - torch.log(self.graphs.shape[1] - count + 1)

    def log_prob(self, adjacency: Tensor) -> Tensor:
        """Log probability under the smoothed independent edges, in nats, [B] float64."""
        return _independent_log_prob(self._smoothed_logits(), adjacency, self._pairs)

    def entropy(self) -> Tensor:
        """Entropy of the smoothed independent edges in nats, [B] float64."""
        return _independent_entropy(self._smoothed_logits(), self._pairs)

    def arrays(self) -> Arrays:
        """`type`, `graphs` [B, S, D, D] uint8, `node_mask` [B, D]."""
        return {
            "type": np.array(self.type_name),
            "graphs": _numpy(self.graphs.to(torch.uint8)),
            "node_mask": _numpy(self.node_mask),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The inverse of `arrays`."""
        return cls(
            torch.from_numpy(np.array(arrays["graphs"])),
            torch.from_numpy(np.array(arrays["node_mask"])),
        )


_TYPES: dict[str, type[GraphPosterior]] = {
    cls.type_name: cls for cls in (IndependentEdges, EmpiricalGraphs)
}


def load_posterior(arrays: Mapping[str, np.ndarray]) -> GraphPosterior:
    """The posterior that `GraphPosterior.arrays` described (an open `.npz` file will do); raises
    ValueError for an unknown `type`."""
    name = str(arrays["type"]) if "type" in arrays else "nothing"
    if name not in _TYPES:
        raise ValueError(
            f"The arrays describe a posterior of type {name!r}; allowed are "
            f"{', '.join(sorted(_TYPES))}."
        )
    return _TYPES[name].from_arrays(arrays)


def _independent_log_prob(logits: Tensor, adjacency: Tensor, pairs: Tensor) -> Tensor:
    if adjacency.shape != logits.shape:
        raise ValueError(
            f"The adjacency has shape {tuple(adjacency.shape)}; give one graph per task, shape "
            f"{tuple(logits.shape)}."
        )
    has_edge = adjacency.to(logits.device) > 0.5
    terms = functional.logsigmoid(torch.where(has_edge, logits, -logits))
    total = torch.where(pairs, terms, torch.zeros_like(terms)).sum(dim=(-2, -1))
    looped = torch.diagonal(has_edge, dim1=-2, dim2=-1).any(dim=-1)
    return total.masked_fill(looped, -torch.inf)


def _independent_entropy(logits: Tensor, pairs: Tensor) -> Tensor:
    terms = torch.special.entr(torch.sigmoid(logits)) + torch.special.entr(torch.sigmoid(-logits))
    return torch.where(pairs, terms, torch.zeros_like(terms)).sum(dim=(-2, -1))


def _own_generator(generator: torch.Generator | None) -> torch.Generator:
    return torch_generator(0, "posterior") if generator is None else generator


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _check_square(values: Tensor, node_mask: Tensor, name: str, dimensions: int) -> None:
    shape = tuple(values.shape)
    if (
        len(shape) != dimensions
        or shape[-1] != shape[-2]
        or tuple(node_mask.shape) != (shape[0], shape[-1])
    ):
        letters = "[B, D, D]" if dimensions == 3 else "[B, S, D, D]"
        raise ValueError(
            f"The {name} have shape {shape} and the node mask {tuple(node_mask.shape)}; they must "
            f"be {letters} and [B, D]."
        )
