"""`study FILE` from the outside: the plan, the results, the status; a driver that is killed and
started again loses nothing."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from causal_meta.cli import main
from causal_meta.cli.study import Board
from causal_meta.conf.compose import compose, load_experiment
from causal_meta.run import study_words
from causal_meta.store import Store, attempts
from causal_meta.workflow import load_study, plan_of

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
STUDY = """
targets:
- {target: tasks, name: set, seed: 0..1, n_tasks: 2, overrides: {data.n_nodes: 3, data.n_rows: 20}}
runs:
  - {run: [empty, random], of: set}
  - {run: evaluate, of: set, posterior: [empty, random]}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(STUDY)
    return path


def test_a_dry_run_prints_the_plan_and_writes_nothing(run, file, store):
    before = sorted(store.rglob("*"))
    ran = run("study", file, "--dry-run")
    assert ran.status == 0
    assert [line.split() for line in ran.out.splitlines() if line.startswith("evaluate")] == [
        ["evaluate", "0", "0", "4"]
    ]
    assert "10 to make" in ran.out
    assert sorted(store.rglob("*")) == before


def test_a_study_prints_its_results_and_is_done_once(run, file, store):
    ran = run("study", file)
    assert ran.status == 0
    assert "e_shd" in ran.out
    assert "set-seed1" in ran.out
    assert Path(ran.last) == store / "experiments" / "mine" / "results.parquet"
    assert ran.err.count(": built after") == 10
    again = run("study", file)
    assert "Everything is there." in again.out
    assert again.err == ""
    quiet = run("study", file, "--quiet")
    assert (quiet.status, quiet.out, quiet.err) == (0, "", "")


