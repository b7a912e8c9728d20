"""Samplers of local posteriors: one function for all of them, one file per family.

The chains of one call run in one compiled program, in segments between which their state can be
saved; resumed chains give bitwise the draws of chains that were never stopped, on equal hardware.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from causal_meta.conf.registry import implementation
from causal_meta.conf.samplers import SamplerConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.draws import Draws
from causal_meta.llc.landscapes.landscape import Landscape
from causal_meta.llc.landscapes.masks import masked_parameters
from causal_meta.llc.samplers.checkpoint import Checkpoint, Kept

__all__ = ["Checkpoint", "Kept", "masked", "sample"]


def sample(
    landscape: Landscape,
    config: SamplerConfig,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Draws:
    """Draws of the local posterior of `landscape` (restricted to `config.posterior.mask`) by the
    sampler that `config` describes.

    Random numbers come from the stream (config.seed, "llc", kind).

    Args:
        landscape: the loss, and the point w* that the posterior is localised at.
        config: the configuration of one sampler.
        checkpoint: holds the state to resume from, and receives one after each segment.
        progress: called with the number of segments done, and of all.

    Raises:
        ConfigError: for a mask that names no parameter, a polish (of trained graph models alone),
            and minibatches of a loss that has no rows.
        ValueError: where the loss is not finite at w*.
    """
    if config.posterior.polish:
        setting = f"{config.kind}.posterior.polish is {config.posterior.polish}"
        raise ConfigError(
            f"{setting}, but a network's w* is polished when it is built (training.polish); leave "
            "it at 0 here."
        )
    draws: Draws = implementation(config)(
        masked(landscape, config.posterior.mask), config, checkpoint=checkpoint, progress=progress
    )
    return draws


def masked(landscape: Landscape, mask: str) -> Landscape:
    """The landscape restricted to the parameters that `mask` names (`llc.landscapes.masks`); the
    landscape itself for an empty mask."""
    if not mask.strip():
        return landscape
    restricted = landscape.restricted(masked_parameters(mask, landscape.parameter_names))
    return replace(restricted, name=f"{landscape.name} restricted to {mask}")
