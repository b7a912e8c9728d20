"""The surface of a torch landscape, for descents and spectra (`llc.landscapes.surfaces`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from causal_meta.llc.landscapes.torch_landscape import TorchLandscape

if TYPE_CHECKING:
    Vector = Float[np.ndarray, " P"]


class TorchSurface:
    """L_n of a torch landscape around its w*, its gradient, and its curvature by central
    differences of gradients, in float64."""

    def __init__(self, landscape: TorchLandscape) -> None:
        self.landscape = landscape.at_width("float64")
        self.centre: Vector = self.landscape.centre.detach().cpu().numpy().astype(np.float64)

    def value_and_gradient(self, w: Vector) -> tuple[float, Vector]:
        """L_n(w) and its gradient."""
        values, slopes = self.landscape.value_and_gradient(self._tensor(w)[None])
        return float(values[0]), slopes[0].cpu().numpy()

    def product(self, w: Vector, direction: Vector) -> Vector:
        """The Hessian of L_n at w times a direction, from two gradients."""
        return self.landscape.curvature(self._tensor(w), self._tensor(direction)).cpu().numpy()

    def hessian(self, w: Vector) -> None:
        """None: the matrix is never computed."""
        return None

    def _tensor(self, values: Vector) -> torch.Tensor:
        return torch.as_tensor(values).to(self.landscape.centre)
