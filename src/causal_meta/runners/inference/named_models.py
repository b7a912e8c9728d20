"""Which pre-trained model a word means: a name, an id, the beginning of one, a folder, or
`default`, the one inside the package. Loads no torch."""

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
    found = sorted(folder for folder in home.glob("tgt_*") if (folder / "meta.json").is_file())
    if not found:
        raise StoreError(
            "This installation holds no default model; name one of your own (--model NAME, or "
            "load_model('NAME'))."
        )
    return found[0]


def found_model(token: str | Path | None, store: Store) -> Artifact:
    """The artifact that `token` means, read where it lies; nothing is written.

    None, or `default` unless the store calls something so, is the model that ships with the
    package; a folder is an exported artifact; anything else is a name, an id or a unique prefix in
    the store. Raises StoreError.
    """
    if token is None or (token == DEFAULT and DEFAULT not in store.names()):
        return read_artifact(default_model_folder())
    found = (
        read_artifact(Path(token))
        if (Path(token) / "meta.json").is_file()
        else store.find(str(token))
    )
    if found.kind != ExperimentConfig.kind:
        raise StoreError(
            f"{found.id} is of kind {found.kind!r}; give a pre-trained model (causal-meta build "
            "amortised …)."
        )
    return found


def installed_model(token: str | Path | None, store: Store) -> Artifact:
    """As `found_model`, but in the store: one that lies elsewhere is copied there, its digests
    checked."""
    found = found_model(token, store)
    return found if store.root in found.folder.absolute().parents else store.install(found.folder)
