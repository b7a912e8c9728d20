"""A posterior prepared for a sampler: its float width, its temperature, its loss in chunks of rows,
its random keys, and the starting points of chains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Float

from causal_meta import randomness
from causal_meta.conf.local_posterior import LocalPosteriorConfig
from causal_meta.conf.samplers import SamplerConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.llc.landscapes.landscape import Landscape, Rows
from causal_meta.llc.landscapes.local_posterior import LocalPosterior, tempered_rows
from causal_meta.llc.samplers.arrays import Array, Key
from causal_meta.llc.samplers.threefry import key_of

T = TypeVar("T")

POWER_ITERATIONS = 20  # for the largest curvature at w*
START_ITERATIONS = 8  # the same at each chain's start
_SMALLEST = 1e-12
_CACHED = 2000  # rows of a chunk on a CPU, whose intermediate values fit into its cache


class Start(NamedTuple):
    """The starting points of chains: positions [C, P], the largest curvature of the exponent at
    them and at w*, and that at w* alone."""

    positions: Array
    curvature: Array
    centre_curvature: Array


@dataclass(frozen=True)
class Prepared:
    """The posterior p(w) ∝ exp(-U), U(w) = nβ (L_n(w) - L_n(w*)) + (γ/2) |w - w*|², as samplers use
    it.

    `posterior.landscape` is at the sampler's float width; `loss(w [P], data)` is L_n over all rows,
    summed over chunks of rows where that is configured. All functions take `data` as an argument
    and run inside `float_width(config.precision)`.
    """

    posterior: LocalPosterior
    config: SamplerConfig
    loss: Callable[[jax.Array, Rows], jax.Array]

    @property
    def landscape(self) -> Landscape:
        """The landscape at the sampler's width."""
        return self.posterior.landscape

    @property
    def centre(self) -> Float[jax.Array, " P"]:
        """w*."""
        return jnp.asarray(self.posterior.landscape.centre)

    def centred(self, centre_loss: Array) -> Prepared:
        """The same with the value of L_n(w*)."""
        return replace(self, posterior=replace(self.posterior, centre_loss=centre_loss))

    def log_density(self, w: Float[Array, " P"], data: Rows) -> Float[Array, ""]:
        """-U(w)."""
        w = jnp.asarray(w)
        return self.posterior.tempered(self.loss(w, data), w)

    def excess(
        self, log_density: Float[Array, ...], away: Float[Array, "... P"]
    ) -> Float[Array, ...]:
        """L_n(w) - L_n(w*) from log densities -U(w) and w - w*."""
        return (
            -(log_density + 0.5 * self.posterior.gamma * jnp.sum(away * away, axis=-1))
            / self.posterior.n_beta
        )

    def curvature_product(
        self, w: Float[Array, " P"], vector: Float[Array, " P"], data: Rows
    ) -> Float[Array, " P"]:
        """The Hessian of U at w times a vector; it costs two gradients."""
        slope = jax.grad(lambda at: self.loss(at, data))
        product: Array = jax.jvp(slope, (w,), (vector,))[1]
        return self.posterior.n_beta * product + self.posterior.gamma * vector

    def largest_curvature(
        self,
        key: Key,
        w: Float[Array, " P"],
        data: Rows,
        iterations: Array | int = POWER_ITERATIONS,
    ) -> Float[Array, ""]:
        """The largest eigenvalue of the Hessian of U at w, in absolute value, by power iterations;
        never below γ."""
        vector = jax.random.normal(key, w.shape, w.dtype)

        def iterate(_: Array, pair: tuple[Array, Array]) -> tuple[Array, Array]:
            vector, _ = pair
            image = self.curvature_product(w, vector / jnp.linalg.norm(vector), data)
            return image, jnp.linalg.norm(image)

        _, size = jax.lax.fori_loop(0, iterations, iterate, (vector, jnp.zeros((), w.dtype)))
        return jnp.maximum(size, jnp.maximum(self.posterior.gamma, _SMALLEST))

    def start(self, key: Key, directions: Key, jitter: float, data: Rows) -> Start:
        """Positions w* + jitter / sqrt(h) times independent normal numbers.

        h is the largest curvature at w* or, where it is larger, at the positions that the curvature
        at w* alone would give (at a singular w* it may be zero); `directions` is the key of the
        first vectors of the power iterations.
        """
        normal = jax.vmap(
            lambda c: jax.random.normal(
                jax.random.fold_in(key, c), self.centre.shape, self.centre.dtype
            )
        )(jnp.arange(self.config.chains))

        # w* first, then each chain's position: a loop has one copy of the product in the program,
        # and copies take long to compile
        def measure(place: Array, pair: tuple[Array, Array]) -> tuple[Array, Array]:
            at_centre, curvature = pair
            tried = self.centre + jitter / jnp.sqrt(at_centre) * normal[jnp.maximum(place - 1, 0)]
            first = place == 0
            size = self.largest_curvature(
                directions,
                jnp.where(first, self.centre, tried),
                data,
                jnp.where(first, POWER_ITERATIONS, START_ITERATIONS),
            )
            return jnp.where(first, size, at_centre), jnp.maximum(curvature, jnp.nan_to_num(size))

        zero = jnp.zeros((), self.centre.dtype)
        at_centre, curvature = jax.lax.fori_loop(
            0, 1 + self.config.chains, measure, (zero + 1, zero)
        )
        return Start(self.centre + jitter / jnp.sqrt(curvature) * normal, curvature, at_centre)


