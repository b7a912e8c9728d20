"""Standardising inside a model: constants of the model from its first 256 rows, the same for all
further rows and under interventions."""

import numpy as np
import pytest
import torch

from causal_meta import graphs, randomness
from causal_meta.conf.convert import from_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.form_laws import MLPAdditive, Periodic, Polynomial, PostNonlinear
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.conf.mechanism_laws import MLP, RFF, LinearHeteroskedastic, MechanismPart
from causal_meta.conf.noise_laws import (
    CauchyNoise,
    GaussianNoise,
    LaplaceNoise,
    NoiseMixture,
    NoisePart,
)
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.conf.setting import ConfigError
from causal_meta.datasets.mechanisms import MechanismFactory
from causal_meta.datasets.mechanisms.standardising import (
    REFERENCE_ROWS,
    standardised,
)
from causal_meta.datasets.scm import SCMFamily

SEEDS = randomness.seeds_of(0, "standardising", start=0, count=16)
STEEP = LinearHeteroskedastic(weight_scale=10.0, bias_bound=5.0)
LAWS = {
    "linear": {"linear": MechanismPart(mechanism=STEEP)},
    "network": {"mlp": MechanismPart(mechanism=MLP())},
    "cube": {"cube": MechanismPart(mechanism=PostNonlinear(nonlinearity="cube"))},
    "additive": {
        "mlp": MechanismPart(mechanism=MLPAdditive()),
        "rff": MechanismPart(mechanism=RFF(n_features=20)),
    },
    "mixed": {
        "linear": MechanismPart(mechanism=STEEP),
        "square": MechanismPart(mechanism=Polynomial()),
        "sine": MechanismPart(mechanism=Periodic(frequency=0.2)),
    },
}
NOISES = NoiseMixture(
    parts={"g": NoisePart(noise=GaussianNoise()), "l": NoisePart(noise=LaplaceNoise())}
)


def family(name, mode, **others):
    settings = {
        "graph": ErdosRenyi(edges_per_node=1.5),
        "n_nodes": fixed(10),
        "n_rows": fixed(200),
        "noise": NOISES,
    } | others
    return SCMFamily(FamilyConfig(mechanisms=LAWS[name], internal_standardising=mode, **settings))


def by_hand(name, mode, seed, n_rows, **others):
    """The rows in double precision from the model without standardising: its mechanisms and its
    noise, node after node."""
    model = family(name, "none", **others)
    adjacency = model.sample_graphs([seed], 10)
    batch = model.mechanism_factory.draw([seed], adjacency)
    noise = model.noise.sample([seed], max(n_rows, REFERENCE_ROWS), 10)[0]
    z, raw = torch.zeros(len(noise), 10), torch.zeros(len(noise), 10)
    for j in graphs.topological_order(adjacency[0]).tolist():
        raw[:, j] = batch.mechanism(0, j)(z[:, adjacency[0, :, j] != 0], noise[:, j])
        first = raw[:REFERENCE_ROWS, j].double()
        z[:, j] = ((raw[:, j].double() - first.mean()) / first.std(correction=0)).float()
    return (z if mode == "values" else raw)[:n_rows]


