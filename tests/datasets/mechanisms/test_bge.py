"""The BGe prior: tables drawn from it have the BGe score as their density, and Markov equivalent
graphs give one law of tables.

The score is written here from its closed form (Geiger and Heckerman 2002; Kuipers, Moffa and
Heckerman 2014), and checked against SciPy's multivariate t. Bounds are 4.5 standard errors over 12
comparisons, or Kolmogorov and Smirnov at 1e-6 over 12: false alarms below 1e-4.
"""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import multigammaln

from causal_meta import randomness
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.form_laws import BGe
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.conf.mechanism_laws import MechanismPart
from causal_meta.conf.ranges import fixed
from causal_meta.datasets.mechanisms import MechanismFactory
from causal_meta.datasets.scm import SCMFamily

COUNT, TASKS = 30_000, 16_000
SEEDS = randomness.seeds_of(0, "bge", start=0, count=COUNT)
GRAPHS = {
    "empty": [],
    "chain": [(0, 1), (1, 2)],
    "reversed chain": [(2, 1), (1, 0)],
    "fork": [(1, 0), (1, 2)],
    "collider": [(0, 1), (2, 1)],
    "complete": [(0, 1), (0, 2), (1, 2)],
}


def adjacency_of(name):
    adjacency = torch.zeros(3, 3)
    for i, j in GRAPHS[name]:
        adjacency[i, j] = 1
    return adjacency


def log_marginal(x, columns, config, nodes):
    """ln p of the columns of rows x [N, D] under the complete model of `nodes` variables."""
    n, width = len(x), len(columns)
    if not width:
        return 0.0
    alpha_lambda, alpha_mu = nodes + config.alpha_lambda_above_nodes, config.alpha_mu
    t = alpha_mu * (alpha_lambda - nodes - 1) / (alpha_mu + 1)
    part = x[:, columns]
    centred = part - part.mean(axis=0)
    r = (
        t * np.eye(width)
        + centred.T @ centred
        + n * alpha_mu / (n + alpha_mu) * np.outer(part.mean(axis=0), part.mean(axis=0))
    )
    before = alpha_lambda - nodes + width
    return (
        width / 2 * math.log(alpha_mu / (n + alpha_mu))
        + multigammaln((n + before) / 2, width)
        - multigammaln(before / 2, width)
        - width * n / 2 * math.log(math.pi)
        + before / 2 * width * math.log(t)
        - (n + before) / 2 * np.linalg.slogdet(r)[1]
    )


def bge_score(x, adjacency, config):
    """ln p(x | graph): every variable with its parents over its parents alone."""
    total = 0.0
    for j in range(adjacency.shape[0]):
        parents = [int(i) for i in np.nonzero(adjacency[:, j].numpy())[0]]
        total += log_marginal(x, sorted([*parents, j]), config, len(adjacency)) - log_marginal(
            x, parents, config, len(adjacency)
        )
    return total


def likelihoods(tables, adjacency, config):
    """p(x | drawn parameters) of COUNT models, for tables x float64 [N, 3]."""
    drawn = MechanismFactory({"m": MechanismPart(mechanism=config)}).draw(
        SEEDS, adjacency.expand(COUNT, 3, 3)
    )
    found = {}
    for name, x in tables.items():
        mean, std = drawn.location_scale(torch.as_tensor(x).expand(COUNT, *x.shape))
        terms = (
            -0.5 * ((torch.as_tensor(x) - mean) / std) ** 2
            - std.log()
            - 0.5 * math.log(2 * math.pi)
        )
        found[name] = terms.sum(dim=(1, 2)).exp().numpy()
    return found


def test_the_score_here_is_right():
    """One row has a multivariate t density; the score is the same over a Markov equivalence class
    and another over the collider."""
    config, x = BGe(), np.array([[0.3, -0.8, 1.1]])
    alpha_lambda, t = 5, 0.5
    df = alpha_lambda - 3 + 1
    expected = scipy.stats.multivariate_t(shape=np.eye(3) * t * 2 / df, df=df).logpdf(x[0])
    assert bge_score(x, adjacency_of("complete"), config) == pytest.approx(expected, abs=1e-10)
    x = np.array([[0.3, -0.8, 1.1], [1.0, -1.5, 0.2], [-0.4, 0.9, 0.3], [0.7, -0.2, 0.9]])
    scores = {name: bge_score(x, adjacency_of(name), config) for name in GRAPHS}
    assert (
        scores["chain"]
        == pytest.approx(scores["fork"], abs=1e-10)
        == pytest.approx(scores["reversed chain"], abs=1e-10)
    )
    assert abs(scores["chain"] - scores["collider"]) > 0.1


