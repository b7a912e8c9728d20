"""Running the chains of torch samplers in segments, between which all state can be saved.

A sampler's state is one dataclass of tensors and numbers with chains first. The length of a segment
depends on the configuration alone; a resumed chain gives bitwise the draws of one that was never
stopped.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from causal_meta.conf.samplers import ChainConfig
from causal_meta.draws import Draws
from causal_meta.llc.samplers.checkpoint import Arrays, Checkpoint
from causal_meta.llc.samplers.lengthening import further
from causal_meta.llc.samplers.on_torch.posterior import TorchPosterior
from causal_meta.llc.samplers.on_torch.record import Observation, Record
from causal_meta.llc.samplers.on_torch.streams import Streams

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

SEGMENTS = 64  # the approximate number of segments of a run


class Kernel(Protocol):
    """A sampler: its state is a dataclass of tensors and numbers; `gradients` [C] counts gradients
    over all rows."""

    gradients: Tensor

    @property
    def state(self) -> DataclassInstance:
        """All that a transition depends on."""

    def transition(self, number: int, warming: bool) -> None:
        """Transition `number` of all chains."""

    def observe(self) -> Observation:
        """The chains as they are recorded."""

    def end_warmup(self) -> None:
        """Called once, after the last transition of the warm-up."""

    def adapted(self) -> dict[str, Any]:
        """What was tuned."""

    def statistics(self) -> dict[str, Any]:
        """Other statistics of the draws."""


def state_arrays(state: DataclassInstance) -> Arrays:
    """The fields of a state as arrays."""
    return {
        f"state.{item.name}": value.cpu().numpy()
        if isinstance(value := getattr(state, item.name), Tensor)
        else np.array(value)
        for item in dataclasses.fields(state)
    }


def load_state(state: DataclassInstance, arrays: Arrays) -> None:
    """Set the fields of a state from arrays, with the types that they have there."""
    for item in dataclasses.fields(state):
        old, values = getattr(state, item.name), arrays[f"state.{item.name}"]
        if isinstance(old, Tensor):
            setattr(state, item.name, torch.from_numpy(np.array(values)).to(old.device))
        else:
            setattr(state, item.name, type(old)(values.item()))


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
    """The draws of `kernel`: warm-up and sampling in segments, continued from `resumed`, the arrays
    of a checkpoint; `setting` is kept in checkpoints and added to the statistics."""
    warmup, record = config.warmup, Record.empty(config, posterior.landscape)
    length = max(1, math.ceil((warmup + record.length * config.thin) / SEGMENTS))
    done = 0 if resumed is None else _resume(kernel, record, streams, resumed)
    fixed = {
        "centre": posterior.landscape.centre.cpu().numpy(),
        "setting": np.array(json.dumps(setting)),
    }
    while True:
        while done < (total := warmup + record.length * config.thin):
            streams.begin_segment(length)
            for number in range(done, min(total, done + length)):
                begin = time.perf_counter()
                kernel.transition(number, number < warmup)
                if number == warmup - 1:
                    kernel.end_warmup()
                if number >= warmup and (number + 1 - warmup) % config.thin == 0:
                    record.add(kernel.observe(), posterior, kernel.gradients)
                part = "warmup" if number < warmup else "sampling"
                record.seconds[part] += time.perf_counter() - begin
            done = min(total, done + length)
            if checkpoint is not None:
                arrays = fixed | _all_arrays(kernel, record, streams, done)
                checkpoint.save(arrays, math.ceil(done / length))
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
    seconds = {f"seconds.{name}": np.array(value) for name, value in record.seconds.items()}
    reported = {"told": np.array(sorted(record.reported), dtype=str)}
    return state_arrays(kernel.state) | streams.arrays() | kept | numbers | seconds | reported


def _resume(kernel: Kernel, record: Record, streams: Streams, arrays: Arrays) -> int:
    """Restore a run from a checkpoint; returns the number of transitions that are done."""
    load_state(kernel.state, arrays)
    streams.load(arrays)
    kernel.gradients = torch.from_numpy(np.array(arrays["gradients"])).to(kernel.gradients)
    record.arrays = {name: np.array(arrays[f"kept.{name}"]) for name in record.arrays}
    record.seconds = {name: float(arrays[f"seconds.{name}"]) for name in record.seconds}
    record.done = int(arrays["done"])
    record.reported = {str(name) for name in arrays["told"]}
    return int(arrays["transitions"])
