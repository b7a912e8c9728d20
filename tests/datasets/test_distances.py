"""Distances have no bias: a family against itself is at 0 within the error, others are not. Bounds
are 4.5 standard errors (7e-6 two-sided). Forests have a quarter of the trees of the default: the
classifier has no bias with any number of them."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from causal_meta.conf.convert import from_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.datasets.distances import (
    GAPS,
    SMOOTHING,
    auroc_with_variance,
    classifier_auroc,
    compare_families,
    degree_divergence,
    energy,
    family_distances,
    gap,
    median_distance,
    tables_discrepancy,
)
from causal_meta.datasets.scm import SCMFamily


@pytest.fixture(autouse=True)
def _fewer_trees(monkeypatch):
    monkeypatch.setattr("causal_meta.datasets.distances._TREES", 25)


def family(**changes):
    return from_plain(FamilyConfig, {"preset": "linear_er", "n_nodes": 8} | changes)


LINEAR = family()
CURVED = family(mechanisms={"mlp": {"mechanism": {"kind": "mlp"}}})
HUBS = family(graph={"kind": "scale_free", "edges_per_node": 2})
LARGE = family(n_nodes=14)


def z_of(estimate):
    off = estimate["value"] - estimate["null"]
    return off / estimate["se"] if estimate["se"] else 0.0 if off == 0 else np.inf


# ----------------------------------------------------------------------------------- whole families


@pytest.mark.parametrize(
    "config",
    [LINEAR, from_plain(FamilyConfig, {"preset": "wide", "n_nodes": {"low": 3, "high": 7}})],
    ids=["linear", "wide"],
)
def test_a_family_is_at_no_distance_from_itself(config):
    for seed in range(2):
        distances = family_distances(config, config, n_tasks=40, seed=seed, n_rows=80)
        assert max(abs(z_of(estimate)) for estimate in distances.values()) < 4.5, distances


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (
            CURVED,
            {
                "mmd2_tables",
                "mmd2_rows",
                "classifier_auroc",
                "nonlinearity_gap",
                "linear_residual_gap",
                "varsortability_gap",
            },
        ),
        (
            HUBS,
            {
                "spectrum",
                "degree_kl_causes",
                "degree_kl_effects",
                "degree_kl_neighbours",
                "edges_per_node_gap",
            },
        ),
        (LARGE, {"spectrum", "classifier_auroc"}),
    ],
    ids=["mechanism", "graph", "size"],
)
def test_other_families_are_at_a_distance(other, expected):
    """The check of the test above refuses other families; properties that are equal are at 0."""
    distances = family_distances(LINEAR, other, n_tasks=120, seed=1, n_rows=120)
    assert {
        name for name, estimate in distances.items() if abs(z_of(estimate)) > 4.5
    } >= expected, {k: z_of(v) for k, v in distances.items()}
    if other is CURVED:
        same = {
            "spectrum",
            "degree_kl_causes",
            "degree_kl_effects",
            "degree_kl_neighbours",
            "edges_per_node_gap",
        }
        assert max(abs(z_of(distances[name])) for name in same) < 4.5


@pytest.mark.usefixtures("few_trees")
def test_distances_depend_on_the_seed_alone_and_take_families_too():
    one = family_distances(LINEAR, CURVED, n_tasks=20, seed=3, n_rows=40)
    assert (
        family_distances(SCMFamily(LINEAR), SCMFamily(CURVED), n_tasks=20, seed=3, n_rows=40) == one
    )
    assert (
        family_distances(LINEAR, CURVED, n_tasks=20, seed=4, n_rows=40)["spectrum"]
        != one["spectrum"]
    )


@pytest.mark.usefixtures("few_trees")
def test_the_number_of_rows_of_a_family_is_no_property_of_its_worlds():
    longer = dataclasses.replace(LINEAR, n_rows=from_plain(FamilyConfig, {"n_rows": 999}).n_rows)
    assert family_distances(LINEAR, longer, n_tasks=20, n_rows=40) == family_distances(
        LINEAR, LINEAR, n_tasks=20, n_rows=40
    )


@pytest.mark.usefixtures("few_trees")
def test_statistics_and_gaps_agree():
    comparison = compare_families(LINEAR, CURVED, n_tasks=20, n_rows=40)
    for name, of in GAPS.items():
        assert comparison.distances[name]["value"] == pytest.approx(
            comparison.families[1][of]["mean"] - comparison.families[0][of]["mean"]
        )
    assert (
        comparison.families[1]["nonlinearity"]["mean"]
        > comparison.families[0]["nonlinearity"]["mean"]
    )
    assert comparison.arrays["first_degrees_causes"].sum() == 20 * 8


@pytest.mark.usefixtures("few_trees")
def test_graphs_without_edges_have_no_nonlinearity():
    empty = family(graph={"kind": "erdos_renyi", "edges_per_node": 0})
    distances = family_distances(empty, LINEAR, n_tasks=20, n_rows=40)
    assert np.isnan(distances["nonlinearity_gap"]["value"])
    assert distances["spectrum"]["value"] > 0.1


@pytest.mark.parametrize(("n_tasks", "n_rows"), [(19, 50), (50, 19)])
def test_too_little_is_refused(n_tasks, n_rows):
    with pytest.raises(ValueError, match="at least 20 of both"):
        family_distances(LINEAR, LINEAR, n_tasks=n_tasks, n_rows=n_rows)


# --------------------------------------------------------------------------------------- estimators


def squares(a, b):
    both = np.concatenate([a, b])
    return np.square(both[:, None] - both)


def test_the_energy_of_squares_is_the_squared_difference_of_means_without_bias():
    """d(x, y) = (x - y)²: E d(a, b) - E d(a, a')/2 - E d(b, b')/2 = (mean a - mean b)². The plug-in
    with the diagonal is 1/n + 1/m too large."""
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.5):
        draws = [(rng.standard_normal(12), shift + rng.standard_normal(9)) for _ in range(3000)]
        energies = np.array([energy(squares(a, b), 12) for a, b in draws])
        error = energies[:, 0].std() / np.sqrt(3000)
        assert abs(energies[:, 0].mean() - shift**2) < 4.5 * error
        plain = np.array([(a.mean() - b.mean()) ** 2 for a, b in draws])
        assert abs(plain.mean() - shift**2) > 4.5 * error, "the biased estimate must be seen"
    assert np.median(energies[:, 1]) == pytest.approx(energies[:, 0].std(), rel=0.35)


def test_the_energy_without_a_unit_is_that_of_the_others():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal(6), rng.standard_normal(5)
    _, error = energy(squares(a, b), 6)
    without_a = [energy(squares(np.delete(a, i), b), 5)[0] for i in range(6)]
    without_b = [energy(squares(a, np.delete(b, i)), 6)[0] for i in range(5)]
    expected = sum((len(w) - 1) * np.var(w) for w in (without_a, without_b))
    assert error == pytest.approx(np.sqrt(expected))


def test_the_divergence_of_degrees_is_the_closed_form_without_the_plug_in_bias():
    rng = np.random.default_rng(0)
    for p, q in ([(0.5, 0.3, 0.2), (0.5, 0.3, 0.2)], [(0.5, 0.3, 0.2), (0.2, 0.3, 0.5)]):
        divergences = [
            degree_divergence(rng.multinomial(4, p, size=40), rng.multinomial(4, q, size=40))[
                "value"
            ]
            for _ in range(1500)
        ]
        mixed = [np.array(law) * (1 - SMOOTHING) + SMOOTHING / 3 for law in (p, q)]
        truth = ((mixed[0] - mixed[1]) * np.log(mixed[0] / mixed[1])).sum() / 2
        error = np.std(divergences) / np.sqrt(1500)
        assert abs(np.mean(divergences) - truth) < 4.5 * error + 3e-4, (
            "what the jackknife leaves is of second order in 1/160"
        )
        assert 4.5 * error + 3e-4 < 2 / (2 * 160) * 2, (
            "the plug-in's bias (K - 1)/2 (1/n + 1/m) would be seen"
        )


def test_the_discrepancy_of_equal_samples_has_mean_zero_and_shifts_are_detected():
    rng = np.random.default_rng(0)
    discrepancies = np.array(
        [
            tables_discrepancy(rng.standard_normal((15, 3)), rng.standard_normal((15, 3)))["value"]
            for _ in range(600)
        ]
    )
    assert abs(discrepancies.mean()) < 4.5 * discrepancies.std() / np.sqrt(600)
    assert (
        z_of(tables_discrepancy(rng.standard_normal((60, 3)), 1 + rng.standard_normal((60, 3))))
        > 4.5
    )
    assert (
        z_of(tables_discrepancy(rng.standard_normal((60, 3)), 3 * rng.standard_normal((60, 3))))
        > 4.5
    ), "equal means, another spread"


def test_auroc_is_that_of_scikit_learn_and_its_variance_that_of_repetition():
    rng = np.random.default_rng(0)
    low, high = np.round(rng.standard_normal(30), 1), np.round(0.7 + rng.standard_normal(20), 1)
    expected = roc_auc_score(np.repeat([0, 1], [30, 20]), np.concatenate([low, high]))
    assert auroc_with_variance(low, high)[0] == pytest.approx(expected)
    many = np.array(
        [
            auroc_with_variance(rng.standard_normal(30), 0.7 + rng.standard_normal(20))
            for _ in range(1000)
        ]
    )
    assert many[:, 1].mean() == pytest.approx(many[:, 0].var(), rel=0.15)


def test_the_classifier_finds_a_difference_and_no_other():
    rng = np.random.default_rng(0)
    equal = [
        classifier_auroc(rng.standard_normal((40, 4)), rng.standard_normal((40, 4)), seed)
        for seed in range(3)
    ]
    assert max(abs(z_of(estimate)) for estimate in equal) < 4.5
    assert abs(np.mean([estimate["value"] for estimate in equal]) - 0.5) < 4.5 * 0.06 / np.sqrt(3)
    perfect = classifier_auroc(rng.standard_normal((40, 4)), 9 + rng.standard_normal((40, 4)))
    assert perfect["value"] == 1.0
    assert perfect["se"] == 0.5 / 40


def test_gaps_leave_tasks_without_a_value_out():
    difference = gap(np.array([1.0, 3.0, np.nan]), np.array([2.0, 4.0, 6.0]))
    assert difference["value"] == 2.0
    assert difference["se"] == pytest.approx(np.hypot(np.sqrt(2 / 2), np.sqrt(4 / 3)))


def test_a_bandwidth_is_never_zero():
    assert median_distance(np.zeros((5, 2))) == 1.0
    assert median_distance(np.array([[0.0], [3.0]])) == 3.0
