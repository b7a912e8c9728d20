"""Effective sample sizes, R-hat and drift of chains [C, T], in NumPy (Vehtari, Gelman, Simpson,
Carpenter and Bürkner 2021).

The results are those of ArviZ; they are computed here because importing ArviZ takes longer than
sampling a small target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

    Chains = Float[np.ndarray, "C T"]

Floats = NDArray[np.floating]


def effective_size(chains: Chains) -> float:
    """Effective sample size of the mean of `chains`: CT / (1 + 2 Σ ρ_t), by Geyer's initial
    monotone sequence.

    The autocorrelations ρ_t are relative to the variance within and between chains, so that chains
    that disagree count for few draws.
    """
    values = np.asarray(chains, np.float64)
    n_chains, length = values.shape
    if np.ptp(values) < np.finfo(float).resolution:
        return float(values.size)
    covariance = autocovariance(values).mean(0)
    within = covariance[0] * length / (length - 1)
    total = covariance[0] + (float(np.var(values.mean(1), ddof=1)) if n_chains > 1 else 0.0)
    rho = 1 - (within - covariance) / total
    rho[0] = 1.0
    pairs = rho[: length - length % 2].reshape(-1, 2).sum(1)
    readable = max((length - 1) // 2 - 1, 0)
    stop = next((k for k in range(readable) if pairs[k] <= 0), readable)
    kept = np.minimum.accumulate(pairs[:stop])
    last = rho[2 * stop] if rho[2 * stop] > 0 or pairs[stop] >= 0 else 0.0
    tau = -1.0 + 2.0 * float(kept.sum()) + float(last)
    return values.size / max(tau, 1 / np.log10(values.size))


def autocovariance(values: Chains) -> Chains:
    """Autocovariances of each chain at lags 0 … T-1, all divided by T."""
    length = values.shape[1]
    padded = 1 << (2 * length - 1).bit_length()
    spectrum = np.fft.rfft(values - values.mean(1, keepdims=True), padded, axis=1)
    return np.fft.irfft(np.abs(spectrum) ** 2, padded, axis=1)[:, :length] / length


def split(chains: Chains) -> Float[np.ndarray, "2*C T//2"]:
    """First and last halves as separate chains, so that a chain with a trend disagrees with
    itself."""
    half = chains.shape[1] // 2
    return np.concatenate([chains[:, :half], chains[:, -half:]])


def normal_scores(values: Shaped[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Ranks (ties get their mean rank) as normal quantiles, Φ⁻¹((rank - 3/8) / (size + 1/4))."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return np.asarray(ndtri((ranks[places] - 0.375) / (values.size + 0.25))).reshape(values.shape)


def ess_mean(chains: Chains) -> float:
    """Effective sample size of the mean, of split chains."""
    return effective_size(split(chains))


def ess_bulk(chains: Chains) -> float:
    """Effective sample size of normal scores of split chains; defined even where the mean does not
    exist."""
    return effective_size(normal_scores(split(chains)))


def ess_tail(chains: Chains) -> float:
    """The smaller effective sample size of the 5 % and 95 % quantiles."""
    return min(
        effective_size(split((chains <= np.quantile(chains, level)).astype(np.float64)))
        for level in (0.05, 0.95)
    )


def rhat(chains: Chains) -> float:
    """Rank-normalised split R-hat: the larger of that of the values and that of their distances
    from the median."""
    halves = split(chains)
    return max(
        _plain_rhat(normal_scores(halves)),
        _plain_rhat(normal_scores(np.abs(halves - np.median(halves)))),
    )


def _plain_rhat(chains: Floats) -> float:
    length = chains.shape[1]
    within = float(chains.var(1, ddof=1).mean())
    between = float(chains.mean(1).var(ddof=1))
    return float(np.sqrt(between / within + (length - 1) / length)) if within > 0 else float("inf")


def mcse(chains: Chains) -> float:
    """Monte Carlo standard error of the mean over all draws, sd / sqrt(ess_mean)."""
    return mean_error(chains)[0]


def mean_error(chains: Chains) -> tuple[float, float]:
    """The Monte Carlo standard error of the mean over all draws (`mcse`), and the effective sample
    size that it rests on (`ess_mean`)."""
    size = ess_mean(chains)
    return float(np.std(chains, ddof=1)) / float(np.sqrt(size)), size


def mcse_with(chains: Chains, slow: Chains) -> tuple[float, float]:
    """Monte Carlo standard error of the mean of `chains`, and its effective number of draws, where
    `chains` depend in part on the slowly varying series `slow`.

    With b the slope of `chains` on `slow` and rest = chains - b slow, the error is
    sqrt(b² mcse(slow)² + mcse(rest)²), and never below the plain `mcse`: Geyer's sum stops where
    noise exceeds the autocorrelations, and so misses a slowly varying component with a small share
    of the variance, unless that component is isolated. The effective number of draws follows Welch
    and Satterthwaite, (Σ e²)² / Σ (e⁴ / draws).
    """
    plain, around = mean_error(chains), slow - slow.mean()
    spread = float((around**2).mean())
    if spread <= 0:
        return plain
    slope = float((around * chains).mean()) / spread
    rest = chains - slope * around
    (slow_error, slow_size), (rest_error, rest_size) = mean_error(slow), mean_error(rest)
    errors, sizes = (abs(slope) * slow_error, rest_error), (slow_size, rest_size)
    whole = float(np.hypot(*errors))
    if not whole > plain[0]:
        return plain
    return whole, 1 / sum(
        (error / whole) ** 4 / size for error, size in zip(errors, sizes, strict=True)
    )


def drift(chains: Chains) -> float:
    """The mean of the first fifth of the chains minus that of their last half, in standard errors
    (Geweke 1992 used a tenth).

    Both errors are estimated from the last half, which a warm-up that was too short affects least.
    """
    length = chains.shape[1]
    first, last = chains[:, : max(length // 5, 2)], chains[:, -(length // 2) :]
    error = mcse(last) * float(np.sqrt(1 + last.shape[1] / first.shape[1]))
    return float(first.mean() - last.mean()) / error if error > 0 else 0.0
