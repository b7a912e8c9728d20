"""Random numbers: named streams that share no number, and batched transforms with the stated
laws.

Statistical bounds are 5 standard errors or more; fewer than 40 of them give a false-alarm rate
below 3e-5 per change of the fixed seeds.
"""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from causal_meta import randomness
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.graph_laws import ErdosRenyi, GraphMixture, GraphPart, ScaleFree
from causal_meta.conf.mechanism_laws import MLP, LinearHeteroskedastic, MechanismPart
from causal_meta.conf.ranges import fixed
from causal_meta.datasets.scm import SCMFamily

SEEDS = randomness.seeds_of(0, "test", start=0, count=400)


def test_a_name_is_coded_so_that_no_two_lists_of_names_meet():
    lists = [("ab",), ("a", "b"), ("a", "b", ""), (1,), ("1",), (12,), (1, 2), ("i1:1",), (-1,), ()]
    assert len(
        {randomness.key(seed, *names) for names in lists for seed in (0, 1, -1, 12)}
    ) == 4 * len(lists)


def test_seeds_beyond_32_bits_count():
    """Torch's own generator gives one stream for 1 and 1 + 2^32."""
    assert not torch.equal(*(randomness.bits([seed], ("a",), 64) for seed in (1, 1 + 2**32)))


def test_bits_are_numpys_philox_under_our_key():
    drawn = randomness.bits([7, 8], ("graph", 3), 11)
    for row, seed in zip(drawn, (7, 8), strict=True):
        raw = np.random.Philox(
            key=np.array(randomness.key(seed, "graph", 3), dtype=np.uint64)
        ).random_raw(6)
        assert row.tolist() == raw.astype("<u8").view("<i4")[:11].tolist()
    assert randomness.generator(7, "graph", 3).bit_generator.random_raw() == int(raw_first(7))


def raw_first(seed):
    low, high = (int(word) & 0xFFFFFFFF for word in randomness.bits([seed], ("graph", 3), 2)[0])
    return low + (high << 32)


def test_golden_values():
    """The same on every machine: a change here changes every stored artifact's meaning."""
    assert randomness.key(0, "noise", 1) == GOLDEN_KEY
    assert randomness.seeds_of(0, "train", start=0, count=2) == GOLDEN_SEEDS
    assert randomness.bits([1], ("noise",), 4)[0].tolist() == GOLDEN_BITS


GOLDEN_KEY = (13607282277808955473, 7504074931256995980)
GOLDEN_SEEDS = [854977254375482907, 4605992752393094068]
GOLDEN_BITS = [1813277597, -900836683, 866360569, -1206753548]


def student_ts(seeds, names, shape):
    return randomness.student_ts(seeds, names, shape, 3.0)


DRAWS = [
    randomness.uniforms,
    randomness.normals,
    randomness.laplaces,
    randomness.cauchys,
    randomness.gumbels,
    student_ts,
]


@pytest.mark.parametrize("draw", DRAWS, ids=lambda f: f.__name__)
class TestDraws:
    def test_a_row_depends_on_its_seed_alone(self, draw):
        together = draw(SEEDS[:9], ("a",), (37, 3))
        assert together.dtype == torch.float32
        for b in (0, 4, 8):
            assert torch.equal(draw([SEEDS[b]], ("a",), (37, 3))[0], together[b])

    def test_the_first_rows_do_not_depend_on_how_many_follow(self, draw):
        assert torch.equal(
            draw(SEEDS[:3], ("a",), (50, 7))[:, :20], draw(SEEDS[:3], ("a",), (20, 7))
        )

    def test_nothing_depends_on_threads_or_the_size_of_the_batch(self, draw):
        before = torch.get_num_threads()
        expected = draw(SEEDS, ("a",), (300,))
        try:
            torch.set_num_threads(2)
            assert torch.equal(draw(SEEDS, ("a",), (300,)), expected)
        finally:
            torch.set_num_threads(before)

    def test_empty_shapes(self, draw):
        assert draw([], ("a",), (3,)).shape == (0, 3)
        assert draw([1, 2], ("a",), (0, 4)).shape == (2, 0, 4)
        assert draw([1, 2], ("a",), ()).shape == (2,)

    def test_the_global_generators_stay_as_they_were(self, draw):
        before = torch.get_rng_state(), np.random.get_state()[1].copy()
        draw(SEEDS, ("a",), (5,))
        randomness.torch_generator(3, "a")
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.array_equal(np.random.get_state()[1], before[1])


