"""Posteriors of all types: stacked over tasks, and made again from stored arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from causal_meta.posteriors.drawn_graphs import DrawnGraphs
from causal_meta.posteriors.empirical_graphs import EmpiricalGraphs
from causal_meta.posteriors.graph_posterior import GraphPosterior
from causal_meta.posteriors.independent_edges import IndependentEdges
from causal_meta.posteriors.ordered_edges import OrderedEdges
from causal_meta.posteriors.pooled_graphs import PooledGraphs

_TYPES: dict[str, type[GraphPosterior]] = {
    cls.type_name: cls
    for cls in (IndependentEdges, EmpiricalGraphs, DrawnGraphs, PooledGraphs, OrderedEdges)
}


def load_posterior(arrays: Mapping[str, np.ndarray]) -> GraphPosterior:
    """The posterior that `GraphPosterior.arrays` described (an open `.npz` file will do); raises
    ValueError for an unknown `type`."""
    name = str(arrays["type"]) if "type" in arrays else "nothing"
    if name not in _TYPES:
        raise ValueError(
            f"The arrays describe a posterior of type {name!r}; allowed are "
            f"{', '.join(sorted(_TYPES))}."
        )
    return _TYPES[name].from_arrays(arrays)


def stack(posteriors: Sequence[GraphPosterior]) -> GraphPosterior:
    """The posterior of all tasks of several posteriors, in their order, padded to the largest.

    Raises:
        ValueError: there are none, they are of several types, or their type cannot pad them.
    """
    types = {type(one) for one in posteriors}
    if len(types) != 1:
        names = ", ".join(sorted(cls.type_name for cls in types)) or "none"
        raise ValueError(
            f"Posteriors of types {names} cannot be put together; give at least one, all of one "
            "type."
        )
    return types.pop().stack(posteriors)
