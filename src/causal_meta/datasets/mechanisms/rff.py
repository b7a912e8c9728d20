"""In preparation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from causal_meta.conf.mechanism_laws import RFF
from causal_meta.datasets.mechanisms.law import MechanismLaw, Names, Parameters, Parents


class RFFFactory(MechanismLaw):
    """In preparation."""

    config: RFF

    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        raise NotImplementedError

    def apply(self, parameters: Parameters, inputs: Tensor, noise: Tensor) -> Tensor:
        raise NotImplementedError
