"""Every metric on a case whose answer is known: by hand, by enumeration, by independent code; and
what the wrong convention would say."""

import itertools
import math

import gadjid
import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from causal_meta.posteriors import IndependentEdges
from causal_meta.runners.evaluation import eval_metrics
from causal_meta.runners.evaluation.eval_metrics import (
    CONVENTIONS,
    METRICS,
    acyclic,
    adjustment_distances,
    auroc,
    average_precision,
    compute_graph_metrics,
    expected_calibration_error,
    f1,
    marginal_metrics,
    ordered_pairs,
    posterior_metrics,
    reliability_bins,
    shd,
    summary,
)


def graph(n_nodes, *edges):
    """The adjacency [D, D] with these edges."""
    adjacency = np.zeros((n_nodes, n_nodes), dtype=np.int8)
    for i, j in edges:
        adjacency[i, j] = 1
    return adjacency


def random_dags(count, n_nodes, density, draws):
    """Random acyclic graphs [count, D, D] with mixed orders."""
    upper = np.triu(draws.random((count, n_nodes, n_nodes)) < density, 1)
    order = np.argsort(draws.random((count, n_nodes)), axis=1)
    rows = np.take_along_axis(upper, order[:, :, None], axis=1)
    return np.take_along_axis(rows, order[:, None, :], axis=2).astype(np.int8)


def all_digraphs(n_nodes):
    """Every directed graph over `n_nodes` nodes, cyclic ones included: [2^(D (D - 1)), D, D]."""
    bits = np.array(list(itertools.product((0, 1), repeat=n_nodes * (n_nodes - 1))), dtype=np.int8)
    graphs = np.zeros((len(bits), n_nodes, n_nodes), dtype=np.int8)
    graphs[:, ~np.eye(n_nodes, dtype=bool)] = bits
    return graphs


PAPER_G = graph(5, (0, 1), *[(x, y) for x in (0, 1) for y in (2, 3, 4)])
PAPER_H1 = PAPER_G + graph(5, (2, 3))
PAPER_H2 = PAPER_G - graph(5, (0, 1)) + graph(5, (1, 0))


# ------------------------------------------------------------------------------------------ SHD, F1


def slow_shd(a, b, reversal):
    """By the words of the definition, one pair at a time."""
    cost = 0
    for i, j in itertools.combinations(range(len(a)), 2):
        here, there = (a[i, j], a[j, i]), (b[i, j], b[j, i])
        if here != there:
            reversed_edge = here == there[::-1] and sum(here) == 1
            cost += (
                reversal
                if reversed_edge
                else 1
                if reversal == 1
                else abs(int(a[i, j]) - int(b[i, j])) + abs(int(a[j, i]) - int(b[j, i]))
            )
    return cost


@pytest.mark.parametrize("reversal", [1, 2])
def test_shd_by_enumeration_of_all_graphs_on_three_nodes(reversal):
    graphs = all_digraphs(3)
    truths = graphs[acyclic(graphs)]
    assert len(truths) == 25
    for truth in truths:
        np.testing.assert_array_equal(
            shd(graphs, truth, reversal=reversal), [slow_shd(g, truth, reversal) for g in graphs]
        )


def test_shd_of_one_reversal_one_invention_one_omission():
    truth, guess = graph(4, (0, 1), (1, 2)), graph(4, (1, 0), (2, 3))
    assert shd(guess, truth) == 3
    assert shd(guess, truth, reversal=2) == 4  # the other convention is another number
    assert shd(guess + np.eye(4, dtype=np.int8), truth) == 3  # the diagonal is nothing


def test_e_shd_of_fair_coins_is_nine_quarters():
    """Each of 3 pairs has one of 4 types with equal probability: E-SHD = 3 * 3/4, whatever the
    truth; with reversal 2, 6 * 1/2."""
    every = all_digraphs(3)
    truth = graph(3, (0, 1), (1, 2))
    half = np.full((3, 3), 0.5)
    assert posterior_metrics(every, half, truth, 0.0)["e_shd"] == 2.25
    assert posterior_metrics(every, half, truth, 0.0, shd_reversal=2)["e_shd"] == 3.0
    # dropping cyclic samples is another number
    assert posterior_metrics(every[acyclic(every)], half, truth, 0.0)["e_shd"] != 2.25


