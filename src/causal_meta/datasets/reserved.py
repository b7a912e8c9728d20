"""Graphs that a training stream must not draw, distinguished by the labelled graph, its isomorphism
class or its Markov equivalence class."""

from __future__ import annotations

from collections.abc import Iterable

from jaxtyping import Shaped
from torch import Tensor

from causal_meta.graph_classes import Level, class_hashes, class_signatures

_WORDS = {
    "graph": "graphs",
    "isomorphism": "isomorphism classes",
    "equivalence": "Markov equivalence classes",
}


class Reserved:
    """A set of classes of graphs at one level.

    Attributes: `level`; `hashes`, those of the classes; `signatures`, numbers of the same classes
    that are cheap to compute: a graph whose signature is not among them is in none of the classes
    and needs no hash. Without signatures (None) every graph is hashed.
    """

    def __init__(
        self,
        level: Level = "graph",
        hashes: Iterable[str] = (),
        signatures: Iterable[int] | None = None,
    ) -> None:
        self.level: Level = level
        self.hashes = frozenset(hashes)
        self.signatures = None if signatures is None or level == "graph" else frozenset(signatures)

    @classmethod
    def of(cls, level: Level, batches: Iterable[Shaped[Tensor, "B D D"]]) -> Reserved:
        """The classes of all graphs in batches.

        >>> import torch
        >>> taken = Reserved.of("equivalence", [torch.tensor([[[0, 1], [0, 0]]])])  # 0 -> 1
        >>> taken.collisions(torch.tensor([[[0, 0], [1, 0]], [[0, 0], [0, 0]]])), Reserved.of(
        ... "graph", []).collisions(torch.zeros(1, 2, 2))
        ([0], [])
        """
        kept = list(batches)
        hashes = (digest for batch in kept for digest in class_hashes(batch, level))
        return cls(
            level, hashes, (value for batch in kept for value in class_signatures(batch, level))
        )

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def words(self) -> str:
        """The plural noun for the reserved classes, for messages."""
        return _WORDS[self.level]

    def collisions(self, adjacency: Shaped[Tensor, "B D D"]) -> list[int]:
        """The positions of the graphs whose class is in the set."""
        if not self.hashes:
            return []
        places = list(range(len(adjacency)))
        if self.signatures is not None:
            signatures_here = class_signatures(adjacency, self.level)
            places = [b for b in places if signatures_here[b] in self.signatures]
            if not places:
                return []
        digests = class_hashes(
            adjacency if len(places) == len(adjacency) else adjacency[places], self.level
        )
        return [b for b, digest in zip(places, digests, strict=True) if digest in self.hashes]
