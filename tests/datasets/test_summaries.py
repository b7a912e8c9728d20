"""The warning about unusual tables: rare on tables of the training families, frequent on three
named shifts, independent of order and units.

False alarms: a held-in table is warned about with probability near 1 %; the bounds below are 5 %
plus 3 binomial standard errors. The summary is that of half as many tasks as the default: its
threshold is the 99 % quantile of 1,600 scores, with a standard error of a fourth of a percent.
"""

import dataclasses
import sys

import numpy as np
import pytest

from causal_meta.conf.convert import from_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.ranges import fixed
from causal_meta.datasets.scm import SCMFamily
from causal_meta.datasets.summaries import (
    FEATURES,
    check_table,
    stream_summary,
    table_score,
    table_summary,
)
from causal_meta.randomness import generator, seeds_of

SIZES = [(3, 50), (3, 1000), (5, 100), (10, 200), (20, 60), (20, 1000)]
WIDE = from_plain(FamilyConfig, {"preset": "wide"})


@pytest.fixture(scope="module")
def summary():
    return stream_summary(SCMFamily(WIDE), seed=3, n_tasks=3200)


def tables(count, n_nodes, n_rows, purpose):
    """Fresh held-in tables [K, N, D]."""
    family = SCMFamily(dataclasses.replace(WIDE, n_nodes=fixed(n_nodes), n_rows=fixed(n_rows)))
    return (
        family.sample_tasks(seeds_of(17, purpose, start=0, count=count))
        .x.numpy()
        .astype(np.float64)
    )


def standardised(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)


def cauchy_noise(x, rng):
    """The same additive linear worlds with Cauchy noise in place of noise with moments: a
    chain-like random graph over D variables."""
    n, d = x.shape
    weights = np.triu(rng.normal(size=(d, d)) * (rng.random((d, d)) < min(1.0, 2 / d)), 1)
    return rng.standard_cauchy((n, d)) @ np.linalg.inv(np.eye(d) - weights)


def three_levels(x, rng):
    """Every column cut at its terciles."""
    low, high = np.quantile(x, [1 / 3, 2 / 3], axis=0)
    return (x > low).astype(float) + (x > high)


def exponentiated(x, rng):
    """exp(2 z) of every standardised column z."""
    return np.exp(2 * standardised(x))


SHIFTS = (cauchy_noise, three_levels, exponentiated)


def bound(share, count):
    return share + 3 * np.sqrt(share * (1 - share) / count)


@pytest.mark.parametrize(("n_nodes", "n_rows"), SIZES)
def test_at_most_5_percent_of_held_in_tables_are_warned_about(summary, n_nodes, n_rows):
    warned = [bool(check_table(x, summary)) for x in tables(60, n_nodes, n_rows, "held in")]
    assert np.mean(warned) <= bound(0.05, len(warned))


def test_about_1_percent_of_the_stream_is_warned_about(summary):
    """Sizes as the stream draws them, between the points of the grid; 1 % plus 3 standard errors
    for sets of ten tables of one size."""
    family = SCMFamily(WIDE)
    warned = []
    for k in range(40):
        seeds = seeds_of(23, "stream", start=10 * k, count=10)
        nodes, rows = family.shapes(seeds[:1])[0]
        warned += [
            table_score(x, summary) > 1
            for x in family.sample_tasks(seeds, n_rows=rows, n_nodes=nodes).x.numpy()
        ]
    assert np.mean(warned) <= bound(0.01, len(warned)) + 0.005


@pytest.mark.parametrize("shift", SHIFTS, ids=lambda shift: shift.__name__)
def test_at_least_95_percent_of_shifted_tables_are_warned_about(summary, shift):
    rng = generator(5, "shift", shift.__name__)
    warned = [
        bool(check_table(shift(x, rng), summary))
        for size in SIZES
        for x in tables(30, *size, "shifted")
    ]
    assert np.mean(warned) >= 0.95


def test_the_vector_does_not_see_order_units_or_signs():
    x = tables(1, 6, 80, "order")[0]
    rng = np.random.default_rng(0)
    changed = x[rng.permutation(80)][:, rng.permutation(6)] * rng.normal(
        size=6
    ) * 10.0 ** rng.integers(-3, 4, size=6) + rng.normal(size=6)
    np.testing.assert_allclose(table_summary(changed), table_summary(x), rtol=1e-6, atol=1e-8)


def test_features_have_their_textbook_values_on_a_large_gaussian_table():
    z = np.random.default_rng(1).normal(size=(200_000, 3))
    features = dict(zip([feature.name for feature in FEATURES], table_summary(z), strict=True))
    expected = {
        "kurtosis_middle": np.log(3),
        "skewness_largest": 0,
        "core_middle": 0,
        "ties_mean": 0,
        "correlation_largest": 0,
        "rank": 0,
    }
    for name, value in expected.items():
        assert abs(features[name] - value) < 0.03, name
    assert abs(np.exp(features["curvature_largest"]) - 0.01) < 1e-3
    assert features["spread_largest"] < 0.02