def test_e_shd_of_samples_agrees_with_its_closed_form():
    """E-SHD = sum over pairs of 1 - P(type = that of the truth), for independent edges."""
    draws = np.random.default_rng(0)
    p = draws.random((6, 6)) * (1 - np.eye(6))
    truth = random_dags(1, 6, 0.4, draws)[0]
    right = np.where(truth == 1, p, 1 - p)
    expected = sum(1 - right[i, j] * right[j, i] for i, j in itertools.combinations(range(6), 2))
    posterior = IndependentEdges.from_probabilities(
        torch.from_numpy(p)[None], torch.ones(1, 6, dtype=torch.bool)
    )
    samples = posterior.sample(4000, torch.Generator().manual_seed(1))[0].numpy()
    each = shd(samples, truth)
    error = each.std(ddof=1) / math.sqrt(4000)
    assert abs(each.mean() - expected) < 4 * error
    assert (
        abs(each.mean() - (expected + 0.3)) > 4 * error
    )  # a third of an edge off would be noticed


def test_f1_by_hand_and_for_the_empty_graph():
    truth, guess = graph(4, (0, 1), (1, 2), (2, 3)), graph(4, (0, 1), (2, 1))
    values = compute_graph_metrics(guess, truth)
    assert values["precision"] == 1 / 2
    assert values["recall"] == 1 / 3
    # the reversed edge is wrong and missed; an undirected F1 would say 4/5
    assert values["f1"] == f1(guess, truth) == 2 / 5
    assert f1(graph(3), graph(3)) == 1
    assert f1(graph(3), graph(3, (0, 1))) == 0
    assert compute_graph_metrics(graph(3), graph(3, (0, 1)))["precision"] is None
    assert compute_graph_metrics(graph(3, (0, 1)), graph(3))["recall"] is None


def test_e_f1_is_the_mean_and_not_f1_of_the_threshold():
    truth = graph(3, (0, 1), (1, 2))
    samples = np.stack([truth, truth, graph(3, (1, 0))])
    values = posterior_metrics(samples, samples.mean(0), truth, 0.0)
    assert values["e_f1"] == pytest.approx(2 / 3)
    assert values["f1"] == 1
    assert values["e_edges"] == pytest.approx(5 / 3)
    assert values["n_edges"] == 2


# -------------------------------------------------------------------------------------- SID and AID


def test_sid_of_the_papers_example():
    """Peters & Bühlmann 2015, section 2.4: one edge too many costs nothing, one reversed edge 8;
    both have SHD 1."""
    first, second = (
        compute_graph_metrics(PAPER_H1, PAPER_G),
        compute_graph_metrics(PAPER_H2, PAPER_G),
    )
    assert (first["sid"], second["sid"]) == (0, 8)
    assert (first["shd"], second["shd"]) == (1, 1)
    assert first["parent_aid"] == 0
    assert second["parent_aid"] == 8 / 20
    wrong_way = gadjid.sid(PAPER_G, PAPER_H2, edge_direction="from column to row")[1]
    assert wrong_way == 2  # what reading the matrices transposed would give
    # and the truth comes first
    assert compute_graph_metrics(PAPER_G, PAPER_H1)["sid"] != first["sid"]


def test_sid_by_hand():
    forward, backward, empty = graph(2, (0, 1)), graph(2, (1, 0)), graph(2)
    assert compute_graph_metrics(backward, forward)["sid"] == 2
    assert compute_graph_metrics(empty, forward)["sid"] == 1
    assert compute_graph_metrics(forward, empty)["sid"] == 0
    assert compute_graph_metrics(forward, forward)["sid"] == 0


def sid_by_regression(guess, truth, draws):
    """The number of wrong effects when x_j is regressed on x_i and the guessed parents of i, in the
    exact covariance of a random linear SCM."""
    n_nodes = len(truth)
    weights = truth * draws.uniform(0.5, 1.5, truth.shape) * draws.choice([-1, 1], truth.shape)
    total = np.linalg.inv(np.eye(n_nodes) - weights)  # total[i, j]: effect of i on j
    covariance = total.T @ np.diag(draws.uniform(0.5, 1.5, n_nodes)) @ total
    wrong = 0
    for i in range(n_nodes):
        parents = np.flatnonzero(guess[:, i])
        regressors = [i, *parents]
        for j in range(n_nodes):
            if j == i:
                continue
            fit = (
                np.linalg.solve(
                    covariance[np.ix_(regressors, regressors)], covariance[regressors, j]
                )[0]
                if j not in parents
                else 0.0
            )
            wrong += abs(fit - total[i, j]) > 1e-7
    return wrong


