"""The configuration class of every kind of artifact states its properties, which are correct."""

import importlib
import inspect
import tomllib
from pathlib import Path

import pytest

from causal_meta.cli import program
from causal_meta.conf import registry
from causal_meta.conf.artifacts import ArtifactConfig, RunConfig, TargetConfig
from causal_meta.conf.samplers import SamplerConfig

KINDS = registry.kinds(ArtifactConfig)
PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]


def test_every_kind_is_a_target_or_a_run_with_texts_for_tables_and_help():
    wrong = [
        cls.kind
        for cls in KINDS
        if not issubclass(cls, TargetConfig | RunConfig)
        or not cls.title
        or not (cls.__doc__ or "").strip()
        or cls.backend not in ("numpy", "torch", "jax")
        or not set(cls.devices) <= {"cpu", "cuda"}
        or (cls.extra and cls.extra not in EXTRAS)
        or (cls.backend == "jax" and not cls.extra)
    ]
    assert not wrong


def test_tables_have_one_order_and_no_two_rows_of_one_title():
    for gives in {cls.gives for cls in KINDS if cls.gives}:
        members = [cls for cls in KINDS if cls.gives == gives]
        assert len({cls.table_rank for cls in members}) == len(members)
        assert all(cls.table_rank < ArtifactConfig.table_rank for cls in members)
    assert len({cls.title for cls in KINDS}) == len(KINDS)


def test_every_builder_can_be_imported_and_takes_a_configuration_and_an_attempt():
    for cls in KINDS:
        assert list(inspect.signature(registry.builder(cls)).parameters)[:2] == [
            "config",
            "attempt",
        ], cls.kind


def test_roles_take_kinds_that_exist():
    known = {cls.kind for cls in KINDS} | {cls.gives for cls in KINDS}
    for cls in KINDS:
        roles = {role.removesuffix("?") for role in cls.inputs}
        assert set(cls.takes) <= roles
        assert all(set(kinds) <= known for kinds in cls.takes.values())
        if issubclass(cls, RunConfig):
            assert cls.inputs[0] == "of"
            assert cls.needs_pretraining == (cls.takes["of"] == ("amortised",))


def test_pictures_are_families_of_plots():
    monitoring = importlib.import_module("causal_meta.monitoring")
    assert all(set(cls.pictures) <= set(monitoring.FAMILIES) for cls in KINDS)


def test_a_sampler_of_torch_models_has_a_kernel_and_says_that_it_takes_them():
    for cls in registry.kinds(SamplerConfig):
        assert ("amortised" in cls.takes["of"]) == bool(cls.torch_kernel)
        if cls.torch_kernel:
            assert inspect.isclass(registry.load(cls.torch_kernel))


@pytest.mark.parametrize("verb", sorted({cls.verb for cls in KINDS if cls.verb}))
def test_the_other_commands_that_make_kinds_exist(verb, capsys):
    with pytest.raises(SystemExit) as done:
        program.parser().parse_args([*verb.split(), "--help"])
    assert done.value.code == 0
    assert f"causal-meta {verb}" in capsys.readouterr().out
