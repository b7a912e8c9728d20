"""From a configuration to the artifact it describes."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from causal_meta.conf import registry
from causal_meta.conf.artifacts import ArtifactConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.facts import Facts
from causal_meta.facts.write import Subscriber
from causal_meta.store import Artifact, Attempt, Store, StoreError

FOLLOWER_PATIENCE = 1800.0


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
    """`Store.build` with the builder that the registry names for the configuration; it is imported
    only if there is something to build.

    Of the processes that torchrun started the first alone publishes; the others take part in a
    training and wait for what is published.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("RANK", "0")) > 0:
        return _follow(store, config, inputs or {})

    return store.build(
        config,
        inputs,
        _built,
        name=name,
        force=force,
        overrides=overrides,
        subscribers=subscribers,
        options=options,
    )


def _built(config: ArtifactConfig, attempt: Attempt) -> Mapping[str, Any] | None:
    """What the builder of the configuration's kind returns; raises `ConfigError` naming the extra
    that a missing package belongs to."""
    try:
        return registry.builder(config)(config, attempt)
    except ModuleNotFoundError as error:
        if not config.extra or str(error.name).startswith("causal_meta"):
            raise
        raise ConfigError(
            f"{config.kind} needs the Python package {error.name}, which is missing; install it "
            f"with pip install 'causal-meta[{config.extra}]'."
        ) from None


def _follow(store: Store, config: ArtifactConfig, inputs: Mapping[str, Artifact]) -> Artifact:
    """The artifact that the first process of the group publishes. Training needs all of them;
    everything else is its work alone."""
    artifact = store.lookup(config, inputs)
    if artifact is None and config.distributed:
        with tempfile.TemporaryDirectory() as folder:
            artifact_id = store.key(config, inputs).id
            facts = Facts(Path(folder), artifact_id, 0, config.seed)
            attempt = Attempt(Path(folder), artifact_id, 0, dict(inputs), facts)
            registry.builder(config)(config, attempt)
    end = time.monotonic() + FOLLOWER_PATIENCE
    while artifact is None and time.monotonic() < end:
        time.sleep(0.1)
        artifact = store.lookup(config, inputs)
    if artifact is None:
        raise StoreError(
            f"The first process has published no {config.kind} within {FOLLOWER_PATIENCE:g} "
            "seconds; see its messages."
        )
    return artifact
