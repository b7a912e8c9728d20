"""Pictures from arrays: graphs, matrices, curves, calibration, distributions, chains. Functions
take arrays and return a matplotlib Figure; no science is computed here."""

from causal_meta.drawing.canvas import png, save, style
from causal_meta.drawing.families import comparison
from causal_meta.drawing.model import Response, model
from causal_meta.drawing.network import chosen_edges, graph
from causal_meta.drawing.plots import (
    adjacencies,
    bars,
    curves,
    degrees,
    marginals,
    matrix,
    pairs,
    reliability,
)

__all__ = [
    "Response",
    "adjacencies",
    "bars",
    "chosen_edges",
    "comparison",
    "curves",
    "degrees",
    "graph",
    "marginals",
    "matrix",
    "model",
    "pairs",
    "png",
    "reliability",
    "save",
    "style",
]
