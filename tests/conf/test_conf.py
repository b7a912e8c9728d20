"""Configuration: every object is valid, every definition is used everywhere, and an error is one
sentence."""

import dataclasses
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causal_meta.conf import registry, yaml_1_2
from causal_meta.conf.compose import compose, groups, load_experiment
from causal_meta.conf.convert import difference, from_plain, presets, to_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.graph_laws import ErdosRenyi, GraphConfig
from causal_meta.conf.inference import BOSSConfig, SortnregressConfig
from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.conf.ranges import IntRange
from causal_meta.conf.setting import Config, ConfigError
from causal_meta.conf.task_sets import TasksConfig


def complete_classes() -> Iterator[type[Config]]:
    for cls in registry.by_tag().values():
        if all(
            f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING
            for f in dataclasses.fields(cls)
        ):
            yield cls


def all_presets() -> list[tuple[str, type[Config], dict]]:
    return [(name, Config, tree) for name, tree in presets(Config).items()]


@pytest.mark.parametrize("cls", list(complete_classes()), ids=lambda cls: cls.kind)
def test_plain_tree_round_trip(cls):
    assert from_plain(cls, to_plain(cls())) == cls()


def test_every_preset_is_valid_and_survives_yaml(every):
    every(check_preset, {name: (base, tree) for name, base, tree in all_presets()})


def check_preset(preset):
    base, tree = preset
    config = from_plain(base, tree)
    assert from_plain(base, yaml_1_2.load(yaml_1_2.dump(to_plain(config)))) == config


def test_tags_are_unique_and_implementations_are_declared():
    assert len({cls.kind for cls in registry._MEMBERS}) == len(registry._MEMBERS)


def test_every_tag_resolves_to_code():
    """Those of `llc` import JAX, which does not meet forks: `tests/llc/test_registry.py`."""
    for cls, place in registry._MEMBERS.items():
        if place and not place.startswith("causal_meta.llc."):
            assert callable(registry.implementation(cls)), cls.kind
    assert "jax" not in sys.modules


def test_a_tag_outside_the_registry_is_never_imported():
    with pytest.raises(ConfigError, match="os:system"):
        from_plain(Config, {"kind": "os:system"})


def test_configurations_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ErdosRenyi().edges_per_node = 3.0


def test_identity_leaves_out_what_cannot_change_the_result():
    plain = to_plain(ExperimentConfig(name="a"), identity_only=True)
    assert "name" not in plain
    assert "device" not in plain["trainer"]
    assert "inference" not in plain
    assert plain["trainer"]["precision"] == "fp32"


