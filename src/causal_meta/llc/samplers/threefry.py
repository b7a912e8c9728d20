"""The counter-based random numbers of JAX, bit for bit, written out so that XLA fuses them into one
kernel.

On a CPU JAX compiles each call of its generator to a loop of small kernels, which takes longer than
a gradient of a small network: SGLD and MCLMC on formulas spent more than half of their time there
(`benchmarks/llc_random.py`). Without the loop XLA fuses the rounds with the code that uses their
numbers.
"""

from __future__ import annotations

import math
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl, threefry_prng_impl

from causal_meta.llc.samplers.arrays import Array, Key

_ROTATIONS: Final = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY: Final = np.uint32(0x1BD11BDA)
_MOST: Final = 1 << 32  # numbers of one call, as their index is one word


def scrambled(key: Array, high: Array, low: Array) -> tuple[Array, Array]:
    """The two words that Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror and Shaw 2011) makes of
    the two words of a counter, under a key [2] of words."""
    words = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    a, b = high + words[0], low + words[1]
    for part in range(5):
        for turn in _ROTATIONS[part % 2]:
            a = a + b
            b = a ^ ((b << np.uint32(turn)) | (b >> np.uint32(32 - turn)))
        a, b = a + words[(part + 1) % 3], b + words[(part + 2) % 3] + np.uint32(part + 1)
    return a, b


def _counted(key: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    size = math.prod(shape)
    if size >= _MOST:
        raise ValueError(
            f"{size:,} random numbers were requested at once; fewer than {_MOST:,} are allowed, "
            "draw them in parts."
        )
    count = jnp.arange(size, dtype=jnp.uint32).reshape(shape)
    return scrambled(key, jnp.zeros_like(count), count)


def _split(key: Array, shape: tuple[int, ...]) -> jax.Array:
    return jnp.stack(_counted(key, shape), axis=-1)


def _fold_in(key: Array, number: Array | int) -> jax.Array:
    low = jnp.asarray(number, jnp.uint32)
    return jnp.stack(scrambled(key, jnp.zeros_like(low), low))


def _bits(key: Array, width: int, shape: tuple[int, ...]) -> jax.Array:
    high, low = (jnp.asarray(word) for word in _counted(key, shape))
    if width == 64:
        return (high.astype(jnp.uint64) << 32) | low.astype(jnp.uint64)
    return (high ^ low).astype({8: jnp.uint8, 16: jnp.uint16, 32: jnp.uint32}[width])


THREEFRY: Final = define_prng_impl(
    key_shape=(2,),
    seed=threefry_prng_impl.seed,
    split=_split,
    random_bits=_bits,
    fold_in=_fold_in,
    name="threefry2x32_written_out",
    tag="fryw",
)
"""For `jax.random.key(…, impl=THREEFRY)`: the keys and numbers of JAX's default generator with its
default, `jax_threefry_partitionable`."""


def key_of(word: int) -> Key:
    """The key whose 64 bits are `word`."""
    return jax.random.wrap_key_data(
        jnp.asarray(np.array([word >> 32, word & 0xFFFFFFFF], dtype=np.uint32)), impl=THREEFRY
    )
