"""What a user would try instead: the empty graph, random graphs, sort-and-regress, and bootstraps
of PC, GES and BOSS (causal-learn).

Each class takes its configuration and answers `posterior_for(x, generator)`: S graphs for one
table. The bootstraps follow one recipe: draw rows with replacement, shuffle the columns, fit,
shuffle back, and take one random directed acyclic graph of the class that was found. The columns
are shuffled because BOSS starts its search from their order, and the order of a file can give the
answer away.
"""

from __future__ import annotations

import contextlib
import importlib
import random
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from causal_meta.conf.inference import (
    BOSSConfig,
    EmptyConfig,
    GESConfig,
    MethodConfig,
    PCConfig,
    RandomConfig,
    SortnregressConfig,
)
from causal_meta.conf.registry import implementation
from causal_meta.conf.setting import ConfigError

Array = NDArray[Any]
C = TypeVar("C", bound=MethodConfig)

#: How often a bootstrap replicate with a constant column is drawn again before noise is added
#: instead.
REDRAWS = 20
#: The noise, in standard deviations of a column, that makes a degenerate replicate regular.
JITTER = 1e-3
#: A correlation matrix with a smaller eigenvalue counts as singular.
SINGULAR = 1e-9


class Baseline(ABC, Generic[C]):
    """A posterior over graphs made of S particles, one table at a time."""

    #: Whether the rows must come as measured: a method that reads the scale of a column has nothing
    #: to read once it is standardised.
    needs_scale: bool = False

    def __init__(self, config: C) -> None:
        self.config = config

    def posterior_for(self, x: Array, generator: np.random.Generator) -> NDArray[np.int8]:
        """S = `config.n_samples` acyclic graphs [S, D, D] for the rows `x` [N, D], a function of
        its arguments alone."""
        return self.replicates(x, generator)[0]

    @abstractmethod
    def replicates(
        self, x: Array, generator: np.random.Generator
    ) -> tuple[NDArray[np.int8], Counter[str]]:
        """The graphs of `posterior_for`, and counts of what had to be mended on the way."""


class Empty(Baseline[EmptyConfig]):
    """No edge: the anchor of every table, since it beats many published posteriors on E-SHD."""

    def replicates(
        self, x: Array, generator: np.random.Generator
    ) -> tuple[NDArray[np.int8], Counter[str]]:
        n_nodes = x.shape[1]
        return np.zeros((self.config.n_samples, n_nodes, n_nodes), dtype=np.int8), Counter()


class RandomGraphs(Baseline[RandomConfig]):
    """Erdős–Rényi graphs blind to the rows: every pair of a random order is an edge with p = min(1,
    2 edges_per_node / (D - 1))."""

    def replicates(
        self, x: Array, generator: np.random.Generator
    ) -> tuple[NDArray[np.int8], Counter[str]]:
        count, n_nodes = self.config.n_samples, x.shape[1]
        p = min(1.0, 2 * self.config.edges_per_node / max(n_nodes - 1, 1))
        position = np.argsort(generator.random((count, n_nodes)), axis=1)
        earlier = position[:, :, None] < position[:, None, :]
        return (earlier & (generator.random((count, n_nodes, n_nodes)) < p)).astype(
            np.int8
        ), Counter()


class Bootstrap(Baseline[C]):
    """The bootstrap of a method that answers a table with one, possibly partially directed,
    graph."""

    def replicates(
        self, x: Array, generator: np.random.Generator
    ) -> tuple[NDArray[np.int8], Counter[str]]:
        count, n_nodes = self.config.n_samples, x.shape[1]
        found = np.zeros((count, n_nodes, n_nodes), dtype=np.int8)
        record: Counter[str] = Counter()
        for replicate in range(count):
            rows = resample(np.asarray(x, dtype=np.float64), generator, record)
            shuffle = generator.permutation(n_nodes)
            found[replicate][np.ix_(shuffle, shuffle)] = self.fit(rows[:, shuffle], generator)
        graphs, inconsistent = consistent_extension(found, generator)
        record["without_consistent_extension"] += int(inconsistent.sum())
        return graphs, record

    @abstractmethod
    def fit(self, rows: Array, generator: np.random.Generator) -> Array:
        """The graph [D, D] of `rows` [N, D]; an undirected edge holds 1 both ways."""


class Sortnregress(Bootstrap[SortnregressConfig]):
    """Sort the variables by a score, then regress each on those before it (Reisach et al. 2021; by
    R², 2023).

    Scores: the variance; R²_j = 1 - 1 / (R^-1)_jj of the correlation matrix R (the share of j
    explained by all others); or nothing (a random order). The regression is the adaptive lasso
    along its LARS path, |OLS coefficients| as weights, the penalty chosen by BIC. The variance is
    read on the rows as measured: after standardising nothing is left of it. Bootstrapping is ours;
    the paper gives one graph.
    """

    def __init__(self, config: SortnregressConfig) -> None:
        super().__init__(config)
        self.needs_scale = config.order == "variance"

    def fit(self, rows: Array, generator: np.random.Generator) -> Array:
        """The graph [D, D] of `rows` [N, D], directed along the order."""
        return sort_and_regress(rows, self.order(rows, generator))

    def order(self, rows: Array, generator: np.random.Generator) -> Array:
        """The variables of `rows` [N, D], the presumed causes first: [D]."""
        if self.config.order == "random":
            return generator.permutation(rows.shape[1])
        if self.config.order == "variance":
            return np.argsort(rows.var(axis=0), kind="stable")
        precision = np.linalg.pinv(np.corrcoef(rows.T), hermitian=True)
        return np.argsort(1 - 1 / np.maximum(np.diagonal(precision), 1.0), kind="stable")


