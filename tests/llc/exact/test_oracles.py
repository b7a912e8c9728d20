"""Exact learning coefficients: closed forms against each other, over all small cases, and published
values."""

import itertools
from fractions import Fraction

import numpy as np
import pytest

from causal_meta.llc.exact.oracles import (
    Coefficient,
    active_widths,
    deep_linear,
    deep_linear_at,
    normal_crossing,
    power_sum,
    rank_pattern,
    reduced_rank,
    reduced_rank_at,
    regular,
)

CASES = [
    (m, h, n, r)
    for m, h, n in itertools.product(range(1, 9), repeat=3)
    for r in range(min(m, h, n) + 1)
]


def points(m, h, n, r):
    """All ranks that the two factors can have."""
    return [
        (a, b) for a in range(r, min(h, m) + 1) for b in range(r, min(n, h) + 1) if a + b - r <= h
    ]


def fibre_minimum(m, h, n, r, local=reduced_rank_at):
    """The least λ over the fibre and, where it is attained, the largest m."""
    values = [local(m, h, n, r, a, b) for a, b in points(m, h, n, r)]
    least = min(value for value, _ in values)
    return Coefficient(least, max(m for value, m in values if value == least))


def agreements(first, second):
    return sum(first(*case) == second(*case) for case in CASES)


def test_the_table_is_the_deep_linear_formula_of_two_layers():
    """Aoyagi and Watanabe 2005 against Aoyagi 2024: λ and m in all 1,808 cases."""
    assert len(CASES) == 1808
    assert agreements(reduced_rank, lambda m, h, n, r: deep_linear((m, h, n), r)) == 1808


def test_the_table_is_the_minimum_over_the_fibre():
    assert agreements(reduced_rank, fibre_minimum) == 1808


def test_the_least_value_is_where_both_factors_have_the_rank_of_the_map():
    assert agreements(reduced_rank, lambda m, h, n, r: reduced_rank_at(m, h, n, r, r, r)) == 1808


def without_odd_case(m, h, n, r):
    value, order = reduced_rank(m, h, n, r)
    return Coefficient(value - Fraction(order - 1, 8), order)


def without_multiplicity(m, h, n, r):
    return Coefficient(deep_linear((m, h, n), r).value, 1)


def all_layers_active(m, h, n, r):
    d = [m - r, h - r, n - r]
    total = sum(d)
    pairs = d[0] * d[1] + d[0] * d[2] + d[1] * d[2]
    odd = total % 2
    return Coefficient(
        Fraction(r * (m + n) - r * r, 2)
        + Fraction(odd, 8)
        - Fraction(total * total, 8)
        + Fraction(pairs, 2),
        1 + odd,
    )


def without_square(m, h, n, r, a, b):
    q, p, k, g = n * a + b * m - a * b, n - b, m - a, h - a - b + r
    costs = [g * k + t * (p - g - k) for t in range(min(g, k) + 1)]
    return Coefficient(Fraction(q + min(costs), 2), costs.count(min(costs)))


@pytest.mark.parametrize(
    "wrong",
    [
        without_odd_case,
        without_multiplicity,
        all_layers_active,
        lambda *case: fibre_minimum(*case, local=without_square),
    ],
    ids=["without odd case", "without multiplicity", "all layers active", "without square"],
)
def test_these_checks_reject_wrong_formulas(wrong):
    assert agreements(reduced_rank, wrong) < 1808


def test_transposed_maps_have_the_same_coefficients():
    for m, h, n, r in CASES:
        assert reduced_rank(m, h, n, r) == reduced_rank(n, h, m, r)
        for a, b in points(m, h, n, r):
            assert reduced_rank_at(m, h, n, r, a, b) == reduced_rank_at(n, h, m, r, b, a)


DEEP = [
    (widths, r)
    for depth in (4, 5)
    for widths in itertools.product(range(1, 5), repeat=depth)
    for r in range(min(widths) + 1)
]


