"""Checks whether w* is a minimum at the scale of a local posterior, and derives sampler settings
from the curvature there.

The check evaluates the gradient of L_n in double precision; the ends of the spectrum of its
Hessian; the gap (`llc.landscapes.polish`), by which λ̂ is too low where w* is not the lowest point
nearby; and negative curvature, which also lowers λ̂.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from causal_meta.llc.landscapes import lanczos
from causal_meta.llc.landscapes.polish import Descent, descend
from causal_meta.llc.landscapes.surfaces import Surface
from causal_meta.randomness import generator

LARGEST_GAP = LARGEST_NEGATIVE = 0.01  # of the Laplace value of λ̂
_SMALLEST = 1e-3  # negligible change of λ̂
_NUDGE = 1e-3  # distance from a saddle point at which a descent starts, relative to |w|
_SADDLES = 3  # largest number of saddle points that a polish escapes from
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ends:
    """The ends of the spectrum of the Hessian H of L_n, and the sums over it that enter λ̂ at nβ and
    γ.

    Fields:
        lowest, highest: the lowest and highest eigenvalue h, each with its residual |Hv - hv|.
        laplace, negative_part: the sums of ½ nβh / (nβh + γ) over the positive and over the
            negative eigenvalues (those with nβh + γ > 0).
        exact: whether all eigenvalues were computed; `n_negative` of them are negative. Otherwise
            each end is within its residual of an eigenvalue, the true lowest one is at most
            `lowest`, the true highest at least `highest`, and the sums are estimates from one
            random vector.
        lowest_vector: the eigenvector of the lowest eigenvalue, [P].
    """

    lowest: float
    highest: float
    lowest_residual: float
    highest_residual: float
    laplace: float
    negative_part: float
    exact: bool
    n_negative: int | None
    lowest_vector: Floats


@dataclass(frozen=True)
class Minimum:
    """The result of the check of w*: P, nβ and γ, L_n(w*), |∇L_n|, the ends of the spectrum, and
    the gap in units of λ̂, which is a lower bound unless the search for lower points converged
    (`gap_ended`)."""

    n_parameters: int
    n_beta: float
    gamma: float
    loss: float
    gradient_norm: float
    ends: Ends
    gap: float
    gap_ended: bool

    @property
    def allowed(self) -> float:
        """The largest gap that passes: one per cent of the Laplace value of λ̂."""
        return max(_SMALLEST, LARGEST_GAP * self.ends.laplace)

    @property
    def gap_at_most(self) -> float:
        """(nβ |∇L_n|)² / (2 (γ + nβ h)), h = min(0, lowest curvature): an upper bound of the gap,
        if L_n is nowhere more concave than at w*."""
        held = self.gamma + self.n_beta * min(0.0, self.ends.lowest)
        return (self.n_beta * self.gradient_norm) ** 2 / (2 * held) if held > 0 else math.inf

    @property
    def flags(self) -> list[str]:
        """The reasons against w*, as clauses; empty for a minimum."""
        reasons, low = [], self.ends.lowest
        if not self.gap <= self.allowed:
            reasons.append(f"lower points nearby make λ̂ too low by {self.gap:.3g}")
        elif not self.gap_ended and not self.gap_at_most <= self.allowed:
            reasons.append("the search for lower points nearby did not converge")
        if self.n_beta * low + self.gamma <= 0 and not self._is_rounding(low):
            reasons.append(
                f"the curvature is {low:.3g} along some direction, which γ = {self.gamma:g} does "
                "not outweigh"
            )
        elif self.ends.negative_part < -max(_SMALLEST, LARGEST_NEGATIVE * self.ends.laplace):
            reasons.append(
                f"negative curvature, down to {low:.3g}, lowers λ̂ by about "
                f"{-self.ends.negative_part:.3g}"
            )
        return reasons

    def _is_rounding(self, curvature: float) -> bool:
        return abs(curvature) <= 1e-12 * abs(self.ends.highest)

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        if self.flags:
            return f"w* is not a minimum: {'; '.join(self.flags)}."
        return (
            f"w* is a minimum for a local posterior with γ = {self.gamma:g}: lower points nearby "
            f"change λ̂ by at most {self.gap:.2g}."
        )

    @property
    def advice(self) -> dict[str, float]:
        """Sampler settings without a mass matrix, from the stiffest direction h = nβ h_max + γ and
        the flattest, γ.

        `condition_number` is h/γ. `sgld_step` ε has εh = 0.1, which inflates the variance of the
        stiffest direction by 1 / (1 - εh/4), 2.6 % (SGLD diverges at εh = 4). `sgld_relaxation` is
        the relaxation time 2 / (εγ) of a flat direction in steps, `sgld_steps` a hundred times
        that. `leapfrog_step` is 1/√h, and `leapfrog_steps` such steps, (π/2) √(h/γ), are a quarter
        of a period of a flat direction.
        """
        stiff = self.n_beta * max(self.ends.highest, 0.0) + self.gamma
        flat = self.gamma if self.gamma > 0 else max(0.0, self.n_beta * self.ends.lowest)
        ratio = stiff / flat if flat > 0 else math.inf
        return {
            "stiffest": stiff,
            "condition_number": ratio,
            "sgld_step": 0.1 / stiff if stiff > 0 else math.inf,
            "sgld_relaxation": 20 * ratio,
            "sgld_steps": 2000 * ratio,
            "leapfrog_step": 1 / math.sqrt(stiff) if stiff > 0 else math.inf,
            "leapfrog_steps": math.pi / 2 * math.sqrt(ratio),
        }


def examine(
    surface: Surface,
    *,
    n_beta: float,
    gamma: float = 1.0,
    budget: int = 2000,
    products: int = 60,
    known: Descent | None = None,
) -> Minimum:
    """Check whether the w* of a surface is a minimum.

    Args:
        budget: the largest number of gradients and Hessian products of the search for lower points.
        products: the largest number of Hessian products for the spectrum, where it is not computed
            from the whole matrix.
        known: the end of a descent to this w* with the same nβ and γ, which replaces the search.

    Raises:
        ValueError: for γ <= 0, since a network's loss may decrease without end, and for a loss that
            is not finite at w*.
    """
    if not gamma > 0:
        raise ValueError(f"gamma is {gamma:g}; the search for a minimum near w* needs a γ above 0.")
    w = surface.centre
    loss, slope = surface.value_and_gradient(w)
    if not math.isfinite(loss) or not np.isfinite(slope).all():
        raise ValueError(
            f"The loss at w* is {loss:g} and its gradient has norm {np.linalg.norm(slope):g}; "
            "no posterior around this point can be sampled."
        )
    ends = spectrum_ends(surface, w, n_beta=n_beta, gamma=gamma, products=products)
    bounded = n_beta * ends.lowest + gamma > 0
    search = known if bounded else None
    if search is None:
        start = None if bounded else nudged(surface, w, ends.lowest_vector)
        search = list(
            descend(
                surface, n_beta=n_beta, gamma=gamma, tolerance=math.inf, budget=budget, start=start
            )
        )[-1]
    return Minimum(
        len(w), n_beta, gamma, loss, float(np.linalg.norm(slope)), ends, search.gap, search.ended
    )


def spectrum_ends(
    surface: Surface,
    w: Float[np.ndarray, " P"],
    *,
    n_beta: float,
    gamma: float,
    products: int = 60,
) -> Ends:
    """The ends of the Hessian's spectrum at w: from all eigenvalues where the surface has the
    Hessian matrix, else by Lanczos with at most `products` Hessian products."""
    matrix = surface.hessian(w)
    if matrix is not None:
        values, vectors = np.linalg.eigh(matrix)
        residuals = [
            float(np.linalg.norm(matrix @ vectors[:, i] - values[i] * vectors[:, i]))
            for i in (0, -1)
        ]
        weights, lowest_vector = np.ones(len(values)), vectors[:, 0]
    else:
        ritz = lanczos.spectrum(
            lambda v: surface.product(w, v),
            len(w),
            generator(0, "lanczos"),
            steps=products,
            tolerance=1e-6,
        )
        values, weights, lowest_vector = ritz.values, len(w) * ritz.weights, ritz.vectors[0]
        residuals = [float(ritz.error[0]), float(ritz.error[-1])]
    rounding = 1e-12 * max(abs(values[0]), abs(values[-1]))
    bounded = np.where((n_beta * values + gamma > 0) & (np.abs(values) > rounding), values, 0.0)
    parts = 0.5 * n_beta * bounded / (n_beta * bounded + gamma)
    return Ends(
        lowest=float(values[0]),
        highest=float(values[-1]),
        lowest_residual=residuals[0],
        highest_residual=residuals[1],
        laplace=float(weights @ np.maximum(parts, 0)),
        negative_part=float(weights @ np.minimum(parts, 0)),
        exact=matrix is not None,
        n_negative=None if matrix is None else int((values < -rounding).sum()),
        lowest_vector=lowest_vector,
    )


def nudged(
    surface: Surface, w: Float[np.ndarray, " P"], direction: Float[np.ndarray, " P"]
) -> Float[np.ndarray, " P"]:
    """w displaced slightly along ± `direction`, to the side where L_n is lower."""
    size = _NUDGE * max(1.0, float(np.linalg.norm(w))) / float(np.linalg.norm(direction))
    return min(
        (w + sign * size * direction for sign in (1, -1)),
        key=lambda v: surface.value_and_gradient(v)[0],
    )


def polish(
    surface: Surface,
    *,
    n_beta: float,
    gamma: float,
    tolerance: float,
    budget: int,
    products: int = 60,
    state: Mapping[str, Any] | None = None,
) -> Iterator[Descent]:
    """Descend until the gap is at most `tolerance` (`llc.landscapes.polish`), escaping from saddle
    points whose negative curvature exceeds γ/nβ; the last anchor is the new w*.

    Args:
        tolerance: in units of λ̂.
        budget: the largest number of gradients and Hessian products.
        state: of an earlier `Descent`, from which the polish resumes.
    """
    for _ in range(_SADDLES + 1):
        for descent in descend(
            surface, n_beta=n_beta, gamma=gamma, tolerance=tolerance, budget=budget, state=state
        ):
            yield descent
        if descent.work >= budget:
            return
        ends = spectrum_ends(surface, descent.anchor, n_beta=n_beta, gamma=gamma, products=products)
        if n_beta * ends.lowest + gamma > 0:
            return
        start = nudged(surface, descent.anchor, ends.lowest_vector)
        radius = float(np.linalg.norm(start - descent.anchor))
        state = descent.state() | {"w": start, "radius": radius, "work": descent.work + products}
