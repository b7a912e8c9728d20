"""Random numbers written out are JAX's own, bit for bit, and the published ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from causal_meta.llc.landscapes.landscape import float_width
from causal_meta.llc.samplers.threefry import THREEFRY, key_of, scrambled

WORDS = (0, 1, 0x0123456789ABCDEF, 2**64 - 1)


def both(word):
    """The written-out key of a word, and JAX's."""
    ours = key_of(word)
    return ours, jax.random.wrap_key_data(jax.random.key_data(ours), impl="threefry2x32")


def data(keys):
    return np.asarray(jax.random.key_data(keys))


def test_words_are_the_published_ones():
    """Known answers of Threefry-2x32, 20 rounds (Random123, kat_vectors)."""
    ones = np.uint32(0xFFFFFFFF)
    known = {
        (0, 0, 0, 0): (0x6B200159, 0x99BA4EFE),
        (ones, ones, ones, ones): (0x1CB996FC, 0xBB002BE7),
    }
    known[0x13198A2E, 0x03707344, 0x243F6A88, 0x85A308D3] = (0xC4923A9C, 0x483DF7A0)
    for (one, two, high, low), words in known.items():
        key = jnp.array([one, two], jnp.uint32)
        result = scrambled(key, jnp.uint32(high), jnp.uint32(low))
        assert tuple(int(word) for word in result) == words


@pytest.mark.parametrize("width", ["float32", "float64"])
def test_keys_and_numbers_are_those_of_jax(width):
    """In programs, as samplers draw them: one for all words and each kind of key."""

    @jax.jit
    def made(key, numbers):
        folded = [jax.random.fold_in(key, number) for number in numbers]
        apart = [jax.random.split(key, count) for count in (2, 3, (2, 5))]
        return [jax.random.key_data(one) for one in (*folded, *apart)], [
            jax.random.normal(key, (3, 5), width),
            jax.random.uniform(key, (), width),
            jax.random.bernoulli(key, 0.3, (17,)),
            jax.random.randint(key, (9,), -5, 1000),
            jax.random.categorical(key, jnp.zeros(4), shape=(6,)),
            *[jax.random.bits(key, (7,), bits) for bits in ("uint8", "uint16", "uint32")],
        ]

    def one(key, c):
        return jax.random.normal(jax.random.fold_in(key, c), (4,), width)

    together = jax.jit(lambda key: jax.vmap(lambda c: one(key, c))(jnp.arange(3)))
    apart = jax.jit(lambda key: jnp.stack([one(key, c) for c in range(3)]))
    numbers = [np.uint32(number) for number in (0, 7, 2**31, 2**32 - 1)]
    with float_width(width):
        for ours, theirs in map(both, WORDS):
            for mine, right in zip(
                jax.tree.leaves(made(ours, numbers)),
                jax.tree.leaves(made(theirs, numbers)),
                strict=True,
            ):
                np.testing.assert_array_equal(mine, right)
            np.testing.assert_array_equal(together(ours), apart(theirs))


def test_another_key_has_other_numbers():
    ours, theirs = both(5)
    assert (
        data(jax.random.split(ours)) != data(jax.random.split(jax.random.fold_in(theirs, 0)))
    ).any()


def test_more_numbers_than_a_word_counts_are_refused():
    with pytest.raises(ValueError, match="fewer than 4,294,967,296 are allowed"):
        jax.jit(lambda key: jax.random.bits(key, (2**16, 2**16), "uint32")).lower(
            jax.random.key(0, impl=THREEFRY)
        )
