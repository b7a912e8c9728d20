"""Where a training runs: device, precision and processes, and the global state that it must leave
as it was."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from causal_meta.conf.setting import ConfigError
from causal_meta.conf.training import TrainerConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}


def open_fabric(trainer: TrainerConfig) -> Fabric:
    """Device, precision and processes: one process, or those that torchrun started (it sets
    WORLD_SIZE). Raises `ConfigError`."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    world = int(os.environ.get("WORLD_SIZE", "1")) if TorchElasticEnvironment.detect() else 1
    kind, _, index = trainer.device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (
        index and not (kind == "cuda" and index.isdigit() and world == 1)
    ):
        raise ConfigError(
            f"trainer.device is {trainer.device!r}; allowed are auto, cpu, cuda, and in a single "
            "process cuda:0, cuda:1, …"
        )
    # not mps: losses need float64
    accelerator = ("cuda" if torch.cuda.is_available() else "cpu") if kind == "auto" else kind
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world)) if world > 1 else 1
    with _quiet("lightning_fabric"):
        try:
            fabric = Fabric(
                accelerator=accelerator,
                devices=[int(index)] if index else local,
                num_nodes=world // local,
                strategy=DDPStrategy(**_without_buffers()) if world > 1 else "auto",
                precision=_PRECISION[trainer.precision],  # type: ignore[arg-type]
                plugins=[TorchElasticEnvironment() if world > 1 else LightningEnvironment()],
            )
        except (ValueError, RuntimeError) as error:
            raise ConfigError(
                f"trainer.device is {trainer.device!r}, which this machine does not have ({error})."
            ) from None
        fabric.launch()
    return fabric


def _without_buffers() -> dict[str, Any]:
    """The option of this torch version by which buffers are not sent to every process before each
    step: they are the same in all of them."""
    known = inspect.signature(torch.nn.parallel.DistributedDataParallel).parameters
    return {
        "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False
    }


@contextlib.contextmanager
def _quiet(library: str) -> Iterator[None]:
    """Let the logger of a library report warnings only."""
    logger = logging.getLogger(library)
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def undisturbed(trainer: TrainerConfig, device: torch.device) -> Iterator[None]:
    """Restore the global random state and the number of threads at the end."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            if trainer.threads:
                torch.set_num_threads(trainer.threads)
            yield
        finally:
            torch.set_num_threads(before)
