"""Studies of networks and samplers: in worker processes and here, with estimates among the results,
and failed chains in the exit status."""

import os
import subprocess
import sys

import pandas as pd
import pytest

from causal_meta.cli import main
from causal_meta.facts import aggregate_results
from causal_meta.store import Store

FILE = """
name: small
targets:
  - {target: network, name: form, model: [power_sum, quadratic], overrides: {data.n_rows: 1000}}
runs:
  - {run: mala, of: 'form*', overrides: {chains: 2, draws: 60, warmup: 60, thin: 2}}
"""
BROKEN = (
    FILE.replace("run: mala, of: 'form*'", "run: sgld, of: form-quadratic")
    .replace("warmup: 60", "warmup: 20, step_rule: fixed, step_size: 100.0")
    .replace("name: small", "name: broken")
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A store in which two worker processes carried out the study."""
    home = tmp_path_factory.mktemp("study")
    (home / "small.yaml").write_text(FILE)
    words = [
        "study",
        str(home / "small.yaml"),
        "--store",
        str(home / "runs"),
        "--executor",
        "processes",
        "--workers",
        "2",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "causal_meta", *words],
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr
    assert "learning coefficients" in done.stdout
    return home


def test_results_of_worker_processes_hold_estimates(home):
    table = pd.read_parquet(home / "runs" / "experiments" / "small" / "results.parquet")
    assert table["kind"].tolist() == ["mala", "mala"]
    assert table["llc_mean"].notna().all()
    assert (table["total_fges"] > 2 * 120).all()
    assert (table["failed_chains"] == 0).all()
    assert table["exact_lambda"].tolist() == [0.75, 5.0]
    runs = aggregate_results(home / "runs").set_index("run_id")
    assert runs.loc[table["id"], "llc_mean"].tolist() == table["llc_mean"].tolist()


def test_a_study_in_process_reuses_or_reproduces_the_runs(home, tmp_path, capsys):
    assert main(["study", str(home / "small.yaml"), "--store", str(home / "runs")]) == 0
    assert "Everything is there." in capsys.readouterr().out
    only = ["--only", "name=form-quadratic"]
    assert (
        main(["study", str(home / "small.yaml"), "--store", str(tmp_path / "in_process"), *only])
        == 0
    )
    by_workers, in_process = (
        Store(home / "runs").find("form-quadratic"),
        Store(tmp_path / "in_process").find("form-quadratic"),
    )
    assert by_workers.digest == in_process.digest


def test_failed_chains_are_reported_with_status_1(home, capsys):
    (home / "broken.yaml").write_text(BROKEN)
    assert main(["study", str(home / "broken.yaml"), "--store", str(home / "runs")]) == 1
    errors = capsys.readouterr().err
    assert errors.count("2 of the chains of sgld") == 1
