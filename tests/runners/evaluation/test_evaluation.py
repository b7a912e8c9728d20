"""Evaluation: one scoring code for models and baselines, metrics.json as agreed, and one sentence
for what cannot be scored."""

import json
import math

import numpy as np
import pytest
import torch

from causal_meta.conf.data import DataModuleConfig, FamilyConfig
from causal_meta.conf.evaluation import EvaluateConfig
from causal_meta.conf.inference import DiscoverConfig, EmptyConfig, RandomConfig, SortnregressConfig
from causal_meta.conf.models import AviciConfig
from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.conf.setting import ConfigError
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.facts import read_events
from causal_meta.posteriors import EmpiricalGraphs
from causal_meta.records.posteriors import read_posterior
from causal_meta.runners.build import make
from causal_meta.runners.evaluation.eval_metrics import METRICS, posterior_metrics, reliability_bins
from causal_meta.runners.evaluation.evaluation import score
from causal_meta.runners.tasks.task_sets import build_tasks, load_tasks

FAMILY = FamilyConfig(n_nodes=IntRange(low=3, high=6), n_rows=IntRange(low=30, high=50))
SET = TasksConfig(data=FAMILY, n_tasks=5, seed=3)


def without_truth(config, attempt):
    """A builder of kind `tasks` that forgets the graphs."""
    build_tasks(config, attempt)
    with np.load(attempt.folder / "data.npz") as arrays:
        kept = {name: arrays[name] for name in arrays.files if name != "adjacency"}
    np.savez(attempt.folder / "data.npz", **kept)
    return {}


@pytest.fixture
def tasks(store):
    return make(store, SET)


@pytest.fixture
def model(store, untrained):
    config = ExperimentConfig(
        model=AviciConfig(dim=8, n_pairs=1, n_heads=2, key_size=4, bias_init=0.0),
        data=DataModuleConfig(train=FamilyConfig(n_rows=fixed(50))),
    )
    return store.build(config, {}, untrained)


def metrics_of(run):
    return json.loads((run.folder / "metrics.json").read_text("utf-8"))


def scored(store, tasks, run, **settings):
    return metrics_of(make(store, EvaluateConfig(**settings), {"of": tasks, "posterior": run}))


def test_the_empty_graph_scores_what_it_must(store, tasks):
    run = make(store, EmptyConfig(), {"of": tasks})
    evaluation = make(store, EvaluateConfig(), {"of": tasks, "posterior": run})
    tree = metrics_of(evaluation)
    batch = load_tasks(tasks)
    edges = batch.adjacency.sum((1, 2)).tolist()
    pairs = [n * (n - 1) for n in batch.node_mask.sum(1).tolist()]
    density = [e / m for e, m in zip(edges, pairs, strict=True)]
    per_task = tree["per_task"]
    assert per_task["e_shd"] == per_task["shd"] == edges
    assert per_task["density"] == pytest.approx(density)
    assert per_task["brier"] == pytest.approx(density)
    assert per_task["auroc"] == [
        0.5 if 0 < e < m else None for e, m in zip(edges, pairs, strict=True)
    ]
    assert per_task["auprc"] == [d or None for d in density]
    assert per_task["acyclic_share"] == [1.0] * 5
    # one particle: (0 + 1) / (1 + 2)
    nll = [
        -e * math.log(1 / 3) - (m - e) * math.log(2 / 3) for e, m in zip(edges, pairs, strict=True)
    ]
    assert per_task["graph_nll"] == pytest.approx(nll)
    assert tree["summary"]["e_shd"] == {
        "mean": pytest.approx(np.mean(edges)),
        "se": pytest.approx(np.std(edges, ddof=1) / math.sqrt(5)),
        "n": 5,
    }
    assert tree["reliability"][0]["count"] == sum(pairs)
    assert tree["reliability"][0]["frequency"] == pytest.approx(sum(edges) / sum(pairs))
    assert tree["pooled"]["ece"] == pytest.approx(sum(edges) / sum(pairs))
    assert (tree["kind"], tree["posterior_type"], tree["tasks"], tree["n_tasks"]) == (
        "empty",
        "empirical_graphs",
        tasks.id,
        5,
    )
    assert set(tree["summary"]) == set(per_task) == set(METRICS)
    assert set(tree["seconds_per_task"]) == {"mean", "se", "n", "unit", "per_task"}
    assert all(isinstance(text, str) for text in tree["conventions"].values())
    assert evaluation.meta["metrics"]["e_shd"] == pytest.approx(np.mean(edges))
    assert read_events(evaluation.folder)[-1]["moment"] == "on_test_end"


