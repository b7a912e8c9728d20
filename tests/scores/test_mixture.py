"""The mixture is the sum of its classes; tables, families, memories and members agree."""

import numpy as np
import pytest
from scipy.special import logsumexp

from causal_meta.scores import class_gains, mixture
from causal_meta.scores.additive import Additive
from causal_meta.scores.assumptions import ASSUMPTIONS, assumption_scores
from causal_meta.scores.bge import BGe
from causal_meta.scores.class_gains import ClassGains
from causal_meta.scores.features import Features
from causal_meta.scores.mixture import Mixture, MixtureWeights
from causal_meta.scores.noise import noise_gains
from causal_meta.scores.statistics import prepare

from .score_laws import every_family, family, linear_data


def mixed_data(seed, n):
    """Laplace noise, a scale that varies, a categorical variable."""
    r = np.random.default_rng(seed)
    a = r.laplace(size=n)
    b = a + np.exp(0.6 * np.tanh(a)) * r.normal(size=n)
    c = r.integers(0, 3, n)
    return np.column_stack([b + np.sin(a) + c + r.laplace(size=n), a, b, c])


def test_a_root_is_the_sum_of_its_noise_classes():
    table = prepare(mixed_data(0, 90)[:, :3])
    features = Features(table)
    weights = MixtureWeights(noise=0.3)
    score = Mixture(features, ClassGains(features), True, weights)
    gains = noise_gains(table.values[:, 1][None], np.zeros(1), np.zeros(1))[0]
    exact = family(BGe(table), 1, []) + np.log(0.7 + 0.3 * np.exp(gains).mean())
    assert family(score, 1, []) == pytest.approx(exact, abs=1e-8)


def test_a_family_is_the_sum_of_its_classes():
    features = Features(prepare(mixed_data(1, 90)[:, :3]))
    gains, weights = ClassGains(features), MixtureWeights(additive=0.4, noise=0.3, variance=0.1)
    score = Mixture(features, gains, True, weights)
    parents = np.array([[1]])
    linear, additive = (
        float(part.families(2, parents)[0]) for part in (BGe(features.table), Additive(features))
    )
    constant = gains.constant(2, parents)[0]
    variance, varying = (part[0] for part in gains.varying(2, parents))
    assert np.isfinite(variance)
    shares = np.log(np.append(0.7, np.full(6, 0.05)))
    mechanisms = np.logaddexp(np.log(0.6) + linear, np.log(0.4) + additive)
    terms = np.concatenate([
        np.log(0.9) + mechanisms + shares + np.append(0, constant),
        np.log(0.1) + additive + variance + shares + np.append(0, varying),
    ])  # fmt: skip
    assert family(score, 2, [1]) == pytest.approx(logsumexp(terms), abs=1e-8)
    only_mechanisms = family(Mixture(features, weights=weights), 2, [1])
    assert only_mechanisms == pytest.approx(mechanisms, abs=1e-8)


def test_shares_of_classes_are_what_leaving_a_class_out_takes_away():
    features = Features(prepare(mixed_data(1, 90)[:, :3]))
    gains, parents = ClassGains(features), np.array([[1], [2]])
    weights = {"additive": 0.4, "noise": 0.3, "variance": 0.1}
    whole = Mixture(features, gains, True, MixtureWeights(**weights))
    shares = whole.class_shares(0, parents)
    total = whole.families(0, parents)

    def left(**changed):
        return Mixture(features, gains, True, MixtureWeights(**(weights | changed)))

    # the evidence without a class, by its prior, times the prior of the rest
    gaussian = np.exp(left(noise=0.0).families(0, parents) - total) * 0.7
    np.testing.assert_allclose(1 - shares.other_noise, gaussian, rtol=1e-8)
    constant = np.exp(left(variance=0.0).families(0, parents) - total) * 0.9
    np.testing.assert_allclose(1 - shares.varying, constant, rtol=1e-6, atol=1e-12)
    plain = Mixture(features, weights=MixtureWeights(**weights)).families(0, parents)
    linear = BGe(features.table).families(0, parents)
    among_constant = shares.nonlinear / (1 - shares.varying)
    np.testing.assert_allclose(1 - among_constant, 0.6 * np.exp(linear - plain), atol=1e-8)
    root = whole.class_shares(0, np.zeros((1, 0), int))
    assert (root.nonlinear, root.varying) == (0, 0)


def test_shares_of_classes_name_what_a_table_was_made_with():
    r = np.random.default_rng(4)
    x, e = r.normal(size=(2, 400))
    tables = {
        "nothing": np.column_stack([x, x + e]),
        "nonlinear": np.column_stack([x, np.sin(2 * x) + 0.3 * e]),
        "other_noise": np.column_stack([x, x + r.laplace(size=400)]),
        "varying": np.column_stack([x, x + np.exp(0.8 * x) * e]),
    }
    for made, table in tables.items():
        features = Features(prepare(table))
        shares = Mixture(features, ClassGains(features), True).class_shares(1, np.array([[0]]))
        for name in ("nonlinear", "other_noise", "varying"):
            assert (getattr(shares, name)[0] > 0.5) == (name == made), (made, name)


