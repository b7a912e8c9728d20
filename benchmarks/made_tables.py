"""Tables with a known graph for the benchmarks of methods, made independently of the package's own
worlds: linear, additive, joint and heteroscedastic mechanisms, and worlds that break assumptions.

Graphs are Erdős–Rényi and scale-free in turn, columns are shuffled and
standardised. `made(world, seed)` is a table [N, D] and its graph [D, D].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class World:
    """A kind of table: D, N, edges a variable, and how a variable is made from its causes."""

    n_nodes: int
    n_rows: int
    kind: str
    edges: float = 1.6
    noise: str = "gaussian"
    hidden: int = 0


WORLDS = {
    "linear D=10 N=60": World(10, 60, "linear", 1.0),
    "linear D=20 N=500": World(20, 500, "linear"),
    "linear D=50 N=1000": World(50, 1000, "linear"),
    "linear Laplace": World(20, 500, "linear", noise="laplace"),
    "linear uniform": World(20, 500, "linear", noise="uniform"),
    "additive GP D=10 N=100": World(10, 100, "additive", 1.0),
    "additive GP D=20 N=500": World(20, 500, "additive"),
    "additive GP D=50 N=1000": World(50, 1000, "additive", 1.0),
    "joint GP": World(15, 800, "joint", 1.3),
    "heteroscedastic GP": World(15, 800, "heteroscedastic", 1.3),
    "MLP, noise inside": World(15, 500, "mlp", 1.3),
    "saturating, measured": World(15, 500, "saturating", 1.2),
    "hidden causes": World(15, 500, "linear", 1.0, hidden=2),
}


def made(world: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A table of a world and its graph; even seeds have Erdős–Rényi graphs, odd ones scale-free."""
    spec, r = WORLDS[world], np.random.default_rng([seed, sorted(WORLDS).index(world)])
    d = spec.n_nodes + spec.hidden
    graph = (erdos_renyi if seed % 2 == 0 else scale_free)(d, spec.edges, r)
    if spec.hidden:  # the first variables of the order are hidden common causes
        graph[: spec.hidden] = 0
        graph[:, : spec.hidden] = 0
        for h in range(spec.hidden):
            children = r.choice(np.arange(spec.hidden, d), size=4, replace=False)
            graph[h, children] = 1
    x = np.zeros((spec.n_rows, d))
    for v in range(d):
        parents = np.flatnonzero(graph[:, v])
        x[:, v] = MECHANISMS[spec.kind](x[:, parents], noise(spec.noise, spec.n_rows, r), r)
        if spec.kind != "linear":
            x[:, v] = (x[:, v] - x[:, v].mean()) / x[:, v].std()
    if spec.kind == "saturating":
        x += 0.3 * r.normal(size=x.shape) * x.std(axis=0)
    order = spec.hidden + r.permutation(spec.n_nodes)
    x = x[:, order]
    return (x - x.mean(axis=0)) / x.std(axis=0), graph[np.ix_(order, order)]


def erdos_renyi(d: int, edges: float, r: np.random.Generator) -> np.ndarray:
    """Edges along the order, `edges` a variable in expectation."""
    p = min(1.0, 2 * edges / (d - 1))
    return np.triu(r.random((d, d)) < p, 1).astype(int)


def scale_free(d: int, edges: float, r: np.random.Generator) -> np.ndarray:
    """Each variable takes `edges` causes on average among the earlier ones, in proportion to
    1 + degree."""
    graph = np.zeros((d, d), dtype=int)
    for v in range(1, d):
        count = min(v, int(edges + r.random()))
        weight = 1.0 + graph[:v].sum(axis=1) + graph[:, :v].sum(axis=0)[:v]
        graph[r.choice(v, size=count, replace=False, p=weight / weight.sum()), v] = 1
    return graph


def noise(kind: str, n: int, r: np.random.Generator) -> np.ndarray:
    """Noise of variance 1."""
    if kind == "laplace":
        return r.laplace(size=n) / np.sqrt(2)
    if kind == "uniform":
        return r.uniform(-1, 1, size=n) * np.sqrt(3)
    return r.normal(size=n)


def gaussian_process(x: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """A draw of a Gaussian process with squared exponential kernel, length 1 a dimension, by random
    Fourier features, with mean 0 and variance 1 over the rows."""
    w = r.normal(size=(x.shape[1], 400))
    f = np.cos(x @ w + r.uniform(0, 2 * np.pi, size=400)) @ r.normal(size=400)
    return (f - f.mean()) / f.std()


def linear(x: np.ndarray, e: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """Weights uniform in ±[0.5, 1.5]; noise of scale 0.5 to 1.5."""
    weights = r.uniform(0.5, 1.5, size=x.shape[1]) * r.choice([-1, 1], size=x.shape[1])
    return x @ weights + r.uniform(0.5, 1.5) * e


def additive(x: np.ndarray, e: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """A sum of processes of one cause each."""
    if not x.shape[1]:
        return e
    return sum(gaussian_process(x[:, [u]], r) for u in range(x.shape[1])) + r.uniform(0.4, 0.8) * e


def joint(x: np.ndarray, e: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """One process of all causes."""
    return (
        gaussian_process(x / np.sqrt(x.shape[1]) * 1.5, r) + r.uniform(0.3, 0.6) * e
        if x.shape[1]
        else e
    )


def heteroscedastic(x: np.ndarray, e: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """The same, with noise whose scale is a process of the causes too."""
    if not x.shape[1]:
        return e
    z = x / np.sqrt(x.shape[1])
    return gaussian_process(z, r) + np.exp(0.7 * gaussian_process(z, r) - 0.7) * e


def mlp(x: np.ndarray, e: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """A random network of the causes and the noise."""
    if not x.shape[1]:
        return e
    inputs = np.column_stack([x, e])
    hidden = np.tanh(inputs @ r.normal(size=(inputs.shape[1], 20)) + r.normal(size=20))
    return hidden @ r.normal(size=20) / np.sqrt(20) + 0.1 * r.normal(size=len(e))


def saturating(x: np.ndarray, e: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """Sums of Hill functions, as of gene expression; measurement error is added at the end."""
    if not x.shape[1]:
        return e
    sign = r.choice([-1, 1], size=x.shape[1])
    return np.tanh(2 * x - r.normal(size=x.shape[1])) @ (sign * r.uniform(0.7, 1.5)) + 0.4 * e


MECHANISMS: dict[str, Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]] = {
    "linear": linear,
    "additive": additive,
    "joint": joint,
    "heteroscedastic": heteroscedastic,
    "mlp": mlp,
    "saturating": saturating,
}
