"""Mixtures of Gaussians fitted to a posterior of few parameters: adaptive importance sampling with
a defensive component.

Gaussians that maximise the evidence lower bound lie inside one arm of a singular posterior.
Starting from them, population Monte Carlo minimises the other divergence, KL(p | q), by steps of
expectation-maximisation on weighted draws of the present mixture (Cappé, Douc, Guillin, Marin and
Robert 2008), which penalise regions that q leaves out. The localisation N(w*, 1/γ) stays in the
mixture with a fixed share (Hesterberg 1995): as the loss is hardly anywhere below that of w*, the
ratio p / q is bounded whatever the adaptation did.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Float

from causal_meta.conf.samplers import VIConfig
from causal_meta.llc.landscapes.landscape import Rows
from causal_meta.llc.samplers.arrays import Array, Key
from causal_meta.llc.samplers.prepared import Prepared
from causal_meta.llc.samplers.segment import LOSS_WORK

MOST_PARAMETERS = 128  # up to which components have full covariances
DEFENSIVE = 0.1  # share of the localisation
_WIDE = 3.0  # width of the defensive component in units, where there is no localisation
_EFFECTIVE = 0.1  # least effective share of a round's draws with their tempered weights
# least draws of a round for each component and parameter
_DRAWS_PER_DIRECTION = 10
_HALVINGS = 30  # of the interval that holds a temper


class Component(Protocol):
    """A Gaussian of a mixture, a named tuple of arrays."""

    @property
    def mean(self) -> Array:
        """Its mean [P]."""

    @property
    def numbers(self) -> int:
        """Normal numbers that a draw takes."""

    def draw(self, normal: Array) -> Array:
        """The draw [P] made from `numbers` independent normal numbers."""

    def log_density(self, u: Array) -> Array:
        """The normalised log density at u [P]."""


class Dense(NamedTuple):
    """N(m, R R'): `mean` m [P], lower triangular `root` R [P, P], and its `inverse`."""

    mean: Array
    root: Array
    inverse: Array

    @classmethod
    def of(cls, mean: Float[Array, " P"], covariance: Float[Array, "P P"]) -> Dense:
        """The Gaussian of this mean and covariance."""
        root = jnp.linalg.cholesky(covariance)
        unit = jnp.eye(len(mean), dtype=mean.dtype)
        return cls(mean, root, jax.scipy.linalg.solve_triangular(root, unit, lower=True))

    @property
    def numbers(self) -> int:
        """Normal numbers that a draw takes."""
        return int(self.mean.shape[-1])

    def draw(self, normal: Array) -> Array:
        """The draw [P] made from `numbers` independent normal numbers."""
        return self.mean + self.root @ normal

    def log_density(self, u: Array) -> Array:
        """The normalised log density at u [P]."""
        away = self.inverse @ (u - self.mean)
        return (
            -0.5 * jnp.sum(away**2)
            + jnp.sum(jnp.log(jnp.diagonal(self.inverse)))
            - 0.5 * len(u) * math.log(2 * math.pi)
        )


class Mixture(NamedTuple):
    """Σ_k a_k q_k: `log_share` log a [K], and `parts` q_k, one component whose arrays have a
    leading axis K."""

    log_share: Array
    parts: Component

    @classmethod
    def equal(cls, parts: Component) -> Mixture:
        """The mixture of `parts` with equal shares."""
        count, dtype = parts.mean.shape[0], parts.mean.dtype
        return cls(jnp.full(count, -math.log(count), dtype), parts)

    def draws(self, key: Key, count: int) -> Float[Array, "N P"]:
        """`count` independent draws. Their random numbers are made at once, as each call of a
        generator takes long to compile."""
        choice, numbers = jax.random.split(key)
        chosen = jax.random.categorical(choice, self.log_share, shape=(count,))
        normal = jax.random.normal(numbers, (count, self.parts.numbers), self.log_share.dtype)

        def draw(k: Array, numbers: Array) -> Array:
            component: Component = jax.tree.map(lambda values: values[k], self.parts)
            return component.draw(numbers)

        return jax.vmap(draw)(chosen, normal)

    def log_parts(self, u: Float[Array, " P"]) -> Float[Array, " K"]:
        """log a_k q_k(u)."""
        return self.log_share + jax.vmap(lambda part: part.log_density(u))(self.parts)

    def log_density(self, u: Array) -> Array:
        """The normalised log density of the whole mixture at u [P], whichever component u was drawn
        from (the balance heuristic)."""
        return jax.scipy.special.logsumexp(self.log_parts(u))


@dataclass(frozen=True)
class Adaptation:
    """The adaptation of a mixture to the posterior, in coordinates u = (w - w*) / `units`."""

    prepared: Prepared
    config: VIConfig
    measured: bool = False  # whether one more round of draws measures the effective share

    @property
    def local(self) -> int:
        """Components that start at draws: fewer where the draws of a round are too few to estimate
        so many covariances."""
        supported = self.config.round_draws // (
            _DRAWS_PER_DIRECTION * self.prepared.landscape.n_parameters
        )
        return max(1, min(self.config.components, supported))

    @property
    def work(self) -> float:
        """The cost of the adaptation, in gradients over all rows."""
        products = 2.0 * self.prepared.landscape.n_parameters * (1 + self.local)
        return products + LOSS_WORK * self.config.round_draws * (
            1 + self.config.rounds + self.measured
        )

    def mixture(
        self,
        key: Key,
        means: Float[Array, "C P"],
        covariances: Float[Array, "C P P"],
        units: Float[Array, " P"],
        data: Rows,
    ) -> tuple[Mixture, Float[Array, ""]]:
        """The adapted mixture, and the effective share of fresh draws of it (1 where that is not
        measured).

        It starts from Gaussian fits with these means and covariances, the localisation, the Laplace
        approximation at w*, and those at `local` draws of all these, chosen by weight.
        """
        picks, choice, rounds = jax.random.split(key, 3)
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
        starts = u[jax.random.categorical(choice, jnp.log(weights), shape=(self.local,))]
        further = jax.lax.map(lambda start: self._laplace(start, units, data), starts)
        parts = jax.tree.map(lambda some, more: jnp.concatenate([some, more]), parts, further)
        shares = (
            jnp.full(len(parts.mean), (1 - DEFENSIVE) / (len(parts.mean) - 1), units.dtype)
            .at[0]
            .set(DEFENSIVE)
        )

        def adapt(number: Array, loop: tuple[Mixture, Array]) -> tuple[Mixture, Array]:
            mixture, _ = loop
            *draws, share = self._weighted(jax.random.fold_in(rounds, number), mixture, units, data)
            better, adapting = improved(mixture, *draws), number < self.config.rounds
            mixture = jax.tree.map(lambda new, old: jnp.where(adapting, new, old), better, mixture)
            return mixture, jnp.where(adapting, 1.0, share).astype(units.dtype)

        start = Mixture(jnp.log(shares), parts), jnp.ones((), units.dtype)
        end: tuple[Mixture, Array] = jax.lax.fori_loop(
            0, self.config.rounds + self.measured, adapt, start
        )
        return end

    def _laplace(self, u: Array, units: Array, data: Rows) -> Dense:
        """The Gaussian around u [P] whose precision is the Hessian of the exponent there, with the
        absolute values of its eigenvalues."""
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
        self, key: Key, mixture: Mixture, units: Array, data: Rows
    ) -> tuple[Array, Array, Array, Array]:
        """Draws of the mixture [N, P], their tempered weights [N], the probabilities of the
        components conditional on a draw [N, K], and the effective share of the untempered
        weights."""
        u = mixture.draws(key, self.config.round_draws)
        log_parts = jax.lax.map(mixture.log_parts, u)
        log_mixture = jax.scipy.special.logsumexp(log_parts, axis=1)
        heights = jax.lax.map(
            lambda one: self.prepared.log_density(self.prepared.centre + units * one, data), u
        )
        log_ratios = heights - log_mixture
        finite = jnp.where(jnp.isfinite(log_ratios), log_ratios, -jnp.inf)
        share = 1 / (len(u) * jnp.sum(jax.nn.softmax(finite) ** 2))
        belongs = jnp.exp(log_parts - log_mixture[:, None])
        return u, tempered(log_ratios, _EFFECTIVE * len(u)), belongs, share


