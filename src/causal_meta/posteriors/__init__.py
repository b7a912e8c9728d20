"""Posteriors over causal graphs: what every method answers with, and what every metric, picture and
export reads.

A `GraphPosterior` holds one distribution over directed graphs for each of B tasks, padded to D
variables; padded variables and self-loops have probability zero. `adjacency[i, j] = 1` means i
causes j. Shape letters: B tasks, D variables, S graphs, K orders.

    independent_edges    Bernoulli edges; marginals exact, cycles possible
    empirical_graphs     a finite set of equally likely graphs
    drawn_graphs         draws of a posterior whose marginals are known better than from them
    pooled_graphs        a mixture with fixed weights of several posteriors
    ordered_edges        orders with Bernoulli edges along them; always acyclic
"""

from causal_meta.posteriors.drawn_graphs import DrawnGraphs
from causal_meta.posteriors.empirical_graphs import EmpiricalGraphs
from causal_meta.posteriors.files import load_posterior, stack
from causal_meta.posteriors.graph_posterior import Arrays, GraphPosterior, pair_mask
from causal_meta.posteriors.independent_edges import IndependentEdges
from causal_meta.posteriors.mechanism_posterior import MechanismPosterior
from causal_meta.posteriors.ordered_edges import OrderedEdges
from causal_meta.posteriors.pooled_graphs import PooledGraphs

__all__ = [
    "Arrays",
    "DrawnGraphs",
    "EmpiricalGraphs",
    "GraphPosterior",
    "IndependentEdges",
    "MechanismPosterior",
    "OrderedEdges",
    "PooledGraphs",
    "load_posterior",
    "pair_mask",
    "stack",
]
