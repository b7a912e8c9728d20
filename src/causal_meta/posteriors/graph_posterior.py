"""The abstract posterior over graphs: the questions that every member answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int8
from torch import Tensor
from torch.nn import functional

from causal_meta.method_diagnostics import MethodDiagnostics
from causal_meta.posteriors.mechanism_posterior import MechanismPosterior
from causal_meta.randomness import torch_generator

if TYPE_CHECKING:
    import networkx

Arrays = dict[str, np.ndarray]

#: Graphs are sampled in pieces of at most this many edge entries.
ENTRIES_AT_ONCE = 1 << 26


def pair_mask(node_mask: Bool[Tensor, "B D"]) -> Bool[Tensor, "B D D"]:
    """Ordered pairs that can be an edge: both variables real and different.

    >>> pair_mask(torch.tensor([[True, True, False]]))[0].int().tolist()
    [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
    """
    both = node_mask.unsqueeze(-1) & node_mask.unsqueeze(-2)
    return both & ~torch.eye(node_mask.shape[-1], dtype=torch.bool, device=node_mask.device)


class GraphPosterior(ABC):
    """One distribution over directed graphs for each of B tasks, padded to D variables.

    A member names its tensors, with their dimensions, in `shapes`; its constructor takes them in
    that order and then the mask of real variables. Padding, stacking and files follow from it.
    """

    #: The tag in stored arrays.
    type_name: ClassVar[str]
    #: The dimensions of each tensor, the first being B: `{"logits": "B D D"}`.
    shapes: ClassVar[Mapping[str, str]]
    #: The value of each tensor at padded entries.
    padding: ClassVar[Mapping[str, float]]
    #: The dimensions along which tasks may differ, and are padded.
    ragged: ClassVar[frozenset[str]] = frozenset("D")
    #: What `representative_graphs` returns, in words.
    representatives: ClassVar[str] = "draws from the posterior"

    node_mask: Tensor
    #: What the method reports about its work, over all tasks of this posterior.
    diagnostics: MethodDiagnostics = MethodDiagnostics()

    @abstractmethod
    def __init__(self, *tensors: Tensor) -> None:
        """The tensors in the order of `shapes`, then the mask of real variables."""

    @property
    @abstractmethod
    def edge_probabilities(self) -> Float[Tensor, "B D D"]:
        """Marginal probability of every edge; 0 on the diagonal and at padded variables."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Int8[Tensor, "B n D D"]:
        """`n` graphs per task. Without a generator the draw is always the same; the global
        generator is never used."""

    @abstractmethod
    def log_prob(self, adjacency: Float[Tensor, "B D D"]) -> Float[Tensor, " B"]:
        """Log probability of one graph per task in nats. Entries at padded variables are
        ignored."""

    @abstractmethod
    def entropy(self) -> Float[Tensor, " B"]:
        """Entropy in nats of the distribution that `log_prob` evaluates."""

    @property
    def smoothing(self) -> float:
        """The least probability of an edge or its absence under `log_prob` where that differs from
        the distribution of `sample`; 0 where they are the same distribution."""
        return 0.0

    def representative_graphs(
        self, count: int, generator: torch.Generator | None = None
    ) -> Int8[Tensor, "B S D D"]:
        """Graphs to average over: `count` draws, or all graphs of a posterior that is a finite set
        of equally likely ones."""
        generator = or_fixed(generator)
        n_nodes = self.node_mask.shape[1]
        at_once = max(1, ENTRIES_AT_ONCE // max(1, len(self) * n_nodes**2))
        pieces = [
            self.sample(min(at_once, count - start), generator)
            for start in range(0, count, at_once)
        ]
        return torch.cat(pieces, dim=1)

    def mechanism_posterior(self) -> MechanismPosterior | None:
        """The posterior over mechanisms; None where the method answers about graphs alone."""
        return None

    def pooled(self) -> Self:
        """One posterior (B = 1) from the B posteriors of parts of one table. Raises ValueError for
        a type that has no rule for this."""
        raise ValueError(
            f"A posterior of type {self.type_name!r} cannot be averaged over parts of a table; "
            "give fewer rows."
        )

    def __len__(self) -> int:
        return self.node_mask.shape[0]

    # ------------------------------------------------------------------ tasks of different sizes

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], node_mask: Tensor) -> Self:
        """The posterior with these tensors, named as in `shapes`."""
        return cls(*(tensors[name] for name in cls.shapes), node_mask)

    def task(self, b: int) -> Self:
        """The posterior of task `b` alone (B = 1), without its padded variables."""
        real = torch.nonzero(self.node_mask[b]).flatten()
        tensors = {}
        for name, shape in self.shapes.items():
            tensor = getattr(self, name)[b : b + 1]
            for axis, letter in enumerate(shape.split()):
                if letter == "D":
                    tensor = tensor.index_select(axis, real)
            tensors[name] = tensor
        return self.from_tensors(tensors, self.node_mask[b : b + 1, real])

    def padded(self, n_nodes: int) -> Self:
        """The same posterior with padded variables up to `n_nodes`. Raises ValueError if it has
        more."""
        if n_nodes < self.node_mask.shape[1]:
            raise ValueError(
                f"The posterior has {self.node_mask.shape[1]} variables and cannot be padded to "
                f"{n_nodes}."
            )
        result = self._grown({"D": n_nodes})
        result.diagnostics = self.diagnostics
        return result

    @classmethod
    def stack(cls, posteriors: Sequence[Self]) -> Self:
        """The posterior of all tasks of several posteriors of this type, in their order, padded to
        the largest. Raises ValueError where they cannot be padded."""
        sizes: dict[str, set[int]] = {}
        for posterior in posteriors:
            for letter, size in posterior._sizes().items():
                sizes.setdefault(letter, set()).add(size)
        for letter, values in sizes.items():
            if letter not in cls.ragged and len(values) > 1:
                raise ValueError(
                    f"Posteriors of type {cls.type_name!r} whose sizes {letter} are "
                    f"{sorted(values)} cannot be put together; they must be equal."
                )
        largest = {letter: max(values) for letter, values in sizes.items()}
        grown = [posterior._grown(largest) for posterior in posteriors]
        result = cls.from_tensors(
            {name: torch.cat([getattr(one, name) for one in grown]) for name in cls.shapes},
            torch.cat([one.node_mask for one in grown]),
        )
        result.diagnostics = MethodDiagnostics.total(one.diagnostics for one in posteriors)
        return result

    def _sizes(self) -> dict[str, int]:
        return {
            letter: size
            for name, shape in self.shapes.items()
            for letter, size in zip(shape.split()[1:], getattr(self, name).shape[1:], strict=True)
        }

    def _grown(self, sizes: Mapping[str, int]) -> Self:
        """The posterior with the dimensions named in `sizes` padded at their ends."""

        def grow(tensor: Tensor, shape: str, value: float) -> Tensor:
            missing = [
                sizes.get(letter, size) - size
                for letter, size in zip(shape.split()[1:], tensor.shape[1:], strict=True)
            ]
            ends = [end for count in reversed(missing) for end in (0, count)]
            return functional.pad(tensor, ends, value=value)

        tensors = {
            name: grow(getattr(self, name), shape, self.padding[name])
            for name, shape in self.shapes.items()
        }
        return self.from_tensors(tensors, grow(self.node_mask, "B D", False))

    # --------------------------------------------------------------------------- files and export

    def arrays(self) -> Arrays:
        """`type`, the tensors of `shapes` and `node_mask`, for `numpy.savez`; no objects."""
        tensors = {name: to_numpy(getattr(self, name)) for name in self.shapes}
        return {"type": np.array(self.type_name), **tensors, "node_mask": to_numpy(self.node_mask)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The inverse of `arrays`; further keys are ignored."""
        tensors = {name: torch.from_numpy(np.array(arrays[name])) for name in cls.shapes}
        return cls.from_tensors(tensors, torch.from_numpy(np.array(arrays["node_mask"])))

    def to_networkx(
        self, b: int, columns: Sequence[str], threshold: float = 0.0
    ) -> networkx.DiGraph:
        """Task `b` as a directed graph whose edges carry `probability`.

        Args:
            b: the task.
            columns: a name for each real variable, all different.
            threshold: edges with at most this probability are left out.

        Raises:
            ValueError: the names and the real variables do not match.
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


def or_fixed(generator: torch.Generator | None) -> torch.Generator:
    """The generator, or where there is none a new one with a fixed seed."""
    return torch_generator(0, "posterior") if generator is None else generator


def to_numpy(tensor: Tensor) -> np.ndarray:
    """The values of a tensor on any device, without gradient."""
    return tensor.detach().cpu().numpy()


def check_shapes(values: Tensor, node_mask: Tensor, name: str, shape: str) -> None:
    """Raise ValueError unless `values` has the dimensions of `shape` (such as "B S D D") and
    `node_mask` the matching [B, D]."""
    letters = shape.split()
    came = tuple(values.shape)
    nodes = {size for letter, size in zip(letters, came, strict=False) if letter == "D"}
    if len(came) != len(letters) or len(nodes) != 1 or tuple(node_mask.shape) != (came[0], *nodes):
        raise ValueError(
            f"The {name} have shape {came} and the node mask {tuple(node_mask.shape)}; they must "
            f"be [{', '.join(letters)}] and [B, D]."
        )


def check_one_graph_per_task(adjacency: Tensor, pairs: Tensor) -> None:
    """Raise ValueError unless `adjacency` has the shape [B, D, D] of `pairs`."""
    if adjacency.shape != pairs.shape:
        raise ValueError(
            f"The adjacency has shape {tuple(adjacency.shape)}; give one graph per task, shape "
            f"{tuple(pairs.shape)}."
        )