def test_curvature_and_changing_spread_agree_with_least_squares():
    rng = np.random.default_rng(2)
    a = rng.normal(size=500)
    x = np.stack([a, a + 0.7 * a**2 + (0.2 + np.abs(a)) * rng.normal(size=500)], axis=1)
    z = (x - x.mean(0)) / x.std(0)
    gains, spreads = [], []
    for i, j in ((0, 1), (1, 0)):
        residuals = []
        for degree in (1, 2):
            design = np.stack([z[:, i] ** k for k in range(degree + 1)], axis=1)
            residuals.append(z[:, j] - design @ np.linalg.lstsq(design, z[:, j], rcond=None)[0])
        gains.append(residuals[0].var() - residuals[1].var())
        square = residuals[0] ** 2
        spreads.append(max(abs(np.corrcoef(square, z[:, i] ** k)[0, 1]) for k in (1, 2)))
    features = dict(zip([feature.name for feature in FEATURES], table_summary(x), strict=True))
    np.testing.assert_allclose(np.exp(features["curvature_largest"]) - 0.01, max(gains), rtol=1e-9)
    np.testing.assert_allclose(features["spread_mean"], np.mean(spreads), rtol=1e-9)


def test_sizes_outside_the_training_range_are_warned_about(summary):
    x = np.random.default_rng(0).normal(size=(20, 25))
    first, second = check_table(x, summary)[:2]
    assert first == "The table has 25 columns; the model was trained on 3 to 20."
    assert second == "The table has 20 rows; the model was trained on 50 to 1000."


def test_the_warning_names_the_unusual_feature(summary):
    x = three_levels(tables(1, 8, 300, "words")[0], None)
    (sentence,) = check_table(x, summary)
    assert "share of repeated values" in sentence
    assert "(training worlds: 0 to 0." in sentence
    assert sentence.endswith(".")


def test_the_column_that_stands_out_is_named(summary):
    x = tables(1, 5, 300, "named")[0]
    x[:, 3] = x[:, 3].round(0)
    (sentence,) = check_table(x, summary, "abcde")
    assert "share of repeated values in the column with most of them ('d')" in sentence
    assert "over all columns is" in sentence
    x[:, 3] = np.exp(3 * standardised(x[:, 2:3])[:, 0])
    assert "('d')" in check_table(x, summary, "abcde")[0]


def test_tables_with_equal_columns_or_more_columns_than_rows_get_numbers(summary):
    a = np.random.default_rng(0).normal(size=12)
    for x in (
        np.stack([a, a, -a], axis=1),
        np.random.default_rng(0).normal(size=(10, 20)),
        np.tile([0.0, 1.0], (10, 1)) + np.eye(10)[:, :2],
    ):
        assert np.isfinite(table_summary(x)).all()
        assert np.isfinite(table_score(x, summary))


def calls_of(function, *arguments):
    """How many functions, of Python and of libraries, are called meanwhile."""
    calls = []
    sys.setprofile(lambda frame, event, what: calls.append(event))
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return len(calls)


def test_a_table_is_checked_without_a_loop_over_its_rows(summary):
    """As many calls for 50 rows as for 1000; a loop has more."""
    short, long = tables(1, 20, 50, "time")[0], tables(1, 20, 1000, "time")[0]
    calls_of(check_table, short, summary)  # first calls also import
    few, many = (calls_of(check_table, x, summary) for x in (short, long))
    assert abs(many - few) < 200  # a call a row more would be 950
    assert calls_of(lambda: [row.sum() for row in long]) >= 1000


def test_a_summary_is_plain_arrays_and_survives_a_file(summary, tmp_path):
    np.savez(tmp_path / "s.npz", **summary)
    with np.load(tmp_path / "s.npz", allow_pickle=False) as arrays:
        again = {name: arrays[name] for name in arrays.files}
    x = tables(1, 4, 60, "file")[0]
    assert table_score(x, again) == table_score(x, summary)


def test_a_summary_of_other_features_is_refused(summary):
    with pytest.raises(ValueError, match="other features"):
        table_score(np.eye(10), summary | {"features": summary["features"][1:]})


def test_a_summary_is_the_same_again_and_depends_on_its_seed():
    family = SCMFamily(dataclasses.replace(WIDE, n_nodes=fixed(4), n_rows=fixed(50)))
    one, two, other = (stream_summary(family, seed, n_tasks=200) for seed in (0, 0, 1))
    assert all((one[name] == two[name]).all() for name in one)
    assert not (one["mean"] == other["mean"]).all()
