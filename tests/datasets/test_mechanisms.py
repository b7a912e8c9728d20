"""Mechanism laws: the stated parameter laws, and batched rows equal to a plain loop over tasks,
nodes and formulas in float64.

Bounds are 5 standard errors of fixed seeds, or Kolmogorov and Smirnov at 1e-6: about 20 of them,
false alarms below 3e-5.
"""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from causal_meta import graphs, randomness
from causal_meta.conf.graph_laws import ErdosRenyi, ScaleFree
from causal_meta.conf.mechanism_laws import MLP, LinearHeteroskedastic, MechanismPart
from causal_meta.datasets.graph_families import make_generator
from causal_meta.datasets.mechanisms import MechanismFactory, parents_of

SEEDS = randomness.seeds_of(0, "mechanisms", start=0, count=40)
LINEAR = MechanismPart(mechanism=LinearHeteroskedastic(bias_bound=2.0))
SIGNED = MechanismPart(
    mechanism=LinearHeteroskedastic(
        weight_law="uniform_sign", noise_std_law="uniform", noise_std_a=0.2, noise_std_b=2.0
    )
)
NETWORK = MechanismPart(weight=2.0, mechanism=MLP(hidden=7, noise_gain=0.6))
FACTORIES = {
    "linear": MechanismFactory({"linear": LINEAR}),
    "mlp": MechanismFactory({"mlp": NETWORK}),
    "both, by node": MechanismFactory({"linear": LINEAR, "mlp": NETWORK, "signed": SIGNED}),
    "both, by task": MechanismFactory({"linear": LINEAR, "mlp": NETWORK, "signed": SIGNED}, "task"),
}


def formula(mechanism, parents, noise):
    """One node in NumPy and float64, written from the docstrings: parents [N, k], noise [N]."""
    p = {name: value.double().numpy() for name, value in mechanism.parameters.items()}
    k = parents.shape[1]
    if "noise_std" in p:
        return parents @ p["weight"][:k] + p["bias"] + p["noise_std"] * noise
    hidden = parents @ p["weight"][:, :k].T + np.outer(noise, p["noise_weight"]) + p["bias"]
    slope = mechanism.law.config.negative_slope
    return np.where(hidden > 0, hidden, slope * hidden) @ p["output"]


def plain_rows(batch, b, noise):
    """Ancestral sampling of task b, node after node."""
    adjacency, x = batch.adjacency[b].numpy(), np.zeros(noise.shape)
    for j in graphs.topological_order(batch.adjacency[b]).tolist():
        x[:, j] = formula(batch.mechanism(b, j), x[:, np.nonzero(adjacency[:, j])[0]], noise[:, j])
    return x


@pytest.fixture(scope="module")
def adjacency():
    return torch.cat(
        [
            make_generator(ErdosRenyi(edges_per_node=2.0))(SEEDS[:20], 11),
            make_generator(ScaleFree())(SEEDS[20:], 11),
        ]
    )