@pytest.mark.parametrize("mode", ["values", "inputs"])
@pytest.mark.parametrize("name", LAWS)
class TestEveryLaw:
    def test_rows_against_a_plain_loop(self, name, mode):
        batch = family(name, mode).sample_tasks(SEEDS[:6])
        for b, seed in enumerate(SEEDS[:6]):
            expected = by_hand(name, mode, seed, 200)
            scale = expected.abs().amax(dim=0)
            np.testing.assert_allclose(
                (batch.x[b] / scale).numpy(), (expected / scale).numpy(), atol=2e-3
            )
        assert not np.allclose(
            batch.x[5],
            by_hand(name, "inputs" if mode == "values" else "values", SEEDS[5], 200),
            atol=1e-2,
        )

    def test_row_b_of_a_batch_is_the_task_of_its_seed(self, name, mode):
        model = family(name, mode)
        batch = model.sample_tasks(SEEDS)
        for b in (0, 7, 15):
            x = model.sample_task(SEEDS[b]).sample(200)
            torch.testing.assert_close(
                x, batch.task(b).x, rtol=1e-4, atol=1e-4 * float(x.abs().max())
            )

    def test_the_constants_depend_on_the_seed_alone(self, name, mode):
        """Not on the number of rows; further rows of the model are standardised by the same
        numbers, and so are not exactly standard."""
        instance = family(name, mode).sample_task(SEEDS[3])
        few, many, further = instance.sample(20), instance.sample(900), instance.sample(900, seed=1)
        torch.testing.assert_close(few, many[:20], rtol=1e-4, atol=1e-4 * float(many.abs().max()))
        if mode == "values":
            first = many[:REFERENCE_ROWS].double()
            assert first.mean(dim=0).abs().max() < 1e-3
            assert (first.std(dim=0, correction=0) - 1).abs().max() < 1e-3
            assert (further.double().std(dim=0) - 1).abs().max() > 1e-3

    def test_the_mechanisms_are_those_of_the_rows(self, name, mode):
        instance = family(name, mode).sample_task(SEEDS[2])
        noise, x = instance.noise(40), torch.zeros(40, 10)
        for j in instance.topological_order:
            x[:, j] = instance.mechanisms[j](
                x[:, instance.adjacency_matrix[:, j] != 0], noise[:, j]
            )
        rows = instance.sample(40)
        scale = rows.abs().amax(dim=0)
        np.testing.assert_allclose((rows / scale).numpy(), (x / scale).numpy(), atol=2e-3)

    def test_interventions_see_the_constants_of_the_model(self, name, mode):
        """A variable set to a value: its effects follow by the unchanged mechanisms, nobody else
        moves."""
        instance = family(name, mode).sample_task(SEEDS[2])
        target = int(instance.adjacency_matrix.sum(dim=1).argmax())
        changed, rows, noise = (
            instance.do(target, 3.0).sample(40),
            instance.sample(40),
            instance.noise(40),
        )
        assert (changed[:, target] == 3.0).all()
        expected = torch.zeros(40, 10)
        for j in instance.topological_order:
            expected[:, j] = (
                instance.mechanisms[j](
                    expected[:, instance.adjacency_matrix[:, j] != 0], noise[:, j]
                )
                if j != target
                else 3.0
            )
        scale = torch.maximum(changed.abs(), rows.abs()).amax(dim=0)
        np.testing.assert_allclose((changed / scale).numpy(), (expected / scale).numpy(), atol=2e-3)


def test_affine_models_stay_affine():
    for mode in ("values", "inputs"):
        model = family("linear", mode)
        adjacency = model.sample_graphs(SEEDS, 10)
        batch = model.models.draw(SEEDS, adjacency)
        noise = model.noise.sample(SEEDS, 50, 10)
        assert all(law.affine for law in batch.factory.laws)
        rows = batch.rows(noise)
        torch.testing.assert_close(
            batch.rows(noise, by_level=True), rows, rtol=1e-3, atol=1e-4 * float(rows.abs().max())
        )


@pytest.mark.parametrize("mode", ["values", "inputs"])
def test_mean_and_scale_of_additive_noise(mode):
    model = family("additive", mode)
    batch = model.models.draw(SEEDS, model.sample_graphs(SEEDS, 10))
    noise = model.noise.sample(SEEDS, 30, 10)
    rows = batch.rows(noise)
    mean, std = batch.location_scale(rows.double())
    torch.testing.assert_close((mean + std * noise).float(), rows, rtol=1e-3, atol=1e-3)


def test_no_variable_outgrows_another():
    """Raw values of steep linear models grow from causes to effects by orders of magnitude;
    standardised inside they do not."""
    grown = {
        mode: family("linear", mode, n_nodes=fixed(20)).sample_tasks(SEEDS).x.std(dim=1).amax()
        for mode in ("none", "values", "inputs")
    }
    assert grown["none"] > 1000
    assert grown["values"] < 1.5
    assert grown["inputs"] < 100


