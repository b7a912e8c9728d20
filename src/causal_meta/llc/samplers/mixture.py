"""Mixtures of Gaussians that follow a posterior of few parameters: adaptive importance sampling
with a defensive component.

Gaussians that maximise the evidence lower bound lie inside one arm of a singular posterior.
Starting from them, population Monte Carlo minimises the other divergence, KL(p | q), by a step of
expectation-maximisation on weighted draws of the mixture so far (Cappé, Douc, Guillin, Marin and
Robert 2008), in which what was left out counts. The localisation N(w*, 1/γ) stays in the mixture
with a fixed share (Hesterberg 1995): since the loss is at least about that of w*, the ratio p / q
is bounded, wherever the adaptation went.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from causal_meta.conf.samplers import VIConfig
from causal_meta.llc.landscapes.landscape import Rows
from causal_meta.llc.samplers.prepared import Prepared
from causal_meta.llc.samplers.segment import LOSS_WORK

MOST_PARAMETERS = 128  # up to which components have full covariances
DEFENSIVE = 0.1  # share of the localisation
_WIDE = 3.0  # width of the defensive component in units, where there is no localisation
_EFFECTIVE = 0.1  # share of a round's draws that its tempered weights are worth at least
# draws of a round that each component has, on average, for each parameter
_DRAWS_PER_DIRECTION = 10
_HALVINGS = 30  # of the interval that holds a temper


class Dense(NamedTuple):
    """N(m, R R'): `mean` m [P], lower triangular `root` R [P, P], and its `inverse`."""

    mean: Any
    root: Any
    inverse: Any

    @classmethod
    def of(cls, mean: Any, covariance: Any) -> Dense:
        """The Gaussian of this mean [P] and covariance [P, P]."""
        root = jnp.linalg.cholesky(covariance)
        return cls(
            mean,
            root,
            jax.scipy.linalg.solve_triangular(
                root, jnp.eye(len(mean), dtype=mean.dtype), lower=True
            ),
        )

    @property
    def numbers(self) -> int:
        """Normal numbers that a draw takes."""
        return int(self.mean.shape[-1])

    def draw(self, normal: Any) -> Any:
        """The draw, [P], of `numbers` independent normal numbers."""
        return self.mean + self.root @ normal

    def log_density(self, u: Any) -> Any:
        """The normalised log density at u [P]."""
        away = self.inverse @ (u - self.mean)
        return (
            -0.5 * jnp.sum(away**2)
            + jnp.sum(jnp.log(jnp.diagonal(self.inverse)))
            - 0.5 * len(u) * math.log(2 * math.pi)
        )


class Mixture(NamedTuple):
    """Σ_k a_k q_k: `log_share` log a [K], and `parts` q_k, Gaussians of one kind whose arrays have
    a leading axis K."""

    log_share: Any
    parts: Any

    @classmethod
    def equal(cls, parts: Any) -> Mixture:
        """The mixture of `parts` with equal shares."""
        count, dtype = parts.mean.shape[0], parts.mean.dtype
        return cls(jnp.full(count, -math.log(count), dtype), parts)

    def draws(self, key: Any, count: int) -> Any:
        """Independent draws, [N, P]. Random numbers are made for all of them at once: each call of
        a generator takes long to compile."""
        which, own = jax.random.split(key)
        chosen = jax.random.categorical(which, self.log_share, shape=(count,))
        normal = jax.random.normal(own, (count, self.parts.numbers), self.log_share.dtype)
        return jax.vmap(
            lambda k, numbers: jax.tree.map(lambda values: values[k], self.parts).draw(numbers)
        )(chosen, normal)

    def log_parts(self, u: Any) -> Any:
        """log a_k q_k(u), [K]."""
        return self.log_share + jax.vmap(lambda part: part.log_density(u))(self.parts)

    def log_density(self, u: Any) -> Any:
        """The normalised log density of all parts together at u [P], whichever of them u was drawn
        from (the balance heuristic)."""
        return jax.scipy.special.logsumexp(self.log_parts(u))


@dataclass(frozen=True)
class Following:
    """How a mixture comes to follow the posterior, in coordinates u = (w - w*) / `units`."""

    prepared: Prepared
    config: VIConfig
    measured: bool = False  # whether one more round of draws tells how well the mixture follows

    @property
    def local(self) -> int:
        """Components that start at draws: fewer where the draws of a round could not tell so many
        covariances apart."""
        supported = self.config.round_draws // (
            _DRAWS_PER_DIRECTION * self.prepared.landscape.n_parameters
        )
        return max(1, min(self.config.components, supported))

    @property
    def work(self) -> float:
        """Gradients over all rows that it takes."""
        products = 2.0 * self.prepared.landscape.n_parameters * (1 + self.local)
        return products + LOSS_WORK * self.config.round_draws * (
            1 + self.config.rounds + self.measured
        )

    def mixture(
        self, key: Any, means: Any, covariances: Any, units: Any, data: Rows
    ) -> tuple[Mixture, Any]:
        """The adapted mixture, and the share of fresh draws of it that are effective (1 where that
        is not measured).

        `means` [C, P] and `covariances` [C, P, P] of Gaussian fits are where it starts, with the
        localisation, the Laplace approximation at w*, and those at `local` draws of all these that
        were chosen by weight."""
        picks, chosen, rounds = jax.random.split(key, 3)
        none = jnp.zeros_like(units)
        stiffness = (
            units * self.prepared.posterior.gamma**0.5
            if self.prepared.posterior.gamma > 0
            else jnp.full_like(units, 1 / _WIDE)
        )
        defence = Dense(none, jnp.diag(1 / stiffness), jnp.diag(stiffness))
        laplace = self._laplace(none, units, data)
        parts = jax.tree.map(
            lambda a, b, fits: jnp.concatenate([a[None], b[None], fits]),
            defence,
            laplace,
            jax.vmap(Dense.of)(means, covariances),
        )
        u, weights, _, _ = self._weighted(picks, Mixture.equal(parts), units, data)
        starts = u[jax.random.categorical(chosen, jnp.log(weights), shape=(self.local,))]
        further = jax.lax.map(lambda start: self._laplace(start, units, data), starts)
        parts = jax.tree.map(lambda some, more: jnp.concatenate([some, more]), parts, further)
        shares = (
            jnp.full(len(parts.mean), (1 - DEFENSIVE) / (len(parts.mean) - 1), units.dtype)
            .at[0]
            .set(DEFENSIVE)
        )

        def follow(number: Any, carry: Any) -> Any:
            mixture, _ = carry
            *found, share = self._weighted(jax.random.fold_in(rounds, number), mixture, units, data)
            better, on = improved(mixture, *found), number < self.config.rounds
            return jax.tree.map(
                lambda new, old: jnp.where(on, new, old), better, mixture
            ), jnp.where(on, 1.0, share).astype(units.dtype)

        start = Mixture(jnp.log(shares), parts), jnp.ones((), units.dtype)
        ended: tuple[Mixture, Any] = jax.lax.fori_loop(
            0, self.config.rounds + self.measured, follow, start
        )
        return ended

    def _laplace(self, u: Any, units: Any, data: Rows) -> Dense:
        """The Gaussian around u [P] whose precision is the Hessian of the exponent there, with
        eigenvalues made positive."""
        w = self.prepared.centre + units * u
        columns = jax.lax.map(
            lambda unit: units * self.prepared.curvature_product(w, units * unit, data),
            jnp.eye(len(u), dtype=u.dtype),
        )
        values, vectors = jnp.linalg.eigh((columns + columns.T) / 2)
        sizes = jnp.abs(values)
        least = jnp.maximum(
            self.prepared.posterior.gamma * jnp.min(units) ** 2,
            jnp.finfo(u.dtype).eps ** 0.5 * jnp.max(sizes),
        )
        return Dense.of(u, (vectors / jnp.maximum(sizes, least)) @ vectors.T)

    def _weighted(
        self, key: Any, mixture: Mixture, units: Any, data: Rows
    ) -> tuple[Any, Any, Any, Any]:
        """Draws of the mixture [N, P], their tempered weights [N], the probabilities of the
        components given a draw [N, K], and the effective share of the weights that are not
        tempered."""
        u = mixture.draws(key, self.config.round_draws)
        log_parts = jax.lax.map(mixture.log_parts, u)
        log_mixture = jax.scipy.special.logsumexp(log_parts, axis=1)
        heights = jax.lax.map(
            lambda one: self.prepared.log_density(self.prepared.centre + units * one, data), u
        )
        log_ratios = heights - log_mixture
        share = 1 / (
            len(u)
            * jnp.sum(
                jax.nn.softmax(jnp.where(jnp.isfinite(log_ratios), log_ratios, -jnp.inf)) ** 2
            )
        )
        return (
            u,
            tempered(log_ratios, _EFFECTIVE * len(u)),
            jnp.exp(log_parts - log_mixture[:, None]),
            share,
        )