def tempered(log_ratios: Float[Array, " N"], least: float) -> Float[Array, " N"]:
    """Weights ∝ ratio^t that sum to one, t <= 1 the largest power at which at least `least` of the
    draws are effective; 0 for ratios that are not finite."""

    def weights(power: Array) -> Array:
        powers = power * log_ratios
        return jax.nn.softmax(jnp.where(jnp.isfinite(log_ratios), powers, -jnp.inf))

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        enough = least * jnp.sum(weights(middle) ** 2) <= 1
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    one = jnp.ones((), log_ratios.dtype)
    # the first middle is 1
    low, _ = jax.lax.fori_loop(0, _HALVINGS, halve, (0 * one, 2 * one))
    return weights(jnp.minimum(low, one))


def improved(
    mixture: Mixture,
    u: Float[Array, "N P"],
    weights: Float[Array, " N"],
    belongs: Float[Array, "N K"],
) -> Mixture:
    """One step of expectation-maximisation: shares, means and covariances from weighted draws that
    belong to the components with the probabilities `belongs`.

    Each component keeps its old mean and covariance with the weight of P (P + 1) / 2 effective
    draws, as many as a covariance has numbers: their noise then costs a fraction of a nat at any P.
    The first, defensive one stays as it is.
    """
    prior = u.shape[1] * (u.shape[1] + 1) / 2
    joint = weights[:, None] * belongs
    counts = jnp.sum(joint, axis=0) / jnp.sum(weights**2)

    def step(component: tuple[Dense, Array, Array]) -> Dense:
        old, share, count = component
        kept = prior / (prior + count)
        share = share / jnp.maximum(jnp.sum(share), jnp.finfo(share.dtype).tiny)
        mean = share @ u
        spread = (1 - kept) * (u - mean).T @ ((u - mean) * share[:, None])
        covariance = spread + kept * old.root @ old.root.T
        new = Dense.of((1 - kept) * mean + kept * old.mean, covariance)
        finite = jnp.isfinite(new.inverse).all()
        chosen: Dense = jax.tree.map(lambda one, other: jnp.where(finite, one, other), new, old)
        return chosen

    parts = jax.tree.map(
        lambda new, old: new.at[0].set(old[0]),
        jax.lax.map(step, (mixture.parts, joint.T, counts)),
        mixture.parts,
    )
    shares = (counts + 1).at[0].set(0.0)
    return Mixture(
        jnp.log(((1 - DEFENSIVE) * shares / jnp.sum(shares)).at[0].set(DEFENSIVE)), parts
    )
