"""Classical baselines: how often searches reach the score of the true graph, what they make of
noise, and plain methods beside their bootstraps.

    python benchmarks/rivals.py [example reach time agree noise plain]

Needs causal-learn, whose own searches (one start) are the rows "causal-learn". Markdown tables go
to standard output; CPU seconds of one core.
"""

import argparse
import random
import time
import warnings
from collections import Counter

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from causal_meta.conf.inference import (
    BOSSConfig,
    CorrelationConfig,
    EmptyConfig,
    GESConfig,
    PartialCorrelationConfig,
    PCConfig,
    SortnregressConfig,
)
from causal_meta.conf.registry import implementation
from causal_meta.knowledge import Knowledge
from causal_meta.models.classical.bootstrap import consistent_extension, resample
from causal_meta.models.classical.causal_learn import from_endpoints
from causal_meta.models.classical.gaussian_bic import GaussianBIC
from causal_meta.tasks import Task


def linear_table(draws, n_nodes, n_rows, edges_per_node=2.0):
    """Standardised rows of a linear Gaussian model of a random graph, and the graph."""
    p = min(1.0, 2 * edges_per_node / (n_nodes - 1))
    graph = np.triu(draws.random((n_nodes, n_nodes)) < p, 1)
    sizes = draws.uniform(0.5, 2.0, graph.shape) * draws.choice([-1, 1], graph.shape)
    noise = draws.normal(size=(n_nodes, n_rows)) * draws.uniform(0.5, 1.5, n_nodes)[:, None]
    x = np.linalg.solve(np.eye(n_nodes) - (graph * sizes).T, noise).T
    order = draws.permutation(n_nodes)
    return ((x - x.mean(0)) / x.std(0))[:, order], graph[np.ix_(order, order)]


def five_variables(draws, n_rows=5000):
    """A, B -> C -> D, E with little noise."""
    a, b = draws.normal(size=(2, n_rows))
    c = a + b + 0.25 * draws.normal(size=n_rows)
    d, e = c + 0.25 * draws.normal(size=(2, n_rows))
    graph = np.zeros((5, 5), dtype=bool)
    graph[[0, 1], 2] = graph[2, [3, 4]] = True
    return np.column_stack([a, b, c, d, e]), graph


