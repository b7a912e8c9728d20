"""Configuration of the laws over directed acyclic graphs (room `datasets`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from causal_meta.conf import edge_lists
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.conf.setting import Config, ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class GraphConfig(Config):
    """Base of the laws over directed acyclic graphs."""

    def check_nodes(self, n_nodes: IntRange) -> None:
        """Raise `ConfigError` if the law cannot make graphs of some number of nodes in the range;
        laws that have such limits override it."""


@dataclass(frozen=True, kw_only=True)
class ErdosRenyi(GraphConfig):
    """Each pair of a random order is an edge independently with p = min(1, 2 edges_per_node /
    (D-1)): edges_per_node * D edges expected."""

    kind: ClassVar[str] = "erdos_renyi"
    edges_per_node: float = setting(2.0, low=0, unit="edges")


@dataclass(frozen=True, kw_only=True)
class ScaleFree(GraphConfig):
    """Preferential attachment (Barabási-Albert): node t joins min(t, edges_per_node) earlier nodes
    with probability ∝ (degree + 1)^power.

    `hubs="effects"` lets a new node cause the ones it joins (power-law in-degree, as AVICI's SF);
    `hubs="causes"` is the transpose.
    """

    kind: ClassVar[str] = "scale_free"
    edges_per_node: int = setting(2, low=1, unit="edges")
    power: float = setting(1.0, low=0, high=4)
    hubs: Literal["causes", "effects"] = setting("causes")


@dataclass(frozen=True, kw_only=True)
class ErdosRenyiP(GraphConfig):
    """Each pair of a random order is an edge independently with `edge_probability`:
    edge_probability * D (D-1) / 2 edges expected."""

    kind: ClassVar[str] = "erdos_renyi_p"
    edge_probability: float = setting(0.1, low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class ErdosRenyiM(GraphConfig):
    """Exactly `n_edges` edges, a number drawn per task, uniformly placed among the D (D-1) / 2
    pairs of a random order."""

    kind: ClassVar[str] = "erdos_renyi_m"
    n_edges: IntRange = setting(fixed(20), unit="edges")

    def check_nodes(self, n_nodes: IntRange) -> None:
        pairs = n_nodes.low * (n_nodes.low - 1) // 2
        if self.n_edges.high > pairs:
            raise ConfigError(
                f"erdos_renyi_m.n_edges reaches {self.n_edges.high}, but {n_nodes.low} nodes have "
                f"{pairs} pairs; ask for fewer edges or more nodes."
            )


@dataclass(frozen=True, kw_only=True)
class StochasticBlock(GraphConfig):
    """Nodes in min(n_blocks, D) blocks; a pair of a random order is an edge with `p_within` inside
    a block, damp * p_within between blocks.

    Give either `p_within` or `edges_per_node` (neither means 2 edges per node); the latter chooses
    p_within, at most 1, for each graph's own blocks, so that edges_per_node * D edges are expected.
    `blocks="equal"` makes sizes that differ by one at most, "random" all sizes, each at least 1,
    equally likely.
    """

    kind: ClassVar[str] = "stochastic_block"
    n_blocks: int = setting(5, low=1, unit="blocks")
    edges_per_node: float | None = setting(None, low=0, unit="edges")
    p_within: float | None = setting(None, low=0, high=1)
    damp: float = setting(0.1, low=0, high=1, help="p_between / p_within")
    blocks: Literal["equal", "random"] = setting("equal")

    def validate(self) -> None:
        if self.edges_per_node is not None and self.p_within is not None:
            raise ConfigError(
                f"stochastic_block has edges_per_node={self.edges_per_node} and "
                f"p_within={self.p_within}; give one of the two."
            )


@dataclass(frozen=True, kw_only=True)
class WattsStrogatz(GraphConfig):
    """A periodic lattice in which pairs up to `neighbours` steps apart are joined, edges rewired
    with probability `rewire`.

    In one dimension the lattice is a ring of D nodes, each joined to `neighbours` on either side;
    in more its side is ceil(D^(1/dim)) and D of its nodes, drawn at random after rewiring, are
    kept. Edges follow a random order, or with `order="lattice"` that of the lattice, row after row
    (as AVICI's do); the numbering is random in both cases.
    """

    kind: ClassVar[str] = "watts_strogatz"
    dim: int = setting(1, low=1, high=4, unit="dimensions")
    neighbours: int = setting(2, low=1, high=50, unit="lattice steps")
    rewire: float = setting(0.3, low=0, high=1)
    order: Literal["random", "lattice"] = setting("random")


@dataclass(frozen=True, kw_only=True)
class Geometric(GraphConfig):
    """Nodes uniform in the unit cube of `dim` dimensions; pairs at most `radius` apart are joined.

    Edges follow a random order, or with `order="axis"` the first coordinate (as AVICI's do).
    """

    kind: ClassVar[str] = "geometric"
    radius: float = setting(0.3, above=0, high=2, unit="sides of the cube")
    dim: int = setting(2, low=1, high=3, unit="dimensions")
    order: Literal["random", "axis"] = setting("random")


@dataclass(frozen=True, kw_only=True)
class Layered(GraphConfig):
    """Nodes in min(n_layers, D) layers of nearly equal size; edges lead from a layer to a later
    one.

    A pair of neighbouring layers is an edge with probability p, a pair further apart with skip * p,
    where p, at most 1, makes edges_per_node * D edges expected.
    """

    kind: ClassVar[str] = "layered"
    n_layers: int = setting(4, low=2, unit="layers")
    edges_per_node: float = setting(2.0, low=0, unit="edges")
    skip: float = setting(0.0, low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class KnownGraph(GraphConfig):
    """One known graph, randomly renumbered in every task. `nodes` may name nodes without edges; by
    default they are the names in the edges.

    The order in which edges and nodes are written means nothing, and is made canonical.
    """

    kind: ClassVar[str] = "known_graph"
    edges: tuple[str, ...] = setting(help="'cause -> effect' each")
    nodes: tuple[str, ...] = setting((), help="all nodes; none means those of the edges")

    def validate(self) -> None:
        object.__setattr__(
            self, "edges", edge_lists.canonical_edges(self.edges, "known_graph.edges")
        )
        object.__setattr__(
            self, "nodes", edge_lists.node_names(self.edges, self.nodes, "known_graph.nodes")
        )
        cycle = edge_lists.find_cycle(self.edges)
        if cycle:
            raise ConfigError(
                f"known_graph.edges has the cycle {' -> '.join(cycle)}; give a directed acyclic "
                "graph."
            )

    def check_nodes(self, n_nodes: IntRange) -> None:
        if not n_nodes.is_fixed or n_nodes.low != len(self.nodes):
            size = str(n_nodes.low) if n_nodes.is_fixed else f"{n_nodes.low} to {n_nodes.high}"
            raise ConfigError(
                f"known_graph has {len(self.nodes)} nodes, but n_nodes is {size}; set n_nodes to "
                f"{len(self.nodes)}."
            )


@dataclass(frozen=True, kw_only=True)
class NetworkSubgraph(GraphConfig):
    """A connected subgraph of D nodes of a known network, grown from a random node by adding one
    random neighbour after another.

    With `top` below 1 the neighbour is drawn from that share of the neighbours with the largest
    gain of modularity (Marbach et al. 2009); with `start="cause"` the first node is one with
    effects, such as a regulator among genes. The network may have cycles; self-loops are left out,
    and of the edges on a cycle of the subgraph those that agree with a random order stay.
    `edge_lists.read_edges` takes the edges from a file.
    """

    kind: ClassVar[str] = "network_subgraph"
    edges: tuple[str, ...] = setting(help="'cause -> effect' each")
    top: float = setting(1.0, above=0, high=1)
    start: Literal["any", "cause"] = setting("any")

    def validate(self) -> None:
        object.__setattr__(
            self, "edges", edge_lists.canonical_edges(self.edges, "network_subgraph.edges")
        )
        if not self.edges:
            raise ConfigError(
                "network_subgraph.edges is empty; give the network as 'cause -> effect' edges."
            )

    def check_nodes(self, n_nodes: IntRange) -> None:
        largest = edge_lists.largest_component(self.edges)  # it has an edge, hence a cause
        if n_nodes.high > largest:
            raise ConfigError(
                f"network_subgraph has no connected part of {n_nodes.high} nodes (its largest has "
                f"{largest}); ask for at most {largest} nodes."
            )


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
