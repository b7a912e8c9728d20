"""Knowledge in words: resolved by the names of a table, and refused in one sentence."""

import numpy as np
import pytest

from causal_meta.conf.compose import compose
from causal_meta.conf.knowledge import KnowledgeConfig
from causal_meta.conf.setting import ConfigError

COLUMNS = ("age", "bmi", "a->b")


def test_edges_and_tiers_are_resolved_by_name():
    known = KnowledgeConfig(
        forbid=("bmi -> age", "* → bmi"), require=("a->b -> age",), max_parents=2
    ).resolved(COLUMNS)
    expected = np.eye(3, dtype=bool)
    expected[:, 1] = True
    expected[1, 0] = True
    assert (known.forbidden == expected).all()
    assert known.required.sum() == 1
    assert known.required[2, 0]
    assert known.max_parents == 2
    tiers = KnowledgeConfig(tiers=("bmi", "*")).resolved(COLUMNS)
    assert (tiers.forbidden & ~np.eye(3, dtype=bool)).tolist() == [
        [False, True, False],
        [False, False, False],
        [False, True, False],
    ]
    assert KnowledgeConfig().resolved(COLUMNS).is_empty


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"forbid": ("age bmi",)}, "is no edge; write 'cause -> effect'"),
        ({"forbid": ("age -> bmx",)}, "names 'bmx', which is no variable.*did you mean 'bmi'"),
        ({"require": ("age -> *",)}, "names every variable at once"),
        ({"require": ("age -> age",)}, "joins a variable to itself"),
        ({"require": ("age -> bmi", "bmi -> age")}, "form a cycle"),
        ({"require": ("age -> bmi",), "forbid": ("age -> *",)}, "both required and forbidden"),
        ({"tiers": ("age, *", "*")}, r"hold \* more than once"),
        ({"tiers": ("age", "bmi, age")}, "age stands in two tiers"),
        ({"tiers": ("bmi", "age"), "require": ("age -> bmi",)}, "both required and forbidden"),
    ],
)
def test_knowledge_that_cannot_be_used_is_refused_in_one_sentence(settings, message):
    with pytest.raises(ConfigError, match=message):
        KnowledgeConfig(**settings).resolved(COLUMNS)


def test_it_is_a_setting_of_every_method_and_changes_no_earlier_id():
    from causal_meta.store.key import key_of

    plain, known = (
        compose("boss"),
        compose("boss", ["knowledge.forbid=['X1 -> X2']"]),
    )
    assert known.knowledge.forbid == ("X1 -> X2",)
    assert "knowledge" not in key_of(plain, {"of": "tgt_0"}).tree["config"]
    assert key_of(plain, {"of": "tgt_0"}).id != key_of(known, {"of": "tgt_0"}).id
