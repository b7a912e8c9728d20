"""From a configuration to the artifact it describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from causal_meta.conf.artifacts import ArtifactConfig
from causal_meta.conf.registry import implementation
from causal_meta.facts.write import Subscriber
from causal_meta.store import Artifact, Attempt, Store


def make(
    store: Store,
    config: ArtifactConfig,
    inputs: Mapping[str, Artifact] | None = None,
    *,
    name: str = "",
    force: bool = False,
    overrides: Sequence[str] = (),
    subscribers: Sequence[Subscriber] = (),
    options: Mapping[str, Any] | None = None,
) -> Artifact:
    """`Store.build` with the builder that the registry names for the configuration; it is imported only if there is something to build."""

    def builder(given: ArtifactConfig, attempt: Attempt) -> Mapping[str, Any] | None:
        return implementation(given)(given, attempt)

    return store.build(config, inputs, builder, name=name, force=force, overrides=overrides, subscribers=subscribers, options=options)
