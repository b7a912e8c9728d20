"""Pictures of two families: every number is drawn, missing ones are marked, and equal input gives
equal bytes."""

import numpy as np
import pytest

from causal_meta import drawing

DISTANCES = {
    "spectrum": {"value": 0.5, "se": 0.01, "null": 0.0},
    "classifier_auroc": {"value": 0.52, "se": 0.05, "null": 0.5},
    "nonlinearity_gap": {"value": None, "se": None, "null": 0.0},
    "exact": {"value": -0.1, "se": 0.0, "null": 0.0},
    "unknown": {"value": float("nan"), "se": float("nan"), "null": 0.0},
}


def compared(first="one", second="two", **changes):
    spectra = {first: np.linspace(0, 2, 128)[None].repeat(3, 0), second: np.zeros((2, 128))}
    degrees = {
        kind: {first: [3, 4, 1], second: [9] + [0] * 40}
        for kind in ("causes", "effects", "neighbours")
    }
    return drawing.comparison(
        DISTANCES | changes, spectra, degrees, title="one and two", note="3 tasks"
    )


def texts(figure):
    return [
        text.get_text() for text in figure.findobj(match=lambda artist: hasattr(artist, "get_text"))
    ]


def dots(figure):
    """The number of standard errors at which each distance is drawn."""
    (scatter,) = [
        artist
        for artist in figure.findobj(match=lambda artist: type(artist).__name__ == "PathCollection")
    ]
    return scatter.get_offsets()[:, 0].tolist()


def test_distances_are_drawn_in_standard_errors_and_missing_ones_are_marked():
    figure = compared()
    assert dots(figure) == pytest.approx([50.0, 0.4, 0.0, -100.0, 0.0])
    assert texts(figure).count("missing") == 2
    assert {"one", "two", "spectrum", "classifier auroc", "0.5 ± 0.01"} <= set(texts(figure))
    assert dots(compared(spectrum={"value": 0.0, "se": 0.01, "null": 0.0}))[0] == 0.0, (
        "another value must be drawn elsewhere"
    )


def test_degrees_end_where_the_nodes_do():
    figure = compared()
    panels = [
        axes
        for axes in figure.findobj(match=lambda artist: hasattr(artist, "get_xlabel"))
        if axes.get_xlabel().endswith("of a node")
    ]
    assert len(panels) == 3
    assert max(patch.get_x() for axes in panels for patch in axes.patches) < 3, (
        "not at degree 40, which no node has"
    )
    heights = sum(patch.get_height() for patch in panels[0].patches)
    assert heights == pytest.approx(2.0), "shares of each family add up to 1"


def test_equal_input_gives_equal_bytes_and_odd_names_do_not_matter():
    assert drawing.png(compared()) == drawing.png(compared())
    assert drawing.png(compared("price in $", "_x^{")) != drawing.png(compared())
