"""Samplers of local posteriors for torch modules, with the same configurations and the same form of
draws as those in JAX."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch

from causal_meta.conf.local_posterior import LocalPosteriorConfig
from causal_meta.conf.registry import kinds, load
from causal_meta.conf.samplers import ChainConfig, SamplerConfig, StepConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.draws import Draws
from causal_meta.llc.landscapes.torch_landscape import TorchLandscape
from causal_meta.llc.samplers.checkpoint import Checkpoint
from causal_meta.llc.samplers.on_torch.centre import examined, polished
from causal_meta.llc.samplers.on_torch.chains import Kernel, run_chains
from causal_meta.llc.samplers.on_torch.posterior import TorchPosterior
from causal_meta.llc.samplers.on_torch.streams import Streams

__all__ = ["sample_torch"]


def sample_torch(
    landscape: TorchLandscape,
    config: SamplerConfig,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Draws:
    """Draws of the local posterior of a torch landscape (restricted to `config.posterior.mask`) by
    a sampler that has a torch kernel.

    Before the chains start w* is polished, if `config.posterior.polish` says so, and examined:
    `statistics["centre"]` says whether it is a minimum (`centre.examined`), `statistics["polish"]`
    what polishing changed. Random numbers come from the streams (config.seed, "llc", kind, purpose,
    chain). All chains go through the module at once where it is small and allows it
    (`TorchLandscape.batched`), else one after the other.

    Args:
        landscape: the loss, and the point w* that the posterior is localised at.
        config: the configuration of a sampler.
        checkpoint: holds the state to resume from, and receives one after each segment.
        progress: called with the number of segments done, and of all.

    Raises:
        ConfigError: for a sampler without a torch kernel, a mask that names no parameter, a
            minibatch larger than the data, and a loss that is not finite at w*.
    """
    if not config.torch_kernel or not isinstance(config, ChainConfig):
        able = [cls.kind for cls in kinds(SamplerConfig) if cls.torch_kernel]
        raise ConfigError(
            f"{config.kind} does not sample torch models, as a trained graph model is; give one "
            f"of {', '.join(able)}."
        )
    landscape = landscape.restricted(config.posterior.mask)
    if config.row_chunk:
        at_once = min(landscape.n, config.row_chunk)
        landscape = dataclasses.replace(landscape, at_once=at_once)
    resumed = None if checkpoint is None else checkpoint.load()
    setting: dict[str, Any]
    if resumed is None:
        landscape, setting = _examined(landscape, config.posterior, config.seed, config.precision)
    else:
        landscape = landscape.at_width(config.precision)
        centre = torch.from_numpy(np.array(resumed["centre"])).to(landscape.device)
        landscape, setting = landscape.moved(centre), json.loads(str(resumed["setting"]))
    posterior = TorchPosterior.of(landscape, config.posterior)
    if not bool(torch.isfinite(posterior.centre_loss)):
        raise ConfigError(
            f"{landscape.name}: the loss at w* is {float(posterior.centre_loss)}; there is no LLC "
            "of such a point."
        )
    curvature = max(setting["centre"]["highest_curvature"], 0.0) + posterior.gamma or 1.0
    streams = Streams(config, landscape)
    normal = streams.normals("start", landscape.n_parameters)
    start = landscape.centre + config.start_jitter / math.sqrt(curvature) * normal
    if isinstance(config, StepConfig) and config.batch_size > landscape.n:
        raise ConfigError(
            f"{config.kind}.batch_size is {config.batch_size}, but there are {landscape.n} items; "
            "give at most as many, or 0 for all of them."
        )
    kernel: Kernel = load(config.torch_kernel)(posterior, config, streams, start, curvature)
    return run_chains(
        kernel,
        posterior,
        config,
        streams,
        checkpoint=checkpoint,
        resumed=resumed,
        progress=progress,
        setting=setting,
    )


def _examined(
    landscape: TorchLandscape,
    config: LocalPosteriorConfig,
    seed: int,
    width: Literal["float32", "float64"],
) -> tuple[TorchLandscape, dict[str, Any]]:
    """The landscape around the point to sample at, in the sampler's float width, and the records of
    polishing and examining that point."""
    fine = landscape.at_width("float64")
    setting: dict[str, Any] = {}
    if config.polish:
        fine, setting["polish"] = polished(fine, config.polish)
    setting["centre"] = examined(fine, config, seed)
    return fine.at_width(width), setting
