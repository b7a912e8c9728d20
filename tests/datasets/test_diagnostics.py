"""Sortability by its definition, path by path, and the summary of a family by `data show`."""

import dataclasses
import itertools

import networkx as nx
import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.conf.interventions import InterventionConfig
from causal_meta.conf.mechanism_laws import MLP, MechanismPart
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.datasets import diagnostics
from causal_meta.datasets.diagnostics import r2_sortability, r_squared, sortability, varsortability
from causal_meta.datasets.scm import SCMFamily
from causal_meta.tasks import standardise


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def linear_family(**options):
    return SCMFamily(FamilyConfig(**({"n_nodes": fixed(8), "n_rows": fixed(100)} | options)))


def by_definition(criterion, adjacency):
    """Independent code: every directed path by networkx, one count per length and pair."""
    graph = nx.DiGraph([(int(i), int(j)) for i, j in np.argwhere(adjacency > 0)])
    triples = set()
    for i, j in itertools.permutations(graph.nodes, 2):
        triples |= {(len(path) - 1, i, j) for path in nx.all_simple_paths(graph, i, j)}
    scores = [
        0.5 if criterion[i] == criterion[j] else float(criterion[i] < criterion[j])
        for _, i, j in triples
    ]
    return np.mean(scores)


@pytest.mark.parametrize("n_nodes", [2, 3, 5, 7])
def test_sortability_is_its_definition(n_nodes):
    batch = linear_family(
        n_nodes=fixed(n_nodes), graph=ErdosRenyi(edges_per_node=1.0)
    ).sample_tasks(range(20))
    criterion = torch.randint(
        0, 4, (20, n_nodes), generator=torch.Generator().manual_seed(n_nodes)
    ).double()
    computed = sortability(criterion, batch.adjacency)
    for b in range(20):
        if batch.adjacency[b].sum() == 0:
            assert computed[b].isnan()
        else:
            assert computed[b].item() == pytest.approx(
                by_definition(criterion[b].numpy(), batch.adjacency[b].numpy())
            )


