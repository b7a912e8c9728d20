"""Classes of noise densities: the evidence of standardised residuals relative to a Gaussian."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.special import ndtr

# (base density, whether its shape is free)
CLASSES = (
    ("laplace", False),
    ("student", False),
    ("uniform", False),
    ("uniform", True),
    ("student", True),
    ("gaussian", True),
)
_TERMS = 12  # cosines of a free shape
_GRID = 64  # points of the integral over a free shape
_STEPS = 20  # Newton steps at most
_CONVERGED = 1e-7  # nats that a last Newton step gains at most
_CELLS = 1 << 14  # residuals whose cosines are computed at once: what fits the cache
_OFFSETS = (np.arange(7) - 3) / 7  # midpoints of sevenths of an interval of width 1
# the median of |x| under a Student law with 3 degrees of freedom
_STUDENT_MEDIAN = 0.7648923284043536
_NARROWEST = 0.02  # scale of a Student law, in standard deviations
_LOG_SQRT_2PI_E = 0.5 * (np.log(2 * np.pi) + 1)

Floats = NDArray[np.float64]


def noise_gains(
    residuals: Float[np.ndarray, "F n"],
    spacing: Float[np.ndarray, " F"],
    doubt: Float[np.ndarray, " F"],
) -> Float[np.ndarray, "F 6"]:
    """log evidence of each of `CLASSES` less that of a Gaussian, both with fitted place and scale.

    The base densities are Gaussian, Laplace (median, mean |z|), Student with 3 degrees of freedom
    (median, median |z|) and uniform between the extremes, R apart; integrating over its two ends
    gives R^(2-n) / n^2 and integrating over place and scale of a Gaussian 1 / n, so the ratio has
    R^(2-n) / n (times 1 / 10, the prior density of the width). A free shape multiplies a base of
    distribution function u = G(z) by

        exp(sum_k c_k sqrt(2) cos(pi k u) - A(c)),  c_k ~ N(0, 1 / k^2),  k = 1, ..., 12

    whose evidence is Laplace's approximation at the posterior mode of c; it depends on the n
    residuals through 12 means of cosines alone.

    Ties are no evidence: a residual of a column with typical spacing h between its possible values
    stands for a uniform one within h / 2 of it. Likelihoods, places and scales are expectations
    over that (seven points of the interval), for the Gaussian too.

    A mean that is itself estimated is uncertain, and by luck its residuals may just avoid a bound.
    So the ends of the uniform base lie `doubt` beyond the extremes, and its shape is averaged over
    that: a lower bound of the evidence in the manner of variational inference, without which
    superfluous parents are added wherever noise is bounded.

    Good at densities with bounds, heavy tails, skewness and several modes, from some 100 rows on.
    The residuals are those of a fit by least squares, so the gain is of first order: it is too low
    where efficient estimates would differ.

    References: Lenk (1988), section 2, for the free shape (a logistic Gaussian process in a basis);
    Tierney and Kadane (1986) for its evidence.

    Args:
        residuals: residuals of each family; centred and scaled here.
        spacing: the spacing h of each family's target, in units of the residuals; 0 without ties.
        doubt: the root mean square posterior standard deviation of each family's mean, in units of
            the residuals; 0 for a root.
    """
    n = residuals.shape[1]
    gains = np.zeros((len(residuals), len(CLASSES)))
    # residuals of rounding size are those of an exact fit, of which nothing is learnt
    usable = residuals.std(axis=1) > 1e-9
    if not usable.any():
        return gains
    z = residuals[usable]
    if spacing.any():
        z = (z[:, :, None] + spacing[usable, None, None] * _OFFSETS).reshape(len(z), -1)
    z = z - z.mean(axis=1, keepdims=True)
    scale = np.sqrt((z**2).mean(axis=1, keepdims=True))
    z /= scale
    bases, margin = _bases(z, doubt[usable] / scale[:, 0])
    shapes = [name for name, free in CLASSES if free]
    points = {name: bases[name][0] for name in shapes}
    if spacing.any():  # of a linear u the midpoints do, see `_interval_factors`
        points["uniform"] = points["uniform"][:, len(_OFFSETS) // 2 :: len(_OFFSETS)]
    means = np.array([_cosine_means(name, points[name]) for name in shapes])
    steps = spacing[usable] / scale[:, 0] / bases["uniform"][1]
    means[shapes.index("uniform")] *= _interval_factors(margin, steps)
    shaped = _shape_gains(means.reshape(-1, _TERMS), n).reshape(len(shapes), -1)
    for k, (name, free) in enumerate(CLASSES):
        gain = _parametric(name, *bases[name], n)
        gains[usable, k] = gain + shaped[shapes.index(name)] if free else gain
    return gains


def _interval_factors(
    margin: Float[np.ndarray, " F"], spacing: Float[np.ndarray, " F"]
) -> Float[np.ndarray, "F 12"]:
    """What becomes of the mean of cos(pi k u) if every u is averaged over an interval of the
    half-width `margin`, and over the seven points of one of the width `spacing`: as both are
    symmetric, it is multiplied by the mean of cos(pi k d) over the differences d."""
    k = np.arange(1, _TERMS + 1)
    of_points = np.cos(np.pi * k[:, None] * (spacing[:, None, None] * _OFFSETS)).mean(axis=2)
    return np.sinc(margin[:, None] * k) * of_points


def tie_spacing(column: Float[np.ndarray, " n"]) -> float:
    """The typical distance between possible values, 0 without ties: 2 sqrt(pi) sd P(two rows are
    equal), which is the spacing of a rounded Gaussian, and more where a value is an atom."""
    n = len(column)
    if n < 2:
        return 0.0
    counts = np.unique(column, return_counts=True)[1]
    equal = (counts * (counts - 1.0)).sum() / (n * (n - 1.0))
    return float(2 * np.sqrt(np.pi) * column.std() * equal)


def _bases(z: Floats, doubt: Floats) -> tuple[dict[str, tuple[Floats, Floats]], Floats]:
    """For each base density: z (of mean 0 and variance 1) less its fitted place over its fitted
    scale, [F, n], and that scale, [F]; for Laplace no more than the scale is needed. And the margin
    of the uniform one in units of its width."""
    margin = doubt[:, None]
    low = z.min(axis=1, keepdims=True) - margin
    width = z.max(axis=1, keepdims=True) + margin - low
    from_median = z - np.median(z, axis=1, keepdims=True)
    size = np.abs(from_median)
    narrow = np.median(size, axis=1, keepdims=True) / _STUDENT_MEDIAN
    narrow = np.maximum(narrow, _NARROWEST)
    bases = {
        "laplace": (z[:, :0], size.mean(axis=1)),
        "student": (np.divide(from_median, narrow, out=from_median), narrow[:, 0]),
        "uniform": ((z - low) / width, width[:, 0]),
        "gaussian": (z, np.ones(len(z))),
    }
    return bases, (margin / width)[:, 0]


def _parametric(name: str, t: Floats, width: Floats, n: int) -> Floats:
    """The log likelihood of the base density less that of the standard Gaussian, [F]."""
    log_width = np.log(width)
    relative = n * (_LOG_SQRT_2PI_E - log_width)
    if name == "gaussian":
        return np.zeros(len(t))
    if name == "laplace":
        return relative - n * (np.log(2) + 1)
    if name == "student":
        kernel = np.log(2 / (np.pi * np.sqrt(3))) - 2 * np.log1p(t**2 / 3).mean(axis=1)
        return relative + n * kernel
    return relative + 2 * log_width - np.log(10 * n)


def _distribution(name: str, t: Floats) -> Floats:
    """The distribution function of a base density."""
    if name == "gaussian":
        return ndtr(t)
    if name == "student":
        v = t / np.sqrt(3)
        return 0.5 + (v / (1 + v * v) + np.arctan(v)) / np.pi
    return t


def _cosines(u: Floats) -> Iterator[Floats]:
    """sqrt(2) cos(pi k u) for k = 1, ..., 12, by the recurrence of Chebyshev polynomials. A term is
    overwritten when the next but one is asked for."""
    twice = 2 * np.cos(np.pi * u)
    before, now, after = np.full_like(u, np.sqrt(2)), twice * np.sqrt(0.5), np.empty_like(u)
    for _ in range(_TERMS):
        yield now
        np.multiply(twice, now, out=after)
        after -= before
        before, now, after = now, after, before


def _cosine_means(name: str, t: Floats) -> Floats:
    """Means over the residuals of the cosines of a free shape, [F, 12]."""
    means = np.empty((len(t), _TERMS))
    step = max(1, _CELLS // t.shape[1])
    for start in range(0, len(t), step):
        part = slice(start, start + step)
        means[part] = _means_of_cosines(_distribution(name, t[part]))
    return means


def _means_of_cosines(u: Floats) -> Floats:
    """Means over rows of sqrt(2) cos(pi k u), [F, 12]. The upper half are inner products of the
    lower one: cos a cos b = (cos(a + b) + cos(a - b)) / 2."""
    half = _TERMS // 2
    low = np.empty((half, *u.shape))  # without the root
    cosine = np.cos(np.pi * u, out=low[0])
    twice = 2 * cosine
    np.subtract(np.multiply(twice, cosine, out=low[1]), 1.0, out=low[1])
    for k in range(2, half):
        np.subtract(np.multiply(twice, low[k - 1], out=low[k]), low[k - 2], out=low[k])
    sums = np.empty((_TERMS + 1, len(u)))
    sums[0] = u.shape[1]
    np.einsum("kfn->kf", low, out=sums[1 : half + 1])
    for k in range(half + 1, _TERMS + 1):
        a, b = k - k // 2, k // 2
        sums[k] = 2 * np.einsum("fn,fn->f", low[a - 1], low[b - 1]) - sums[a - b]
    return sums[1:].T * (np.sqrt(2) / u.shape[1])


def _shape_gains(means: Float[np.ndarray, "F 12"], n: int) -> Float[np.ndarray, " F"]:
    """log evidence of a free shape less that of its base: n (c'm - A(c)) - c'V^-1 c / 2 -
    log det(I + n V H) / 2 at its maximum, H the covariance of the cosines under it."""
    basis = np.array([values.copy() for values in _cosines((np.arange(_GRID) + 0.5) / _GRID)])
    products = (basis[:, None] * basis).reshape(-1, _GRID).T
    precision = np.arange(1, _TERMS + 1.0) ** 2
    c = np.zeros_like(means)
    value = np.zeros(len(means))
    rising = np.arange(len(means))  # each family stops for itself
    for _ in range(_STEPS):
        expected, covariance = _moments(c[rising], basis, products)
        gradient = n * (means[rising] - expected) - c[rising] * precision
        hessian = n * covariance + np.diag(precision)
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        before = value[rising]
        c[rising], value[rising] = _ascent(
            c[rising], step, before, means[rising], n, basis, precision
        )
        rising = rising[value[rising] - before >= _CONVERGED]
        if not rising.size:
            break
    _, covariance = _moments(c, basis, products)
    log_det = np.linalg.slogdet(np.eye(_TERMS) + n * covariance / precision)[1]
    return value - 0.5 * log_det


def _moments(c: Floats, basis: Floats, products: Floats) -> tuple[Floats, Floats]:
    """Mean [F, 12] and covariance [F, 12, 12] of the cosines under shapes c."""
    weights = _shape(c, basis)[0]
    mean = weights @ basis.T
    second = (weights @ products).reshape(len(c), _TERMS, _TERMS)
    return mean, second - mean[:, :, None] * mean[:, None, :]


def _shape(c: Floats, basis: Floats) -> tuple[Floats, Floats]:
    """The weights of the grid's points under shapes c, [F, G], and A(c), [F]."""
    exponent = c @ basis
    top = exponent.max(axis=1, keepdims=True)
    weights = np.exp(exponent - top)
    total = weights.sum(axis=1, keepdims=True)
    return weights / total, (np.log(total / _GRID) + top)[:, 0]


def _ascent(
    c: Floats,
    step: Floats,
    value: Floats,
    means: Floats,
    n: int,
    basis: Floats,
    precision: Floats,
) -> tuple[Floats, Floats]:
    """The step, halved up to 8 times in each family until it does not lower the objective."""
    size = np.ones(len(c))
    for _ in range(8):
        new = c + size[:, None] * step
        reached = n * ((new * means).sum(axis=1) - _shape(new, basis)[1])
        reached -= 0.5 * (new**2 * precision).sum(axis=1)
        worse = reached < value
        if not worse.any():
            return new, reached
        size = np.where(worse, size / 2, size)
    return np.where(worse[:, None], c, new), np.where(worse, value, reached)
