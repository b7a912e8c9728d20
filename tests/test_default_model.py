"""The model inside the package is the one that the committed experiments describe."""

from pathlib import Path

from causal_meta.conf.compose import compose, load_experiment
from causal_meta.runners.inference.named_models import default_model_folder
from causal_meta.store import read_artifact
from causal_meta.store.key import key_of

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def described(name, inputs, words=()):
    kind, tree = load_experiment(EXPERIMENTS / f"{name}.yaml")
    assert tree.pop("init", "default_model_start") == "default_model_start"
    return key_of(compose(kind, list(words), tree), inputs).id


def test_the_shipped_model_has_the_id_of_its_experiments():
    shipped = read_artifact(default_model_folder())
    start = described("default_model_start", {})
    assert shipped.inputs == {"init": start}
    assert shipped.id == described("default_model", {"init": start})
    assert shipped.id != described("default_model", {})
    assert shipped.id != described("default_model", {"init": start}, ["trainer.max_steps=7"])


def test_the_shipped_model_is_small_enough_and_lists_no_other():
    folder = default_model_folder()
    assert sum(path.stat().st_size for path in folder.parent.rglob("*") if path.is_file()) < 5e6
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]
    assert (
        (folder.parent / "MODEL_CARD.md")
        .read_text("utf-8")
        .startswith("# Model card: default_model")
    )
