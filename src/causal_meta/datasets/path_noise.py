"""Exogenous noise of several numbers per value, for mechanisms that simulate a path."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from causal_meta.datasets.noise import ROWS, Names, NoiseLaw


class PathNoise(NoiseLaw):
    """`numbers` independent draws of `law` for every row and variable: float32 [B, N, D,
    numbers]."""

    def __init__(self, law: NoiseLaw, numbers: int) -> None:
        super().__init__(law.config)
        self.law, self.numbers = law, numbers

    def sample(
        self, seeds: Sequence[int], n_rows: int, n_nodes: int, names: Names = ROWS
    ) -> Tensor:
        return self.law.sample(seeds, n_rows, n_nodes * self.numbers, names).unflatten(
            2, (n_nodes, self.numbers)
        )

    def log_prob(self, e: Tensor) -> Tensor:
        return self.law.log_prob(e).sum(dim=-1)

    def law_of(self, seed: int) -> NoiseLaw:
        return PathNoise(self.law.law_of(seed), self.numbers)
