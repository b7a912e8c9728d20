"""The numbers behind the distances: spectra in closed form and by networkx, fits of known quality,
embeddings pair by pair."""

import itertools

import networkx as nx
import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from causal_meta.conf.convert import from_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.datasets.family_features import (
    STATISTICS,
    degree_counts,
    family_features,
    fit_quality,
    normalised_laplacian,
    pair_embedding,
    pair_frequencies,
    pair_points,
    spectrum,
)
from causal_meta.datasets.scm import SCMFamily

SMALL = {"preset": "wide", "n_nodes": {"low": 3, "high": 6}}


def random_dag(n, p, seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(n)
    return np.triu(rng.random((n, n)) < p, 1)[np.ix_(order, order)].astype(int)


# ---------------------------------------------------------------------------------------- the graph


@pytest.mark.parametrize("n", [2, 4, 8])
def test_spectra_in_closed_form(n):
    complete = np.triu(np.ones((n, n)), 1)
    star = np.zeros((n, n))
    star[0, 1:] = 1
    assert np.allclose(
        np.linalg.eigvalsh(normalised_laplacian(complete)), [0] + [n / (n - 1)] * (n - 1)
    )
    assert np.allclose(
        np.linalg.eigvalsh(normalised_laplacian(star)), sorted([0] + [1] * (n - 2) + [2])
    )
    assert np.allclose(spectrum(np.zeros((n, n))), 0)


@pytest.mark.parametrize("seed", range(5))
def test_spectra_are_those_of_networkx_and_see_no_direction_or_order(seed):
    dag = random_dag(8, 0.4, seed)
    expected = np.sort(nx.normalized_laplacian_spectrum(nx.from_numpy_array(dag + dag.T)))
    assert np.allclose(spectrum(dag, levels=8), expected)
    order = np.random.default_rng(seed).permutation(8)
    assert np.allclose(spectrum(dag.T[np.ix_(order, order)]), spectrum(dag))
    assert not np.allclose(spectrum(random_dag(8, 0.4, seed + 100)), spectrum(dag))


def test_differences_of_spectra_are_wasserstein_distances_whatever_the_sizes():
    for (n, m), seed in itertools.product([(4, 4), (4, 16), (8, 32)], range(3)):
        a, b = random_dag(n, 0.5, seed), random_dag(m, 0.3, seed + 50)
        values = [np.linalg.eigvalsh(normalised_laplacian(dag)) for dag in (a, b)]
        assert np.abs(spectrum(a) - spectrum(b)).mean() == pytest.approx(
            wasserstein_distance(*values), abs=1e-12
        )
    assert np.abs(
        spectrum(random_dag(7, 0.5, 1)) - spectrum(random_dag(10, 0.5, 2))
    ).mean() == pytest.approx(
        wasserstein_distance(
            *[
                np.linalg.eigvalsh(normalised_laplacian(random_dag(n, 0.5, s)))
                for n, s in ((7, 1), (10, 2))
            ]
        ),
        abs=2 / 128,
    )


def test_degrees_are_counted():
    chain = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]])
    assert degree_counts(chain, "causes", 5).tolist() == [1, 2, 0, 0, 0]
    assert degree_counts(chain[:, ::-1][::-1], "effects", 3).tolist() == [1, 2, 0]
    assert degree_counts(chain, "neighbours", 3).tolist() == [0, 2, 1]


# ----------------------------------------------------------------------------------- the mechanisms


def quality(function, noise, n=4000, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 2))
    y = function(x[:, 0], x[:, 1]) + noise * rng.standard_normal(n)
    z = np.stack([x[:, 0], y, x[:, 1]], 1)
    z = (z - z.mean(0)) / z.std(0)
    adjacency = np.array([[0, 1, 0], [0, 0, 0], [0, 1, 0]])
    return fit_quality(z, adjacency, rng.standard_normal((3, 64)), rng.uniform(0, 2 * np.pi, 64))


def test_a_linear_relation_has_the_r_squared_of_its_noise_for_line_and_curve():
    """y = a + b + noise of variance v: R² = 2 / (2 + v), standard error about 2 sqrt(R²) (1 - R²) /
    sqrt(n)."""
    for v in (0.5, 2.0):
        line, curve = quality(lambda a, b: a + b, np.sqrt(v))
        assert line == pytest.approx(2 / (2 + v), abs=4.5 * 2 / np.sqrt(4000) * 0.4)
        assert -0.03 < curve - line < 0.005


def test_a_curve_explains_squares_and_products_which_a_line_cannot():
    """The square and the product of Gaussians are uncorrelated with both parents: R² of the line
    0."""
    for function in (lambda a, b: a**2, lambda a, b: a * b, lambda a, b: np.cos(2 * a)):
        line, curve = quality(function, 0.1)
        assert line < 0.02
        assert curve > 0.8
    assert quality(lambda a, b: 0 * a, 1.0)[1] < 0.02, "noise alone must not be explained"


