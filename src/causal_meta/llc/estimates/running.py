"""How an estimate settles as its chains grow."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causal_meta.draws import Draws
from causal_meta.llc.estimates.controls import controlled, controls
from causal_meta.llc.estimates.diagnostics import mcse
from causal_meta.llc.estimates.estimators import chosen, failures, weighted

Floats = NDArray[np.floating]
LEAST = 20  # draws of a chain from which on an error is told


@dataclass(frozen=True)
class Settling:
    """At K points: draws of each chain, gradients of all chains together (warm-up included), λ̂
    from these draws alone and its error, each [K]."""

    draws: NDArray[np.integer]
    gradients: Floats
    mean: Floats
    error: Floats


def settling(draws: Draws, points: int = 20) -> Settling:
    """λ̂ from the first t draws of the chains that did not fail, at `points` values of t evenly
    spaced up to all of them, T.

    As in `estimators.estimate`, the mean is less its control variates where that lowers the error;
    so the last point is the estimate itself. Empty where no chain is sound, or there are fewer than
    20 draws.
    """
    kept = [chain for chain, reason in enumerate(failures(draws)) if not reason]
    length = draws.loss.shape[1]
    if not kept or length < LEAST:
        return Settling(np.zeros(0, int), np.zeros(0), np.zeros(0), np.zeros(0))
    sound = chosen(draws, kept)
    plain, variates = sound.llc, controls(sound)
    at = np.unique(np.linspace(max(LEAST, length // points), length, points).astype(int))
    told = []
    for t in at:
        if draws.independent:
            found = weighted(_first(sound, t))
            told.append((found["llc_mean"], found["llc_mcse"]))
            continue
        series = plain[:, :t]
        error = mcse(series)
        if variates is not None:
            other = controlled(series, variates[:, :t]).series
            if (less := mcse(other)) < error:
                series, error = other, less
        told.append((float(series.mean()), error))
    mean, error_ = np.array(told).T
    return Settling(at, np.asarray(draws.gradients, np.float64)[:, at - 1].sum(0), mean, error_)


def _first(draws: Draws, t: int) -> Draws:
    """What the estimate of independent draws takes, of the first t of each chain."""
    arrays: dict[str, Any] = {
        name: None if (value := getattr(draws, name)) is None else np.asarray(value)[:, :t]
        for name in ("loss", "distance", "weights", "virial")
    }
    return replace(draws, **arrays)