TABLES = {
    "two rows": np.array([[0.4, -0.6, 0.5], [-0.2, 0.5, -0.9]]),
    "four rows": np.array(
        [[0.8, -0.9, 0.2], [-0.6, 1.0, -0.7], [0.1, 0.5, 0.9], [-0.7, -0.3, 0.4]]
    ),
}


@pytest.mark.parametrize(
    "config", [BGe(), BGe(alpha_mu=2.5, alpha_lambda_above_nodes=3.0)], ids=["dibs", "other"]
)
@pytest.mark.parametrize("name", ["chain", "collider", "complete"])
def test_the_density_of_tables_is_the_score(name, config):
    adjacency = adjacency_of(name)
    wrong = BGe(
        alpha_mu=config.alpha_mu, alpha_lambda_above_nodes=config.alpha_lambda_above_nodes + 1
    )
    far = []
    for table, values in likelihoods(TABLES, adjacency, config).items():
        error = values.std() / math.sqrt(COUNT)
        assert (
            abs(values.mean() - math.exp(bge_score(TABLES[table], adjacency, config))) < 4.5 * error
        )
        far.append(
            abs(values.mean() - math.exp(bge_score(TABLES[table], adjacency, wrong))) / error
        )
    assert max(far) > 10, "one degree of freedom more must be seen"


def summaries(name):
    """Numbers of every task's table, scale and orientation kept."""
    drawn = MechanismFactory({"m": MechanismPart(mechanism=BGe())}).draw(
        SEEDS[:TASKS], adjacency_of(name).expand(TASKS, 3, 3)
    )
    x = drawn.rows(randomness.normals(SEEDS[:TASKS], ("noise",), (8, 3))).double()
    centred = x - x.mean(dim=1, keepdim=True)
    covariance = centred.mT @ centred / 8
    return {
        **{f"mean {j}": x[:, :, j].mean(dim=1) for j in range(3)},
        **{f"variance {j}": covariance[:, j, j] for j in range(3)},
        **{
            f"covariance {i}{j}": covariance[:, i, j]
            for i, j in itertools.combinations(range(3), 2)
        },
        "correlation": covariance[:, 0, 2] / (covariance[:, 0, 0] * covariance[:, 2, 2]).sqrt(),
    }


def test_equivalent_graphs_give_one_law_of_tables():
    chain = {name: value.numpy() for name, value in summaries("chain").items()}
    for other in ("fork", "reversed chain"):
        values = summaries(other)
        for name in chain:
            # the same seeds draw dependent numbers for both graphs, which only brings the samples
            # nearer: half of the tasks each
            assert (
                scipy.stats.ks_2samp(
                    chain[name][: TASKS // 2], values[name][TASKS // 2 :].numpy()
                ).pvalue
                > 1e-6
            ), name
    collider = summaries("collider")
    assert (
        scipy.stats.ks_2samp(
            chain["correlation"][: TASKS // 2], collider["correlation"][TASKS // 2 :].numpy()
        ).pvalue
        < 1e-6
    ), "another class must be seen"


def test_precisions_are_wishart():
    """Of complete graphs the precision of a variable pair, given by all three mechanisms, has the
    moments of Wishart(D + 2, 2 I)."""
    drawn = MechanismFactory({"m": MechanismPart(mechanism=BGe())}).draw(
        SEEDS, adjacency_of("complete").expand(COUNT, 3, 3)
    )
    weight, std = (
        torch.zeros(COUNT, 3, 3, dtype=torch.float64),
        drawn.parameters[0]["noise_std"].double(),
    )
    weight.scatter_add_(2, drawn.parents.index, drawn.parameters[0]["weight"].double())
    root = (torch.eye(3, dtype=torch.float64) - weight) / std[..., None]
    # alpha_lambda T^-1 in the mean, T^-1 = 2 I; entry variance alpha_lambda (t_ij² + t_ii t_jj)
    precision = root.mT @ root
    for i, j in itertools.combinations_with_replacement(range(3), 2):
        variance = 5 * (4 * (i == j) + 4)
        assert abs(precision[:, i, j].mean() - 10 * (i == j)) < 4.5 * math.sqrt(variance / COUNT)
        values = (precision[:, i, j] - 10 * (i == j)) ** 2
        assert abs(values.mean() - variance) < 4.5 * values.std() / math.sqrt(COUNT)


def test_a_family_draws_from_it():
    config = FamilyConfig(
        graph=ErdosRenyi(edges_per_node=1.0),
        mechanisms={"bge": MechanismPart(mechanism=BGe())},
        n_nodes=fixed(6),
        n_rows=fixed(30),
    )
    batch = SCMFamily(config).sample_tasks(SEEDS[:50])
    assert torch.isfinite(batch.x).all()
    instance = SCMFamily(config).sample_task(SEEDS[7])
    assert torch.equal(instance.sample(30), batch.task(7).x)
