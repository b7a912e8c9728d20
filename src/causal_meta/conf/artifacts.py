"""What can be built and run: one configuration class per kind of target and per kind of run
(architecture §2).

`revision` is raised when the same configuration would give another result (a mended bug). `inputs`
names the roles of the artifacts that a kind needs; a role ending in `?` may be missing. A run's
target is the role `of`. `takes` says which kinds fit a role, or what they must give. `thread_safe`
kinds may be made in threads of one process: they touch no generator, filter or mode that others
see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from causal_meta.conf.data import DataConfig, DataModuleConfig, FamilyConfig
from causal_meta.conf.models import AviciConfig, ModelConfig
from causal_meta.conf.setting import Config, ConfigError, setting
from causal_meta.conf.training import InferenceConfig, TrainerConfig


@dataclass(frozen=True, kw_only=True)
class ArtifactConfig(Config):
    """Base of all artifacts' configurations."""

    revision: ClassVar[int] = 1
    inputs: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    gives: ClassVar[str] = ""
    thread_safe: ClassVar[bool] = False
    seed: int = setting(0, low=0, high=2**63 - 1)

    @classmethod
    def accepts(cls, role: str, other: type[ArtifactConfig]) -> bool:
        """Whether an artifact of class `other` fits `role`: its kind or what it gives is among
        those that the role takes."""
        wanted = cls.takes.get(role)
        return (
            wanted is None or other.kind in wanted or (bool(other.gives) and other.gives in wanted)
        )

    @classmethod
    def check_inputs(cls, kinds: Mapping[str, str]) -> None:
        """Relations between the kinds of the inputs by role, overridden where there are any. Raises
        `ConfigError`."""


@dataclass(frozen=True, kw_only=True)
class TargetConfig(ArtifactConfig):
    """Base of targets: expensive, built once."""

    name: str = setting("", identity=False)


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(TargetConfig):
    """A graph model pre-trained on a stream of structural causal models. `init` starts from the
    weights of another one.

    `weights_sha256` is set for a checkpoint that was imported (`store import FILE.pt`): then `data`
    says what its owner trained it on.
    """

    kind: ClassVar[str] = "amortised"
    inputs: ClassVar[tuple[str, ...]] = ("init?",)
    takes: ClassVar[Mapping[str, tuple[str, ...]]] = {"init": ("amortised",)}
    model: ModelConfig = setting(AviciConfig())
    data: DataModuleConfig = setting(DataModuleConfig())
    trainer: TrainerConfig = setting(TrainerConfig())
    inference: InferenceConfig = setting(InferenceConfig(), identity=False)
    weights_sha256: str = setting("", help="digest of an imported checkpoint; empty for a training")


@dataclass(frozen=True, kw_only=True)
class TasksConfig(TargetConfig):
    """A fixed set of tasks: `n_tasks` draws of a family, or one real table."""

    kind: ClassVar[str] = "tasks"
    thread_safe: ClassVar[bool] = True
    data: DataConfig = setting(FamilyConfig())
    n_tasks: int = setting(25, low=1, unit="tasks")


@dataclass(frozen=True, kw_only=True)
class PortraitConfig(TargetConfig):
    """What a family of worlds looks like: sortabilities, degrees, shapes of its variables, over
    `n_tasks` draws, with pictures."""

    kind: ClassVar[str] = "portrait"
    data: FamilyConfig = setting(FamilyConfig())
    n_tasks: int = setting(200, low=1, unit="tasks")


@dataclass(frozen=True, kw_only=True)
class DistanceConfig(TargetConfig):
    """How far apart two families of worlds are, from `n_tasks` tasks of each with `n_rows` rows
    (`datasets.distances`)."""

    kind: ClassVar[str] = "distance"
    first: FamilyConfig = setting(FamilyConfig())
    second: FamilyConfig = setting(FamilyConfig())
    n_tasks: int = setting(200, low=20, unit="tasks of each family")
    n_rows: int = setting(200, low=20, unit="rows")