def test_python_m_causal_meta_run_is_the_same(run, file, store, monkeypatch):
    words = study_words(["--config", str(file), "--only", "kind=empty", "--dry-run"])
    assert run(*words).out == run("study", file, "--only", "kind=empty", "--dry-run").out
    done = subprocess.run(
        [sys.executable, "-m", "causal_meta.run", f"--config={file}", "--dry-run"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "10 to make" in done.stdout


def test_a_study_is_watched_from_the_store(run, refused, file, store):
    assert run("study", file, "--only", "kind=empty", "--quiet").status == 0
    watched = run("watch", "mine", "--once")
    assert watched.status == 0
    assert watched.out.splitlines() == [
        "tasks: 2 of 2",
        "empty: 2 of 2",
        "random: 0 of 2",
        "evaluate: 0 of 4",
    ]
    held = next(cell for cell in load_study(file, Store(store)).cells if cell.kind == "random")
    _, _, lock = attempts.reserve(Store(store).staging, held.id)  # as a running builder does
    assert f"  at work: {held.label}, attempt 1" in run("watch", file, "--once").out.splitlines()
    os.close(lock)
    assert "at work" not in run("watch", file, "--once").out
    assert run("study", file, "--quiet").status == 0
    assert run("watch", "mine").out.splitlines()[-1] == "evaluate: 4 of 4"  # and it ends
    refused("watch", "first", saying="is not a file")
    refused("watch", "../store/experiments/mine", saying="is not a file")


def test_mistakes_are_refused_before_anything_is_made(run, refused, file, store, tmp_path):
    refused("study", tmp_path / "no.yaml", saying="is not a file")
    refused("study", tmp_path, saying="is not a file")
    file.write_text(STUDY.replace("of: set}", "of: sot}"))
    refused(
        "study",
        file,
        saying="mine.yaml, line 5: nothing here or in the "
        "store is called 'sot'; did you mean 'set'",
    )
    file.write_text(STUDY.replace("name: set", "name: other"))
    refused("study", file, saying="mine.yaml, line 5: nothing here or in the store is called 'set'")
    file.write_text(
        STUDY.replace("name: set, seed: 0..1", "name: first").replace("of: set", "of: first")
    )
    refused("study", file, saying="mine.yaml, line 3: the name 'first' means tgt_")
    file.write_text("name: first\n" + STUDY)
    refused(
        "study",
        file,
        saying="line 1: the study is called 'first', a name that an artifact has already",
    )
    file.write_text(STUDY)
    refused("study", file, "--only", "kind=boss", saying="--only kind=boss matches nothing")
    refused(
        "study",
        file,
        "--executor",
        "slorm",
        saying="There is no executor, card or file called 'slorm'; did you mean 'slurm'",
    )
    refused("study", file, "--max-failures", "0", saying="not a whole number of at least 1")
    (store / "store.json").write_text('{"format": 2}')
    refused("study", file, saying="is of format 2, written by a newer version")
    refused("store", "ls", saying="is of format 2, written by a newer version")


def test_a_failure_is_reported_with_its_first_cause_line_and_log(run, file, monkeypatch):
    from causal_meta.runners.inference import per_task

    working = per_task.infer_per_task

    def fails(config, attempt):
        if config.kind == "random":
            raise RuntimeError("the sky fell")
        return working(config, attempt)

    monkeypatch.setattr(per_task, "infer_per_task", fails)
    ran = run("study", file)
    assert ran.status == 1
    failures = [line for line in ran.err.splitlines() if line.startswith(("Failed", "  log"))]
    assert len(failures) == 4
    assert f"{file} line 5: RuntimeError: the sky fell" in failures[0]
    assert failures[0].endswith("(1 that need it were not made)")
    assert "the sky fell" in Path(failures[1].removeprefix("  log: ")).read_text()
    assert "e_shd" in ran.out  # what could be made is shown
    monkeypatch.setattr(per_task, "infer_per_task", working)
    assert run("study", file).status == 0


def test_a_study_is_promoted_when_it_is_done_and_again_later(run, refused, file, store, tmp_path):
    ran = run("study", file, "--promote", "--to", "docs/gallery")
    assert ran.status == 0
    snippet = Path(ran.last)
    assert snippet == Path("docs/gallery/mine/snippet.md")
    assert snippet.read_text().count("| random |") == 2
    assert (snippet.parent / "study_results.csv").read_bytes() == (
        store / "experiments" / "mine" / "results.csv"
    ).read_bytes()
    shutil.rmtree("docs")
    assert run("study", file, "--promote", "--quiet").status == 0  # nothing is left to be made
    assert Path("gallery/mine/snippet.md").is_file()
    refused("study", file, "--to", "gallery", saying="give --promote too")
    refused(
        "study", file, "--promote", "--to", file, saying="cannot be used as a folder to write to"
    )


def test_a_gallery_that_fails_costs_no_result(run, file, store, tmp_path):
    (tmp_path / "gallery" / "mine").mkdir(parents=True)
    # an obstacle that only writing reveals
    (tmp_path / "gallery" / "mine" / "snippet.md").mkdir()
    ran = run("study", file, "--promote")
    assert ran.status == 1
    assert ran.err.splitlines()[-1].startswith(
        "Not promoted: The gallery gallery cannot be written"
    )
    assert len(results(store)) == 8
    assert "Everything is there." in run("study", file).out


def test_a_name_that_is_taken_is_refused_with_its_line_or_taken_by_force(run, refused, file, store):
    file.write_text(
        STUDY.replace("name: set, seed: 0..1", "name: held_in").replace("of: set", "of: held_in")
    )
    before = Store(store).names()["held_in"]
    for flags in ([], ["--executor", "processes"], ["--dry-run"]):
        refused("study", file, *flags, saying="mine.yaml, line 3: the name 'held_in' means tgt_")
    assert run("study", file, "--force", "--quiet").status == 0
    after = Store(store).names()["held_in"]
    assert after != before
    assert Store(store).find(before)  # the artifact that had the name is kept
    assert run("store", "name", before, "held_in", "--force").status == 0
    # nothing to make, but the name is still taken
    assert run("study", file, "--force", "--quiet").status == 0
    assert Store(store).names()["held_in"] == after


def test_tables_of_a_study(run, refused, file, store, table):
    file.write_text(
        STUDY.replace(
            "runs:",
            "- {target: tasks, name: mine_table, data: {table: table.csv}}\nruns:\n  - {run: "
            "boss, of: mine_table}",
        )
    )
    assert run("study", file, "--only", "kind=boss", "--quiet").status == 0
    assert (
        Store(store).find("mine_table").id
        == run("build", "tasks", "data.table=table.csv", "--quiet").last
    )
    table.unlink()
    refused("study", file, saying="mine.yaml, line 4: There is no file")
    table.write_text("a,b\n1,2\n")
    refused("study", file, saying="mine.yaml, line 4: table has 1 rows; give at least 10.")


def test_the_board_counts(file, store):
    plan = plan_of(load_study(file, Store(store)), Store(store))
    board = Board(plan)
    board(plan.cells[0], "running")
    assert board.table().row_count == 4
    assert "tasks set-seed0" in str(board.table().caption)
    board(plan.cells[0], "failed")
    assert "failed" in [column.header for column in board.table().columns]


@pytest.mark.parametrize(("name", "count"), [("benchmark_small", 40), ("demonstration", 23)])
def test_the_committed_studies_are_understood(store, name, count):
    study = load_study(EXPERIMENTS / f"{name}.yaml", Store(store))
    assert len(study.cells) == count
    if name == "benchmark_small":
        assert all(
            cell.config.data.n_nodes.low == 8 for cell in study.cells if cell.kind == "tasks"
        )
    else:
        kind, tree = load_experiment(EXPERIMENTS / "demo.yaml")
        assert study.cells[0].config == compose(kind, [], tree)


def test_a_training_in_a_study_draws_its_curves(run, tmp_path, store):
    (tmp_path / "train.yaml").write_text(
        "targets:\n  - target: amortised\n    name: third\n    seed: 9\n    init: first\n"
        "    model: {preset: avici, dim: 8, n_pairs: 1, n_heads: 2, key_size: 4, dropout: 0.0}\n"
        "    data: {train: {n_nodes: 4, n_rows: 30}, tasks_per_step: 2}\n    trainer: {max_steps: "
        "2, log_every_n_steps: 1}\n"
        "runs:\n  - {run: evaluate, of: amortised, tasks: held_in}\n  - {run: discover, of: "
        "third, tasks: held_in, n_samples: 5}\n"
        "  - {run: evaluate, of: [first, default], tasks: 'held*'}\n"
    )
    ran = run("study", tmp_path / "train.yaml")
    assert ran.status == 0, ran
    third = Store(store).find("third")
    assert (third.folder / "figures" / "losses.png").is_file()
    assert third.inputs == {"init": Store(store).find("first").id}
    assert "amortised default" in ran.out


def results(root):
    import pandas as pd

    return pd.read_parquet(root / "experiments" / "mine" / "results.parquet").drop(
        columns="walltime_sec"
    )


@pytest.mark.parametrize("executor", ["local", "processes"])
def test_a_killed_driver_loses_nothing(file, tmp_path, executor):
    killed, calm = tmp_path / "killed", tmp_path / "calm"
    words = [
        sys.executable,
        "-m",
        "causal_meta",
        "study",
        str(file),
        "--store",
        str(killed),
        "--executor",
        executor,
        "--workers",
        "1",
    ]
    driver = subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    lines = []
    for line in driver.stderr:
        lines.append(line)
        if len(lines) == 3:
            os.kill(driver.pid, signal.SIGKILL)
            break
    driver.wait()
    driver.stderr.close()
    assert driver.returncode == -signal.SIGKILL
    store = Store(killed)
    there = [artifact.id for artifact in store.artifacts()]
    assert 3 <= len(there) < 10
    made = {name: store.find(name).meta["created_at"] for name in there}
    begin = time.monotonic()
    assert main(["study", str(file), "--store", str(killed), "--quiet"]) == 0
    assert time.monotonic() - begin < 60
    assert main(["study", str(file), "--store", str(calm), "--quiet"]) == 0
    # nothing was made twice
    assert {name: store.find(name).meta["created_at"] for name in there} == made
    assert results(killed).equals(results(calm))
    assert store.verify() == []
