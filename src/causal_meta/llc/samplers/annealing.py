"""Independent draws carried from the localisation to the posterior by annealed importance sampling
(Neal 2001).

Where the minima of the loss are a curved set of many dimensions no mixture of Gaussians comes close
to the posterior. A path of densities leads to it,

    p_t(w) ∝ exp(-t nβ (L_n(w) - L_n(w*)) - (γ/2) |w - w*|²),    0 = t_0 < t_1 < … < t_K = 1,

from the localisation N(w*, 1/γ), which is drawn from exactly, to the posterior. A draw starts at
t_0, and for k = 1 … K its weight is multiplied by p_{t_k}(w) / p_{t_{k-1}}(w) before w is moved by
a transition that leaves p_{t_k} invariant (Neal's equations 4 to 11):

    log weight = -Σ_k (t_k - t_{k-1}) nβ (L_n(w_{k-1}) - L_n(w*)).

Draws with these weights are independent, and have the right law however badly the transitions mix:
the weights then only become uneven. Where w* is the lowest point no weight is above 1.

The path comes from a pilot run of particles that are not used again. Neal sets temperatures by
hand; here the next one is the largest at which the conditional effective share of equally weighted
particles, (Σ r)² / (M Σ r²) with r the factors of the weights, is still `_SHARE` (Zhou, Johansen
and Aston 2016, equation 3.1, after a resampling at every temperature), and steps are tuned along
the path. Draws then follow the finished path without resampling: they stay independent, and nothing
that was adapted depends on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from causal_meta.conf.samplers import VIConfig
from causal_meta.llc.landscapes.landscape import Rows
from causal_meta.llc.samplers.arrays import Array, Key
from causal_meta.llc.samplers.prepared import Prepared
from causal_meta.llc.samplers.segment import directions, group_sums

LEAPFROGS = 8  # of the move at a temperature
PARTICLES = 500  # of the pilot
MOST_TEMPERATURES = 2000
MOST_WORK = 2.5e9  # gradients x rows x P of pilot and draws: about a minute of a population loss
SEGMENTS = 10  # parts of the draws, between which they can be kept
_FEWEST = 50  # if fewer temperatures than these are affordable, no path is tried
_SHARE = 0.999  # conditional effective share from one temperature to the next
# target acceptance: with larger steps, particles in stiffer regions than most would never move
_ACCEPTANCE = 0.95
_GAIN = 0.7  # change of the logarithm of the step per unit of acceptance away from that
_FIRST_STEP = 0.5
_JITTER = 0.5  # steps are log-uniform within e^±this of the tuned one
_HALVINGS = 40  # of the interval that holds the next temperature


class Path(NamedTuple):
    """Temperatures t_1 … t_K `powers` and the `steps` of the moves there, [MOST_TEMPERATURES] each,
    of which `length` K are used."""

    powers: Array
    steps: Array
    length: Array

    @classmethod
    def none(cls, dtype: str | np.dtype[Any]) -> Path:
        """A path without temperatures."""
        zeros = jnp.zeros(MOST_TEMPERATURES, dtype)
        return cls(zeros, zeros, jnp.zeros((), jnp.int32))

    @property
    def reaches(self) -> bool:
        """Whether its last temperature is the posterior's."""
        return int(self.length) > 0 and float(self.powers[int(self.length) - 1]) == 1.0


class Particles(NamedTuple):
    """Points v = sqrt(γ) (w - w*) [M, P], their heights nβ (L_n(w) - L_n(w*)) [M], and the
    gradients of these in v [M, P]."""

    v: Array
    height: Array
    slope: Array


Pilot = tuple[Path, Particles, jax.Array, jax.Array]
"""The pilot: its path so far, its particles, the power of the last temperature, the next step."""