def test_sid_equals_adjustment_by_regression_in_random_linear_models():
    draws = np.random.default_rng(0)
    transposed_differs = 0
    for n_nodes in range(2, 8):
        for density in (0.2, 0.5, 0.8):
            truths, guesses = (
                random_dags(15, n_nodes, density, draws),
                random_dags(15, n_nodes, density, draws),
            )
            for truth, guess in zip(truths, guesses, strict=True):
                by_regression = sid_by_regression(guess, truth, draws)
                assert adjustment_distances(guess[None], truth)["sid"][0] == by_regression
                transposed_differs += (
                    gadjid.sid(truth, guess, edge_direction="from column to row")[1]
                    != by_regression
                )
    assert transposed_differs > 50  # the oracle rejects the other direction


def test_cyclic_graphs_have_no_sid_and_break_nothing():
    cyclic, truth = graph(3, (0, 1), (1, 2), (2, 0)), graph(3, (0, 1))
    values = compute_graph_metrics(cyclic, truth)
    assert values["sid"] is values["parent_aid"] is values["ancestor_aid"] is None
    assert values["acyclic"] == 0
    assert values["shd"] == 2
    assert compute_graph_metrics(truth, cyclic)["sid"] is None
    two_way = compute_graph_metrics(graph(2, (0, 1), (1, 0)), graph(2, (0, 1)))
    assert (two_way["acyclic"], two_way["sid"], two_way["shd"]) == (0, None, 1)


def test_sid_and_aid_average_the_acyclic_samples_with_their_multiplicity():
    truth = graph(2, (0, 1))
    cyclic = graph(2, (0, 1), (1, 0))
    samples = np.stack([truth, truth, truth, graph(2, (1, 0)), cyclic])
    values = posterior_metrics(samples, samples.mean(0), truth, 0.0)
    assert values["e_sid"] == pytest.approx(2 / 4)
    assert values["e_parent_aid"] == pytest.approx(1 / 4)
    assert values["acyclic_share"] == pytest.approx(4 / 5)
    assert values["e_shd"] == pytest.approx(2 / 5)  # over all five
    none = posterior_metrics(np.stack([cyclic]), np.array([[0, 1.0], [1, 0]]), truth, 0.0)
    assert none["acyclic_share"] == 0
    assert (
        none["e_sid"]
        is none["e_parent_aid"]
        is none["e_ancestor_aid"]
        is none["e_cpdag_shd"]
        is none["sid"]
        is None
    )
    assert none["e_shd"] == 1


def test_adjustment_distances_of_many_are_those_of_each():
    draws = np.random.default_rng(1)
    few = all_digraphs(3)
    graphs, truth = few[draws.integers(len(few), size=200)], graph(3, (0, 1), (0, 2))
    together = adjustment_distances(graphs, truth)
    for name, values in together.items():
        each = np.array([adjustment_distances(one[None], truth)[name][0] for one in graphs])
        np.testing.assert_array_equal(values, each)
    assert np.isnan(together["sid"]).any()
    assert (~np.isnan(together["sid"])).any()


def test_the_number_of_graphs_compared_by_adjustment_is_bounded(monkeypatch):
    monkeypatch.setattr(eval_metrics, "MAX_ADJUSTMENT_SAMPLES", 2)
    truth = graph(2, (0, 1))
    samples = np.stack([truth, truth, *[graph(2, (1, 0))] * 8])
    values = posterior_metrics(samples, samples.mean(0), truth, 0.0)
    assert values["e_sid"] == 0
    assert values["e_shd"] == 0.8


def test_cpdag_shd_knows_no_difference_inside_a_class():
    chain, other, collider = (
        graph(3, (0, 1), (1, 2)),
        graph(3, (2, 1), (1, 0)),
        graph(3, (0, 1), (2, 1)),
    )

    def score(*samples):
        return posterior_metrics(np.stack(samples), np.mean(samples, axis=0), chain, 0.0)

    assert score(other)["e_cpdag_shd"] == 0
    assert score(other)["e_shd"] == 2
    assert score(collider)["e_cpdag_shd"] == 2  # two directed edges for two undirected ones
    assert score(collider)["e_shd"] == 1
    assert score(other, other, collider, chain)["e_cpdag_shd"] == 0.5
    assert score(graph(3))["e_cpdag_shd"] == 2


# ---------------------------------------------------------------------------------------- marginals


