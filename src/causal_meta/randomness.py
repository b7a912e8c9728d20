"""Where every random number comes from: (seed, names...) names a stream, and two different names
never share a number.

A stream is the counter-based generator Philox4x64-10 (Salmon et al. 2011) under a 128-bit key that
BLAKE2b makes of seed and names. Seeds are hashed, never added to, so neighbouring seeds, ranks and
purposes cannot meet. Bulk numbers are the raw bits of one key per task and purpose, turned into
uniforms, normals and other laws by one batched transform, so that a task's numbers depend on its
own seed alone.

The first numbers of a stream do not depend on how many are drawn: a table of 300 rows begins with
the table of 200 rows.

Torch is loaded by the functions that return its tensors, not by `key` and `generator`, which JAX
code stands on.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Name = str | int

EULER = 0.5772156649015329  # Euler's constant, the mean of the standard Gumbel law
# normals are made in blocks of 32 numbers: 16 radii and 16 angles give 16 cosines and 16 sines
_BLOCK = 32
_HALF = _BLOCK // 2
_CHUNK = 1 << 15  # numbers transformed at once: what fits a second-level cache


def _code(item: Name) -> bytes:
    """One name as bytes that cannot be confused with another name's, nor with two names': type,
    length, text."""
    text = item.encode() if isinstance(item, str) else b"%d" % item
    return b"%s%d:%s" % (b"s" if isinstance(item, str) else b"i", len(text), text)


def _digests(seeds: Sequence[int], names: tuple[Name, ...]) -> list[bytes]:
    """16 bytes per seed: BLAKE2b of the coded names, then the seed in 16 bytes."""
    prefix = hashlib.blake2b(b"".join(map(_code, names)), digest_size=16, person=b"causal_meta")
    digests = []
    for seed in seeds:
        digest = prefix.copy()
        digest.update(int(seed).to_bytes(16, "little", signed=True))
        digests.append(digest.digest())
    return digests


def key(seed: int, *names: Name) -> tuple[int, int]:
    """The two 64-bit words of the Philox key of stream (seed, names...).

    >>> key(0, "noise") == key(0, "noise"), key(0, "noise") == key(0, "no", "ise"), key(0,
    ... 1) == key(0, "1")
    (True, False, False)
    """
    digest = _digests([seed], names)[0]
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")


def generator(seed: int, *names: Name) -> np.random.Generator:
    """A NumPy generator on the stream (seed, names...), for small draws."""
    return np.random.Generator(np.random.Philox(key=np.array(key(seed, *names), dtype=np.uint64)))


def torch_generator(seed: int, *names: Name) -> torch.Generator:
    """A torch generator on the CPU, seeded by (seed, names...).

    Torch keeps 32 bits of a seed, so this is for a run's few generators, never for one per task.
    """
    import torch

    return torch.Generator().manual_seed(key(seed, *names)[0] >> 1)


def seeds_of(base_seed: int, *names: Name, start: int, count: int) -> list[int]:
    """The 63-bit seeds of items `start` to `start + count - 1` of the sequence (base_seed,
    names...): hashes, unrelated to each other.

    >>> seeds_of(0, "train", start=5, count=3)[1] == seeds_of(0, "train", start=6, count=1)[0]
    True
    """
    digests = _digests(range(start, start + count), ("seeds", base_seed, *names))
    return [int.from_bytes(digest[:8], "little") >> 1 for digest in digests]


def bits(seeds: Sequence[int], names: tuple[Name, ...], count: int) -> Tensor:
    """Int32 [B, count]: the first `count` half-words of the streams (seeds[b], names...), low half
    first."""
    import torch

    words = np.empty((len(seeds), (count + 1) // 2), dtype="<u8")
    keys = np.frombuffer(b"".join(_digests(seeds, names)), dtype="<u8").reshape(-1, 2)
    philox = np.random.Philox(key=0)
    state = philox.state
    for row, words_of_key in zip(words, keys, strict=True):
        state["state"]["key"] = words_of_key
        philox.state = state
        row[:] = philox.random_raw(row.size)
    return torch.from_numpy(words.view("<i4"))[:, :count]


def _shaped(flat: Tensor, shape: tuple[int, ...]) -> Tensor:
    return flat[:, : math.prod(shape)].reshape(len(flat), *shape)


def _padded(shape: tuple[int, ...]) -> int:
    """How many numbers to make for `shape`: whole blocks, as the last ones of a vector register are
    rounded in another way."""
    return -(-math.prod(shape) // _BLOCK) * _BLOCK


def uniforms(seeds: Sequence[int], names: tuple[Name, ...], shape: tuple[int, ...]) -> Tensor:
    """Float32 [B, *shape], uniform on the open interval (0, 1): the 2^23 midpoints (k + 1/2) /
    2^23. Row b depends on seeds[b] and names only."""
    import torch

    # keeps the sign: -2^22 .. 2^22 - 1
    whole = torch.bitwise_right_shift(bits(seeds, names, math.prod(shape)), 9)
    return _shaped(whole.to(torch.float32).add_(2.0**22 + 0.5).mul_(2.0**-23), shape)


def normals(seeds: Sequence[int], names: tuple[Name, ...], shape: tuple[int, ...]) -> Tensor:
    """Float32 [B, *shape], standard normal by Box and Muller (1958): sqrt(-2 ln u) (cos a, sin a).
    Row b depends on seeds[b] and names only.

    u = |k| / 2^31 of a signed half-word k (0 becomes 1/2^32), so values reach 6.66; a is uniform on
    [-pi, pi).
    """
    import torch

    padded = _padded(shape)
    raw = bits(seeds, names, padded)
    out = torch.empty(raw.shape, dtype=torch.float32)
    step = max(1, _CHUNK // max(padded, 1))
    for first in range(0, len(raw), step):
        source = raw[first : first + step].view(-1, 2, _HALF)
        radius = (
            source[:, 0]
            .to(torch.float32, memory_format=torch.contiguous_format)
            .abs_()
            .mul_(2.0**-31)
            .clamp_(min=2.0**-32)
        )
        angle = (
            source[:, 1]
            .to(torch.float32, memory_format=torch.contiguous_format)
            .mul_(math.pi / 2.0**31)
        )
        # NumPy's vectorised functions are twice as fast as torch's
        logs, angles = radius.numpy(), angle.numpy()
        np.log(logs, out=logs)
        radius.mul_(-2.0).sqrt_()
        pair = out[first : first + step].view(-1, 2, _HALF)
        torch.mul(radius, torch.from_numpy(np.cos(angles)), out=pair[:, 0])
        np.sin(angles, out=angles)
        torch.mul(radius, angle, out=pair[:, 1])
    return _shaped(out, shape)


def laplaces(seeds: Sequence[int], names: tuple[Name, ...], shape: tuple[int, ...]) -> Tensor:
    """Float32 [B, *shape], Laplace with mean 0 and variance 1 (scale 1/sqrt 2) by the inverse
    distribution function: sign(k) (-ln u) / sqrt 2.

    u = |k| / 2^31 of a signed half-word k (0 becomes 1/2^32), so values reach 15.7. Row b depends
    on seeds[b] and names only.
    """
    import torch

    padded = _padded(shape)
    signed = bits(seeds, names, padded).to(torch.float32)
    size = signed.abs().mul_(2.0**-31).clamp_(min=2.0**-32).log_().mul_(-math.sqrt(0.5))
    return _shaped(torch.copysign(size, signed), shape)


def cauchys(seeds: Sequence[int], names: tuple[Name, ...], shape: tuple[int, ...]) -> Tensor:
    """Float32 [B, *shape], Cauchy with median 0 and scale 1 by the inverse distribution function:
    sign(k) cot(pi v).

    v = |k| / 2^32 of a signed half-word k (0 becomes 1/2^33), precise where v is small, so values
    reach 2.7e9. Row b depends on seeds[b] and names only.
    """
    import torch

    signed = bits(seeds, names, _padded(shape)).to(torch.float32)
    size = signed.abs().mul_(2.0**-32).clamp_(min=2.0**-33).mul_(math.pi).tan_().reciprocal_()
    return _shaped(torch.copysign(size, signed), shape)


def gumbels(seeds: Sequence[int], names: tuple[Name, ...], shape: tuple[int, ...]) -> Tensor:
    """Float32 [B, *shape], Gumbel with mean 0 and variance 1: (-ln(-ln u) - 0.5772) sqrt 6 / pi of
    uniforms u.

    Values lie between -2.7 and 12.5. Row b depends on seeds[b] and names only.
    """
    u = uniforms(seeds, names, (_padded(shape),))
    return _shaped(u.log_().neg_().log_().add_(EULER).mul_(-math.sqrt(6) / math.pi), shape)


def student_ts(
    seeds: Sequence[int], names: tuple[Name, ...], shape: tuple[int, ...], df: float
) -> Tensor:
    """Float32 [B, *shape], Student's t with df > 0 degrees of freedom (not scaled) by Bailey's
    (1994) polar method: sqrt(df (u^(-2/df) - 1)) cos a.

    Number i takes half-words 2i and 2i + 1: u = |k| / 2^31 (0 becomes 1/2^32) and an angle a
    uniform on [-pi, pi). Exact in distribution for every df, without rejection. Row b depends on
    seeds[b] and names only.
    """
    import torch

    raw = bits(seeds, names, 2 * _padded(shape)).unflatten(1, (-1, 2))
    u = (
        raw[..., 0]
        .to(torch.float64, memory_format=torch.contiguous_format)
        .abs_()
        .mul_(2.0**-31)
        .clamp_(min=2.0**-32)
    )
    # in double precision: a small difference of large parts
    radius = u.log_().mul_(-2 / df).expm1_().mul_(df).sqrt_()
    angle = (
        raw[..., 1].to(torch.float32, memory_format=torch.contiguous_format).mul_(math.pi / 2.0**31)
    )
    return _shaped(angle.cos_().mul_(radius.to(torch.float32)), shape)


def permutations(seeds: Sequence[int], names: tuple[Name, ...], n: int) -> Tensor:
    """Int64 [B, n]: a uniform random permutation of 0..n-1 per seed, the order of n 32-bit numbers
    (equal ones by position)."""
    import torch

    return torch.argsort(bits(seeds, names, n).to(torch.int64) * n + torch.arange(n), dim=-1)
