"""A sampler of local posteriors is added by three touches: its file (`toy_sampler.py`), its
configuration with its registry line, and its test. The command line, studies, the store and reports
then know it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from causal_meta.cli import main
from causal_meta.conf.samplers import SamplerConfig

STUDY = """
name: toys
targets:
  - {target: network, name: form, model: quadratic, overrides: {data.n_rows: 1000}}
runs:
  - {run: toy, of: form, chains: [2, 3]}
"""


@dataclass(frozen=True, kw_only=True)
class ToyConfig(SamplerConfig):
    """Independent draws of a Gaussian of unit curvature."""

    kind: ClassVar[str] = "toy"
    title: ClassVar[str] = "exact Gaussian draws"
    table_rank: ClassVar[int] = 80


@pytest.fixture(autouse=True)
def _registered(register, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    register(ToyConfig, "toy_sampler:draw")


def run(capsys, *words):
    status = main(list(words))
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


def test_the_command_line_lists_it_with_its_settings(capsys):
    for words, line in (
        (["infer", "--help"], "  toy           exact Gaussian draws"),
        (["infer", "toy", "--help"], "  posterior.gamma=1           number from 0: localisation"),
    ):
        with pytest.raises(SystemExit):
            main(words)
        assert line in capsys.readouterr().out


def test_its_estimate_is_stored_compared_and_reported(llc_store, capsys):
    words = ["build", "network", "model=quadratic", "data.n_rows=1000", "--name", "form"]
    run(capsys, *words)
    made = run(capsys, "infer", "toy", "of=form").split()[-1]
    assert made.startswith("run_toy_")
    artifact = llc_store.find(made)
    assert artifact.config == ToyConfig()
    analysis = json.loads((artifact.folder / "analysis.json").read_text("utf-8"))
    exact, error = analysis["exact"]["expected"], analysis["llc_mcse"]
    assert abs(analysis["llc_mean"] - exact) < 5 * error
    assert "toy" in run(capsys, "llc", "compare", "of=form", "samplers=toy")
    page = run(capsys, "report", "form").split()[-1]
    assert made in Path(page).read_text("utf-8")


def test_a_study_carries_it_out(llc_store, capsys, tmp_path):
    (tmp_path / "toys.yaml").write_text(STUDY, "utf-8")
    run(capsys, "study", str(tmp_path / "toys.yaml"))
    assert [item.kind for item in llc_store.artifacts()].count("toy") == 2
