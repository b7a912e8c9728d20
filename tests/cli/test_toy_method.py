"""A method that infers a posterior per task is added by three touches: its file (`toy_method.py`),
its configuration with its registry line, and its test. The command line, studies, the store,
evaluation and reports then know it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from causal_meta.cli import main
from causal_meta.conf.inference import MethodConfig
from causal_meta.conf.setting import setting
from causal_meta.store import Store

STUDY = """
name: toys
targets:
  - {target: tasks, name: small, n_tasks: 2, overrides: {data.n_nodes: 3, data.n_rows: 20}}
runs:
  - {run: toy, of: small, strength: [1, 2]}
  - {run: evaluate, of: small, posterior: toy}
"""


@dataclass(frozen=True, kw_only=True)
class ToyConfig(MethodConfig):
    """Edges by absolute correlation."""

    kind: ClassVar[str] = "toy"
    title: ClassVar[str] = "absolute correlations"
    table_rank: ClassVar[int] = 45
    strength: float = setting(3.0, above=0, unit="nats", help="log odds per unit of correlation")


@pytest.fixture(autouse=True)
def _registered(register, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    register(ToyConfig, "toy_method:Toy")


def test_the_command_line_lists_it_with_its_settings(run, capsys):
    for words, line in (
        (["infer", "--help"], "  toy           absolute correlations"),
        (
            ["infer", "toy", "--help"],
            "  strength=3                  number above 0 (nats): log odds",
        ),
    ):
        with pytest.raises(SystemExit):
            main(words)
        assert line in capsys.readouterr().out
    assert "did you mean 'toy'" in run("infer", "toi", "of=held_in").err
    assert "above 0" in run("infer", "toy", "of=held_in", "strength=0").err


def test_its_posterior_is_stored_evaluated_and_reported(run, store):
    made = run("infer", "toy", "of=held_in", "strength=2")
    assert made.status == 0, made.err
    assert made.last.startswith("run_toy_")
    assert run("infer", "toy", "strength=2", "of=held_in").last == made.last
    artifact = Store(store).find(made.last)
    assert artifact.config == ToyConfig(strength=2.0)
    with np.load(artifact.folder / "posterior.npz", allow_pickle=False) as arrays:
        assert arrays["logits"].shape == (3, 4, 4)  # its own marginals, not those of its graphs
        assert arrays["graphs"].shape == (3, ToyConfig().n_samples, 4, 4)

    scored = run("evaluate", "of=held_in", f"posterior={made.last}")
    assert scored.status == 0, scored.err
    metrics = json.loads((Store(store).find(scored.last).folder / "metrics.json").read_text())
    assert metrics["kind"] == "toy"
    assert metrics["summary"]["auroc"]["n"] > 0

    page = run("report", "held_in")
    assert page.status == 0, page.err
    assert "absolute correlations, strength 2.0" in Path(page.last).read_text("utf-8")


def test_a_study_carries_it_out(run, store, tmp_path):
    (tmp_path / "toys.yaml").write_text(STUDY, "utf-8")
    done = run("study", "toys.yaml")
    assert done.status == 0, done.err
    kinds = [item.kind for item in Store(store).artifacts()]
    assert kinds.count("toy") == 2
    assert kinds.count("evaluate") == 2
