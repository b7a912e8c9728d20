"""Random Fourier features: the functions have the RBF kernel's covariance and the stated laws,
whatever else is in the batch.

Bounds are 4.5 standard errors of fixed seeds (false alarms 7e-6 each, about 300 of them), or
Kolmogorov and Smirnov at 1e-6.
"""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from causal_meta import graphs, randomness
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.conf.mechanism_laws import MLP, RFF, LinearHeteroskedastic, MechanismPart
from causal_meta.conf.ranges import FloatRange, constant
from causal_meta.conf.setting import ConfigError
from causal_meta.datasets.graph_families import make_generator
from causal_meta.datasets.mechanisms import MechanismFactory, features

PLAIN = RFF(n_features=30)
HETERO = RFF(
    n_features=30, heteroskedastic=True, variance_length_scale=FloatRange(low=2.0, high=4.0)
)
SEEDS = randomness.seeds_of(0, "rff", start=0, count=24)
FACTORIES = {
    "rff": MechanismFactory({"rff": MechanismPart(mechanism=PLAIN)}),
    "heteroskedastic": MechanismFactory({"rff": MechanismPart(mechanism=HETERO)}),
    "with others": MechanismFactory(
        {
            "a": MechanismPart(mechanism=PLAIN),
            "b": MechanismPart(mechanism=LinearHeteroskedastic()),
            "c": MechanismPart(mechanism=MLP(hidden=5)),
        }
    ),
}


@pytest.fixture(scope="module")
def adjacency():
    return make_generator(ErdosRenyi(edges_per_node=2.0))(SEEDS, 9)


def wave(p, prefix, parents):
    """sum_m w_m cos(omega_m . x + phi_m) of parents [N, k], in float64."""
    k = parents.shape[1]
    return (
        np.cos(parents @ p[f"{prefix}frequency"][:k] + p[f"{prefix}phase"]) @ p[f"{prefix}weight"]
    )


def formula(mechanism, parents, noise):
    p = {name: value.double().numpy() for name, value in mechanism.parameters.items()}
    mean = p["bias"] + (wave(p, "", parents) if parents.shape[1] else 0.0)
    if "noise_std" in p:
        return mean + p["noise_std"] * noise
    return mean + np.sqrt(np.logaddexp(0, wave(p, "variance_", parents))) * noise


@pytest.mark.parametrize("name", ["rff", "heteroskedastic"])
def test_rows_against_a_plain_loop(name, adjacency):
    batch = FACTORIES[name].draw(SEEDS, adjacency)
    noise = randomness.normals(SEEDS, ("noise",), (40, 9))
    rows = batch.rows(noise)
    for b in range(len(SEEDS)):
        # parents as they came out: rounding does not grow along the graph
        x = rows[b].double().numpy()
        for j in range(9):
            expected = formula(
                batch.mechanism(b, j),
                x[:, np.nonzero(adjacency[b, :, j].numpy())[0]],
                noise[b, :, j].double().numpy(),
            )
            np.testing.assert_allclose(x[:, j], expected, atol=1e-3)
    assert not np.allclose(
        rows[0, :, 8].double(),
        formula(batch.mechanism(0, 7), rows[0, :, :0].double().numpy(), noise[0, :, 8].numpy()),
    )


@pytest.mark.parametrize("name", FACTORIES)
def test_a_task_is_the_same_in_every_batch(name, adjacency):
    noise = randomness.normals(SEEDS, ("noise",), (23, 9))
    together = FACTORIES[name].draw(SEEDS, adjacency).rows(noise)
    for some in (slice(0, 1), slice(3, 10), slice(15, 24)):
        alone = FACTORIES[name].draw(SEEDS[some], adjacency[some]).rows(noise[some])
        torch.testing.assert_close(alone, together[some], rtol=1e-4, atol=1e-3)
    other = FACTORIES[name].draw(SEEDS[1:2], adjacency[:1]).rows(noise[:1])
    assert (other - together[:1]).abs().max() > 0.1, "the check must see another seed"


@pytest.mark.parametrize("name", FACTORIES)
def test_parents_matter_and_others_do_not(name, adjacency):
    batch = FACTORIES[name].draw(SEEDS, adjacency)
    noise = randomness.normals(SEEDS, ("noise",), (40, 9))
    other = noise.clone()
    other[:, :, 4] += 1.0
    changed = (batch.rows(noise) - batch.rows(other)).abs().amax(dim=1) > 1e-5
    expected = graphs.ancestors(adjacency)[:, 4] != 0
    expected[:, 4] = True
    assert torch.equal(changed, expected)