def test_a_graph_without_edges_has_no_quality():
    z = np.random.default_rng(0).standard_normal((30, 3))
    assert np.isnan(fit_quality(z, np.zeros((3, 3)), np.ones((3, 4)), np.zeros(4))).all()


# ----------------------------------------------------------------------------------------- the rows


def test_the_embedding_is_the_mean_over_ordered_pairs():
    z = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
    frequencies = pair_frequencies(1.5, seed=3)
    pairs = [
        np.exp(1j * (z[:, [a, b]].astype(float) @ frequencies))
        for a, b in itertools.permutations(range(4), 2)
    ]
    expected = np.mean(pairs, axis=(0, 1)) / np.sqrt(frequencies.shape[1])
    assert np.allclose(
        pair_embedding(z, frequencies), np.concatenate([expected.real, expected.imag]), atol=1e-6
    )
    assert np.allclose(
        pair_embedding(z[::-1][:, [2, 0, 3, 1]], frequencies),
        pair_embedding(z, frequencies),
        atol=1e-6,
    )
    assert not np.allclose(
        pair_embedding(z[:, [0, 1, 2, 2]], frequencies), pair_embedding(z, frequencies), atol=1e-3
    )


def test_inner_products_of_embeddings_approach_the_kernel():
    """Two tables of one row: k((a, b), (c, d)) = exp(-r² / 2 h²), averaged over both orders; error
    1 / sqrt(64) of a number of size 1."""
    one, two = np.array([[0.3, -1.0]], dtype=np.float32), np.array([[0.5, 0.8]], dtype=np.float32)
    distances = [np.square(one[0] - two[0]).sum(), np.square(one[0] - two[0, ::-1]).sum()]
    products = [
        pair_embedding(one, w) @ pair_embedding(two, w)
        for w in (pair_frequencies(1.2, seed) for seed in range(50))
    ]
    error = np.std(products) / np.sqrt(50)
    assert (
        abs(np.mean(products) - np.mean(np.exp(-np.array(distances) / (2 * 1.2**2)))) < 4.5 * error
    )


def test_points_are_pairs_of_different_columns():
    tables = [
        np.arange(12, dtype=np.float32).reshape(4, 3),
        np.arange(100, 110, dtype=np.float32).reshape(5, 2),
    ]
    points = pair_points(tables, np.random.default_rng(0), each=50)
    assert points.shape == (100, 2)
    assert (points[:, 0] != points[:, 1]).all()
    assert {(int(a) // 3, int(b) // 3) for a, b in points[:50]} == {(k, k) for k in range(4)}


# ------------------------------------------------------------------------------------- the families


def test_features_are_those_of_the_tasks_of_the_family():
    config = from_plain(FamilyConfig, SMALL)
    features = family_features(config, 55, 30, seed=1, role="first", most_nodes=9)
    assert features.spectra.shape == (55, 128)
    assert features.tables.shape[0] == 55
    assert set(features.statistics) == set(STATISTICS)
    nodes = features.statistics["n_nodes"]
    assert {len(z[0]) for z in features.rows} == set(nodes.astype(int)) == {3, 4, 5, 6}
    assert all((counts.sum(1) == nodes).all() for counts in features.degrees.values())
    edges = (features.degrees["causes"] * np.arange(9)).sum(1)
    assert np.allclose(edges / nodes, features.statistics["edges_per_node"])
    assert np.isnan(features.statistics["nonlinearity"]).tolist() == (edges == 0).tolist()
    assert np.allclose([z.std(0) for z in features.rows[:1]], 1, atol=1e-5)


def test_a_longer_draw_begins_with_the_shorter_one_and_roles_share_no_task():
    config = from_plain(FamilyConfig, SMALL)
    short, long, other = (
        family_features(config, n, 30, 1, role, 6)
        for n, role in ((20, "first"), (30, "first"), (30, "second"))
    )
    assert np.array_equal(long.spectra[:20], short.spectra)
    assert not np.isclose(other.tables, long.tables).all(1).any()


def test_interventions_do_not_count():
    plain, with_rows = (
        from_plain(FamilyConfig, SMALL),
        from_plain(FamilyConfig, SMALL | {"interventions": {"kind": "interventions"}}),
    )
    one, two = (family_features(config, 20, 30, 1, "first", 6) for config in (plain, with_rows))
    assert np.array_equal(one.tables, two.tables)
    assert SCMFamily(plain).sample_task(0).adjacency_matrix.shape[0] in (3, 4, 5, 6)
