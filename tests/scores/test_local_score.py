"""Tables of all subsets of candidates, families that cannot be, and priors over graphs."""

from itertools import combinations, permutations

import numpy as np
import pytest
from scipy.special import comb, logsumexp

from causal_meta.scores import local_score
from causal_meta.scores.graph_prior import GraphPrior
from causal_meta.scores.local_score import LocalScore, checked_families


class SumOfParents(LocalScore):
    """A score that shows its parents: node + sum 10^parent."""

    n_nodes = 6

    def families(self, node, parents):
        return node + (10.0 ** checked_families(node, parents, 6)).sum(axis=1)


def test_entry_b_of_a_table_has_the_parents_of_the_set_bits(monkeypatch):
    monkeypatch.setattr(local_score, "_CHUNK", 3)
    candidates = np.array([4, 1, 3, 0])
    table = SumOfParents().table(2, candidates, max_parents=3)
    for b in range(16):
        members = [10.0**u for k, u in enumerate(candidates) if b >> k & 1]
        assert table[b] == (2 + sum(members) if len(members) <= 3 else -np.inf)


def test_no_candidates_leave_the_root():
    np.testing.assert_array_equal(SumOfParents().table(5, np.array([], int), 3), [5.0])
    np.testing.assert_array_equal(SumOfParents().table(1, np.array([2]), 0), [1.0, -np.inf])


@pytest.mark.parametrize(
    ("node", "parents", "message"),
    [(0, [[1, 0]], "its own parent"), (0, [[1, 1]], "twice"), (0, [[6]], "not one of"),
     (6, [[1]], "not one of"), (0, [[-1]], "not one of")],
)  # fmt: skip
def test_families_that_cannot_be_are_refused(node, parents, message):
    with pytest.raises(ValueError, match=message):
        checked_families(node, np.array(parents), 6)


def test_the_fair_prior_gives_every_number_of_parents_the_same_mass():
    prior = GraphPrior(n_nodes=6, kind="fair")
    of_sets = [prior.families(np.array(p)) for p in range(6) for _ in combinations(range(5), p)]
    by_size = [logsumexp(prior.families(np.full(int(comb(5, p)), p))) for p in range(6)]
    np.testing.assert_allclose(by_size, 0, atol=1e-12)
    np.testing.assert_allclose(logsumexp(of_sets), np.log(6))


def test_the_penalty_counts_edges_and_uniform_does_nothing_else():
    np.testing.assert_allclose(
        GraphPrior(n_nodes=4, kind="uniform", edge_penalty=2.0).families(np.arange(5)),
        [0, -2, -4, -6, -np.inf],
    )
    fair, dear = (GraphPrior(n_nodes=9, edge_penalty=c).families(np.arange(9)) for c in (0, 1.5))
    np.testing.assert_allclose(fair - dear, 1.5 * np.arange(9), atol=1e-12)


def test_complete_graphs_have_equal_priors():
    prior = GraphPrior(n_nodes=4)
    values = {
        round(float(prior.families(np.array([order.index(v) for v in range(4)])).sum()), 9)
        for order in permutations(range(4))
    }
    assert len(values) == 1


@pytest.mark.parametrize(
    "wrong", [{"kind": "flat"}, {"n_nodes": 0}, {"edge_penalty": float("nan")}]
)
def test_priors_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=r"unknown|at least one|finite"):
        GraphPrior(**({"n_nodes": 3} | wrong))