def functions(config, points, count=6000):
    """Values [count, P] of the functions of one node (bias and noise left out) with as many parents
    as the points [P, k] have dimensions."""
    k = points.shape[1]
    adjacency = torch.zeros(count, k + 1, k + 1)
    adjacency[:, :k, k] = 1
    batch = MechanismFactory({"m": MechanismPart(mechanism=config)}).draw(
        randomness.seeds_of(5, start=0, count=count), adjacency
    )
    law, rows = batch.factory.laws[0], torch.arange(count)
    picked = law.pick(batch.parameters[0], rows, torch.full((count,), k), k)
    return features.sum_of_cosines(picked, points.mT.expand(count, k, len(points))).double()


def moments_agree(values, kernel, limit=4.5):
    """Whether the mean products of all pairs of columns are those of `kernel` [P, P], within
    standard errors."""
    products = values[:, :, None] * values[:, None, :]
    errors = products.std(dim=0) / math.sqrt(len(values))
    return bool(((products.mean(dim=0) - kernel).abs() < limit * errors).all())


@pytest.mark.parametrize(("k", "n_features"), [(1, 100), (3, 100), (3, 1), (2, 7)])
def test_the_functions_have_the_rbf_covariance(k, n_features):
    points = torch.from_numpy(np.random.default_rng(k).normal(size=(6, k)).astype(np.float32))
    config = RFF(n_features=n_features, length_scale=constant(1.7), output_scale=constant(3.0))
    values = functions(config, points)
    distance = torch.cdist(points.double(), points.double())
    assert moments_agree(values, 9 * torch.exp(-0.5 * (distance / 1.7) ** 2))
    assert not moments_agree(values, 9 * torch.exp(-0.5 * (distance / 2.5) ** 2)), (
        "the check must see another length scale"
    )
    assert ((values.mean(dim=0)) / values.std(dim=0) * math.sqrt(len(values))).abs().max() < 4.5


def test_many_features_are_nearly_a_gaussian_process():
    """One function's values are nearly normal; those of a single feature are not."""
    points = torch.zeros(1, 2)
    law = scipy.stats.norm(scale=3.0)
    many, one = (
        functions(RFF(n_features=m, output_scale=constant(3.0)), points)[:, 0].numpy()
        for m in (100, 1)
    )
    assert scipy.stats.kstest(many, law.cdf).pvalue > 1e-6
    assert scipy.stats.kstest(one, law.cdf).pvalue < 1e-6


def test_length_and_output_scales_are_drawn_for_every_node():
    """The mean square is E c² and the covariance E c² exp(-r²/2l²), over the ranges (l and c
    independent)."""
    config = RFF(
        n_features=20,
        length_scale=FloatRange(low=1.0, high=3.0),
        output_scale=FloatRange(low=1.0, high=2.0),
    )
    values = functions(config, torch.tensor([[0.0], [1.5]]), count=20_000)
    lengths = np.linspace(1, 3, 20_001)
    square, correlation = 7 / 3, np.exp(-0.5 * (1.5 / lengths) ** 2).mean()
    expected = square * torch.tensor([[1.0, correlation], [correlation, 1.0]], dtype=torch.float64)
    assert moments_agree(values, expected)
    assert not moments_agree(values, expected * 1.1)


@pytest.mark.parametrize(
    ("config", "law"),
    [
        (RFF(), scipy.stats.uniform(0.2, 1.8)),
        (
            RFF(noise_std_law="gamma", noise_std_a=2.5, noise_std_b=4.0),
            scipy.stats.gamma(2.5, scale=1 / 4),
        ),
    ],
    ids=["uniform", "gamma"],
)
def test_noise_and_bias_have_the_stated_laws(config, law):
    batch = MechanismFactory({"m": MechanismPart(mechanism=config)}).draw(
        randomness.seeds_of(7, start=0, count=300), torch.zeros(300, 8, 8)
    )
    drawn = batch.parameters[0]["noise_std"].flatten().double().numpy()
    assert scipy.stats.kstest(drawn, law.cdf).pvalue > 1e-6
    assert scipy.stats.kstest(drawn * 1.1, law.cdf).pvalue < 1e-6
    assert (
        scipy.stats.kstest(
            batch.parameters[0]["bias"].flatten().numpy(), scipy.stats.uniform(-3, 6).cdf
        ).pvalue
        > 1e-6
    )


