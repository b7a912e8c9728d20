"""Laws of the tables of family weights: sums over subsets by enumeration, graphs and masks, what
knowledge forbids, edges from outside the candidates."""

import itertools

import numpy as np
import pytest

from causal_meta.knowledge import Knowledge, KnowledgeError
from causal_meta.models.bayesian.structures import set_functions
from causal_meta.models.bayesian.structures.family_tables import (
    FamilyTables,
    ancestors_or_self,
    can_cause,
)
from causal_meta.scores.graph_prior import GraphPrior

from .tables_for_tests import AnyScore

CANDIDATES = [[1, 2, 4], [0, 3], [4, 0, 1], [2], [0, 1, 2]]
FAIR = GraphPrior(n_nodes=5, kind="fair", edge_penalty=0.3)


def tables(candidates=CANDIDATES, knowledge=None, max_parents=None, seed=0, spread=3.0):
    score = AnyScore.drawn(5, seed, spread)
    return FamilyTables.build(score, FAIR, knowledge or Knowledge.none(5), candidates, max_parents)


def log_weight(score, node, parents):
    """log w by its definition."""
    family = np.array(sorted(parents), np.int64)[None]
    return score.families(node, family)[0] + FAIR.families(np.array([len(parents)]))[0]


def families(names):
    return [set(c) for p in range(len(names) + 1) for c in itertools.combinations(names, p)]


def random_dag(generator, n_nodes, density=0.5):
    order = generator.permutation(n_nodes)
    graph = np.triu(generator.random((n_nodes, n_nodes)) < density, 1).astype(np.int8)
    return graph[np.ix_(order, order)]


def test_sums_and_bests_are_those_over_all_parent_sets_within_a_set():
    made = tables(spread=300.0)  # sharp: most terms are below rounding
    for v, names in enumerate(CANDIDATES):
        for within in families(range(5)):
            inside = [p for p in families(names) if p <= within]
            logs = np.array([log_weight(made.score, v, p) for p in inside])
            mask = made.masks(np.isin(np.arange(5), list(within)), v)
            assert made.sums[v, mask] + made.offsets[v] == pytest.approx(
                np.logaddexp.reduce(logs), rel=1e-13
            )
            assert made.bests[v, mask] + made.offsets[v] == pytest.approx(logs.max(), rel=1e-13)


def test_a_transform_that_forgets_a_set_is_noticed():
    table = np.random.default_rng(1).normal(size=8)
    sums = set_functions.over_subsets(table)
    for left_out in range(8):
        fewer = np.where(np.arange(8) == left_out, -np.inf, table)
        wrong = set_functions.over_subsets(fewer)
        inside = (np.arange(8) & left_out) == left_out
        assert np.array_equal(wrong != sums, inside)


def test_subsets_and_supersets_are_mirror_images():
    table = np.random.default_rng(2).normal(size=(3, 32))
    mirrored = set_functions.over_subsets(table[:, ::-1])[:, ::-1]
    np.testing.assert_allclose(set_functions.over_supersets(table), mirrored, rtol=1e-14)
    assert set_functions.sizes(3).tolist() == [0, 1, 1, 2, 1, 2, 2, 3]
    masks = np.arange(32)
    assert np.array_equal(set_functions.masks_of(set_functions.members_of(masks, 5)), masks)


def test_graphs_and_masks_are_inverse_and_weigh_what_their_families_do():
    made, generator = tables(), np.random.default_rng(3)
    chosen = np.stack(
        [generator.integers(0, 1 << len(names), size=20) for names in CANDIDATES], axis=1
    )
    graphs = made.adjacency(chosen)
    assert np.array_equal(made.chosen(graphs), chosen)
    expected = [
        sum(log_weight(made.score, v, set(np.flatnonzero(g[:, v]))) for v in range(5))
        for g in graphs
    ]
    np.testing.assert_allclose(made.log_weights(chosen), expected)
    np.testing.assert_allclose(made.log_weights_of_graphs(graphs), expected)
    outside = (generator.random((20, 5, 5)) < 0.5).astype(np.int8) * (1 - np.eye(5, dtype=np.int8))
    expected = [
        sum(log_weight(made.score, v, set(np.flatnonzero(g[:, v]))) for v in range(5))
        for g in outside
    ]
    np.testing.assert_allclose(made.log_weights_of_graphs(outside), expected)


