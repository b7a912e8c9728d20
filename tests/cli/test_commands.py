"""Each verb with valid input: the id is the last line of standard output, repeated commands reuse
artifacts, flags change no identity."""

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import causal_meta
from causal_meta.cli import main
from causal_meta.cli.program import VERBS, parser
from causal_meta.store import Store

TINY = [
    *(
        "model.dim=8",
        "model.n_pairs=1",
        "model.n_heads=2",
        "model.key_size=4",
        "model.dropout=0",
        "data.train.n_nodes=4",
        "data.train.n_rows=30",
    ),
    *("data.tasks_per_step=2", "trainer.max_steps=2", "seed=1"),
]


# --------------------------------------------------------------------------------------------- help


STORE_ACTIONS = (
    "ls", "show", "path", "verify", "name", "rebuild-catalog", "export", "import", "rm", "gc",
    "promote", "query",
)  # fmt: skip


def verbs():
    arguments = [[]]
    for module in VERBS:
        name = module.__name__.rsplit(".", 1)[1]
        arguments.append([name])
    return [
        *arguments,
        ["train"],
        *(["store", action] for action in STORE_ACTIONS),
        *(["data", action] for action in ("ls", "show", "distance", "import")),
        *(["llc", action] for action in ("check", "compare", "extrapolate", "tune")),
    ]


@pytest.mark.parametrize("words", verbs(), ids=" ".join)
def test_every_verb_has_help_with_examples(words, capsys):
    with pytest.raises(SystemExit) as done:
        main([*words, "--help"])
    assert done.value.code == 0
    out = capsys.readouterr().out
    assert "usage: causal-meta" in out
    assert "examples:" in out or words in (["store"], ["data"], ["llc"])


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.split() == ["causal-meta", causal_meta.__version__]


def test_the_examples_in_the_help_are_commands_that_parse():
    count = 0
    for module in VERBS:
        for line in getattr(module, "EXAMPLES", "").splitlines():
            if line.strip().startswith("causal-meta ") and "--help" not in line:
                parser().parse_known_args(line.split()[1:])
                count += 1
    assert count >= 15


def test_the_module_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "causal_meta", "store", "ls", "--store", "nowhere"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "holds nothing yet" in done.stdout


# -------------------------------------------------------------------------------------------- build


def test_build_prints_the_id_last_and_finds_it_again_with_any_flags_and_name(run, store):
    first = Store(store).find("first")
    again = run(
        "build",
        "amortised",
        *TINY,
        "--workers",
        "1",
        "--threads",
        "1",
        "--device",
        "cpu",
        "--name",
        "second",
        "--no-plots",
    )
    assert again.status == 0
    assert again.out == f"{first.id}\n"
    assert "in the store already" in again.err
    assert Store(store).names()["second"] == first.id
    assert run("train", "amortised", "--quiet", *TINY).out == again.out
    assert run("train", "amortised", "--quiet", *TINY).err == ""


def test_flags_may_stand_between_settings(run, store):
    words = [*TINY[:3], "--quiet", *TINY[3:6], "--threads", "1", *TINY[6:]]
    assert run("build", "amortised", *words).last == Store(store).find("first").id


def test_overrides_and_flags_are_recorded_outside_the_identity(store):
    first = Store(store).find("first")
    assert first.meta["overrides"] == TINY
    assert first.config.trainer.threads == 1
    assert first.config.name == "first"


def test_an_experiment_file_describes_a_target(run, store, tmp_path):
    file = tmp_path / "e.yaml"
    file.write_text(
        "kind: amortised\nname: from_file\nseed: 1\nmodel: {preset: avici, dim: 8, n_pairs: 1, "
        "n_heads: 2, key_size: 4, dropout: 0.0}\n"
        "data: {train: {n_nodes: 4, n_rows: 30}, tasks_per_step: 2}\ntrainer: {max_steps: 9}\n"
    )
    ran = run("build", "--experiment", file, "trainer.max_steps=2", "--quiet")
    assert ran.last == Store(store).find("first").id
    assert Store(store).names()["from_file"] == ran.last


def test_the_committed_experiments_are_understood():
    from causal_meta.conf.compose import compose, load_experiment

    for file in (Path(__file__).parents[2] / "experiments").glob("*.yaml"):
        if "\ntargets:" in file.read_text("utf-8"):
            continue  # a study, understood in tests/cli/test_study.py
        kind, tree = load_experiment(file)
        tree.pop("init", None)  # the name of another model, which the verb takes out
        assert compose(kind, [], tree).kind == kind


def test_a_training_can_start_from_another_model(run, store):
    ran = run("build", "amortised", *TINY[:-1], "seed=2", "init=first", "--no-plots")
    assert Store(store).find(ran.last).inputs == {"init": Store(store).find("first").id}