def test_the_variance_of_a_root_and_of_a_child():
    """A root's variance is log(1 + exp(z)), z ~ N(0, 4); a child's residual variance has that mean
    too, and depends on the parent."""
    count, rows = 2000, 64
    adjacency = torch.zeros(count, 2, 2)
    adjacency[:, 0, 1] = 1
    seeds = randomness.seeds_of(8, start=0, count=count)
    config = RFF(
        heteroskedastic=True,
        output_scale=constant(0.0),
        bias_bound=0.0,
        n_features=100,
        variance_length_scale=constant(0.5),
    )
    x = (
        MechanismFactory({"m": MechanismPart(mechanism=config)})
        .draw(seeds, adjacency)
        .rows(randomness.normals(seeds, ("noise",), (rows, 2)))
    )
    squares = x.double().square().mean(dim=1)  # [count, 2]
    z, weight = np.polynomial.hermite_e.hermegauss(60)
    expected = (np.logaddexp(0, 2 * z) * weight).sum() / weight.sum()
    assert (
        (squares.mean(dim=0) - expected).abs() < 4.5 * squares.std(dim=0) / math.sqrt(count)
    ).all()
    assert not (
        (squares.mean(dim=0) - 1.2 * expected).abs() < 4.5 * squares.std(dim=0) / math.sqrt(count)
    ).any()
    kurtosis = x.double().pow(4).mean(dim=1) / squares.square()
    assert kurtosis[:, 0].mean() < 3.0 < kurtosis[:, 1].mean(), (
        "noise of one variance at a root, of many at a child"
    )


def test_large_angles_take_the_reduced_path_and_agree():
    """Inputs beyond the vectorised cosine's range give the cosines of their float32 angles."""
    picked = {
        "frequency": torch.full((2, 1, 3), 1.0),
        "inputs": torch.tensor([1, 1]),
        "phase": torch.zeros(2, 3),
        "weight": torch.full((2, 3), 1 / 3),
    }
    inputs = torch.tensor([[[1.0, 2.0, 3.0]], [[80_000.0, 90_000.5, 3.0]]])
    found = features.sum_of_cosines(picked, inputs)
    np.testing.assert_allclose(found.numpy(), np.cos(inputs[:, 0].double().numpy()), atol=1e-2)
    assert torch.equal(
        found[0],
        features.sum_of_cosines({name: value[:1] for name, value in picked.items()}, inputs[:1])[0],
    )


@pytest.mark.parametrize("columns", [5, 700])
def test_pieces_do_not_matter(monkeypatch, columns):
    """However little is evaluated at once, for functions of none to five inputs."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.tensor([0, 0, 1, 2, 2, 3, 5, 1, 0])
    picked = {
        "frequency": torch.randn(9, 5, 10, generator=generator)
        * (torch.arange(5) < counts[:, None])[..., None],
        "inputs": counts,
        "phase": torch.rand(9, 10, generator=generator),
        "weight": torch.randn(9, 10, generator=generator),
    }
    inputs = torch.randn(9, 5, columns, generator=generator)
    angles = (
        torch.einsum("bkm,bkn->bmn", picked["frequency"].double(), inputs.double())
        + picked["phase"].double()[..., None]
    )
    expected = (
        torch.einsum("bm,bmn->bn", picked["weight"].double(), angles.cos()) * (counts > 0)[:, None]
    )
    for cells in (1 << 19, 1 << 12, 1):
        monkeypatch.setattr(features, "_CELLS", cells)
        torch.testing.assert_close(
            features.sum_of_cosines(picked, inputs).double(), expected, rtol=0, atol=1e-4
        )


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"length_scale": constant(0.0)}, "above 0"),
        ({"output_scale": FloatRange(low=-1.0, high=1.0)}, "at least 0"),
        ({"noise_std_a": 3.0}, "swap them"),
        ({"n_features": 0}, "at least 1"),
    ],
)
def test_nonsense_is_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        RFF(**settings)
