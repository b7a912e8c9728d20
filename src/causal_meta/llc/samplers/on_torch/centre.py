"""The point w* of a torch landscape: polishing it, and examining whether it is a minimum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from causal_meta.conf.local_posterior import LocalPosteriorConfig
from causal_meta.llc.landscapes.lanczos import Spectrum, spectrum
from causal_meta.llc.landscapes.torch_landscape import TorchLandscape
from causal_meta.llc.samplers.on_torch.posterior import TorchPosterior
from causal_meta.randomness import generator

LANCZOS_STEPS = 12  # products with the Hessian at w*: two gradients each
# largest decrease of nβ L_n, in nats, by a step along the gradient at a minimum
GAIN = 0.1
NEGATIVE = 0.1  # most negative curvature of a minimum, in units of γ


def polished(landscape: TorchLandscape, steps: int) -> tuple[TorchLandscape, dict[str, float]]:
    """The landscape around the point that at most `steps` steps of L-BFGS reach from w* (Liu and
    Nocedal 1989; strong Wolfe line search).

    A trained graph model is not at a minimum of its loss over a fixed set of tasks: it was trained
    on a stream of others, with a penalty on cycles, and stopped early. Polishing fits it to these
    very tasks, and with few tasks the minimum can be far away: the record says how far
    (`loss_before`, `loss_after`, `gradient_norm_before`, `gradient_norm_after`, `distance`,
    `gradients`). To be used in float64.
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
    record = {
        "loss_before": float(before),
        "loss_after": float(after if better else before),
        "gradient_norm_before": float(slope_before.norm()),
        "gradient_norm_after": float((slope_after if better else slope_before).norm()),
        "distance": float((moved.centre - landscape.centre).norm()),
        "gradients": float(count + 2),
    }
    return moved, record


def examined(
    landscape: TorchLandscape, config: LocalPosteriorConfig, seed: int = 0
) -> dict[str, Any]:
    """Whether w* is a minimum at the resolution of the posterior of `config`, with the
    measurements.

    Returns:
        `gradient_norm` of L_n; `descent_gain`: the decrease of nβ L_n + (γ/2) |w - w*|² by the best
        step along the gradient, in nats (None: unbounded); `lowest_curvature` and
        `highest_curvature` of nβ L_n, by Lanczos (the ends of the spectrum are these or outside of
        them); `is_minimum`: the gain is at most 0.1 nats, and no curvature is below both -γ/10 and
        -10⁻⁵ of the highest; `gradients`: the cost.
    """
    posterior = TorchPosterior.of(landscape, config)
    centre = landscape.centre
    _, gradient = landscape.value_and_gradient(centre[None])
    slope = posterior.n_beta * gradient[0]
    size = float(slope.norm())
    along = float(slope @ posterior.curvature(centre, slope)) / size**2 if size > 0 else 0.0
    gain = 0.0 if size == 0 else size**2 / (2 * along) if along > 0 else math.inf
    steps = LANCZOS_STEPS if gain <= GAIN else LANCZOS_STEPS // 2
    ends = curvatures(landscape, seed, steps)
    lowest, highest = posterior.n_beta * ends.lowest, posterior.n_beta * ends.highest
    return {
        "gradient_norm": size / posterior.n_beta,
        "descent_gain": gain if math.isfinite(gain) else None,
        "lowest_curvature": lowest,
        "highest_curvature": highest,
        "is_minimum": gain <= GAIN
        and lowest >= -max(NEGATIVE * posterior.gamma, 1e-5 * abs(highest)),
        "gradients": 3.0 + 2.0 * ends.products,
    }


def curvatures(landscape: TorchLandscape, seed: int = 0, steps: int = LANCZOS_STEPS) -> Spectrum:
    """The spectrum of the Hessian of L_n at w*, estimated by `steps` products of Lanczos."""
    centre = landscape.centre

    def product(v: NDArray[np.float64]) -> NDArray[np.float64]:
        return landscape.curvature(centre, torch.from_numpy(v).to(centre)).double().cpu().numpy()

    return spectrum(
        product, len(centre), generator(seed, "llc", "curvature"), steps=steps, tolerance=0.02
    )
