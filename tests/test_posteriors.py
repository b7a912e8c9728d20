"""Posteriors over graphs: probabilities sum to one, frequencies agree with marginals, closed forms,
round trips through arrays, padding is zero."""

import itertools
import math

import numpy as np
import pytest
import torch

from causal_meta.graphs import is_acyclic
from causal_meta.method_diagnostics import MethodDiagnostics
from causal_meta.posteriors import (
    DrawnGraphs,
    EmpiricalGraphs,
    GraphPosterior,
    IndependentEdges,
    OrderedEdges,
    PooledGraphs,
    graph_posterior,
    load_posterior,
    pair_mask,
    stack,
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


def drawn():
    """Draws whose frequencies are the stored probabilities, but for one edge that none has."""
    graphs = empirical().graphs
    p = graphs.double().mean(1)
    p[1, 2, 0] += 1e-3 if p[1, 2, 0] == 0 else 0
    return DrawnGraphs(graphs, p, torch.tensor([1e-6, 1e-9], dtype=torch.float64), MASK)


def pooled():
    """Two members whose mean is the frequency of the draws."""
    p = drawn().probabilities
    apart = torch.minimum(p, 1 - p) / 2
    members = torch.stack([p + apart, p - apart / 3], dim=1)
    weights = torch.tensor([[0.25, 0.75]], dtype=torch.float64).expand(2, -1)
    return PooledGraphs(drawn().graphs, members, weights, drawn().resolution, MASK)


def ordered(logits_of_each_order=True):
    """Five orders, one of weight 0; edges whose logits depend on the order or not."""
    source = generator(3)
    logits = 2 * torch.randn(2, 5, 4, 4, generator=source, dtype=torch.float64)
    positions = torch.rand(2, 5, 4, generator=source)
    log_weights = torch.randn(2, 5, generator=source, dtype=torch.float64)
    log_weights[0, 2] = -torch.inf
    return OrderedEdges(
        logits if logits_of_each_order else logits[:, :1], positions, log_weights, MASK
    )


def ordered_with_shared_logits():
    return ordered(logits_of_each_order=False)


MEMBERS = {
    "independent": independent,
    "empirical": empirical,
    "drawn": drawn,
    "pooled": pooled,
    "ordered": ordered,
    "ordered-shared": ordered_with_shared_logits,
}


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


def repeated(posterior, task, times):
    return stack([posterior.task(task)] * times)


def _subclasses(cls):
    return [sub for one in cls.__subclasses__() for sub in (one, *_subclasses(one))]


def test_every_type_is_tested():
    assert {type(member()) for member in MEMBERS.values()} == set(_subclasses(GraphPosterior))


@pytest.mark.parametrize("make", MEMBERS.values(), ids=MEMBERS)
def test_the_mass_of_all_graphs_is_one(make):
    graphs = all_graphs(3)
    assert total_mass(repeated(make(), 0, len(graphs)), graphs) == pytest.approx(1, abs=1e-6)


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
    graphs, alone = all_graphs(3), make().task(0)
    mass = repeated(alone, 0, len(graphs)).log_prob(graphs).exp()
    assert float(alone.entropy()) == pytest.approx(float(torch.special.entr(mass).sum()), rel=1e-6)


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
        if name in ("logits", "graphs", "probabilities", "members")
        else a[..., order.numpy()]
        if name == "positions"
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
    torch.testing.assert_close(
        moved.edge_probabilities, posterior.edge_probabilities[:, order][:, :, order]
    )


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


# ------------------------------------------------------------------------- tasks of several sizes


@pytest.mark.parametrize("make", MEMBERS.values(), ids=MEMBERS)
def test_tasks_taken_apart_and_stacked_are_the_same_posterior(make):
    posterior = make()
    alone = [posterior.task(b) for b in range(2)]
    assert [one.node_mask.shape[1] for one in alone] == [3, 4]
    back = stack(alone)
    assert type(back) is type(posterior)
    assert torch.equal(back.node_mask, posterior.node_mask)
    assert torch.equal(back.edge_probabilities, posterior.edge_probabilities)
    graph = posterior.sample(1)[:, 0].float()
    torch.testing.assert_close(back.log_prob(graph), posterior.log_prob(graph))
    torch.testing.assert_close(back.entropy(), posterior.entropy())
    wrong = stack(alone[::-1])
    assert not torch.equal(wrong.edge_probabilities, posterior.edge_probabilities)


@pytest.mark.parametrize("make", MEMBERS.values(), ids=MEMBERS)
def test_padding_changes_no_answer(make):
    posterior = make()
    wide = posterior.padded(6)
    assert wide.node_mask.sum(1).tolist() == [3, 4]
    assert torch.equal(wide.edge_probabilities[:, :4, :4], posterior.edge_probabilities)
    assert not wide.edge_probabilities[~pair_mask(wide.node_mask)].any()
    assert not wide.sample(50).any(dim=1)[~pair_mask(wide.node_mask)].any()
    graph = posterior.sample(1)[:, 0].float()
    widened = torch.nn.functional.pad(graph, (0, 2, 0, 2))
    torch.testing.assert_close(wide.log_prob(widened), posterior.log_prob(graph))
    torch.testing.assert_close(wide.entropy(), posterior.entropy())
    with pytest.raises(ValueError, match="cannot be padded to 3"):
        posterior.padded(3)


def test_posteriors_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="empirical_graphs, independent_edges cannot"):
        stack([independent(), empirical()])
    with pytest.raises(ValueError, match="none cannot be put together; give at least one"):
        stack([])
    few = EmpiricalGraphs(empirical().graphs[:, :3], MASK)
    with pytest.raises(ValueError, match=r"whose sizes S are \[3, 7\]"):
        stack([empirical(), few])


