"""Runs that score a posterior against the true graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from causal_meta.conf.artifacts import Backend, RunConfig
from causal_meta.conf.setting import ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(RunConfig):
    """Score a posterior against the truth.

    `of` an amortised target with `tasks` a tasks target, or `of` a tasks target with `posterior` a
    run on it.
    """

    kind: ClassVar[str] = "evaluate"
    title: ClassVar[str] = "evaluation"
    revision: ClassVar[int] = 2  # 2: optimal_shd and log_loss
    verb: ClassVar[str] = "evaluate"
    backend: ClassVar[Backend] = "torch"
    thread_safe: ClassVar[bool] = True
    inputs: ClassVar[tuple[str, ...]] = ("of", "tasks?", "posterior?")
    takes: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "of": ("amortised", "tasks"),
        "tasks": ("tasks",),
        "posterior": ("posterior",),
    }
    n_samples: int = setting(100, low=1, unit="graphs")
    shd_reversal: Literal[1, 2] = setting(
        1, help="what a reversed edge costs in the structural Hamming distance"
    )
    ece_bins: int = setting(10, low=2)

    @classmethod
    def check_inputs(cls, kinds: Mapping[str, str]) -> None:
        """Check that a model comes with tasks, and tasks come with a posterior."""
        needed, other = (
            ("tasks", "posterior") if kinds["of"] == "amortised" else ("posterior", "tasks")
        )
        if needed not in kinds or other in kinds:
            came = f"without {needed}" if needed not in kinds else f"with {other}"
            raise ConfigError(
                f"evaluate of a target of kind {kinds['of']!r} came {came}; a model takes tasks, "
                "a task set takes a posterior."
            )
