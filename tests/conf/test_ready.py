"""Ready families: the collections are read as written, every name resolves, and only the file that
is needed is read.

What the families draw is tested in `tests/datasets/test_ready_families.py`.
"""

import re
import subprocess
import sys
from collections import Counter

import pytest

from causal_meta.conf import ready
from causal_meta.conf.compose import compose
from causal_meta.conf.convert import from_plain, presets, to_plain
from causal_meta.conf.data import DataModuleConfig, FamilyConfig
from causal_meta.conf.setting import ConfigError

FAMILIES = list(ready.ready_families())

# name -> members of the published matrix of 137 families; the last is a real table
BENCHMARK = {
    "id": 18,
    "ood_graph": 9,
    "ood_mech": 24 + 4,
    "ood_noise": 4,
    "ood_both": 12 + 3,
    "ood_nodes": 16,
    "ood_samples": 18,
    "ood_mixed": 4,
    "ctrl_mixed": 1,
    "ctrl_density": 6,
    "ood_noise_mech": 4,
    "stress": 13,
}


def test_the_matrix_is_complete():
    groups = Counter(family.group for family in ready.collection("benchmark").values())
    del groups["training"]
    assert groups == BENCHMARK
    assert sum(BENCHMARK.values()) == 136
    assert all(
        re.fullmatch(rf"{family.group}_.*_d\d\d_n\d+", name)
        for name, family in ready.collection("benchmark").items()
        if family.group != "training"
    )


def test_names_are_unique_and_name_the_seeds():
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) for name in names)
    assert all(family.tree["seed_name"] == family.name for family in FAMILIES)
    assert all(family.about for family in FAMILIES)


def test_every_name_resolves(every):
    every(check_name, {family.name: family for family in FAMILIES})


def check_name(family):
    config = from_plain(FamilyConfig, family.name)
    assert config == from_plain(FamilyConfig, family.tree)
    assert from_plain(FamilyConfig, to_plain(config)) == config
    size = re.search(r"_d(\d+)", family.name)
    assert size is None or config.n_nodes.low == config.n_nodes.high == int(size[1])
    rows = re.search(r"_n(\d+)$", family.name)
    assert rows is None or config.n_rows.low == config.n_rows.high == int(rows[1])


def test_on_the_command_line_and_in_files():
    config = compose("tasks", ["data=bcnp_gp_er40", "data.n_rows=50", "n_tasks=3"])
    assert config.data.graph.n_edges.low == 40
    assert config.data.n_rows.high == 50
    config = compose("tasks", base={"data": {"preset": "bcnp_gp_er40", "n_nodes": 30}})
    assert config.data.n_nodes.high == 30
    assert config.data.internal_standardising == "inputs"
    network = {"kind": "network_subgraph", "edges": ["a -> b", "b -> c", "b -> d"], "top": 0.2}
    config = compose(
        "tasks", base={"data": {"preset": "avici_ood_grn_d30_obs", "n_nodes": 3, "graph": network}}
    )
    assert config.data.graph.top == 0.2
    assert (
        compose(
            "amortised", ["data.train=avici_train_linear"]
        ).data.train.interventions.observational_share
        == 0.5
    )
    with pytest.raises(ConfigError, match="did you mean 'bcnp_gp_er40'"):
        compose("tasks", ["data=bcnp_gp_er41"])


@pytest.mark.parametrize("name", ["benchmark_stream", "avici_stream"])
def test_streams_name_their_families(name):
    config = from_plain(DataModuleConfig, name)
    assert all(
        task_set.family.seed_name in {family.name for family in FAMILIES}
        for task_set in config.test.values()
    )


def test_a_name_reads_only_its_own_collection():
    """In a new process: another preset reads none, a name reads one file; nothing loads torch."""
    code = (
        "import sys\n"
        "from causal_meta.conf import ready\n"
        "from causal_meta.conf.compose import compose\n"
        "read = lambda: ready.collection.cache_info().currsize\n"
        "compose('tasks', ['data=wide']); assert read() == 0\n"
        "compose('tasks', ['data=id_linear_er20_d20_n500']); assert read() == 1\n"
        "compose('tasks', ['data=dibs_bge_er_d20']); assert read() == 2\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_choices_are_a_mapping():
    choices = presets(FamilyConfig)
    names = list(choices)
    assert len(choices) == len(names) == len(set(names))
    assert {"family", "wide", "linear_er", "dibs_bge_er_d20"} <= set(names)
    assert choices["dibs_bge_er_d20"]["mechanisms"]["bge"]["mechanism"]["kind"] == "bge"
    assert "erdos_renyi" not in choices


class TestGrammar:
    def test_axes_that_go_together(self):
        tree = {
            "{a}_{b}_{c}": {
                "over": {"a,b": [["x", 1], ["y", 2]], "c": [True, False]},
                "value": "$b",
                "text": "{a} of {c}",
                "whole": ["$c"],
            }
        }
        trees = ready.expand(tree)
        assert list(trees) == ["x_1_True", "x_1_False", "y_2_True", "y_2_False"]
        assert trees["y_2_False"] == {"value": 2, "text": "y of False", "whole": [False]}

    def test_pieces_go_under_the_family(self):
        tree = {
            "pieces": {
                "small": {"n_nodes": 5, "n_rows": 10, "about": "small"},
                "er": {"graph": {"kind": "erdos_renyi", "edges_per_node": 3.0}},
            },
            "families": {
                "a": {"use": ["small", "er"], "n_rows": 20, "column_std": [0, 1], "about": "own"}
            },
        }
        (family,) = ready.read_collection("made_up", tree)
        assert family.tree == {
            "kind": "family",
            "seed_name": "a",
            "n_nodes": 5,
            "n_rows": 20,
            "graph": {"kind": "erdos_renyi", "edges_per_node": 3.0},
        }
        assert family.about == "small; own"
        assert family.group == "made_up"

    def test_mistakes(self):
        with pytest.raises(ConfigError, match="uses the piece 'gone'"):
            ready.read_collection(
                "made_up", {"families": {"a": {"use": ["gone"], "column_std": [0, 1]}}}
            )
        with pytest.raises(ConfigError, match="column_std"):
            ready.read_collection("made_up", {"families": {"a": {"n_nodes": 3}}})
        with pytest.raises(ConfigError, match="'a1' comes from two entries"):
            ready.expand({"a{i}": {"over": {"i": [1]}}, "a1": {}})
