"""Closed forms and small networks: rows equal to the stated formulas in float64, parameters of the
stated laws, roots with a law of their own.

Kolmogorov and Smirnov at 1e-6, about 40 of them: false alarms below 4e-5 per change of the seeds.
"""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import expit

from causal_meta import graphs, randomness
from causal_meta.conf.convert import from_plain
from causal_meta.conf.form_laws import (
    BGe,
    LinearRFFNoise,
    Logistic,
    MLPAdditive,
    Periodic,
    Polynomial,
    PostNonlinear,
)
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.conf.mechanism_laws import (
    MLP,
    LinearHeteroskedastic,
    MechanismConfig,
    MechanismPart,
)
from causal_meta.conf.setting import ConfigError
from causal_meta.datasets.graph_families import make_generator
from causal_meta.datasets.mechanisms import MechanismFactory, parents_of

SEEDS = randomness.seeds_of(0, "forms", start=0, count=24)
ADDITIVE = {
    "mlp_additive": MLPAdditive(),
    "tanh units": MLPAdditive(
        activation="tanh", hidden=3, noise_variance_law="inv_gamma", noise_variance_a=1.5
    ),
    "leaky units": MLPAdditive(activation="leaky_relu", weight_law="uniform_sign"),
    "periodic": Periodic(frequency=0.3),
    "square": Polynomial(weight_scale=0.5),
    "cubic": Polynomial(
        degree=3, weight_scale=0.3, noise_std_law="uniform", noise_std_a=0.2, noise_std_b=0.4
    ),
    "logistic": Logistic(weight_law="normal_sign", root_std=2.0),
    "linear_rff_noise": LinearRFFNoise(n_features=30),
    "linear": LinearHeteroskedastic(
        weight_law="normal_sign", noise_variance_law="constant", noise_variance_a=0.1
    ),
    "bge": BGe(),
}
OTHERS = {
    "tanh": PostNonlinear(bias_bound=1.0),
    "sigmoid": PostNonlinear(nonlinearity="sigmoid"),
    "cube": PostNonlinear(
        nonlinearity="cube", weight_scale=0.3, noise_std_law="constant", noise_std_a=0.5
    ),
    "torch network": MLP(
        hidden=6, hidden_layers=2, initialisation="torch", negative_slope=0.01, noise_gain=2.0
    ),
    "deep network": MLP(hidden=5, hidden_layers=3),
}
CONFIGS = ADDITIVE | OTHERS
LINKS = {"tanh": np.tanh, "sigmoid": expit, "cube": lambda u: u**3}
UNITS = {
    "relu": lambda u: np.maximum(u, 0),
    "leaky_relu": lambda u: np.where(u > 0, u, 0.01 * u),
    "tanh": np.tanh,
}


def softplus(u):
    return np.logaddexp(0, u)


def formula(mechanism, parents, noise):
    """One node in NumPy and float64, written from the docstrings: parents [N, k], noise [N]."""
    p = {name: value.double().numpy() for name, value in mechanism.parameters.items()}
    config, k = mechanism.law.config, parents.shape[1]
    if config.kind == "mlp":
        hidden = parents @ p["weight"][:, :k].T + np.outer(noise, p["noise_weight"]) + p["bias"]
        for layer in range(config.hidden_layers):
            hidden = np.where(hidden > 0, hidden, config.negative_slope * hidden)
            if layer + 1 < config.hidden_layers:
                hidden = hidden @ p["deep_weight"][layer].T + p["deep_bias"][layer]
        return hidden @ p["output"] + p.get("output_bias", 0.0)
    if config.kind == "mlp_additive":
        mean = (
            UNITS[config.activation](parents @ p["weight"][:, :k].T + p["bias"]) @ p["output"]
            + p["output_bias"]
            if k
            else 0.0
        )
        return mean + p["noise_std"] * noise
    total = parents @ p["weight"][:k]
    if config.kind == "linear_rff_noise":
        level = (
            np.cos(parents @ p["variance_frequency"][:k] + p["variance_phase"])
            @ p["variance_weight"]
            if k
            else p["variance_constant"]
        )
        return total + p["bias"] + np.sqrt(softplus(level)) * noise
    if config.kind == "post_nonlinear":
        return LINKS[config.nonlinearity](total + p["bias"] + p["noise_std"] * noise)
    if config.kind == "logistic" and not k:
        return config.root_std * noise
    mean = {
        "periodic": lambda: np.sin(2 * np.pi * config.frequency * total),
        "polynomial": lambda: total**config.degree,
        "logistic": lambda: config.growth * expit(total) * (1 - expit(total)),
        "linear": lambda: total + p["bias"],
        "bge": lambda: total + p["bias"],
    }[config.kind]()
    return mean + p["noise_std"] * noise


