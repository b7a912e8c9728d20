"""The kinds of arrays that pass through a compiled sampler."""

from __future__ import annotations

from typing import TypeAlias

import jax

from causal_meta.llc.landscapes.landscape import Values

Array: TypeAlias = Values
"""An array of JAX inside a compiled program, of NumPy between two calls of programs."""
Key: TypeAlias = jax.Array
"""A key of JAX's random numbers."""
