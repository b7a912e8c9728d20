"""The convergence of an estimate as its chains grow."""

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
LEAST = 20  # smallest number of draws of a chain for which an error is computed


@dataclass(frozen=True)
class Settling:
    """The running estimate at K points, each field [K]: draws of each chain, gradients of all
    chains together (warm-up included), and λ̂ from these draws with its error."""

    draws: NDArray[np.integer]
    gradients: Floats
    mean: Floats
    error: Floats


def settling(draws: Draws, points: int = 20) -> Settling:
    """λ̂ from the first t draws of the chains that did not fail, at `points` evenly spaced values of
    t up to T.

    As in `estimators.estimate`, control variates are used where they lower the error, so that the
    last point is the estimate itself. Empty where all chains failed, or with fewer than 20 draws.
    """
    kept = [chain for chain, reason in enumerate(failures(draws)) if not reason]
    length = draws.loss.shape[1]
    if not kept or length < LEAST:
        return Settling(np.zeros(0, int), np.zeros(0), np.zeros(0), np.zeros(0))
    sound = chosen(draws, kept)
    plain, variates = sound.llc, controls(sound)
    at = np.unique(np.linspace(max(LEAST, length // points), length, points).astype(int))
    estimates = []
    for t in at:
        if draws.independent:
            partial = weighted(_first(sound, t))
            estimates.append((partial["llc_mean"], partial["llc_mcse"]))
            continue
        series = plain[:, :t]
        error = mcse(series)
        if variates is not None:
            other = controlled(series, variates[:, :t]).series
            if (smaller := mcse(other)) < error:
                series, error = other, smaller
        estimates.append((float(series.mean()), error))
    mean, errors = np.array(estimates).T
    return Settling(at, np.asarray(draws.gradients, np.float64)[:, at - 1].sum(0), mean, errors)


def _first(draws: Draws, t: int) -> Draws:
    """The first t of each chain of independent draws, with the arrays that their estimate needs."""
    arrays: dict[str, Any] = {
        name: None if (value := getattr(draws, name)) is None else np.asarray(value)[:, :t]
        for name in ("loss", "distance", "weights", "virial")
    }
    return replace(draws, **arrays)
