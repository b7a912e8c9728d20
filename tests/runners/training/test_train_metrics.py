"""Batched validation metrics against one task at a time and against scikit-learn; the predictive
density in closed form."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from causal_meta.conf.models import ModelConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.models.base import BaseModel
from causal_meta.posteriors import EmpiricalGraphs, IndependentEdges
from causal_meta.runners.evaluation import eval_metrics
from causal_meta.runners.training.loop import better
from causal_meta.runners.training.train_metrics import (
    METRIC_DIRECTIONS,
    compute_predictive_nll,
    direction,
    linear_gaussian_nll,
    marginal_metrics,
    means,
    posterior_metrics,
)
from causal_meta.tasks import TaskBatch, full_batch


def cases(seed, decimals, count=24, largest=7):
    """Random probabilities (rounded, so that there are ties), truths from empty to full, and real
    nodes from 2 to `largest`."""
    rng = np.random.default_rng(seed)
    p = np.round(rng.uniform(size=(count, largest, largest)), decimals)
    truth = (
        rng.uniform(size=p.shape) < rng.choice([0, 0.05, 0.3, 0.9, 1], size=(count, 1, 1))
    ).astype(np.float32)
    truth[:, range(largest), range(largest)] = 0
    n = rng.integers(2, largest + 1, size=count)
    return p, truth, n, np.arange(largest) < n[:, None]


@pytest.mark.parametrize("decimals", [1, 12])
@pytest.mark.parametrize("garbage", [0.0, 1.0], ids=["clean", "garbage_in_padding"])
def test_batched_metrics_equal_those_of_one_task_at_a_time(decimals, garbage):
    p, truth, sizes, mask = cases(3, decimals)
    dirty = truth.copy()
    dirty[~(mask[:, :, None] & mask[:, None, :])] = garbage
    dirty[:, range(7), range(7)] = garbage
    found = marginal_metrics(torch.tensor(p), torch.tensor(dirty), torch.tensor(mask))
    missing = 0
    for b, n in enumerate(sizes):
        single = eval_metrics.marginal_metrics(p[b, :n, :n], truth[b, :n, :n])
        off = ~np.eye(n, dtype=bool)
        y, s = truth[b, :n, :n][off], p[b, :n, :n][off]
        expected = {name: single[name] for name in ("auroc", "auprc", "ece", "brier")}
        for name, value in expected.items():
            assert float(found[name][b]) == pytest.approx(value, abs=1e-12, nan_ok=True), name
        if 0 < y.sum() < len(y):
            assert float(found["auroc"][b]) == pytest.approx(roc_auc_score(y, s))
            assert float(found["auprc"][b]) == pytest.approx(average_precision_score(y, s))
        missing += int(math.isnan(float(found["auroc"][b])))
    assert 0 < missing < len(sizes)
    # effect and cause exchanged
    wrong = marginal_metrics(torch.tensor(p), torch.tensor(truth).mT, torch.tensor(mask))
    assert not torch.allclose(wrong["auroc"].nan_to_num(), found["auroc"].nan_to_num())


def test_means_leave_out_what_is_not_defined():
    values = {
        "auroc": [torch.tensor([0.5, math.nan]), torch.tensor([1.0])],
        "none": [torch.tensor([math.nan])],
    }
    assert means(values)["auroc"] == 0.75
    assert math.isnan(means(values)["none"])


def test_posterior_metrics_have_directions_and_the_graph_nll():
    p, truth, _, mask = cases(4, 12)
    posterior = IndependentEdges.from_probabilities(torch.tensor(p), torch.tensor(mask))
    batch = full_batch(torch.zeros(len(p), 3, 7), torch.tensor(truth), [0] * len(p))
    batch.node_mask = torch.tensor(mask)
    found = posterior_metrics(posterior, batch)
    assert {f"val/{name}" for name in found} | {"val/loss"} == set(METRIC_DIRECTIONS)
    real = mask[:, :, None] & mask[:, None, :] & ~np.eye(7, dtype=bool)
    nll = -(np.log(np.where(truth > 0, p, 1 - p)) * real).sum((1, 2))
    np.testing.assert_allclose(found["graph_nll"].numpy(), nll, rtol=1e-5)
    with pytest.raises(ValueError, match="no true graphs"):
        posterior_metrics(posterior, batch.without_truth())


def test_directions_and_comparison():
    assert direction("val/graph_nll") == "min"
    assert direction("val/er/auprc", ["er"]) == "max"
    with pytest.raises(ConfigError, match=r"'val/er/auprc'; allowed are val/loss, val/auroc"):
        direction("val/er/auprc", [])
    assert better(1.0, 2.0, "min")
    assert not better(1.0, 2.0, "max")
    assert not better(1.0, 1.0, "max")
    assert better(1.0, math.nan, "max")
    assert not better(math.nan, 1.0, "max")


# ----------------------------------------------------------------------------------- predictive NLL


class Fixed(BaseModel):
    """Answers with the same graphs whatever it sees, and remembers what it saw."""

    needs_pretraining = False

    def __init__(self, graphs):
        super().__init__(ModelConfig())
        self.graphs = torch.as_tensor(graphs, dtype=torch.int8)
        self.saw = None

    def initialise(self, generator):
        pass

    def forward(self, batch):
        self.saw = batch
        return torch.zeros(len(batch), batch.n_nodes, batch.n_nodes)

    def calculate_loss(self, output, batch):
        raise NotImplementedError

    def posterior_of(self, output, batch):
        return EmpiricalGraphs(self.graphs.expand(len(batch), *self.graphs.shape), batch.node_mask)


CHAIN = np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]])
EMPTY = np.zeros((3, 3), dtype=int)
FORK = np.array([[0, 0, 0], [1, 0, 1], [0, 0, 0]])  # Markov equivalent to the chain
COLLIDER = np.array([[0, 1, 0], [0, 0, 0], [0, 1, 0]])
CYCLE = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]])


def rows(n, seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    b = 1.5 * a + 0.5 * rng.normal(size=n)
    return np.stack([a, b, -b + 0.4 * rng.normal(size=n)], axis=1) * [1.0, 20.0, 0.1] + [
        5.0,
        -3.0,
        0.0,
    ]


def by_hand(train, test, graph):
    """Regression by NumPy's least squares with an intercept, node by node, in the training rows'
    z-scores."""
    mean, spread = train.mean(0), train.std(0)
    train, test = (train - mean) / spread, (test - mean) / spread
    total = np.zeros(len(test))
    for j in range(train.shape[1]):
        parents = np.flatnonzero(graph[:, j])
        design = np.column_stack([np.ones(len(train)), train[:, parents]])
        weights = np.linalg.lstsq(design, train[:, j], rcond=None)[0]
        variance = np.mean((train[:, j] - design @ weights) ** 2)
        error = test[:, j] - np.column_stack([np.ones(len(test)), test[:, parents]]) @ weights
        total += 0.5 * (np.log(2 * np.pi * variance) + error**2 / variance)
    return total.mean()


@pytest.mark.parametrize("graph", [CHAIN, EMPTY, COLLIDER], ids=["chain", "empty", "collider"])
def test_predictive_nll_is_that_of_least_squares(graph):
    train, test = rows(50, 1), rows(30, 2)
    found = compute_predictive_nll(
        Fixed(graph[None]), torch.tensor(test), torch.tensor(train), n_samples=3
    )
    assert found == pytest.approx(by_hand(train, test, graph), rel=1e-5)


def test_predictive_nll_orders_graphs_up_to_equivalence():
    train, test = torch.tensor(rows(400, 3)), torch.tensor(rows(400, 4))
    nll = {
        name: compute_predictive_nll(Fixed(g[None]), test, train)
        for name, g in [("chain", CHAIN), ("fork", FORK), ("collider", COLLIDER), ("empty", EMPTY)]
    }
    assert nll["chain"] == pytest.approx(nll["fork"], abs=1e-6)
    assert nll["chain"] < nll["collider"] - 0.1
    assert nll["chain"] < nll["empty"] - 1


def test_predictive_nll_averages_acyclic_graphs_only():
    train, test = rows(50, 1), rows(30, 2)
    values = [by_hand(train, test, graph) for graph in (CHAIN, EMPTY)]
    graphs = torch.tensor(np.stack([CHAIN, EMPTY, CYCLE]))
    ones = torch.ones(1, 50, dtype=torch.bool)
    z = [torch.tensor((part - train.mean(0)) / train.std(0))[None] for part in (train, test)]
    per_graph = linear_gaussian_nll(
        *z, graphs[None], torch.ones(1, 3, dtype=torch.bool), ones, ones[:, :30]
    )[0]
    assert per_graph[:2].tolist() == pytest.approx(values)
    found = compute_predictive_nll(
        Fixed(graphs), torch.tensor(test), torch.tensor(train), n_samples=2000
    )
    middle, error = np.mean(values), abs(values[0] - values[1]) / 2 / math.sqrt(2000 * 2 / 3)
    assert abs(found - middle) < 4 * error
    assert math.isnan(
        compute_predictive_nll(Fixed(CYCLE[None]), torch.tensor(test), torch.tensor(train))
    )


def test_predictive_nll_splits_and_masks():
    x = rows(60, 5)
    alone = compute_predictive_nll(Fixed(CHAIN[None]), torch.tensor(x))
    assert alone == pytest.approx(by_hand(x[:30], x[30:], CHAIN), rel=1e-5)
    padded = full_batch(torch.full((2, 80, 5), 7.0), None, [0, 0])
    padded.x[0, :60, :3] = torch.tensor(x)
    padded.x[1, :40, :3] = torch.tensor(x[:40])
    padded.node_mask[:, 3:] = False
    padded.row_mask[0, 60:] = False
    padded.row_mask[1, 40:] = False
    graph = np.zeros((1, 5, 5), dtype=int)
    graph[0, :3, :3] = CHAIN
    model = Fixed(graph)
    found = compute_predictive_nll(model, TaskBatch(**vars(padded)))
    assert found == pytest.approx((alone + by_hand(x[:20], x[20:40], CHAIN)) / 2, rel=1e-5)
    assert model.saw.adjacency is None
    assert model.saw.row_mask.sum(1).tolist() == [30, 20]
    for wrong in (torch.zeros(3), torch.zeros(1, 3, 2)):
        with pytest.raises(ValueError, match=r"shape|at least 2 rows"):
            compute_predictive_nll(model, wrong)
    with pytest.raises(ValueError, match="same tables"):
        compute_predictive_nll(model, torch.zeros(9, 3), torch.zeros(9, 4))