def test_the_order_of_hidden_widths_does_not_matter():
    """Nor does transposition; but the outer widths may not change places with hidden ones where r >
    0."""
    moved = 0
    for widths, r in DEEP:
        value = deep_linear(widths, r)
        assert (
            value
            == deep_linear((widths[0], *sorted(widths[1:-1]), widths[-1]), r)
            == deep_linear(widths[::-1], r)
        )
        moved += value != deep_linear(widths[1:] + widths[:1], r)
    assert moved > 100
    assert all(
        deep_linear(widths, 0) == deep_linear(sorted(widths), 0) for widths, r in DEEP if r == 0
    )


def conditions(excess, chosen):
    """Aoyagi 2024, theorem 1, (i) to (iii), word for word."""
    inside, outside = (
        [excess[i] for i in chosen],
        [d for i, d in enumerate(excess) if i not in chosen],
    )
    ell = len(inside) - 1
    first = all(x < y for x in inside for y in outside)
    return (
        first
        and all(sum(inside) >= ell * x for x in inside)
        and all(sum(inside) < ell * y for y in outside)
    )


def test_one_set_of_layers_decides():
    """Among all subsets of at least two layers, exactly one fulfils the conditions, and it is the
    result."""
    for size in (2, 3, 4, 5):
        for excess in itertools.product(range(5), repeat=size):
            fulfilled = [
                s
                for k in range(2, size + 1)
                for s in itertools.combinations(range(size), k)
                if conditions(excess, s)
            ]
            assert fulfilled == [active_widths(excess)]


def test_a_width_that_is_no_bottleneck_does_not_matter():
    """A hidden width so large that S excludes it; and one layer is regular."""
    for widths, r in DEEP[::7]:
        assert deep_linear((*widths[:-1], 40, widths[-1]), r) == deep_linear(widths, r)
    assert all(
        deep_linear((m, n), r) == regular(m * n)
        for m, n in itertools.product(range(1, 6), repeat=2)
        for r in range(min(m, n) + 1)
    )


def test_full_rank_is_regular():
    """Both factors of full rank H = r: λ = (P - H²) / 2, H² the dimension of the changes of basis
    between them; a wide H leaves the map free."""
    for m, n in itertools.product(range(1, 9), repeat=2):
        for h in range(1, min(m, n) + 1):
            assert reduced_rank(m, h, n, h) == regular(h * (m + n), flat=h * h)
        assert reduced_rank(m, m + n + 1, n, 0) == regular(m * n)


def test_local_values_are_at_least_the_global_one():
    """λ is least at the deepest point; layers of full rank around it can be merged into one."""
    known, total = 0, 0
    for widths, r in DEEP:
        if len(widths) != 4:
            continue
        for ranks in itertools.product(
            *(range(r, min(pair) + 1) for pair in itertools.pairwise(widths))
        ):
            if any(a + b - r > h for a, b, h in zip(ranks, ranks[1:], widths[1:], strict=False)):
                continue
            local, total = deep_linear_at(rank_pattern(widths, r, ranks)), total + 1
            if local is not None:
                known += 1
                assert local.value >= deep_linear(widths, r).value
    assert known > 0.5 * total
    # no formula is known: no number
    assert deep_linear_at(rank_pattern((4, 3, 3, 4), 1, (1, 2, 1))) is None


def ranks_of_products(layers):
    """The rank pattern of given matrices."""
    widths = [layers[0].shape[1], *(len(layer) for layer in layers)]
    pattern = [[0] * len(widths) for _ in widths]
    for i in range(len(widths)):
        product = np.eye(widths[i])
        pattern[i][i] = widths[i]
        for j in range(i, len(layers)):
            product = layers[j] @ product
            pattern[i][j + 1] = int(np.linalg.matrix_rank(product))
    return pattern