@dataclass(frozen=True)
class Annealing:
    """The path of a posterior and draws along it, in coordinates v = sqrt(γ) (w - w*), in which the
    localisation is N(0, 1)."""

    prepared: Prepared
    config: VIConfig

    @property
    def length(self) -> int:
        """Draws of each fit."""
        return min(self.config.draws, self.config.annealed)

    @property
    def most(self) -> int:
        """The largest number of temperatures of pilot and draws; 0 where there is no localisation
        to start from, or too few would be affordable."""
        landscape, config = self.prepared.landscape, self.config
        if config.annealed == 0 or config.batch_size or self.prepared.posterior.gamma <= 0:
            return 0
        rows = 1 if landscape.row_losses is None else landscape.n
        particles = PARTICLES + config.chains * self.length
        affordable = int(MOST_WORK / (particles * LEAPFROGS * rows * landscape.n_parameters))
        return min(affordable, MOST_TEMPERATURES) if affordable >= _FEWEST else 0

    def path(self, key: Key, data: Rows) -> Path:
        """Temperatures and steps by a pilot run; it ends before t = 1 where `most` temperatures are
        too few."""
        first, onwards = jax.random.split(key)
        dtype = self.prepared.centre.dtype
        zero = jnp.zeros((), dtype)

        def advance(loop: Pilot) -> Pilot:
            path, here, t, step = loop
            chance, moving = jax.random.split(jax.random.fold_in(onwards, path.length))
            after = jnp.asarray(next_power(here.height, t))
            chosen = resampled(chance, here.height, after - t)
            here = jax.tree.map(lambda values: values[chosen], here)
            path = Path(
                jnp.asarray(path.powers).at[path.length].set(after),
                jnp.asarray(path.steps).at[path.length].set(step),
                path.length + 1,
            )
            here, acceptance = self._move(moving, here, after, step, data)
            return path, here, after, step * jnp.exp(_GAIN * (acceptance - _ACCEPTANCE))

        def unfinished(loop: Pilot) -> Array:
            path, _, t, _ = loop
            return (t < 1) & (path.length < self.most)

        start = (Path.none(dtype), self._start(first, PARTICLES, data), zero, zero + _FIRST_STEP)
        path: Path = jax.lax.while_loop(unfinished, advance, start)[0]
        return path

    def draws(self, key: Key, number: Array, path: Path, data: Rows) -> dict[str, Array]:
        """Segment `number` of independent draws with the logarithms of their weights: name -> array
        [T of a segment, C, ...]."""
        config, posterior = self.config, self.prepared.posterior
        first, onwards = jax.random.split(jax.random.fold_in(key, number))
        size = segment_length(self.length)

        def anneal(k: Array, loop: tuple[Particles, Array]) -> tuple[Particles, Array]:
            here, log_weights = loop
            before = jnp.where(k > 0, path.powers[k - 1], 0)
            log_weights = log_weights - (path.powers[k] - before) * here.height
            moving = jax.random.fold_in(onwards, k)
            here, _ = self._move(moving, here, path.powers[k], path.steps[k], data)
            return here, log_weights

        here = self._start(first, size * config.chains, data)
        here, log_weights = jax.lax.fori_loop(
            0, path.length, anneal, (here, jnp.zeros_like(here.height))
        )
        away = here.v / posterior.gamma**0.5
        record = {
            "excess": here.height / posterior.n_beta,
            "weights": log_weights,
            "distance": jnp.linalg.norm(away, axis=-1),
            "projection": away @ directions(config, away.shape[1]),
            "product": group_sums(here.v * (here.slope + here.v)),
        }
        record |= {"away": away} if config.keep_parameters else {}
        return {
            name: values.reshape(size, config.chains, *values.shape[1:])
            for name, values in record.items()
        }

    def _start(self, key: Key, count: int, data: Rows) -> Particles:
        """`count` draws of the localisation."""
        v = jax.random.normal(
            key, (count, self.prepared.landscape.n_parameters), self.prepared.centre.dtype
        )
        return Particles(v, *self._heights(v, data))

    def _heights(self, v: Array, data: Rows) -> tuple[Array, Array]:
        """nβ (L_n - L_n(w*)) at points v [M, P], infinite where it is not finite, with its gradient
        in v."""
        posterior = self.prepared.posterior

        def height(v: Array) -> Array:
            return posterior.n_beta * (
                self.prepared.loss(self.prepared.centre + v / posterior.gamma**0.5, data)
                - posterior.centre_loss
            )

        heights, slope = jax.vmap(jax.value_and_grad(height))(v)
        return jnp.where(jnp.isfinite(heights), heights, jnp.inf), slope

    def _move(
        self, key: Key, here: Particles, t: Array, step: Array, data: Rows
    ) -> tuple[Particles, Array]:
        """One transition of Hamiltonian Monte Carlo for p_t with jittered steps, and the mean
        acceptance."""
        momenta, chances = jax.random.split(key)
        p = jax.random.normal(momenta, here.v.shape, here.v.dtype)
        jitter, chance = jax.random.uniform(chances, (2, len(p)), p.dtype)
        e = step * jnp.exp(_JITTER * (2 * jitter - 1))[:, None]

        def leap(_: Array, loop: tuple[Particles, Array]) -> tuple[Particles, Array]:
            at, p = loop
            p = p - e / 2 * (at.v + t * at.slope)
            v = at.v + e * p
            at = Particles(v, *self._heights(v, data))
            return at, p - e / 2 * (at.v + t * at.slope)

        there, end = jax.lax.fori_loop(0, LEAPFROGS, leap, (here, p))
        risen = (
            t * (there.height - here.height)
            + jnp.sum(there.v**2 - here.v**2 + end**2 - p**2, axis=1) / 2
        )
        probability = jnp.exp(-jnp.maximum(jnp.nan_to_num(risen, nan=jnp.inf), 0))
        accepted = chance < probability
        pairs = zip(there, here, strict=True)
        chosen = (
            jnp.where(accepted.reshape(-1, *[1] * (new.ndim - 1)), new, old) for new, old in pairs
        )
        return Particles(*chosen), jnp.mean(probability)