@pytest.fixture(scope="module")
def adjacency():
    return make_generator(ErdosRenyi(edges_per_node=1.3))(SEEDS, 9)


@pytest.mark.parametrize("name", CONFIGS)
class TestEveryForm:
    def test_rows_against_a_plain_loop(self, name, adjacency):
        batch = MechanismFactory({"m": MechanismPart(mechanism=CONFIGS[name])}).draw(
            SEEDS, adjacency
        )
        noise = randomness.normals(SEEDS, ("noise",), (40, 9))
        rows = batch.rows(noise)
        for b in range(0, len(SEEDS), 3):
            x = np.zeros((40, 9))
            for j in graphs.topological_order(adjacency[b]).tolist():
                x[:, j] = formula(
                    batch.mechanism(b, j),
                    x[:, np.nonzero(adjacency[b, :, j].numpy())[0]],
                    noise[b, :, j].double().numpy(),
                )
            np.testing.assert_allclose(rows[b].numpy(), x, rtol=0, atol=1e-4 * np.abs(x).max())
            assert not np.allclose(
                rows[b].numpy(),
                np.where(adjacency[b].any(dim=0), 1.01, 1.0) * x,
                rtol=0,
                atol=1e-4 * np.abs(x).max(),
            )

    def test_a_task_is_the_same_in_every_batch(self, name, adjacency):
        noise = randomness.normals(SEEDS, ("noise",), (23, 9))
        factory = MechanismFactory({"m": MechanismPart(mechanism=CONFIGS[name])})
        together = factory.draw(SEEDS, adjacency).rows(noise)
        for some in (slice(0, 1), slice(5, 12)):
            alone = factory.draw(SEEDS[some], adjacency[some]).rows(noise[some])
            torch.testing.assert_close(
                alone, together[some], rtol=1e-5, atol=1e-6 * float(together[some].abs().max())
            )

    def test_mean_and_scale_are_those_of_the_rows(self, name, adjacency):
        """x = m + s e where the noise is additive; a law that says so of noise inside a function
        would be found out."""
        batch = MechanismFactory({"m": MechanismPart(mechanism=CONFIGS[name])}).draw(
            SEEDS, adjacency
        )
        noise = randomness.normals(SEEDS, ("noise",), (30, 9))
        rows = batch.rows(noise)
        if name in OTHERS:
            with pytest.raises(ValueError, match="not additive"):
                batch.location_scale(rows)
            return
        mean, std = batch.location_scale(rows.double())
        assert (std > 0).all()
        torch.testing.assert_close(
            (mean + std * noise).float(), rows, rtol=1e-4, atol=1e-4 * float(rows.abs().max())
        )

    def test_non_parents_do_not_matter_and_parents_do(self, name, adjacency):
        batch = MechanismFactory({"m": MechanismPart(mechanism=CONFIGS[name])}).draw(
            SEEDS, adjacency
        )
        noise = randomness.normals(SEEDS, ("noise",), (40, 9))
        other = noise.clone()
        other[:, :, 4] += 1.0
        changed = (batch.rows(noise) != batch.rows(other)).any(dim=1)
        effects = graphs.ancestors(adjacency)[:, 4] != 0
        effects[:, 4] = True
        assert not (changed & ~effects).any()
        # units of a network may be off in all rows
        assert (changed & effects).sum() > 0.9 * effects.sum()