@pytest.mark.parametrize("levels", [2, 4, 1000])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_auroc_and_auprc_with_ties_equal_scikit_learns(levels, scale):
    draws = np.random.default_rng(levels)
    for _ in range(30):
        y = draws.random(40) < draws.uniform(0.1, 0.9)
        if y.all() or not y.any():
            continue
        scores = scale * (draws.integers(levels, size=40) + y * draws.integers(0, 2, size=40))
        assert auroc(scores, y) == pytest.approx(roc_auc_score(y, scores), abs=1e-12)
        assert average_precision(scores, y) == pytest.approx(
            average_precision_score(y, scores), abs=1e-12
        )


def test_auroc_and_auprc_by_hand():
    assert auroc(np.array([0.9, 0.8, 0.3, 0.1]), np.array([1, 0, 1, 0])) == 0.75
    assert average_precision(
        np.array([0.9, 0.8, 0.3, 0.1]), np.array([1, 0, 1, 0])
    ) == pytest.approx((1 + 2 / 3) / 2)
    flat, y = np.full(10, 0.3), np.arange(10) < 3
    assert auroc(flat, y) == 0.5
    # the density; ties broken by position would give 1
    assert average_precision(flat, y) == pytest.approx(0.3)
    assert math.isnan(auroc(flat, np.zeros(10)))
    assert math.isnan(auroc(flat, np.ones(10)))
    assert math.isnan(average_precision(flat, np.zeros(10)))


def test_marginal_metrics_leave_out_the_diagonal():
    draws = np.random.default_rng(3)
    truth = random_dags(1, 7, 0.4, draws)[0]
    p = draws.random((7, 7))
    values = marginal_metrics(p, truth)
    off = ~np.eye(7, dtype=bool)
    assert values["auroc"] == pytest.approx(roc_auc_score(truth[off], p[off]))
    assert values["auprc"] == pytest.approx(average_precision_score(truth[off], p[off]))
    assert values["brier"] == pytest.approx(brier_score_loss(truth[off], p[off]))
    assert values["density"] == truth.sum() / 42
    entropy = [-(q * math.log(q) + (1 - q) * math.log(1 - q)) for q in p[off]]
    assert values["edge_entropy"] == pytest.approx(np.mean(entropy))
    with_diagonal = p * off
    # what the diagonal would do
    assert roc_auc_score(truth.ravel(), with_diagonal.ravel()) != pytest.approx(
        values["auroc"], abs=1e-3
    )
    np.fill_diagonal(p, 1.0)
    assert marginal_metrics(p, truth) == values
    assert marginal_metrics(truth.astype(float), truth)["edge_entropy"] == 0


def test_ordered_pairs_run_row_by_row():
    np.testing.assert_array_equal(ordered_pairs(np.arange(9).reshape(3, 3)), [1, 2, 3, 5, 6, 7])