def segment_length(draws: int) -> int:
    """Draws of each fit in one of `SEGMENTS` equal segments that make at least `draws` of them."""
    return -(-draws // SEGMENTS)


def next_power(heights: Float[Array, " M"], t: Float[Array, ""]) -> Float[Array, ""]:
    """The largest power t' <= 1 at which the factors exp(-(t' - t) height) of particles have the
    conditional effective share `_SHARE`, among those whose heights are finite."""

    def share(change: Array) -> Array:
        factors = _factors(heights, change)
        return jnp.sum(factors) ** 2 / (jnp.sum(jnp.isfinite(heights)) * jnp.sum(factors**2))

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        enough = share(middle) >= _SHARE
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    low, _ = jax.lax.fori_loop(0, _HALVINGS, halve, (jnp.zeros_like(t), 1 - t))
    return jnp.where(share(1 - t) >= _SHARE, jnp.ones_like(t), t + low)


def resampled(key: Key, heights: Float[Array, " M"], change: Array | float) -> Int[Array, " M"]:
    """The numbers of M particles chosen from M with the factors exp(-`change` height), by
    systematic resampling."""
    count = len(heights)
    reached = jnp.cumsum(_factors(heights, change))
    places = (jnp.arange(count) + jax.random.uniform(key, dtype=heights.dtype)) / count
    return jnp.minimum(jnp.searchsorted(reached, places * reached[-1]), count - 1)


def _factors(heights: Array, change: Array | float) -> jax.Array:
    """exp(-`change` (height - the lowest height)); 0 for heights that are not finite."""
    finite = jnp.isfinite(heights)
    least = jnp.min(jnp.where(finite, heights, jnp.inf))
    return jnp.where(finite, jnp.exp(-change * jnp.where(finite, heights - least, 0)), 0)
