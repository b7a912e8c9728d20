"""The store: artifacts, looked up by what they were made from. Loads neither torch nor JAX."""

from causal_meta.store.artifact import Artifact, artifact_digest, read_artifact
from causal_meta.store.attempts import Attempt
from causal_meta.store.key import Key, StoreError, canonical, check_name, key_of
from causal_meta.store.objects import Builder, Store

__all__ = [
    "Artifact",
    "Attempt",
    "Builder",
    "Key",
    "Store",
    "StoreError",
    "artifact_digest",
    "canonical",
    "check_name",
    "key_of",
    "read_artifact",
]
