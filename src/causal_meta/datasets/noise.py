"""Laws of the exogenous noise: mean 0 and variance 1 where these exist, independent over tasks,
rows and variables.

The noise of row n does not depend on how many rows are drawn.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.noise_laws import NoiseConfig, NoiseMixture, StudentTNoise
from causal_meta.conf.registry import implementation
from causal_meta.datasets.mixtures import draw_parts, tasks_by_part

Names = tuple[str | int, ...]
ROWS: Names = ("noise",)  # the stream of the rows of a task's table


class NoiseLaw(ABC):
    """A law of exogenous noise. A new law is a subclass, its dataclass and its line in the
    registry.

    `path` names the place of the law inside nested mixtures, so that each mixture draws its parts
    by independent numbers.
    """

    def __init__(self, config: NoiseConfig, path: tuple[str, ...] = ()) -> None:
        self.config = config

    @abstractmethod
    def sample(
        self, seeds: Sequence[int], n_rows: int, n_nodes: int, names: Names = ROWS
    ) -> Float[Tensor, "B N D"]:
        """The noise of B tasks from the streams (seeds[b], names...); task b depends on seeds[b]
        alone. Other names give further, independent rows."""

    @abstractmethod
    def log_prob(self, e: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The logarithm of the density at every entry of e, in nats; -inf where the density is
        0."""

    def law_of(self, seed: int) -> NoiseLaw:
        """The law of all rows of task `seed`: for a mixture the part that was drawn."""
        return self


def make_noise(config: NoiseConfig, path: tuple[str, ...] = ()) -> NoiseLaw:
    """The law that `config` describes."""
    law: NoiseLaw = implementation(config)(config, path)
    return law


class Gaussian(NoiseLaw):
    """e ~ N(0, 1)."""

    def sample(
        self, seeds: Sequence[int], n_rows: int, n_nodes: int, names: Names = ROWS
    ) -> Float[Tensor, "B N D"]:
        return randomness.normals(seeds, names, (n_rows, n_nodes))

    def log_prob(self, e: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return -0.5 * e.square() - 0.5 * math.log(2 * math.pi)


class Laplace(NoiseLaw):
    """e ~ Laplace with mean 0 and scale 1/sqrt 2: density exp(-sqrt 2 |e|) / sqrt 2."""

    def sample(
        self, seeds: Sequence[int], n_rows: int, n_nodes: int, names: Names = ROWS
    ) -> Float[Tensor, "B N D"]:
        return randomness.laplaces(seeds, names, (n_rows, n_nodes))

    def log_prob(self, e: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return -math.sqrt(2) * e.abs() - 0.5 * math.log(2)


class Uniform(NoiseLaw):
    """e ~ U(-sqrt 3, sqrt 3)."""

    def sample(
        self, seeds: Sequence[int], n_rows: int, n_nodes: int, names: Names = ROWS
    ) -> Float[Tensor, "B N D"]:
        return randomness.uniforms(seeds, names, (n_rows, n_nodes)).sub_(0.5).mul_(2 * math.sqrt(3))

    def log_prob(self, e: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return torch.full_like(e, -math.log(2 * math.sqrt(3))).masked_fill_(
            e.abs() > math.sqrt(3), -math.inf
        )


class StudentT(NoiseLaw):
    """e = t sqrt((df - 2) / df), t ~ Student's t with df > 2 degrees of freedom."""

    config: StudentTNoise

    def __init__(self, config: StudentTNoise, path: tuple[str, ...] = ()) -> None:
        super().__init__(config, path)
        self.scale = math.sqrt((config.df - 2) / config.df)

    def sample(
        self, seeds: Sequence[int], n_rows: int, n_nodes: int, names: Names = ROWS
    ) -> Float[Tensor, "B N D"]:
        return randomness.student_ts(seeds, names, (n_rows, n_nodes), self.config.df).mul_(
            self.scale
        )

    def log_prob(self, e: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        df = self.config.df
        constant = (
            math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(math.pi * (df - 2))
        )
        return constant - (df + 1) / 2 * torch.log1p(e.square() / (df - 2))


class Gumbel(NoiseLaw):
    """e = (g - 0.5772) sqrt 6 / pi, g standard Gumbel: distribution function exp(-exp(-g)),
    skewness 1.14."""

    def sample(
        self, seeds: Sequence[int], n_rows: int, n_nodes: int, names: Names = ROWS
    ) -> Float[Tensor, "B N D"]:
        return randomness.gumbels(seeds, names, (n_rows, n_nodes))

    def log_prob(self, e: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        g = e * (math.pi / math.sqrt(6)) + randomness.EULER
        return -g - torch.exp(-g) + math.log(math.pi / math.sqrt(6))


class Cauchy(NoiseLaw):
    """e ~ Cauchy with median 0 and scale 1 (no mean, no variance): density 1 / (pi (1 + e²))."""

    def sample(
        self, seeds: Sequence[int], n_rows: int, n_nodes: int, names: Names = ROWS
    ) -> Float[Tensor, "B N D"]:
        return randomness.cauchys(seeds, names, (n_rows, n_nodes))

    def log_prob(self, e: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return -torch.log1p(e.square()) - math.log(math.pi)


class Mixture(NoiseLaw):
    """One of the named parts for each task, for all its variables."""

    def __init__(self, config: NoiseMixture, path: tuple[str, ...] = ()) -> None:
        super().__init__(config, path)
        self.names = ("noise part", *path)
        self.weights = [part.weight for part in config.parts.values()]
        self.parts = [make_noise(part.noise, (*path, name)) for name, part in config.parts.items()]

    def law_of(self, seed: int) -> NoiseLaw:
        return self.parts[int(draw_parts([seed], self.names, self.weights, ())[0])].law_of(seed)

    def sample(
        self, seeds: Sequence[int], n_rows: int, n_nodes: int, names: Names = ROWS
    ) -> Float[Tensor, "B N D"]:
        out = torch.empty(len(seeds), n_rows, n_nodes)
        for part, tasks in tasks_by_part(draw_parts(seeds, self.names, self.weights, ())):
            out[tasks] = self.parts[part].sample(
                [seeds[b] for b in tasks.tolist()], n_rows, n_nodes, names
            )
        return out

    def log_prob(self, e: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Of single numbers from a task whose part is not known; the numbers of one task share a
        part, so these do not add up: take `law_of`."""
        weights = torch.tensor(self.weights, dtype=torch.float64)
        parts = [
            part.log_prob(e) + float(w)
            for part, w in zip(self.parts, torch.log(weights / weights.sum()), strict=True)
        ]
        return torch.logsumexp(torch.stack(parts), dim=0)
