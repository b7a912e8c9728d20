"""Finite-n expectations of linear networks, exact up to a stated standard error: Gibbs sampling in
NumPy, without gradients and JAX.

Conditional on all other layers, each layer of a linear network has a Gaussian posterior, which is
drawn exactly (no step size, no rejection, no bias). Every such conditional also has nβ E[K |
others] in closed form, and the mean of these over the draws is the estimate (Rao and Blackwell).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from causal_meta.llc.exact.quadrature import Expectation
from causal_meta.randomness import generator

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LinearNetwork:
    """K(W_1 … W_L) = ½ |W_L ⋯ W_1 R - Y|², around the layers `centre`, W_s of shape [H_{s+1}, H_s].

    `root` R [H_1, k] is a square root of the inputs' second moments and `target` Y [H_{L+1}, k] the
    cross moments in the same coordinates, both divided by the noise's standard deviation. They are
    sufficient statistics of rows (`from_rows`); a population loss has R = I and Y the true map.
    """

    centre: tuple[Floats, ...]
    root: Floats
    target: Floats

    @classmethod
    def from_rows(
        cls, centre: Sequence[Floats], x: Floats, y: Floats, noise_std: float
    ) -> LinearNetwork:
        """The network with K = mean |y - W_L ⋯ W_1 x|² / (2 noise_std²), up to a constant, over the
        rows x [n, H_1] and y [n, H_{L+1}]."""
        values, vectors = np.linalg.eigh(x.T @ x / len(x))
        kept = values > 1e-12 * values[-1]
        roots = np.sqrt(values[kept])
        root = vectors[:, kept] * roots
        return cls(
            tuple(centre),
            root / noise_std,
            (y.T @ x / len(x)) @ (vectors[:, kept] / roots) / noise_std,
        )

    def loss(self, layers: Sequence[Floats]) -> Floats:
        """K of layers [..., H_{s+1}, H_s]."""
        residual = reduce(lambda product, layer: layer @ product, layers, self.root) - self.target
        total: Floats = np.sum(residual * residual, axis=(-2, -1))
        return 0.5 * total

    def expectation(
        self, n_beta: float, gamma: float, *, chains: int = 128, sweeps: int = 1000, seed: int = 0
    ) -> Expectation:
        """nβ E[K(w) - K(w*)] under exp(-nβ K - (γ/2) |w - w*|²), with its standard error, from
        `chains` independent chains that start at w*.

        Each sweep draws every layer conditional on the others, then moves along the directions that
        leave K unchanged (`_turned`), in which the draws alone would mix slowly. The first fifth of
        the sweeps is discarded, and at least 100 where that leaves half of them, since blocks that
        are 0 at w* need so long to grow. The error is that of the mean over chains, which needs no
        autocorrelation; to it are added the difference of the two halves of the sweeps, where it
        is significant, and the rounding error, which matters above nβ = 1e13.

        Raises:
            ValueError: for γ <= 0, without which the posterior is not proper.
        """
        if gamma <= 0:
            raise ValueError(
                "The posterior of a linear network without localisation is not finite; give γ "
                f"above 0, not {gamma}."
            )
        random = generator(seed, "llc", "gibbs", chains, sweeps)
        layers = [np.repeat(layer[None], chains, 0) for layer in self.centre]
        burn = max(sweeps // 5, min(100, sweeps // 2))
        kept = np.zeros((sweeps - burn, chains))
        for sweep in range(sweeps):
            means = np.zeros(chains)
            for place in range(len(layers)):
                means += self._draw(layers, place, n_beta, gamma, random) / len(layers)
            for hidden in range(1, len(layers)):
                self._turned(layers, hidden, gamma, random)
            if sweep >= burn:
                kept[sweep - burn] = means
        first, second = np.array_split(kept, 2)
        change = first.mean(0) - second.mean(0)
        drift = max(
            0.0, abs(float(change.mean())) - 3 * float(change.std(ddof=1)) / math.sqrt(chains)
        )
        rounding = 8 * float(np.finfo(float).eps) * n_beta * float(np.sum(self.target**2))
        error = math.hypot(float(kept.mean(0).std(ddof=1)) / math.sqrt(chains), drift) + rounding
        return Expectation(float(kept.mean()) - n_beta * float(self.loss(self.centre)), error)

    def _draw(
        self,
        layers: list[Floats],
        place: int,
        n_beta: float,
        gamma: float,
        random: np.random.Generator,
    ) -> Floats:
        """Draw one layer conditional on the others, in place; return nβ E[K | others] [C].

        With P the product of the later layers and Q that of the earlier layers and R, K = ½ |P W Q
        - Y|². In the eigenvectors U of PᵀP and V of QQᵀ the elements of UᵀWV are independent, with
        precision nβ p_i q_j + γ.
        """
        chains = len(layers[0])
        eye, root = (
            np.broadcast_to(matrix, (chains, *matrix.shape))
            for matrix in (np.eye(len(self.target)), self.root)
        )
        after = reduce(lambda product, layer: product @ layer, layers[:place:-1], eye)
        before = reduce(lambda product, layer: layer @ product, layers[:place], root)
        p, u = np.linalg.eigh(np.swapaxes(after, 1, 2) @ after)
        q, v = np.linalg.eigh(before @ np.swapaxes(before, 1, 2))
        left, strength = (
            np.swapaxes(u, 1, 2),
            np.maximum(p, 0)[:, :, None] * np.maximum(q, 0)[:, None, :],
        )
        pull = left @ np.swapaxes(after, 1, 2) @ self.target @ np.swapaxes(before, 1, 2) @ v
        precision = n_beta * strength + gamma
        mean = (n_beta * pull + gamma * (left @ self.centre[place] @ v)) / precision
        drawn = mean + random.standard_normal(mean.shape) / np.sqrt(precision)
        layers[place] = u @ drawn @ np.swapaxes(v, 1, 2)
        square: Floats = np.sum(strength * (mean * mean + 1 / precision) - 2 * mean * pull, (1, 2))
        return 0.5 * n_beta * (square + np.sum(self.target**2))

    def _turned(
        self, layers: list[Floats], hidden: int, gamma: float, random: np.random.Generator
    ) -> None:
        """Metropolis moves (W_s, W_{s+1}) → (G W_s, W_{s+1} G⁻¹) that leave K unchanged, in place:
        G = exp(t a bᵀ) with random unit vectors a, b and normal t.

        G and G⁻¹ are equally likely, so the acceptance ratio is that of the localisation's
        densities times the Jacobian |det G|^{H_s - H_{s+2}}, log det G = t a·b.
        """
        below, above = layers[hidden - 1], layers[hidden]
        width, chains = below.shape[1], len(below)
        a, b = (
            vector / np.linalg.norm(vector, axis=1, keepdims=True)
            for vector in random.standard_normal((2, chains, width))
        )
        t = (
            random.standard_normal(chains)
            * random.choice([0.05, 0.3, 1.0], chains)
            / max(1.0, math.sqrt(gamma))
        )
        trace = t * np.sum(a * b, 1)
        size = np.where(
            np.abs(trace) < 1e-8, t, t * np.expm1(trace) / np.where(trace == 0, 1, trace)
        )
        back = np.where(
            np.abs(trace) < 1e-8, -t, t * np.expm1(-trace) / np.where(trace == 0, 1, trace)
        )
        new_below = below + size[:, None, None] * a[:, :, None] * (b[:, None, :] @ below)
        new_above = above + back[:, None, None] * (above @ a[:, :, None]) * b[:, None, :]

        def distance(layer: Floats, place: int) -> Floats:
            return np.sum((layer - self.centre[place]) ** 2, (1, 2))

        closer = (
            distance(below, hidden - 1)
            + distance(above, hidden)
            - distance(new_below, hidden - 1)
            - distance(new_above, hidden)
        )
        log_ratio = 0.5 * gamma * closer + (below.shape[2] - above.shape[1]) * trace
        accepted = (np.log(random.random(chains)) < log_ratio)[:, None, None]
        layers[hidden - 1], layers[hidden] = (
            np.where(accepted, new_below, below),
            np.where(accepted, new_above, above),
        )