def test_draws_answer_with_the_probabilities_that_came_with_them():
    """Also where they differ from the frequencies of the draws, in `log_prob` as in the
    marginals."""
    one = empirical().task(1)
    p = torch.rand(1, 4, 4, generator=generator(7), dtype=torch.float64)
    p[0, 0, 1], p[0, 1, 0] = 0.0, 1.0
    posterior = DrawnGraphs(one.graphs, p, torch.tensor([0.01], dtype=torch.float64), one.node_mask)
    assert torch.equal(posterior.edge_probabilities, p * (1 - torch.eye(4)))
    kept = IndependentEdges.from_probabilities(p.clamp(0.01, 0.99), one.node_mask)
    graph = posterior.sample(1)[:, 0].float()
    torch.testing.assert_close(posterior.log_prob(graph), kept.log_prob(graph))
    assert posterior.smoothing == 0.01
    assert torch.equal(posterior.representative_graphs(2), one.graphs)
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        DrawnGraphs(one.graphs, p + 0.5, posterior.resolution, one.node_mask)
    with pytest.raises(ValueError, match="resolution"):
        DrawnGraphs(one.graphs, p, torch.zeros(1), one.node_mask)


def test_a_pool_is_the_weighted_mean_of_its_members():
    first = drawn().task(1)
    p = torch.rand(1, 4, 4, generator=generator(8), dtype=torch.float64)
    second = DrawnGraphs(
        1 - first.graphs - torch.eye(4).int(), p, first.resolution, first.node_mask
    )
    pool = PooledGraphs.pool([first, second], [3, 1], 400, generator(1))
    expected = 0.75 * first.edge_probabilities + 0.25 * second.edge_probabilities
    torch.testing.assert_close(pool.edge_probabilities, expected)
    spread = (3 / 16) ** 0.5 * (first.edge_probabilities - second.edge_probabilities).abs()
    torch.testing.assert_close(pool.disagreement, spread)
    from_second = [
        any(torch.equal(graph, other) for other in second.graphs[0]) for graph in pool.graphs[0]
    ]
    assert sum(from_second) == 100
    with pytest.raises(ValueError, match="sum 1"):
        PooledGraphs(pool.graphs, pool.members, 2 * pool.weights, pool.resolution, pool.node_mask)


def test_stacked_orders_of_different_number_keep_their_answers():
    """Five orders with logits of their own beside three that share logits."""
    few = OrderedEdges(
        torch.randn(1, 1, 4, 4, generator=generator(5), dtype=torch.float64),
        torch.rand(1, 3, 4, generator=generator(6)),
        torch.zeros(1, 3),
        MASK[1:],
    )
    both = stack([ordered(), few])
    graph = both.sample(1)[:, 0].float()
    expected = torch.cat([ordered().log_prob(graph[:2]), few.log_prob(graph[2:])])
    torch.testing.assert_close(both.log_prob(graph), expected)
    expected = torch.cat([ordered().edge_probabilities, few.edge_probabilities])
    torch.testing.assert_close(both.edge_probabilities, expected)