@pytest.mark.parametrize("name", FACTORIES)
class TestEveryFactory:
    def test_rows_against_a_plain_loop(self, name, adjacency):
        batch = FACTORIES[name].draw(SEEDS, adjacency)
        noise = randomness.normals(SEEDS, ("noise",), (50, 11))
        rows = batch.rows(noise)
        for b in range(len(SEEDS)):
            expected = plain_rows(batch, b, noise[b].double().numpy())
            np.testing.assert_allclose(
                rows[b].numpy(), expected, rtol=0, atol=2e-5 * np.abs(expected).max()
            )
        assert not np.allclose(rows[0].numpy(), plain_rows(batch, 1, noise[0].double().numpy())), (
            "the check must see another task's mechanisms"
        )

    def test_the_callables_are_the_mechanisms(self, name, adjacency):
        batch = FACTORIES[name].draw(SEEDS, adjacency)
        noise = randomness.normals(SEEDS, ("noise",), (30, 11))
        rows = batch.rows(noise)
        for b in (0, 39):
            for j in range(11):
                parents = rows[b][:, adjacency[b, :, j] != 0]
                torch.testing.assert_close(
                    batch.mechanism(b, j)(parents, noise[b, :, j]),
                    rows[b, :, j],
                    rtol=1e-4,
                    atol=1e-4,
                )

    def test_a_task_is_the_same_in_every_batch(self, name, adjacency):
        """To the last bit, whatever the widths of the other tasks' parent slots."""
        noise = randomness.normals(SEEDS, ("noise",), (23, 11))
        together = FACTORIES[name].draw(SEEDS, adjacency).rows(noise)
        for some in (slice(0, 1), slice(3, 10), slice(25, 40)):
            alone = FACTORIES[name].draw(SEEDS[some], adjacency[some]).rows(noise[some])
            assert torch.equal(alone, together[some])

    def test_a_graph_without_edges(self, name, adjacency):
        batch = FACTORIES[name].draw(SEEDS[:3], torch.zeros(3, 4, 4))
        noise = randomness.normals(SEEDS[:3], ("noise",), (5, 4))
        for b in range(3):
            np.testing.assert_allclose(
                batch.rows(noise)[b].numpy(),
                plain_rows(batch, b, noise[b].double().numpy()),
                atol=1e-5,
            )

    def test_non_parents_do_not_matter_and_parents_do(self, name, adjacency):
        """Another noise at j changes j's descendants and j, and no other variable."""
        batch = FACTORIES[name].draw(SEEDS, adjacency)
        noise = randomness.normals(SEEDS, ("noise",), (40, 11))
        other = noise.clone()
        other[:, :, 4] += 1.0
        changed = (batch.rows(noise) - batch.rows(other)).abs().amax(dim=1) > 1e-6
        expected = graphs.ancestors(adjacency)[:, 4] != 0
        expected[:, 4] = True
        assert torch.equal(changed, expected)


def test_parents_sit_in_slots_by_rising_number(adjacency):
    parents = parents_of(adjacency)
    for b, j in ((0, 0), (3, 7), (30, 10)):
        expected = torch.nonzero(adjacency[b, :, j])[:, 0].tolist()
        assert parents.index[b, j, : len(expected)].tolist() == expected
        assert parents.mask[b, j].sum() == parents.count[b, j] == len(expected)


@pytest.mark.parametrize("mixing", ["node", "task"])
def test_parts_are_drawn_by_weight(mixing):
    parts = {
        "a": MechanismPart(weight=1.0, mechanism=LinearHeteroskedastic()),
        "b": MechanismPart(weight=3.0, mechanism=LinearHeteroskedastic()),
    }
    factory = MechanismFactory(parts, mixing)
    assert factory.proportions == {"a": 0.25, "b": 0.75}
    choice = factory.draw(
        randomness.seeds_of(1, start=0, count=2000), torch.zeros(2000, 4, 4)
    ).choice
    share = (choice == 1).double()
    count = share.numel() if mixing == "node" else len(share)
    assert abs(share.mean() - 0.75) < 5 * math.sqrt(0.75 * 0.25 / count)
    assert bool((choice == choice[:, :1]).all()) == (mixing == "task")


def parameters(mechanism, count=400, nodes=10):
    """The parameters of many nodes, full graphs in a fixed order."""
    adjacency = torch.triu(torch.ones(nodes, nodes), 1).expand(count, nodes, nodes)
    batch = MechanismFactory({"m": MechanismPart(mechanism=mechanism)}).draw(
        randomness.seeds_of(2, start=0, count=count), adjacency
    )
    return batch.parameters[0], batch.parents


