"""Laws of the pooled answer: who its members are, what they read, that knowledge binds every one,
and that it does not depend on where a killed run was resumed."""

import dataclasses
import io

import numpy as np
import pytest
import torch

from causal_meta.conf.inference import ExactConfig, MCMCConfig, PoolConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.knowledge import Knowledge
from causal_meta.models.bayesian import pool
from causal_meta.models.bayesian.exact import Exact
from causal_meta.models.bayesian.pool import LEAST_DRAWS, LEAST_ROWS, draws_of, members
from causal_meta.models.bayesian.structure_mcmc import StructureMCMC
from causal_meta.posteriors import PooledGraphs
from causal_meta.tasks import Task

ASSUMPTIONS = ("linear", "additive", "noise", "variance")
METHODS = {
    "exact": (Exact, ExactConfig(n_samples=60)),
    "mcmc": (StructureMCMC, MCMCConfig(n_samples=60, chains=2)),
}


def pool_of(**weights):
    """A pool with these weights; 0 for assumptions without one."""
    return PoolConfig(**{name: 0.0 for name in ASSUMPTIONS} | weights)


#: Four members: two sets of assumptions on all rows, and one on both halves.
FOUR = pool_of(linear=1.0, additive=2.0, halves=0.4, halved="linear")


def chain(n_nodes=4, n_rows=2 * LEAST_ROWS, seed=0):
    """A linear chain 0 -> 1 -> ... with Laplace noise."""
    x = np.random.default_rng(seed).laplace(size=(n_rows, n_nodes))
    for v in range(1, n_nodes):
        x[:, v] += 0.8 * x[:, v - 1]
    return x


def task_of(x, **fields):
    x = torch.tensor(np.asarray(x), dtype=torch.float32)
    return Task(x=x, adjacency=None, intervened=torch.zeros(x.shape, dtype=torch.bool), **fields)


def answer(task, method="exact", seed=0, checkpoint=None, **settings):
    cls, config = METHODS[method]
    work = cls(dataclasses.replace(config, **settings))
    work.check(task)
    more = () if checkpoint is None else (checkpoint,)
    return work.answer(task, np.random.default_rng(seed), *more)


class Killed(Exception):
    """The end of a process."""


class Memory:
    """A checkpoint that goes through the bytes of a file, and ends the process after some saves."""

    def __init__(self, most=10**6):
        self.most, self.saves, self.data, self.stages = most, 0, None, []

    def load(self):
        if self.data is None:
            return None
        with np.load(io.BytesIO(self.data), allow_pickle=False) as arrays:
            return dict(arrays)

    def save(self, state):
        file = io.BytesIO()
        np.savez(file, **state)
        self.data, self.saves = file.getvalue(), self.saves + 1
        if self.saves == self.most:
            raise Killed

    def stage(self, words):
        self.stages.append(words)


def same(a, b):
    """Whether two pooled answers are equal, bit for bit."""
    arrays, others = a.arrays(), b.arrays()
    equal = all(np.array_equal(arrays[name], others[name]) for name in arrays)
    return equal and a.diagnostics == b.diagnostics


# ------------------------------------------------------------------------------------------ members


def test_weights_are_those_of_the_configuration_and_sum_to_one():
    config = pool_of(linear=1.0, noise=2.0, variance=5.0, halves=0.4, halved="noise")
    pool = members(config, 2 * LEAST_ROWS, np.random.default_rng(0))
    assert sum(one.weight for one in pool) == pytest.approx(1.0)
    weights = {}
    for one in pool:
        weights.setdefault(one.name, []).append(one.weight)
    expected = {"linear": [0.6 / 8], "noise": [0.6 * 2 / 8], "variance": [0.6 * 5 / 8]}
    expected["noise (half)"] = [0.2, 0.2]
    assert set(weights) == set(expected)
    for name, shares in expected.items():
        assert weights[name] == pytest.approx(shares)


def test_halves_are_disjoint_and_cover_all_rows():
    for n in (2 * LEAST_ROWS, 2 * LEAST_ROWS + 1, 500):
        pool = members(PoolConfig(), n, np.random.default_rng(n))
        first, second = (one.rows for one in pool if one.rows is not None)
        assert sorted([*first, *second]) == list(range(n))
        assert abs(len(first) - len(second)) <= 1
        assert not np.array_equal(first, np.arange(len(first)))  # a random split


def test_few_rows_have_no_halves():
    few = members(PoolConfig(halves=1.0), 2 * LEAST_ROWS - 1, np.random.default_rng(0))
    assert {one.name for one in few} == set(ASSUMPTIONS)
    assert sum(one.weight for one in few) == pytest.approx(1.0)
    only = members(PoolConfig(halves=1.0), 2 * LEAST_ROWS, np.random.default_rng(0))
    assert {one.rows is None for one in only} == {False}
    assert len(members(PoolConfig(halves=0.0), 5000, np.random.default_rng(0))) == 4


def test_a_pool_without_weights_is_refused():
    with pytest.raises(ConfigError, match=r"All weights of the pool are 0; give at least one"):
        pool_of()


def test_a_member_draws_twice_its_share():
    assert draws_of(0.3, 1000) == 600
    assert draws_of(0.001, 1000) == LEAST_DRAWS
    assert draws_of(0.9, 1000) == 1000
    assert draws_of(0.9, 20) == 20


# ------------------------------------------------------------------------------------------ answers