def test_a_table_becomes_a_task_set_and_its_place_is_not_recorded(run, store, table, tmp_path):
    (tmp_path / "g.csv").write_text("a,b,c\n0,1,0\n0,0,0\n0,1,0\n")
    ran = run(
        "build", "tasks", f"data.table={table}", f"data.truth={tmp_path / 'g.csv'}", "name=mine"
    )
    artifact = Store(store).find("mine")
    assert artifact.id == ran.last
    assert artifact.meta["dims"] == {"n_tasks": 1, "n_rows": 20, "n_nodes": 3, "has_truth": True}
    recorded = "".join(
        path.read_text("utf-8")
        for path in artifact.folder.rglob("*")
        if path.suffix in (".json", ".yaml", ".jsonl")
    )
    assert str(tmp_path) not in recorded
    assert artifact.meta["overrides"] == ["data.table=table.csv", "data.truth=g.csv"]
    scored = run("evaluate", "of=first", "tasks=mine")
    assert scored.status == 0


def test_pictures_are_drawn_while_training_unless_not_wanted(run, store):
    drawn = Store(store).find(
        run("build", "amortised", *TINY[:-1], "seed=3", "trainer.log_every_n_steps=1").last
    )
    bare = Store(store).find(
        run(
            "build", "amortised", *TINY[:-1], "seed=4", "trainer.log_every_n_steps=1", "--no-plots"
        ).last
    )
    assert (drawn.folder / "figures" / "losses.png").is_file()
    assert not (bare.folder / "figures").exists()


# ---------------------------------------------------------------------------- infer, evaluate, data


def test_baselines_are_inferred_and_evaluated_on_the_same_tasks(run, store):
    posterior = run("infer", "empty", "of=held_in", "--name", "nothing")
    assert posterior.last == Store(store).find("nothing").id
    scored = run("evaluate", "of=held_in", "posterior=nothing")
    metrics = json.loads((Store(store).find(scored.last).folder / "metrics.json").read_text())
    assert re.search(rf"e_shd +{metrics['summary']['e_shd']['mean']:.3f}", scored.out)
    assert run("evaluate", "posterior=nothing", "of=held_in", "--quiet").out == scored.last + "\n"


def test_infer_prints_what_a_method_reports_about_its_work(run, store):
    words = ("infer", "sortnregress", "of=held_in", "n_samples=3")
    run(*words)
    held_in = Store(store).find("held_in")
    artifact = Store(store).find(run(*words).last)
    assert artifact.inputs["of"] == held_in.id
    meta = artifact.folder / "meta.json"
    tree = json.loads(meta.read_text())
    tree["interventional_rows_left_out"] = 12
    meta.write_text(json.dumps(tree))
    assert run(*words).out == f"12 rows under interventions left out\n{artifact.id}\n"
    assert run(*words, "--quiet").out == f"{artifact.id}\n"


def test_a_model_is_evaluated_and_answers_a_whole_set(run, store):
    assert run("evaluate", "of=first", "tasks=held_in", "n_samples=20").last.startswith(
        "run_evaluate_"
    )
    assert run("infer", "discover", "of=first", "tasks=held_in", "n_samples=20").last.startswith(
        "run_discover_"
    )


def test_data_show_draws_a_family_and_prints_sortabilities(run, tmp_path):
    ran = run(
        "data",
        "show",
        "data=linear_er",
        "data.n_nodes=4",
        "data.n_rows=50",
        "--tasks",
        "20",
        "--out",
        "pictures",
    )
    assert ran.status == 0
    assert "varsortability" in ran.out
    assert "r2_sortability" in ran.out
    assert {"degrees.png", "adjacency.png", "marginals.png", "pairs.png"} <= {
        path.name for path in (tmp_path / "pictures").iterdir()
    }


def test_report_prints_the_path_of_the_page(run, tmp_path):
    run("evaluate", "of=first", "tasks=held_in", "n_samples=20")
    ran = run("report", "first", "--out", tmp_path / "reports")
    assert ran.status == 0
    page = ran.last
    assert page.endswith("report.html")
    assert page.startswith(str(tmp_path / "reports"))
    assert "<html" in Path(page).read_text("utf-8")[:300].lower()


# ----------------------------------------------------------------------------------------- discover


def test_discover_exports_prints_and_can_be_repeated(run, store, table, tmp_path):
    ran = run("discover", table, "--model", "first", "--out", "answer", "--n-samples", "50")
    assert ran.status == 0
    assert ran.last == "answer"
    assert "acyclic:" in ran.out
    assert "of 50 sampled graphs" in ran.out
    p = np.genfromtxt(tmp_path / "answer" / "edge_probabilities.csv", delimiter=",", skip_header=1)[
        :, 1:
    ]
    strongest = np.unravel_index(p.argmax(), p.shape)
    assert re.search(rf"{'abc'[strongest[0]]} +→ +{'abc'[strongest[1]]} +{p.max():.3f}", ran.out)
    before = sorted(path.name for path in (store / "targets").rglob("run_*"))
    assert (
        run(
            "discover", table, "--model", "first", "--out", "answer", "--n-samples", "50", "--quiet"
        ).out
        == "answer\n"
    )
    assert sorted(path.name for path in (store / "targets").rglob("run_*")) == before


