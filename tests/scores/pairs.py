"""Worlds of two variables, a cause and its effect, for the table of log Bayes factors."""

import numpy as np


def _smooth(r, x):
    """A random smooth function of x: saturating, periodic, or a Gaussian process."""
    kind = r.integers(3)
    if kind == 0:
        return np.tanh(2 * x)
    if kind == 1:
        return np.sin(1.5 * x + r.uniform(0, 3))
    return np.cos(np.outer(x, r.normal(size=12)) + r.uniform(0, 6.3, 12)) @ r.normal(size=12)


def _unit(x):
    return (x - x.mean()) / x.std()


def _linear(cause, noise, step=None):
    """Effect = slope x cause + noise; both rounded to `step` standard deviations if given."""

    def draw(r, n):
        x = _unit(cause(r, n))
        y = r.uniform(0.5, 1.5) * r.choice([-1, 1]) * x + _unit(noise(r, n))
        return (x, y) if step is None else tuple(np.round(_unit(c) / step) for c in (x, y))

    return draw


def _normal(r, n):
    return r.normal(size=n)


def _laplace(r, n):
    return r.laplace(size=n)


def _uniform(r, n):
    return r.uniform(size=n)


def _exponential(r, n):
    return r.exponential(size=n)


def _bimodal(r, n):
    return np.where(r.random(n) < 0.5, -2, 2) + 0.7 * r.normal(size=n)


def _nonlinear(r, n):
    x = r.normal(size=n)
    return x, _unit(_smooth(r, x)) + 0.5 * r.normal(size=n)


def _heteroscedastic(r, n):
    x = r.normal(size=n)
    scale = np.exp(0.7 * _unit(_smooth(r, x)))
    return x, r.uniform(0.5, 1.5) * x + scale * r.normal(size=n)


def _heteroscedastic_laplace(r, n):
    x = r.laplace(size=n)
    return x, r.uniform(0.5, 1.5) * x + np.exp(0.7 * np.tanh(x)) * r.laplace(size=n)


def _multiplicative(r, n):
    x = r.gamma(2.0, size=n)
    return x, x * (1 + 0.4 * r.normal(size=n))


# world -> (draw, whether the direction can be known)
WORLDS = {
    "linear Gaussian": (_linear(_normal, _normal), False),
    "nonlinear": (_nonlinear, True),
    "linear Laplace": (_linear(_laplace, _laplace), True),
    "linear uniform": (_linear(_uniform, _uniform), True),
    "heteroscedastic": (_heteroscedastic, True),
    "bimodal cause": (_linear(_bimodal, _normal), True),
    "exponential": (_linear(_exponential, _exponential), True),
    "beta": (_linear(lambda r, n: r.beta(0.5, 0.5, n), lambda r, n: r.beta(2, 5, n)), True),
    "multiplicative noise": (_multiplicative, True),
    "discretised": (_linear(_normal, _normal, step=0.5), False),
    "discretised, coarse": (_linear(_normal, _normal, step=1.0), False),
    "discretised Laplace": (_linear(_laplace, _laplace, step=0.3), True),
    "heteroscedastic Laplace": (_heteroscedastic_laplace, True),
}


def draw_pair(world, seed, n=500):
    """A table of the cause and its effect, [n, 2]."""
    r = np.random.default_rng([seed, list(WORLDS).index(world)])
    return np.column_stack(WORLDS[world][0](r, n))


def log_bayes_factor(score):
    """log p(0 causes 1) - log p(1 causes 0), in nats."""
    none, first, second = np.zeros((1, 0), int), np.array([[0]]), np.array([[1]])
    forward = score.families(0, none) + score.families(1, first)
    return float((forward - score.families(1, none) - score.families(0, second))[0])
