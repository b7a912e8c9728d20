"""An id follows from what decides the content, and from nothing else."""

import dataclasses
import hashlib
import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from causal_meta.conf import registry
from causal_meta.conf.convert import to_plain
from causal_meta.conf.data import FamilyConfig, TableConfig
from causal_meta.conf.evaluation import EvaluateConfig
from causal_meta.conf.inference import EmptyConfig, RandomConfig
from causal_meta.conf.models import AviciConfig
from causal_meta.conf.noise_laws import GaussianNoise, LaplaceNoise
from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.conf.setting import Config, setting
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.conf.training import TrainerConfig
from causal_meta.store import StoreError, check_name
from causal_meta.store.key import (
    RUN_ID,
    TARGET_ID,
    canonical,
    identity,
    identity_part,
    is_id,
    is_id_start,
    key_of,
)

# on a busy machine too
STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
OF = {"of": "tgt_0123456789ab"}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_golden_ids():
    """These constants never change: an id that drifts makes every store forget what it holds."""
    tree = {
        "kind": "tasks",
        "seed": 3,
        "data": {"kind": "gaussian", "x": 0.1, "y": [1, 2.0, None, True, "é"]},
    }
    assert identity("tasks", 1, tree, {}, is_target=True).id == "tgt_bd2d0fe08977"
    assert (
        identity(
            "boss",
            2,
            tree,
            {"of": "tgt_0123456789ab", "posterior": "run_pc_00000000"},
            is_target=False,
        ).id
        == "run_boss_b9d78926"
    )
    assert key_of(EmptyConfig(seed=5), OF).id == "run_empty_1db62d23"


def test_golden_ids_of_the_defaults():
    """A default that changes makes new ids for everybody: if that is meant, put the new ids here
    and say so in the changelog."""
    assert key_of(TasksConfig(), {}).id == "tgt_68fbec552a95"
    assert key_of(ExperimentConfig(), {}).id == "tgt_a292acca7503"


def test_a_field_added_later_changes_no_id_until_it_is_used(monkeypatch):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Before(Config):
        kind = "grown"
        size: int = setting(3)

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class After(Before):
        shape: str = setting("round", added=True)
        parts: dict[str, int] = setting({}, added=True)

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Careless(Before):
        shape: str = setting("round")

    before = to_plain(Before(), identity_only=True)
    assert to_plain(After(), identity_only=True) == before
    assert to_plain(After(shape="square"), identity_only=True) == before | {"shape": "square"}
    assert to_plain(After(parts={"a": 1}), identity_only=True) == before | {"parts": {"a": 1}}
    assert to_plain(After())["shape"] == "round"  # it is recorded all the same
    monkeypatch.setattr("causal_meta.store.key.by_tag", lambda: {"grown": After})
    for config in (After(), After(shape="square"), After(parts={"a": 1})):
        assert identity_part(to_plain(config)) == to_plain(config, identity_only=True)
    assert to_plain(Careless(), identity_only=True) != before


def test_the_id_is_the_hash_of_the_canonical_tuple():
    """Computed again without the code of the store."""
    config = RandomConfig(seed=7, edges_per_node=1.5)
    tree = {"kind": "random", "seed": 7, "n_samples": 100, "edges_per_node": 1.5}
    text = json.dumps(
        {"format": 1, "kind": "random", "revision": 1, "config": tree, "inputs": OF},
        sort_keys=True,
        separators=(",", ":"),
    )
    assert key_of(config, OF).id == "run_random_" + hashlib.sha1(text.encode()).hexdigest()[:8]
    target = {
        "format": 1,
        "kind": "tasks",
        "revision": 1,
        "config": to_plain(TasksConfig(), identity_only=True),
        "inputs": {},
    }
    text = json.dumps(target, sort_keys=True, separators=(",", ":"))
    assert key_of(TasksConfig(), {}).id == "tgt_" + hashlib.sha256(text.encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    "other",
    [
        TasksConfig(seed=1),
        TasksConfig(n_tasks=24),
        TasksConfig(data=FamilyConfig(noise=LaplaceNoise())),
        TasksConfig(data=TableConfig(sha256="0" * 64)),
    ],
    ids=["seed", "count", "kind tag of a part without fields", "another class"],
)
def test_another_value_is_another_id(other):
    # the two noises have equal (no) fields, only their tags differ
    assert GaussianNoise() == TasksConfig().data.noise
    assert key_of(other, {}).id != key_of(TasksConfig(), {}).id


@pytest.mark.parametrize(
    "other",
    [
        ExperimentConfig(name="other"),
        ExperimentConfig(trainer=TrainerConfig(device="cuda", threads=7, log_every_n_steps=3)),
        ExperimentConfig(model=AviciConfig(checkpoint_blocks=True)),
    ],
    ids=["name", "nested", "in a polymorphic part"],
)
def test_a_field_outside_the_identity_leaves_the_id(other):
    assert to_plain(other) != to_plain(ExperimentConfig())
    assert key_of(other, {}).id == key_of(ExperimentConfig(), {}).id