def drawn(mechanism, name, roots=False, count=300, nodes=8):
    """The numbers called `name` of many nodes of full graphs: of the children (or the roots) where
    they differ."""
    adjacency = torch.triu(torch.ones(nodes, nodes), 1).expand(count, nodes, nodes)
    batch = MechanismFactory({"m": MechanismPart(mechanism=mechanism)}).draw(
        randomness.seeds_of(2, "forms", start=0, count=count), adjacency
    )
    values, parents = batch.parameters[0][name], parents_of(adjacency)
    if name == "weight":
        return (
            (
                values.transpose(2, -1)[parents.mask > 0]
                if values.ndim == 4
                else values[parents.mask > 0]
            )
            .flatten()
            .double()
            .numpy()
        )
    return (
        values[:, :1].flatten().double().numpy()
        if roots
        else values[:, 1:].flatten().double().numpy()
    )


GAMMA = {"noise_std_law": "gamma", "noise_std_a": 2.5, "noise_std_b": 0.4}
INVERSE = {"noise_variance_law": "inv_gamma", "noise_variance_a": 1.5, "noise_variance_b": 1.0}
NORMAL = scipy.stats.norm()
LAWS = [
    (
        LinearHeteroskedastic(weight_law="uniform", weight_low=0.5, weight_high=1.5),
        "weight",
        scipy.stats.uniform(0.5, 1),
        None,
    ),
    (
        LinearHeteroskedastic(weight_law="normal_sign"),
        "weight",
        NORMAL,
        lambda w: w - 0.5 * np.sign(w),
    ),
    (
        LinearHeteroskedastic(weight_law="uniform_sign", weight_low=1.0, weight_high=3.0),
        "weight",
        scipy.stats.uniform(1, 2),
        np.abs,
    ),
    (LinearHeteroskedastic(weight_scale=10.0), "weight", scipy.stats.norm(scale=10), None),
    (LinearHeteroskedastic(**GAMMA), "noise_std", scipy.stats.gamma(2.5, scale=2.5), None),
    (
        LinearHeteroskedastic(**INVERSE),
        "noise_std",
        scipy.stats.invgamma(1.5, scale=1.0),
        np.square,
    ),
    (LinearRFFNoise(), "weight", scipy.stats.uniform(1, 2), np.abs),
    (LinearRFFNoise(), "bias", scipy.stats.uniform(-3, 6), None),
    (MLPAdditive(), "weight", NORMAL, None),
    (MLPAdditive(), "bias", NORMAL, None),
    (MLPAdditive(), "output", NORMAL, None),
    (MLPAdditive(), "output_bias", NORMAL, None),
    (MLPAdditive(**INVERSE), "noise_std", scipy.stats.invgamma(1.5, scale=1.0), np.square),
    (
        Periodic(noise_std_law="uniform", noise_std_a=0.2, noise_std_b=2.0),
        "noise_std",
        scipy.stats.uniform(0.2, 1.8),
        None,
    ),
    (Polynomial(), "weight", NORMAL, None),
    (
        Logistic(weight_law="uniform", weight_low=0.0, weight_high=4.0),
        "weight",
        scipy.stats.uniform(0, 4),
        None,
    ),
    (PostNonlinear(), "noise_std", scipy.stats.gamma(2, scale=0.5), None),
    (PostNonlinear(bias_bound=2.0), "bias", scipy.stats.uniform(-2, 4), None),
    (
        MLP(hidden=8, hidden_layers=2, initialisation="torch"),
        "deep_weight",
        scipy.stats.uniform(-1 / math.sqrt(8), 2 / math.sqrt(8)),
        None,
    ),
    (
        MLP(hidden=8, hidden_layers=2, initialisation="torch"),
        "deep_bias",
        scipy.stats.uniform(-1 / math.sqrt(8), 2 / math.sqrt(8)),
        None,
    ),
    (
        MLP(hidden=8, initialisation="torch"),
        "output",
        scipy.stats.uniform(-1 / math.sqrt(8), 2 / math.sqrt(8)),
        None,
    ),
    (
        MLP(hidden=8, initialisation="torch"),
        "output_bias",
        scipy.stats.uniform(-1 / math.sqrt(8), 2 / math.sqrt(8)),
        None,
    ),
    (MLP(hidden=8, hidden_layers=2), "deep_bias", NORMAL, None),
]


