"""Pictures show all of their input, legibly, and leave no files or global settings behind."""

import os
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon

from causal_meta import drawing
from causal_meta.drawing import canvas
from causal_meta.drawing.layout import backward_share, causal_order, circular, layered, smooth
from causal_meta.drawing.network import _box_sizes, _route


def random_dag(seed, n, density=0.3):
    generator = np.random.default_rng(seed)
    order = generator.permutation(n)
    upper = np.triu(generator.random((n, n)) < density, 1)
    weights = np.zeros((n, n))
    weights[np.ix_(order, order)] = upper * generator.uniform(0.3, 1, (n, n))
    return weights


@pytest.mark.parametrize("seed", range(12))
def test_an_acyclic_graph_has_an_order_without_a_backward_edge(seed):
    weights = random_dag(seed, 3 + seed)
    order = causal_order(weights)
    assert sorted(order) == list(range(len(weights)))
    assert backward_share(weights, order) == 0
    assert weights.sum() == 0 or backward_share(weights, order[::-1]) > 0.99, (
        "the reversed order must be rejected"
    )


def test_backward_share_does_not_count_the_weaker_direction_of_a_pair():
    weights = np.array([[0, 0.6, 0], [0.4, 0, 0.5], [0, 0, 0]])
    assert backward_share(weights, causal_order(weights)) == 0
    cycle = np.roll(np.eye(3), 1, axis=1)
    assert backward_share(cycle, causal_order(cycle)) == pytest.approx(1 / 3)


@pytest.mark.parametrize("downwards", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_edges_between_layers_point_in_one_direction_and_boxes_do_not_touch(seed, downwards):
    weights = random_dag(seed, 8 + 2 * seed, 0.2)
    names = [f"variable {i}" * (1 + i % 2) for i in range(len(weights))]
    boxes = _box_sizes(names)
    layout = layered(weights, causal_order(weights), boxes, downwards=downwards)
    placed = np.flatnonzero((weights > 0).any(0) | (weights > 0).any(1))
    assert set(np.flatnonzero(np.isfinite(layout.centres[:, 0]))) == set(placed)
    for i, j in np.argwhere(weights > 0):
        step = layout.centres[j] - layout.centres[i]
        assert (-step[1] if downwards else step[0]) > 0
        line = _route(layout, (i, j), boxes, weights)
        for end, node in ((line[0], i), (line[-1], j)):
            assert (np.abs(end - layout.centres[node]) <= boxes[node] / 2 + 0.2).all(), (
                "an edge ends at its nodes"
            )
    gaps = (
        np.abs(layout.centres[placed, None] - layout.centres[None, placed])
        - (boxes[placed, None] + boxes[None, placed]) / 2
    )
    apart = (gaps > 0.02).any(2) | np.eye(len(placed), dtype=bool)
    assert apart.all()


def test_a_curve_goes_through_its_points():
    points = np.array([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0]])
    line = smooth(points)
    assert all(np.linalg.norm(line - point, axis=1).min() < 1e-12 for point in points)


