"""Laws of the prior's scale: it is the one of most evidence over all graphs, no order, unit or copy
of columns changes it, and one serves all members of a pool."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from causal_meta.conf.inference import ExactConfig, MCMCConfig
from causal_meta.models.bayesian.exact import Exact
from causal_meta.models.bayesian.prior_scale import (
    EXACT_RELATION,
    SCALES,
    chosen_scale,
    independent_columns,
    table_prior,
)
from causal_meta.models.bayesian.structure_mcmc import StructureMCMC
from causal_meta.scores.bge import BGe, BGePrior
from causal_meta.scores.graph_prior import GraphPrior
from causal_meta.scores.statistics import prepare
from causal_meta.tasks import Task


def task_of(x, **fields):
    x = torch.tensor(x, dtype=torch.float32)
    return Task(x, None, torch.zeros(x.shape, dtype=torch.bool), **fields)


def chain(noise, seed=0, n_rows=100, n_nodes=6):
    """0 -> 1 -> ... with coefficients near ±1 and noise of this standard deviation, but at 0."""
    r = np.random.default_rng(seed)
    x = r.normal(size=(n_rows, n_nodes))
    for v in range(1, n_nodes):
        x[:, v] = noise * x[:, v] + r.choice([-1.1, 0.9]) * x[:, v - 1]
    return x


def scale(x, seed=0):
    prior = GraphPrior(n_nodes=x.shape[1], kind="fair", edge_penalty=1.5)
    return chosen_scale(task_of(x), prior, seed)


def most_evidence(x):
    """The scale by enumeration of all orders, each with its best graph."""
    x = np.asarray(x, np.float32).astype(np.float64)
    d = x.shape[1]
    prior = GraphPrior(n_nodes=d, kind="fair", edge_penalty=1.5)
    best = []
    for t in SCALES:
        score = BGe(prepare(x), BGePrior(t=t))
        value = {
            (v, sets): float(score.families(v, np.array([sets], np.int64))[0])
            + float(prior.families(np.array(len(sets))))
            for v in range(d)
            for size in range(d)
            for sets in itertools.combinations([u for u in range(d) if u != v], size)
        }
        top = {
            (v, before): max(
                value[v, sets]
                for size in range(len(before) + 1)
                for sets in itertools.combinations(before, size)
            )
            for v in range(d)
            for size in range(d)
            for before in itertools.combinations([u for u in range(d) if u != v], size)
        }
        best.append(
            max(
                sum(top[v, tuple(sorted(order[:k]))] for k, v in enumerate(order))
                for order in itertools.permutations(range(d))
            )
        )
    return SCALES[int(np.argmax(best))]


@pytest.mark.parametrize(("noise", "at_most"), [(1.0, 0.5), (0.2, 0.2), (0.02, 0.004)])
def test_the_scale_is_the_one_of_most_evidence_over_all_graphs(noise, at_most):
    x = chain(noise, n_nodes=5)
    assert scale(x) == most_evidence(x) <= at_most


def test_tables_with_much_noise_keep_the_default():
    assert [scale(chain(1.0, seed)) for seed in range(10)] == [BGePrior().scale] * 10


@pytest.mark.parametrize("noise", [1.0, 0.1])
def test_order_units_and_signs_of_columns_change_nothing(noise):
    x = chain(noise, 3)
    r = np.random.default_rng(1)
    units = r.uniform(0.01, 100, 6) * r.choice([-1, 1], 6)
    changed = (x * units + r.normal(size=6))[:, r.permutation(6)]
    assert scale(changed, seed=5) == scale(x)


@pytest.mark.parametrize("noise", [1.0, 0.1])
def test_copies_sums_and_constants_change_nothing(noise):
    x = chain(noise, 3)
    small = 1e-4 * np.random.default_rng(2).normal(size=len(x))
    more = np.column_stack([x, x[:, 0] + small, x[:, 1] - 2 * x[:, 2], np.full(len(x), 3.0)])
    assert scale(more) == scale(x)
    # with the copies kept the relation would decide
    with_copy = prepare(more[:, [0, 6]].astype(np.float32).astype(np.float64))
    small_t, default = (
        float(BGe(with_copy, BGePrior(t=t)).families(1, np.array([[0]]))[0])
        for t in (SCALES[-1], SCALES[0])
    )
    assert small_t > default + 50


def test_independent_columns_span_the_rest():
    r = np.random.default_rng(0)
    x = r.normal(size=(40, 5)) @ r.normal(size=(5, 9))
    kept = independent_columns(x)
    assert len(kept) == 5
    y = prepare(x).values
    left = y - y[:, kept] @ np.linalg.lstsq(y[:, kept], y, rcond=None)[0]
    assert np.square(left).mean(axis=0).max() < EXACT_RELATION
    assert len(independent_columns(r.normal(size=(4, 9)))) == 3  # fewer rows than columns
    assert not len(independent_columns(np.ones((5, 3))))


def test_tables_without_a_choice_keep_the_default():
    assert scale(np.ones((5, 3))) == scale(chain(1.0, n_nodes=1)) == SCALES[0]
    assert scale(np.random.default_rng(0).normal(size=(2, 4))) == SCALES[0]


def test_one_scale_serves_all_members_and_is_reported_and_can_be_set():
    x = chain(0.1, 3, n_nodes=4)
    task = task_of(x)
    configs = [
        ExactConfig(n_samples=20),
        ExactConfig(n_samples=20, score="linear"),
        MCMCConfig(n_samples=20, chains=2, score="additive"),
    ]
    for config in configs:
        method = Exact(config) if isinstance(config, ExactConfig) else StructureMCMC(config)
        answer = method.answer(task, np.random.default_rng(0))
        t = answer.diagnostics.prior_scale
        assert t == scale(x) < 0.5
        assert f"t = {t:g}" in " ".join(answer.diagnostics.in_words())
        method.config = dataclasses.replace(config, prior_scale=t)
        same = method.answer(task, np.random.default_rng(0))
        assert (same.probabilities == answer.probabilities).all()
        method.config = dataclasses.replace(config, prior_scale=0.5)
        other = method.answer(task, np.random.default_rng(0))
        assert other.diagnostics.prior_scale == 0.5
        assert not (other.probabilities == answer.probabilities).all()


def test_scores_without_the_prior_have_no_scale():
    task = task_of(chain(0.1, 3))
    config = ExactConfig(n_samples=20, score="bic")
    assert table_prior(task, config) is None
    assert Exact(config).answer(task, np.random.default_rng(0)).diagnostics.prior_scale is None
