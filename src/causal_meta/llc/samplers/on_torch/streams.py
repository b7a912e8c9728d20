"""Random numbers of chains in torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from causal_meta.conf.samplers import ChainConfig
from causal_meta.llc.landscapes.torch_landscape import TorchLandscape
from causal_meta.llc.samplers.checkpoint import Arrays
from causal_meta.randomness import torch_generator

_BUFFER = 1 << 15  # random numbers of a chain drawn at once


class Streams:
    """Random numbers for C chains: every chain and purpose has the stream (seed, "llc", kind,
    purpose, chain), so that a chain does not depend on the number of chains. Numbers are made on
    the CPU, so that a GPU has the same ones, and many at a time."""

    def __init__(self, config: ChainConfig, landscape: TorchLandscape) -> None:
        self._name, self._chains = (config.seed, config.kind), config.chains
        self._device, self._dtype = landscape.device, landscape.dtype
        self._generators: dict[str, list[torch.Generator]] = {}
        self._ready: dict[str, tuple[Tensor, int]] = {}
        self._ahead = 1

    def normals(self, purpose: str, size: int) -> Float[Tensor, "C size"]:
        """Standard normal numbers."""
        return self._next(
            purpose,
            size,
            lambda count, source: torch.randn(count, size, generator=source, dtype=self._dtype),
        )

    def uniforms(self, purpose: str) -> Float[Tensor, " C"]:
        """Uniform numbers on [0, 1)."""
        return self._next(
            purpose,
            1,
            lambda count, source: torch.rand(count, 1, generator=source, dtype=self._dtype),
        )[:, 0]

    def indices(self, purpose: str, n: int, size: int) -> Int[Tensor, "C size"]:
        """Integers in 0 … n - 1."""
        return self._next(
            purpose, size, lambda count, source: torch.randint(n, (count, size), generator=source)
        )

    def signs(self, purpose: str, size: int) -> Float[Tensor, "C size"]:
        """-1 and 1 with equal probabilities."""
        return 2.0 * self.indices(purpose, 2, size).to(self._dtype) - 1.0

    def begin_segment(self, steps: int) -> None:
        """Discard the numbers drawn ahead, and draw ahead for at most `steps` steps from now on."""
        self._ready.clear()
        self._ahead = steps

    def arrays(self) -> Arrays:
        """The states of all generators."""
        return {
            f"stream.{purpose}": np.stack([one.get_state().numpy() for one in generators])
            for purpose, generators in self._generators.items()
        }

    def load(self, arrays: Arrays) -> None:
        """Restore the states of all generators."""
        for name in (name for name in arrays if name.startswith("stream.")):
            generators = self._of(name.removeprefix("stream."))
            for one, state in zip(generators, arrays[name], strict=True):
                one.set_state(torch.from_numpy(np.array(state)))

    def _of(self, purpose: str) -> list[torch.Generator]:
        """The generators of all chains for a purpose."""
        if purpose not in self._generators:
            seed, kind = self._name
            self._generators[purpose] = [
                torch_generator(seed, "llc", kind, purpose, chain) for chain in range(self._chains)
            ]
        return self._generators[purpose]

    def _next(
        self, purpose: str, size: int, draw: Callable[[int, torch.Generator], Tensor]
    ) -> Tensor:
        block, at = self._ready.get(purpose, (torch.empty(0), 0))
        if at >= len(block):
            count = max(1, min(self._ahead, _BUFFER // max(1, size)))
            numbers = [draw(count, source) for source in self._of(purpose)]
            block, at = torch.stack(numbers, dim=1).to(self._device), 0
        self._ready[purpose] = (block, at + 1)
        return block[at]
