"""Configuration of the laws over directed acyclic graphs (room `datasets`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from causal_meta.conf.ranges import IntRange
from causal_meta.conf.setting import Config, ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class GraphConfig(Config):
    """Base of the laws over directed acyclic graphs."""

    def check_nodes(self, n_nodes: IntRange) -> None:
        """Raise `ConfigError` if the law cannot make graphs of some number of nodes in the range; laws that have such limits override it."""


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

    def check_nodes(self, n_nodes: IntRange) -> None:
        for part in self.parts.values():
            part.graph.check_nodes(n_nodes)