def test_defaults_are_part_of_the_identity():
    tree = key_of(EmptyConfig(), OF).tree["config"]
    assert tree == {"kind": "empty", "seed": 0, "n_samples": 1}


def test_a_changed_default_changes_the_id(monkeypatch):
    """The value counts, not whether it was written."""
    before = key_of(EmptyConfig(), OF).id
    changed = dataclasses.make_dataclass(
        "Changed", [("n_samples", int, setting(2))], bases=(EmptyConfig,), frozen=True, kw_only=True
    )
    assert key_of(changed(), OF).id != before
    assert key_of(changed(n_samples=1), OF).id == before


def test_the_revision_and_every_input_count(monkeypatch):
    before = key_of(EvaluateConfig(), OF).id
    assert key_of(EvaluateConfig(), {"of": "tgt_0123456789ac"}).id != before
    assert (
        key_of(EvaluateConfig(), OF | {"tasks": "tgt_ffffffffffff"}).id
        != key_of(EvaluateConfig(), OF | {"posterior": "tgt_ffffffffffff"}).id
    )
    monkeypatch.setattr(EvaluateConfig, "revision", EvaluateConfig.revision + 1)
    assert key_of(EvaluateConfig(), OF).id != before


@STEADY
@given(TREES)
def test_canonical_json_reads_back_and_is_ascii(tree):
    text = canonical(tree)
    assert text.isascii()
    assert json.loads(text) == tree


@STEADY
@given(st.dictionaries(st.text(), TREES, min_size=2, max_size=5), st.randoms())
def test_canonical_json_does_not_see_the_order_of_keys(tree, random):
    items = list(tree.items())
    random.shuffle(items)
    assert canonical(dict(items)) == canonical(tree)


@STEADY
@given(TREES, TREES)
def test_different_trees_have_different_canonical_json(a, b):
    """Equal in Python but of another type (1, 1.0, True) is different too."""
    assert (canonical(a) == canonical(b)) == (repr_tree(a) == repr_tree(b))


def repr_tree(tree):
    if isinstance(tree, dict):
        return "dict", sorted((key, repr_tree(value)) for key, value in tree.items())
    if isinstance(tree, list):
        return "list", [repr_tree(value) for value in tree]
    return (type(tree).__name__, repr(tree + 0.0 if isinstance(tree, float) else tree))


def test_minus_zero_is_zero():
    assert canonical([-0.0]) == canonical([0.0]) == "[0.0]"


@pytest.mark.parametrize(
    "wrong", [math.nan, math.inf, {1: 2}, {"a": {2, 3}}, b"bytes", object()], ids=repr
)
def test_canonical_json_refuses_what_has_no_canonical_form(wrong):
    with pytest.raises((TypeError, ValueError), match="identity"):
        canonical({"a": wrong})


@pytest.mark.parametrize(
    "config",
    [
        ExperimentConfig(name="x", trainer=TrainerConfig(device="cpu")),
        TasksConfig(name="y"),
        EvaluateConfig(),
    ],
)
def test_the_identity_part_of_a_stored_tree_is_the_identity_tree(config):
    assert identity_part(to_plain(config)) == to_plain(config, identity_only=True)


def test_the_identity_part_keeps_keys_that_should_not_be_there():
    assert identity_part({"kind": "empty", "seed": 0, "evil": 1}) == {
        "kind": "empty",
        "seed": 0,
        "evil": 1,
    }
    assert identity_part([{"kind": "tasks", "name": "gone", "x": {"kind": "unheard"}}]) == [
        {"kind": "tasks", "x": {"kind": "unheard"}}
    ]


def test_ids_have_their_shape():
    assert TARGET_ID.fullmatch(key_of(TasksConfig(), {}).id)
    assert RUN_ID.fullmatch(key_of(EmptyConfig(), OF).id)
    for wrong in (
        "tgt_0123456789AB",
        "tgt_0123456789ab\n",
        "../tgt_0123456789ab",
        "run_a_b_00000000",
        "tgt_",
        "",
        "run_empty_0000000",
    ):
        assert not is_id(wrong)
    assert is_id_start("tgt_0")
    assert not is_id_start("tgt_0/..")


@pytest.mark.parametrize("name", ["first", "A", "a-b_C9"])
def test_names_that_may_be(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["2024_01", "../x", "", "a b", "a/b", "é", "first\n", ".x", "_a", "tgt_x", "run_1", None, 7],
)
def test_names_that_may_not_be(name):
    with pytest.raises(StoreError, match="cannot be a name") as caught:
        check_name(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tag", registry.tags(Config))
def test_every_kind_tag_fits_into_an_id(tag):
    if hasattr(registry.by_tag()[tag], "revision"):
        assert RUN_ID.fullmatch(f"run_{tag}_00000000")