def test_independent_edges_of_parts_are_pooled_by_their_log_odds():
    logits = torch.randn(3, 4, 4, generator=generator(1))
    parts = IndependentEdges(logits, MASK[1:].expand(3, -1))
    pairs = pair_mask(MASK[1:])
    torch.testing.assert_close(parts.pooled().logits[pairs], logits.mean(0, keepdim=True)[pairs])
    for other in (empirical(), drawn(), ordered()):
        with pytest.raises(ValueError, match="cannot be averaged over parts of a table"):
            other.pooled()


def test_representative_graphs_are_all_particles_or_draws_in_pieces(monkeypatch):
    p = torch.rand(2, 4, 4, generator=generator())
    posterior = IndependentEdges.from_probabilities(p, torch.ones(2, 4, dtype=torch.bool))
    whole = posterior.representative_graphs(4000, generator(1))
    monkeypatch.setattr(graph_posterior, "ENTRIES_AT_ONCE", 7 * 2 * 16)
    graphs = posterior.representative_graphs(4000, generator(1))
    assert graphs.shape == whole.shape == (2, 4000, 4, 4)
    deviation = (graphs.double().mean(1) - posterior.edge_probabilities).abs().max()
    assert deviation < 4.5 * math.sqrt(0.25 / 4000)
    particles = EmpiricalGraphs(graphs[:, :3], posterior.node_mask)
    assert torch.equal(particles.representative_graphs(100, generator()), graphs[:, :3])


def test_diagnostics_are_added_over_tasks_and_come_back_from_the_record():
    first, second = independent(), independent()
    first.diagnostics = MethodDiagnostics(20, {"redrawn": 2}, chains=1, acceptance=0.2)
    second.diagnostics = MethodDiagnostics(
        0, {"redrawn": 1, "jittered": 4}, chains=3, acceptance=0.6
    )
    total = stack([first, second]).diagnostics
    assert total == MethodDiagnostics(20, {"jittered": 4, "redrawn": 3}, 4, pytest.approx(0.5))
    assert MethodDiagnostics.from_entries(total.entries() | {"id": "run_1"}) == total
    assert MethodDiagnostics().entries() == {"interventional_rows_left_out": 0, "mended": {}}
    assert MethodDiagnostics().in_words() == []
    assert total.in_words()[0] == "20 rows under interventions left out"
    assert "50 % of the proposals accepted" in total.in_words()


# ---------------------------------------------------------------------------------- ordered edges


def enumerated_log_prob(posterior, b, graph):
    """log p of one graph by the definition, in plain Python: a sum over orders of products."""
    n = int(posterior.node_mask[b].sum())
    total = 0.0
    for k, log_weight in enumerate(posterior.log_weights[b].tolist()):
        order = sorted(range(n), key=posterior.positions[b, k].tolist().__getitem__)
        logits = posterior.logits[b, k if posterior.logits.shape[1] > 1 else 0]
        product = math.exp(log_weight)
        for place, cause in enumerate(order):
            for effect in order[:place]:
                product *= 1 - int(graph[cause, effect])  # an edge against the order
            for effect in order[place + 1 :]:
                p = 1 / (1 + math.exp(-float(logits[cause, effect])))
                product *= p if graph[cause, effect] else 1 - p
        total += product
    return math.log(total) if total else -math.inf


@pytest.mark.parametrize("make", [ordered, ordered_with_shared_logits])
@pytest.mark.parametrize("b", [0, 1], ids=["3 variables", "4 variables"])
def test_ordered_edges_equal_enumeration(make, b):
    """Mass, marginals, entropy and log probability of every graph by the definition."""
    alone = make().task(b)
    graphs = all_graphs(alone.node_mask.shape[1])
    log_prob = repeated(alone, 0, len(graphs)).log_prob(graphs)
    acyclic = is_acyclic(graphs.float())
    assert (log_prob[~acyclic] == -torch.inf).all()
    expected = [enumerated_log_prob(alone, 0, graph) for graph in graphs[acyclic]]
    torch.testing.assert_close(log_prob[acyclic], torch.tensor(expected, dtype=torch.float64))
    mass = log_prob.exp()
    assert float(mass.sum()) == pytest.approx(1, abs=1e-12)
    marginals = torch.einsum("g,gij->ij", mass, graphs)
    torch.testing.assert_close(alone.edge_probabilities[0], marginals)
    assert float(alone.entropy()[0]) == pytest.approx(float(torch.special.entr(mass).sum()))


