"""The search for a sampler's settings on one target: `tune` runs, their budget, and the settings
searched for each sampler."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from causal_meta.conf.artifacts import Backend, RunConfig
from causal_meta.conf.samplers import (
    MALAConfig,
    MCLMCConfig,
    SamplerConfig,
    SGLDConfig,
    StepConfig,
    VIConfig,
)
from causal_meta.conf.setting import Config, ConfigError, setting, type_of

Range = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class TuningBudgetConfig(Config):
    """The budget of all trials of a search: gradients over all rows (of all chains, warm-up
    included) and wall seconds; 0 is no bound."""

    kind: ClassVar[str] = "tuning_budget"
    gradients: float = setting(0.0, low=0, unit="gradients")
    seconds: float = setting(0.0, low=0, unit="seconds")


@dataclass(frozen=True, kw_only=True)
class TuneConfig(RunConfig):
    """Search settings of the sampler `method` on the target `of` by `trials` trials within
    `budget`, against a run of HMC or NUTS, or an exact value.

    `objective` is the quantity to minimise: "error" is the decimal logarithm of sqrt((λ̂ - λ_ref)²
    + its Monte Carlo variance) / |λ_ref|, which weighs bias and noise of the method's own length;
    "standard_errors" is |λ̂ - λ_ref| in standard errors of the difference, which rewards noise.
    Trials with flags count as failed. `space` has for each setting searched its lowest and highest
    value; empty means `searched(method)`.
    """

    kind: ClassVar[str] = "tune"
    title: ClassVar[str] = "search of a sampler's settings"
    verb: ClassVar[str] = "llc tune"
    backend: ClassVar[Backend] = "jax"
    extra: ClassVar[str] = "llc"
    pictures: ClassVar[tuple[str, ...]] = ("search",)
    inputs: ClassVar[tuple[str, ...]] = ("of", "reference?")
    takes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "of": ("network",),
        "reference": ("hmc", "nuts"),
    }
    method: SamplerConfig = setting(SGLDConfig())
    space: dict[str, Range] = setting(
        {},
        help="lowest and highest value of each setting searched; empty means the usual ones of "
        "the method",
    )
    objective: Literal["error", "standard_errors"] = setting("error")
    trials: int = setting(30, low=1, unit="trials")
    startup: int = setting(
        8,
        low=1,
        unit="trials",
        help="trials drawn at random before the model of the objective chooses",
    )
    budget: TuningBudgetConfig = setting(TuningBudgetConfig(seconds=600.0))

    def validate(self) -> None:
        """Check that the searched settings are numbers of the method, within its bounds."""
        if self.budget.gradients == 0 and self.budget.seconds == 0:
            raise ConfigError(
                "tune.budget bounds nothing; give budget.seconds or budget.gradients above 0, or "
                "a named one such as budget=standard."
            )
        known = {
            field.name: field
            for field in dataclasses.fields(self.method)
            if type_of(type(self.method), field.name) in (int, float)
        }
        for name, limits in self.searched.items():
            if name not in known or name == "seed":
                allowed = ", ".join(sorted(set(known) - {"seed"}))
                raise ConfigError(
                    f"{self.method.kind} has no number {name!r} to search; allowed are {allowed}."
                )
            if len(limits) != 2 or not limits[0] < limits[1]:
                raise ConfigError(
                    f"tune.space.{name} is {list(limits)}; give its lowest and highest value, "
                    "such as [0.001, 1]."
                )
            for value in limits:
                # raises for what the method does not allow
                dataclasses.replace(self.method, **self.typed({name: value}))

    @property
    def searched(self) -> dict[str, Range]:
        """The settings searched with their limits."""
        return self.space or usual_space(self.method)

    def typed(self, values: Mapping[str, float]) -> dict[str, Any]:
        """Values of settings converted to their types."""
        return {
            name: round(value) if type_of(type(self.method), name) is int else float(value)
            for name, value in values.items()
        }


def usual_space(method: SamplerConfig) -> dict[str, Range]:
    """The settings searched for a sampler by default: those that determine its bias or its
    speed."""
    if isinstance(method, StepConfig):
        return (
            {"step_size": (1e-8, 1e-1)}
            if method.step_rule == "fixed"
            else {"step_fraction": (1e-3, 2.0)}
        )
    if isinstance(method, MCLMCConfig):
        return (
            {"target_acceptance": (0.5, 0.98), "decoherence": (0.1, 10.0)}
            if method.adjusted
            else {"energy_variance": (1e-7, 1e-2)}
        )
    if isinstance(method, VIConfig):
        return (
            {"learning_rate": (1e-3, 0.3)}
            if method.family == "mean_field"
            else {"learning_rate": (1e-3, 0.3), "rank": (1, 32)}
        )
    return {"target_acceptance": (0.2, 0.95) if isinstance(method, MALAConfig) else (0.5, 0.98)}
