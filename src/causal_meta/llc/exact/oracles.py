"""Exact learning coefficients λ and multiplicities m, the limits of λ̂ as n grows, as fractions.

λ is the real log canonical threshold of K at w*: the volume of {K < ε} near w* decreases as ε^λ
(-log ε)^{m-1}, and the tempered expectation nβ E[K] tends to λ - (m - 1) / log(nβ) + … . At finite
n it can be far from λ; `quadrature` and `gibbs` compute that value.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

Pattern = Sequence[Sequence[int]]


class Coefficient(NamedTuple):
    """A learning coefficient λ (`value`, exact) and its multiplicity m."""

    value: Fraction
    multiplicity: int


def regular(n_parameters: int, flat: int = 0) -> Coefficient:
    """A regular model of P parameters with `flat` directions along which it is constant: λ = (P -
    flat) / 2, m = 1.

    >>> regular(10)
    Coefficient(value=Fraction(5, 1), multiplicity=1)
    """
    return Coefficient(Fraction(n_parameters - flat, 2), 1)


def power_sum(exponents: Sequence[int]) -> Coefficient:
    """K = Σ c_i w_i^{e_i} with even e_i and c_i > 0: λ = Σ 1 / e_i, m = 1, as the coordinates are
    independent.

    >>> power_sum([2, 4]).value
    Fraction(3, 4)
    """
    return Coefficient(sum((Fraction(1, exponent) for exponent in exponents), Fraction(0)), 1)


def normal_crossing(exponents: Sequence[int], jacobian: Sequence[int] | None = None) -> Coefficient:
    """K = Π w_i^{e_i} under a prior density ∝ Π |w_i|^{h_i}: λ = min (h_i + 1) / e_i over e_i > 0,
    m the number of minimisers (Watanabe 2009, section 2.3: after Hironaka's resolution every K is
    of this form, locally).

    Args:
        jacobian: the h_i, by default 0.

    >>> normal_crossing([2, 2, 4], jacobian=[0, 0, 1])
    Coefficient(value=Fraction(1, 2), multiplicity=3)
    """
    ratios = [
        Fraction(h + 1, e)
        for e, h in zip(exponents, jacobian or (0,) * len(exponents), strict=True)
        if e
    ]
    if not ratios:
        raise ValueError(
            "A normal crossing without a positive exponent is constant; give at least one."
        )
    return Coefficient(min(ratios), ratios.count(min(ratios)))


def reduced_rank(n_inputs: int, n_hidden: int, n_outputs: int, rank: int) -> Coefficient:
    """Reduced-rank regression y = BAx + e with a true map of rank r: the smallest λ over all (A, B)
    of that map, and its m, by the sizes N, H, M and r (Aoyagi and Watanabe 2005, main theorem).

    Raises:
        ValueError: where r exceeds a size.

    >>> reduced_rank(5, 4, 5, 2)
    Coefficient(value=Fraction(21, 2), multiplicity=1)
    """
    m, h, n, r = n_inputs, n_hidden, n_outputs, rank
    if not 0 <= r <= min(m, h, n):
        raise ValueError(
            f"A map through widths {[m, h, n]} has a rank from 0 to {min(m, h, n)}, not {r}."
        )
    if m + h < n + r:
        return Coefficient(Fraction(h * m - h * r + n * r, 2), 1)
    if n + h < m + r:
        return Coefficient(Fraction(h * n - h * r + m * r, 2), 1)
    if m + n < h + r:
        return Coefficient(Fraction(m * n, 2), 1)
    eighths = -((h + r) ** 2) - m * m - n * n + 2 * (h + r) * (m + n) + 2 * m * n
    odd = (m + h + n + r) % 2
    return Coefficient(Fraction(eighths + odd, 8), 1 + odd)


def reduced_rank_at(
    n_inputs: int, n_hidden: int, n_outputs: int, rank: int, rank_in: int, rank_out: int
) -> Coefficient:
    """Reduced-rank regression at a point where A [H, N] has rank a and B [M, H] rank b: the local λ
    and m.

    With q = Ma + bN - ab, p = M - b, n = N - a, h = H - a - b + r and c_t = hn + t (p - h - n) +
    t²: λ = (q + min_t c_t) / 2 over 0 <= t <= min(h, n), m the number of minimisers. q / 2 counts
    directions in which the point is regular, the rest is the zero map through widths n, h, p. The
    formula is not from a paper; its minimum over (a, b) equals `reduced_rank` in all 1,808 cases of
    sizes up to 8.

    Raises:
        ValueError: for impossible ranks.

    >>> [float(reduced_rank_at(5, 4, 5, 2, *ranks).value) for ranks in ((2, 2), (3, 3), (4, 2))]
    [10.5, 10.5, 11.0]
    """
    n_in, n_hid, n_out, r, a, b = n_inputs, n_hidden, n_outputs, rank, rank_in, rank_out
    if not (0 <= r <= a <= min(n_hid, n_in) and r <= b <= min(n_out, n_hid) and a + b - r <= n_hid):
        raise ValueError(
            f"No point of widths {[n_in, n_hid, n_out]} has factors of ranks {a} and {b} with a "
            f"product of rank {r}."
        )
    q, p, n, h = n_out * a + b * n_in - a * b, n_out - b, n_in - a, n_hid - a - b + r
    costs = [h * n + t * (p - h - n) + t * t for t in range(min(h, n) + 1)]
    return Coefficient(Fraction(q + min(costs), 2), costs.count(min(costs)))


def active_widths(excess: Sequence[int]) -> tuple[int, ...]:
    """The set S of layer indices that determines the λ of a deep linear network with excess widths
    D_s = H_s - r.

    S is the unique set of l + 1 >= 2 indices with max_S D < min_{not S} D, sum_S D >= l max_S D and
    sum_S D < l min_{not S} D (Aoyagi 2024, theorem 1).

    >>> active_widths([3, 2, 2, 3]), active_widths([9, 1, 1, 9])
    ((0, 1, 2, 3), (1, 2))
    """
    order = sorted(range(len(excess)), key=lambda index: excess[index])
    for size in range(2, len(order) + 1):
        chosen, left = [excess[i] for i in order[:size]], [excess[i] for i in order[size:]]
        enough = sum(chosen) >= (size - 1) * chosen[-1]
        if enough and (not left or (chosen[-1] < left[0] and sum(chosen) < (size - 1) * left[0])):
            return tuple(sorted(order[:size]))
    raise ValueError(
        f"The excess widths {list(excess)} have no set of active layers; there must be at least "
        "two, none of them negative."
    )


def deep_linear(widths: Sequence[int], rank: int) -> Coefficient:
    """A deep linear network of widths H_1 … H_{L+1} with a true map of rank r: the smallest λ over
    all parameters of that map, and its m.

    With S of `active_widths`, l = |S| - 1, s = sum_S D and a = s - (⌈s/l⌉ - 1) l:
    λ = (r (H_1 + H_{L+1}) - r²) / 2 + a (l - a) / (4l) - (l (l - 1) / 4) (s/l)² + ½ sum_{i<j in S}
    D_i D_j and m = a (l - a) + 1 (Aoyagi 2024, theorem 1; the formulas also cover the degenerate
    cases of its remark 1, where some D_s = 0).

    Raises:
        ValueError: where r exceeds a width.

    >>> deep_linear([4, 3, 3, 4], 1)
    Coefficient(value=Fraction(11, 2), multiplicity=3)
    """
    if not 0 <= rank <= min(widths):
        raise ValueError(
            f"A map through widths {list(widths)} has a rank from 0 to {min(widths)}, not {rank}."
        )
    excess = [width - rank for width in widths]
    active = [excess[index] for index in active_widths(excess)]
    ell, total = len(active) - 1, sum(active)
    a = total - (-(-total // ell) - 1) * ell
    pairs = sum(x * y for x, y in itertools.combinations(active, 2))
    value = Fraction(rank * (widths[0] + widths[-1]) - rank * rank, 2) + Fraction(
        a * (ell - a), 4 * ell
    )
    return Coefficient(
        value - Fraction((ell - 1) * total * total, 4 * ell) + Fraction(pairs, 2), a * (ell - a) + 1
    )


def deep_linear_at(pattern: Pattern) -> Coefficient | None:
    """A deep linear network at a point with given ranks of partial products: the local λ and m, or
    None where no formula is known.

    A hidden width after an injective layer or before a surjective one can be dropped: near such a
    point the product of the two layers takes all values of a single layer. The remaining network is
    regular (one layer), has the local λ of reduced-rank regression (two layers), or Aoyagi's value
    where all layers have the rank of the true map.

    Args:
        pattern: `pattern[i][j]`, i <= j, is the rank of the product of the layers between widths i
            and j, and `pattern[i][i]` the width H_i.

    >>> deep_linear_at(rank_pattern([4, 3, 3, 4], 1, [1, 1, 1]))
    Coefficient(value=Fraction(11, 2), multiplicity=3)
    """
    kept = list(range(len(pattern)))
    while dropped := next((v for v in range(1, len(kept) - 1) if _is_free(pattern, kept, v)), 0):
        del kept[dropped]
    widths, rank = [pattern[i][i] for i in kept], pattern[kept[0]][kept[-1]]
    ranks = [pattern[i][j] for i, j in itertools.pairwise(kept)]
    if len(kept) == 2:
        return regular(math.prod(widths))
    if len(kept) == 3:
        return reduced_rank_at(widths[0], widths[1], widths[2], rank, ranks[0], ranks[1])
    return deep_linear(widths, rank) if set(ranks) == {rank} else None


def _is_free(pattern: Pattern, kept: Sequence[int], place: int) -> bool:
    """Whether the hidden width at `place` follows an injective layer or precedes a surjective
    one."""
    before, here, after = kept[place - 1 : place + 2]
    return (
        pattern[before][here] == pattern[before][before]
        or pattern[here][after] == pattern[after][after]
    )


def rank_pattern(widths: Sequence[int], rank: int, ranks: Sequence[int]) -> list[list[int]]:
    """The ranks of partial products where the layers have the ranks `ranks` and every product of
    two or more layers has rank `rank`.

    >>> rank_pattern([5, 4, 5], 2, [3, 2])
    [[5, 3, 2], [0, 4, 2], [0, 0, 5]]
    """
    size = len(widths)
    return [
        [
            widths[i] if i == j else ranks[i] if j == i + 1 else rank if j > i else 0
            for j in range(size)
        ]
        for i in range(size)
    ]
