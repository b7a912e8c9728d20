"""Laws of determinants for all subsets: they are those of each subset alone, whatever the ridges,
the widths of blocks and the bound; tables agree with families in every order of the candidates."""

import numpy as np
import pytest

from causal_meta.scores import subset_determinants
from causal_meta.scores.assumptions import ASSUMPTIONS, assumption_scores
from causal_meta.scores.bge import log_determinants
from causal_meta.scores.local_score import subsets_by_size
from causal_meta.scores.subset_determinants import subset_log_determinants

BLOCKS = [np.array([3]), np.array([4, 5, 0]), np.zeros(0, np.int64), np.array([6, 7])]
RIDGES = np.array([[0.5] * 8, [2.0] * 4 + [0.1] * 4])


def a_gram(seed=0):
    x = np.random.default_rng(seed).normal(size=(40, 8))
    x[:, 7] = x[:, 6] + 1e-6 * x[:, 0]
    return x.T @ x


@pytest.mark.parametrize("cells", [1, 1 << 18])
@pytest.mark.parametrize("target", [[1], [1, 2]])
@pytest.mark.parametrize("most", [4, 2])
def test_they_are_the_determinants_of_each_subset(cells, target, most, monkeypatch):
    monkeypatch.setattr(subset_determinants, "_CELLS", cells)
    gram, target = a_gram(), np.array(target)
    results = subset_log_determinants(gram, target, BLOCKS, RIDGES, most)
    for subset in range(16):
        chosen = [block for k, block in enumerate(BLOCKS) if subset >> k & 1]
        columns = np.concatenate([np.zeros(0, np.int64), *chosen])[None]
        expected = log_determinants(gram, columns, target, RIDGES)
        for result, right in zip(results, expected, strict=True):
            if len(chosen) > most:
                assert (result[:, subset] == -np.inf).all()
            else:
                np.testing.assert_allclose(result[:, subset], right[:, 0], atol=1e-9)
                assert not columns.size or abs(result[:, 0] - right[:, 0]).max() > 1e-3


@pytest.mark.parametrize("assumption", ASSUMPTIONS)
def test_tables_hold_the_scores_of_families(assumption):
    r = np.random.default_rng(1)
    x = r.normal(size=(80, 6))
    x[:, 1] += np.sin(2 * x[:, 0])
    x[:, 2] = r.integers(0, 3, 80)
    scores = assumption_scores(x, [0, 0, 3, 0, 0, 0])
    score, alone = scores[assumption], assumption_scores(x, [0, 0, 3, 0, 0, 0])[assumption]
    for bound in (None, 2):
        # the second is read from the first
        for candidates in ([4, 0, 2, 3], [3, 4, 0]):
            table = score.table(1, np.array(candidates), bound)
            for subsets, parents in subsets_by_size(np.array(candidates), bound):
                expected = alone.families(1, parents)
                np.testing.assert_allclose(table[subsets], expected, atol=1e-6)
                np.testing.assert_allclose(score.families(1, parents), expected, atol=1e-6)
            most = len(candidates) if bound is None else bound
            sizes = [bin(b).count("1") for b in range(len(table))]
            assert ((table == -np.inf) == (np.array(sizes) > most)).all()
