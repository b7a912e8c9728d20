"""Features of single tasks from which the distances between families are computed; they depend
neither on the names nor on the units of columns.

Of every task: the spectrum of its graph, its nodes by degree, the features of its table
(`summaries.table_summary`), how well its nodes follow from their true parents by a line and by a
curve, its sortabilities, and (once a bandwidth is known) the mean embedding of its pairs of
columns.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from causal_meta.conf.data import FamilyConfig
from causal_meta.datasets.diagnostics import r2_sortability, varsortability
from causal_meta.datasets.scm import SCMFamily
from causal_meta.datasets.summaries import table_summary
from causal_meta.randomness import generator, seeds_of
from causal_meta.tasks import TaskBatch

LEVELS = 128  # quantile levels of a spectrum
_CURVES = 64  # random cosines of the flexible fit
_WAVES = 64  # random frequencies of the pair embedding
_RIDGE = 0.3  # of the random cosines, in units of the variance of a standardised variable
_BLOCK = 50
DEGREES = ("causes", "effects", "neighbours")
STATISTICS = (
    "n_nodes",
    "edges_per_node",
    "linear_residual",
    "nonlinearity",
    "varsortability",
    "r2_sortability",
)


@dataclass(frozen=True, eq=False)
class FamilyFeatures:
    """n tasks of a family in numbers.

    `spectra`: 128 quantiles of the eigenvalues of `normalised_laplacian`; `degrees`: nodes by
    number of causes, effects and neighbours, for M degrees; `tables`: `table_summary` and log D;
    `statistics`: one number per task and name of `STATISTICS` (NaN where a graph has no edge);
    `rows`: the standardised tables (float32).
    """

    spectra: Float[np.ndarray, "n Q"]
    degrees: dict[str, Int[np.ndarray, "n M"]]
    tables: Float[np.ndarray, "n F"]
    statistics: dict[str, Float[np.ndarray, " n"]]
    rows: list[Float[np.ndarray, "N D"]]


def family_features(
    config: FamilyConfig, n_tasks: int, n_rows: int, seed: int, role: str, most_nodes: int
) -> FamilyFeatures:
    """`n_tasks` tasks drawn from (seed, "distance", role), each with `n_rows` observational rows,
    in numbers.

    `most_nodes` bounds the degrees counted, so that the arrays of two families have one shape.
    """
    family = SCMFamily(dataclasses.replace(config, interventions=None))
    curves = generator(seed, "distance", "curves").standard_normal((most_nodes, _CURVES))
    phases = generator(seed, "distance", "phases").uniform(0, 2 * np.pi, _CURVES)
    spectra, tables, rows = [], [], []
    statistics: dict[str, list[np.ndarray]] = {name: [] for name in STATISTICS}
    degrees: dict[str, list[np.ndarray]] = {name: [] for name in DEGREES}
    seeds = seeds_of(seed, "distance", role, start=0, count=n_tasks)
    for start in range(0, n_tasks, _BLOCK):
        batch = family.sample_tasks(seeds[start : start + _BLOCK], n_rows=n_rows)
        assert batch.adjacency is not None
        standard = batch.standardised()
        graphs = [_graph(batch, b) for b in range(len(batch))]
        z = [standard.task(b).x.numpy() for b in range(len(batch))]
        spectra += [spectrum(graph) for graph in graphs]
        tables += [np.append(table_summary(table), np.log(table.shape[1])) for table in z]
        rows += z
        fits = np.array(
            [
                fit_quality(table, graph, curves, phases)
                for table, graph in zip(z, graphs, strict=True)
            ]
        )
        nodes = batch.node_mask.sum(1).numpy()
        numbers = {
            "n_nodes": nodes,
            "edges_per_node": (batch.adjacency != 0).sum((1, 2)).numpy() / nodes,
            "linear_residual": 1 - fits[:, 0],
            "nonlinearity": fits[:, 1] - fits[:, 0],
            "varsortability": varsortability(batch.x, batch.adjacency, batch.row_mask).numpy(),
            "r2_sortability": r2_sortability(batch.x, batch.adjacency, batch.row_mask).numpy(),
        }
        for name in STATISTICS:
            statistics[name].append(numbers[name].astype(np.float64))
        for name in DEGREES:
            degrees[name].append(
                np.stack([degree_counts(graph, name, most_nodes) for graph in graphs])
            )
    return FamilyFeatures(
        spectra=np.stack(spectra),
        degrees={name: np.concatenate(counts) for name, counts in degrees.items()},
        tables=np.stack(tables),
        statistics={name: np.concatenate(values) for name, values in statistics.items()},
        rows=rows,
    )


def _graph(batch: TaskBatch, b: int) -> np.ndarray:
    task = batch.task(b)
    assert task.adjacency is not None
    return (task.adjacency != 0).numpy()


# ---------------------------------------------------------------------------------------- the graph


def normalised_laplacian(adjacency: Shaped[np.ndarray, "D D"]) -> Float[np.ndarray, "D D"]:
    """L = I - K^(-1/2) A K^(-1/2) of the undirected graph under a directed one, K the
    degrees; a node without neighbours has a row of 0.

    Its eigenvalues lie in [0, 2], whatever the number of nodes.
    """
    undirected = (adjacency != 0) | (adjacency != 0).T
    degree = undirected.sum(axis=0)
    scale = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0.0)
    return np.diag((degree > 0).astype(np.float64)) - scale[:, None] * undirected * scale


def spectrum(
    adjacency: Shaped[np.ndarray, "D D"], levels: int = LEVELS
) -> Float[np.ndarray, " levels"]:
    """The eigenvalues of `normalised_laplacian` as a quantile function at the levels (k + 1/2) /
    `levels`, so that graphs of any size compare.

    The mean absolute difference of two of them is the Wasserstein-1 distance of the spectra
    (exactly, where both numbers of nodes divide `levels`; otherwise up to the share of a level).

    >>> spectrum(np.array([[0, 1], [0, 0]]), levels=4).round(6).tolist()
    [0.0, 0.0, 2.0, 2.0]
    """
    values = np.linalg.eigvalsh(normalised_laplacian(adjacency))
    return values[((np.arange(levels) + 0.5) / levels * len(values)).astype(int)]


def degree_counts(
    adjacency: Shaped[np.ndarray, "D D"], which: str, most: int
) -> Int[np.ndarray, " most"]:
    """Number of nodes with 0, 1, …, most - 1 causes, effects or neighbours."""
    edges = np.asarray(adjacency != 0, dtype=int)
    into, out = edges.sum(axis=0), edges.sum(axis=1)
    return np.bincount(
        {"causes": into, "effects": out, "neighbours": into + out}[which], minlength=most
    )


# ----------------------------------------------------------------------------------- the mechanisms


def fit_quality(
    z: Float[np.ndarray, "N D"],
    adjacency: Shaped[np.ndarray, "D D"],
    curves: Float[np.ndarray, "inputs F"],
    phases: Float[np.ndarray, " F"],
) -> tuple[float, float]:
    """R² of the best line and of a flexible curve of each node on its true parents, averaged over
    the nodes that have parents.

    Both are fitted on one half of the rows of z (standardised) and evaluated on the other, in
    turn; a negative R² counts as 0. The curve adds random cosines of the parents (`curves` for at
    least D inputs, `phases`) with a ridge penalty to the line: Gaussian-process regression with
    squared-exponential covariance, length scale sqrt(number of parents), signal variance 1 and
    noise variance 0.3. NaN without edges.
    """
    edges = np.asarray(adjacency != 0)
    nodes = np.flatnonzero(edges.any(axis=0))
    if not len(nodes):
        return float("nan"), float("nan")
    mask = edges[:, nodes].T.astype(np.float64)  # [J, D]
    data = z.astype(np.float64)
    lines = np.concatenate(
        [np.broadcast_to(1.0, (len(nodes), len(data), 1)), data[None] * mask[:, None, :]], axis=2
    )
    frequency = (
        mask[:, :, None] * curves[: data.shape[1]] / np.sqrt(mask.sum(axis=1))[:, None, None]
    )
    waves = np.sqrt(2 / _CURVES) * np.cos(data @ frequency + phases)
    goal = data[:, nodes].T[:, :, None]
    both = np.concatenate([lines, waves], axis=2)
    penalty = np.concatenate([np.full(lines.shape[2], 1e-6), np.full(waves.shape[2], _RIDGE)])
    line = _held_out(lines, goal, penalty[: lines.shape[2]])
    return float(line.mean()), float(_held_out(both, goal, penalty).mean())


def _held_out(features: np.ndarray, goal: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """R² [J] on the half of the rows that a ridge regression of goal [J, N, 1] on features [J, N,
    F] has not seen, mean of both halves."""
    quality = []
    for part in (0, 1):
        x, y, other_x, other_y = (
            features[:, part::2],
            goal[:, part::2],
            features[:, 1 - part :: 2],
            goal[:, 1 - part :: 2],
        )
        turned = x.transpose(0, 2, 1)
        weights = np.linalg.solve(turned @ x + np.diag(penalty), turned @ y)
        left = np.square(other_y - other_x @ weights).mean(axis=(1, 2))
        total = np.square(other_y - other_y.mean(axis=1, keepdims=True)).mean(axis=(1, 2))
        quality.append(np.clip(1 - left / np.maximum(total, 1e-12), 0.0, 1.0))
    return np.mean(quality, axis=0)


# ----------------------------------------------------------------------------------------- the rows


def pair_points(
    rows: list[Float[np.ndarray, "N D"]], source: np.random.Generator, each: int = 4
) -> Float[np.ndarray, "points 2"]:
    """Values of two different columns in one row, `each` random pairs of every table."""
    points = []
    for z in rows:
        row, i, step = (
            source.integers(len(z), size=each),
            source.integers(z.shape[1], size=each),
            source.integers(1, z.shape[1], size=each),
        )
        points.append(np.stack([z[row, i], z[row, (i + step) % z.shape[1]]], axis=1))
    return np.concatenate(points).astype(np.float64)


def pair_embedding(
    z: Float[np.ndarray, "N D"], frequencies: Float[np.ndarray, "2 F"]
) -> Float[np.ndarray, " 2*F"]:
    """Mean of exp(i (w . (z_a, z_b))) over all rows and all ordered pairs of columns a ≠ b of z,
    for each of F frequencies.

    Real, then imaginary parts, divided by sqrt(F): inner products are the mean over pairs of points
    of a shift-invariant kernel, with Gaussian frequencies of the Gaussian one (Rahimi and Recht,
    2007). It costs D and not D² per row, because sum over a ≠ b of f(a) g(b) = (sum f) (sum g) -
    sum f g.
    """
    values = torch.from_numpy(np.ascontiguousarray(z, dtype=np.float32))[:, :, None]
    first, second = (_wave(values * torch.from_numpy(w.astype(np.float32))) for w in frequencies)
    pairs = first.sum(1) * second.sum(1) - (first * second).sum(1)
    mean = pairs.mean(0).numpy() / (z.shape[1] * (z.shape[1] - 1) * np.sqrt(frequencies.shape[1]))
    return np.concatenate([mean.real, mean.imag]).astype(np.float64)


def _wave(angle: Tensor) -> Tensor:
    return torch.complex(angle.cos(), angle.sin())


def pair_frequencies(bandwidth: float, seed: int) -> Float[np.ndarray, "2 64"]:
    """Frequencies of a Gaussian kernel exp(-r² / 2 bandwidth²) on the plane."""
    return generator(seed, "distance", "waves").standard_normal((2, _WAVES)) / bandwidth
