"""The tables of families in the form that compiled loops look up."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int8, Int16, Int64

from causal_meta.models.bayesian.structures.family_tables import FamilyTables

#: The largest number of candidates of a variable.
MOST = 15


class LookUps(NamedTuple):
    """Contiguous arrays of one `FamilyTables`, see there; `order_kernels` explains how they are
    used.

    `place[v, u]` is the bit of u among v's candidates or -1, `back` its transpose in rows;
    `ranked[v]` lists the masks of v from the best score down.
    """

    candidates: Int64[np.ndarray, "D K"]
    place: Int8[np.ndarray, "D D"]
    back: Int8[np.ndarray, "D D"]
    scores: Float[np.ndarray, "D M"]
    sums: Float[np.ndarray, "D M"]
    bests: Float[np.ndarray, "D M"]
    ranked: Int16[np.ndarray, "D M"]


def look_ups(tables: FamilyTables) -> LookUps:
    """The arrays for compiled loops. At most `MOST` candidates."""
    place = tables.place.astype(np.int8)
    return LookUps(
        tables.candidates,
        place,
        np.ascontiguousarray(place.T),
        tables.scores,
        tables.sums,
        tables.bests,
        np.argsort(-tables.scores, axis=1, kind="stable").astype(np.int16),
    )