@dataclass(frozen=True, kw_only=True)
class RunConfig(ArtifactConfig):
    """Base of runs: cheaper, many per target, computed on the target of role `of`."""

    inputs: ClassVar[tuple[str, ...]] = ("of",)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(RunConfig):
    """Score a posterior against the truth.

    `of` an amortised target with `tasks` a tasks target, or `of` a tasks target with `posterior` a
    run on it.
    """

    kind: ClassVar[str] = "evaluate"
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
        """A model is scored on tasks, tasks are scored with a posterior."""
        needed, other = (
            ("tasks", "posterior") if kinds["of"] == "amortised" else ("posterior", "tasks")
        )
        if needed not in kinds or other in kinds:
            came = f"without {needed}" if needed not in kinds else f"with {other}"
            raise ConfigError(
                f"evaluate of a target of kind {kinds['of']!r} came {came}; a model takes tasks, "
                "a task set takes a posterior."
            )


@dataclass(frozen=True, kw_only=True)
class DiscoverConfig(RunConfig):
    """The posterior of an amortised target (`of`) for the tables of a tasks target (`tasks`)."""

    kind: ClassVar[str] = "discover"
    inputs: ClassVar[tuple[str, ...]] = ("of", "tasks")
    takes: ClassVar[Mapping[str, tuple[str, ...]]] = {"of": ("amortised",), "tasks": ("tasks",)}
    gives: ClassVar[str] = "posterior"
    n_samples: int = setting(1000, low=1, unit="graphs")


@dataclass(frozen=True, kw_only=True)
class BaselineConfig(RunConfig):
    """Base of the baselines: each gives posterior samples for every task of a tasks target."""

    takes: ClassVar[Mapping[str, tuple[str, ...]]] = {"of": ("tasks",)}
    gives: ClassVar[str] = "posterior"
    n_samples: int = setting(20, low=1, unit="graphs", help="bootstrap replicates, or draws")


@dataclass(frozen=True, kw_only=True)
class EmptyConfig(BaselineConfig):
    """No edges at all: the anchor that every table shows."""

    kind: ClassVar[str] = "empty"
    thread_safe: ClassVar[bool] = True
    n_samples: int = setting(1, low=1, unit="graphs")


@dataclass(frozen=True, kw_only=True)
class RandomConfig(BaselineConfig):
    """Erdős–Rényi graphs of a given mean density, blind to the rows."""

    kind: ClassVar[str] = "random"
    thread_safe: ClassVar[bool] = True
    edges_per_node: float = setting(2.0, low=0, unit="edges")
    n_samples: int = setting(100, low=1, unit="graphs")


@dataclass(frozen=True, kw_only=True)
class SortnregressConfig(BaselineConfig):
    """Order the variables by a score, then regress each on its predecessors with the lasso chosen
    by BIC (Reisach et al. 2021, 2023); bootstrap."""

    kind: ClassVar[str] = "sortnregress"
    order: Literal["variance", "r2", "random"] = setting("r2")


@dataclass(frozen=True, kw_only=True)
class PCConfig(BaselineConfig):
    """Bootstrap of PC with Fisher's z (causal-learn)."""

    kind: ClassVar[str] = "pc"
    alpha: float = setting(0.05, above=0, high=1)


@dataclass(frozen=True, kw_only=True)
class GESConfig(BaselineConfig):
    """Bootstrap of GES with BIC (causal-learn). `penalty` 0.5 is plain BIC there."""

    kind: ClassVar[str] = "ges"
    penalty: float = setting(0.5, above=0)


@dataclass(frozen=True, kw_only=True)
class BOSSConfig(BaselineConfig):
    """Bootstrap of BOSS with BIC (causal-learn), columns shuffled before every fit."""

    kind: ClassVar[str] = "boss"
    penalty: float = setting(2.0, above=0)
