"""What all torch samplers share: the posterior they look at, random numbers, what they keep of
every draw, and going on after a stop.

A sampler's state is one dataclass of tensors and numbers with chains first. Steps go in segments
whose length depends on the configuration alone; between two of them all state can be kept, and a
chain that is taken up again gives bitwise the draws of one that was never stopped.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from causal_meta.conf.local_posterior import LocalPosteriorConfig
from causal_meta.conf.samplers import ChainConfig
from causal_meta.draws import Draws, virial_groups
from causal_meta.llc.landscapes.torch_landscape import TorchLandscape
from causal_meta.llc.samplers.lengthening import further
from causal_meta.randomness import generator, torch_generator

if TYPE_CHECKING:
    from causal_meta.llc.samplers.checkpoint import Checkpoint

Arrays = dict[str, NDArray[Any]]

SEGMENTS = 64  # about so many segments in a run
_BUFFER = 1 << 15  # random numbers of a chain drawn at once


@dataclass(frozen=True)
class TorchPosterior:
    """p(w) ∝ exp(-U), U(w) = nβ (L_n(w) - L_n(w*)) + (γ/2) |w - w*|², of a torch landscape (Lau et
    al. 2023, equation 11)."""

    landscape: TorchLandscape
    n_beta: float
    gamma: float
    centre_loss: Tensor

    @classmethod
    def of(cls, landscape: TorchLandscape, config: LocalPosteriorConfig) -> TorchPosterior:
        """The posterior with the temperature and localisation that `config` states."""
        beta = 1 / math.log(landscape.n) if config.beta_mode == "inverse_log_n" else config.beta
        gamma = (
            landscape.n_parameters / config.prior_radius**2 if config.prior_radius else config.gamma
        )
        return cls(landscape, landscape.n * beta, gamma, landscape.mean_loss(landscape.centre))

    def exponent(self, loss: Tensor, w: Tensor) -> Tensor:
        """U [C] at w [C, P] of known loss [C]."""
        return self.n_beta * (loss - self.centre_loss) + 0.5 * self.gamma * (
            w - self.landscape.centre
        ).square().sum(-1)

    def slope(self, gradient: Tensor, w: Tensor) -> Tensor:
        """grad U [C, P] from the gradient of L_n."""
        return self.n_beta * gradient + self.gamma * (w - self.landscape.centre)

    def curvature(self, w: Tensor, direction: Tensor) -> Tensor:
        """The Hessian of U at w [..., P] times directions [..., P]; two gradients each."""
        return self.n_beta * self.landscape.curvature(w, direction) + self.gamma * direction


class Streams:
    """Random numbers for C chains: every chain and purpose has the stream (seed, "llc", kind,
    purpose, chain), so that a chain does not depend on how many others there are. Numbers are made
    on the CPU, so that a GPU gets the same, and many at a time."""

    def __init__(self, config: ChainConfig, landscape: TorchLandscape) -> None:
        self._name, self._chains = (config.seed, config.kind), config.chains
        self._device, self._dtype = landscape.device, landscape.dtype
        self._generators: dict[str, list[torch.Generator]] = {}
        self._ready: dict[str, tuple[Tensor, int]] = {}
        self._most = 1

    def normals(self, purpose: str, size: int) -> Tensor:
        """Standard normal numbers [C, size]."""
        return self._next(
            purpose,
            size,
            lambda count, source: torch.randn(count, size, generator=source, dtype=self._dtype),
        )

    def uniforms(self, purpose: str) -> Tensor:
        """Uniform numbers on [0, 1), [C]."""
        return self._next(
            purpose,
            1,
            lambda count, source: torch.rand(count, 1, generator=source, dtype=self._dtype),
        )[:, 0]

    def indices(self, purpose: str, n: int, size: int) -> Tensor:
        """Integers in 0 … n - 1, [C, size]."""
        return self._next(
            purpose, size, lambda count, source: torch.randint(n, (count, size), generator=source)
        )

    def signs(self, purpose: str, size: int) -> Tensor:
        """-1 and 1 with equal chances, [C, size]."""
        return 2.0 * self.indices(purpose, 2, size).to(self._dtype) - 1.0

    def settle(self, steps: int) -> None:
        """Forget the numbers drawn ahead, and draw ahead for at most `steps` steps: to be called
        before each segment."""
        self._ready.clear()
        self._most = steps

    def arrays(self) -> Arrays:
        """The states of all generators."""
        return {
            f"stream.{purpose}": np.stack([one.get_state().numpy() for one in made])
            for purpose, made in self._generators.items()
        }

    def load(self, arrays: Arrays) -> None:
        """Go on from `arrays`."""
        for name in (name for name in arrays if name.startswith("stream.")):
            for one, state in zip(
                self._made(name.removeprefix("stream.")), arrays[name], strict=True
            ):
                one.set_state(torch.from_numpy(np.array(state)))

    def _made(self, purpose: str) -> list[torch.Generator]:
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
            count = max(1, min(self._most, _BUFFER // max(1, size)))
            block, at = (
                torch.stack([draw(count, source) for source in self._made(purpose)], dim=1).to(
                    self._device
                ),
                0,
            )
        self._ready[purpose] = (block, at + 1)
        return block[at]


@dataclass
class Step:
    """What a sampler tells of a step of all chains: where they are, the loss over all rows there,
    its gradient, and what else there is, [C] each.

    `alive` is False for good where a chain has left the numbers.
    """

    w: Tensor
    loss: Tensor
    gradient: Tensor
    alive: Tensor
    energy: Tensor | None = None
    acceptance: Tensor | None = None
    divergent: Tensor | None = None


class Kernel(Protocol):
    """A sampler: its state lies in `state`, a dataclass of tensors and numbers; `gradients` [C]
    counts gradients over all rows."""

    state: Any
    gradients: Tensor

    def step(self, number: int, warming: bool) -> None:
        """One transition of all chains."""

    def told(self) -> Step:
        """Where the chains are."""

    def end_warmup(self) -> None:
        """Called once, after the last step of the warm-up."""

    def adapted(self) -> dict[str, Any]:
        """What was tuned."""

    def statistics(self) -> dict[str, Any]:
        """What else was measured."""


def state_arrays(state: Any) -> Arrays:
    """The fields of a state as arrays."""
    return {
        f"state.{item.name}": value.cpu().numpy()
        if isinstance(value := getattr(state, item.name), Tensor)
        else np.array(value)
        for item in dataclasses.fields(state)
    }


def load_state(state: Any, arrays: Arrays) -> None:
    """Put arrays into the fields of a state, as what they are there."""
    for item in dataclasses.fields(state):
        here, there = getattr(state, item.name), arrays[f"state.{item.name}"]
        new = (
            torch.from_numpy(np.array(there)).to(here.device)
            if isinstance(here, Tensor)
            else type(here)(there.item())
        )
        setattr(state, item.name, new)


@dataclass
class Record:
    """What is kept of the draws so far: `arrays` with chains and draws first, filled up to draw
    `done`, and the moments of rows."""

    arrays: Arrays
    directions: Tensor
    groups: Tensor
    done: int = 0
    told: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(
        default_factory=lambda: {"compile": 0.0, "warmup": 0.0, "sampling": 0.0}
    )

    @property
    def length(self) -> int:
        """Draws of each chain that there is room for."""
        return self.arrays["loss"].shape[1]

    def lengthen(self, more: int) -> None:
        """Room for `more` draws of each chain."""
        for name, values in self.arrays.items():
            if name not in ("row_moments", "row_count"):
                self.arrays[name] = np.concatenate(
                    [values, np.resize(values[:, -1:], (len(values), more, *values.shape[2:]))],
                    axis=1,
                )

    @classmethod
    def empty(cls, config: ChainConfig, landscape: TorchLandscape) -> Record:
        """A record of the size that `config` asks for."""
        size, width = (
            (config.chains, config.draws or config.first_draws),
            str(landscape.dtype).removeprefix("torch."),
        )
        groups = virial_groups(landscape.n_parameters)
        arrays: Arrays = {
            name: np.full(size, np.nan, width)
            for name in ("loss", "distance", "energy", "acceptance")
        }
        arrays["gradients"] = np.zeros(size)
        arrays["divergent"] = np.zeros(size, bool)
        arrays["projection"] = np.full((*size, config.projections), np.nan, width)
        arrays["virial"] = np.full((*size, int(groups[-1]) + 1), np.nan, width)
        if config.keep_parameters:
            arrays["parameters"] = np.full((*size, landscape.n_parameters), np.nan, width)
        if config.row_moments:
            arrays["row_moments"], arrays["row_count"] = np.zeros((2, landscape.n)), np.zeros(())
        directions = generator(0, "llc", "projections").standard_normal(
            (config.projections, landscape.n_parameters)
        )
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return cls(
            arrays,
            torch.from_numpy(directions).to(landscape.centre),
            torch.from_numpy(groups).to(landscape.device),
        )

    def keep(self, step: Step, posterior: TorchPosterior, gradients: Tensor) -> None:
        """Keep a draw of every chain; a chain that failed keeps NaN from then on."""
        away = step.w - posterior.landscape.centre
        pulled = away * posterior.slope(step.gradient, step.w)
        virial = torch.zeros(
            len(away), self.arrays["virial"].shape[2], dtype=away.dtype, device=away.device
        )
        self.told = {
            name
            for name in ("energy", "acceptance", "divergent")
            if getattr(step, name) is not None
        }
        told = {
            "loss": step.loss,
            "distance": away.norm(dim=1),
            "projection": away @ self.directions.T,
            "virial": virial.index_add_(1, self.groups, pulled),
            "parameters": step.w,
            "energy": step.energy,
            "acceptance": step.acceptance,
        }
        for name, values in told.items():
            if values is not None and name in self.arrays:
                kept = values.masked_fill(
                    ~step.alive.reshape(-1, *[1] * (values.dim() - 1)), torch.nan
                )
                self.arrays[name][:, self.done] = kept.cpu().numpy()
        self.arrays["gradients"][:, self.done] = gradients.cpu().numpy()
        if step.divergent is not None:
            self.arrays["divergent"][:, self.done] = step.divergent.cpu().numpy()
        if "row_moments" in self.arrays:
            self._keep_rows(step, posterior.landscape)
        self.done += 1

    def _keep_rows(self, step: Step, landscape: TorchLandscape) -> None:
        """Welford's update of mean and sum of squares of every row's loss."""
        mean, squares = self.arrays["row_moments"]
        for w in step.w[step.alive]:
            pieces = torch.arange(landscape.n, device=landscape.device).split(landscape.at_once)
            with torch.no_grad():
                losses = (
                    torch.cat([landscape.item_losses(w, piece) for piece in pieces])
                    .double()
                    .cpu()
                    .numpy()
                )
            self.arrays["row_count"] += 1
            gap = losses - mean
            mean += gap / self.arrays["row_count"]
            squares += gap * (losses - mean)

    def draws(
        self, posterior: TorchPosterior, adapted: dict[str, Any], statistics: dict[str, Any]
    ) -> Draws:
        """All that was kept, as draws; what no step told is None."""
        kept: dict[str, Any] = {
            name: values
            for name, values in self.arrays.items()
            if name in self.told or name not in ("energy", "acceptance", "divergent")
        }
        moments, count = kept.pop("row_moments", None), kept.pop("row_count", np.ones(()))
        sizes = np.bincount(virial_groups(posterior.landscape.n_parameters))
        return Draws(
            **{
                name: kept[name]
                for name in ("loss", "distance", "projection", "gradients", "virial")
            },
            centre_loss=float(posterior.centre_loss),
            n_beta=posterior.n_beta,
            gamma=posterior.gamma,
            energy=kept.get("energy"),
            acceptance=kept.get("acceptance"),
            divergent=kept.get("divergent"),
            parameters=kept.get("parameters"),
            row_moments=None
            if moments is None
            else np.stack([moments[0], moments[1] / max(float(count) - 1, 1)]),
            virial_sizes=tuple(int(size) for size in sizes),
            seconds=self.seconds,
            adapted=adapted,
            statistics=statistics,
        )


def run_chains(
    kernel: Kernel,
    posterior: TorchPosterior,
    config: ChainConfig,
    streams: Streams,
    *,
    checkpoint: Checkpoint | None,
    resumed: Arrays | None,
    progress: Callable[[int, int], None] | None,
    setting: dict[str, Any],
) -> Draws:
    """Warm up, draw and keep, in segments, from where `resumed`, the arrays of a checkpoint,
    stands; `setting` is kept and told with the draws."""
    warmup, record = int(cast(Any, config).warmup), Record.empty(config, posterior.landscape)
    length = max(1, math.ceil((warmup + record.length * config.thin) / SEGMENTS))
    done = 0 if resumed is None else _resume(kernel, record, streams, resumed)
    fixed = {
        "centre": posterior.landscape.centre.cpu().numpy(),
        "setting": np.array(json.dumps(setting)),
    }
    while True:
        while done < (total := warmup + record.length * config.thin):
            streams.settle(length)
            for number in range(done, min(total, done + length)):
                begin = time.perf_counter()
                kernel.step(number, number < warmup)
                if number == warmup - 1:
                    kernel.end_warmup()
                if number >= warmup and (number + 1 - warmup) % config.thin == 0:
                    record.keep(kernel.told(), posterior, kernel.gradients)
                record.seconds["warmup" if number < warmup else "sampling"] += (
                    time.perf_counter() - begin
                )
            done = min(total, done + length)
            if checkpoint is not None:
                checkpoint.save(
                    fixed | _all_arrays(kernel, record, streams, done), math.ceil(done / length)
                )
            if progress is not None:
                progress(math.ceil(done / length), math.ceil(total / length))
        draws = record.draws(posterior, kernel.adapted(), setting | kernel.statistics())
        more = 0 if config.draws else further(draws, config.aim)
        if more == 0:
            return draws
        record.lengthen(more)


def _all_arrays(kernel: Kernel, record: Record, streams: Streams, transitions: int) -> Arrays:
    kept = {f"kept.{name}": values for name, values in record.arrays.items()}
    numbers = {
        "gradients": kernel.gradients.cpu().numpy(),
        "done": np.array(record.done),
        "transitions": np.array(transitions),
    }
    seconds = {f"seconds.{name}": np.array(value) for name, value in record.seconds.items()} | {
        "told": np.array(sorted(record.told), dtype=str)
    }
    return state_arrays(kernel.state) | streams.arrays() | kept | numbers | seconds


def _resume(kernel: Kernel, record: Record, streams: Streams, arrays: Arrays) -> int:
    """Take up what a checkpoint holds; the transitions that are behind."""
    load_state(kernel.state, arrays)
    streams.load(arrays)
    kernel.gradients = torch.from_numpy(np.array(arrays["gradients"])).to(kernel.gradients)
    record.arrays = {name: np.array(arrays[f"kept.{name}"]) for name in record.arrays}
    record.seconds = {name: float(arrays[f"seconds.{name}"]) for name in record.seconds}
    record.done = int(arrays["done"])
    record.told = {str(name) for name in arrays["told"]}
    return int(arrays["transitions"])
