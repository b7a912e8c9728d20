"""BDeu against Polya urns, enumeration of all tables, and Markov equivalence."""

from itertools import product

import numpy as np
import pytest
from scipy.special import logsumexp

from causal_meta.scores import bdeu
from causal_meta.scores.bdeu import BDeu
from causal_meta.scores.statistics import prepare

from .score_laws import all_dags, classes_of_scores, every_family, family

ARITIES = [3, 2, 4, 2]


def discrete(seed, n):
    r = np.random.default_rng(seed)
    b, d = r.integers(0, 2, n), r.integers(0, 2, n)
    a = np.minimum(2, b + r.integers(0, 2, n))
    return np.column_stack([a, b, (a + d + r.integers(0, 2, n)) % 4, d]).astype(float)


def urns(x, node, parents, size):
    """A Polya urn for every configuration of the parents: each draw adds a ball of its colour."""
    q = np.prod([ARITIES[u] for u in parents])
    seen, total = {}, 0.0
    for row in x.astype(int):
        urn = seen.setdefault(
            tuple(row[parents]), np.full(ARITIES[node], size / (q * ARITIES[node]))
        )
        total += np.log(urn[row[node]] / urn.sum())
        urn[row[node]] += 1
    return total


@pytest.mark.parametrize("size", [0.5, 1.0, 10.0])
def test_a_family_is_a_product_of_polya_urns(size):
    x = discrete(0, 60)
    score = BDeu(prepare(x, ARITIES), size)
    for v in range(4):
        for parents in every_family(4, v):
            exact = urns(x, v, parents, size)
            assert family(score, v, parents) == pytest.approx(exact, abs=1e-9)
    assert family(score, 0, [1]) != pytest.approx(urns(x, 0, [1], 2 * size), abs=1e-3)


def test_probabilities_of_all_columns_sum_to_one():
    """The Dirichlet integrals of the 3^4 columns that a node could have had, parents fixed."""
    parents = np.array([0, 0, 1, 1])
    logs = [
        family(BDeu(prepare(np.column_stack([column, parents]), [3, 2])), 0, [1])
        for column in product(range(3), repeat=4)
    ]
    assert logsumexp(logs) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("size", [1.0, 7.0])
def test_equivalent_graphs_have_equal_scores(size):
    classes = classes_of_scores(BDeu(prepare(discrete(1, 80), ARITIES), size), all_dags(4))
    assert max(np.ptp(values) for values in classes) < 1e-9
    assert np.ptp([values[0] for values in classes]) > 1


def test_names_of_categories_and_the_order_of_rows_do_not_matter():
    x = discrete(2, 50)
    changed = x[::-1].copy()
    changed[:, 2] = np.array([3, 1, 0, 2])[changed[:, 2].astype(int)]
    tables = [BDeu(prepare(t, ARITIES)).table(0, np.array([1, 2, 3]), 3) for t in (x, changed)]
    np.testing.assert_allclose(*tables, rtol=1e-12)


def test_chunks_and_renumbering_do_not_matter(monkeypatch):
    score = BDeu(prepare(discrete(3, 40), ARITIES))
    whole = score.table(0, np.array([1, 2, 3]), 3)
    monkeypatch.setattr(bdeu, "_CELLS", 50)
    monkeypatch.setattr(bdeu, "_LARGEST", 4)
    np.testing.assert_allclose(score.table(0, np.array([3, 2, 1]), 3)[[0, 4, 2, 6, 1, 5, 3, 7]],
                               whole, rtol=1e-12)  # fmt: skip


def test_rows_in_which_a_variable_was_set_do_not_count_for_it():
    x = discrete(4, 60)
    intervened = np.zeros(x.shape, bool)
    intervened[30:, 0] = True
    score = BDeu(prepare(x, ARITIES, intervened))
    assert family(score, 0, [1, 2]) == pytest.approx(urns(x[:30], 0, [1, 2], 1.0), abs=1e-9)
    assert family(score, 1, [0]) == pytest.approx(urns(x, 1, [0], 1.0), abs=1e-9)


@pytest.mark.parametrize("n", [1, 2])
def test_few_rows_and_constant_columns_give_finite_scores(n):
    x = np.column_stack([np.zeros(n), np.ones(n), np.zeros(n), np.arange(n) % 2])
    score = BDeu(prepare(x, ARITIES))
    assert np.isfinite(score.table(0, np.array([1, 2, 3]), 3)).all()


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ValueError, match="categorical"):
        BDeu(prepare(np.random.default_rng(0).normal(size=(5, 2))))
    with pytest.raises(ValueError, match="is positive"):
        BDeu(prepare(discrete(5, 9), ARITIES), sample_size=0.0)
