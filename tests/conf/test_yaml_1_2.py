"""YAML as version 1.2 reads it, and what it refuses."""

import pytest

from causal_meta.conf import yaml_1_2
from causal_meta.conf.setting import ConfigError


def test_a_key_given_twice_is_a_mistake():
    """The second one would silently replace the first."""
    with pytest.raises(ConfigError, match="line 2 is not valid YAML: the key 'a' occurs twice"):
        yaml_1_2.load("a: 1\na: 2\n")
    with pytest.raises(ConfigError, match="occurs twice"):
        yaml_1_2.load("b: {a: 1, c: 2, a: 3}")
    assert yaml_1_2.load("a: {b: 1}\nc: {b: 2}") == {"a": {"b": 1}, "c": {"b": 2}}
    assert yaml_1_2.load("base: &x {a: 1}\ncopy: *x\n") == {"base": {"a": 1}, "copy": {"a": 1}}


def test_words_and_numbers_of_version_1_2():
    assert yaml_1_2.load("on: 1e-4") == {"on": 1e-4}
    assert yaml_1_2.load(yaml_1_2.dump({"on": "1e3", "x": 0.1})) == {"on": "1e3", "x": 0.1}
