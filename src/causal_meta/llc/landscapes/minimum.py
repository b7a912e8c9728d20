"""Is w* a minimum, as far as a posterior around it can see, and what does its curvature ask of a
sampler?

Looked at: the gradient of L_n in double precision, beside what it would be by chance; the ends of
the spectrum of its Hessian; the gap (`llc.landscapes.polish`), by which λ̂ is too low where w* is
not the lowest point near by; and negative curvature, which lowers λ̂ too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causal_meta.llc.landscapes import lanczos
from causal_meta.llc.landscapes.polish import Descent, descend
from causal_meta.llc.landscapes.surfaces import Surface
from causal_meta.randomness import generator

LARGEST_GAP = LARGEST_NEGATIVE = 0.01  # of the Laplace value of λ̂
_SMALLEST = 1e-3  # in units of λ̂: what nobody will notice
_NUDGE = 1e-3  # how far beside a saddle point a descent begins, beside |w|
_SADDLES = 3  # saddle points that a polish leaves at most
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ends:
    """The ends of the spectrum of the Hessian H of L_n, each with its residual |Hv - hv|, and what
    all of it says of λ̂ at nβ and γ.

    `laplace` and `negative_part` are the sums of ½ nβh / (nβh + γ) over its positive and its
    negative eigenvalues h (those that γ holds). `exact` if all eigenvalues are known, `n_negative`
    of them negative; else there is an eigenvalue within the residual of each end, the lowest one is
    at most `lowest`, the highest at least `highest`, and the sums are estimates from one random
    vector.
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
    """What is known of w*: P, nβ and γ, L_n(w*), |∇L_n|, the ends of the spectrum, and the gap in
    units of λ̂; `gap_ended` says whether the search for lower points came to its end (else the gap
    is a lower bound)."""

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
        """(nβ |∇L_n|)² / 2 over γ plus the lowest nβh: what the gap is at most while L_n is not
        more curved downwards than at w*."""
        held = self.gamma + self.n_beta * min(0.0, self.ends.lowest)
        return (self.n_beta * self.gradient_norm) ** 2 / (2 * held) if held > 0 else math.inf

    @property
    def flags(self) -> list[str]:
        """What is wrong with w*, in words; empty for a minimum."""
        found, low = [], self.ends.lowest
        if not self.gap <= self.allowed:
            found.append(
                f"there are lower points near by, so that λ̂ would come out {self.gap:.3g} too low"
            )
        elif not self.gap_ended and not self.gap_at_most <= self.allowed:
            found.append("the search for lower points near by did not come to its end")
        if self.n_beta * low + self.gamma <= 0 and not self._is_rounding(low):
            found.append(
                f"along some direction the curvature is {low:.3g}, which γ = {self.gamma:g} does "
                "not hold"
            )
        elif self.ends.negative_part < -max(_SMALLEST, LARGEST_NEGATIVE * self.ends.laplace):
            found.append(
                f"negative curvature, down to {low:.3g}, lowers λ̂ by about "
                f"{-self.ends.negative_part:.3g}"
            )
        return found

    def _is_rounding(self, curvature: float) -> bool:
        return abs(curvature) <= 1e-12 * abs(self.ends.highest)

    @property
    def sentence(self) -> str:
        """The verdict."""
        if self.flags:
            return f"w* is no minimum: {'; '.join(self.flags)}."
        return (
            f"w* is a minimum as far as a posterior with γ = {self.gamma:g} can see: points "
            f"near by lower λ̂ by at most {self.gap:.2g}."
        )

    @property
    def advice(self) -> dict[str, float]:
        """What samplers need here, from the stiffest direction nβ h_max + γ and the flattest, γ,
        without a mass matrix.

        `sgld_step` ε has εh = 0.1 in the stiffest direction h, whose variance it inflates by 1 / (1
        - εh/4), 2.6 % (it diverges at εh = 4); `sgld_relaxation` are the 2 / (εγ) steps in which a
        flat direction forgets, `sgld_steps` a hundred times as many. `leapfrog_step` is 1/√h,
        `leapfrog_steps` a quarter of a period of a flat direction, (π/2) √(h/γ). `condition_number`
        is h/γ.
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
    """Look at the w* of a surface.

    The search for lower points takes at most `budget` gradients and products, the spectrum
    `products`, where it is not computed whole; `known` is the end of a descent to this w* with the
    same nβ and γ, which has searched already. Raises ValueError for γ <= 0, with which a network
    has lower points for ever, and for a loss that is not finite at w*.
    """
    if not gamma > 0:
        raise ValueError(
            f"gamma is {gamma:g}; a minimum can be looked for near w* alone, so give a γ above 0."
        )
    w = surface.centre
    loss, slope = surface.value_and_gradient(w)
    if not math.isfinite(loss) or not np.isfinite(slope).all():
        raise ValueError(
            f"The loss at w* is {loss:g} and its gradient has norm {np.linalg.norm(slope):g}; "
            "this is no point to sample around."
        )
    ends = spectrum_ends(surface, w, n_beta=n_beta, gamma=gamma, products=products)
    held = n_beta * ends.lowest + gamma > 0
    search = known if held else None
    if search is None:
        start = None if held else nudged(surface, w, ends.lowest_vector)
        search = list(
            descend(
                surface, n_beta=n_beta, gamma=gamma, tolerance=math.inf, budget=budget, start=start
            )
        )[-1]
    return Minimum(
        len(w), n_beta, gamma, loss, float(np.linalg.norm(slope)), ends, search.gap, search.ended
    )


def spectrum_ends(
    surface: Surface, w: Floats, *, n_beta: float, gamma: float, products: int = 60
) -> Ends:
    """The ends of the Hessian's spectrum at w: from all eigenvalues where the surface gives the
    Hessian whole, else by Lanczos."""
    matrix = surface.hessian(w)
    if matrix is not None:
        values, vectors = np.linalg.eigh(matrix)
        residuals = [
            float(np.linalg.norm(matrix @ vectors[:, i] - values[i] * vectors[:, i]))
            for i in (0, -1)
        ]
        weights, lowest_vector = np.ones(len(values)), vectors[:, 0]
    else:
        found = lanczos.spectrum(
            lambda v: surface.product(w, v),
            len(w),
            generator(0, "lanczos"),
            steps=products,
            tolerance=1e-6,
        )
        values, weights, lowest_vector = found.values, len(w) * found.weights, found.vectors[0]
        residuals = [float(found.error[0]), float(found.error[-1])]
    rounding = 1e-12 * max(abs(values[0]), abs(values[-1]))
    held = np.where((n_beta * values + gamma > 0) & (np.abs(values) > rounding), values, 0.0)
    parts = 0.5 * n_beta * held / (n_beta * held + gamma)
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


def nudged(surface: Surface, w: Floats, direction: Floats) -> Floats:
    """w moved a little along ± `direction`, to the side where L_n is lower."""
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
    """Descend until the gap is at most `tolerance` (`llc.landscapes.polish`), and away from saddle
    points that γ does not hold; the last anchor is the new w*.

    `state` goes on where a `Descent` of before had come to.
    """
    for _ in range(_SADDLES + 1):
        for reached in descend(
            surface, n_beta=n_beta, gamma=gamma, tolerance=tolerance, budget=budget, state=state
        ):
            yield reached
        if reached.work >= budget:
            return
        ends = spectrum_ends(surface, reached.anchor, n_beta=n_beta, gamma=gamma, products=products)
        if n_beta * ends.lowest + gamma > 0:
            return
        beside = nudged(surface, reached.anchor, ends.lowest_vector)
        radius = float(np.linalg.norm(beside - reached.anchor))
        state = reached.state() | {"w": beside, "radius": radius, "work": reached.work + products}
