"""Implementations of kinds that import JAX (the others: `tests/conf/test_conf.py`)."""

from causal_meta.conf import registry


def test_every_tag_resolves_to_code():
    places = {
        c: place for c, place in registry._MEMBERS.items() if place.startswith("causal_meta.llc.")
    }
    assert places
    for cls in places:
        assert callable(registry.implementation(cls)), cls.kind
