"""Samplers of local posteriors for torch modules: the twins of `llc.samplers`, by the same
configurations and with the same draws."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from causal_meta.conf.local_posterior import LocalPosteriorConfig
from causal_meta.conf.registry import kinds, load
from causal_meta.conf.samplers import ChainConfig, SamplerConfig, StepConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.draws import Draws
from causal_meta.llc.landscapes.lanczos import Spectrum, spectrum
from causal_meta.llc.landscapes.torch_landscape import TorchLandscape
from causal_meta.llc.samplers.torch_chains import Kernel, Streams, TorchPosterior, run_chains
from causal_meta.randomness import generator

if TYPE_CHECKING:
    from causal_meta.llc.samplers.checkpoint import Checkpoint

LANCZOS_STEPS = 12  # products with the Hessian at w*: two gradients each
GAIN = 0.1  # nats of n β L_n that a step along the gradient may win at a minimum
NEGATIVE = 0.1  # most negative curvature of a minimum, in units of γ


def sample_torch(
    landscape: TorchLandscape,
    config: SamplerConfig,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Draws:
    """Draws of the local posterior of a torch landscape (restricted to `config.posterior.mask`) by
    hmc, mala, sgld or sgnht.

    Before the chains start w* is polished if `config.posterior.polish` asks for it, and looked at:
    `statistics["centre"]` says whether it is a minimum (`examined`), and what polishing changed.
    Random numbers come from the streams (config.seed, "llc", kind, purpose, chain). `checkpoint` is
    asked for a state to go on from and given one after each segment; `progress` is called with
    segments done and segments in all.

    All chains go through the module at once where it is small and allows it
    (`TorchLandscape.batched`), else one after the other. Raises `ConfigError` for another kind, a
    mask that means nothing, a minibatch larger than the data, and a loss that is not finite at w*.
    """
    if not config.torch_kernel:
        able = [cls.kind for cls in kinds(SamplerConfig) if cls.torch_kernel]
        raise ConfigError(
            f"{config.kind} does not sample torch models, as a trained graph model is; give one "
            f"of {', '.join(able)}."
        )
    chain = cast(ChainConfig, config)
    seen = landscape.restricted(config.posterior.mask)
    if chain.row_chunk:
        seen = dataclasses.replace(seen, at_once=min(seen.n, chain.row_chunk))
    resumed = None if checkpoint is None else checkpoint.load()
    if resumed is None:
        seen, setting = _prepared(seen, config.posterior, config.seed, config.precision)
    else:
        seen = seen.at_width(config.precision).moved(
            torch.from_numpy(np.array(resumed["centre"])).to(seen.device)
        )
        setting = json.loads(str(resumed["setting"]))
    posterior = TorchPosterior.of(seen, config.posterior)
    if not bool(torch.isfinite(posterior.centre_loss)):
        raise ConfigError(
            f"{seen.name}: the loss at w* is {float(posterior.centre_loss)}; there is no LLC of "
            "such a point."
        )
    curvature = max(setting["centre"]["highest_curvature"], 0.0) + posterior.gamma
    streams = Streams(chain, seen)
    start = seen.centre + chain.start_jitter / math.sqrt(curvature or 1.0) * streams.normals(
        "start", seen.n_parameters
    )
    kernel = _kernel(posterior, chain, streams, start, curvature or 1.0)
    return run_chains(
        kernel,
        posterior,
        chain,
        streams,
        checkpoint=checkpoint,
        resumed=resumed,
        progress=progress,
        setting=setting,
    )


def _kernel(
    posterior: TorchPosterior,
    config: ChainConfig,
    streams: Streams,
    start: Tensor,
    curvature: float,
) -> Kernel:
    n = posterior.landscape.n
    if isinstance(config, StepConfig) and config.batch_size > n:
        raise ConfigError(
            f"{config.kind}.batch_size is {config.batch_size}, but there are {n} items; give at "
            "most as many, or 0 for all of them."
        )
    kernel: Kernel = load(config.torch_kernel)(posterior, config, streams, start, curvature)
    return kernel


def _prepared(
    landscape: TorchLandscape, config: LocalPosteriorConfig, seed: int, width: Any
) -> tuple[TorchLandscape, dict[str, Any]]:
    """The landscape around the point to sample at, in the sampler's float width, and what is known
    of that point."""
    fine = landscape.at_width("float64")
    told: dict[str, Any] = {}
    if config.polish:
        fine, told["polish"] = polished(fine, config.polish)
    told["centre"] = examined(fine, config, seed)
    return fine.at_width(width), told


def polished(landscape: TorchLandscape, steps: int) -> tuple[TorchLandscape, dict[str, float]]:
    """The landscape around the point that at most `steps` steps of L-BFGS reach from w* (Liu and
    Nocedal 1989; strong Wolfe line search).

    A trained graph model is no minimum of its loss over a fixed set of tasks: it was trained on a
    stream of others, with a penalty on cycles, and stopped early. Its polish is a model fitted to
    these very tasks, and with few tasks it can be far away: what was moved and won is reported
    (`loss_before`, `loss_after`, `gradient_norm_before`, `gradient_norm_after`, `distance`,
    `gradients`). Use float64.
    """
    point = torch.nn.Parameter(landscape.centre.clone())
    count = 0

    def closure() -> Tensor:
        nonlocal count
        count += 1
        loss, gradient = landscape.value_and_gradient(point.detach()[None])
        point.grad = gradient[0]
        return loss[0]

    before, slope_before = (
        value[0] for value in landscape.value_and_gradient(landscape.centre[None])
    )
    optimiser = torch.optim.LBFGS(
        [point],
        max_iter=steps,
        max_eval=3 * steps,
        history_size=20,
        tolerance_grad=1e-12,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )
    optimiser.step(closure)
    after, slope_after = (value[0] for value in landscape.value_and_gradient(point.detach()[None]))
    better = bool(torch.isfinite(after)) and bool(after <= before)
    moved = landscape.moved(point.detach()) if better else landscape
    told = {
        "loss_before": float(before),
        "loss_after": float(after if better else before),
        "gradient_norm_before": float(slope_before.norm()),
        "gradient_norm_after": float((slope_after if better else slope_before).norm()),
        "distance": float((moved.centre - landscape.centre).norm()),
        "gradients": float(count + 2),
    }
    return moved, told


def examined(
    landscape: TorchLandscape, config: LocalPosteriorConfig, seed: int = 0
) -> dict[str, Any]:
    """Whether w* is a minimum as far as the posterior of `config` can tell, with the numbers behind
    it.

    `gradient_norm` of L_n; `descent_gain`: what the best step along the gradient would win of nβ
    L_n + (γ/2) |w - w*|², in nats (None: no bound); `lowest_curvature` and `highest_curvature` of
    nβ L_n, by Lanczos (the ends of the spectrum lie at them or outside). `is_minimum`: the gain is
    at most 0.1 nats, and no curvature is below both -γ/10 and -10⁻⁵ of the highest. `gradients`
    counts what it took.
    """
    posterior = TorchPosterior.of(landscape, config)
    centre = landscape.centre
    _, gradient = landscape.value_and_gradient(centre[None])
    slope = posterior.n_beta * gradient[0]
    size = float(slope.norm())
    along = float(slope @ posterior.curvature(centre, slope)) / size**2 if size > 0 else 0.0
    gain = 0.0 if size == 0 else size**2 / (2 * along) if along > 0 else math.inf
    found = curvatures(landscape, seed, LANCZOS_STEPS if gain <= GAIN else LANCZOS_STEPS // 2)
    lowest, highest = (posterior.n_beta * value for value in (found.lowest, found.highest))
    return {
        "gradient_norm": size / posterior.n_beta,
        "descent_gain": gain if math.isfinite(gain) else None,
        "lowest_curvature": lowest,
        "highest_curvature": highest,
        "is_minimum": gain <= GAIN
        and lowest >= -max(NEGATIVE * posterior.gamma, 1e-5 * abs(highest)),
        "gradients": 3.0 + 2.0 * found.products,
    }


def curvatures(landscape: TorchLandscape, seed: int = 0, steps: int = LANCZOS_STEPS) -> Spectrum:
    """The spectrum of the Hessian of L_n at w* as `steps` products of Lanczos see it."""
    centre = landscape.centre

    def product(v: NDArray[np.float64]) -> NDArray[np.float64]:
        return landscape.curvature(centre, torch.from_numpy(v).to(centre)).double().cpu().numpy()

    return spectrum(
        product, len(centre), generator(seed, "llc", "curvature"), steps=steps, tolerance=0.02
    )
