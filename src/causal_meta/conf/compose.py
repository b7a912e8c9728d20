"""From YAML presets and command-line words to one configuration object, composed by Hydra and
converted once.

Hydra sees plain trees that contain every default, so that any existing key can be overridden and no
other. Types, bounds and tags are then checked by our own dataclasses (which may therefore be
frozen, nest polymorphic parts in named mixtures and report errors in sentences).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from causal_meta.conf.artifacts import ArtifactConfig
from causal_meta.conf.convert import Choices, from_plain, leaves, preset, presets, to_plain
from causal_meta.conf.registry import config_class, nearest
from causal_meta.conf.setting import Config, ConfigError, type_of


def groups(kind: str) -> dict[str, Choices]:
    """The choices of each polymorphic or preset field of a kind of artifact: `model=avici`,
    `data=wide`, `trainer.optimizer=adamw`."""
    cls = config_class(kind, ArtifactConfig)
    choices: dict[str, Choices] = {}
    _collect(cls, "", choices)
    return choices


def _collect(cls: type[Config], prefix: str, choices: dict[str, Choices]) -> None:
    for item in dataclasses.fields(cls):
        declared = type_of(cls, item.name)
        if (
            isinstance(declared, type)
            and issubclass(declared, Config)
            and declared.kind not in ("int_range", "float_range")
        ):
            choices[f"{prefix}{item.name}"] = presets(declared)
            if declared.kind:
                _collect(declared, f"{prefix}{item.name}.", choices)


def compose(
    kind: str, overrides: Sequence[str] = (), base: dict[str, Any] | None = None
) -> ArtifactConfig:
    """The configuration of an artifact of `kind`.

    `base` is a tree of differences from the defaults (an experiment file); `overrides` are Hydra's
    words `key=value`, where a group (`data=wide`) takes the name of a preset. Raises `ConfigError`.
    """
    cls = config_class(kind, ArtifactConfig)
    tree = to_plain(from_plain(cls, {"kind": kind} | (base or {})))
    choices = groups(kind)
    rest = []
    for word in overrides:
        key, equals, value = word.partition("=")
        if not equals or not re.match(r"^[~+]*[A-Za-z_][\w./@-]*$", key):
            raise ConfigError(
                f"{word!r} is not a setting; write key=value, for example trainer.max_steps=100."
            )
        if "${" in value:
            raise ConfigError(
                f"{key} is {value!r}; interpolations are not allowed, write the value itself."
            )
        if key in choices:
            chosen = choices[key].get(value)
            if chosen is None:
                raise ConfigError(
                    f"There is no {key} called {value!r}{nearest(value, choices[key])}"
                )
            _put(tree, key, chosen)
        elif (
            (base_class := _law_at(tree, key)) is not None
            and re.fullmatch(r"[A-Za-z][\w-]*", value)
            and value != "null"
        ):
            _put(tree, key, preset(base_class, value))
        else:
            rest.append(word)
    return from_plain(cls, _hydra(tree, rest))  # type: ignore[return-value]


def _law_at(tree: dict[str, Any], key: str) -> type[Config] | None:
    """The class that a configuration at the dotted place `key` of a plain tree must have, such as
    that of `data.graph` once data is a family."""
    *parents, last = key.split(".")
    node: Any = tree
    for name in parents:
        node = node.get(name) if isinstance(node, dict) else None
    if not isinstance(node, dict) or last not in node or "kind" not in node:
        return None
    declared = type_of(config_class(node["kind"]), last)
    classes = [
        option
        for option in (declared, *get_args(declared))
        if isinstance(option, type) and issubclass(option, Config)
    ]
    return classes[0] if classes and isinstance(node[last], dict | None) else None


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for name in parents:
        tree = tree[name]
    tree[last] = value


def _hydra(tree: dict[str, Any], overrides: list[str]) -> dict[str, Any]:
    """Apply Hydra's override grammar to a plain tree."""
    if not overrides:
        return tree
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    ConfigStore.instance().store(name="causal_meta_root", node=OmegaConf.create(_literal(tree)))
    if GlobalHydra.instance().is_initialized():
        GlobalHydra.instance().clear()
    try:
        with initialize_config_module(version_base="1.3", config_module="causal_meta.conf"):
            composed = hydra_compose(config_name="causal_meta_root", overrides=overrides)
        plain = OmegaConf.to_container(composed, resolve=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_sentence(error, tree)) from None
    return plain  # type: ignore[return-value]


def _literal(tree: Any) -> Any:
    """Refuse interpolations: OmegaConf would evaluate a `${…}` in a value."""
    for path, value in leaves(tree):
        if isinstance(value, str) and "${" in value:
            raise ConfigError(
                f"{path} is {value!r}; interpolations are not allowed, write the value itself."
            )
    return tree


def _sentence(error: Exception, tree: dict[str, Any]) -> str:
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)  # type: ignore[arg-type]
    text = " ".join(str(cause) for cause in causes)
    unknown = re.search(r"Key '([^']+)' is not in struct", text)
    named = re.search(r"Could not override '([^']+)'", text)
    if unknown or named:
        key = named.group(1) if named else unknown.group(1)  # type: ignore[union-attr]
        known = {path for path, _ in leaves(tree)} | {
            path.rsplit(".", 1)[0] for path, _ in leaves(tree)
        }
        return f"There is no setting {key!r}{_near_paths(key, known)}"
    return f"The settings could not be understood: {text.splitlines()[0]}"


def _near_paths(key: str, known: set[str]) -> str:
    """Nearest valid key: by the last name inside the same parent first, then by the whole path."""
    parent = key.rpartition(".")[0]
    siblings = {
        path
        for path in known
        if path.rpartition(".")[0] == parent and path != "kind" and not path.endswith(".kind")
    }
    return nearest(key, siblings or {path for path in known if not path.endswith("kind")})


def load_experiment(path: str | Path) -> tuple[str, dict[str, Any]]:
    """An experiment file of one target: its kind and its tree of differences. Raises
    `ConfigError`."""
    from causal_meta.conf import yaml_1_2

    file = Path(path)
    if not file.is_file():
        raise ConfigError(
            f"{path} is not a file; give an experiment file such as experiments/default_model.yaml."
        )
    tree = yaml_1_2.load(file.read_text("utf-8"), str(path))
    if not isinstance(tree, dict) or "kind" not in tree:
        raise ConfigError(
            f"{path} names no kind; begin it with 'kind: amortised' or 'kind: tasks'."
        )
    return str(tree["kind"]), tree