class PC(Bootstrap[PCConfig]):
    """The PC algorithm with Fisher's z (Spirtes et al. 2000), stable variant, conflicting colliders
    resolved for the first one.

    Conditioning sets grow to at most N - 4 variables, where the test ends. What PC returns on
    finite rows may have no consistent extension.
    """

    def fit(self, rows: Array, generator: np.random.Generator) -> Array:
        """The partially directed graph [D, D] of `rows` [N, D]."""
        n_rows, n_nodes = rows.shape
        limit = {} if n_nodes - 2 <= n_rows - 4 else {"max_k": max(0, n_rows - 4)}
        with quiet_globals(generator):
            search = causal_learn("causallearn.search.ConstraintBased.PC").pc
            found = search(
                rows,
                alpha=self.config.alpha,
                indep_test="fisherz",
                stable=True,
                uc_rule=0,
                uc_priority=2,
                show_progress=False,
                **limit,
            )
        return from_endpoints(found.G.graph)


class GES(Bootstrap[GESConfig]):
    """Greedy equivalence search (Chickering 2002) with BIC, `penalty` log N per parameter: 0.5 is
    plain BIC."""

    def fit(self, rows: Array, generator: np.random.Generator) -> Array:
        """The completed partially directed graph [D, D] of `rows` [N, D]."""
        with quiet_globals(generator):
            search = causal_learn("causallearn.search.ScoreBased.GES").ges
            found = search(
                rows,
                score_func="local_score_BIC_from_cov",
                parameters={"lambda_value": self.config.penalty},
            )
        return from_endpoints(found["G"].graph)


class BOSS(Bootstrap[BOSSConfig]):
    """Best order score search (Andrews et al. 2023) with BIC, `penalty` log N per parameter:
    causal-learn's default is 2, four times plain BIC."""

    def fit(self, rows: Array, generator: np.random.Generator) -> Array:
        """The completed partially directed graph [D, D] of `rows` [N, D]."""
        with quiet_globals(generator):
            search = causal_learn("causallearn.search.PermutationBased.BOSS").boss
            found = search(
                rows,
                score_func="local_score_BIC_from_cov",
                parameters={"lambda_value": self.config.penalty},
                verbose=False,
            )
        return from_endpoints(found.graph)


def make_baseline(config: MethodConfig) -> Baseline[Any]:
    """The baseline that `config` describes.

    >>> make_baseline(EmptyConfig()).posterior_for(np.zeros((10, 3)), np.random.default_rng(0)).sum(
    ... )
    np.int64(0)
    """
    baseline: Baseline[Any] = implementation(config)(config)
    return baseline


# ------------------------------------------------------------------------------------ the bootstrap


def resample(x: Array, generator: np.random.Generator, record: Counter[str] | None = None) -> Array:
    """N rows of `x` [N, D] drawn with replacement, regular enough for every method: no constant
    column, no singular correlation.

    A replicate with a constant column is drawn again, up to `REDRAWS` times. If a column is still
    constant, or the correlations are singular (a duplicated column, fewer rows than variables),
    normal noise of `JITTER` standard deviations is added to every cell (of 1, in a constant
    column). Both are counted in `record`.
    """
    record = Counter() if record is None else record
    for _ in range(1 + REDRAWS):
        rows = x[generator.integers(len(x), size=len(x))]
        spread = rows.std(axis=0)
        constant = np.ptp(rows, axis=0) == 0
        if not constant.any():
            break
        record["redrawn"] += 1
    if constant.any() or np.linalg.eigvalsh(np.corrcoef(rows.T))[0] < SINGULAR:
        record["jittered"] += 1
        rows = rows + JITTER * np.where(constant, 1.0, spread) * generator.standard_normal(
            rows.shape
        )
    return rows