def test_a_circle_keeps_both_directions_of_a_pair_apart():
    weights = np.ones((6, 6)) - np.eye(6)
    layout = circular(weights, list(range(6)))
    there, back = (_route(layout, edge, np.full((6, 2), 0.3), weights) for edge in ((0, 2), (2, 0)))
    assert np.linalg.norm(there[len(there) // 2] - back[len(back) // 2]) > 0.1


def test_only_the_likeliest_edges_are_drawn_and_the_note_says_so():
    p = np.array([[0.9, 0.8, 0.1], [0.3, 0.9, 0.6], [0.0, 0.2, 0.9]])
    assert drawing.chosen_edges(p, 0.25) == [(0, 1, 0.8), (1, 2, 0.6), (1, 0, 0.3)]
    assert drawing.chosen_edges(p, 0.25, most=1) == [(0, 1, 0.8)]
    assert drawing.chosen_edges(p, 0.85) == [], "the diagonal is no edge"
    notes = {
        "at least 0.25: 3 of 6 possible": {},
        "The 2 most probable of 6": {"most": 2},
        "highest is 0.80": {"threshold": 0.85},
    }
    for words, options in notes.items():
        axes = drawing.graph(p, "abc", **options).axes[0]
        assert any(words in text.get_text() for text in axes.texts), options


def test_width_and_opacity_grow_with_probability():
    p = np.zeros((4, 4))
    p[0, 1], p[1, 2], p[2, 3] = 0.3, 0.6, 1.0
    arrows = [
        patch for patch in drawing.graph(p, "abcd").axes[0].patches if isinstance(patch, PathPatch)
    ][:3]
    widths, opacities = [a.get_linewidth() for a in arrows], [a.get_alpha() for a in arrows]
    assert widths == sorted(widths)
    assert opacities == sorted(opacities)
    assert widths[0] < widths[2]
    assert opacities[0] < opacities[2]


def test_wrong_and_missed_edges_of_a_known_truth_are_drawn_differently():
    p, truth = np.zeros((3, 3)), np.zeros((3, 3))
    p[0, 1] = p[1, 2] = 0.9
    truth[0, 1] = truth[0, 2] = 1
    axes = drawing.graph(p, "abc", truth=truth).axes[0]
    colours = {
        tuple(np.round(patch.get_facecolor()[:3], 3))
        for patch in axes.patches
        if isinstance(patch, Polygon)
    }
    expected = [
        canvas.EDGE_RIGHT(0.9),
        canvas.EDGE_WRONG(0.9),
        matplotlib.colors.to_rgba(canvas.FAINT),
    ]
    assert {tuple(np.round(colour[:3], 3)) for colour in expected} <= colours


@pytest.mark.parametrize("n", [1, 2, 25, 40])
def test_any_number_of_variables_is_drawn(n):
    p = random_dag(n, n, 0.15)
    axes = drawing.graph(p, [f"x{i}" for i in range(n)], title="a title").axes[0]
    assert sum(isinstance(patch, FancyBboxPatch) for patch in axes.patches) == n
    low, high = np.array([axes.get_xlim(), axes.get_ylim()]).T
    for patch in axes.patches:
        if isinstance(patch, FancyBboxPatch):
            assert low[0] < patch.get_x()
            assert patch.get_x() + patch.get_width() < high[0]
            assert low[1] < patch.get_y() < high[1]


def test_odd_names_are_drawn_as_they_are(tmp_path):
    names = ["$x_{", "<script>", "two\nlines\t", "日本語", "", "\u202e", "a" * 90, r"\frac{"]
    drawing.save(drawing.graph(random_dag(0, 8), names, title="$"), tmp_path / "graph.png")
    drawing.save(drawing.matrix(random_dag(0, 8), names, title="$_"), tmp_path / "matrix.png")
    assert (tmp_path / "graph.png").read_bytes()[:4] == b"\x89PNG"


def test_names_that_do_not_fit_are_refused():
    for draw in (drawing.graph, drawing.matrix):
        with pytest.raises(ValueError, match="one name per variable"):
            draw(np.zeros((3, 3)), "ab")
    with pytest.raises(ValueError, match="no curves"):
        drawing.curves({})


def test_the_matrix_shows_its_numbers():
    p = random_dag(3, 5, 0.8)
    axes = drawing.matrix(p, "abcde").axes[0]
    shown = np.ma.filled(axes.images[0].get_array(), np.nan)
    off = ~np.eye(5, dtype=bool)
    assert np.array_equal(shown[off], p[off])
    assert np.isnan(shown[~off]).all()
    assert len(axes.texts) == 20 + 1, "a number per pair, and the note"


def test_reliability_leaves_empty_bins_out_and_draws_the_rest_at_their_place():
    bins = [
        {"low": 0.0, "high": 0.5, "count": 3, "mean_probability": 0.2, "frequency": 0.25},
        {"low": 0.5, "high": 1.0, "count": 100, "mean_probability": 0.7, "frequency": 0.6},
    ]
    empty = {"low": 0.9, "high": 1.0, "count": 0, "mean_probability": None, "frequency": None}
    axes = drawing.reliability({"model": [*bins, empty]}).axes[0]
    line = next(line for line in axes.lines if line.get_label() == "model")
    assert line.get_xydata().tolist() == [[0.2, 0.25], [0.7, 0.6]]


def test_curves_break_where_a_value_is_not_finite():
    values = np.array([1.0, np.inf, 2.0, np.nan, 3.0])
    line = drawing.curves({"loss": {"train": (np.arange(5), values)}}).axes[0].lines[0]
    assert np.isnan(line.get_ydata()).tolist() == [False, True, False, True, False]


def test_smoothing_does_not_lag_and_skips_holes():
    from causal_meta.drawing.plots import _weighted_mean

    line = np.arange(200.0)
    line[40] = np.nan
    smoothed = _weighted_mean(line, 0.8)
    assert np.isnan(smoothed[40])
    inner = np.r_[90:110]
    assert np.allclose(smoothed[inner], inner, atol=1e-3), "a straight line stays where it is"
    noisy = line + np.random.default_rng(0).normal(size=200)
    assert np.nanstd(_weighted_mean(noisy, 0.8)[60:140] - line[60:140]) < 0.5


def test_only_noisy_curves_are_smoothed():
    steps = np.arange(200.0)
    noisy = np.random.default_rng(0).normal(size=200)
    lines = {
        name: drawing.curves({"": {"": (steps, y)}}, smooth=0.9).axes[0].lines
        for name, y in (("noisy", noisy), ("smooth", steps**2))
    }
    assert len(lines["noisy"]) == 2
    assert len(lines["smooth"]) == 1


def test_distributions_and_bars_are_drawn():
    x = np.random.default_rng(0).normal(size=(50, 7))
    assert sum(axes.get_visible() for axes in drawing.marginals(x, "abcdefg").axes) == 7
    assert len(drawing.pairs(x, "abcdefg", most=3).axes) == 9
    assert len(drawing.adjacencies([np.eye(3)] * 2).axes) == 2
    heights = [bar.get_height() for bar in drawing.degrees({"in": [1, 3]}).axes[0].patches]
    assert heights == [0.25, 0.75]
    bars = drawing.bars({"AUROC": {"model": (0.8, 0.1), "empty": (0.5, float("nan"))}}).axes[0]
    assert [bar.get_width() for bar in bars.patches] == [0.8, 0.5]


def test_a_model_is_drawn_with_and_without_curves():
    rows = np.random.default_rng(0).normal(size=(50, 2))
    grid = np.linspace(-1, 1, 5)
    curve = drawing.Response("a", "b", rows[:, 1], rows[:, 0], grid, grid, grid - 1, grid + 1)
    dots, alone = (
        drawing.Response("a", "b", rows[:, 1], rows[:, 0]),
        drawing.Response(None, "a", np.ones(50)),
    )
    figure = drawing.model(
        [[0, 1], [0, 0]],
        ["a", "a rather long name for $b$"],
        [alone, curve, dots],
        title="two",
        note="a note",
    )
    graph, hist, with_curve, without = figure.axes
    assert len(graph.texts) == 2
    assert hist.patches
    assert [len(axes.lines) for axes in (with_curve, without)] == [2, 1]
    np.testing.assert_array_equal(with_curve.lines[1].get_ydata(), grid)
    assert len(drawing.model(np.zeros((3, 3)), "abc", []).axes) == 1
    with pytest.raises(ValueError, match="2 names"):
        drawing.model(np.zeros((3, 3)), "ab", [])


def test_equal_figures_give_equal_bytes_without_date_or_program(tmp_path):
    first, second = (
        drawing.save(drawing.graph(random_dag(1, 6), "abcdef"), tmp_path / name).read_bytes()
        for name in ("a.png", "b.png")
    )
    assert first == second
    assert b"tEXt" not in first
    assert b"atplotlib" not in first
    other = drawing.save(drawing.graph(random_dag(2, 6), "abcdef"), tmp_path / "c.png").read_bytes()
    assert other != first


def test_a_failed_save_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch):
    target = tmp_path / "picture.png"
    target.write_bytes(b"old")

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        drawing.save(drawing.matrix(np.zeros((2, 2)), "ab"), target)
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
    assert target.read_bytes() == b"old"


def test_global_settings_and_pyplot_are_left_alone():
    code = """
import matplotlib, sys
matplotlib.rcParams["font.size"] = 23
before = matplotlib.rcParams.copy()
import numpy as np
from causal_meta import drawing
drawing.png(drawing.matrix(np.zeros((2, 2)), "ab"))
drawing.png(drawing.graph(np.ones((2, 2)), "ab"))
assert matplotlib.rcParams.copy() == before
assert not {"matplotlib.pyplot", "torch"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)