def test_padding_does_not_enter(store, tasks):
    run = make(store, RandomConfig(n_samples=40), {"of": tasks})
    tree = scored(store, tasks, run)
    posterior = read_posterior(run)
    batch = load_tasks(tasks)
    assert len(set(batch.node_mask.sum(1).tolist())) > 1
    p_all, y_all = [], []
    for b in range(5):
        n = int(batch.node_mask[b].sum())
        graphs, truth = posterior.graphs[b, :, :n, :n].numpy(), batch.adjacency[b, :n, :n].numpy()
        alone = EmpiricalGraphs(torch.from_numpy(graphs)[None], torch.ones(1, n, dtype=torch.bool))
        expected = posterior_metrics(
            graphs, graphs.mean(0), truth, float(alone.log_prob(torch.from_numpy(truth)[None]))
        )
        assert {name: values[b] for name, values in tree["per_task"].items()} == {
            name: value if value is None else pytest.approx(value, rel=1e-5)
            for name, value in expected.items()
        }
        off = ~np.eye(n, dtype=bool)
        p_all.append(graphs.mean(0)[off])
        y_all.append(truth[off])
    wanted_bins = reliability_bins(np.concatenate(p_all), np.concatenate(y_all))
    assert [entry["count"] for entry in tree["reliability"]] == [
        entry["count"] for entry in wanted_bins
    ]


def test_a_model_and_its_stored_posterior_get_the_same_scores(store, tasks, model):
    direct = metrics_of(make(store, EvaluateConfig(n_samples=30), {"of": model, "tasks": tasks}))
    run = make(store, DiscoverConfig(n_samples=10), {"of": model, "tasks": tasks})
    stored = scored(store, tasks, run, n_samples=30)
    assert (direct["kind"], stored["kind"]) == ("amortised", "discover")
    same = (
        "per_task",
        "summary",
        "reliability",
        "pooled",
        "conventions",
        "posterior_type",
        "tasks",
        "n_tasks",
    )
    assert all(direct[name] == stored[name] for name in same)
    # independent edges at even odds: some samples have cycles
    assert direct["per_task"]["acyclic_share"] != [1.0] * 5
    assert min(direct["seconds_per_task"]["per_task"]) > 0
    other = scored(store, tasks, run, n_samples=30, seed=1)
    assert other["per_task"]["e_shd"] != stored["per_task"]["e_shd"]  # other samples
    assert other["per_task"]["auroc"] == stored["per_task"]["auroc"]  # of the same marginals


def test_settings_reach_the_metrics(store, tasks):
    run = make(store, RandomConfig(n_samples=40), {"of": tasks})
    one, two = scored(store, tasks, run), scored(store, tasks, run, shd_reversal=2, ece_bins=4)
    assert two["summary"]["e_shd"]["mean"] > one["summary"]["e_shd"]["mean"]
    assert two["conventions"]["shd_reversal"] == "a reversed edge costs 2"
    assert "1 / 42" in one["conventions"]["graph_nll_epsilon"]
    assert (len(one["reliability"]), len(two["reliability"])) == (10, 4)


def test_a_perfect_posterior_beats_a_turned_one(tasks):
    """The scoring code itself: the truth as its own posterior, and the check that it rejects the
    truth turned around."""
    batch = load_tasks(tasks)
    truth = batch.adjacency
    perfect = score(EmpiricalGraphs(truth[:, None], batch.node_mask), truth, EvaluateConfig())[
        "summary"
    ]
    turned = score(EmpiricalGraphs(truth.mT[:, None], batch.node_mask), truth, EvaluateConfig())[
        "summary"
    ]
    assert perfect["e_shd"]["mean"] == perfect["e_sid"]["mean"] == perfect["ece"]["mean"] == 0
    assert perfect["auroc"]["mean"] == perfect["e_f1"]["mean"] == 1
    assert turned["e_shd"]["mean"] == pytest.approx(truth.sum().item() / 5)
    assert turned["auroc"]["mean"] < 0.5
    assert turned["e_sid"]["mean"] > 0


def test_no_truth_is_one_sentence(store):
    tasks = store.build(SET, {}, without_truth)
    run = make(store, EmptyConfig(), {"of": tasks})
    with pytest.raises(ConfigError, match="have no true graph to compare with"):
        make(store, EvaluateConfig(), {"of": tasks, "posterior": run})


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        pytest.param({"of": "model"}, "given with no tasks", id="model alone"),
        pytest.param(
            {"of": "model", "posterior": "run"}, "given with a posterior", id="model with posterior"
        ),
        pytest.param(
            {"of": "model", "tasks": "model"}, "tasks of kind 'amortised'", id="model with model"
        ),
        pytest.param({"of": "tasks"}, "given with no posterior", id="tasks alone"),
        pytest.param(
            {"of": "tasks", "tasks": "tasks", "posterior": "run"},
            "given with further tasks",
            id="tasks with tasks",
        ),
        pytest.param(
            {"of": "tasks", "posterior": "evaluation"},
            "holds no posterior",
            id="a run without posterior",
        ),
        pytest.param(
            {"of": "others", "posterior": "run"},
            "was computed on .* and not on",
            id="a run on other tasks",
        ),
    ],
)
def test_wrong_combinations_are_one_sentence(store, tasks, model, roles, message):
    run = make(store, SortnregressConfig(n_samples=2), {"of": tasks})
    known = {"model": model, "tasks": tasks, "run": run}
    known["evaluation"] = make(store, EvaluateConfig(), {"of": tasks, "posterior": run})
    known["others"] = make(store, TasksConfig(data=FAMILY, n_tasks=5, seed=4))
    with pytest.raises(ConfigError, match=message) as caught:
        make(store, EvaluateConfig(), {role: known[name] for role, name in roles.items()})
    assert "\n" not in str(caught.value)
