"""Compiling the inner loops of Markov chains and searches with Numba.

The modules whose names end in `_kernels` import this one, and with it Numba, so they are imported
only inside the functions that run them. Compiled code is kept on disk beside the source, or in the
user's cache where that folder cannot be written (NUMBA_CACHE_DIR overrides both); where neither can
be written it is compiled anew in each process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

#: A literal is a type of its own, for which a function is compiled once more; these are not.
ZERO, TRUE = cast(int, np.int64(0)), cast(bool, np.bool_(True))

# without an entry for C, and without counting references to arrays
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "no_cfunc_wrapper": True, "_nrt": False}


def compiled(function: F) -> F:
    """The function as machine code, compiled for the types of its first call. Floating-point
    operations keep their order, so equal inputs give equal results.

    For what Python calls; what only other compiled functions call is an `inner` one. Neither makes
    arrays (their callers do) or assigns to slices: these take longer to compile than all the rest.
    """
    try:
        return _machine_code(function, cache=True)
    except RuntimeError:  # Numba knows no folder for its cache that can be written
        return _machine_code(function)


def inner(function: F) -> F:
    """A part of compiled functions, compiled with them and kept in their machine code; Python
    cannot call it."""
    return _machine_code(function, no_cpython_wrapper=True)


def _machine_code(function: F, **options: Any) -> F:
    compiler: Any = numba.njit
    return cast(F, compiler(**_OPTIONS, **options)(function))