def test_knowledge_is_obeyed():
    knowledge = Knowledge.none(5).forbid(2, 0).require(4, 2)
    made = tables(knowledge=knowledge, max_parents=2)
    assert 2 not in made.candidates[0]
    assert made.place[0, 2] == -1
    with_four = (np.arange(8) & 1) == 1  # 4 is the first candidate of 2
    assert np.array_equal(np.isfinite(made.scores[2]), with_four & (set_functions.sizes(3) <= 2))
    assert made.sums[2, 0] < -1e8
    additions = made.additions(2, np.array([1]))
    assert np.isfinite(additions[0]).tolist() == [True, True, False, True, False]
    assert made.log_weights_of_graphs(np.zeros((1, 5, 5), np.int8))[0] == -np.inf


@pytest.mark.parametrize(
    ("knowledge", "bound", "words"),
    [
        (Knowledge.none(5).require(0, 3), None, "Variable 3 requires the direct causes"),
        (Knowledge.none(5).require(2, 3), 0, "at most 0 are allowed"),
    ],
)
def test_knowledge_that_the_candidates_cannot_meet_is_named(knowledge, bound, words):
    with pytest.raises(KnowledgeError, match=words):
        tables(knowledge=knowledge, max_parents=bound)


def test_additions_are_differences_of_log_weights():
    made = tables(max_parents=1)  # a bound of the tables is none of knowledge's
    for v, names in enumerate(CANDIDATES):
        sets = np.flatnonzero(np.isfinite(made.scores[v]))
        for mask, row in zip(sets, made.additions(v, sets), strict=True):
            parents = {u for k, u in enumerate(names) if mask >> k & 1}
            for u in range(5):
                if u == v or u in parents:
                    assert row[u] == -np.inf
                else:
                    gain = log_weight(made.score, v, parents | {u})
                    assert row[u] == pytest.approx(gain - log_weight(made.score, v, parents))


def test_the_plus_one_extension_is_one_gibbs_update_of_each_edge():
    made, generator = tables(), np.random.default_rng(4)
    graphs = np.stack([random_dag(generator, 5) for _ in range(30)])
    graphs &= (made.place.T >= 0).astype(np.int8)
    estimate = made.plus_one_probabilities(made.chosen(graphs), can_cause(graphs))
    for u, v in itertools.product(range(5), repeat=2):
        if u == v or u in CANDIDATES[v]:
            assert estimate[u, v] == 0
            continue
        shares = []
        for graph in graphs:
            more = graph.copy()
            more[u, v] = 1
            cyclic = np.trace(np.linalg.matrix_power(more.astype(float) + np.eye(5), 5)) > 5
            logs = made.log_weights_of_graphs(np.stack([graph, more]))
            shares.append(0.0 if cyclic else 1 / (1 + np.exp(logs[0] - logs[1])))
        assert estimate[u, v] == pytest.approx(np.mean(shares))
        assert estimate[u, v] > 0
    everything = made.plus_one_probabilities(made.chosen(graphs), np.ones_like(graphs, bool))
    assert (everything - estimate).max() > 0.01  # cycles count


def test_ancestors_are_the_transitive_closure():
    chain = np.eye(6, k=1, dtype=np.int8)[None]
    assert np.array_equal(ancestors_or_self(chain)[0], np.triu(np.ones((6, 6), bool)))
    assert np.array_equal(can_cause(chain)[0], np.triu(np.ones((6, 6), bool), 1))


def test_a_permutation_of_the_variables_permutes_the_tables():
    score, order = AnyScore.drawn(5, 7), np.array([3, 0, 4, 1, 2])
    made = FamilyTables.build(score, FAIR, Knowledge.none(5))

    class Renamed(AnyScore):
        def families(self, node, parents):
            return score.families(order[node], order[parents])

    again = FamilyTables.build(Renamed(score.values), FAIR, Knowledge.none(5))
    graph = random_dag(np.random.default_rng(8), 5)
    renamed = graph[np.ix_(order, order)]
    assert again.log_weights_of_graphs(renamed[None])[0] == pytest.approx(
        made.log_weights_of_graphs(graph[None])[0]
    )
