"""Runs that infer a posterior over graphs for every task of a set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from causal_meta.conf.artifacts import Backend, RunConfig
from causal_meta.conf.knowledge import KnowledgeConfig
from causal_meta.conf.setting import Config, ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class DiscoverConfig(RunConfig):
    """The posterior of an amortised target (`of`) for the tables of a tasks target (`tasks`)."""

    kind: ClassVar[str] = "discover"
    title: ClassVar[str] = "posterior of a trained graph model"
    table_rank: ClassVar[int] = 0
    backend: ClassVar[Backend] = "torch"
    needs_pretraining: ClassVar[bool] = True
    inputs: ClassVar[tuple[str, ...]] = ("of", "tasks")
    takes: ClassVar[Mapping[str, tuple[str, ...]]] = {"of": ("amortised",), "tasks": ("tasks",)}
    gives: ClassVar[str] = "posterior"
    n_samples: int = setting(1000, low=1, unit="graphs")


@dataclass(frozen=True, kw_only=True)
class MethodConfig(RunConfig):
    """Base of the methods that infer a posterior for each task of a tasks target by itself."""

    takes: ClassVar[Mapping[str, tuple[str, ...]]] = {"of": ("tasks",)}
    gives: ClassVar[str] = "posterior"
    backend: ClassVar[Backend] = "numpy"
    builder: ClassVar[str] = "causal_meta.runners.inference.per_task:infer_per_task"
    #: Whether the method obeys `knowledge`, and contexts of a table; others refuse them.
    uses_knowledge: ClassVar[bool] = False
    #: Whether the method reads columns with more than two categories.
    reads_categories: ClassVar[bool] = False
    #: The settings that `name_in_tables` already says.
    named: ClassVar[tuple[str, ...]] = ()
    n_samples: int = setting(20, low=1, unit="graphs", help="bootstrap replicates, or draws")
    knowledge: KnowledgeConfig = setting(KnowledgeConfig(), added=True)

    @property
    def name_in_tables(self) -> str:
        """The title, with the variant of the method where it has several."""
        return self.title


@dataclass(frozen=True, kw_only=True)
class EmptyConfig(MethodConfig):
    """The empty graph: a reference that every table shows."""

    kind: ClassVar[str] = "empty"
    title: ClassVar[str] = "empty graph"
    table_rank: ClassVar[int] = 60
    thread_safe: ClassVar[bool] = True
    n_samples: int = setting(1, low=1, unit="graphs")


@dataclass(frozen=True, kw_only=True)
class RandomConfig(MethodConfig):
    """Erdős–Rényi graphs of a given mean density, which ignore the data."""

    kind: ClassVar[str] = "random"
    title: ClassVar[str] = "random graphs"
    table_rank: ClassVar[int] = 50
    thread_safe: ClassVar[bool] = True
    edges_per_node: float = setting(2.0, low=0, unit="edges")
    n_samples: int = setting(100, low=1, unit="graphs")


@dataclass(frozen=True, kw_only=True)
class CorrelationConfig(MethodConfig):
    """The correlation of every pair: a symmetric reference that any method should improve on."""

    kind: ClassVar[str] = "correlation"
    title: ClassVar[str] = "correlation"
    table_rank: ClassVar[int] = 44
    thread_safe: ClassVar[bool] = True
    n_samples: int = setting(100, low=1, unit="graphs")


@dataclass(frozen=True, kw_only=True)
class PartialCorrelationConfig(MethodConfig):
    """The partial correlation of every pair, all other variables held fixed; shrunken where rows
    are few (Schäfer & Strimmer 2005)."""

    kind: ClassVar[str] = "partialcorrelation"
    title: ClassVar[str] = "partial correlation"
    table_rank: ClassVar[int] = 42
    thread_safe: ClassVar[bool] = True
    n_samples: int = setting(100, low=1, unit="graphs")


@dataclass(frozen=True, kw_only=True)
class BootstrapConfig(MethodConfig):
    """Base of the methods that answer a table with one graph or class of graphs."""

    bootstrap: bool = setting(
        True, added=True, help="false: the plain method on the rows as they are, fitted once"
    )

    @property
    def name_in_tables(self) -> str:
        """The title, which says whether it is a bootstrap."""
        if self.bootstrap:
            return self.title
        plain = self.title.removesuffix(" bootstrap")
        return plain if plain != self.title else f"{self.title} without bootstrap"


@dataclass(frozen=True, kw_only=True)
class SortnregressConfig(BootstrapConfig):
    """Order the variables by a score, then regress each on its predecessors with the lasso chosen
    by BIC (Reisach et al. 2021, 2023); bootstrapped or plain."""

    kind: ClassVar[str] = "sortnregress"
    title: ClassVar[str] = "sort-and-regress"
    table_rank: ClassVar[int] = 40
    named: ClassVar[tuple[str, ...]] = ("order", "bootstrap")
    order: Literal["variance", "r2", "random"] = setting("r2")

    @property
    def name_in_tables(self) -> str:
        """The title with the score that orders the variables."""
        orders = {"r2": "by R²", "variance": "by variance", "random": "in random order"}
        name = f"{self.title} {orders[self.order]}"
        return name if self.bootstrap else f"{name} without bootstrap"


@dataclass(frozen=True, kw_only=True)
class PCConfig(BootstrapConfig):
    """PC with Fisher's z (causal-learn), bootstrapped or plain."""

    kind: ClassVar[str] = "pc"
    title: ClassVar[str] = "PC bootstrap"
    table_rank: ClassVar[int] = 30
    extra: ClassVar[str] = "baselines"
    uses_knowledge: ClassVar[bool] = True
    named: ClassVar[tuple[str, ...]] = ("bootstrap",)
    alpha: float = setting(0.05, above=0, high=1)


