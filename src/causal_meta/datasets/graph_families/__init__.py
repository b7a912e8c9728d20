"""Laws over directed acyclic graphs: one file per law."""

from causal_meta.datasets.graph_families.erdos_renyi import ErdosRenyiGenerator
from causal_meta.datasets.graph_families.erdos_renyi_m import ErdosRenyiMGenerator
from causal_meta.datasets.graph_families.erdos_renyi_p import ErdosRenyiPGenerator
from causal_meta.datasets.graph_families.geometric import GeometricGenerator
from causal_meta.datasets.graph_families.known_graph import KnownGraphGenerator
from causal_meta.datasets.graph_families.law import GraphGenerator, make_generator
from causal_meta.datasets.graph_families.layered import LayeredGenerator
from causal_meta.datasets.graph_families.mixture import MixtureGenerator
from causal_meta.datasets.graph_families.network_subgraph import NetworkSubgraphGenerator
from causal_meta.datasets.graph_families.scale_free import ScaleFreeGenerator
from causal_meta.datasets.graph_families.stochastic_block import StochasticBlockGenerator
from causal_meta.datasets.graph_families.watts_strogatz import WattsStrogatzGenerator

__all__ = [
    "ErdosRenyiGenerator",
    "ErdosRenyiMGenerator",
    "ErdosRenyiPGenerator",
    "GeometricGenerator",
    "GraphGenerator",
    "KnownGraphGenerator",
    "LayeredGenerator",
    "MixtureGenerator",
    "NetworkSubgraphGenerator",
    "ScaleFreeGenerator",
    "StochasticBlockGenerator",
    "WattsStrogatzGenerator",
    "make_generator",
]
