"""The pre-trained model that a name, an id, a unique prefix of one, a folder or `default` (the
model of this package) refers to. Loads no torch."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.store import Artifact, Store, StoreError, read_artifact

DEFAULT = "default"


def default_model_folder() -> Path:
    """The folder of the model that ships with the package; raises StoreError if this installation
    has none."""
    home = Path(str(resources.files("causal_meta") / "default_model"))
    folders = sorted(folder for folder in home.glob("tgt_*") if (folder / "meta.json").is_file())
    if not folders:
        raise StoreError(
            "This installation holds no default model; name one of your own (--model NAME, or "
            "load_model('NAME'))."
        )
    return folders[0]


def find_model(token: str | Path | None, store: Store) -> Artifact:
    """The artifact that `token` refers to, read where it lies; nothing is written.

    None, or `default` unless the store has something of this name, is the model that ships with the
    package; a folder is an exported artifact; anything else is a name, an id or a unique prefix in
    the store. Raises StoreError.
    """
    if token is None or (token == DEFAULT and DEFAULT not in store.names()):
        return read_artifact(default_model_folder())
    model = (
        read_artifact(Path(token))
        if (Path(token) / "meta.json").is_file()
        else store.find(str(token))
    )
    if model.kind != ExperimentConfig.kind:
        raise StoreError(
            f"{model.id} is of kind {model.kind!r}; give a pre-trained model (causal-meta build "
            "amortised …)."
        )
    return model


def installed_model(token: str | Path | None, store: Store) -> Artifact:
    """As `find_model`, but in the store: one that lies elsewhere is copied there after its digests
    are checked."""
    model = find_model(token, store)
    return model if store.root in model.folder.absolute().parents else store.install(model.folder)
