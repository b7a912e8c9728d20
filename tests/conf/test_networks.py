"""Network targets are configured by short names, and every short name means something valid."""

from importlib import resources

import pytest

from causal_meta.conf import yaml_1_2
from causal_meta.conf.compose import compose
from causal_meta.conf.convert import from_plain, presets
from causal_meta.conf.network_data import (
    InputLawConfig,
    NetworkDataConfig,
    OutputNoiseConfig,
    TeacherConfig,
)
from causal_meta.conf.networks import StudentConfig
from causal_meta.conf.registry import config_class, tags
from causal_meta.conf.setting import Config, ConfigError

FOLDERS = sorted(
    item for item in (resources.files("causal_meta.conf") / "presets").iterdir() if item.is_dir()
)
FILES = [
    file for folder in FOLDERS for file in sorted(folder.iterdir(), key=lambda item: item.name)
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_preset_in_a_folder_is_valid_and_found_by_its_name(file):
    tree = yaml_1_2.load(file.read_text("utf-8"), file.name)
    base = config_class(tree["kind"])
    assert from_plain(base, file.stem) == from_plain(Config, tree)
    assert file.stem in presets(base)


def test_presets_of_different_kinds_share_their_names():
    config = compose("network", ["model=small", "data=small", "data.teacher=base", "seed=42"])
    assert config.model == StudentConfig(in_dim=4, depth=2, target_params=50)
    assert config.data == NetworkDataConfig(
        n_rows=100, teacher=TeacherConfig(target_params=100, dropout=0.1)
    )
    assert compose("network", ["model=wide"]).model.widths == (300, 200, 100)
    assert compose("tasks", ["data=wide"]).data.kind == "family"


def test_every_law_is_chosen_by_its_tag_and_its_settings_by_keys():
    for law in tags(InputLawConfig):
        assert compose("network", [f"data.inputs={law}"]).data.inputs.kind == law
    for law in tags(OutputNoiseConfig):
        assert compose("network", [f"data.noise={law}"]).data.noise.kind == law
    assert (
        compose(
            "network", ["data.inputs=mixture", "data.inputs.components=7"]
        ).data.inputs.components
        == 7
    )


def test_short_names_that_do_not_exist_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match="small"):
        compose("network", ["model=smal"])
    with pytest.raises(ConfigError, match="activation"):
        compose("network", ["model=small", "model.activaton=relu"])
