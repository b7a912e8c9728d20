"""Ids: the id of an artifact is a hash of everything that decides its content, and of nothing
else.

Identity = {format, kind, revision, config, inputs}: `config` is the validated configuration with
the kind tag at every node, defaults included, fields outside the identity left out; `inputs` maps
each role to the id of the artifact in it. Canonical JSON of that tree is hashed: `tgt_` + 12 hex
digits of SHA-256 for a target, `run_<kind>_` + 8 hex digits of SHA-1 for a run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from causal_meta.conf.artifacts import ArtifactConfig, TargetConfig
from causal_meta.conf.convert import default_of, to_plain
from causal_meta.conf.registry import by_tag

FORMAT = 1

TARGET_ID = re.compile(r"tgt_[0-9a-f]{12}")
RUN_ID = re.compile(r"run_[a-z0-9]+_[0-9a-f]{8}")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_ID_START = re.compile(r"(?:tgt|run)_[a-z0-9_]*")


class StoreError(ValueError):
    """An error of the store, described in one sentence for the user."""


@dataclass(frozen=True)
class Key:
    """The identity of an artifact: its id and the tree that the id is a hash of."""

    id: str
    tree: dict[str, Any]


def canonical(tree: Any) -> str:
    """Canonical JSON of a plain tree: sorted keys, no spaces, ASCII, shortest exact floats, -0.0
    written as 0.0.

    Raises `TypeError` for anything that is not a dict with string keys, a list, a string, a number,
    a bool or None, and `ValueError` for a number that is not finite.

    >>> canonical({"b": [1, 2.0, None], "a": True})
    '{"a":true,"b":[1,2.0,null]}'
    """
    return json.dumps(
        _plain(tree), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )


def _plain(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        for key in tree:
            if type(key) is not str:
                raise TypeError(
                    f"The key {key!r} of an identity is a {type(key).__name__}; it must be a "
                    "string."
                )
        return {key: _plain(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_plain(item) for item in tree]
    if type(tree) is float:
        if not math.isfinite(tree):
            raise ValueError(f"An identity holds {tree}; every number in it must be finite.")
        return tree + 0.0  # -0.0 + 0.0 is 0.0
    if tree is None or type(tree) in (bool, int, str):
        return tree
    raise TypeError(
        f"An identity holds {tree!r}, a {type(tree).__name__}; it may hold plain values only."
    )


def identity(
    kind: str,
    revision: int,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    *,
    is_target: bool,
) -> Key:
    """The key of an artifact from plain parts: `config` is an identity tree, `inputs` maps roles to
    ids."""
    tree = {
        "format": FORMAT,
        "kind": kind,
        "revision": revision,
        "config": dict(config),
        "inputs": dict(inputs),
    }
    data = canonical(tree).encode("ascii")
    if is_target:
        return Key("tgt_" + hashlib.sha256(data).hexdigest()[:12], tree)
    return Key(f"run_{kind}_" + hashlib.sha1(data, usedforsecurity=False).hexdigest()[:8], tree)


def key_of(config: ArtifactConfig, inputs: Mapping[str, str]) -> Key:
    """The key of the artifact that `config` and the ids of its inputs by role describe."""
    tree = to_plain(config, identity_only=True)
    return identity(
        config.kind, config.revision, tree, inputs, is_target=isinstance(config, TargetConfig)
    )


def identity_part(tree: Any) -> Any:
    """A stored configuration tree without the fields outside the identity.

    Works on the tree as it was stored, so that unknown and missing keys remain visible.
    """
    if isinstance(tree, Mapping):
        cls = by_tag().get(tree["kind"]) if isinstance(tree.get("kind"), str) else None
        fields = {item.name: item for item in dataclasses.fields(cls)} if cls else {}
        return {
            key: identity_part(value)
            for key, value in tree.items()
            if key not in fields or not _left_out(fields[key], value)
        }
    if isinstance(tree, list | tuple):
        return [identity_part(item) for item in tree]
    return tree


def _left_out(field: dataclasses.Field[Any], value: Any) -> bool:
    """Whether a stored value is not part of the identity: its field is not, or it is the default of
    a field added later."""
    return not field.metadata["identity"] or (
        field.metadata["added"] and value == to_plain(default_of(field))
    )


def is_id(text: str) -> bool:
    """Whether `text` is a complete id of a target or of a run."""
    return bool(TARGET_ID.fullmatch(text) or RUN_ID.fullmatch(text))


def is_id_start(text: str) -> bool:
    """Whether `text` could be the beginning of an id."""
    return bool(_ID_START.fullmatch(text))


def check_name(name: str) -> str:
    """Return `name` if it is a valid name of an artifact, or raise `StoreError`."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise StoreError(
            f"{name!r} cannot be a name; a name is a letter followed by letters, digits, '_' or "
            "'-'."
        )
    if name.startswith(("tgt_", "run_")):
        raise StoreError(
            f"{name!r} cannot be a name, because ids begin with 'tgt_' or 'run_'; choose another "
            "one."
        )
    return name
