"""Random numbers for compiled loops: xoshiro256+ (Blackman & Vigna 2021), its 256 bits of state
drawn from a NumPy generator, one row for each chain."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt64

from causal_meta.models.bayesian.structures.compiled import inner

_17, _19, _45, _11 = np.uint64(17), np.uint64(19), np.uint64(45), np.uint64(11)


@inner
def uniform(state: UInt64[np.ndarray, " 4"]) -> float:
    """A number on [0, 1) with 53 random bits; `state` moves on."""
    word = state[0] + state[3]
    shifted = state[1] << _17
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = (state[3] << _45) | (state[3] >> _19)
    return float(word >> _11) * 2.0**-53


@inner
def below(state: UInt64[np.ndarray, " 4"], count: int) -> int:
    """A whole number on 0 .. count - 1, uniform to within count / 2^53."""
    number = int(uniform(state) * count)
    return number if number < count else count - 1