def consistent_extension(
    pdag: Array, generator: np.random.Generator
) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """One random directed acyclic graph for each partially directed graph [S, D, D] (an undirected
    edge holds 1 both ways).

    Dor & Tarsi (1992): take a node without outgoing edges whose undirected neighbours are adjacent
    to all its neighbours, point its undirected edges at it, remove it, repeat; among several such
    nodes one is chosen at random, so every member of a Markov equivalence class can come out (not
    with equal probability). A graph that has no consistent extension (PC on finite rows) has at
    some point no such node: then one is taken that has the fewest outgoing edges (these are
    reversed: they lie on a cycle) and, among those, makes the fewest new unshielded colliders. The
    skeleton is always kept. Returns the graphs [S, D, D] and which inputs [S] had no consistent
    extension.
    """
    left = pdag.astype(bool)
    count, n_nodes = left.shape[:2]
    each, itself = np.arange(count), np.eye(n_nodes, dtype=bool)
    dag = np.zeros((count, n_nodes, n_nodes), dtype=np.int8)
    present = np.ones((count, n_nodes), dtype=bool)
    inconsistent = np.zeros(count, dtype=bool)
    for _ in range(n_nodes):
        adjacent = left | left.swapaxes(1, 2)
        undirected = left & left.swapaxes(1, 2)
        outgoing = (left & ~undirected).sum(2)
        # [x, y]: neighbours of x that y lacks
        unlinked = adjacent.astype(np.float32) @ (~adjacent & ~itself).astype(np.float32)
        colliders = (unlinked * undirected).sum(2)
        cost = np.where(present, outgoing * n_nodes**3 + colliders, np.inf)
        least = cost.min(1, keepdims=True)
        inconsistent |= least[:, 0] > 0
        sink = np.argmax((cost == least) * (1 + generator.random((count, n_nodes))), axis=1)
        dag[each, :, sink] |= adjacent[each, :, sink].astype(np.int8)
        left[each, sink, :] = False
        left[each, :, sink] = False
        present[each, sink] = False
    return dag, inconsistent


def sort_and_regress(rows: Array, order: Array) -> NDArray[np.int8]:
    """The graph [D, D] of regressing each column of `rows` [N, D] on the earlier ones of `order` by
    the BIC-chosen adaptive lasso."""
    centred = rows - rows.mean(axis=0)
    gram = centred.T @ centred
    adjacency = np.zeros(gram.shape, dtype=np.int8)
    for place in range(1, len(order)):
        causes, effect = order[:place], order[place]
        coefficients = adaptive_lasso(
            gram[np.ix_(causes, causes)],
            gram[causes, effect],
            float(gram[effect, effect]),
            len(rows),
        )
        adjacency[causes, effect] = np.abs(coefficients) > 1e-12
    return adjacency


def adaptive_lasso(gram: Array, product: Array, square: float, n_rows: int) -> Array:
    """Coefficients [K] of the adaptive lasso (Zou 2006) with the penalty chosen by BIC along the
    LARS path, from centred second moments.

    `gram` = X'X [K, K], `product` = X'y [K], `square` = y'y. BIC = RSS / s² + log(N) df, with s² of
    the least-squares fit on N - K - 1 degrees of freedom (at least 1) and df the number of nonzero
    coefficients (Zou, Hastie & Tibshirani 2007).
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import lars_path_gram

    least_squares = np.linalg.lstsq(gram, product, rcond=None)[0]
    weight = np.abs(least_squares)
    with warnings.catch_warnings():
        # the path stops early where regressors are dependent; what it has is good
        warnings.simplefilter("ignore", ConvergenceWarning)
        path = lars_path_gram(
            product * weight,
            weight[:, None] * gram * weight,
            n_samples=n_rows,
            method="lasso",
            alpha_min=0.0,
        )[2]
    path = path * weight[:, None]
    residual: Array = square - 2 * product @ path + np.einsum("kt,kl,lt->t", path, gram, path)
    noise = max(square - float(product @ least_squares), 1e-12 * square) / max(
        n_rows - len(product) - 1, 1
    )
    bic = residual / noise + np.log(n_rows) * (np.abs(path) > 1e-12).sum(axis=0)
    return path[:, int(np.argmin(bic))]


# ------------------------------------------------------------------------------------- causal-learn


def causal_learn(module: str) -> Any:
    """A module of causal-learn, imported now. Raises `ConfigError` if the extra is not
    installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"PC, GES and BOSS need causal-learn ({error}); install it with: pip install "
            "'causal-meta[baselines]'"
        ) from None


@contextlib.contextmanager
def quiet_globals(generator: np.random.Generator) -> Iterator[None]:
    """Lend the process-wide generators of `random` and NumPy, in a state drawn from `generator`, to
    code that knows no others; hand them back.

    Warnings raised inside (fewer rows than columns, divisions by zero on degenerate replicates) are
    swallowed here and nowhere else.
    """
    python, legacy = random.getstate(), np.random.get_state()
    seed = int(generator.integers(2**32))
    random.setstate(random.Random(seed).getstate())
    np.random.set_state(np.random.RandomState(seed).get_state())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)


def from_endpoints(graph: Array) -> NDArray[np.int8]:
    """causal-learn's endpoint matrix [D, D] in ours.

    There `graph[j, i] = 1, graph[i, j] = -1` is i -> j, -1 twice is i - j and 1 twice i <-> j
    (which we count as undirected).
    """
    tail = graph == -1
    both_arrows = (graph == 1) & (graph.T == 1)
    return (tail | both_arrows).astype(np.int8)
