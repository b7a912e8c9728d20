"""Edge probabilities as a GraphML file, which most programs for graphs read; without networkx,
which takes a quarter of a second to load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float

_NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
_KEY = {"id": "d0", "for": "edge", "attr.name": "probability", "attr.type": "double"}


def write_graphml(
    path: Path,
    columns: Sequence[str],
    probabilities: Float[np.ndarray, "D D"],
    threshold: float = 0.0,
) -> None:
    """Write a directed graph of the columns, each edge with its `probability`; those of at most
    `threshold` are left out."""
    root = ElementTree.Element("graphml", {"xmlns": _NAMESPACE})
    ElementTree.SubElement(root, "key", _KEY)
    graph = ElementTree.SubElement(root, "graph", {"edgedefault": "directed"})
    for name in columns:
        ElementTree.SubElement(graph, "node", {"id": name})
    for cause, effect in np.argwhere(np.asarray(probabilities) > threshold).tolist():
        ends = {"source": columns[cause], "target": columns[effect]}
        edge = ElementTree.SubElement(graph, "edge", ends)
        data = ElementTree.SubElement(edge, "data", {"key": _KEY["id"]})
        data.text = repr(float(probabilities[cause, effect]))
    tree = ElementTree.ElementTree(root)
    ElementTree.indent(tree)
    tree.write(path, encoding="utf-8", xml_declaration=True)
