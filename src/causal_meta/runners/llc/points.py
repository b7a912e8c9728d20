"""Checks whether the w* of a target is a minimum: of a network target, or of a trained graph model
over a set of tasks."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from causal_meta.conf.local_posterior import LocalPosteriorConfig
from causal_meta.conf.networks import NetworkConfig, StudentConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.runners.build import make

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from causal_meta.llc.landscapes.minimum import Minimum
    from causal_meta.store import Artifact, Store

_SAME = 1e-6  # largest difference between the loss and the recorded one, relative to 1 + |loss|
BUDGET, PRODUCTS = 2000, 100


@dataclass(frozen=True)
class Point:
    """The check of a w*.

    Fields:
        minimum: the result of the check.
        n: the number of rows or tasks.
        loss_float32: L_n(w*) in single precision; None for torch models.
        gradient_noise: the expected gradient norm of n rows at the truth; None without rows.
        exact: exact values where they are known.
        notes: further reasons against the point, as clauses.
    """

    minimum: Minimum
    n: int
    loss_float32: float | None = None
    gradient_noise: float | None = None
    exact: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def is_minimum(self) -> bool:
        """Whether there is no reason against w*."""
        return not self.minimum.flags and not self.notes


def check_point(
    of: Artifact, tasks: Artifact | None, posterior: LocalPosteriorConfig, *, budget: int = BUDGET
) -> Point:
    """Check the w* of a target under the temperature, the localisation and the mask of `posterior`,
    with at most `budget` gradients and Hessian products. Raises `ConfigError` and ValueError."""
    return (
        _graph_model(of, tasks, posterior, budget)
        if tasks is not None
        else _network(of, posterior, budget)
    )


def _network(of: Artifact, posterior: LocalPosteriorConfig, budget: int) -> Point:
    from causal_meta.llc.landscapes.minimum import examine
    from causal_meta.llc.landscapes.surfaces import LandscapeSurface, gradient_noise, loss_at
    from causal_meta.llc.samplers import masked
    from causal_meta.llc.samplers.prepared import temperature
    from causal_meta.runners.llc.network_training import load_landscape

    whole = load_landscape(of)
    landscape = masked(whole, posterior.mask)
    n_beta, gamma = temperature(posterior, landscape.n, landscape.n_parameters)
    minimum = examine(
        LandscapeSurface(landscape), n_beta=n_beta, gamma=gamma, budget=budget, products=PRODUCTS
    )
    notes, recorded = [], of.meta.get("metrics", {}).get("L0")
    if isinstance(recorded, int | float) and abs(recorded - minimum.loss) > _SAME * (
        1 + abs(recorded)
    ):
        notes.append(
            f"L_n(w*) is {minimum.loss:.9g} here and {recorded:.9g} in meta.json: rows or "
            "parameters are not those of the build"
        )
    config = of.config
    if isinstance(config, NetworkConfig) and isinstance(config.model, StudentConfig):
        training = config.training
        if not training.polish and training.precision == "float32":
            notes.append(
                "w* was trained in float32 and not polished, while samplers compute L_n(w*) in "
                "their own float precision"
            )
    return Point(
        minimum,
        landscape.n,
        loss_at(landscape, "float32"),
        gradient_noise(landscape),
        landscape.exact,
        notes,
    )


def _graph_model(
    of: Artifact, tasks: Artifact, posterior: LocalPosteriorConfig, budget: int
) -> Point:
    from causal_meta.llc.landscapes.minimum import examine
    from causal_meta.llc.landscapes.torch_surface import TorchSurface
    from causal_meta.llc.samplers.on_torch.posterior import TorchPosterior
    from causal_meta.runners.llc.checkpoint_landscape import checkpoint_landscape

    landscape = checkpoint_landscape(of, tasks).restricted(posterior.mask)
    tempered = TorchPosterior.of(landscape, posterior)
    minimum = examine(
        TorchSurface(landscape),
        n_beta=tempered.n_beta,
        gamma=tempered.gamma,
        budget=budget,
        products=PRODUCTS,
    )
    return Point(minimum, landscape.n)


def polished(
    store: Store, of: Artifact, *, budget: int, tolerance: float, **arguments: Any
) -> Artifact:
    """A new network target whose w* is that of `of`, polished: the same configuration with the old
    target as `init` and no training.

    Args:
        budget, tolerance: of the polish (`NetworkTrainingConfig`).
        arguments: of `make` (name, subscribers, options).

    Raises:
        ConfigError: for a target of another kind.
    """
    config = of.config
    if not isinstance(config, NetworkConfig):
        raise ConfigError(
            f"--polish makes network targets, and {of.id} is of kind {of.kind}; let its samplers "
            "polish w* first (posterior.polish=STEPS)."
        )
    training = dataclasses.replace(
        config.training, polish=True, polish_budget=budget, polish_tolerance=tolerance
    )
    if isinstance(config.model, StudentConfig):
        training = dataclasses.replace(training, max_steps=0)
    return make(
        store, dataclasses.replace(config, training=training, name=""), {"init": of}, **arguments
    )