def test_causes_explain_equally_much_at_every_depth():
    """A chain with weight and noise 1: neighbours correlate 1/sqrt 2 everywhere in the closed form
    (Ormaniec et al. 2025), to 5 standard errors.

    Without standardising inside it is sqrt(j / (j + 1)) for the j-th pair, which the same check
    refuses.
    """
    size, count, law = (
        8,
        400,
        LinearHeteroskedastic(
            weight_law="uniform",
            weight_low=1.0,
            weight_high=1.0,
            noise_std_law="constant",
            noise_std_a=1.0,
        ),
    )
    seeds = randomness.seeds_of(1, "standardising", start=0, count=count)
    chain = torch.diag(torch.ones(size - 1), 1).expand(count, size, size)
    batch = MechanismFactory({"m": MechanismPart(mechanism=law)}).draw(seeds, chain)
    fresh = randomness.normals(seeds, ("further rows",), (400, size))

    def correlations(model):
        x = model.rows(fresh).double()
        x = x - x.mean(dim=1, keepdim=True)
        x = x / x.square().mean(dim=1, keepdim=True).sqrt()
        return (x[:, :, 1:] * x[:, :, :-1]).mean(dim=1)

    def deviations(found, expected):
        return (found.mean(dim=0) - torch.as_tensor(expected)).abs() / (
            found.std(dim=0) / count**0.5
        )

    plain = [(j / (j + 1)) ** 0.5 for j in range(1, size)]
    noise = randomness.normals(seeds, ("noise",), (REFERENCE_ROWS, size))
    for mode in ("values", "inputs"):
        found = correlations(standardised(batch, noise, mode))
        # finite rows make it too small by 0.0013, one standard error
        assert deviations(found, 0.5**0.5).max() < 5
        assert deviations(found, plain).max() > 20
    assert deviations(correlations(batch), 0.5**0.5).max() > 20
    assert deviations(correlations(batch), plain).max() < 5


def test_heavy_tails_and_constants_are_survived():
    x = family("mixed", "values", noise=CauchyNoise()).sample_tasks(SEEDS).x
    assert torch.isfinite(x).all()
    factory = MechanismFactory(LAWS["mixed"])
    batch = factory.draw(SEEDS, family("mixed", "none").sample_graphs(SEEDS, 10))
    still = standardised(batch, torch.zeros(len(SEEDS), REFERENCE_ROWS, 10), "values")
    rows = still.rows(torch.zeros(len(SEEDS), 5, 10))
    assert rows.abs().max() < 1e-4, "a constant is centred, not divided by zero"


def test_sizes_that_vary():
    model = family(
        "mixed", "values", n_nodes=IntRange(low=3, high=6), n_rows=IntRange(low=20, high=400)
    )
    batch = model.sample_tasks(SEEDS)
    for b, seed in enumerate(SEEDS[:6]):
        instance = model.sample_task(seed)
        torch.testing.assert_close(
            instance.sample(instance.n_rows), batch.task(b).x, rtol=1e-4, atol=1e-3
        )


def test_a_law_of_roots_is_standardised_too():
    model = family(
        "linear",
        "inputs",
        root_mechanism=LinearHeteroskedastic(noise_std_law="constant", noise_std_a=1.0),
        noise=GaussianNoise(),
    )
    instance = model.sample_task(SEEDS[1])
    roots = instance.adjacency_matrix.sum(dim=0) == 0
    torch.testing.assert_close(instance.sample(50)[:, roots], instance.noise(50)[:, roots])


def test_nonsense_is_refused():
    with pytest.raises(ConfigError, match="'none', 'values', 'inputs'"):
        from_plain(FamilyConfig, {"internal_standardising": "yes"})
    exact = {"gp": {"mechanism": {"kind": "gpcde", "exact": True}}}
    with pytest.raises(ConfigError, match="set exact=False"):
        from_plain(FamilyConfig, {"internal_standardising": "inputs", "mechanisms": exact})
    assert from_plain(FamilyConfig, {"mechanisms": exact}).internal_standardising == "none"
    with pytest.raises(ConfigError, match="makes whole tables"):
        from_plain(FamilyConfig, {"root_mechanism": "gene_expression"})
