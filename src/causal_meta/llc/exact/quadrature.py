"""Exact finite-n expectations nβ E[K] under exp(-nβ K(w) - (γ/2) |w|²), the values that a perfect
sampler estimates, in double precision and without sampling.

Closed forms for Gaussian posteriors; a contour integral for normal crossings of any dimension;
one-dimensional quadrature for sums of powers; a Pfaffian for the zero map through two linear
layers. `cubature` has any K of at most three parameters, `gibbs` linear networks in general.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import loggamma

if TYPE_CHECKING:
    from jaxtyping import Float

Floats = NDArray[np.float64]


class Expectation(NamedTuple):
    """nβ E[L_n(w) - L_n(w*)] and its error: an estimate of the error of the quadrature, or the
    standard error of a Monte Carlo mean."""

    value: float
    error: float


def gaussian(
    curvatures: Float[np.ndarray, " P"],
    n_beta: float,
    gamma: float,
    offset: Float[np.ndarray, " P"] | None = None,
) -> Expectation:
    """nβ E[K] for K = ½ Σ h_i (w_i - o_i)² - ½ Σ h_i o_i², so that K(0) = 0: a Gaussian posterior,
    in closed form.

    nβ E[K] = ½ Σ [nβ h_i / (nβ h_i + γ) + nβ h_i ((m_i - o_i)² - o_i²)] with m_i = nβ h_i o_i / (nβ
    h_i + γ).

    Args:
        curvatures: the Hessian's eigenvalues h_i >= 0.
        offset: o, the minimum minus w* in the basis of the Hessian's eigenvectors; by default 0.

    >>> gaussian(np.ones(10), 1000 / np.log(1000), 1.0).value.__round__(3)
    4.966
    """
    stiff = n_beta * np.asarray(curvatures, np.float64)
    away = np.zeros_like(stiff) if offset is None else np.asarray(offset, np.float64)
    mean = stiff * away / (stiff + gamma)
    return Expectation(
        float(0.5 * np.sum(stiff / (stiff + gamma) + stiff * ((mean - away) ** 2 - away**2))), 0.0
    )


def power_sum(
    exponents: Sequence[int], n_beta: float, gamma: float, coefficients: Sequence[float] = ()
) -> Expectation:
    """nβ E[K] for K = Σ c_i w_i^{e_i} with even e_i: a sum over coordinates, each by the
    trapezoidal rule in log |w|, which converges exponentially.

    >>> power_sum([2, 4], 10_000 / np.log(10_000), 1.0).value.__round__(4)
    0.7472
    """
    values = [
        _one_power(e, n_beta * c, gamma)
        for e, c in zip(exponents, coefficients or (1.0,) * len(exponents), strict=True)
    ]
    return Expectation(sum(value for value, _ in values), sum(error for _, error in values))


def _one_power(
    exponent: int, tempered: float, gamma: float, step: float = 0.02
) -> tuple[float, float]:
    """E[t w^e] under exp(-t w^e - γ w² / 2), and its change when the step is doubled."""
    scale = (
        tempered ** (-1 / exponent) if gamma == 0 else min(tempered ** (-1 / exponent), gamma**-0.5)
    )
    logs = math.log(scale) + np.arange(-40, 4, step)
    power = tempered * np.exp(exponent * logs)
    weight = np.exp(logs - power - 0.5 * gamma * np.exp(2 * logs))
    fine, coarse = (float(np.sum((weight * power)[::k]) / np.sum(weight[::k])) for k in (1, 2))
    return fine, abs(fine - coarse)


def normal_crossing(
    exponents: Sequence[int],
    n_beta: float,
    gamma: float,
    coefficient: float = 1.0,
    jacobian: Sequence[float] | None = None,
) -> Expectation:
    """nβ E[K] for K = c Π w_i^{e_i} under a prior ∝ Π |w_i|^{h_i} exp(-γ w_i² / 2), in any
    dimension: one integral along a line in the complex plane.

    By Mellin's inversion, with F(s) = Γ(s) (nβ c)^{-s} Π (γ/2)^{e_i s / 2} Γ((1 + h_i - e_i s) /
    2), nβ E[K] = ∫ s F(s) ds / ∫ F(s) ds along Re s = x, 0 < x < λ. The first pole to the right is
    at λ, of order m; its residue gives the limit of large n. x is the minimiser of F, and the
    trapezoidal rule converges exponentially.

    Args:
        jacobian: the h_i, by default 0.

    Raises:
        ValueError: for γ <= 0, since K is constant along the axes.

    >>> [normal_crossing([2, 2], n / np.log(n), 1.0).value.__round__(4) for n in (1e4, 1e9)]
    [0.3912, 0.4497]
    """
    if gamma <= 0:
        raise ValueError(
            f"A normal crossing is flat along its axes; its posterior needs γ above 0, not {gamma}."
        )
    powers = np.asarray([e for e in exponents if e], float)
    tilts = np.asarray(
        [h for e, h in zip(exponents, jacobian or (0.0,) * len(exponents), strict=True) if e], float
    )
    largest = float(np.min((1 + tilts) / powers))  # λ

    def log_f(s: NDArray[np.complex128]) -> NDArray[np.complex128]:
        gammas = sum(
            loggamma((1 + h - e * s) / 2) + e * s / 2 * math.log(gamma / 2)
            for e, h in zip(powers, tilts, strict=True)
        )
        first: NDArray[np.complex128] = loggamma(s)
        return first - s * math.log(n_beta * coefficient) + gammas

    saddle = minimize_scalar(
        lambda x: float(log_f(np.asarray([complex(x)]))[0].real),
        bounds=(1e-6 * largest, largest * (1 - 1e-6)),
        method="bounded",
    ).x
    near = min(saddle, largest - saddle)
    reach = 60 / (math.pi / 2 + math.pi / 4 * float(np.sum(powers))) + 10 * near

    def ratio(step: float) -> float:
        s = saddle + 1j * np.arange(0, reach, step)
        logs = log_f(s)
        values = np.exp(logs - logs[0])
        values[0] *= 0.5
        return float(np.sum((s * values).real) / np.sum(values.real))

    fine, coarse = ratio(near / 8), ratio(near / 6)
    return Expectation(fine, abs(fine - coarse))


def zero_map(
    n_inputs: int, n_hidden: int, n_outputs: int, n_beta: float, gamma: float
) -> Expectation:
    """nβ E[K] for K = ½ |BA|² around A = B = 0 (reduced-rank regression with rank 0), for any N, H,
    M and γ > 0.

    A is integrated out: given B [M, H] with singular values s_i it is Gaussian, nβ E[K | B] = (N /
    2) Σ nβ s_i² / (nβ s_i² + γ), and it leaves the weight Π (nβ s_i² + γ)^{-N/2}. The s_i have
    density ∝ Π_{i<j} |s_i² - s_j²| Π s_i^{|M - H|} exp(-γ s_i² / 2) times that weight, so that all
    integrals are Pfaffians of double integrals (de Bruijn 1955), and the expectation is ½ tr(Q⁻¹
    dQ) of the matrix Q of these.
    """
    if gamma <= 0:
        raise ValueError(
            "The posterior of a linear network without localisation is not finite; give γ above "
            f"0, not {gamma}."
        )
    outer, inner = (
        (n_outputs, n_inputs)
        if min(n_outputs, n_hidden) <= min(n_inputs, n_hidden)
        else (n_inputs, n_outputs)
    )
    values = [
        _pfaffian_mean(outer, n_hidden, inner, n_beta / gamma**2, panels) for panels in (120, 90)
    ]
    return Expectation(values[0], abs(values[0] - values[1]))


def _pfaffian_mean(outer: int, hidden: int, inner: int, ratio: float, panels: int) -> float:
    """The expectation of `zero_map` in units where γ = 1, with nβ/γ² = `ratio`: quadrature over log
    s for the singular values s of the outer factor."""
    size, order = min(outer, hidden), 16
    edges = np.linspace(min(0.0, -0.5 * math.log(ratio)) - 36, math.log(12), panels + 1)
    nodes, weights = np.polynomial.legendre.leggauss(order)
    half = 0.5 * (edges[1] - edges[0])
    u = (edges[:-1, None] + half * (nodes + 1)).ravel()
    square = np.exp(2 * u)
    log_weight = (abs(outer - hidden) + 1) * u - square / 2 - inner / 2 * np.log1p(ratio * square)
    mass = np.exp(log_weight - log_weight.max()) * half * np.tile(weights, panels)
    basis, _ = np.linalg.qr(np.sqrt(mass)[:, None] * square[:, None] ** np.arange(size))
    # orthonormal polynomials in s², times the quadrature's weight
    basis = basis * np.sqrt(mass)[:, None]
    gain = inner / 2 * ratio * square / (1 + ratio * square)
    vandermonde = np.polynomial.legendre.legvander(nodes, order - 1)
    cumulated = (
        np.polynomial.legendre.legval(
            nodes, np.polynomial.legendre.legint(np.eye(order), lbnd=-1)
        ).T
        @ np.linalg.inv(vandermonde)
        / weights
    )

    def signed(columns: Floats) -> Floats:  # ∫ sgn(x - y) φ(y) dy at the nodes
        blocks = columns.reshape(panels, order, -1)
        totals = blocks.sum(1)
        before = np.cumsum(totals, 0) - totals
        below = before[:, None] + np.einsum("ij,pjk->pik", cumulated, blocks)
        return (2 * below - totals.sum(0)).reshape(len(columns), -1)

    moved = basis * gain[:, None]
    kernel, change = basis.T @ signed(basis), moved.T @ signed(basis) + basis.T @ signed(moved)
    if size % 2:
        one, other = basis.sum(0)[:, None], moved.sum(0)[:, None]
        kernel = np.block([[kernel, one], [-one.T, np.zeros((1, 1))]])
        change = np.block([[change, other], [-other.T, np.zeros((1, 1))]])
    return float(0.5 * np.trace(np.linalg.solve(kernel, change)))