def prepare(landscape: Landscape, config: SamplerConfig, row_chunk: int = 0) -> Prepared:
    """The posterior of `landscape` that `config` describes, without L_n(w*) (see `centred`); to be
    called inside its float width."""
    at_width = landscape.at_width(config.precision)
    n_beta, gamma = temperature(config.posterior, landscape.n, landscape.n_parameters)
    return Prepared(
        LocalPosterior(at_width, n_beta, gamma, 0.0), config, full_loss(at_width, row_chunk)
    )


def temperature(posterior: LocalPosteriorConfig, n: int, n_parameters: int) -> tuple[float, float]:
    """nβ and γ of a configuration for n rows and P parameters.

    >>> temperature(LocalPosteriorConfig(prior_radius=2.0), 1000, 8)[1]
    2.0
    """
    gamma = n_parameters / posterior.prior_radius**2 if posterior.prior_radius else posterior.gamma
    return tempered_rows(
        n, None if posterior.beta_mode == "inverse_log_n" else posterior.beta
    ), gamma


def full_loss(landscape: Landscape, row_chunk: int) -> Callable[[jax.Array, Rows], jax.Array]:
    """L_n(w) over all rows, whose gradient is summed over chunks of `row_chunk` rows, each from
    loss and gradient together.

    `row_chunk` 0 stands for all rows at once or, of many rows on a CPU, for chunks whose
    intermediate values stay in its cache.
    """
    rows, n = landscape.row_losses, landscape.n
    size = row_chunk or (_CACHED if n >= 2 * _CACHED and jax.default_backend() == "cpu" else n)
    if rows is None or size >= n:
        return landscape.mean_loss
    whole = n // size * size

    def summed(part: Callable[[Rows], T], data: Rows) -> T:
        """The sum of `part` over all chunks of rows."""
        chunks = {
            name: values[:whole].reshape(n // size, size, *values.shape[1:])
            for name, values in data.items()
        }
        first = part({name: values[0] for name, values in chunks.items()})
        others = {name: values[1:] for name, values in chunks.items()}
        total, _ = jax.lax.scan(
            lambda so_far, chunk: (jax.tree.map(jnp.add, so_far, part(chunk)), None), first, others
        )
        if whole < n:
            total = jax.tree.map(
                jnp.add, total, part({name: values[whole:] for name, values in data.items()})
            )
        return jax.tree.map(lambda value: value / n, total)

    def chunk_loss(w: jax.Array, chunk: Rows) -> jax.Array:
        return jnp.sum(rows(w, chunk))

    @jax.custom_vjp
    def loss(w: jax.Array, data: Rows) -> jax.Array:
        return summed(lambda chunk: chunk_loss(w, chunk), data)

    def forward(w: jax.Array, data: Rows) -> tuple[jax.Array, jax.Array]:
        return summed(lambda chunk: jax.value_and_grad(chunk_loss)(w, chunk), data)

    loss.defvjp(forward, lambda slope, change: (change * slope, None))
    return loss


def minibatch(landscape: Landscape, batch_size: int, kind: str) -> int:
    """The rows of a minibatch (0: all of them); raises `ConfigError` where the loss has no rows, or
    fewer."""
    if batch_size and landscape.row_losses is None:
        raise ConfigError(
            f"{kind}.batch_size is {batch_size}, but {landscape.name} is a population loss "
            "without rows; leave batch_size at 0."
        )
    if batch_size > landscape.n:
        raise ConfigError(
            f"{kind}.batch_size is {batch_size}, but {landscape.name} has {landscape.n} rows; "
            f"give at most {landscape.n}, or 0 for all."
        )
    return batch_size


def stream(seed: int, *names: str | int) -> Key:
    """The JAX key, of 64 bits, of the random stream (seed, "llc", names...)."""
    return key_of(randomness.key(seed, "llc", *names)[0])
