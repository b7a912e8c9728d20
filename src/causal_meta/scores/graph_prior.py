"""Priors over graphs that are a product over families and depend on in-degrees alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import gammaln

KINDS = ("fair", "uniform")


@dataclass(frozen=True, kw_only=True)
class GraphPrior:
    """log prior of a graph of D variables, up to a constant, as a sum over families of

        fair      -log C(D-1, p) - theta p    every in-degree alike, then every set of that size
        uniform   -theta p                    every graph alike when theta = 0

    with p parents and theta the `edge_penalty` in nats. Since a covered edge only exchanges
    in-degrees, graphs of one Markov equivalence class have equal priors under `uniform`; under
    `fair` those whose in-degrees are permutations of each other have.

    Raises:
        ValueError: an unknown kind, no variables, or a penalty that is not finite.

    Reference: Friedman and Koller (2003), section 3, for `fair`.
    """

    n_nodes: int
    kind: str = "fair"
    edge_penalty: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"prior {self.kind!r} is unknown; choose one of {', '.join(KINDS)}")
        if self.n_nodes < 1:
            raise ValueError(f"a graph has at least one variable; n_nodes is {self.n_nodes}")
        if not np.isfinite(self.edge_penalty):
            raise ValueError(f"edge_penalty must be a finite number; it is {self.edge_penalty}")

    def families(self, p: Int[np.ndarray, "*families"]) -> Float[np.ndarray, "*families"]:
        """The log prior of families with `p` parents, in nats; -inf for more than D - 1."""
        p = np.asarray(p)
        others = self.n_nodes - 1
        possible = (p >= 0) & (p <= others)
        p = np.where(possible, p, 0)
        log_prior = -float(self.edge_penalty) * p
        if self.kind == "fair":
            log_prior -= gammaln(others + 1) - gammaln(p + 1) - gammaln(others - p + 1)
        return np.where(possible, log_prior, -np.inf)
