"""Methods of `discover` by name: the configuration that a word such as `auto` or `boss` stands
for. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from causal_meta.conf.artifacts import RunConfig
from causal_meta.conf.compose import compose
from causal_meta.conf.inference import DiscoverConfig, ExactConfig, MCMCConfig, MethodConfig
from causal_meta.conf.registry import kinds
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
    kind = {AUTO: "exact" if n_nodes <= MOST_EXACT else "mcmc", AMORTISED: DiscoverConfig.kind}
    base = {name: value for name, value in shared.items() if value is not None}
    if method == AMORTISED and base.pop("knowledge", None):
        raise ConfigError(
            "A trained model cannot use knowledge about the graph; leave it out, or use --method "
            "auto."
        )
    config = compose(kind.get(method, method), settings, base)
    assert isinstance(config, RunConfig)
    return config


__all__ = ["AMORTISED", "AUTO", "ExactConfig", "MCMCConfig", "listed_methods", "method_config"]
