"""Laws of posteriors over graphs: probabilities sum to one, frequencies meet marginals, closed
forms, round trips, padding is zero."""

import itertools
import math

import numpy as np
import pytest
import torch

from causal_meta.posteriors import (
    EmpiricalGraphs,
    GraphPosterior,
    IndependentEdges,
    load_posterior,
    pair_mask,
)

torch.set_num_threads(1)
MASK = torch.tensor([[True, True, True, False], [True, True, True, True]])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def independent():
    return IndependentEdges(
        2 * torch.randn(2, 4, 4, generator=generator(1), dtype=torch.float64), MASK
    )


def empirical():
    graphs = (torch.rand(2, 7, 4, 4, generator=generator(2)) < 0.4) & pair_mask(MASK)[:, None]
    return EmpiricalGraphs(graphs.int(), MASK)


MEMBERS = {"independent": independent, "empirical": empirical}


def all_graphs(n):
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    graphs = torch.zeros(2 ** len(pairs), n, n, dtype=torch.float64)
    for number, edges in enumerate(itertools.product((0, 1), repeat=len(pairs))):
        for (i, j), edge in zip(pairs, edges, strict=True):
            graphs[number, i, j] = edge
    return graphs


def total_mass(posterior_of_one, graphs):
    """The sum of exp log_prob over graphs [G, D, D], for a posterior repeated G times."""
    return float(posterior_of_one.log_prob(graphs).exp().sum())


def repeated(posterior, task, n, times):
    real = slice(0, n)
    mask = torch.ones(times, n, dtype=torch.bool)
    if isinstance(posterior, IndependentEdges):
        return IndependentEdges(
            posterior.logits[task, real, real].nan_to_num(neginf=0.0).expand(times, n, n), mask
        )
    return EmpiricalGraphs(posterior.graphs[task, :, real, real].expand(times, -1, n, n), mask)


@pytest.mark.parametrize("make", MEMBERS.values(), ids=MEMBERS)
def test_every_type_is_tested(make):
    assert {type(member()) for member in MEMBERS.values()} == set(GraphPosterior.__subclasses__())


@pytest.mark.parametrize("make", MEMBERS.values(), ids=MEMBERS)
def test_the_mass_of_all_graphs_is_one(make):
    graphs = all_graphs(3)
    assert total_mass(repeated(make(), 0, 3, len(graphs)), graphs) == pytest.approx(1, abs=1e-6)


def test_the_mass_law_rejects_a_posterior_that_counts_the_diagonal():
    class Wrong(IndependentEdges):
        def log_prob(self, adjacency):
            return (
                super().log_prob(adjacency)
                + torch.nn.functional.logsigmoid(-torch.ones(3, dtype=torch.float64)).sum()
            )

    graphs = all_graphs(3)
    wrong = Wrong(torch.zeros(len(graphs), 3, 3), torch.ones(len(graphs), 3, dtype=torch.bool))
    assert abs(total_mass(wrong, graphs) - 1) > 0.1


@pytest.mark.parametrize("make", MEMBERS.values(), ids=MEMBERS)
def test_entropy_is_the_mean_of_minus_log_prob_over_all_graphs(make):
    graphs = all_graphs(3)
    many = repeated(make(), 0, 3, len(graphs))
    log_prob = many.log_prob(graphs)
    assert float(many.entropy()[0]) == pytest.approx(
        float(-(log_prob.exp() * log_prob).sum()), rel=1e-6
    )


@pytest.mark.parametrize("make", MEMBERS.values(), ids=MEMBERS)
def test_frequencies_of_samples_meet_the_marginals(make):
    """Each of 2 x 16 frequencies within 5 standard errors: false alarms below 1 in 50,000."""
    posterior, n = make(), 4000
    p = posterior.edge_probabilities.double()
    frequency = posterior.sample(n, generator(3)).double().mean(dim=1)
    assert ((frequency - p).abs() <= 5 * (p * (1 - p) / n).sqrt() + 1e-12).all()
    wrong = (p + 0.1).clamp(max=1) * pair_mask(MASK)
    assert not ((frequency - wrong).abs() <= 5 * (wrong * (1 - wrong) / n).sqrt() + 1e-12).all()


@pytest.mark.parametrize("make", MEMBERS.values(), ids=MEMBERS)
def test_diagonal_and_padding_are_zero(make):
    posterior = make()
    samples = posterior.sample(50)
    assert samples.shape == (2, 50, 4, 4)
    assert samples.dtype == torch.int8
    assert not posterior.edge_probabilities[~pair_mask(MASK)].any()
    assert not samples.any(dim=1)[~pair_mask(MASK)].any()
    assert posterior.mechanism_posterior() is None
    assert len(posterior) == 2


@pytest.mark.parametrize("make", MEMBERS.values(), ids=MEMBERS)
def test_padding_is_ignored_by_log_prob_and_self_loops_are_impossible(make):
    posterior = make()
    graph = posterior.sample(1, generator(4))[:, 0].float()
    noisy = graph.clone()
    noisy[0, 3] = torch.nan
    assert torch.equal(posterior.log_prob(noisy), posterior.log_prob(graph))
    looped = graph.clone()
    looped[:, 0, 0] = 1
    assert (posterior.log_prob(looped) == -torch.inf).all()