def test_discover_agrees_with_the_library(run, store, table, tmp_path):
    run(
        "discover", table, "--model", "first", "--out", "answer", "--n-samples", "20", "--seed", "3"
    )
    answer = causal_meta.discover(table, "first", store, n_samples=20, seed=3)
    with np.load(tmp_path / "answer" / "graphs.npz") as arrays:
        np.testing.assert_allclose(arrays["edge_probabilities"], answer.probabilities, atol=1e-6)
        assert (arrays["graphs"] != answer.graphs).mean() < 1e-2


def test_discover_compares_with_a_truth_and_warns_on_standard_error(run, table, tmp_path):
    (tmp_path / "g.csv").write_text("c,b,a\n0,0,0\n1,0,0\n0,1,0\n")
    ran = run(
        "discover", table, "--model", "first", "--truth", tmp_path / "g.csv", "--n-samples", "20"
    )
    assert "against the truth: e_shd" in ran.out
    assert json.loads((tmp_path / "answer" / "summary.json").read_text())["metrics"][
        "density"
    ] == pytest.approx(2 / 6)
    assert "Warning: The table has 3 columns; the model was trained on 4." in ran.err


def test_discover_takes_the_model_inside_the_package(run, store, table, monkeypatch, tmp_path):
    named = import_module("causal_meta.runners.inference.named_models")
    source = Store(store)
    exported = source.export(source.find("first"), tmp_path / "default")
    monkeypatch.setattr(named, "default_model_folder", lambda: exported)
    ran = run(
        "discover",
        table,
        "--store",
        tmp_path / "other",
        "--n-samples",
        "10",
        "--method",
        "amortised",
    )
    assert ran.status == 0
    assert Store(tmp_path / "other").find(source.find("first").id).kind == "amortised"
    scored = run("evaluate", "of=default", "tasks=held_in", "n_samples=5")
    assert scored.status == 0


def test_the_bundled_table_needs_no_file(run, tmp_path):
    ran = run(
        "discover",
        "sklearn:diabetes",
        "--model",
        "first",
        "--columns",
        "age,bmi,progression",
        "--n-samples",
        "10",
        "--out",
        "d",
    )
    assert ran.status == 0
    assert "diabetes: strongest edges" in ran.out
    assert "442 rows, 3 variables" in ran.out


# -------------------------------------------------------------------------------------------- store


def test_store_lists_shows_names_verifies_and_exports(run, store, tmp_path):
    first = Store(store).find("first").id
    listed = run("store", "ls").out
    assert re.search(rf"^{first} +amortised +first", listed, re.M)
    assert "amortised" not in run("store", "ls", "--kind", "tasks").out
    assert "trainer:" in run("store", "show", "first").out
    assert run("store", "path", first[:8]).out.strip() == str(store / "targets" / first)
    assert run("store", "name", "first", "best").status == 0
    assert run("store", "export", "best", tmp_path / "out").status == 0
    assert (
        run(
            "store", "import", tmp_path / "out", "--store", tmp_path / "new", "--name", "theirs"
        ).last
        == first
    )
    assert run("store", "verify", "--store", tmp_path / "new").status == 0
    (tmp_path / "new" / "targets" / first / "checkpoints" / "best.pt").write_bytes(b"")
    broken = run("store", "verify", "--store", tmp_path / "new")
    assert broken.status == 1
    assert "best.pt is changed" in broken.out


def test_a_checkpoint_file_is_imported(run, store, table, tmp_path):
    file = Store(store).find("first").folder / "checkpoints" / "best.pt"
    ran = run(
        "store", "import", file, "data.train.n_nodes=4", "data.train.n_rows=30", "--name", "theirs"
    )
    assert ran.status == 0
    assert ran.last != Store(store).find("first").id
    assert run("discover", table, "--model", "theirs", "--n-samples", "5").status == 0


def test_a_reader_that_leaves_early_is_no_error(store):
    done = subprocess.run(
        f"{sys.executable} -m causal_meta store show first --store {store} | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def test_the_store_verbs_load_no_torch(store):
    code = (
        "import sys; from causal_meta.cli import main; main(sys.argv[1:]); assert not "
        "{'torch', 'jax'} & set(sys.modules)"
    )
    for words in (["ls"], ["show", "first"], ["verify"], ["path", "first"]):
        subprocess.run(
            [sys.executable, "-c", code, "store", *words, "--store", str(store)],
            check=True,
            capture_output=True,
            env=os.environ | {},
        )
