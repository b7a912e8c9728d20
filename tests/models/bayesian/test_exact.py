"""Laws of the method `exact`: interventions, knowledge, categories and priors reach the answer, and
tables that it cannot hold are refused."""

import dataclasses

import numpy as np
import pytest
import torch

from causal_meta.conf.inference import ExactConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.knowledge import Knowledge
from causal_meta.models.bayesian import exact
from causal_meta.models.bayesian.edge_penalties import edge_penalty, expected_edges
from causal_meta.models.bayesian.exact import Exact, exact_sums, graph_prior
from causal_meta.models.bayesian.structures.enumeration import EnumeratedGraphs, all_graphs
from causal_meta.models.bayesian.structures.family_tables import FamilyTables
from causal_meta.scores.graph_prior import GraphPrior
from causal_meta.tasks import Task

from .tables_for_tests import AnyScore

LINEAR = ExactConfig(score="linear", n_samples=200)


def task_of(x, intervened=None, **fields):
    x = torch.tensor(np.asarray(x), dtype=torch.float32)
    mask = torch.zeros(x.shape, dtype=torch.bool) if intervened is None else intervened
    return Task(x=x, adjacency=None, intervened=torch.as_tensor(mask), **fields)


def chain(n_nodes, n_rows=60, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n_rows, n_nodes))
    for v in range(1, n_nodes):
        x[:, v] += 0.8 * x[:, v - 1]
    return x


def answer(task, config=LINEAR, seed=0):
    method = Exact(config)
    method.check(task)
    return method.answer(task, np.random.default_rng(seed))


@pytest.mark.parametrize("prior", ["modular", "order"])
@pytest.mark.parametrize("n_nodes", [1, 2, 5, 6])
def test_an_answer_holds_acyclic_draws_and_marginals_that_they_approach(n_nodes, prior):
    config = dataclasses.replace(LINEAR, prior=prior)
    task = task_of(chain(n_nodes))
    one = answer(task, config)
    assert one.graphs.shape == (1, 200, n_nodes, n_nodes)
    p = one.edge_probabilities[0].numpy()
    error = np.sqrt(np.maximum(p * (1 - p), 1e-3) / 200)
    assert (np.abs(one.graphs[0].double().numpy().mean(axis=0) - p) < 5 * error).all()
    assert torch.equal(answer(task, config).graphs, one.graphs)
    assert n_nodes == 1 or not torch.equal(answer(task, config, seed=1).graphs, one.graphs)


def test_interventions_orient_what_observations_cannot():
    generator = np.random.default_rng(1)
    x = chain(2, 200, seed=1)
    symmetric = answer(task_of(x)).edge_probabilities[0]
    assert float(symmetric[0, 1]) == pytest.approx(float(symmetric[1, 0]), abs=1e-6)
    set_cells = np.zeros(x.shape, bool)
    set_cells[:100, 1] = True  # the effect is set, and no longer follows its cause
    x[:100, 1] = 2 * generator.normal(size=100)
    assert float(answer(task_of(x, set_cells)).edge_probabilities[0, 0, 1]) > 0.99
    ignored = answer(task_of(x)).edge_probabilities[0]
    assert float(ignored[0, 1]) == pytest.approx(float(ignored[1, 0]), abs=1e-6)


def test_knowledge_is_obeyed_by_every_graph_and_marginal():
    known = Knowledge.none(6).forbid(0, 1).require(5, 0).with_exogenous([3])
    known = dataclasses.replace(known, max_parents=2)
    one = answer(task_of(chain(6), knowledge=known))
    assert known.allows(one.graphs[0].numpy())
    assert float(one.edge_probabilities[0, 5, 0]) == pytest.approx(1.0)
    assert float(one.edge_probabilities[0][torch.tensor(known.forbidden)].max()) == 0
    assert not known.allows(answer(task_of(chain(6))).graphs[0].numpy())


def test_without_data_the_posterior_is_the_prior():
    config = dataclasses.replace(LINEAR, expected_edges=4.0)
    everything_set = task_of(chain(7), np.ones((60, 7), bool))
    p = answer(everything_set, config).edge_probabilities[0]
    assert float(p.sum()) == pytest.approx(4.0)
    assert float(answer(task_of(chain(7)), config).edge_probabilities.sum()) > 4.1


def test_degenerate_tables_have_an_answer(every):
    x, generator = chain(3), np.random.default_rng(4)
    cases = {
        "one row": x[:1],
        "copies of columns": np.concatenate([x, x], axis=1),
        "sums of columns": np.concatenate([x, x[:, :1] + x[:, 1:]], axis=1),
        "constant columns": np.concatenate([x, np.ones_like(x)], axis=1),
        "more columns than rows": generator.normal(size=(4, 8)),
        "huge": 1e37 * x,
    }

    def check(x):
        p = answer(task_of(x)).edge_probabilities
        assert bool(((p >= 0) & (p <= 1)).all())
        assert float(p.sum()) > 0.1

    every(check, cases)


def test_codes_of_categories_may_be_any_numbers():
    generator = np.random.default_rng(2)
    x = chain(3, 300)
    codes = generator.integers(0, 3, size=300)
    x[:, 0] = codes
    x[:, 1] = np.array([1.0, -1.0, 1.0])[codes] + 0.5 * generator.normal(size=300)
    marked = torch.tensor([True, False, False])
    first = answer(task_of(x, categorical=marked)).edge_probabilities[0]
    x[:, 0] = np.array([7.0, -2.0, 40.0])[codes]
    again = answer(task_of(x, categorical=marked)).edge_probabilities[0]
    np.testing.assert_allclose(first.numpy(), again.numpy(), atol=1e-6)
    assert float(first[0, 1] + first[1, 0]) > 0.99


