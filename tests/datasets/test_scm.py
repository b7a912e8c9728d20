"""Structural causal models: a task by its seed alone, batches equal to single tasks, covariances in
closed form, sizes that are drawn.

Bounds are 5.5 standard errors over 21 entries of a covariance: false alarms below 1e-6 per change
of the seeds.
"""

import json
import math

import numpy as np
import pytest
import scipy.stats
import torch

from causal_meta import graphs, randomness
from causal_meta.conf.convert import from_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.graph_laws import ErdosRenyi, GraphMixture, GraphPart, ScaleFree
from causal_meta.conf.mechanism_laws import MLP, LinearHeteroskedastic, MechanismPart
from causal_meta.conf.noise_laws import GaussianNoise, LaplaceNoise, NoiseMixture, NoisePart
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.datasets.scm import SCMFamily, draw_range

SEEDS = randomness.seeds_of(0, "scm", start=0, count=20)
NETWORK = {"mlp": MechanismPart(mechanism=MLP())}
BOTH = NETWORK | {"linear": MechanismPart(mechanism=LinearHeteroskedastic(bias_bound=1.0))}
GRAPHS = GraphMixture(
    parts={"er": GraphPart(graph=ErdosRenyi()), "sf": GraphPart(graph=ScaleFree())}
)
NOISES = NoiseMixture(
    parts={"g": NoisePart(noise=GaussianNoise()), "l": NoisePart(noise=LaplaceNoise())}
)
FAMILIES = {
    "linear": FamilyConfig(),
    "mlp": FamilyConfig(mechanisms=NETWORK, n_rows=fixed(50)),
    "mixed": FamilyConfig(
        graph=GRAPHS, mechanisms=BOTH, noise=NOISES, n_nodes=fixed(9), n_rows=fixed(33)
    ),
    "sizes": FamilyConfig(
        graph=GRAPHS,
        mechanisms=BOTH,
        mechanism_mixing="task",
        noise=NOISES,
        n_nodes=IntRange(low=3, high=8),
        n_rows=IntRange(low=10, high=40, power=-1.0),
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
class TestEveryFamily:
    def test_row_b_of_a_batch_is_the_task_of_its_seed(self, name):
        family = SCMFamily(FAMILIES[name])
        batch = family.sample_tasks(SEEDS)
        for b, seed in enumerate(SEEDS):
            instance, task = family.sample_task(seed), batch.task(b)
            assert torch.equal(instance.adjacency_matrix, task.adjacency)
            assert torch.equal(instance.sample(instance.n_rows), task.x)
            assert task.seed == seed

    def test_neither_order_nor_the_other_tasks_of_a_batch_matter(self, name):
        family = SCMFamily(FAMILIES[name])
        batch, alone = family.sample_tasks(SEEDS), family.sample_tasks(SEEDS[11:17][::-1])
        for b in range(6):
            assert torch.equal(alone.task(b).x, batch.task(16 - b).x)
            assert torch.equal(alone.task(b).adjacency, batch.task(16 - b).adjacency)

    def test_an_instance_propagates_its_noise_through_its_mechanisms(self, name):
        """Ancestral sampling by hand from the public parts of the instance."""
        family = SCMFamily(FAMILIES[name])
        for seed in SEEDS[:4]:
            instance = family.sample_task(seed)
            noise, x = instance.noise(20), torch.zeros(20, len(instance.mechanisms))
            for j in instance.topological_order:
                x[:, j] = instance.mechanisms[j](
                    x[:, instance.adjacency_matrix[:, j] != 0], noise[:, j]
                )
            torch.testing.assert_close(
                instance.sample(20), x, rtol=0, atol=float(2e-5 * x.abs().max())
            )

    def test_threads_do_not_matter(self, name):
        family, before = SCMFamily(FAMILIES[name]), torch.get_num_threads()
        expected = family.sample_tasks(SEEDS)
        try:
            torch.set_num_threads(2)
            assert torch.equal(family.sample_tasks(SEEDS).x, expected.x)
            assert torch.get_num_threads() == 2
        finally:
            torch.set_num_threads(before)

    def test_other_rows_of_one_model(self, name):
        instance = SCMFamily(FAMILIES[name]).sample_task(SEEDS[0])
        rows = [instance.sample(15), instance.sample(15, seed=0), instance.sample(15, seed=1)]
        assert not any(torch.equal(rows[i], rows[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
        assert torch.equal(instance.sample(15, seed=1), rows[2])
        assert torch.equal(instance.sample(40, seed=1)[:15], rows[2]), (
            "more rows begin with the same rows"
        )

    def test_metadata_and_picture(self, name):
        family = SCMFamily(FAMILIES[name])
        instance = family.sample_task(SEEDS[1])
        facts = json.loads(json.dumps(instance.metadata()))
        assert facts["graph_hash"] == graphs.graph_hash(instance.adjacency_matrix)
        assert facts["n_edges"] == instance.adjacency_matrix.sum()
        assert set(facts["mechanisms"]) <= set(family.mechanism_proportions)
        assert from_plain(FamilyConfig, facts["family"]) == FAMILIES[name]
        assert family.plot_example(3).axes


def test_two_thousand_tasks_are_finite():
    """D = 20, wide mixture: no NaN, no infinity, raw or standardised (at most sqrt(N - 1) by
    arithmetic)."""
    config = FamilyConfig(graph=GRAPHS, mechanisms=BOTH, noise=NOISES, n_rows=fixed(40))
    batch = SCMFamily(config).sample_tasks(randomness.seeds_of(1, start=0, count=2000))
    assert torch.isfinite(batch.x).all()
    assert batch.x.abs().max() < 1e6
    z = batch.standardised().x
    assert z.abs().max() <= math.sqrt(39) + 1e-3
    assert (z.std(dim=1, correction=0) - 1).abs().max() < 1e-4, "no column is constant"


def closed_form(instance, transposed=False):
    """Mean and covariance of a linear model: x = (b + s e)(I - W)^-1, so Cov = A' diag(s²) A with A
    = (I - W)^-1."""
    adjacency = instance.adjacency_matrix.numpy()
    weights, bias, std = (
        np.zeros(adjacency.shape),
        np.zeros(len(adjacency)),
        np.zeros(len(adjacency)),
    )
    for j, mechanism in enumerate(instance.mechanisms):
        parents = np.nonzero(adjacency[:, j])[0]
        weights[parents, j] = mechanism.parameters["weight"].double().numpy()[: len(parents)]
        bias[j], std[j] = (
            float(mechanism.parameters["bias"]),
            float(mechanism.parameters["noise_std"]),
        )
    total = np.linalg.inv(np.eye(len(weights)) - (weights.T if transposed else weights))
    return bias @ total, total.T @ np.diag(std**2) @ total


@pytest.mark.parametrize("seed", range(4))
def test_linear_covariance_in_closed_form(seed):
    mechanism = LinearHeteroskedastic(weight_law="uniform_sign", bias_bound=2.0)
    config = FamilyConfig(
        mechanisms={"linear": MechanismPart(mechanism=mechanism)}, n_nodes=fixed(6)
    )
    instance = SCMFamily(config).sample_task(seed)
    n = 100_000
    x = instance.sample(n).double().numpy()
    empirical = np.cov(x.T, bias=True)

    def fits(mean, covariance):
        error = np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / n)
        return (np.abs(empirical - covariance) < 5.5 * error).all() and (
            np.abs(x.mean(0) - mean) < 5.5 * np.sqrt(np.diag(covariance) / n)
        ).all()

    assert fits(*closed_form(instance))
    assert not fits(*closed_form(instance, transposed=True)), "the check must see reversed edges"


def test_roots_have_a_law():
    """A linear root is its noise times its standard deviation, a network's root a function of its
    noise; neither is constant."""
    for name in ("linear", "mlp"):
        family = SCMFamily(FAMILIES[name])
        for seed in SEEDS[:5]:
            instance = family.sample_task(seed)
            root = int(torch.nonzero(instance.adjacency_matrix.sum(dim=0) == 0)[0])
            x, e = instance.sample(100)[:, root], instance.noise(100)[:, root]
            assert x.std() > 1e-3
            if name == "linear":
                torch.testing.assert_close(x, e * instance.mechanisms[root].parameters["noise_std"])


def test_sizes_are_drawn_by_seed_and_padded():
    family = SCMFamily(FAMILIES["sizes"])
    shapes = family.shapes(SEEDS)
    batch = family.sample_tasks(SEEDS)
    assert [
        (int(d), int(n)) for d, n in zip(batch.node_mask.sum(1), batch.row_mask.sum(1), strict=True)
    ] == shapes
    assert len(set(shapes)) > 10
    fixed_size = family.sample_tasks(SEEDS, n_rows=12, n_nodes=4)
    assert fixed_size.x.shape == (20, 12, 4)
    assert fixed_size.row_mask.all()
    on_graphs = family.sample_tasks(
        SEEDS, n_rows=12, n_nodes=4, adjacency=family.sample_graphs(SEEDS, 4)
    )
    assert torch.equal(on_graphs.x, fixed_size.x)
    with pytest.raises(ValueError, match="no seeds"):
        family.sample_tasks([])


@pytest.mark.parametrize("power", [0.0, -1.0, 2.0])
def test_ranges_have_the_stated_law(power):
    """Chi-squared at 1e-6 against n^power; the check refuses another power."""
    config = IntRange(low=3, high=12, power=power)
    u = randomness.uniforms([4], ("u",), (20_000,))[0].tolist()
    counts = np.bincount([draw_range(config, value) for value in u], minlength=13)[3:]
    assert counts.sum() == 20_000

    def fits(power):
        mass = np.arange(3, 13.0) ** power
        return scipy.stats.chisquare(counts, 20_000 * mass / mass.sum()).pvalue > 1e-6

    assert fits(power)
    assert not fits(power + 0.3)
    assert draw_range(config, 1e-9) == 3
    assert draw_range(config, 1 - 1e-9) == 12
    assert draw_range(fixed(7), 0.5) == 7


def test_metadata_of_a_family():
    family = SCMFamily(FAMILIES["mixed"])
    assert family.n_nodes == fixed(9)
    assert family.mechanism_proportions == {"linear": 0.5, "mlp": 0.5}
    assert family.noise_type == "noise_mixture"
    assert family.sparsity_param == pytest.approx((2 * 9 + (1 + 2 * 7)) / 2 / 9)