LAWS = {  # draw, distribution function, raw moments
    "uniforms": (randomness.uniforms, scipy.stats.uniform().cdf, lambda k: 1 / (k + 1)),
    "normals": (
        randomness.normals,
        scipy.stats.norm().cdf,
        lambda k: 0 if k % 2 else math.prod(range(1, k, 2)),
    ),
    "laplaces": (
        randomness.laplaces,
        scipy.stats.laplace(scale=math.sqrt(0.5)).cdf,
        lambda k: 0 if k % 2 else math.factorial(k) / 2 ** (k / 2),
    ),
}


def fits(values, cdf, moment):
    """Kolmogorov and Smirnov at 1e-6, and the first four raw moments within 5 standard errors."""
    values = values.double().flatten().numpy()
    moments = all(
        abs((values**k).mean() - moment(k))
        < 5 * math.sqrt((moment(2 * k) - moment(k) ** 2) / values.size)
        for k in (1, 2, 3, 4)
    )
    return moments and scipy.stats.kstest(values, cdf).pvalue > 1e-6


@pytest.mark.parametrize("name", LAWS)
def test_the_laws(name):
    draw, *law = LAWS[name]
    values = draw(SEEDS, ("law",), (500,))
    assert fits(values, *law)
    assert not fits(values * 1.02, *law), "the check must see a scale that is 2 % off"
    assert not fits(values + 0.02, *law), "the check must see a shift"


def test_normals_are_box_and_muller():
    """Against the formula in float64 on the same bits."""
    raw = randomness.bits([3], ("a",), 32)[0].double().numpy()
    radius, angle = np.sqrt(-2 * np.log(np.abs(raw[:16]) / 2**31)), raw[16:] * np.pi / 2**31
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    np.testing.assert_allclose(
        randomness.normals([3], ("a",), (32,))[0].numpy(), expected, atol=3e-6
    )


HEAVY = {
    "cauchy": (randomness.cauchys, scipy.stats.cauchy()),
    "gumbel": (
        randomness.gumbels,
        scipy.stats.gumbel_r(-np.euler_gamma * math.sqrt(6) / math.pi, math.sqrt(6) / math.pi),
    ),
    **{
        f"t, {df} df": (lambda *a, df=df: randomness.student_ts(*a, df), scipy.stats.t(df))
        for df in (0.7, 1.0, 2.5, 8.0)
    },
}


@pytest.mark.parametrize("name", HEAVY)
def test_the_laws_with_few_moments(name):
    """Kolmogorov and Smirnov at 1e-6, and both tails at 1 in 2,000 within 5 standard errors."""
    draw, law = HEAVY[name]

    def fits(values):
        tails = [(values < law.ppf(5e-4)).sum(), (values > law.isf(5e-4)).sum()]
        return scipy.stats.kstest(values, law.cdf).pvalue > 1e-6 and all(
            abs(t - 100) < 50 for t in tails
        )

    values = draw(SEEDS, ("law",), (500,)).double().flatten().numpy()
    assert fits(values)
    assert not fits(values * 1.05)
    assert not fits(values + 0.03)


def test_extreme_bits_give_finite_numbers(monkeypatch):
    """Of all half-words at the ends, in both places where the polar method takes two."""
    ends = [-(2**31), -1, 0, 1, 2**31 - 1]
    pairs = torch.tensor(
        [[word for first in ends for second in ends for word in (first, second)] + [0] * 14],
        dtype=torch.int32,
    )
    monkeypatch.setattr(randomness, "bits", lambda seeds, names, count: pairs[:, :count])
    assert torch.isfinite(randomness.cauchys([0], (), (32,))).all()
    assert torch.isfinite(randomness.gumbels([0], (), (32,))).all()
    for df in (0.7, 3.0, 1e6):
        assert torch.isfinite(randomness.student_ts([0], (), (32,), df)).all()


