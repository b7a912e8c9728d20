"""Help is generated from the configuration classes: every kind is listed, and every setting of it
with its default, type, bounds, unit and meaning."""

import dataclasses
from typing import ClassVar

import pytest

from causal_meta.cli import main
from causal_meta.conf import registry
from causal_meta.conf.artifacts import ArtifactConfig, RunConfig, TargetConfig
from causal_meta.conf.describe import setting_lines
from causal_meta.conf.setting import Config, setting


@pytest.fixture
def help_of(capsys, monkeypatch):
    """The help of some words."""
    monkeypatch.setenv("COLUMNS", "100")

    def text(*words):
        with pytest.raises(SystemExit) as done:
            main([*words, "--help"])
        assert done.value.code == 0
        return capsys.readouterr().out

    return text


def verb_of(cls):
    return "build" if issubclass(cls, TargetConfig) else "infer"


def paths(config, prefix=""):
    """The dotted names of all plain fields of a configuration."""
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if isinstance(value, Config) and value.kind not in ("int_range", "float_range"):
            yield from paths(value, f"{prefix}{item.name}.")
        elif not isinstance(value, dict):
            yield f"{prefix}{item.name}"


def test_the_help_of_a_kind_lists_all_its_settings(help_of):
    for cls in registry.kinds(ArtifactConfig):
        shown = {
            line.strip().partition("=")[0] for line in help_of(verb_of(cls), cls.kind).splitlines()
        }
        assert not set(paths(cls())) - shown, cls.kind


def test_the_help_of_a_verb_lists_its_kinds_with_their_titles(help_of):
    for verb, base in (("build", TargetConfig), ("infer", RunConfig)):
        words = help_of(verb)
        assert not [
            cls.kind
            for cls in registry.kinds(base)
            if f"{cls.kind} ({cls.verb})" not in words
            and f"  {cls.kind:13} {cls.title}" not in words
        ]


@dataclasses.dataclass(frozen=True, kw_only=True)
class InnerConfig(Config):
    """What is inside."""

    kind: ClassVar[str] = "inner"
    size: float = setting(1e-7, above=0, high=1, unit="metres", help="how large")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OuterConfig(Config):
    """What is outside."""

    kind: ClassVar[str] = "outer"
    count: int = setting(2, low=1, high=5)
    words: tuple[str, ...] = setting(("a", "b"))
    choice: bool = setting(True, identity=False, help="whether")
    rate: float | None = setting(None, low=0)
    inner: InnerConfig = setting(InnerConfig())


def test_a_line_says_default_type_bounds_unit_and_meaning(register):
    register(InnerConfig, "")
    lines = {line.word: line.meaning for line in setting_lines(OuterConfig())}
    assert lines == {
        "count=2": "whole number from 1 to 5",
        "words=[a,b]": "list, each a text",
        "choice=true": "true or false: whether (no part of the id)",
        "rate=null": "null or number from 0",
        "inner.…": "What is inside.",
        "inner.size=1e-07": "number above 0, at most 1 (metres): how large",
    }


def test_the_settings_of_a_chosen_part_are_listed(help_of):
    usual = help_of("build", "amortised")
    assert "trainer.optimizer=lamb" in usual
    assert "trainer.optimizer.momentum" not in usual
    chosen = help_of("build", "amortised", "trainer.optimizer=muon")
    assert "trainer.optimizer=muon" in chosen
    assert "trainer.optimizer.momentum=0.95" in chosen


def test_the_help_of_a_kind_names_inputs_backend_and_extra(help_of):
    words = help_of("infer", "hmc")
    assert "of=NETWORK|AMORTISED [tasks=TASKS]" in words
    assert "backend: jax, on cpu" in words
    assert "pip install 'causal-meta[llc]'" in words


def test_help_of_a_kind_that_is_none_names_the_nearest(run):
    ran = run("infer", "bos", "--help")
    assert ran.status == 2
    assert "did you mean 'boss'?" in ran.err


def test_a_missing_package_is_named_with_the_extra_of_the_kind(run, monkeypatch):
    monkeypatch.setattr(registry, "builder", absent)
    ran = run("infer", "pc", "of=held_in")
    assert ran.status == 2
    assert ran.err == (
        "pc needs the Python package nowhere, which is missing; install it with pip install "
        "'causal-meta[baselines]'.\n"
    )


def absent(config):
    raise ModuleNotFoundError("No module named 'nowhere'", name="nowhere")