def test_a_mixture_is_the_same_in_any_order():
    parts = {"a": {"graph": {"kind": "erdos_renyi"}}, "b": {"graph": {"kind": "scale_free"}}}
    one = from_plain(GraphConfig, {"kind": "graph_mixture", "parts": parts})
    two = from_plain(GraphConfig, {"kind": "graph_mixture", "parts": dict(reversed(parts.items()))})
    assert to_plain(one) == to_plain(two)
    assert list(one.parts) == list(two.parts)


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"n_nodes": 1}, "at least 2 nodes"),
        ({"n_nodes": {"low": 9, "high": 3}}, "below low=9"),
        ({"n_rows": "many"}, "whole number"),
        ({"graph": {"kind": "erdos_renyi", "edges_per_node": -1}}, "at least 0"),
        ({"graph": {"kind": "erdos_renyi", "edges_per_node": float("nan")}}, "at least 0"),
        ({"graph": {"kind": "erdos_reny"}}, "did you mean 'erdos_renyi'"),
        ({"graph": {"kind": "gaussian"}}, "There is no graph called 'gaussian'"),
        ({"mechanisms": {}}, "at least one mechanism"),
        ({"noyse": {}}, "did you mean 'noise'"),
        ({"mechanism_mixing": "row"}, "'node', 'task'"),
        ({"n_nodes": True}, "whole number"),
        ({"n_nodes": 2.5}, "whole number"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(tree, says):
    with pytest.raises(ConfigError) as caught:
        from_plain(FamilyConfig, tree)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "words", "says"),
    [
        ("amortised", ["trainer.max_stepz=3"], "did you mean 'trainer.max_steps'"),
        ("amortised", ["trainer.max_steps=0"], "at least 1"),
        ("amortised", ["model=avicii"], "did you mean 'avici'"),
        ("amortised", ["model.dim=wide"], "give a value of type int"),
        ("amortised", ["trainer.precision=fp16"], "'fp32', 'bf16'"),
        ("amortised", ["oops"], "key=value"),
        ("tasks", ["data=wid"], "did you mean 'wide'"),
        ("tasks", ["data.graph.edges_per_node=${oc.env:HOME}"], "interpolations are not allowed"),
        ("boss", ["n_samples=0"], "at least 1"),
        ("bos", [], "did you mean 'boss'"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest(kind, words, says):
    with pytest.raises(ConfigError) as caught:
        compose(kind, words)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hydra_words_override_any_key_below_a_chosen_preset():
    config = compose(
        "amortised",
        [
            "data=wide_stream",
            "data.train.n_nodes=5",
            "data.test.held_in_d5.n_tasks=3",
            "trainer.optimizer=adamw",
            "seed=7",
        ],
    )
    assert isinstance(config, ExperimentConfig)
    assert config.data.train.n_nodes == IntRange(low=5, high=5)
    assert config.data.test["held_in_d5"].n_tasks == 3
    assert config.trainer.optimizer.kind == "adamw"
    assert config.seed == 7


def test_command_line_and_yaml_give_the_same_object():
    from_words = compose("tasks", ["data=wide", "data.n_rows=100"])
    assert from_words == from_plain(
        TasksConfig, {"kind": "tasks", "data": {"preset": "wide", "n_rows": 100}}
    )


def test_groups_know_every_polymorphic_field():
    assert {
        "model",
        "data",
        "data.train",
        "data.train.graph",
        "data.train.noise",
        "trainer.optimizer",
    } <= set(groups("amortised"))


@given(seed=st.integers(0, 2**63 - 1), penalty=st.floats(1e-6, 1e6), n=st.integers(1, 10_000))
@settings(max_examples=50, deadline=None)
def test_values_survive_the_tree_and_yaml_exactly(seed, penalty, n):
    config = BOSSConfig(seed=seed, penalty=penalty, n_samples=n)
    assert from_plain(BOSSConfig, yaml_1_2.load(yaml_1_2.dump(to_plain(config)))) == config


def test_difference_names_the_leaves():
    a, b = to_plain(SortnregressConfig()), to_plain(SortnregressConfig(order="random"))
    assert difference(a, b) == ["order: 'r2' -> 'random'"]
    assert difference(a, a) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("1e-4", 1e-4),
        ("true", True),
        ("012", 12),
        ("0x1f", "0x1f"),
        (".inf", float("inf")),
        ("~", None),
    ],
)
def test_yaml_1_2_scalars(text, value):
    assert yaml_1_2.load(f"key: {text}")["key"] == value


def test_yaml_can_make_no_object_and_names_the_line():
    with pytest.raises(ConfigError, match="line 2"):
        yaml_1_2.load("a: 1\nb: !!python/object/apply:os.getcwd []\n")


def test_an_experiment_file_says_its_kind(tmp_path):
    (tmp_path / "x.yaml").write_text("seed: 1\n")
    with pytest.raises(ConfigError, match="names no kind"):
        load_experiment(tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match="not a file"):
        load_experiment(tmp_path)


def test_a_law_inside_a_family_is_chosen_by_its_name_and_then_set():
    words = [
        "data=linear_er",
        "data.graph=scale_free",
        "data.graph.power=2",
        "data.noise=student_t",
        "data.noise.df=4",
    ]
    family = compose(
        "tasks",
        [
            *words,
            "data.mechanisms.linear.mechanism=rff",
            "data.interventions=interventions",
            "data.interventions.row_share=0.5",
        ],
    ).data
    assert (family.graph.kind, family.graph.power) == ("scale_free", 2.0)
    assert (family.noise.kind, family.noise.df) == ("student_t", 4.0)
    assert family.mechanisms["linear"].mechanism.kind == "rff"
    assert family.interventions.row_share == 0.5
    with pytest.raises(
        ConfigError, match="There is no graph called 'scale_fee'; did you mean 'scale_free'"
    ):
        compose("tasks", ["data.graph=scale_fee"])
    with pytest.raises(ConfigError, match=r"'data\.graph\.radius'"):
        compose("tasks", ["data.graph=scale_free", "data.graph.radius=0.3"])
