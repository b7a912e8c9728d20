"""Laws over directed acyclic graphs: one file per law."""

from causal_meta.datasets.graph_families.erdos_renyi import ErdosRenyiGenerator
from causal_meta.datasets.graph_families.law import GraphGenerator, make_generator
from causal_meta.datasets.graph_families.mixture import MixtureGenerator
from causal_meta.datasets.graph_families.scale_free import ScaleFreeGenerator

__all__ = ["ErdosRenyiGenerator", "GraphGenerator", "MixtureGenerator", "ScaleFreeGenerator", "make_generator"]
