"""Random geometric graphs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.graph_laws import Geometric
from causal_meta.datasets.graph_families.law import GraphGenerator, earlier, values_of
from causal_meta.fixed_order import in_order

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)


def within(radius: float, dim: int) -> float:
    """P(two uniform points of the unit cube are at most `radius` apart), by Gauss-Legendre
    quadrature over one axis after another.

    The distance t along one axis has density 2 (1 - t). One axis: r (2 - r).

    >>> round(within(0.5, 1), 6), abs(within(0.3, 2) - (
    ... math.pi * 0.3**2 - 8 * 0.3**3 / 3 + 0.3**4 / 2)) < 1e-9
    (0.75, True)
    """
    return float(_within(np.array([min(radius, math.sqrt(dim))]), dim)[0])


def _within(radius: np.ndarray, dim: int) -> np.ndarray:
    if dim == 1:
        r = np.minimum(radius, 1.0)
        return r * (2.0 - r)
    # t = top sin(a) takes the root's kink at t = radius away
    top = np.minimum(radius, 1.0)
    angle = np.arcsin(top / np.maximum(radius, 1e-300))[:, None] * (1 + _NODES) / 2
    t = radius[:, None] * np.sin(angle)
    width = np.arcsin(top / np.maximum(radius, 1e-300))[:, None] / 2
    inner = _within((radius[:, None] * np.cos(angle)).ravel(), dim - 1).reshape(t.shape)
    return (_WEIGHTS * width * radius[:, None] * np.cos(angle) * 2 * (1 - t) * inner).sum(axis=1)


class GeometricGenerator(GraphGenerator):
    """Random geometric graph (Gilbert 1961): D points uniform in the unit cube (no wrapping), pairs
    at most `radius` apart joined.

    Edges are directed by a uniformly random order, which has nothing to do with the points, or by
    the points' first coordinate.
    """

    config: Geometric

    def expected_edges(self, n_nodes: int) -> float:
        return within(self.config.radius, self.config.dim) * n_nodes * (n_nodes - 1) / 2

    @property
    def group(self) -> tuple[object, ...]:
        return (self.config.dim, self.config.order)

    def __call__(self, seeds: Sequence[int], n_nodes: int) -> Float[Tensor, "B D D"]:
        return self.together([self], torch.zeros(len(seeds), dtype=torch.int64), seeds, n_nodes)

    @classmethod
    def together(
        cls, laws: Sequence[GeometricGenerator], which: Tensor, seeds: Sequence[int], n_nodes: int
    ) -> Tensor:
        config = laws[0].config
        points = randomness.uniforms(seeds, ("graph", "geometric", "points"), (config.dim, n_nodes))
        apart = in_order((points[:, :, :, None] - points[:, :, None, :]).square_(), dim=1)
        if config.order == "axis":
            # two points may share a coordinate
            place = points[:, 0].argsort(dim=1, stable=True).argsort(dim=1)
            forward = place[:, :, None] < place[:, None, :]
        else:
            forward = earlier(seeds, "geometric", n_nodes)
        return (
            (apart <= values_of(laws, which, lambda law: law.config.radius**2, 2)) & forward
        ).to(torch.float32)