def by_causal_learn(kind, penalty, starts=1):
    """A function (rows, draws) -> class of graphs: causal-learn's search, the columns shuffled; of
    several starts the one of the best score."""
    from causallearn.search.PermutationBased.BOSS import boss
    from causallearn.search.ScoreBased.GES import ges

    def once(rows, draws):
        shuffle = draws.permutation(rows.shape[1])
        random.seed(int(draws.integers(2**32)))
        settings = {
            "score_func": "local_score_BIC_from_cov",
            "parameters": {"lambda_value": penalty},
        }
        graph = np.zeros((len(shuffle), len(shuffle)), dtype=np.int8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "boss":
                result = boss(rows[:, shuffle], verbose=False, **settings)
            else:
                result = ges(rows[:, shuffle], **settings)["G"]
        graph[np.ix_(shuffle, shuffle)] = from_endpoints(result.graph)
        return graph

    def best(rows, draws):
        graphs = [once(rows, draws) for _ in range(starts)]
        return max(graphs, key=lambda graph: value_of(rows, penalty, graph))

    return best


def by_us(config):
    """A function (rows, draws) -> class of graphs: one fit of a method of this package."""
    method = implementation(config)(config)
    return lambda rows, draws: method.fit(rows, draws, Knowledge.none(rows.shape[1]), Counter())


def value_of(rows, penalty, graph):
    """The BIC of a member of a class."""
    dag = consistent_extension(graph[None], np.random.default_rng(0))[0][0].astype(bool)
    return GaussianBIC(rows, penalty, Knowledge.none(len(graph))).total(dag)


def example():
    """The five variables: shares of 30 bootstrap replicates."""
    print("\n| BOSS, five variables | A -> C | A - B | true class | CPU s a fit |")
    print("|---|---|---|---|---|")
    for name, fit in (
        ("causal-learn, one start", by_causal_learn("boss", 2.0)),
        ("causal-learn, best of 10 starts", by_causal_learn("boss", 2.0, 10)),
        ("here, one start", by_us(BOSSConfig(starts=1))),
        ("here", by_us(BOSSConfig())),
    ):
        draws = np.random.default_rng(0)
        x, truth = five_variables(draws)
        rows = [resample(x, draws)[0] for _ in range(30)]
        begin = time.process_time()
        classes = np.stack([fit(table, draws) for table in rows])
        seconds = (time.process_time() - begin) / len(rows)
        dags = consistent_extension(classes, draws)[0]
        joined = (dags | dags.swapaxes(1, 2))[:, 0, 1].mean()
        right = (classes == truth).all((1, 2)).mean()
        print(
            f"| {name} | {dags[:, 0, 2].mean():.2f} | {joined:.2f} | {right:.2f} | {seconds:.3f} |"
        )


def reach():
    """The share of fresh tasks in which the score of the true graph is reached."""
    print("\n| BOSS, D = 10, N = 500 | penalty | tasks | reached | CPU s a fit |")
    print("|---|---|---|---|---|")
    for penalty in (2.0, 0.5):
        for name, n_tasks, fit in (
            ("causal-learn, one start", 72, by_causal_learn("boss", penalty)),
            ("causal-learn, best of 20 starts", 24, by_causal_learn("boss", penalty, 20)),
            ("here, one start", 72, by_us(BOSSConfig(starts=1, penalty=penalty))),
            ("here", 72, by_us(BOSSConfig(penalty=penalty))),
        ):
            reached, begin, spent = 0, 0.0, 0.0
            for seed in range(n_tasks):
                draws = np.random.default_rng([seed, 7])
                x, graph = linear_table(draws, 10, 500)
                begin = time.process_time()
                answer = fit(x, draws)
                spent += time.process_time() - begin
                truth = GaussianBIC(x, penalty, Knowledge.none(10)).total(graph)
                reached += value_of(x, penalty, answer) >= truth - 1e-6
            share, seconds = reached / n_tasks, spent / n_tasks
            print(f"| {name} | {penalty} | {n_tasks} | {share:.2f} | {seconds:.3f} |", flush=True)


def agree():
    """GES here and of causal-learn: equal classes of 30 tables with 4 to 12 variables."""
    ours, theirs = by_us(GESConfig()), by_causal_learn("ges", 0.5)
    equal, seconds = 0, np.zeros(2)
    for seed in range(30):
        draws = np.random.default_rng([seed, 17])
        x, _ = linear_table(draws, int(draws.integers(4, 13)), int(draws.integers(100, 1000)))
        begin = time.process_time()
        first = ours(x, draws)
        middle = time.process_time()
        equal += (first == theirs(x, draws)).all()
        seconds += middle - begin, time.process_time() - middle
    print(
        f"\nGES: {equal} of 30 classes equal; CPU s {seconds[0]:.1f} here, {seconds[1]:.1f} there"
    )


def noise():
    """Edges out of 12 rows of independent columns, one bootstrap replicate."""
    print("\n| N = 12 rows of noise | D | pairs | edges | CPU s a fit |")
    print("|---|---|---|---|---|")
    for n_nodes in (14, 16, 18):
        x = np.random.default_rng(0).normal(size=(12, n_nodes))
        n_pairs = n_nodes * (n_nodes - 1) // 2
        for name, fit in (
            ("GES, causal-learn", by_causal_learn("ges", 0.5)),
            ("BOSS, causal-learn", by_causal_learn("boss", 2.0)),
        ):
            draws = np.random.default_rng(1)
            rows = resample(x, draws)[0]
            begin = time.process_time()
            edges = consistent_extension(fit(rows, draws)[None], draws)[0].sum()
            seconds = time.process_time() - begin
            print(f"| {name} | {n_nodes} | {n_pairs} | {edges} | {seconds:.2f} |")
        for config in (GESConfig(n_samples=20), BOSSConfig(n_samples=20)):
            begin = time.process_time()
            graphs = implementation(config)(config).particles(x, np.random.default_rng(1))[0]
            seconds = (time.process_time() - begin) / 20
            print(
                f"| {config.kind.upper()}, here | {n_nodes} | {n_pairs} | "
                f"{graphs.sum((1, 2)).mean():.1f} | {seconds:.2f} |",
                flush=True,
            )


def plain():
    """Plain methods and bootstraps of 20 on linear tasks of twenty variables."""
    n_tasks, n_nodes, n_rows = 5, 20, 1000
    print(f"\n| linear, D = {n_nodes}, N = {n_rows}, {n_tasks} tasks | AUROC | E-SHD | CPU s |")
    print("|---|---|---|---|")
    configs = [EmptyConfig(), CorrelationConfig(), PartialCorrelationConfig()]
    for cls in (SortnregressConfig, PCConfig, GESConfig, BOSSConfig):
        configs += [cls(n_samples=1, bootstrap=False), cls(n_samples=20)]
    for config in configs:
        scores = np.zeros((n_tasks, 3))
        for seed in range(n_tasks):
            draws = np.random.default_rng([seed, 11])
            x, graph = linear_table(draws, n_nodes, n_rows)
            rows = torch.from_numpy(x).float()
            task = Task(x=rows, adjacency=None, intervened=torch.zeros(x.shape, dtype=torch.bool))
            begin = time.process_time()
            posterior = implementation(config)(config).answer(task, draws)
            spent = time.process_time() - begin
            p = posterior.edge_probabilities[0].numpy()
            off = ~np.eye(n_nodes, dtype=bool)
            graphs = posterior.sample(1000, torch.Generator().manual_seed(0))[0].numpy()
            wrong = graphs != graph
            pairs = np.triu(wrong | wrong.swapaxes(1, 2)).sum((1, 2)).mean()
            scores[seed] = roc_auc_score(graph[off], p[off]), pairs, spent
        auroc, distance, seconds = scores.mean(0)
        print(
            f"| {config.name_in_tables} | {auroc:.3f} | {distance:.1f} | {seconds:.2f} |",
            flush=True,
        )


def times():
    """CPU seconds of one fit by the number of variables."""
    print("\n| linear, N = 1000, one fit | D | reached | CPU s |\n|---|---|---|---|")
    for n_nodes in (10, 20, 50):
        for name, penalty, fit in (
            ("BOSS, causal-learn, one start", 2.0, by_causal_learn("boss", 2.0)),
            ("BOSS, here", 2.0, by_us(BOSSConfig())),
            ("GES, here", 0.5, by_us(GESConfig())),
        ):
            reached, spent = 0, 0.0
            for seed in range(3):
                draws = np.random.default_rng([seed, 13])
                x, graph = linear_table(draws, n_nodes, 1000)
                begin = time.process_time()
                answer = fit(x, draws)
                spent += time.process_time() - begin
                truth = GaussianBIC(x, penalty, Knowledge.none(n_nodes)).total(graph)
                reached += value_of(x, penalty, answer) >= truth - 1e-6
            print(f"| {name} | {n_nodes} | {reached} of 3 | {spent / 3:.2f} |", flush=True)


def main() -> int:
    """Print the chosen tables."""
    tables = {
        "example": example,
        "reach": reach,
        "time": times,
        "agree": agree,
        "noise": noise,
        "plain": plain,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE")
    for name in parser.parse_args().tables or tables:
        tables[name]()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