def test_layers_of_full_rank_are_merged():
    """An invertible layer put anywhere inside, or a wide hidden layer entered and left at full
    rank, changes nothing."""
    random = np.random.default_rng(0)
    for (m, h, n, r), _ in zip(CASES[5::37], range(40), strict=False):
        a, b = np.zeros((h, m)), np.zeros((n, h))
        a[range(r), range(r)], b[range(r), range(r)] = 1, 1
        square, wide = random.standard_normal((h, h)), random.standard_normal((h + 2, h))
        back = np.linalg.pinv(wide)
        expected = reduced_rank_at(m, h, n, r, r, r)
        for layers in (
            [a, b],
            [a, square, b @ np.linalg.inv(square)],
            [a, wide, b @ back],
            [a, wide, back, b],
        ):
            assert deep_linear_at(ranks_of_products(layers)) == expected


def test_forms_of_one_variable_agree():
    """w^e is a sum of powers and a normal crossing; w² is regular; a Jacobian exponent counts like
    further coordinates."""
    for exponent in (2, 4, 6, 8):
        assert power_sum([exponent]) == normal_crossing([exponent]) == (Fraction(1, exponent), 1)
    assert power_sum([2] * 7) == regular(7)
    for dimension in range(1, 9):  # polar coordinates: K = r², Jacobian r^{d-1}
        assert normal_crossing([2], jacobian=[dimension - 1]) == regular(dimension)
    assert normal_crossing([2, 4, 4, 0]) == (Fraction(1, 4), 2)


PUBLISHED = [
    ((5, 3, 5), 0, 6.5), ((5, 4, 5), 0, 8), ((4, 3, 8), 0, 6), ((8, 3, 4), 0, 6), ((3, 8, 4), 0,
    6), ((5, 4, 5), 2, 10.5), ((4, 3, 3, 4), 1, 5.5),
]  # fmt: skip


@pytest.mark.parametrize(("widths", "rank", "value"), PUBLISHED, ids=str)
def test_published_values(widths, rank, value):
    """Values of the tests of devinterp 1.3, and published measurements."""
    assert deep_linear(widths, rank).value == Fraction(value)


def test_multiplicities_of_products_of_scalars():
    """Widths 1, rank 0: K = (w_1 ⋯ w_L)² is a normal crossing of λ = ½, m = L."""
    for depth in range(1, 7):
        assert (
            deep_linear((1,) * (depth + 1), 0)
            == normal_crossing([2] * depth)
            == (Fraction(1, 2), depth)
        )


def test_impossible_arguments_are_refused():
    for wrong in (
        lambda: reduced_rank(3, 2, 3, 3), lambda: deep_linear((3, 2, 3), 3),
        lambda: reduced_rank_at(3, 2, 3, 1, 2, 2), lambda: normal_crossing([0, 0]),
        lambda: active_widths([3]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"rank|crossing|layers"):
            wrong()


def test_ties_do_not_matter():
    """Where a width lies on the edge, sum_S D = l D, it may belong to S or not: λ and m are the
    same."""
    ties = 0
    for size in (3, 4, 5, 6):
        for excess in itertools.combinations_with_replacement(range(1, 7), size):
            sums = list(itertools.accumulate(excess))
            ells = [
                k
                for k in range(1, size)
                if sums[k] > k * excess[k] and (k == size - 1 or sums[k] <= k * excess[k + 1])
            ]
            assert len(ells) == 1
            ell, total = ells[0], sums[ells[0]]
            ties += ell + 1 != len(active_widths(excess))
            a = total - (-(-total // ell) - 1) * ell
            pairs = sum(x * y for x, y in itertools.combinations(excess[: ell + 1], 2))
            value = (
                Fraction(a * (ell - a), 4 * ell)
                - Fraction((ell - 1) * total**2, 4 * ell)
                + Fraction(pairs, 2)
            )
            assert deep_linear(excess, 0) == (value, a * (ell - a) + 1)
    assert ties > 50