@pytest.mark.parametrize("method", METHODS)
def test_the_marginals_are_the_weighted_mean_of_the_members(method):
    one = answer(task_of(chain(3)), method, pool=FOUR)
    assert isinstance(one, PooledGraphs)
    assert one.diagnostics.members == ("additive", "linear", *["linear (half)"] * 2)
    assert one.members.shape[1] == 4
    mean = np.einsum("m,mij->ij", one.weights[0].numpy(), one.members[0].numpy())
    np.testing.assert_allclose(one.edge_probabilities[0].numpy(), mean, atol=1e-12)
    assert not np.allclose(mean, one.members[0].numpy().mean(axis=0), atol=1e-3)  # unweighted
    assert one.graphs.shape == (1, 60, 3, 3)


@pytest.mark.parametrize("method", METHODS)
def test_the_answer_is_a_function_of_the_generator(method):
    task = task_of(chain(3))
    one = answer(task, method, pool=FOUR)
    assert same(one, answer(task, method, pool=FOUR))
    assert not same(one, answer(task, method, pool=FOUR, seed=1))


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_resumes_to_the_same_answer(method):
    task = task_of(chain(3))
    whole = answer(task, method, pool=FOUR)
    for most in (1, 3):
        memory = Memory(most)
        with pytest.raises(Killed):
            answer(task, method, pool=FOUR, checkpoint=memory)
        memory.most = 10**6
        assert same(whole, answer(task, method, pool=FOUR, checkpoint=memory))
        assert memory.saves == 3  # members that were finished are not fitted again
        ends = [words.rpartition(", ")[2] for words in memory.stages if "posteriors" in words]
        assert ends == [f"{m} of 4 posteriors" for m in (1, 2, 3, 4)]


@pytest.mark.parametrize("assumption", ASSUMPTIONS)
def test_one_assumption_on_all_rows_is_that_assumption_alone(assumption):
    task = task_of(chain())
    pooled = answer(task, pool=pool_of(**{assumption: 1.0}, halves=0.0))
    alone = answer(task, score=assumption)
    p = pooled.edge_probabilities[0].numpy()
    np.testing.assert_allclose(p, alone.edge_probabilities[0].numpy(), atol=1e-9)
    if assumption == "noise":
        other = answer(task, score="linear").edge_probabilities[0].numpy()
        assert np.abs(p - other).max() > 0.01


def test_one_assumption_agrees_within_the_error_of_chains():
    """Both have 300 draws that are nearly independent: 5 standard errors of a difference, with the
    variance at most 1/4, and 0.01 for what little the chains remember."""
    settings = {"n_samples": 300}
    task = task_of(chain(3))
    pooled = answer(task, "mcmc", pool=pool_of(linear=1.0, halves=0.0), **settings)
    alone = answer(task, "mcmc", score="linear", seed=1, **settings)
    difference = pooled.edge_probabilities - alone.edge_probabilities
    assert float(difference.abs().max()) < 5 * np.sqrt(2 * 0.25 / 300) + 0.01


@pytest.mark.parametrize("method", METHODS)
def test_knowledge_binds_every_draw_and_every_member(method):
    known = dataclasses.replace(
        Knowledge.none(4).forbid(0, 1).require(3, 0).with_exogenous([2]), max_parents=2
    )
    one = answer(task_of(chain(), knowledge=known), method, pool=FOUR)
    assert known.allows(one.graphs[0].numpy())
    free = answer(task_of(chain()), method, score="linear")
    assert not known.allows(free.graphs[0].numpy())
    for p in one.members[0].numpy():
        assert p[known.forbidden].max() == 0
        assert p[3, 0] == pytest.approx(1.0)


def test_halves_read_rows_of_their_own_and_are_less_sure():
    one = answer(task_of(chain(3)), pool=FOUR)
    names = np.array(one.diagnostics.members)
    first, second = one.members[0].numpy()[names == "linear (half)"]
    assert np.abs(first - second).max() > 0.01
    whole = one.members[0].numpy()[names == "linear"][0]
    spread = [(p * (1 - p)).sum() for p in (whole, (first + second) / 2)]
    assert spread[0] < spread[1]


def test_a_column_that_is_constant_or_lacks_a_category_in_one_half(every):
    rare = chain(3)
    rare[:, 1] = 0.0
    rare[5, 1] = 1.0
    category = rare.copy()
    category[:, 1] = np.arange(len(rare)) % 3
    category[category[:, 1] == 2, 1] = 0.0
    category[7, 1] = 2.0
    marked = torch.tensor([False, True, False])
    cases = {
        "rare value": task_of(rare),
        "rare category": task_of(category, categorical=marked),
        "two categories, one rare": task_of(rare, categorical=marked),
    }

    def check(task):
        p = answer(task, pool=pool_of(linear=1.0, halved="variance")).members
        assert bool(((p >= 0) & (p <= 1)).all())

    every(check, cases)


def test_the_monte_carlo_error_of_a_pool_is_that_of_a_weighted_mean():
    assert pool._pooled_error([1.0, 1.0], [0.1, 0.1]) == pytest.approx(0.1 / np.sqrt(2))
    assert pool._pooled_error([3.0, 1.0], [0.0, 0.4]) == pytest.approx(0.1)
    assert pool._pooled_error([1.0, 1.0], [None, 0.1]) is None
    task = task_of(chain(3))
    assert answer(task, "exact", pool=FOUR).diagnostics.edge_error is None
    assert 0 <= answer(task, "mcmc", pool=FOUR).diagnostics.edge_error < 0.1