@pytest.mark.parametrize(
    ("config", "name", "law", "change"),
    LAWS,
    ids=[f"{config.kind} {name} {i}" for i, (config, name, *_) in enumerate(LAWS)],
)
def test_the_parameters_have_the_stated_laws(config, name, law, change):
    values = drawn(config, name)
    values = values if change is None else change(values)
    assert scipy.stats.kstest(values, law.cdf).pvalue > 1e-6
    assert scipy.stats.kstest(values * 1.2 + 0.02, law.cdf).pvalue < 1e-6, (
        "the check must see another scale"
    )


def test_constant_scales():
    assert np.all(
        drawn(
            LinearHeteroskedastic(noise_variance_law="constant", noise_variance_a=0.1), "noise_std"
        )
        == np.float32(math.sqrt(0.1))
    )
    assert np.all(
        drawn(LinearHeteroskedastic(noise_std_law="constant", noise_std_a=0.3), "noise_std")
        == np.float32(0.3)
    )
    assert np.all(drawn(MLPAdditive(), "noise_std") == np.float32(math.sqrt(0.1)))
    assert np.all(drawn(Periodic(), "noise_std") == np.float32(0.1))
    assert np.all(drawn(Logistic(root_std=2.0), "noise_std", roots=True) == 2.0)


def test_torch_bounds_are_those_of_torch():
    """First layer: the parents and the noise are the inputs; compared with torch's own layers of as
    many inputs."""
    hidden, config = 16, MLP(hidden=16, initialisation="torch")
    adjacency = torch.triu(torch.ones(6, 6), 1).expand(400, 6, 6)
    values = (
        MechanismFactory({"m": MechanismPart(mechanism=config)})
        .draw(randomness.seeds_of(3, start=0, count=400), adjacency)
        .parameters[0]
    )
    for j in (0, 2, 5):
        layer = torch.nn.Linear(j + 1, hidden * 400)
        mine = (
            torch.cat(
                [values["weight"][:, j, :, :j].flatten(), values["noise_weight"][:, j].flatten()]
            )
            .double()
            .numpy()
        )
        bound = float(layer.weight.detach().abs().max())
        assert abs(np.abs(mine).max() / bound - 1) < 0.01
        law = scipy.stats.uniform(-1 / math.sqrt(j + 1), 2 / math.sqrt(j + 1))
        assert scipy.stats.kstest(mine, law.cdf).pvalue > 1e-6
        assert (
            scipy.stats.kstest(values["bias"][:, j].flatten().double().numpy(), law.cdf).pvalue
            > 1e-6
        )


@pytest.mark.parametrize("layers", [2, 4])
def test_deep_networks_neither_blow_up_nor_fade_along_a_chain(layers):
    """The mean square is 1 at every depth of a chain, to 5 standard errors over networks."""
    config, size, count = MLP(hidden=12, hidden_layers=layers), 12, 800
    seeds, chain = (
        randomness.seeds_of(4, start=0, count=count),
        torch.diag(torch.ones(size - 1), 1).expand(count, size, size),
    )
    batch = MechanismFactory({"m": MechanismPart(mechanism=config)}).draw(seeds, chain)
    late = (
        batch.rows(randomness.normals(seeds, ("noise",), (32, size)))
        .double()
        .square()
        .mean(dim=1)[:, 3:]
        .mean(dim=1)
    )
    assert abs(late.mean() - 1) < 5 * late.std() / math.sqrt(count)


@pytest.mark.parametrize(
    "name", ["mlp_additive", "periodic", "square", "logistic", "linear_rff_noise", "tanh"]
)
def test_roots_have_a_law(name):
    """No root is a constant, and those of additive noise alone are the noise times its scale."""
    batch = MechanismFactory({"m": MechanismPart(mechanism=CONFIGS[name])}).draw(
        SEEDS, torch.zeros(len(SEEDS), 3, 3)
    )
    noise = randomness.normals(SEEDS, ("noise",), (50, 3))
    rows = batch.rows(noise)
    assert (rows.std(dim=1) > 0.03).all()
    if name not in ("linear_rff_noise", "tanh"):
        torch.testing.assert_close(rows, batch.parameters[0]["noise_std"][:, None] * noise)


