"""The content of `meta.json`."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from typing import Any

from causal_meta.conf.artifacts import ArtifactConfig, TargetConfig
from causal_meta.conf.convert import to_plain
from causal_meta.conf.setting import Config
from causal_meta.facts import provenance
from causal_meta.facts.write import finite
from causal_meta.store.artifact import Artifact
from causal_meta.store.attempts import Attempt
from causal_meta.store.key import StoreError

# Fields that are recorded under another name.
_RENAMED = {"trainer": "training"}
# Fields by kind that are also recorded under a second name: {second name: field}.
_ALSO = {"network_data": {"n_data": "n_rows"}}
# What the store records unless the builder returns it: JAX's precision is chosen per call, so only
# the builder knows it.
_FROM_BUILDER = ("jax_enable_x64",)


def sub_configs(config: ArtifactConfig) -> dict[str, Any]:
    """`<field>_cfg` -> tree, for every field that is itself a configuration (`trainer` is recorded
    as `training_cfg`)."""
    values = ((item.name, getattr(config, item.name)) for item in dataclasses.fields(config))
    return {
        f"{_RENAMED.get(name, name)}_cfg": _tree(value)
        for name, value in values
        if isinstance(value, Config)
    }


def _tree(value: Config) -> dict[str, Any]:
    tree: dict[str, Any] = to_plain(value)
    return tree | {name: tree[field] for name, field in _ALSO.get(value.kind, {}).items()}


def input_records(inputs: Mapping[str, Artifact]) -> dict[str, dict[str, str]]:
    """Role -> id and digest."""
    return {
        role: {"id": artifact.id, "digest": artifact.digest} for role, artifact in inputs.items()
    }


def record(
    config: ArtifactConfig,
    attempt: Attempt,
    extra: Mapping[str, Any],
    digests: Mapping[str, str],
    *,
    created_at: float,
    overrides: Sequence[str],
) -> dict[str, Any]:
    """The tree of `meta.json`; raises `StoreError` if a builder's `extra` names a key that the
    store writes.

    A builder that computes with JAX returns `jax_enable_x64` itself.
    """
    known: dict[str, Any] = {
        ("target_id" if isinstance(config, TargetConfig) else "run_id"): attempt.artifact_id,
        "kind": config.kind,
        "revision": config.revision,
        "created_at": created_at,
        "code_sha": provenance.code_sha(),
        "pkg_versions": provenance.package_versions(),
        "seed": config.seed,
        **sub_configs(config),
        "overrides": list(overrides),
        "inputs": input_records(attempt.inputs),
        "jax_enable_x64": provenance.jax_enable_x64(),
        "threads": provenance.threads(),
        "python": platform.python_version(),
        "hardware": provenance.hardware(),
        "attempt": attempt.number,
        "walltime_sec": round(attempt.facts.wall_s, 3),
        "cpu_sec": round(attempt.facts.cpu_s, 3),
        "digests": dict(digests),
    }
    known = {
        name: value
        for name, value in known.items()
        if not (name in _FROM_BUILDER and name in extra)
    }
    clash = sorted(known.keys() & extra.keys())
    if clash:
        raise StoreError(
            f"The builder of {config.kind} returned {', '.join(clash)}, which the store writes "
            "itself; give it another name."
        )
    plain, non_finite = finite({"dims": {}, "metrics": {}, **extra})
    return {**known, **plain, **({"non_finite": non_finite} if non_finite else {})}
