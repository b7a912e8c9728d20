"""Labels of runs that are shown together: the kind, and the settings that differ from the
default."""

from __future__ import annotations

from collections.abc import Sequence

from causal_meta.conf.artifacts import ArtifactConfig
from causal_meta.conf.convert import leaves, to_plain


def label_of(config: ArtifactConfig) -> str:
    """The kind, then every setting that is part of the identity and not its default; the seed is
    left out.

    >>> from causal_meta.conf.samplers import SGLDConfig
    >>> label_of(SGLDConfig(precond="rmsprop", seed=3))
    'sgld precond=rmsprop'
    """
    usual = dict(leaves(to_plain(type(config)(), identity_only=True)))
    changed = {
        key: value
        for key, value in leaves(to_plain(config, identity_only=True))
        if value != usual.get(key) and key != "seed"
    }
    return " ".join([config.kind, *(f"{key}={value}" for key, value in changed.items())])


def labels_of(configs: Sequence[ArtifactConfig]) -> list[str]:
    """`label_of` each; equal labels get their seeds, and a number if the seeds are equal too."""
    plain = [label_of(config) for config in configs]
    seeded = [
        f"{label} seed={config.seed}" if plain.count(label) > 1 else label
        for label, config in zip(plain, configs, strict=True)
    ]
    return [
        f"{label} ({seeded[: k + 1].count(label)})" if seeded.count(label) > 1 else label
        for k, label in enumerate(seeded)
    ]