LAWS = [
    (LinearHeteroskedastic(), "weight", scipy.stats.norm()),
    (LinearHeteroskedastic(weight_scale=3.0), "weight", scipy.stats.norm(scale=3)),
    (LinearHeteroskedastic(), "noise_std", scipy.stats.gamma(2, scale=1 / 2)),
    (
        LinearHeteroskedastic(noise_std_a=2.5, noise_std_b=4.0),
        "noise_std",
        scipy.stats.gamma(2.5, scale=1 / 4),
    ),
    (
        LinearHeteroskedastic(noise_std_law="uniform", noise_std_a=0.2, noise_std_b=2.0),
        "noise_std",
        scipy.stats.uniform(0.2, 1.8),
    ),
    (LinearHeteroskedastic(bias_bound=3.0), "bias", scipy.stats.uniform(-3, 6)),
    (MLP(), "bias", scipy.stats.norm()),
]


@pytest.mark.parametrize(
    ("config", "name", "law"), LAWS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_the_parameters_have_the_stated_laws(config, name, law):
    values, parents = parameters(config)
    drawn = values[name][parents.mask > 0] if name == "weight" else values[name]
    drawn = drawn.flatten().double().numpy()
    assert scipy.stats.kstest(drawn, law.cdf).pvalue > 1e-6
    assert scipy.stats.kstest(drawn * 1.1 + 0.02, law.cdf).pvalue < 1e-6, (
        "the check must see another scale"
    )
    if name == "weight":
        assert not values[name][parents.mask == 0].any()


def test_signed_weights_keep_away_from_zero():
    values, parents = parameters(SIGNED.mechanism)
    weights = values["weight"][parents.mask > 0].double()
    assert weights.abs().min() >= 0.5
    assert (
        scipy.stats.kstest(weights.abs().numpy(), scipy.stats.uniform(0.5, 1.5).cdf).pvalue > 1e-6
    )
    assert abs((weights > 0).double().mean() - 0.5) < 5 * math.sqrt(0.25 / len(weights))


def test_network_weights_are_scaled_by_fan_in():
    values, _ = parameters(MLP(hidden=8, weight_scale=2.0, noise_gain=0.5))
    for j in (1, 4, 9):
        fan_in = j + 1
        weights = values["weight"][:, j, :, :j].flatten()
        assert abs(weights.std() / (2 / math.sqrt(fan_in)) - 1) < 5 / math.sqrt(2 * len(weights))
        noise_weights = values["noise_weight"][:, j].flatten()
        assert abs(noise_weights.std() / (0.5 * 2 / math.sqrt(fan_in)) - 1) < 5 / math.sqrt(
            2 * len(noise_weights)
        )


@pytest.mark.parametrize(
    "config",
    [MLP(), MLP(hidden=4, noise_gain=3.0), MLP(weight_scale=0.3, negative_slope=0.5)],
    ids=["default", "noisy", "weak"],
)
def test_networks_neither_blow_up_nor_fade_along_a_chain(config):
    """The mean square is 1 at every depth of a chain of 40, to 5 standard errors over networks, and
    no spread dies out."""
    size = 40
    chain = torch.diag(torch.ones(size - 1), 1).expand(300, size, size)
    seeds = randomness.seeds_of(3, start=0, count=300)
    batch = MechanismFactory({"m": MechanismPart(mechanism=config)}).draw(seeds, chain)
    rows = batch.rows(randomness.normals(seeds, ("noise",), (64, size))).double()
    squares = rows.square().mean(dim=1)  # [B, D]
    late = squares[:, 10:].mean(dim=1)
    assert abs(late.mean() - 1) < 5 * late.std() / math.sqrt(300)
    spread = rows.std(dim=1)
    assert 0.5 < spread[:, 30:].median() / spread[:, 5:10].median() < 2
    assert squares.max() < 200


def test_the_noise_of_a_network_is_not_additive():
    """Two rows with equal parents and different noise differ by an amount that depends on the
    parents."""
    batch = MechanismFactory({"m": MechanismPart(mechanism=MLP())}).draw(
        [1], torch.tensor([[[0.0, 1.0], [0.0, 0.0]]])
    )
    f, parents = batch.mechanism(0, 1), torch.linspace(-2, 2, 21)[:, None]
    effect = f(parents, torch.full((21,), 1.0)) - f(parents, torch.full((21,), -1.0))
    assert effect.std() > 0.05
