"""Extrapolation of λ from several estimates: to zero localisation (γ → 0), to zero step size (ε →
0), and over temperatures (nβ)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.special import chdtrc

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Limit:
    """A fitted limit.

    Fields:
        value, error: the limit and its standard error, which is multiplied by the square root of
            chi² per degree of freedom where that exceeds 1.
        model: the fitted formula in words.
        coefficients: of the model, the limit first.
        p_value: of the chi² test of the fit; None without degrees of freedom.
        curve: the fitted values at the K points.
    """

    value: float
    error: float
    model: str
    coefficients: tuple[float, ...]
    p_value: float | None
    curve: tuple[float, ...]


def to_zero(
    x: Sequence[float],
    values: Sequence[float],
    errors: Sequence[float],
    *,
    degree: int | None = None,
    letter: str = "x",
) -> Limit:
    """The limit at x = 0 of values with independent `errors` at points x >= 0, by a polynomial
    fitted with weights 1 / errors².

    Suits γ and ε: on Σ c_i w_i^{2 k_i} λ̂ is smooth in γ, for a regular model λ - γ/2 Σ 1/(nβ h_i) +
    …, and a Langevin step shifts λ̂ by O(ε). The largest x should be so small that the shift is a
    fraction of λ.

    Args:
        degree: of the polynomial; by default the lowest from 1 to 3 whose fit has a p-value above
            0.2, with at least one degree of freedom.
        letter: the symbol of x in the description of the model.

    Raises:
        ValueError: for fewer than two different points, or errors that are not positive.
    """
    x_, y, e = _points(x, values, errors)
    orders = range(1, min(3, len(x_) - 2) + 1) if degree is None else [degree]
    limit = None
    for order in orders or [1]:
        if order >= len(x_):
            raise ValueError(
                f"A polynomial of degree {order} needs more than {len(x_)} points; give more "
                "runs, or a lower degree."
            )
        limit = _linear(
            np.vander(x_, order + 1, increasing=True),
            y,
            e,
            f"polynomial of degree {order} in {letter}",
        )
        if limit.p_value is None or limit.p_value > 0.2:
            break
    assert limit is not None
    return limit


def to_no_localisation(
    gammas: Sequence[float],
    values: Sequence[float],
    errors: Sequence[float],
    *,
    multiplicity: int = 1,
) -> Limit:
    """λ as γ → 0 from estimates at one temperature.

    With multiplicity 1 by `to_zero`. With m > 1 the convergence is logarithmic, λ̂ = λ - (m - 1) /
    (a - b log γ) with b >= 0 (for homogeneous forms, from Z ∝ t^-λ (log t + c)^{m-1} and t ∝ nβ
    γ^-κ). This has three unknowns and needs at least three values of γ, better over several
    decades.
    """
    if multiplicity == 1:
        return to_zero(gammas, values, errors, letter="γ")
    if multiplicity < 1:
        raise ValueError(f"A multiplicity of {multiplicity} does not exist; give 1 or more.")
    x, y, e = _points(gammas, values, errors)
    if len(x) < 3 or (x <= 0).any():
        raise ValueError(
            "The logarithmic limit needs three or more values of γ above 0, not "
            f"{sorted(x.tolist())}."
        )
    logs = np.log(x)

    def curve(p: Floats) -> Floats:
        return np.asarray(
            p[0] - (multiplicity - 1) / (math.exp(p[1]) + math.exp(p[2]) * (logs.max() - logs))
        )

    start = np.array([float(y.max()) + 0.1, math.log(10.0), 0.0])
    fit = least_squares(lambda p: (curve(p) - y) / e, start, method="lm", max_nfev=4000)
    covariance = np.linalg.pinv(fit.jac.T @ fit.jac)
    model = f"λ - {multiplicity - 1} / (a - b log γ)"
    return _limit(fit.x, covariance, float(2 * fit.cost), len(x) - 3, model, curve(fit.x))


def over_temperatures(
    n_betas: Sequence[float],
    values: Sequence[float],
    errors: Sequence[float],
    *,
    multiplicity: int = 1,
    offset: bool = True,
    gamma: float = 0.0,
) -> Limit:
    """λ from estimates λ̂ = nβ (E[L_n] - L_0) at several temperatures, by E[L_n] = L_min + λ / (nβ)
    - (m - 1) / (nβ log nβ) (Watanabe 2013).

    Args:
        offset: whether to fit L_min; then λ is the slope of E[L_n] against 1 / nβ, and an L_0 that
            is not the minimum, which shifts λ̂ by nβ (L_min - L_0), does not matter.
        gamma: if above 0, a term in γ / nβ is fitted (localisation matters most at small nβ).

    Raises:
        ValueError: if there are fewer temperatures than unknowns.
    """
    x, y, e = _points(n_betas, values, errors)
    if (x <= 1).any():
        raise ValueError(f"Temperatures are fitted for nβ above 1, not {float(x.min()):g}.")
    columns, words = [np.ones_like(x)], ["λ"]
    if multiplicity > 1:
        y = y + (multiplicity - 1) / np.log(x)
        words.append(f"- {multiplicity - 1} / log nβ")
    if offset:
        columns.append(x)
        words.append("+ nβ (L_min - L_0)")
    if gamma > 0:
        columns.append(gamma / x)
        words.append("+ a γ / nβ")
    if len(x) < len(columns):
        raise ValueError(
            f"{len(x)} temperatures cannot settle {len(columns)} unknowns; give more runs."
        )
    limit = _linear(np.stack(columns, 1), y, e, " ".join(words))
    if multiplicity == 1:
        return limit
    shifted = np.asarray(limit.curve) - (multiplicity - 1) / np.log(x)
    return replace(limit, curve=tuple(float(v) for v in shifted))


def _points(
    x: Sequence[float], values: Sequence[float], errors: Sequence[float]
) -> tuple[Floats, Floats, Floats]:
    x_, y, e = (np.asarray(array, np.float64) for array in (x, values, errors))
    if not (x_.shape == y.shape == e.shape):
        raise ValueError(
            f"Points, values and errors must be as many, not {len(x_)}, {len(y)} and {len(e)}."
        )
    if not (np.isfinite(x_) & np.isfinite(y) & np.isfinite(e)).all() or (e <= 0).any():
        raise ValueError("Every point needs a finite value and an error above 0; omit failed runs.")
    if len(np.unique(x_)) < 2:
        raise ValueError("An extrapolation needs runs at two different points at least.")
    return x_, y, e


def _linear(design: Floats, y: Floats, errors: Floats, model: str) -> Limit:
    """Weighted least squares of y [K] on the columns of `design` [K, M]; the first coefficient is
    the limit."""
    scale = np.sqrt((design**2).mean(0))
    weighted = design / scale / errors[:, None]
    coefficients, *_ = np.linalg.lstsq(weighted, y / errors, rcond=None)
    residual = weighted @ coefficients - y / errors
    covariance = np.linalg.pinv(weighted.T @ weighted) / np.outer(scale, scale)
    curve = design @ (coefficients / scale)
    return _limit(
        coefficients / scale,
        covariance,
        float(residual @ residual),
        len(y) - design.shape[1],
        model,
        curve,
    )


def _limit(
    coefficients: Floats, covariance: Floats, chi2: float, degrees: int, model: str, curve: Floats
) -> Limit:
    p_value = float(chdtrc(degrees, chi2)) if degrees > 0 else None
    inflation = math.sqrt(max(1.0, chi2 / degrees)) if degrees > 0 else 1.0
    error = math.sqrt(max(float(covariance[0, 0]), 0.0)) * inflation
    return Limit(
        float(coefficients[0]),
        error,
        model,
        tuple(float(c) for c in coefficients),
        p_value,
        tuple(float(v) for v in curve),
    )
