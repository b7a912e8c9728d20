"""Ranges: what they allow, and bare numbers for them."""

import pytest

from causal_meta.conf.convert import from_plain, to_plain
from causal_meta.conf.mechanism_laws import RFF
from causal_meta.conf.ranges import FloatRange, constant
from causal_meta.conf.setting import ConfigError


@pytest.mark.parametrize("number", [2, 2.5])
def test_a_bare_number_stands_for_itself(number):
    assert from_plain(FloatRange, number) == constant(float(number))
    assert from_plain(RFF, {"length_scale": number}).length_scale == FloatRange(
        low=number, high=number
    )
    assert from_plain(RFF, to_plain(RFF(length_scale=constant(number)))) == RFF(
        length_scale=constant(number)
    )


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ("wide", "give a number, or low and high"),
        (True, "give a number, or low and high"),
        ({"low": 2.0, "high": 1.0}, "below low=2.0"),
        ({"low": 0.0, "high": 1.0, "law": "log_uniform"}, "needs a low above 0"),
        ({"low": 1.0, "high": 2.0, "law": "normal"}, "'uniform', 'log_uniform', 'log_normal'"),
        ({"low": 1.0, "high": float("inf")}, "finite"),
    ],
)
def test_nonsense_is_refused(tree, says):
    with pytest.raises(ConfigError, match=says):
        from_plain(FloatRange, tree)


def test_a_range_refuses_values_outside():
    FloatRange(low=0.1, high=2.0).check("x", above=0, high=2)
    for settings, says in (
        ({"low": 1}, "at least 1"),
        ({"above": 0.1}, "above 0.1"),
        ({"high": 1.5}, "at most 1.5"),
    ):
        with pytest.raises(ConfigError, match=says):
            FloatRange(low=0.1, high=2.0).check("x", **settings)
