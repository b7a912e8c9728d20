"""Minimisation of a loss in double precision at the scale of a localised posterior: proximal steps,
each by Newton's method in a trust region.

A network's L_n often has no minimum: along a valley it decreases without end, ever more slowly. Its
effect on a posterior around w* with localisation γ and nβ tempered rows is the *gap*, in units of
λ̂,

    gap(w*) = nβ (L_n(w*) - min_w [L_n(w) + γ/(2 nβ) |w - w*|²]) >= 0,

by which λ̂ is too low (½ nβ gᵀ(H + γ/nβ)⁻¹g where L_n is quadratic with gradient g and Hessian H).
It is 0 at a minimum. The descent moves w* to the minimiser of the bracket until the gap is small
(the proximal point method, Rockafellar 1976).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from causal_meta.llc.landscapes.surfaces import Surface

Floats = NDArray[np.float64]

_SMALLEST_RADIUS = 1e-12  # of the trust region, relative to |w|: smaller steps do not change w
_ROUNDING = 1e-13  # relative error of the loss: smaller predicted decreases cannot be verified
_INNER = 1e-3  # factor by which a proximal step reduces the norm of the gradient
_SMALLEST_GAP = 1e-4  # in units of λ̂: negligible
_EXACT = 1e-9  # a gradient norm that needs no reduction
# products of one Newton step; the smaller number is allowed beyond the budget
_MOST_PRODUCTS, _FEWEST_PRODUCTS = 250, 10


@dataclass(frozen=True)
class Descent:
    """The state of a descent after a Newton step.

    Fields:
        anchor: the current w*, with its `loss`.
        w: the lowest point so far of the bracket around the anchor.
        radius: of the trust region.
        work: gradients and Hessian products of L_n so far.
        gap: the gap of the anchor by the points evaluated so far; final if `ended`.
        over: whether the descent is finished.
    """

    anchor: Float[np.ndarray, " P"]
    w: Float[np.ndarray, " P"]
    loss: float
    radius: float
    work: int
    gap: float = math.inf
    ended: bool = False
    over: bool = False

    def state(self) -> dict[str, NDArray[Any]]:
        """The arrays that determine the next Newton step."""
        return {
            name: np.asarray(getattr(self, name))
            for name in ("anchor", "w", "loss", "radius", "work")
        }


def descend(
    surface: Surface,
    *,
    n_beta: float,
    gamma: float,
    tolerance: float,
    budget: int,
    start: Float[np.ndarray, " P"] | None = None,
    state: Mapping[str, Any] | None = None,
) -> Iterator[Descent]:
    """Minimise L_n in double precision from the surface's centre, until the gap is at most
    `tolerance` or the work at least `budget`.

    A Newton step minimises g·p + ½ pᵀHp over |p| <= radius by conjugate gradients, which move to
    the boundary along a direction of negative curvature (Steihaug 1983).

    Args:
        tolerance: largest gap, in units of λ̂; infinite to end after the first proximal step, which
            computes the gap of w*.
        budget: gradients and Hessian products.
        start: where the first proximal step starts, in place of the centre; a point beside a saddle
            point lets the descent leave it.
        state: of an earlier `Descent`, from which the descent resumes with the same numbers.

    Returns:
        An iterator over the `Descent` after every Newton step.
    """
    pull = gamma / n_beta
    if state is None:
        anchor = np.array(surface.centre, np.float64)
        now = Descent(
            anchor,
            anchor if start is None else start,
            surface.value_and_gradient(anchor)[0],
            0.1 * max(1.0, float(np.linalg.norm(anchor))),
            2,
        )
    else:
        now = Descent(
            np.asarray(state["anchor"]),
            np.asarray(state["w"]),
            float(state["loss"]),
            float(state["radius"]),
            int(state["work"]),
        )
    while True:
        bowl = _Bowl(surface, now.anchor, pull)
        short = max(
            _EXACT, _INNER * float(np.linalg.norm(surface.value_and_gradient(now.anchor)[1]))
        )
        w, radius, work = now.w, now.radius, now.work
        value, slope = bowl.value_and_gradient(w)
        while True:
            smallest = _SMALLEST_RADIUS * max(1.0, float(np.linalg.norm(w)))
            gap = n_beta * max(0.0, now.loss - value)
            left = float(np.linalg.norm(slope))
            # where the bracket is convex, the gap is larger than `gap` by at most this
            missed = (n_beta * left) ** 2 / (2 * gamma)
            sure = gap > tolerance or missed <= (
                tolerance if math.isfinite(tolerance) else max(_SMALLEST_GAP, 0.01 * gap)
            )
            ended = (left <= short and (sure or left <= _EXACT)) or radius < smallest
            over = (ended and gap <= tolerance) or work >= budget
            yield Descent(now.anchor, w, now.loss, radius, work, gap, ended, over)
            if over:
                return
            if ended:
                break
            w, value, slope, radius, used = _newton(
                bowl, w, value, slope, radius, max(_FEWEST_PRODUCTS, budget - work)
            )
            work += used
        now = Descent(
            w,
            w,
            surface.value_and_gradient(w)[0],
            2 * float(np.linalg.norm(w - now.anchor)) + smallest,
            work + 1,
        )


@dataclass(frozen=True)
class _Bowl:
    """The function that a proximal step minimises: L_n(w) + ½ pull |w - anchor|²."""

    surface: Surface
    anchor: Floats
    pull: float

    def value_and_gradient(self, w: Floats) -> tuple[float, Floats]:
        value, slope = self.surface.value_and_gradient(w)
        away = w - self.anchor
        return value + 0.5 * self.pull * float(away @ away), slope + self.pull * away

    def product(self, w: Floats, direction: Floats) -> Floats:
        return self.surface.product(w, direction) + self.pull * direction


def _newton(
    bowl: _Bowl, w: Floats, value: float, slope: Floats, radius: float, most: int
) -> tuple[Floats, float, Floats, float, int]:
    """One step in the trust region: the point, value, slope and radius after it, and the number of
    gradients and products it took."""
    p, predicted, used = _steihaug(lambda d: bowl.product(w, d), slope, radius, most)
    proposed, proposed_slope = bowl.value_and_gradient(w + p)
    if predicted < _ROUNDING * (1 + abs(value)):
        gain = 1.0 if np.linalg.norm(proposed_slope) < np.linalg.norm(slope) else 0.0
    else:
        gain = (value - proposed) / predicted
    gain = gain if math.isfinite(gain) else -1.0
    length = float(np.linalg.norm(p))
    if gain < 0.25:
        radius = 0.25 * length
    elif gain > 0.75 and length > 0.9 * radius:
        radius = 2 * radius
    if gain > 1e-4:
        w, value, slope = w + p, proposed, proposed_slope
    return w, value, slope, radius, used + 1


def _steihaug(
    product: Callable[[Floats], Floats], slope: Floats, radius: float, most: int
) -> tuple[Floats, float, int]:
    """Conjugate gradients for H p = -g inside the region: p [P], the decrease predicted by the
    quadratic model, and the number of products."""
    norm = float(np.linalg.norm(slope))
    enough = min(0.1, math.sqrt(norm)) * norm
    p, image, r, d = np.zeros_like(slope), np.zeros_like(slope), slope, -slope
    used = 0
    while used < min(len(slope) + 10, _MOST_PRODUCTS, most):
        along = product(d)
        used += 1
        curvature, square = float(d @ along), float(r @ r)
        length = square / curvature if curvature > 0 else math.inf
        if curvature <= 0 or np.linalg.norm(p + length * d) >= radius:
            a, b, c = float(d @ d), 2 * float(p @ d), float(p @ p) - radius**2
            border = (-b + math.sqrt(max(b * b - 4 * a * c, 0.0))) / (2 * a)
            p, image = p + border * d, image + border * along
            break
        p, image, r = p + length * d, image + length * along, r + length * along
        if np.linalg.norm(r) <= enough:
            break
        d = -r + float(r @ r) / square * d
    return p, -float(slope @ p + 0.5 * p @ image), used
