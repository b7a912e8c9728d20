"""What is known about a graph before any data: edges that are forbidden or required, a bound on the
number of causes.

`forbidden[i, j]` means that i does not cause j directly, `required[i, j]` that it does. Tiers are
forbidden edges: no variable of a later tier causes one of an earlier tier.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Shaped


class KnowledgeError(ValueError):
    """Knowledge that no graph satisfies, or that names no variable of the table: one sentence."""


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Forbidden and required edges among D variables.

    Args:
        forbidden: entry (i, j): i is no direct cause of j. The diagonal is always forbidden.
        required: entry (i, j): i is a direct cause of j.
        max_parents: the largest number of direct causes of a variable; None for no bound.
        columns: names for the variables, used in messages; empty for "variable 0" and so on.

    Raises:
        KnowledgeError: an edge that is both, required edges that form a cycle, more required causes
            than `max_parents`.

    >>> known = Knowledge.none(3).forbid(0, 1)
    >>> bool(known.forbidden[0, 1]), known.allows(np.eye(3, k=1, dtype=int))
    (True, False)
    """

    forbidden: Bool[np.ndarray, "D D"]
    required: Bool[np.ndarray, "D D"]
    max_parents: int | None = None
    columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        forbidden = np.array(self.forbidden, dtype=bool)
        required = np.array(self.required, dtype=bool)
        if forbidden.ndim != 2 or len({*forbidden.shape, *required.shape}) != 1:
            raise KnowledgeError(
                f"Forbidden edges have shape {forbidden.shape} and required ones {required.shape}; "
                "both must be D by D."
            )
        np.fill_diagonal(forbidden, True)
        object.__setattr__(self, "forbidden", forbidden)
        object.__setattr__(self, "required", required)
        self._check()

    def _check(self) -> None:
        both = np.argwhere(self.forbidden & self.required)
        if len(both):
            i, j = both[0]
            raise KnowledgeError(
                f"The edge {self._name(i)} -> {self._name(j)} is both required and forbidden; keep "
                "one of the two."
            )
        cycle = _cycle(self.required)
        if cycle:
            path = " -> ".join(self._name(i) for i in cycle)
            raise KnowledgeError(f"The required edges form a cycle, {path}; leave one of them out.")
        if self.max_parents is not None:
            if self.max_parents < 0:
                raise KnowledgeError(
                    f"The largest number of direct causes is {self.max_parents}; give 0 or more."
                )
            many = np.flatnonzero(self.required.sum(axis=0) > self.max_parents)
            if len(many):
                raise KnowledgeError(
                    f"{self._name(many[0])} has {self.required[:, many[0]].sum()} required direct "
                    f"causes, and at most {self.max_parents} are allowed; raise the bound or "
                    "require fewer."
                )

    def _name(self, i: int) -> str:
        return self.columns[i] if self.columns else f"variable {i}"

    @classmethod
    def none(cls, n_nodes: int, columns: Sequence[str] = ()) -> Knowledge:
        """Knowledge of nothing."""
        nothing = np.zeros((n_nodes, n_nodes), dtype=bool)
        return cls(nothing, nothing, None, tuple(columns))

    @property
    def n_nodes(self) -> int:
        """D."""
        return len(self.forbidden)

    @property
    def is_empty(self) -> bool:
        """Whether every graph is allowed."""
        off_diagonal = ~np.eye(self.n_nodes, dtype=bool)
        return (
            not (self.forbidden & off_diagonal).any()
            and not self.required.any()
            and self.max_parents is None
        )

    def forbid(self, cause: int, effect: int) -> Knowledge:
        """The same with one more forbidden edge."""
        forbidden = self.forbidden.copy()
        forbidden[cause, effect] = True
        return dataclasses.replace(self, forbidden=forbidden)

    def require(self, cause: int, effect: int) -> Knowledge:
        """The same with one more required edge."""
        required = self.required.copy()
        required[cause, effect] = True
        return dataclasses.replace(self, required=required)

    def with_tiers(self, tiers: Sequence[Sequence[int]]) -> Knowledge:
        """The same, where no variable of a later tier causes one of an earlier tier. Variables
        outside all tiers are unrestricted.

        Raises:
            KnowledgeError: a variable in two tiers, or a required edge against the tiers.
        """
        forbidden = self.forbidden.copy()
        earlier: list[int] = []
        for tier in tiers:
            again = set(tier) & set(earlier)
            if again:
                raise KnowledgeError(
                    f"{self._name(min(again))} stands in two tiers; leave it in one."
                )
            forbidden[np.ix_(list(tier), earlier)] = True
            earlier += tier
        return dataclasses.replace(self, forbidden=forbidden)

    def with_exogenous(self, variables: Sequence[int]) -> Knowledge:
        """The same, where these variables (contexts: a batch, a site, an experiment) have no
        causes among the D."""
        forbidden = self.forbidden.copy()
        forbidden[:, list(variables)] = True
        return dataclasses.replace(self, forbidden=forbidden)

    def allows(self, adjacency: Shaped[np.ndarray, "*S D D"]) -> bool:
        """Whether all of these graphs satisfy the knowledge. Cycles are not looked for."""
        edges = np.asarray(adjacency) != 0
        few = self.max_parents is None or bool((edges.sum(axis=-2) <= self.max_parents).all())
        return few and not (edges & self.forbidden).any() and not (~edges & self.required).any()


def _cycle(edges: Bool[np.ndarray, "D D"]) -> list[int]:
    """The variables of one directed cycle, the first repeated at the end; empty without one."""
    left = np.ones(len(edges), dtype=bool)
    while True:  # remove variables without causes until none is left or none can be removed
        roots = left & ~(edges & left[:, None]).any(axis=0)
        if not roots.any():
            break
        left &= ~roots
    if not left.any():
        return []
    path = [int(np.flatnonzero(left)[0])]
    while path[0] not in path[1:]:
        cause = int(np.flatnonzero(edges[:, path[-1]] & left)[0])
        if cause in path:
            path = path[path.index(cause) :]
            path.append(cause)
            break
        path.append(cause)
    return path[::-1]