@dataclass(frozen=True, kw_only=True)
class GESConfig(BootstrapConfig):
    """GES with BIC, bootstrapped or plain. `penalty` 0.5 is plain BIC."""

    kind: ClassVar[str] = "ges"
    title: ClassVar[str] = "GES bootstrap"
    table_rank: ClassVar[int] = 20
    revision: ClassVar[int] = 2
    thread_safe: ClassVar[bool] = True
    named: ClassVar[tuple[str, ...]] = ("bootstrap",)
    penalty: float = setting(0.5, above=0)


@dataclass(frozen=True, kw_only=True)
class BOSSConfig(BootstrapConfig):
    """BOSS with BIC from several random orders, bootstrapped or plain. `penalty` 0.5 is plain
    BIC."""

    kind: ClassVar[str] = "boss"
    title: ClassVar[str] = "BOSS bootstrap"
    table_rank: ClassVar[int] = 10
    revision: ClassVar[int] = 2
    thread_safe: ClassVar[bool] = True
    uses_knowledge: ClassVar[bool] = True
    named: ClassVar[tuple[str, ...]] = ("bootstrap",)
    penalty: float = setting(2.0, above=0)
    starts: int = setting(
        30, low=1, help="random orders; from 10 on fewer once six reached the best score"
    )


#: Nats taken off for every edge. The prior `fair` alone expects 57 edges among 20 variables; the
#: value is the best compromise on made tables with one to two edges a variable.
EDGE_PENALTY = 1.5


@dataclass(frozen=True, kw_only=True)
class PoolConfig(Config):
    """The weights of a pooled answer: of each set of assumptions on all rows, divided by their sum,
    and of one of them on halves of the rows."""

    kind: ClassVar[str] = "pool"
    linear: float = setting(0.15, low=0, help="linear mechanisms, Gaussian noise")
    additive: float = setting(0.15, low=0, help="additive nonlinear mechanisms too")
    noise: float = setting(0.2, low=0, help="noise of any density too")
    variance: float = setting(0.5, low=0, help="a variance that depends on the causes too")
    halves: float = setting(0.3, low=0, high=1, help="share of the answers on halves of the rows")
    halved: Literal["linear", "additive", "noise", "variance"] = setting(
        "additive", help="the assumptions of the answers on halves"
    )

    def validate(self) -> None:
        if not any(self.weights.values()):
            raise ConfigError("All weights of the pool are 0; give at least one above 0.")

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each set of assumptions; their sum is 1."""
        values = {name: getattr(self, name) for name in ("linear", "additive", "noise", "variance")}
        total = sum(values.values()) or 1.0
        return {name: value / total for name, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class BayesianConfig(MethodConfig):
    """Base of the methods that sum or sample a posterior over graphs from local scores."""

    uses_knowledge: ClassVar[bool] = True
    reads_categories: ClassVar[bool] = True
    score: Literal[
        "pool", "linear", "additive", "noise", "variance", "bic", "bdeu", "degenerategaussian"
    ] = setting(
        "pool",
        help="what is assumed: linear, additive, noise, variance each contain those before them; "
        "pool averages answers under all four, on all rows and on halves; bic is linear; bdeu "
        "reads categories, degenerategaussian both kinds of columns",
    )
    pool: PoolConfig = setting(PoolConfig())
    graph_prior: Literal["fair", "uniform"] = setting(
        "fair", help="fair: every number of causes alike; uniform: every graph alike"
    )
    edge_penalty: float = setting(
        EDGE_PENALTY, unit="nats", help="taken off for every edge: graphs are sparse"
    )
    expected_edges: float | None = setting(
        None, above=0, unit="edges", help="sets edge_penalty, by the prior mean"
    )
    prior_scale: float | None = setting(
        None,
        above=0,
        added=True,
        help="t of the normal-Wishart prior of standardised columns; by default 0.5, or less where "
        "the evidence of good linear graphs asks for it",
    )
    n_samples: int = setting(1000, low=1, unit="graphs")

    def validate(self) -> None:
        if self.expected_edges is not None and self.edge_penalty != EDGE_PENALTY:
            raise ConfigError(
                f"edge_penalty is {self.edge_penalty} and expected_edges {self.expected_edges}; "
                "give one of the two."
            )


@dataclass(frozen=True, kw_only=True)
class ExactConfig(BayesianConfig):
    """The exact posterior over all directed acyclic graphs of at most 20 variables, by sums over
    sets of variables."""

    kind: ClassVar[str] = "exact"
    title: ClassVar[str] = "exact Bayesian inference"
    table_rank: ClassVar[int] = 2
    revision: ClassVar[int] = 2
    prior: Literal["modular", "order"] = setting(
        "modular",
        help="modular: every graph counts once; order: once for each of its topological orders",
    )


@dataclass(frozen=True, kw_only=True)
class MCMCConfig(BayesianConfig):
    """Graphs drawn from the posterior by Markov chains over orders and graphs."""

    kind: ClassVar[str] = "mcmc"
    title: ClassVar[str] = "structure MCMC"
    table_rank: ClassVar[int] = 6
    revision: ClassVar[int] = 2
    chains: int = setting(8, low=1)
    n_candidates: int = setting(
        10, low=1, high=12, unit="variables", help="possible causes of each variable"
    )
    max_parents: int = setting(15, low=1, unit="variables", help="most causes of a variable")
