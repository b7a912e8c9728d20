"""A distance is computed once per pair of families, whichever is named first, and read back as it
the caller named."""

import dataclasses
import json

import numpy as np
import pytest

from causal_meta.conf.convert import from_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.task_sets import PortraitConfig, TasksConfig
from causal_meta.datasets.distances import GAPS, compare_families
from causal_meta.monitoring.worlds import draw_distance
from causal_meta.runners.build import make
from causal_meta.runners.tasks.distances import distance_config, load_distance
from causal_meta.runners.tasks.portraits import load_portrait
from causal_meta.store import Store

ONE = from_plain(FamilyConfig, {"preset": "linear_er", "n_nodes": 5})
TWO = from_plain(
    FamilyConfig,
    {"preset": "linear_er", "n_nodes": 5, "graph": {"kind": "erdos_renyi", "edges_per_node": 0}},
)
SIZE = {"n_tasks": 20, "n_rows": 30}

pytestmark = pytest.mark.usefixtures("few_trees")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("distances"), patience=0)


def test_a_pair_has_one_artifact_whatever_its_order(store):
    (config, swapped), (again, other) = (
        distance_config(ONE, TWO, **SIZE),
        distance_config(TWO, ONE, **SIZE),
    )
    assert swapped != other
    assert store.key(config).id == store.key(again).id
    assert store.key(distance_config(ONE, ONE, **SIZE)[0]).id != store.key(config).id
    assert store.key(distance_config(ONE, TWO, n_tasks=21)[0]).id != store.key(config).id
    artifact = make(store, config)
    assert make(store, again).meta["created_at"] == artifact.meta["created_at"]
    direct, exchanged = (
        load_distance(artifact, swapped=swapped),
        load_distance(artifact, swapped=other),
    )
    assert direct.families == exchanged.families[::-1]
    assert (
        direct.families[0]["edges_per_node"]["mean"]
        > 0
        == direct.families[1]["edges_per_node"]["mean"]
    )
    assert direct.distances["edges_per_node_gap"]["value"] < 0
    for name, entry in direct.distances.items():
        sign = -1 if name in GAPS else 1
        value, mirrored = entry["value"], exchanged.distances[name]["value"]
        assert mirrored is None if value is None else value == sign * mirrored
    assert np.array_equal(direct.arrays["first_spectra"], exchanged.arrays["second_spectra"])
    assert set(direct.arrays) == set(exchanged.arrays)


def test_what_is_stored_is_what_was_computed(store):
    config, _ = distance_config(ONE, TWO, **SIZE)
    artifact = make(store, config)
    comparison = compare_families(config.first, config.second, seed=config.seed, **SIZE)
    stored = json.loads((artifact.folder / "distances.json").read_text())
    for name, entry in comparison.distances.items():
        assert stored["distances"][name]["value"] == (
            pytest.approx(entry["value"]) if np.isfinite(entry["value"]) else None
        )
    assert stored["distances"]["nonlinearity_gap"]["value"] is None, (
        "one of the two families has no edges"
    )
    assert not [problem for problem in store.verify(artifact.id) if problem]


def test_a_picture_is_drawn_with_any_names(store, tmp_path):
    artifact = make(store, distance_config(ONE, TWO, **SIZE)[0])
    answer, picture = load_distance(artifact), tmp_path / "a.png"
    for names in (("one", "two"), ("same", "same")):
        draw_distance(answer.distances, answer.arrays, names, picture)
        assert picture.read_bytes()[:4] == b"\x89PNG"
        assert picture.stat().st_size > 10_000


def test_other_artifacts_are_refused(store):
    tasks = make(store, TasksConfig(data=ONE, n_tasks=2))
    with pytest.raises(ValueError, match="give a distance"):
        load_distance(tasks)
    with pytest.raises(ValueError, match="give a portrait"):
        load_portrait(tasks)


def test_a_portrait_holds_numbers_and_pictures(store):
    artifact = make(store, PortraitConfig(data=dataclasses.replace(TWO), n_tasks=9))
    portrait = load_portrait(artifact)
    assert portrait["n_edges"] == {"mean": 0.0, "se": 0.0, "n": 9}
    assert portrait["varsortability"]["mean"] is None, "no edges, no sortability"
    assert {path.name for path in (artifact.folder / "figures").iterdir()} >= {
        "degrees.png",
        "adjacency.png",
        "marginals.png",
        "pairs.png",
    }
    assert artifact.meta["metrics"]["n_edges"] == 0.0