@pytest.mark.parametrize("make", MEMBERS.values(), ids=MEMBERS)
def test_sampling_leaves_the_global_generator_and_repeats(make):
    posterior, before = make(), torch.get_rng_state()
    assert torch.equal(posterior.sample(5), posterior.sample(5))
    assert torch.equal(posterior.sample(5, generator(1)), posterior.sample(5, generator(1)))
    assert not torch.equal(posterior.sample(5, generator(1)), posterior.sample(5, generator(2)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("make", MEMBERS.values(), ids=MEMBERS)
def test_arrays_and_back(make, tmp_path):
    posterior = make()
    np.savez(tmp_path / "posterior.npz", **posterior.arrays(), cpu_seconds=np.zeros(2))
    with np.load(tmp_path / "posterior.npz") as arrays:
        back = load_posterior(arrays)
    assert type(back) is type(posterior)
    graph = posterior.sample(1)[:, 0]
    assert torch.equal(back.log_prob(graph), posterior.log_prob(graph))
    assert torch.equal(back.edge_probabilities, posterior.edge_probabilities)
    assert torch.equal(back.sample(3), posterior.sample(3))


@pytest.mark.parametrize("make", MEMBERS.values(), ids=MEMBERS)
def test_permuted_variables_permute_the_answer(make):
    posterior, order = make(), torch.tensor([2, 0, 3, 1])
    changed = {
        name: torch.from_numpy(a)[..., order, :][..., order].numpy()
        if name in ("logits", "graphs")
        else a
        for name, a in posterior.arrays().items()
    }
    changed["node_mask"] = changed["node_mask"][:, order.numpy()]
    moved = load_posterior(changed)
    graph = posterior.sample(1)[:, 0].float()
    torch.testing.assert_close(
        moved.log_prob(graph[:, order][:, :, order]), posterior.log_prob(graph)
    )
    torch.testing.assert_close(moved.entropy(), posterior.entropy())


@pytest.mark.parametrize("make", MEMBERS.values(), ids=MEMBERS)
def test_networkx_export(make):
    posterior = make()
    graph = posterior.to_networkx(0, ["age", "bmi", "bp"])
    p = posterior.edge_probabilities[0]
    assert list(graph.nodes) == ["age", "bmi", "bp"]
    assert all(
        graph.edges["age", "bp"]["probability"] == pytest.approx(float(p[0, 2]))
        for _ in [0]
        if p[0, 2] > 0
    )
    assert graph.number_of_edges() == int((p > 0).sum())
    assert posterior.to_networkx(0, ["a", "b", "c"], threshold=0.5).number_of_edges() == int(
        (p > 0.5).sum()
    )
    with pytest.raises(ValueError, match="4 column names came for 3 variables"):
        posterior.to_networkx(0, ["a", "b", "c", "d"])


def test_entropy_in_closed_form():
    """n fair coins: n log 2; certain edges: 0."""
    mask = torch.ones(2, 5, dtype=torch.bool)
    assert IndependentEdges(torch.zeros(2, 5, 5), mask).entropy().tolist() == pytest.approx(
        [20 * math.log(2)] * 2
    )
    certain = IndependentEdges.from_probabilities(torch.eye(5).roll(1, 0).expand(2, 5, 5), mask)
    assert certain.entropy().tolist() == [0, 0]
    assert certain.log_prob(torch.eye(5).roll(1, 0).expand(2, 5, 5)).tolist() == [0, 0]
    assert certain.log_prob(torch.zeros(2, 5, 5)).tolist() == [-torch.inf] * 2


def test_empirical_log_prob_is_laplaces_rule():
    graphs = torch.zeros(1, 3, 2, 2)
    # the edge in two of three graphs: (2 + 1) / (3 + 2); the other in none: 1 / 5
    graphs[0, :2, 0, 1] = 1
    posterior = EmpiricalGraphs(graphs, torch.ones(1, 2, dtype=torch.bool))
    assert float(posterior.log_prob(graphs[:, 0])) == pytest.approx(
        math.log(3 / 5) + math.log(4 / 5)
    )
    assert float(posterior.edge_probabilities[0, 0, 1]) == pytest.approx(2 / 3)


def test_extreme_logits_stay_finite():
    posterior = IndependentEdges(torch.full((1, 2, 2), -200.0), torch.ones(1, 2, dtype=torch.bool))
    assert float(posterior.log_prob(torch.tensor([[[0.0, 1.0], [0.0, 0.0]]]))) == pytest.approx(
        -200
    )
    assert float(posterior.entropy()) == pytest.approx(0, abs=1e-30)


def test_wrong_posteriors_are_refused():
    mask = torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"\[B, D, D\]"):
        IndependentEdges(torch.zeros(2, 2), mask)
    with pytest.raises(ValueError, match="node mask"):
        IndependentEdges(torch.zeros(1, 3, 3), mask)
    with pytest.raises(ValueError, match="NaN"):
        IndependentEdges(torch.full((1, 2, 2), torch.nan), mask)
    with pytest.raises(ValueError, match="between 0 and 1"):
        IndependentEdges.from_probabilities(torch.full((1, 2, 2), 1.5), mask)
    with pytest.raises(ValueError, match="self-loops"):
        EmpiricalGraphs(torch.ones(1, 1, 2, 2), mask)
    with pytest.raises(ValueError, match="0 and 1"):
        EmpiricalGraphs(torch.full((1, 1, 2, 2), 0.5), mask)
    with pytest.raises(ValueError, match="at least one"):
        EmpiricalGraphs(torch.zeros(1, 0, 2, 2), mask)
    with pytest.raises(ValueError, match="'wishes'"):
        load_posterior({"type": np.array("wishes")})
    with pytest.raises(ValueError, match="one graph per task"):
        IndependentEdges(torch.zeros(1, 2, 2), mask).log_prob(torch.zeros(2, 2))
