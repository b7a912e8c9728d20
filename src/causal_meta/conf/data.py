"""Configuration of families of worlds, streams, task sets and real tables (room `datasets`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from causal_meta.conf.graph_laws import ErdosRenyi, GraphConfig
from causal_meta.conf.interventions import InterventionConfig
from causal_meta.conf.mechanism_laws import (
    GPCDE,
    LinearHeteroskedastic,
    MechanismConfig,
    MechanismPart,
)
from causal_meta.conf.noise_laws import GaussianNoise, NoiseConfig
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.conf.setting import Config, ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class DataConfig(Config):
    """Base of the data of a task set: a family of worlds, or a table."""


@dataclass(frozen=True, kw_only=True)
class FamilyConfig(DataConfig):
    """A distribution over structural causal models and the size of the table drawn from
    each."""

    kind: ClassVar[str] = "family"
    graph: GraphConfig = setting(ErdosRenyi())
    mechanisms: dict[str, MechanismPart] = setting(
        {"linear": MechanismPart(mechanism=LinearHeteroskedastic())}
    )
    mechanism_mixing: Literal["node", "task"] = setting(
        "node", help="draw a part of the mixture for every node, or one for the whole task"
    )
    noise: NoiseConfig = setting(GaussianNoise())
    n_nodes: IntRange = setting(fixed(20))
    n_rows: IntRange = setting(fixed(200))
    internal_standardising: Literal["none", "values", "inputs"] = setting(
        "none",
        added=True,
        help="values: every variable is standardised before its children read it and reported so "
        "(iSCM); inputs: children read it standardised, "
        "but it is reported as it is (BCNP). Mean and standard deviation are numbers of the "
        "model, of the first 256 rows of its noise",
    )
    root_mechanism: MechanismConfig | None = setting(
        None, added=True, help="the mechanism of variables without parents; none: as of the others"
    )
    interventions: InterventionConfig | None = setting(
        None, added=True, help="rows under interventions; none: every row is observational"
    )
    seed_name: str = setting(
        "",
        added=True,
        help="task sets of families with different names have unrelated seeds; without one, equal "
        "seeds give families of one graph law equal graphs",
    )

    def validate(self) -> None:
        if not self.mechanisms:
            raise ConfigError("family.mechanisms is empty; name at least one mechanism.")
        if self.n_nodes.low < 2:
            raise ConfigError(
                f"family.n_nodes starts at {self.n_nodes.low}; a graph needs at least 2 nodes."
            )
        if self.n_rows.low < 2:
            raise ConfigError(
                f"family.n_rows starts at {self.n_rows.low}; a table needs at least 2 rows."
            )
        self.graph.check_nodes(self.n_nodes)
        self._check_whole_tables()
        self._check_functions()
        if self.interventions is not None:
            self.interventions.check_nodes(self.n_nodes)

    def _check_functions(self) -> None:
        """Check what standardising and root_mechanism require of the mechanisms."""
        root = self.root_mechanism
        if (
            root is not None
            and root.whole_table
            and not all(part.mechanism.whole_table for part in self.mechanisms.values())
        ):
            raise ConfigError(
                f"family.root_mechanism is {root.kind}, which makes whole tables; give a law of "
                "single variables, such as linear."
            )
        laws = [part.mechanism for part in self.mechanisms.values()] + (
            [] if root is None else [root]
        )
        if self.internal_standardising != "none" and any(
            isinstance(law, GPCDE) and law.exact for law in laws
        ):
            raise ConfigError(
                "family.internal_standardising needs functions that can be evaluated at further "
                "rows, unlike gpcde with exact=True; set exact=False."
            )

    def _check_whole_tables(self) -> None:
        """Check what laws that make whole tables are combined with."""
        parts = [part.mechanism for part in self.mechanisms.values()]
        whole = next((mechanism for mechanism in parts if mechanism.whole_table), None)
        if whole is None:
            return
        if not all(mechanism.whole_table for mechanism in parts) or (
            len(parts) > 1 and self.mechanism_mixing == "node"
        ):
            raise ConfigError(
                f"family.mechanisms mixes {whole.kind} with other mechanisms in one table; give "
                "it alone, "
                "or several of its kind with mechanism_mixing=task."
            )
        if (
            self.noise.kind != "gaussian"
            or self.internal_standardising != "none"
            or self.root_mechanism is not None
        ):
            raise ConfigError(
                f"family has {whole.kind}, which needs noise=gaussian, "
                "internal_standardising=none and no root_mechanism; leave out what differs."
            )


@dataclass(frozen=True, kw_only=True)
class TableConfig(DataConfig):
    """A user's table: what was read (a digest of its bytes) and how, without its path.

    `sha256` is filled by the command line from the file's bytes (of the canonical CSV for a bundled
    table such as `sklearn:diabetes`). `truth_sha256` is the digest of the true adjacency,
    `mask_sha256` that of the file which marks intervened cells; empty where there is none.
    """

    kind: ClassVar[str] = "table"
    sha256: str = setting()
    format: Literal["csv", "tsv", "parquet", "npz"] = setting("csv")
    columns: tuple[str, ...] = setting((), help="the columns used, in order; none means all")
    transform: Literal["none", "log"] = setting(
        "none", help="log: natural logarithm of every (positive) value"
    )
    truth_sha256: str = setting("")
    interventions: tuple[str, ...] = setting(
        (), added=True, help="columns that name the variables intervened on in each row"
    )
    mask_sha256: str = setting(
        "", added=True, help="digest of the table of cells set by interventions"
    )
    categorical: tuple[str, ...] = setting((), added=True, help="columns that hold categories")
    context: tuple[str, ...] = setting(
        (), added=True, help="columns that may be causes but have none: a site, a batch"
    )
    title: str = setting("", identity=False)


@dataclass(frozen=True, kw_only=True)
class TaskSetConfig(Config):
    """`n_tasks` fixed tasks of one family; seeds are derived from the set's name and seed."""

    kind: ClassVar[str] = "task_set"
    family: FamilyConfig = setting()
    n_tasks: int = setting(32, low=1, unit="tasks")


@dataclass(frozen=True, kw_only=True)
class DataModuleConfig(Config):
    """A training stream and the test sets whose graphs it excludes."""

    kind: ClassVar[str] = "data_module"
    train: FamilyConfig = setting(FamilyConfig())
    test: dict[str, TaskSetConfig] = setting({})
    tasks_per_step: int = setting(32, low=1, unit="tasks", help="global batch size, over all ranks")
    with_adjacency: bool = setting(True)
    workers: int = setting(0, low=0, identity=False)
    cache_instances: bool = setting(True, identity=False)
    cache_folder: str = setting(
        "",
        identity=False,
        help="keep the instances in files of this folder, shared by processes; empty: in memory",
    )
    disjoint: Literal["graph", "isomorphism", "equivalence"] = setting(
        "graph",
        added=True,
        help="no training graph equals one of a test set: as a labelled graph, under any "
        "renumbering, or up to Markov equivalence",
    )
