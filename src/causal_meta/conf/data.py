"""Configuration of the worlds: graphs, mechanisms, noise, families, streams, task sets and real tables (room `datasets`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from causal_meta.conf.setting import Config, ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class IntRange(Config):
    """A whole number between `low` and `high` inclusive, drawn with probability proportional to n^power.

    `power=0` is uniform, `power=-1` uniform on the logarithm. A bare number `n` stands for `low=high=n`.
    """

    kind: ClassVar[str] = "int_range"
    low: int = setting(low=1)
    high: int = setting(low=1)
    power: float = setting(0.0, low=-8, high=8)

    def validate(self) -> None:
        if self.high < self.low:
            raise ConfigError(f"int_range.high is {self.high}, below low={self.low}; give high at least as large as low.")

    @property
    def is_fixed(self) -> bool:
        return self.low == self.high


def fixed(n: int) -> IntRange:
    """The range that holds `n` alone."""
    return IntRange(low=n, high=n)


# ---------------------------------------------------------------------------------------------------------------------- graphs


@dataclass(frozen=True, kw_only=True)
class GraphConfig(Config):
    """Base of the laws over directed acyclic graphs."""


@dataclass(frozen=True, kw_only=True)
class ErdosRenyi(GraphConfig):
    """Each pair of a random order is an edge independently with p = min(1, 2 edges_per_node / (D-1)): edges_per_node * D edges expected."""

    kind: ClassVar[str] = "erdos_renyi"
    edges_per_node: float = setting(2.0, low=0, unit="edges")


@dataclass(frozen=True, kw_only=True)
class ScaleFree(GraphConfig):
    """Preferential attachment (Barabási-Albert): node t joins min(t, edges_per_node) earlier nodes with probability ∝ (degree + 1)^power.

    `hubs="effects"` lets a new node cause the ones it joins (power-law in-degree, as AVICI's SF); `hubs="causes"` is the transpose.
    """

    kind: ClassVar[str] = "scale_free"
    edges_per_node: int = setting(2, low=1, unit="edges")
    power: float = setting(1.0, low=0, high=4)
    hubs: Literal["causes", "effects"] = setting("causes")


@dataclass(frozen=True, kw_only=True)
class GraphPart(Config):
    """A named part of a mixture of graph laws."""

    kind: ClassVar[str] = "graph_part"
    weight: float = setting(1.0, above=0)
    graph: GraphConfig = setting()


@dataclass(frozen=True, kw_only=True)
class GraphMixture(GraphConfig):
    """One of the named parts is drawn per task, with probability proportional to its weight."""

    kind: ClassVar[str] = "graph_mixture"
    parts: dict[str, GraphPart] = setting()

    def validate(self) -> None:
        if not self.parts:
            raise ConfigError("graph_mixture.parts is empty; name at least one part.")


# ------------------------------------------------------------------------------------------------------------------ mechanisms


@dataclass(frozen=True, kw_only=True)
class MechanismConfig(Config):
    """Base of the laws over the function that makes a variable from its parents and its noise."""


@dataclass(frozen=True, kw_only=True)
class LinearHeteroskedastic(MechanismConfig):
    """x_j = w_j . x_pa(j) + b_j + s_j e_j with a noise standard deviation s_j of its own at every node (roots included).

    `weight_law`: "normal" N(0, weight_scale²), or "uniform_sign" ± U(weight_low, weight_high) (AVICI). `noise_std_law`: "gamma"
    Gamma(shape noise_std_a, rate noise_std_b), or "uniform" U(noise_std_a, noise_std_b). Bias b_j ~ U(-bias_bound, bias_bound).
    """

    kind: ClassVar[str] = "linear"
    weight_law: Literal["normal", "uniform_sign"] = setting("normal")
    weight_scale: float = setting(1.0, above=0)
    weight_low: float = setting(0.5, low=0)
    weight_high: float = setting(2.0, above=0)
    bias_bound: float = setting(0.0, low=0)
    noise_std_law: Literal["gamma", "uniform"] = setting("gamma")
    noise_std_a: float = setting(2.0, above=0)
    noise_std_b: float = setting(2.0, above=0)

    def validate(self) -> None:
        if self.weight_low > self.weight_high:
            raise ConfigError(f"linear.weight_low is {self.weight_low}, above weight_high={self.weight_high}; swap them.")
        if self.noise_std_law == "uniform" and self.noise_std_a > self.noise_std_b:
            raise ConfigError(f"linear.noise_std_a is {self.noise_std_a}, above noise_std_b={self.noise_std_b}; swap them.")


@dataclass(frozen=True, kw_only=True)
class MLP(MechanismConfig):
    """x_j = f_j(x_pa(j), e_j): two layers, LeakyReLU between, the noise an input (not additive), weights ~ N(0, weight_scale²/fan-in).

    Hidden biases ~ N(0, 1): without them the function would be homogeneous and `weight_scale` without effect. The output weights are scaled to
    give a mean square of one where the inputs have it, so that values neither vanish nor grow along a path.
    """

    kind: ClassVar[str] = "mlp"
    hidden: int = setting(16, low=1, unit="units")
    weight_scale: float = setting(2.0, above=0)
    noise_gain: float = setting(1.0, above=0, help="factor on the weights of the noise input")
    negative_slope: float = setting(0.1, low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class MechanismPart(Config):
    """A named part of the mechanism mixture: each node draws its mechanism, with probability proportional to the weight."""

    kind: ClassVar[str] = "mechanism_part"
    weight: float = setting(1.0, above=0)
    mechanism: MechanismConfig = setting()


# ----------------------------------------------------------------------------------------------------------------------- noise


@dataclass(frozen=True, kw_only=True)
class NoiseConfig(Config):
    """Base of the laws of the exogenous noise e_j: mean zero, unit variance."""


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(NoiseConfig):
    """e ~ N(0, 1)."""

    kind: ClassVar[str] = "gaussian"


@dataclass(frozen=True, kw_only=True)
class LaplaceNoise(NoiseConfig):
    """e ~ Laplace with scale 1/sqrt(2): unit variance."""

    kind: ClassVar[str] = "laplace"


@dataclass(frozen=True, kw_only=True)
class NoisePart(Config):
    """A named part of a mixture of noise laws."""

    kind: ClassVar[str] = "noise_part"
    weight: float = setting(1.0, above=0)
    noise: NoiseConfig = setting()


@dataclass(frozen=True, kw_only=True)
class NoiseMixture(NoiseConfig):
    """One of the named parts is drawn per task and holds for all its nodes."""

    kind: ClassVar[str] = "noise_mixture"
    parts: dict[str, NoisePart] = setting()

    def validate(self) -> None:
        if not self.parts:
            raise ConfigError("noise_mixture.parts is empty; name at least one part.")


# -------------------------------------------------------------------------------------------------------- families, sets, streams


@dataclass(frozen=True, kw_only=True)
class DataConfig(Config):
    """Base of what a task set can be made of: a family of worlds, or a table."""


@dataclass(frozen=True, kw_only=True)
class FamilyConfig(DataConfig):
    """A distribution over structural causal models and the size of the table drawn from each (seed 001 §3)."""

    kind: ClassVar[str] = "family"
    graph: GraphConfig = setting(ErdosRenyi())
    mechanisms: dict[str, MechanismPart] = setting({"linear": MechanismPart(mechanism=LinearHeteroskedastic())})
    mechanism_mixing: Literal["node", "task"] = setting("node", help="draw a mechanism part for every node, or one for the whole task")
    noise: NoiseConfig = setting(GaussianNoise())
    n_nodes: IntRange = setting(fixed(20))
    n_rows: IntRange = setting(fixed(200))

    def validate(self) -> None:
        if not self.mechanisms:
            raise ConfigError("family.mechanisms is empty; name at least one mechanism.")
        if self.n_nodes.low < 2:
            raise ConfigError(f"family.n_nodes starts at {self.n_nodes.low}; a graph needs at least 2 nodes.")
        if self.n_rows.low < 2:
            raise ConfigError(f"family.n_rows starts at {self.n_rows.low}; a table needs at least 2 rows.")


@dataclass(frozen=True, kw_only=True)
class TableConfig(DataConfig):
    """A user's table: what was read (a digest of its bytes) and how, never where it lay.

    `sha256` is filled by the command line from the file's bytes (of the canonical CSV for a bundled table such as `sklearn:diabetes`).
    `truth_sha256` is the digest of the true adjacency, empty where there is none.
    """

    kind: ClassVar[str] = "table"
    sha256: str = setting()
    format: Literal["csv", "tsv", "parquet", "npz"] = setting("csv")
    columns: tuple[str, ...] = setting((), help="the columns used, in order; none means all")
    transform: Literal["none", "log"] = setting("none", help="log: natural logarithm of every (positive) value")
    truth_sha256: str = setting("")
    title: str = setting("", identity=False)


@dataclass(frozen=True, kw_only=True)
class TaskSetConfig(Config):
    """`n_tasks` fixed tasks of one family; seeds are derived from the set's name and seed."""

    kind: ClassVar[str] = "task_set"
    family: FamilyConfig = setting()
    n_tasks: int = setting(32, low=1, unit="tasks")


@dataclass(frozen=True, kw_only=True)
class DataModuleConfig(Config):
    """A training stream and the task sets it is kept disjoint from (seed 001 §1)."""

    kind: ClassVar[str] = "data_module"
    train: FamilyConfig = setting(FamilyConfig())
    test: dict[str, TaskSetConfig] = setting({})
    tasks_per_step: int = setting(32, low=1, unit="tasks", help="global batch size, over all ranks")
    with_adjacency: bool = setting(True)
    workers: int = setting(0, low=0, identity=False)
    cache_instances: bool = setting(True, identity=False)