@pytest.mark.parametrize("assumption", ASSUMPTIONS)
def test_tables_and_families_agree_whatever_is_remembered(assumption, monkeypatch):
    x, kinds = mixed_data(2, 60), [0, 0, 0, 3]
    score = assumption_scores(x, kinds)[assumption]
    for v in range(4):
        table = score.table(v, np.array([u for u in (3, 1, 0, 2) if u != v]), 3)
        fresh = assumption_scores(x, kinds)[assumption]
        order = [u for u in (3, 1, 0, 2) if u != v]
        for b in range(8):
            parents = [u for k, u in enumerate(order) if b >> k & 1]
            assert table[b] == pytest.approx(family(fresh, v, parents), abs=1e-6)
    monkeypatch.setattr(class_gains, "_CELLS", 100)
    monkeypatch.setattr(class_gains, "_REMEMBERED", 3)
    small = assumption_scores(x, kinds)[assumption]
    np.testing.assert_allclose(
        small.table(0, np.array([1, 2, 3]), 2), score.table(0, np.array([1, 2, 3]), 2), atol=1e-6
    )


def test_members_share_what_they_compute():
    scores = assumption_scores(mixed_data(3, 60)[:, :3])
    scores["noise"].table(0, np.array([1, 2]), 2)
    known = len(scores["noise"]._gains._known)
    scores["variance"].table(0, np.array([1, 2]), 2)
    assert scores["variance"]._gains is scores["noise"]._gains
    # the variance adds its own gains for the three families with parents
    assert len(scores["noise"]._gains._known) == known + 3


def test_superfluous_parents_are_not_given_gains():
    r = np.random.default_rng(4)
    x = np.column_stack([r.laplace(size=300), r.normal(size=(300, 6))])
    features = Features(prepare(x))
    gains = ClassGains(features)
    score = Mixture(features, gains)
    table = score.table(0, np.arange(1, 7), 6)
    computed = sum(key[0] == "_constant_gains" for key in gains._known)
    assert 7 < computed < 63
    # what is neglected is far below the best
    assert table[63] < table.max() - 20
    assert table[0] > table[1:].max()


def test_families_far_below_the_best_have_their_gains():
    """In a chain of strong effects the best parents of a variable include its child; the family of
    its cause alone, hundreds of nats below, is what the true graph consists of."""
    r = np.random.default_rng(9)
    x = r.laplace(size=(300, 6))
    for v in range(1, 6):
        x[:, v] += 2 * x[:, v - 1]
    score = assumption_scores(x)["variance"]
    table = score.table(2, np.array([0, 1, 3, 4, 5]), 5)
    assert table[2] < table.max() - 100
    plain = score._mechanisms.table(2, np.array([0, 1, 3, 4, 5]), 5)[0]
    assert table[2] > plain[2] + 10
    for b in range(32):
        parents = [u for k, u in enumerate([0, 1, 3, 4, 5]) if b >> k & 1]
        assert table[b] == pytest.approx(family(score, 2, parents), abs=1e-6)


def superfluous_choices():
    """In how many of 12 draws with uniform noise the best parents of 0 are not exactly 1 and 2."""
    wrong = 0
    for seed in range(12):
        x = np.random.default_rng(seed).uniform(-1, 1, size=(300, 7))
        x[:, 0] += x[:, 1] - x[:, 2]
        table = assumption_scores(x)["noise"].table(0, np.arange(1, 7), 3)
        wrong += int(table.argmax()) != 3
    return wrong


def test_bounded_noise_adds_no_parents(monkeypatch):
    """Without doubt about means, residuals that are lucky at the bounds buy superfluous parents."""
    assert superfluous_choices() == 0
    gains = class_gains.noise_gains
    monkeypatch.setattr(class_gains, "noise_gains", lambda r, h, d: gains(r, h, 0 * d))
    assert superfluous_choices() > 0


def test_linear_gaussian_data_have_no_direction():
    """Mean log Bayes factors of complete graphs of opposite orders vanish."""
    factors = []
    for seed in range(12):
        score = assumption_scores(linear_data(seed, 300, 2))["variance"]
        factors.append(
            family(score, 0, []) + family(score, 1, [0])
            - family(score, 1, []) - family(score, 0, [1])
        )  # fmt: skip
    assert abs(np.mean(factors)) < 0.3
    assert np.max(np.abs(factors)) < 2


