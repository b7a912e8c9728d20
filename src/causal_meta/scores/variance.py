"""Classes of variances: noise whose scale depends on the parents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SPREAD = 0.5  # prior standard deviation of a coefficient of log scale
_ROUNDS = 4  # rounds of two Fisher steps and weighted least squares


@dataclass(frozen=True, eq=False)
class VarianceFits:
    """Fits of location and log scale to F families: `gain`, log evidence less that of a constant
    scale, and the residuals divided by their fitted scales."""

    gain: Float[np.ndarray, " F"]
    residuals: Float[np.ndarray, "F n"]


def expected_gain(
    residuals: Float[np.ndarray, "F n"],
    scales: Float[np.ndarray, "C n"],
    gram: Float[np.ndarray, "C C"],
    columns: Int[np.ndarray, "F r"],
) -> Float[np.ndarray, " F"]:
    """What a varying scale promises: log evidence of the quadratic expansion at a constant scale,

        1/2 g'(2 W'W + I / v)^-1 g / k - 1/2 log det(I + 2 v W'W),  g = W'(z^2 - 1),  v = SPREAD^2

    with z the standardised residuals, W the family's `columns` of `scales` (centred; `gram` has
    their products) and k = max(1, var(z^2) / 2), without which heavy tails would promise much. The
    score test of Breusch and Pagan (1979), with a prior and Koenker's (1981) k.
    """
    z_squared = residuals**2
    z_squared /= z_squared.mean(axis=1, keepdims=True)
    excess = np.maximum(1, z_squared.var(axis=1) / 2)
    gradient = np.take_along_axis((z_squared - 1) @ scales.T, columns, axis=1)
    information = 2 * gram[columns[:, :, None], columns[:, None, :]]
    ridge = np.eye(columns.shape[1]) / SPREAD**2
    step = np.linalg.solve(information + ridge, gradient[:, :, None])[:, :, 0]
    gain = 0.5 * (gradient * step).sum(axis=1) / excess
    return gain - 0.5 * _log_det(information * SPREAD**2)


def variance_fits(
    y: Float[np.ndarray, " n"],
    means: Float[np.ndarray, "F n q"],
    precision: Float[np.ndarray, "F q"],
    scales: Float[np.ndarray, "F n r"],
) -> VarianceFits:
    """y = X b + sigma exp(W g) e with Gaussian e, by weighted least squares and Fisher scoring.

        b | g     (X'S^-2 X + P)^-1 X'S^-2 y,  S = exp(W g), sigma^2 the mean of (r / S)^2
        g | b     g + (2 W'W + I / v)^-1 (W'(r^2 / (sigma S)^2 - 1) - g / v),  v = SPREAD^2

    in turn, each kept where it raises the penalised likelihood; then the evidence by Laplace's
    approximation, relative to g = 0: the difference of penalised likelihoods, less 1/2 log det(I +
    2 v W'W), less half the difference of log det(X'S^-2 X + P).

    Good at scales that vary by a factor of two or more. Bounded noise looks like it from behind: if
    x and the noise are uniform, x has an exactly uniform law of varying width given y. So this
    class must meet roots with the same richness of densities (`noise_gains`), never Gaussian roots.

    References: Harvey (1976), section 3, for the model and its scoring.

    Args:
        y: the target, centred.
        means: columns of the mean, centred, of each family.
        precision: their prior precisions in units of the noise's variance (P).
        scales: columns of the log scale, centred.
    """
    fit = _Fit(y, means, precision, scales)
    fit.refit()
    start = fit.objective.copy()
    plain = _log_det_weighted(means, precision, np.ones_like(fit.residuals))
    for _ in range(_ROUNDS):
        before = fit.objective.copy()
        fit.rescale()
        fit.rescale()
        fit.refit()
        # each family stops for itself, whatever the others of the batch do
        fit.active &= fit.objective - before > 1e-3
        if not fit.active.any():
            break
    weighted = _log_det_weighted(means, precision, fit.weights())
    gain = fit.objective - start - 0.5 * (weighted - plain)
    gain -= 0.5 * _log_det(fit.information * SPREAD**2)
    return VarianceFits(gain, fit.residuals * np.sqrt(fit.weights()))


class _Fit:
    """The state of fits: coefficients, residuals and penalised likelihoods of all families."""

    def __init__(self, y: Floats, means: Floats, precision: Floats, scales: Floats) -> None:
        self.y, self.means, self.precision, self.scales = y, means, precision, scales
        self.information = 2 * scales.transpose(0, 2, 1) @ scales
        self.g = np.zeros((len(means), scales.shape[2]))
        self.penalty = np.zeros(len(means))
        self.residuals = np.broadcast_to(y, means.shape[:2])
        self.objective = np.full(len(means), -np.inf)
        self.active = np.ones(len(means), bool)

    def weights(self) -> Floats:
        return np.exp(-2 * (self.scales @ self.g[:, :, None])[:, :, 0])

    def _value(self, g: Floats, residuals: Floats, penalty: Floats) -> Floats:
        """The penalised log likelihood with sigma^2 at its maximum."""
        n = len(self.y)
        log_scale = (self.scales @ g[:, :, None])[:, :, 0]
        squares = (residuals**2 * np.exp(-2 * log_scale)).sum(axis=1) + penalty
        return (
            -n / 2 * np.log(np.maximum(squares, 1e-300))
            - log_scale.sum(axis=1)
            - 0.5 * (g**2).sum(axis=1) / SPREAD**2
        )

    def refit(self) -> None:
        """The coefficients of the mean under the current scales."""
        weighted = self.means * self.weights()[:, :, None]
        matrix = weighted.transpose(0, 2, 1) @ self.means
        matrix[:, np.arange(matrix.shape[1]), np.arange(matrix.shape[1])] += self.precision
        b = np.linalg.solve(matrix, weighted.transpose(0, 2, 1) @ self.y[:, None])
        residuals = self.y - (self.means @ b)[:, :, 0]
        penalty = (b[:, :, 0] ** 2 * self.precision).sum(axis=1)
        value = self._value(self.g, residuals, penalty)
        better = self.active & (value > self.objective)
        self.residuals = np.where(better[:, None], residuals, self.residuals)
        self.penalty = np.where(better, penalty, self.penalty)
        self.objective = np.where(better, value, self.objective)

    def rescale(self) -> None:
        """A Fisher step of the log scale, halved until it raises the objective."""
        squares = self.residuals**2 * self.weights()
        variance = (squares.sum(axis=1, keepdims=True) + self.penalty[:, None]) / len(self.y)
        ridge = np.eye(self.g.shape[1]) / SPREAD**2
        excess = (squares / np.maximum(variance, 1e-300) - 1)[:, None, :]
        gradient = (excess @ self.scales)[:, 0] - self.g / SPREAD**2
        step = np.linalg.solve(self.information + ridge, gradient[:, :, None])[:, :, 0]
        size = np.ones(len(step))
        for _ in range(6):
            g = self.g + size[:, None] * step
            value = self._value(g, self.residuals, self.penalty)
            worse = value < self.objective
            if not (worse & self.active).any():
                break
            size = np.where(worse, size / 2, size)
        better = self.active & ~worse
        self.g = np.where(better[:, None], g, self.g)
        self.objective = np.where(better, value, self.objective)


def _log_det(information: Float[np.ndarray, "F r r"]) -> Float[np.ndarray, " F"]:
    return np.linalg.slogdet(np.eye(information.shape[1]) + information)[1]


def _log_det_weighted(means: Floats, precision: Floats, weights: Floats) -> Floats:
    matrix = (means * weights[:, :, None]).transpose(0, 2, 1) @ means
    matrix[:, np.arange(matrix.shape[1]), np.arange(matrix.shape[1])] += precision
    return np.linalg.slogdet(matrix)[1]
