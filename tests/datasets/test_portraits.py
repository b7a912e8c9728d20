"""The picture of a model shows its graph, its mechanisms' responses and its rows; curves are
checked against linear coefficients."""

import numpy as np
import pytest
import torch

from causal_meta import drawing
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.conf.mechanism_laws import MLP, MechanismPart
from causal_meta.conf.ranges import fixed
from causal_meta.datasets import portraits
from causal_meta.datasets.instances import linear_model
from causal_meta.datasets.scm import SCMFamily


@pytest.fixture
def drawn(monkeypatch):
    """The arguments of `drawing.model`, which draws nothing here."""
    arguments = {}

    def model(adjacency, names, responses, **texts):
        arguments.update(adjacency=adjacency, names=names, responses=responses, **texts)

    monkeypatch.setattr(drawing, "model", model)
    return arguments


def test_curves_have_the_slopes_and_the_band_of_a_linear_model(drawn):
    """The band from 10 to 90 % of N(0, s²) is 2.563 s wide; 100 draws of the noise estimate
    it within 25 %."""
    weights = torch.tensor([[0.0, 2.0, -3.0], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
    linear_model(weights, torch.zeros(3), torch.tensor([1.0, 0.5, 2.0])).visualize()
    assert [(panel.cause, panel.effect) for panel in drawn["responses"]] == [
        (None, "x0"),
        ("x0", "x1"),
        ("x0", "x2"),
        ("x1", "x2"),
    ]
    for panel, slope, std in zip(
        drawn["responses"][1:], (2.0, -3.0, 0.5), (0.5, 2.0, 2.0), strict=True
    ):
        assert np.polyfit(panel.grid, panel.middle, 1)[0] == pytest.approx(slope, rel=1e-3)
        assert (panel.high - panel.low).mean() == pytest.approx(2.563 * std, rel=0.25)
    assert drawn["names"] == ["x0", "x1", "x2"]
    assert "3 variables, 3 edges, linear mechanisms" in drawn["note"]


def test_interventions_are_in_the_picture(drawn):
    weights = torch.tensor([[0.0, 2.0, -3.0], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
    model = linear_model(weights, torch.zeros(3), torch.ones(3))
    model.do(1, 4.0).shift(2, 0.5).visualize()
    assert not drawn["adjacency"][0, 1]
    assert drawn["title"].endswith("under do x1 = 4, shift x2 by 0.5")
    assert drawn["names"] == ["x0", "x1 do", "x2 shift"]
    response = next(panel for panel in drawn["responses"] if panel.cause == "x1")
    assert response.grid.min() < 4 < response.grid.max()
    model.do(1, torch.arange(5.0)).visualize()
    assert all(len(panel.y) == 5 for panel in drawn["responses"])


def test_many_panels_are_left_out_and_the_note_says_so(drawn):
    family = SCMFamily(
        FamilyConfig(
            mechanisms={"mlp": MechanismPart(mechanism=MLP())},
            graph=ErdosRenyi(edges_per_node=3.0),
            n_nodes=fixed(20),
        )
    )
    family.plot_example(1)
    assert len(drawn["responses"]) == portraits.MOST_PANELS
    assert "more panels are left out" in drawn["note"]


def test_the_sheet_holds_a_panel_per_response():
    instance = SCMFamily(
        FamilyConfig(n_nodes=fixed(4), graph=ErdosRenyi(edges_per_node=1.0))
    ).sample_task(2)
    figure = instance.visualize()
    roots = int((instance.adjacency_matrix.sum(dim=0) == 0).sum())
    assert len(figure.axes) == 1 + roots + int(instance.adjacency_matrix.sum())
    assert len(drawing.png(figure)) > 10_000
    for axes in figure.axes:
        box = axes.get_position()
        assert -1e-9 <= box.x0 <= box.x1 <= 1 + 1e-9
        assert -1e-9 <= box.y0 <= box.y1 <= 1 + 1e-9
