"""Correlations as edge probabilities, against closed forms."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from causal_meta.conf.inference import CorrelationConfig, PartialCorrelationConfig
from causal_meta.models.classical.correlation import Correlation, PartialCorrelation, shrinkage
from causal_meta.posteriors import IndependentEdges
from causal_meta.tasks import Task

from .linear_tables import drawn

METHODS = [Correlation(CorrelationConfig()), PartialCorrelation(PartialCorrelationConfig())]


def answered(method, x, intervened=None):
    rows = torch.from_numpy(np.ascontiguousarray(x)).float()
    cells = torch.zeros(rows.shape, dtype=torch.bool) if intervened is None else intervened
    task = Task(x=rows, adjacency=None, intervened=cells)
    method.check(task)
    return method.answer(task, np.random.default_rng(0))


def off_diagonal(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)]


def test_probabilities_are_half_of_the_correlations():
    x, _ = drawn(0, 5, 200)
    posterior = answered(METHODS[0], 3 * x + 7)
    assert isinstance(posterior, IndependentEdges)
    expected = np.abs(np.corrcoef(x.T)) / 2
    np.testing.assert_allclose(
        off_diagonal(posterior.edge_probabilities[0].numpy()), off_diagonal(expected), atol=1e-6
    )


def test_partial_correlations_are_those_of_regressions_where_rows_are_many():
    """corr of the residuals of i and j on all others; the shrinkage is of order 1/N."""
    x, _ = drawn(1, 5, 20_000)
    got = METHODS[1].association(x)
    for i in range(5):
        for j in range(i):
            rest = np.delete(x, [i, j], axis=1)
            residual = x[:, [i, j]] - rest @ np.linalg.lstsq(rest, x[:, [i, j]], rcond=None)[0]
            assert got[i, j] == pytest.approx(np.corrcoef(residual.T)[0, 1], abs=0.02)
    # the check distinguishes them from plain correlations
    assert np.abs(off_diagonal(got - np.corrcoef(x.T))).max() > 0.1


def test_the_shrinkage_is_the_estimate_of_schafer_and_strimmer():
    x, _ = drawn(2, 4, 30)
    x = (x - x.mean(0)) / x.std(0)
    r, variance, total = np.corrcoef(x.T), 0.0, 0.0
    for i in range(4):
        for j in range(4):
            if i != j:
                w = x[:, i] * x[:, j]
                variance += 30 / 29**3 * ((w - w.mean()) ** 2).sum()
                total += r[i, j] ** 2
    assert shrinkage(x, r) == pytest.approx(variance / total)
    assert shrinkage(x, r) > 10 * shrinkage(*_many(4))
    noise = np.random.default_rng(0).normal(size=(8, 20))
    noise = (noise - noise.mean(0)) / noise.std(0)
    assert shrinkage(noise, np.corrcoef(noise.T)) > 0.5


def _many(n_nodes):
    x, _ = drawn(2, n_nodes, 3000)
    return x, np.corrcoef(x.T)


@pytest.mark.parametrize("seed", range(3))
def test_auroc_is_that_of_the_correlations(seed):
    x, graph = drawn(seed, 10, 200)
    p = answered(METHODS[0], x).edge_probabilities[0].numpy()
    r = np.abs(np.corrcoef(x.T).round(9))  # equal in both directions
    truth = off_diagonal(graph)
    expected = roc_auc_score(truth, off_diagonal(r))
    assert roc_auc_score(truth, off_diagonal(p)) == pytest.approx(expected)
    assert roc_auc_score(truth, -off_diagonal(p)) != pytest.approx(expected)


@pytest.mark.parametrize("method", METHODS, ids=["correlation", "partial"])
def test_symmetric_and_free_of_scale_and_order(method):
    x, _ = drawn(3, 6, 100)
    p = answered(method, x).edge_probabilities[0].numpy()
    np.testing.assert_array_equal(p, p.T)
    assert (off_diagonal(p) <= 0.5).all()
    scaled = answered(method, x * [1, 10, 100, 0.1, 5, 3] - 4).edge_probabilities[0].numpy()
    np.testing.assert_allclose(scaled, p, atol=1e-5)
    turned = answered(method, x[:, ::-1]).edge_probabilities[0].numpy()
    np.testing.assert_allclose(turned[::-1, ::-1], p, atol=1e-6)


@pytest.mark.parametrize("method", METHODS, ids=["correlation", "partial"])
def test_degenerate_tables(method):
    x = np.random.default_rng(0).normal(size=(12, 20))
    x[:, 1], x[:, 2] = x[:, 0], 3.0
    p = answered(method, x).edge_probabilities[0].numpy()
    assert np.isfinite(p).all()
    assert p[2].max() < 1e-6
    others = np.delete(p[0], [0, 1])
    assert p[0, 1] > others.max()


def test_rows_under_interventions_are_left_out():
    x, _ = drawn(4, 3, 60)
    cells = torch.zeros(60, 3, dtype=torch.bool)
    cells[40:, 1] = True
    mixed, plain = answered(METHODS[0], x, cells), answered(METHODS[0], x[:40])
    assert torch.equal(mixed.logits, plain.logits)
    assert mixed.diagnostics.interventional_rows_left_out == 20
