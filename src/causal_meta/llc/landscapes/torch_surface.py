"""The surface of a torch landscape, for descents and spectra (`llc.landscapes.surfaces`)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from causal_meta.llc.landscapes.torch_landscape import TorchLandscape

Floats = NDArray[np.float64]


class TorchSurface:
    """L_n of a torch landscape around its w*, its gradient, and its curvature by central
    differences of gradients, in float64."""

    def __init__(self, landscape: TorchLandscape) -> None:
        self.landscape = landscape.at_width("float64")
        self.centre: Floats = self.landscape.centre.detach().cpu().numpy().astype(np.float64)

    def value_and_gradient(self, w: Floats) -> tuple[float, Floats]:
        """L_n(w) and its gradient [P]."""
        values, slopes = self.landscape.value_and_gradient(self._tensor(w)[None])
        return float(values[0]), slopes[0].cpu().numpy()

    def product(self, w: Floats, direction: Floats) -> Floats:
        """The Hessian of L_n at w times a direction [P]; two gradients."""
        return self.landscape.curvature(self._tensor(w), self._tensor(direction)).cpu().numpy()

    def hessian(self, w: Floats) -> None:
        """Never made whole."""
        return None

    def _tensor(self, values: Floats) -> torch.Tensor:
        return torch.as_tensor(values).to(self.landscape.centre)
