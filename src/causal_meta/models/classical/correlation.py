"""Correlations as edge probabilities, the same in both directions."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from jaxtyping import Float

from causal_meta.conf.inference import CorrelationConfig, PartialCorrelationConfig
from causal_meta.method_diagnostics import MethodDiagnostics
from causal_meta.models.classical.particle_method import check_knowledge, observational
from causal_meta.models.task_method import NO_CHECKPOINT, C, Checkpoint, TaskMethod
from causal_meta.posteriors import IndependentEdges
from causal_meta.tasks import Task, full_batch

#: The least and greatest weight of the identity in a shrunken correlation matrix: regular always,
#: and never the identity alone, which would rank no pair.
SHRINKAGE = (1e-6, 0.99)


class _Association(TaskMethod[C]):
    """Independent edges i -> j and j -> i, each of probability |a_ij| / 2 with a the association
    of the pair: |a| is the stated probability of an edge, and nothing is said about its direction.

    The ranking of pairs, and so AUROC and AUPRC, is that of |a|. Rows under interventions are left
    out.
    """

    def check(self, task: Task) -> None:
        """Raise `ConfigError` if too few rows are without interventions, or the task holds
        knowledge."""
        check_knowledge(self.config, task)
        observational(task)

    def answer(
        self, task: Task, generator: np.random.Generator, checkpoint: Checkpoint = NO_CHECKPOINT
    ) -> IndependentEdges:
        """The posterior of a task. Draws nothing and saves nothing."""
        rows = observational(task)
        batch = full_batch(rows.x[None], None, [rows.seed]).standardised()
        size = np.abs(self.association(batch.x[0].to(torch.float64).numpy()))
        p = torch.from_numpy((size + size.T) / 4)[None]  # symmetric to the last bit
        posterior = IndependentEdges.from_probabilities(p, batch.node_mask)
        posterior.diagnostics = MethodDiagnostics(len(task.x) - len(rows.x))
        return posterior

    @abstractmethod
    def association(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "D D"]:
        """A symmetric matrix of numbers in [-1, 1] from standardised columns."""


class Correlation(_Association[CorrelationConfig]):
    """Edges of probability |r| / 2, r the correlation of the pair."""

    def association(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "D D"]:
        """The correlation matrix R = X'X / N; 0 for a constant column."""
        return np.clip(x.T @ x / len(x), -1.0, 1.0)


class PartialCorrelation(_Association[PartialCorrelationConfig]):
    """Edges of probability |r| / 2, r the partial correlation of the pair, all others fixed.

    It is -Q_ij / sqrt(Q_ii Q_jj) with Q the inverse of (1 - s) R + s I. The shrinkage
    s = sum over i != j of var(r_ij) / sum of r_ij^2, kept within `SHRINKAGE`, is of order 1/N: it
    matters where rows are few (Schäfer & Strimmer 2005, table 1, target D).
    """

    def association(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "D D"]:
        """The shrunken partial correlations."""
        r = x.T @ x / len(x)
        off = ~np.eye(len(r), dtype=bool)
        s = shrinkage(x, r)
        inverse = np.linalg.inv((1 - s) * r * off + np.eye(len(r)))
        scale = np.sqrt(np.diagonal(inverse))
        return np.clip(-inverse / np.outer(scale, scale), -1.0, 1.0)


def shrinkage(x: Float[np.ndarray, "N D"], r: Float[np.ndarray, "D D"]) -> float:
    """The shrinkage s of the correlations r of standardised columns x: var(r_ij) is estimated by
    N / (N - 1)^3 times the sum over rows of (x_i x_j - r_ij)^2."""
    n_rows, n_nodes = x.shape
    off = ~np.eye(n_nodes, dtype=bool)
    squares = (x**2).T @ x**2 - n_rows * r**2
    variance = n_rows / (n_rows - 1) ** 3 * squares[off].sum()
    total = (r[off] ** 2).sum()
    share = variance / total if total > 0 else 1.0
    return float(np.clip(share, *SHRINKAGE))