def test_units_signs_and_the_order_of_rows_do_not_matter():
    x = mixed_data(5, 80)[:, :3]
    changed = (x * [1e-3, -1e290, -7.0])[::-1] + np.array([5.0, 0, -3.0])
    tables = [assumption_scores(t)["variance"].table(0, np.array([1, 2]), 2) for t in (x, changed)]
    np.testing.assert_allclose(*tables, rtol=1e-6)


def test_rows_in_which_a_variable_was_set_do_not_count_for_it():
    x = mixed_data(6, 90)[:, :3]
    intervened = np.zeros_like(x, dtype=bool)
    intervened[60:, 0] = True
    before = family(assumption_scores(x, None, intervened)["variance"], 0, [1, 2])
    x[60:, 0] = 9.0
    after = assumption_scores(x, None, intervened)["variance"]
    assert family(after, 0, [1, 2]) == pytest.approx(before, abs=1e-8)
    assert abs(family(assumption_scores(x)["variance"], 0, [1, 2]) - before) > 1


def test_more_rows_than_are_used_for_gains(monkeypatch):
    x = mixed_data(7, 400)[:, :3]
    whole = assumption_scores(x)["noise"]
    monkeypatch.setattr(class_gains, "MAX_ROWS", 100)
    capped = assumption_scores(x)["noise"]
    linear = assumption_scores(x)["linear"]
    # the gain of a Laplace root, from a quarter of the rows, is smaller and still a gain
    gains = [family(score, 1, []) - family(linear, 1, []) for score in (whole, capped)]
    assert gains[0] > gains[1] > 0


@pytest.mark.parametrize("n", [1, 2, 3, 6, 40])
def test_bad_tables_give_finite_scores(n):
    r = np.random.default_rng(8)
    a = r.normal(size=n)
    x = np.column_stack(
        [a, a, 1e300 * a / 8, np.ones(n), np.round(a), r.standard_cauchy(n), np.arange(n) % 2]
    )
    for score in assumption_scores(x, [0, 0, 0, 0, 0, 0, 2]).values():
        for v in range(7):
            assert np.isfinite(score.table(v, np.array([u for u in range(7) if u != v]), 3)).any()
            parents = np.array([p for p in every_family(7, v) if len(p) == 4])
            assert np.isfinite(score.families(v, parents)).all()


@pytest.mark.parametrize("wrong", [{"noise": 1.0}, {"additive": -0.1}])
def test_weights_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=r"lie in \[0, 1\)"):
        MixtureWeights(**wrong)


def dependent_noise(seed, n):
    """Laplace and skewed noise, a sine, a variance that follows a cause; the last column hangs on
    most of the others."""
    r = np.random.default_rng(seed)
    x = r.laplace(size=(n, 6))
    x[:, 1] = np.sin(2 * x[:, 0]) + r.exponential(size=n)
    x[:, 2] = x[:, 1] + np.exp(0.7 * np.tanh(x[:, 0])) * r.normal(size=n)
    x[:, 3] = 0.5 * x[:, 2] - x[:, 0] + r.uniform(-1, 1, size=n) ** 3
    x[:, 5] = 0.6 * (x[:, 1] + x[:, 2] - x[:, 4]) + r.laplace(size=n) * np.abs(x[:, 4])
    return x


def evidences(table):
    """For every set of predecessors of a node (bits), the evidence of the families that it allows:
    the log of the sum over its subsets. A posterior over orders depends on these alone."""
    sums = table.copy()
    for k in range(int(np.log2(len(table)))):
        has = np.arange(len(table)) >> k & 1 == 1
        sums[has] = np.logaddexp(sums[has], sums[~has])
    return sums


def node_tables(x, assumption):
    """The tables of all subsets of the other variables, of every node."""
    score = assumption_scores(x)[assumption]
    d = x.shape[1]
    return [score.table(v, np.array([u for u in range(d) if u != v])) for v in range(d)]


def largest_change(tables, others):
    """The largest difference of an evidence, over nodes and sets of predecessors."""
    pairs = zip(tables, others, strict=True)
    return max(np.abs(evidences(a) - evidences(b)).max() for a, b in pairs)


@pytest.mark.parametrize("made", [dependent_noise, lambda seed, n: linear_data(seed, n, 6)])
def test_what_superfluous_parents_would_gain_matters_in_no_order(made, monkeypatch):
    x = made(0, 120)
    for assumption in ("noise", "variance"):
        tables = node_tables(x, assumption)
        with monkeypatch.context() as patch:
            patch.setattr(mixture, "SUPERFLUOUS", 1e9)
            assert largest_change(tables, node_tables(x, assumption)) < 0.02
        assert evidences(tables[0])[-1] == pytest.approx(logsumexp(tables[0]))


def test_the_law_of_superfluous_parents_sees_gains_that_are_missing(monkeypatch):
    x = dependent_noise(0, 120)
    tables = node_tables(x, "variance")
    monkeypatch.setattr(mixture, "SUPERFLUOUS", -1.0)
    assert largest_change(tables, node_tables(x, "variance")) > 1