def test_uniforms_never_reach_the_ends(monkeypatch):
    extremes = torch.tensor([[-(2**31), -1, 0, 2**31 - 1] * 8], dtype=torch.int32)
    monkeypatch.setattr(randomness, "bits", lambda seeds, names, count: extremes[:, :count])
    u = randomness.uniforms([0], (), (4,))
    assert u.min() > 0
    assert u.max() < 1
    assert torch.isfinite(randomness.normals([0], (), (32,))).all()
    assert torch.isfinite(randomness.laplaces([0], (), (4,))).all()


def test_permutations_are_uniform():
    """Chi-squared over the 24 orders of 4; the check rejects orders that favour the identity."""
    orders = randomness.permutations(randomness.seeds_of(1, start=0, count=24_000), ("p",), 4)
    assert torch.equal(orders.sort(dim=1).values, torch.arange(4).expand(len(orders), 4))

    def uniform(orders):
        counts = np.unique(orders.numpy() @ np.array([64, 16, 4, 1]), return_counts=True)[1]
        return len(counts) == 24 and scipy.stats.chisquare(counts).pvalue > 1e-6

    assert uniform(orders)
    biased = orders.clone()
    biased[:400] = torch.arange(4)
    assert not uniform(biased)


# ------------------------------------------------------- graph, mechanism and noise share no number


@pytest.fixture
def wide():
    parts = {
        "linear": MechanismPart(mechanism=LinearHeteroskedastic(bias_bound=1.0)),
        "mlp": MechanismPart(mechanism=MLP()),
    }
    graph = GraphMixture(
        parts={"er": GraphPart(graph=ErdosRenyi()), "sf": GraphPart(graph=ScaleFree())}
    )
    return SCMFamily(
        FamilyConfig(graph=graph, mechanisms=parts, n_nodes=fixed(6), n_rows=fixed(10))
    )


def drawn_numbers(family, monkeypatch):
    """The first half-words behind every purpose of every task, as drawn: purpose -> {seed:
    numbers}."""
    numbers = {}
    original = randomness.bits

    def spy(seeds, names, count):
        raw = original(seeds, names, count)
        assert not set(seeds) & set(numbers.get(names, {})), f"{names} were drawn twice for a seed"
        numbers.setdefault(names, {}).update(zip(seeds, raw[:, :20].double(), strict=True))
        return raw

    with monkeypatch.context() as patch:
        patch.setattr(randomness, "bits", spy)
        family.sample_tasks(randomness.seeds_of(5, start=0, count=3000))
    return numbers


def share_numbers(numbers):
    """Whether any two purposes are correlated over the seeds: some of all the coefficients beyond
    6.5 standard errors."""
    names = [name for name in numbers]
    for k, first in enumerate(names):
        for second in names[k + 1 :]:
            both = sorted(set(numbers[first]) & set(numbers[second]))
            if len(both) < 200:
                continue
            a, b = (torch.stack([numbers[name][seed] for seed in both]) for name in (first, second))
            a, b = ((values - values.mean(0)) / values.std(0) for values in (a[:, :20], b[:, :20]))
            if (a.mT @ b / len(both)).abs().max() > 6.5 / len(both) ** 0.5:
                return True
    return False


def test_graph_mechanism_and_noise_share_no_number(wide, monkeypatch):
    """About 20,000 coefficients at 6.5 standard errors: false alarms below 2e-6."""
    numbers = drawn_numbers(wide, monkeypatch)
    assert {names[0].split()[0] for names in numbers} == {"graph", "mechanism", "noise"}
    assert not share_numbers(numbers)


def test_the_check_detects_a_shared_stream(wide, monkeypatch):
    original = randomness._digests
    monkeypatch.setattr(randomness, "_digests", lambda seeds, names: original(seeds, ()))
    assert share_numbers(drawn_numbers(wide, monkeypatch))


def test_the_check_detects_streams_of_one_offset(wide, monkeypatch):
    """Also where only the noise repeats the numbers of the graph."""
    original = randomness._digests
    monkeypatch.setattr(
        randomness,
        "_digests",
        lambda seeds, names: original(seeds, ("graph", "order") if names == ("noise",) else names),
    )
    assert share_numbers(drawn_numbers(wide, monkeypatch))
