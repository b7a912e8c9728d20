"""Laws of the exogenous noise: mean 0, unit variance, independent over tasks, rows and variables.

The noise of row n does not depend on how many rows are drawn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.noise_laws import NoiseConfig, NoiseMixture
from causal_meta.conf.registry import implementation
from causal_meta.datasets.mixtures import draw_parts, tasks_by_part

_NAMES = ("noise",)


class NoiseLaw(ABC):
    """A law of exogenous noise. A new law is a file with a subclass, its dataclass and its line in the registry.

    `path` names the place of the law inside nested mixtures, so that each mixture draws its parts by numbers of its own.
    """

    def __init__(self, config: NoiseConfig, path: tuple[str, ...] = ()) -> None:
        self.config = config

    @abstractmethod
    def sample(self, seeds: Sequence[int], n_rows: int, n_nodes: int) -> Tensor:
        """Float32 [B, N, D]; task b depends on seeds[b] alone."""

    def law_of(self, seed: int) -> NoiseLaw:
        """The law that holds for the whole of task `seed`: for a mixture its part."""
        return self


def make_noise(config: NoiseConfig, path: tuple[str, ...] = ()) -> NoiseLaw:
    """The law that `config` describes."""
    law: NoiseLaw = implementation(config)(config, path)
    return law


class Gaussian(NoiseLaw):
    """e ~ N(0, 1)."""

    def sample(self, seeds: Sequence[int], n_rows: int, n_nodes: int) -> Tensor:
        return randomness.normals(seeds, _NAMES, (n_rows, n_nodes))


class Laplace(NoiseLaw):
    """e ~ Laplace with mean 0 and scale 1/sqrt 2."""

    def sample(self, seeds: Sequence[int], n_rows: int, n_nodes: int) -> Tensor:
        return randomness.laplaces(seeds, _NAMES, (n_rows, n_nodes))


class Mixture(NoiseLaw):
    """One of the named parts for each task, for all its variables."""

    def __init__(self, config: NoiseMixture, path: tuple[str, ...] = ()) -> None:
        super().__init__(config, path)
        self.names = ("noise part", *path)
        self.weights = [part.weight for part in config.parts.values()]
        self.parts = [make_noise(part.noise, (*path, name)) for name, part in config.parts.items()]

    def law_of(self, seed: int) -> NoiseLaw:
        return self.parts[int(draw_parts([seed], self.names, self.weights, ())[0])].law_of(seed)

    def sample(self, seeds: Sequence[int], n_rows: int, n_nodes: int) -> Tensor:
        out = torch.empty(len(seeds), n_rows, n_nodes)
        for part, tasks in tasks_by_part(draw_parts(seeds, self.names, self.weights, ())):
            out[tasks] = self.parts[part].sample([seeds[b] for b in tasks.tolist()], n_rows, n_nodes)
        return out