@pytest.mark.parametrize(("weight", "expected"), [(2.0, 1.0), (0.1, 1.0), (-3.0, 1.0)])
def test_two_linear_variables_have_growing_variance(weight, expected):
    """x1 = w x0 + e has variance w² + 1 > 1, and equal R² on both sides (the squared correlation):
    1/2."""
    noise = torch.randn(1, 4000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.stack([noise[..., 0], weight * noise[..., 0] + 2 * noise[..., 1]], -1)
    edge = torch.tensor([[[0, 1], [0, 0]]])
    assert varsortability(x, edge).item() == expected
    assert varsortability(x, edge.mT).item() == 1 - expected, (
        "the reversed graph must be told apart"
    )
    assert r2_sortability(x, edge).item() == 0.5
    assert r2_sortability(x.flip(1) * torch.tensor([1e-3, 1e5]) + 7, edge).item() == 0.5


def test_a_chain_has_a_known_varsortability():
    """Variances 1, 3, 2 along 0 -> 1 -> 2: pairs (0,1) and (0,2) grow, (1,2) falls: 2/3. With 0 ->
    2 too, (0,2) counts per length: 3/4."""
    criterion = torch.tensor([[1.0, 3.0, 2.0]])
    chain = torch.tensor([[[0, 1, 0], [0, 0, 1], [0, 0, 0]]])
    assert sortability(criterion, chain).item() == pytest.approx(2 / 3)
    chain[0, 0, 2] = 1
    assert sortability(criterion, chain).item() == pytest.approx(3 / 4)


def test_r_squared_is_that_of_a_regression():
    x = linear_family().sample_tasks(range(5)).x
    for b, j in itertools.product(range(5), range(8)):
        others = np.delete(x[b].double().numpy(), j, axis=1)
        expected = (
            LinearRegression().fit(others, x[b, :, j].numpy()).score(others, x[b, :, j].numpy())
        )
        assert r_squared(x)[b, j].item() == pytest.approx(expected, abs=1e-6)
    assert (r_squared(x).amax(1) < 1).all()


def test_r_squared_of_a_copied_column_and_of_too_few_rows_is_one():
    x = torch.randn(1, 50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = torch.cat([x, 2 * x[..., :1] - 5], -1)
    r2 = r_squared(x)[0]
    assert r2[[0, 3]].tolist() == pytest.approx([1, 1], abs=1e-9)
    assert (r2[1:3] < 0.3).all()
    assert r_squared(x[:, :3])[0].tolist() == pytest.approx([1] * 4, abs=1e-9)


def test_scaling_and_shifting_do_not_change_r2_sortability_but_do_change_varsortability():
    batch = linear_family().sample_tasks(range(60))
    generator = torch.Generator().manual_seed(1)
    scale = torch.exp(2 * torch.randn(60, 1, 8, generator=generator, dtype=torch.float64))
    moved = batch.x.double() * scale + 3
    assert torch.allclose(
        r2_sortability(batch.x, batch.adjacency), r2_sortability(moved, batch.adjacency)
    )
    assert (
        varsortability(batch.x, batch.adjacency) - varsortability(moved, batch.adjacency)
    ).abs().mean() > 0.1


def test_permuted_variables_have_the_same_sortability():
    batch = linear_family().sample_tasks(range(20))
    p = torch.randperm(8, generator=torch.Generator().manual_seed(2))
    for measure in (varsortability, r2_sortability):
        assert torch.allclose(
            measure(batch.x, batch.adjacency),
            measure(batch.x[:, :, p], batch.adjacency[:, p][:, :, p]),
            atol=1e-9,
        )


def test_standardised_columns_tie_and_raw_linear_ones_give_the_order_away():
    batch = linear_family(n_nodes=fixed(15)).sample_tasks(range(40))
    z = standardise(batch.x, batch.node_mask, batch.row_mask)
    assert (varsortability(z, batch.adjacency) - 0.5).abs().max() < 0.02
    mean, error, n = diagnostics.mean_and_error(varsortability(batch.x, batch.adjacency))
    assert n == 40
    assert mean - 5 * error > 0.6


def test_padding_changes_nothing():
    family = linear_family(n_nodes=IntRange(low=3, high=9), n_rows=IntRange(low=20, high=60))
    batch = family.sample_tasks(range(12))
    for b in range(12):
        task = batch.task(b)
        for measure in (varsortability, r2_sortability):
            alone, padded = (
                measure(task.x[None], task.adjacency[None]),
                measure(batch.x, batch.adjacency, batch.row_mask),
            )
            assert alone.item() == pytest.approx(padded[b].item(), nan_ok=True)


def test_cycles_and_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="cycle"):
        sortability(torch.zeros(1, 2), torch.tensor([[[0, 1], [1, 0]]]))
    with pytest.raises(ValueError, match="do not fit"):
        sortability(torch.zeros(1, 3), torch.zeros(1, 2, 2))
    with pytest.raises(ValueError, match="at least 1"):
        diagnostics.family_summary(linear_family(), 0, 0)


def test_degrees_count_every_node_once_and_every_edge_twice():
    batch = linear_family(n_nodes=IntRange(low=2, high=9)).sample_tasks(range(30))
    counts = diagnostics.degree_counts(batch.adjacency, batch.node_mask)
    for name, times in (("causes", 1), ("effects", 1), ("neighbours", 2)):
        assert counts[name].sum() == batch.node_mask.sum()
        assert (counts[name] * np.arange(len(counts[name]))).sum() == times * batch.adjacency.sum()


def test_the_summary_of_a_family_agrees_with_its_law():
    """Erdős–Rényi with e edges per node has e D edges on average; spreads and shapes agree with
    NumPy's on the same tasks."""
    family = linear_family(
        n_nodes=fixed(10),
        graph=ErdosRenyi(edges_per_node=1.5),
        mechanisms={"mlp": MechanismPart(mechanism=MLP())},
    )
    summary = diagnostics.family_summary(family, seed=3, n_tasks=120)
    mean, error, _ = diagnostics.mean_and_error(summary["n_edges"])
    assert abs(mean - 15) < 5 * error
    x = family.sample_tasks([int(s) for s in summary["seeds"]]).x.double().numpy()
    z = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    assert summary["std_quantiles"] == pytest.approx(
        np.quantile(x.std(1), diagnostics.QUANTILES), rel=1e-6
    )
    assert summary["skewness_quantiles"] == pytest.approx(
        np.quantile((z**3).mean(1), diagnostics.QUANTILES), rel=1e-6
    )
    assert summary["kurtosis_quantiles"] == pytest.approx(
        np.quantile((z**4).mean(1) - 3, diagnostics.QUANTILES), rel=1e-6
    )
    assert summary["degrees_causes"].sum() == 1200
    again = diagnostics.family_summary(family, seed=3, n_tasks=120)
    assert all(np.array_equal(summary[name], again[name], equal_nan=True) for name in summary)
    assert set(diagnostics.family_summary(family, seed=4, n_tasks=120)["seeds"]).isdisjoint(
        summary["seeds"].tolist()
    )


def test_sortability_is_that_of_the_rows_in_which_nothing_was_set():
    """Values of ±1000 at single variables exceed the noise by far; observational rows are
    unaffected."""
    config = FamilyConfig(n_nodes=fixed(6), n_rows=fixed(200))
    set_far = InterventionConfig(row_share=0.5, value_low=1000.0, value_high=1000.0)
    plain, mixed = (
        diagnostics.family_summary(SCMFamily(one), 0, 60)
        for one in (config, dataclasses.replace(config, interventions=set_far))
    )
    for name in ("varsortability", "r2_sortability"):
        (one, se, _), (two, other, _) = (
            diagnostics.mean_and_error(summary[name]) for summary in (plain, mixed)
        )
        assert abs(one - two) < 4.5 * np.hypot(se, other)
    assert np.allclose(mixed["varsortability_standardised"], 0.5, equal_nan=True)
    batch = SCMFamily(dataclasses.replace(config, interventions=set_far)).sample_tasks(range(60))
    wrong, right = (
        r2_sortability(batch.x, batch.adjacency, rows)
        for rows in (batch.row_mask, diagnostics.observational_rows(batch))
    )
    assert (wrong - right).abs().nanmean() > 0.1, "all rows would tell another story"


def test_a_task_without_an_observational_row_keeps_its_rows():
    batch = linear_family(n_nodes=fixed(3)).sample_tasks(range(2))
    batch.intervened[0, :, 1] = True
    batch.intervened[1, :40, 2] = True
    assert diagnostics.observational_rows(batch).sum(1).tolist() == [100, 60]


def test_a_family_is_shown_in_four_pictures_and_in_numbers(tmp_path):
    family = linear_family(n_nodes=IntRange(low=3, high=7))
    numbers = diagnostics.show_family(family, tmp_path / "pictures", seed=0, n_tasks=30)
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "adjacency.png",
        "degrees.png",
        "marginals.png",
        "pairs.png",
    ]
    assert numbers["n_edges"]["n"] == 30
    assert 0 <= numbers["r2_sortability"]["mean"] <= 1
    assert abs(numbers["varsortability_standardised"]["mean"] - 0.5) < 0.01
    assert len(numbers["std"]) == len(diagnostics.QUANTILES)