def test_a_law_of_roots_replaces_that_of_the_others(adjacency):
    """Roots N(0, 1) beside other linear mechanisms (BCNP): still solved at once, children as
    without it."""
    linear = LinearHeteroskedastic(weight_scale=10.0, **GAMMA)
    part = {"m": MechanismPart(mechanism=linear)}
    factory = MechanismFactory(
        part, root=LinearHeteroskedastic(noise_std_law="constant", noise_std_a=1.0)
    )
    batch, plain = factory.draw(SEEDS, adjacency), MechanismFactory(part).draw(SEEDS, adjacency)
    noise = randomness.normals(SEEDS, ("noise",), (30, 9))
    rows, root = batch.rows(noise), adjacency.sum(dim=1) == 0
    torch.testing.assert_close(rows.mT[root], noise.mT[root])
    assert factory.proportions == {"m": 1.0}
    for b, j in torch.nonzero(torch.ones_like(root)).tolist():
        assert batch.mechanism(b, j).name == ("root" if root[b, j] else "m")
        if not root[b, j]:
            assert torch.equal(
                batch.mechanism(b, j).parameters["weight"],
                plain.mechanism(b, j).parameters["weight"],
            )
    torch.testing.assert_close(
        batch.rows(noise, by_level=True), rows, rtol=1e-4, atol=1e-4 * float(rows.abs().max())
    )


def test_the_variance_of_heteroskedastic_noise_has_the_stated_law():
    """h is normal with variance 4 up to the finite number of features, at roots and elsewhere; its
    covariance over parents is the RBF kernel's."""
    config = LinearRFFNoise(n_features=60)
    chain = torch.tensor([[0.0, 1.0], [0.0, 0.0]]).expand(3000, 2, 2)
    batch = MechanismFactory({"m": MechanismPart(mechanism=config)}).draw(
        randomness.seeds_of(5, start=0, count=3000), chain
    )
    x = torch.zeros(3000, 2, 2, dtype=torch.float64)
    x[:, 1, 0] = 10.0  # one length scale away
    _, std = batch.location_scale(x)
    h = torch.log(torch.expm1(std**2))  # [task, row, node]
    root, first, second = h[:, 0, 0], h[:, 0, 1], h[:, 1, 1]
    for values in (root, first, second):
        assert abs(values.mean()) < 5 * 2 / math.sqrt(3000)
        assert abs(values.var() / 4 - 1) < 5 * math.sqrt(2.2 / 3000)
    assert abs((first * second).mean() / 4 - math.exp(-0.5)) < 5 * math.sqrt(1.5 / 3000)
    assert abs((root * first).mean() / 4) < 5 * math.sqrt(1.2 / 3000)


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"kind": "periodic", "noise_std_a": 0.0}, "above 0"),
        ({"kind": "logistic", "root_std": 0.0}, "above 0"),
        ({"kind": "logistic", "growth": 5.0}, "at most 4"),
        ({"kind": "mlp_additive", "noise_variance_a": 0.0}, "above 0"),
        ({"kind": "linear", "noise_variance_law": "constant", "noise_variance_a": 0.0}, "above 0"),
        ({"kind": "polynomial", "degree": 1}, "at least 2"),
        ({"kind": "post_nonlinear", "nonlinearity": "sin"}, "'tanh', 'sigmoid', 'cube'"),
        (
            {"kind": "periodic", "weight_law": "uniform", "weight_low": 3.0, "weight_high": 1.0},
            "swap them",
        ),
        ({"kind": "polynomial", "noise_std_law": "uniform", "noise_std_a": 3.0}, "swap them"),
        ({"kind": "bge", "alpha_lambda_above_nodes": 1.0}, "above 1"),
        ({"kind": "mlp", "hidden_layers": 0}, "at least 1"),
    ],
)
def test_nonsense_is_refused(tree, says):
    with pytest.raises(ConfigError, match=says):
        from_plain(MechanismConfig, tree)
