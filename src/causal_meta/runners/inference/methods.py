"""Methods of `discover` by name: the configuration that a word such as `auto` or `boss` stands
for. Loads no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from causal_meta.conf.artifacts import RunConfig
from causal_meta.conf.compose import compose
from causal_meta.conf.inference import DiscoverConfig, MethodConfig
from causal_meta.conf.registry import config_class, kinds
from causal_meta.conf.setting import ConfigError
from causal_meta.conf.spelling import nearest

AUTO, AMORTISED = "auto", "amortised"
#: `auto` sums over all graphs up to this many variables, and samples graphs beyond.
MOST_EXACT = 8


def listed_methods(words: str) -> list[str]:
    """The methods in a text such as 'mcmc,boss', without repetitions.

    Raises:
        ConfigError: an unknown method, or none.

    >>> listed_methods("mcmc, boss,mcmc")
    ['mcmc', 'boss']
    """
    allowed = [AUTO, AMORTISED, *(cls.kind for cls in kinds(MethodConfig))]
    names = list(dict.fromkeys(word.strip() for word in words.split(",") if word.strip()))
    for name in names:
        if name not in allowed:
            raise ConfigError(f"There is no method {name!r}{nearest(name, allowed)}")
    if not names:
        raise ConfigError(f"No method is named; give one or several of {', '.join(allowed)}.")
    return names


def method_configs(
    methods: Sequence[str], n_nodes: int, settings: Sequence[str] = (), **shared: Any
) -> list[RunConfig]:
    """The configurations of several methods for one table, without repetitions (`auto` stands for
    another method). A setting goes to every method that has it; the other arguments are those of
    `method_config`.

    Raises:
        ConfigError: a setting that none of the methods has, or what `method_config` refuses.

    >>> [config.kind for config in method_configs(["auto", "boss", "exact"], 3, ["starts=4"])]
    ['exact', 'boss']
    """
    kinds = list(dict.fromkeys(_kind(method, n_nodes) for method in methods))
    keys = {kind: {item.name for item in dataclasses.fields(config_class(kind))} for kind in kinds}
    common = [word for word in settings if not any(_key(word) in keys[kind] for kind in kinds)]
    return [
        method_config(
            kind,
            n_nodes,
            [word for word in settings if _key(word) in keys[kind] or word in common],
            **shared,
        )
        for kind in kinds
    ]


def method_config(
    method: str, n_nodes: int, settings: Sequence[str] = (), **shared: Any
) -> RunConfig:
    """The configuration of a method for a table of `n_nodes` variables.

    Args:
        method: one of `listed_methods`; `auto` is `exact` up to `MOST_EXACT` variables, else
            `mcmc`.
        n_nodes: D.
        settings: words key=value for the method.
        shared: `seed`, `n_samples` and `knowledge` (a tree of `KnowledgeConfig`); `n_samples=None`
            leaves the method's own number.

    Raises:
        ConfigError: a setting that the method does not have, or knowledge for an amortised model.
    """
    kind = _kind(method, n_nodes)
    base = {name: value for name, value in shared.items() if value is not None}
    if kind == DiscoverConfig.kind and base.pop("knowledge", None):
        raise ConfigError(
            "A trained model cannot use knowledge about the graph; leave it out, or use the "
            "method auto."
        )
    config = compose(kind, settings, base)
    assert isinstance(config, RunConfig)
    return config


def method_word(config: RunConfig) -> str:
    """The word for a method, as `listed_methods` reads it."""
    return AMORTISED if isinstance(config, DiscoverConfig) else config.kind


def _kind(method: str, n_nodes: int) -> str:
    if method == AUTO:
        return "exact" if n_nodes <= MOST_EXACT else "mcmc"
    return DiscoverConfig.kind if method == AMORTISED else method


def _key(word: str) -> str:
    """The first name of the key of a setting."""
    return word.partition("=")[0].partition(".")[0].strip("+~")