def test_nonlinear_dependence_without_correlation_needs_the_additive_score():
    generator = np.random.default_rng(3)
    cause = generator.normal(size=300)
    x = np.stack([cause, cause**2 + 0.3 * generator.normal(size=300)], axis=1)
    config = dataclasses.replace(LINEAR, score="additive")
    assert float(answer(task_of(x), config).edge_probabilities[0, 0, 1]) > 0.99
    assert float(answer(task_of(x)).edge_probabilities[0].sum()) < 0.9


def test_the_configuration_chooses_prior_and_weights():
    score, known = AnyScore.drawn(4, 5), Knowledge.none(4)
    for config in (
        LINEAR,
        ExactConfig(graph_prior="uniform", edge_penalty=0.7),
        ExactConfig(prior="order"),
    ):
        sums = exact_sums(score, known, config)
        log_prior = GraphPrior(n_nodes=4, kind=config.graph_prior, edge_penalty=config.edge_penalty)
        listed = EnumeratedGraphs(FamilyTables.build(score, log_prior, known))
        same = sums.log_evidence == pytest.approx(listed.log_evidence)
        assert same == (config.prior == "modular")


def test_expected_edges_are_those_of_all_graphs(every):
    graphs = all_graphs(4)
    counts = graphs.sum(axis=(1, 2))

    def check(case):
        kind, penalty, bound = case
        prior = GraphPrior(n_nodes=4, kind=kind, edge_penalty=penalty)
        parents = graphs.sum(axis=1)
        weights = np.exp(prior.families(parents).sum(axis=1))
        weights[(parents > bound).any(axis=1)] = 0
        mean = (weights * counts).sum() / weights.sum()
        assert expected_edges(prior, bound) == pytest.approx(mean, rel=1e-12)
        assert edge_penalty(4, kind, mean, bound) == pytest.approx(penalty, abs=1e-6)

    cases = [(k, p, b) for k in ("fair", "uniform") for p in (-1.0, 0.0, 2.5) for b in (1, 3)]
    every(check, {str(case): case for case in cases})
    prior = graph_prior(ExactConfig(expected_edges=2.0), Knowledge.none(12))
    assert expected_edges(prior) == pytest.approx(2.0)
    assert expected_edges(GraphPrior(n_nodes=12)) > 10


@pytest.mark.parametrize(
    ("task", "config", "words"),
    [
        (task_of(np.zeros((5, 21))), LINEAR, "21 variables, .* at most 20; use mcmc"),
        (task_of(chain(4)), ExactConfig(expected_edges=7.0), "between 0 and 6 edges"),
    ],
    ids=["variables", "edges"],
)
def test_what_it_cannot_answer_is_refused_in_a_sentence(task, config, words):
    with pytest.raises(ConfigError, match=words) as refused:
        Exact(config).check(task)
    assert str(refused.value).endswith(".")


def test_too_little_memory_is_said_before_it_starts(monkeypatch):
    monkeypatch.setattr(exact, "_memory", lambda: 1 << 29)
    Exact(LINEAR).check(task_of(np.zeros((5, 15))))
    with pytest.raises(ConfigError, match=r"needs 0\.8 GiB of memory, and .* has 0\.5"):
        Exact(LINEAR).check(task_of(np.zeros((5, 20))))


def test_two_ways_to_set_the_penalty_exclude_each_other():
    with pytest.raises(ConfigError, match="give one of the two"):
        ExactConfig(expected_edges=3.0, edge_penalty=1.0)


def codes_of_a_chain(n_rows=400, seed=3):
    """a -> b -> c, three categories each, named by numbers in no order."""
    generator = np.random.default_rng(seed)
    columns = [generator.integers(3, size=n_rows)]
    for _ in range(2):
        keep = generator.uniform(size=n_rows) < 0.7
        columns.append(np.where(keep, (columns[-1] + 1) % 3, generator.integers(3, size=n_rows)))
    return np.array([7.0, -1.0, 3.0])[np.stack(columns, axis=1)]


@pytest.mark.parametrize("name", ["bdeu", "degenerategaussian"])
def test_scores_of_categories_connect_what_depends_and_nothing_else(name):
    config = ExactConfig(score=name, n_samples=50)
    task = task_of(codes_of_a_chain(), categorical=torch.ones(3, dtype=torch.bool))
    p = answer(task, config).edge_probabilities[0]
    adjacent = p + p.T
    assert float(adjacent[0, 1]) > 0.99
    assert float(adjacent[1, 2]) > 0.99
    assert float(adjacent[0, 2]) < 0.2


def test_bic_connects_a_linear_chain():
    p = answer(task_of(chain(4, 400)), ExactConfig(score="bic", n_samples=50)).edge_probabilities[0]
    adjacent = (p + p.T).numpy()
    truth = np.eye(4, k=1) + np.eye(4, k=-1)
    assert (np.abs(adjacent - truth) < 0.3).all()


def test_a_score_that_cannot_read_the_columns_refuses_before_the_start():
    codes, numbers = codes_of_a_chain(), chain(3)
    named = torch.ones(3, dtype=torch.bool)
    with pytest.raises(ConfigError, match=r"variable 0 .* 3 different numbers"):
        Exact(ExactConfig(score="bdeu")).check(task_of(codes))
    with pytest.raises(ConfigError, match="use score=degenerategaussian"):
        Exact(ExactConfig(score="bic")).check(task_of(codes, categorical=named))
    # two values are two categories, whatever they are called
    Exact(ExactConfig(score="bdeu")).check(task_of(numbers > 0))
