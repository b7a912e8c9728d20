"""Golden outcomes of a seeded build of every kind: if one of these changes, raise `revision` of its
kind in `conf/artifacts.py`.

Compared with tolerance, so that another processor passes and another law does not. The baselines
have golden tests beside their laws, networks, samplers and searches of settings in
`tests/llc`, apart from what forks.
"""

import json

import numpy as np
import pytest
import torch

from causal_meta.conf import registry
from causal_meta.conf.artifacts import ArtifactConfig
from causal_meta.conf.compose import compose
from causal_meta.conf.inference import MethodConfig
from causal_meta.conf.networks import NetworkConfig
from causal_meta.conf.samplers import SamplerConfig
from causal_meta.conf.tuning import TuneConfig
from causal_meta.runners.build import make
from causal_meta.runners.training.pre_training import load_weights
from causal_meta.store import Store

REVISIONS = {"amortised": 1, "tasks": 1, "evaluate": 2, "discover": 1, "portrait": 1, "distance": 1}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("golden"), patience=0)
    quiet = {"progress": "off"}
    tasks = make(
        store,
        compose("tasks", ["data=wide", "data.n_nodes=4", "data.n_rows=30", "n_tasks=3", "seed=7"]),
    )
    words = [
        "data.train=wide",
        "data.train.n_nodes=4",
        "data.train.n_rows=20",
        "data.tasks_per_step=4",
        "model.dim=8",
        "model.n_pairs=1",
    ]
    words += [
        "model.n_heads=2",
        "model.key_size=4",
        "trainer.max_steps=5",
        "trainer.optimizer=adamw",
        "seed=7",
    ]
    model = make(store, compose("amortised", words), options=quiet)
    answer = make(
        store, compose("discover", ["n_samples=50", "seed=7"]), {"of": model, "tasks": tasks}
    )
    scores = make(store, compose("evaluate", ["seed=7"]), {"of": model, "tasks": tasks})
    portrait = make(
        store,
        compose(
            "portrait", ["data=wide", "data.n_nodes=4", "data.n_rows=30", "n_tasks=10", "seed=7"]
        ),
    )
    pair = [
        "first=wide",
        "first.n_nodes=4",
        "second=linear_er",
        "second.n_nodes=5",
        "n_tasks=20",
        "n_rows=40",
        "seed=7",
    ]
    distance = make(store, compose("distance", pair))
    return {
        "tasks": tasks,
        "amortised": model,
        "discover": answer,
        "evaluate": scores,
        "portrait": portrait,
        "distance": distance,
    }


def numbers(built) -> dict[str, list[float]]:
    with np.load(built["tasks"].folder / "data.npz") as arrays:
        tasks = [
            float(arrays["adjacency"].sum()),
            *arrays["x"][0, 0].tolist(),
            float(np.abs(arrays["x"]).mean()),
        ]
    weights = torch.cat(
        [p.detach().flatten() for p in load_weights(built["amortised"]).parameters()]
    )
    with np.load(built["discover"].folder / "posterior.npz") as arrays:
        discover = [float(arrays["graphs"].mean())]
    metrics = json.loads((built["evaluate"].folder / "metrics.json").read_text())["summary"]
    portrait = json.loads((built["portrait"].folder / "summary.json").read_text())
    distances = json.loads((built["distance"].folder / "distances.json").read_text())["distances"]
    return {
        "portrait": [
            portrait[name]["mean"] for name in ("n_edges", "varsortability", "r2_sortability")
        ]
        + [portrait["std"]["50%"]],
        "distance": [
            entry["value"] for name, entry in distances.items() if name != "classifier_auroc"
        ],
        "tasks": tasks,
        "amortised": [float(weights.abs().sum()), float(weights.sum())],
        "discover": discover,
        "evaluate": [metrics[name]["mean"] for name in ("auroc", "graph_nll", "brier")],
    }


GOLDEN: dict[str, list[float]] = {
    "tasks": [14.0, 0.319047, 0.423578, 1.511913, 1.392564, 0.590488],
    "amortised": [690.152588, 85.711754],
    "discover": [0.030833],
    "evaluate": [0.614374, 15.766595, 0.355157],
    "portrait": [3.7, 0.616667, 0.469444, 0.857636],
    "distance": [
        0.233248,
        0.571436,
        0.557955,
        5.611338,
        0.012695,
        0.258939,
        -0.036702,
        -0.221555,
        0.187659,
        -0.08254,
        0.9125,
    ],
}


@pytest.mark.parametrize("kind", list(REVISIONS))
def test_a_seeded_build_has_its_golden_outcome(built, kind):
    assert registry.config_class(kind).revision == REVISIONS[kind]
    assert numbers(built)[kind] == pytest.approx(GOLDEN[kind], rel=1e-3, abs=1e-4)


def test_every_kind_has_a_golden_build():
    elsewhere = (MethodConfig, NetworkConfig, SamplerConfig, TuneConfig)
    kinds = {
        cls.kind
        for cls in registry.by_tag().values()
        if issubclass(cls, ArtifactConfig) and not issubclass(cls, elsewhere)
    }
    assert kinds == set(REVISIONS)