@pytest.mark.parametrize("make", [ordered, ordered_with_shared_logits])
def test_ordered_edges_are_acyclic_and_frequencies_of_graphs_meet_their_probabilities(make):
    """Pearson's statistic over the 543 graphs of 4 variables and one cell for rare ones stays
    within 5 standard deviations of its mean; one with other weights is rejected."""
    n, alone = 20_000, make().task(1)
    drawn = alone.sample(n, generator(7))[0]
    assert is_acyclic(drawn.float()).all()
    graphs = all_graphs(4)
    code = (2 ** torch.arange(16)).reshape(4, 4)
    frequency = torch.bincount((drawn.long() * code).sum((1, 2)), minlength=2**16).double()
    frequency = frequency[(graphs.long() * code).sum((1, 2))]
    flat = OrderedEdges(
        alone.logits, alone.positions, torch.zeros_like(alone.log_weights), alone.node_mask
    )
    verdicts = []
    for posterior in (alone, flat):
        expected = n * repeated(posterior, 0, len(graphs)).log_prob(graphs).exp()
        common = expected >= 5
        cells = int(common.sum()) + 1
        rest = n - frequency[common].sum(), n - expected[common].sum()
        statistic = float(
            ((frequency - expected)[common].square() / expected[common]).sum()
            + (rest[0] - rest[1]).square() / rest[1].clamp(min=5)
        )
        verdicts.append(abs(statistic - (cells - 1)) < 5 * math.sqrt(2 * (cells - 1)))
    assert verdicts == [True, False]


def test_the_entropy_of_many_ordered_variables_is_estimated_with_its_error():
    estimate, error = ordered().entropy_estimate(4000, generator(8))
    assert ((estimate - ordered().entropy()).abs() < 5 * error).all()
    assert (error > 0).all()
    with pytest.raises(ValueError, match="at most 4 variables; use entropy_estimate"):
        OrderedEdges(
            torch.zeros(1, 1, 5, 5),
            torch.arange(5)[None, None],
            torch.zeros(1, 1),
            torch.ones(1, 5, dtype=torch.bool),
        ).entropy()


def test_orders_of_the_plackett_luce_law_have_its_pairwise_probabilities():
    """i comes before j with probability sigmoid(s_i - s_j); 5 standard errors, 2 x 12 pairs."""
    scores = torch.randn(2, 4, generator=generator(9), dtype=torch.float64)
    certain = torch.full((2, 4, 4), torch.inf, dtype=torch.float64)
    posterior = OrderedEdges.from_plackett_luce(scores, certain, MASK, 4000, generator(10))
    p = torch.sigmoid(scores[:, :, None] - scores[:, None, :])
    pairs = pair_mask(MASK)
    error = (posterior.edge_probabilities - p)[pairs].abs() / (p * (1 - p) / 4000).sqrt()[pairs]
    assert error.max() < 5
    reversed_scores = OrderedEdges.from_plackett_luce(-scores, certain, MASK, 4000, generator(10))
    assert (reversed_scores.edge_probabilities - p)[pairs].abs().max() > 0.2


def test_wrong_ordered_edges_are_refused():
    mask, logits = torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 1, 2, 2)
    positions, weights = torch.tensor([[[0, 1], [1, 0]]]), torch.zeros(1, 2)
    with pytest.raises(ValueError, match=r"\[B, L, D, D\]"):
        OrderedEdges(logits[:, 0], positions, weights, mask)
    with pytest.raises(ValueError, match=r"\[B, K, D\]"):
        OrderedEdges(logits, positions[..., :1], weights, mask)
    with pytest.raises(ValueError, match="2 orders came with logits for 3"):
        OrderedEdges(logits.expand(1, 3, 2, 2), positions, weights, mask)
    with pytest.raises(ValueError, match=r"2 orders came .* give logits for one or all orders"):
        OrderedEdges(logits, positions, weights[:, :1], mask)
    with pytest.raises(ValueError, match="NaN"):
        OrderedEdges(logits * torch.nan, positions, weights, mask)
    with pytest.raises(ValueError, match="positive, finite weight"):
        OrderedEdges(logits, positions, weights - torch.inf, mask)


# ----------------------------------------------------------------------------------- closed forms


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
