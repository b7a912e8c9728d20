"""Laws of the pilot search: the prior's scale is the one of most evidence over all graphs, no
order, unit or copy of columns changes it, and one serves all members of a pool; the graphs obey
what is known, and the posterior's search begins from them."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from causal_meta.conf.inference import ExactConfig, MCMCConfig
from causal_meta.knowledge import Knowledge
from causal_meta.models.bayesian import pilot as pilot_module
from causal_meta.models.bayesian.exact import Exact
from causal_meta.models.bayesian.pilot import (
    EXACT_RELATION,
    SCALES,
    independent_columns,
    pilot,
)
from causal_meta.models.bayesian.structure_mcmc import StructureMCMC
from causal_meta.models.bayesian.structures.chain_run import SampleSettings
from causal_meta.models.bayesian.structures.family_scores import FamilyScores
from causal_meta.models.bayesian.structures.structure_sample import sample_structures
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
    return pilot(task_of(x), ExactConfig(), seed).prior.scale


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
    assert pilot(task, config).prior is None
    assert Exact(config).answer(task, np.random.default_rng(0)).diagnostics.prior_scale is None


def test_graphs_obey_what_is_known_and_name_all_columns():
    x = chain(0.5, 4)
    x = np.column_stack([np.ones(len(x)), x])  # a column that is left out
    known = Knowledge.none(7).forbid(2, 3).require(6, 1)
    graphs = pilot(task_of(x, knowledge=known), ExactConfig()).graphs
    assert graphs.shape == (2, 7, 7)
    assert known.allows(graphs)
    assert (graphs[:, 4, 5] | graphs[:, 5, 4]).all()
    assert not graphs[:, 0].any()
    assert not graphs[:, :, 0].any()


def test_free_searches_reach_the_skeleton_of_a_chain():
    graphs = pilot(task_of(chain(0.5, 5, n_rows=2000)), ExactConfig()).graphs
    links = np.eye(6, k=1) + np.eye(6, k=-1)
    assert ((graphs | graphs.transpose(0, 2, 1)) == links).all()


def test_a_search_that_ends_early_gives_no_graph(monkeypatch):
    task = task_of(chain(0.1, 3))
    whole = pilot(task, ExactConfig())
    monkeypatch.setattr(pilot_module, "_WORK", 5)
    cut = pilot(task, ExactConfig())
    assert len(whole.graphs) == 2
    assert not len(cut.graphs)
    assert cut.prior.scale in SCALES


def cancelling(seed=0, n_rows=400):
    """Effects of two causes on the third variable that cancel, so that neither shows alone; the
    causes have several good predictors each."""
    r = np.random.default_rng(seed)
    a = r.normal(size=n_rows)
    b = a + 0.05 * r.normal(size=n_rows)
    c = a - b + 0.005 * r.normal(size=n_rows)
    others = [a + 0.3 * r.normal(size=n_rows) for _ in range(9)]
    return np.column_stack([a, b, c, *others])


def test_structure_mcmc_begins_from_good_graphs():
    x = cancelling()
    d = x.shape[1]
    score, prior = BGe(prepare(x), BGePrior(t=0.004)), GraphPrior(n_nodes=d, edge_penalty=1.5)
    settings = SampleSettings(draws=5, burn_in=0, n_candidates=1, rounds=0, anneal=5, chains=2)
    good = np.zeros((1, d, d), np.int8)
    good[0, [0, 1], 2] = good[0, 0, 1] = 1
    good[0, 0, 3:] = 1

    def best(known, graphs=None):
        source = np.random.default_rng(0)
        return sample_structures(score, prior, known, source, settings, good=graphs)

    free = Knowledge.none(d)
    value = FamilyScores(score, prior, free, d).graph(good[0])
    assert best(free, good).best_score >= value - 1e-6
    assert best(free).best_score < value - 10
    # the reverse of a good graph's edge is no candidate where it is forbidden
    known = free.forbid(2, 0).forbid(3, 0)
    sample = best(known, good)
    assert known.allows(sample.graphs)
    assert not sample.marginals[2, 0]
    assert not any(u in sample.candidates[0] for u in (2, 3))
    # one that the knowledge does not allow is not used
    known = free.forbid(1, 2)
    sample = best(known, good)
    assert known.allows(sample.graphs)
    assert not sample.marginals[1, 2]
    assert (sample.graphs == best(known).graphs).all()
