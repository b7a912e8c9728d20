"""The kinds of arrays that pass through a compiled sampler."""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
from numpy.typing import NDArray

Array: TypeAlias = jax.Array | NDArray[Any]
"""An array of JAX inside a compiled program, of NumPy between two calls of programs."""
Key: TypeAlias = jax.Array
"""A key of JAX's random numbers."""