def tempered(log_ratios: Any, least: float) -> Any:
    """Weights [N] ∝ ratio^t that sum to one, t <= 1 the largest power whose weights are worth
    `least` draws; none for ratios that are no numbers."""

    def weights(power: Any) -> Any:
        return jax.nn.softmax(jnp.where(jnp.isfinite(log_ratios), power * log_ratios, -jnp.inf))

    def halve(_: Any, ends: Any) -> Any:
        low, high = ends
        middle = (low + high) / 2
        enough = least * jnp.sum(weights(middle) ** 2) <= 1
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    one = jnp.ones((), log_ratios.dtype)
    low, _ = jax.lax.fori_loop(0, _HALVINGS, halve, (0 * one, 2 * one))  # its first middle is 1
    return weights(jnp.minimum(low, one))


def improved(mixture: Mixture, u: Any, weights: Any, belongs: Any) -> Mixture:
    """A step of expectation-maximisation: shares, means and covariances of weighted draws u [N, P]
    that belong to components [N, K] in part.

    Every component keeps its old mean and covariance as if P (P + 1) / 2 effective draws had shown
    them, as many as a covariance has numbers: their noise then costs a fraction of a nat at any P.
    The first, defensive one stays as it is.
    """
    prior = u.shape[1] * (u.shape[1] + 1) / 2
    joint = weights[:, None] * belongs
    counts = jnp.sum(joint, axis=0) / jnp.sum(weights**2)

    def step(given: Any) -> Dense:
        old, own, count = given
        kept = prior / (prior + count)
        own = own / jnp.maximum(jnp.sum(own), jnp.finfo(own.dtype).tiny)
        mean = own @ u
        covariance = (1 - kept) * (u - mean).T @ (
            (u - mean) * own[:, None]
        ) + kept * old.root @ old.root.T
        new = Dense.of((1 - kept) * mean + kept * old.mean, covariance)
        return jax.tree.map(
            lambda one, other: jnp.where(jnp.isfinite(new.inverse).all(), one, other), new, old
        )

    parts = jax.tree.map(
        lambda new, old: new.at[0].set(old[0]),
        jax.lax.map(step, (mixture.parts, joint.T, counts)),
        mixture.parts,
    )
    shares = (counts + 1).at[0].set(0.0)
    return Mixture(
        jnp.log(((1 - DEFENSIVE) * shares / jnp.sum(shares)).at[0].set(DEFENSIVE)), parts
    )
