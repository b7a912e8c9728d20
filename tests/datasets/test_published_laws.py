"""Ready families against the published recipes, written here in NumPy, node after node, with
independent random numbers.

Numbers of every table (location, spread, shape of one column, its relation to another; variables
are numbered at random, so any column will do) have one law: two-sample Kolmogorov and Smirnov at
1e-6, about 40 of them, so false alarms stay below 4e-5 per change of the seeds.
"""

import math

import numpy as np
import pytest
import scipy.stats

from causal_meta import randomness
from causal_meta.conf import ready
from causal_meta.conf.convert import from_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.datasets.scm import SCMFamily

COUNT, ROWS = 200, 100


def erdos_renyi(rng, d, edges):
    """Each pair of a random order joined with equal probability, `edges` expected."""
    lower = np.tril(rng.random((d, d)) < 2 * edges / (d * (d - 1)), -1)
    return lower[np.ix_(order := rng.permutation(d), order)].T


def exactly(rng, d, edges):
    """`edges` of the pairs of a random order."""
    pairs = np.array([(i, j) for j in range(d) for i in range(j)])
    chosen, adjacency = (
        pairs[rng.choice(len(pairs), edges, replace=False)],
        np.zeros((d, d), dtype=bool),
    )
    order = rng.permutation(d)
    adjacency[order[chosen[:, 0]], order[chosen[:, 1]]] = True
    return adjacency


def ancestral(adjacency, function):
    """Rows of x_j = function(x_pa), parents first."""
    d = len(adjacency)
    x, left = {}, set(range(d))
    while left:
        j = next(j for j in sorted(left) if not left & set(np.nonzero(adjacency[:, j])[0]))
        parents = [x[i] for i in np.nonzero(adjacency[:, j])[0]]
        x[j] = function(np.stack(parents, 1) if parents else np.zeros((ROWS, 0)))
        left.remove(j)
    return np.stack([x[j] for j in range(d)], 1)


def network(rng, variance):
    """DiBS's and BayesDAG's: one hidden layer of five ReLU, all weights N(0, 1), additive noise;
    roots are noise alone."""

    def function(parents):
        noise = math.sqrt(variance(rng)) * rng.standard_normal(ROWS)
        if not parents.shape[1]:
            return noise
        hidden = np.maximum(
            parents @ rng.standard_normal((parents.shape[1], 5)) + rng.standard_normal(5), 0
        )
        return noise + hidden @ rng.standard_normal(5) + rng.standard_normal()

    return function


def dibs_linear(rng, extra=0.5):
    def function(parents):
        w = rng.standard_normal(parents.shape[1])
        return parents @ (w + extra * np.sign(w)) + math.sqrt(0.1) * rng.standard_normal(ROWS)

    return ancestral(erdos_renyi(rng, 20, 40), function)


def dibs_mlp(rng):
    return ancestral(erdos_renyi(rng, 10, 20), network(rng, lambda rng: 0.1))


def bayesdag_mlp(rng):
    return ancestral(erdos_renyi(rng, 20, 40), network(rng, lambda rng: 1 / rng.gamma(1.5)))


def bayesdag_linear(rng):
    def function(parents):
        return parents @ rng.uniform(0.5, 1.5, parents.shape[1]) + rng.gamma(
            1.5
        ) ** -0.5 * rng.standard_normal(ROWS)

    return ancestral(erdos_renyi(rng, 5, 5), function)


def bcnp_linear(rng, edges=20):
    def function(parents):
        if not parents.shape[1]:
            return rng.standard_normal(ROWS)
        z = (parents - parents.mean(axis=0)) / parents.std(axis=0)
        return z @ (10 * rng.standard_normal(parents.shape[1])) + rng.gamma(
            2.5, 2.5
        ) * rng.standard_normal(ROWS)

    return ancestral(exactly(rng, 20, edges), function)


def benchmark_periodic(rng):
    def function(parents):
        return np.sin(
            4 * np.pi * parents @ rng.standard_normal(parents.shape[1])
        ) + 0.1 * rng.standard_normal(ROWS)

    return ancestral(erdos_renyi(rng, 20, 20), function)


def benchmark_network(rng):
    def layer(x, units):
        bound = 1 / math.sqrt(x.shape[1])
        return x @ rng.uniform(-bound, bound, (x.shape[1], units)) + rng.uniform(
            -bound, bound, units
        )

    def function(parents):
        x = np.column_stack([parents, rng.standard_normal(ROWS)])
        for _ in range(2):
            x = layer(x, 32)
            x = np.where(x > 0, x, 0.01 * x)
        return layer(x, 1)[:, 0]

    return ancestral(erdos_renyi(rng, 20, 20), function)


RECIPES = {
    "dibs_linear_er_d20": (dibs_linear, lambda rng: dibs_linear(rng, extra=0.0)),
    "dibs_mlp_er_d10": (dibs_mlp, lambda rng: 1.3 * dibs_mlp(rng)),
    "bayesdag_mlp_er_d20": (bayesdag_mlp, lambda rng: 2.0 * bayesdag_mlp(rng)),
    "bayesdag_linear_er_d5": (bayesdag_linear, lambda rng: 1.3 * bayesdag_linear(rng)),
    "bcnp_linear_er20": (bcnp_linear, lambda rng: bcnp_linear(rng, edges=60)),
    "ood_mech_periodic_er20_d20_n500": (benchmark_periodic, dibs_linear),
    "id_neuralnet_er20_d20_n500": (benchmark_network, lambda rng: 1.3 * benchmark_network(rng)),
}


def summaries(tables):
    """Numbers [COUNT] of every table [N, D]."""
    x, y = (np.stack([table[:ROWS, j] for table in tables]).astype(float) for j in (0, 1))
    centred, other = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=1))
    scale = spread * np.sqrt((other**2).mean(axis=1))
    return {
        "mean": x.mean(axis=1),
        "spread": np.log(spread),
        "skewness": (centred**3).mean(axis=1) / spread**3,
        "dependence": np.abs((centred * other).mean(axis=1)) / scale,
        "largest spread": np.log([table[:ROWS].std(axis=0).max() for table in tables]),
    }


@pytest.mark.parametrize("name", RECIPES)
def test_tables_have_the_law_of_the_recipe(name):
    family = ready.find(name)
    seeds = randomness.seeds_of(0, "published laws", name, start=0, count=COUNT)
    ours = summaries(
        SCMFamily(from_plain(FamilyConfig, family.tree)).sample_tasks(seeds, n_rows=ROWS).x.numpy()
    )
    right, wrong = RECIPES[name]
    theirs = summaries([right(np.random.default_rng([1, k])) for k in range(COUNT)])
    for summary, values in ours.items():
        assert scipy.stats.ks_2samp(values, theirs[summary]).pvalue > 1e-6, summary
    others = summaries([wrong(np.random.default_rng([2, k])) for k in range(COUNT)])
    assert (
        min(
            scipy.stats.ks_2samp(values, others[summary]).pvalue for summary, values in ours.items()
        )
        < 1e-6
    ), "another law must be seen"