def test_calibration_error_by_hand():
    p, y = np.array([0.05, 0.05, 0.15, 0.95]), np.array([0, 1, 0, 1])
    assert expected_calibration_error(p, y) == pytest.approx((2 * 0.45 + 0.15 + 0.05) / 4)
    assert expected_calibration_error(p, y, bins=2) == pytest.approx(
        (3 * abs(0.25 / 3 - 1 / 3) + 0.05) / 4
    )
    bins = reliability_bins(p, y)
    assert bins[0] == {
        "low": 0.0,
        "high": 0.1,
        "count": 2,
        "mean_probability": pytest.approx(0.05),
        "frequency": 0.5,
    }
    assert bins[5] == {
        "low": 0.5,
        "high": 0.6,
        "count": 0,
        "mean_probability": None,
        "frequency": None,
    }
    assert [entry["count"] for entry in bins] == [2, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert math.isnan(expected_calibration_error(np.array([]), np.array([])))


def test_bin_edges_belong_to_the_bin_above_in_single_precision_too():
    edges = np.float32([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    assert [entry["count"] for entry in reliability_bins(edges.astype(np.float64), edges * 0)] == [
        1
    ] * 10
    assert reliability_bins(np.array([1.0]), np.array([1]))[-1]["count"] == 1


def test_a_calibrated_forecast_has_no_error_and_an_overconfident_one_has():
    draws = np.random.default_rng(0)
    p = draws.random(40_000)
    y = draws.random(40_000) < p
    # mean |gap| of a bin is below its standard error
    noise = sum(math.sqrt(0.25 / 4000) * 0.1 for _ in range(10))
    assert expected_calibration_error(p, y) < 3 * noise
    assert expected_calibration_error(np.clip(1.5 * p - 0.25, 0, 1), y) > 3 * noise


# ---------------------------------------------------------------------------------------- the whole


def test_every_metric_is_there_and_described():
    truth = graph(3, (0, 1))
    values = posterior_metrics(np.stack([truth]), truth.astype(float), truth, -0.5)
    assert tuple(values) == METRICS
    assert values["graph_nll"] == 0.5
    perfect = {
        "e_shd": 0,
        "sid": 0,
        "e_cpdag_shd": 0,
        "auroc": 1,
        "auprc": 1,
        "f1": 1,
        "e_f1": 1,
        "ece": 0,
        "brier": 0,
        "acyclic_share": 1,
    }
    assert {name: values[name] for name in perfect} == perfect
    assert values["ece_mid"] is None
    words = " ".join(CONVENTIONS) + " ".join(CONVENTIONS.values())
    assert not {
        name
        for name in METRICS
        if name.removeprefix("e_") not in words and name not in ("precision", "recall", "density")
    }


def test_an_infinite_score_is_missing():
    truth = graph(3, (0, 1))
    assert (
        posterior_metrics(np.stack([truth]), truth.astype(float), truth, -math.inf)["graph_nll"]
        is None
    )


def test_metrics_do_not_depend_on_the_numbering_of_the_variables():
    draws = np.random.default_rng(5)
    truth = random_dags(1, 6, 0.4, draws)[0]
    samples = random_dags(30, 6, 0.4, draws)
    samples[:5] = 1  # complete both ways: cyclic
    samples[:5, range(6), range(6)] = 0
    p = samples.mean(0)
    first = posterior_metrics(samples, p, truth, -1.0)
    shuffle = draws.permutation(6)
    cut = np.ix_(shuffle, shuffle)
    second = posterior_metrics(samples[:, shuffle][:, :, shuffle], p[cut], truth[cut], -1.0)
    assert first == {
        name: value if value is None else pytest.approx(value) for name, value in second.items()
    }
    assert first["acyclic_share"] == pytest.approx(25 / 30)
    # turning the truth around is not a renumbering
    third = posterior_metrics(samples, p, truth.T, -1.0)
    assert third["e_sid"] != pytest.approx(first["e_sid"])


def test_summary_averages_what_is_there():
    result = summary({"a": [1.0, 2.0, 3.0, None], "b": [None, 4.0], "c": [None], "d": []})
    # with ddof = 0 it would be 0.471
    assert result["a"] == {"mean": 2.0, "se": pytest.approx(1 / math.sqrt(3)), "n": 3}
    assert result["b"] == {"mean": 4.0, "se": None, "n": 1}
    assert result["c"] == result["d"] == {"mean": None, "se": None, "n": 0}


@pytest.mark.parametrize("kind", ["array", "tensor", "list"])
def test_batches_and_single_pairs(kind):
    make = {
        "array": np.asarray,
        "tensor": lambda a: torch.as_tensor(np.array(a)),
        "list": lambda a: np.asarray(a).tolist(),
    }[kind]
    truth, guesses = graph(3, (0, 1)), np.stack([graph(3), graph(3, (0, 1)), graph(3, (1, 0))])
    batch = compute_graph_metrics(make(guesses), make(truth))
    assert batch["shd"] == [1, 0, 1]
    assert batch["precision"] == [None, 1, 0]
    assert {name: values[2] for name, values in batch.items()} == compute_graph_metrics(
        make(guesses[2]), make(truth)
    )
    assert compute_graph_metrics(make(guesses), make(np.stack([truth] * 3))) == batch
    assert compute_graph_metrics(make(truth[None]), make(truth))["shd"] == [0]


@pytest.mark.parametrize(
    ("prediction", "truth", "reversal", "message"),
    [
        pytest.param(np.zeros((3, 3)), np.zeros((4, 4)), 1, r"shape \(3, 3\)", id="sizes"),
        pytest.param(np.zeros((2, 3, 3)), np.zeros((4, 3, 3)), 1, "pairwise", id="batches"),
        pytest.param(np.zeros((3, 2)), np.zeros((3, 2)), 1, "one graph", id="not square"),
        pytest.param(
            np.full((3, 3), 0.5),
            np.zeros((3, 3)),
            1,
            "threshold probabilities first",
            id="probabilities",
        ),
        pytest.param(np.full((3, 3), np.nan), np.zeros((3, 3)), 1, "other than 0 and 1", id="NaN"),
        pytest.param(np.zeros((3, 3)), np.zeros((3, 3)), 3, "counts 1 or 2", id="reversal"),
    ],
)
def test_bad_input_is_one_sentence(prediction, truth, reversal, message):
    with pytest.raises(ValueError, match=message):
        compute_graph_metrics(prediction, truth, shd_reversal=reversal)
