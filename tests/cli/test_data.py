"""`data`: predefined entries are listed, families are drawn and compared once, tables are imported
with truth and interventions, invalid ones are refused."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causal_meta.cli import data, data_import
from causal_meta.cli.program import parser
from causal_meta.conf.catalogue import catalogue, family_line
from causal_meta.conf.compose import compose
from causal_meta.runners.tasks.task_sets import load_tasks
from causal_meta.store import Store

SMALL = ["first.n_nodes=4", "second.n_nodes=4", "n_tasks=20", "n_rows=30"]
SHARED = Path(__file__).parents[3] / "shared" / "data"


def test_the_examples_parse():
    for text in (data.LS, data.SHOW, data.DISTANCE, data_import.EXAMPLES):
        for line in (
            line.strip() for line in text.splitlines() if line.strip().startswith("causal-meta ")
        ):
            parser().parse_known_args(line.split()[1:])


# ----------------------------------------------------------------------------------------------- ls


def test_ls_has_a_line_for_everything_that_is_ready(run, store):
    out = run("data", "ls").out
    for name in ("linear_er", "wide", "wide_stream", "sachs", "sachs_20", "diabetes"):
        assert re.search(rf"^  {name} ", out, re.MULTILINE), name
    assert len([line for line in out.splitlines() if line.startswith("  ")]) == len(catalogue())
    assert all(entry.line and "\n" not in entry.line for entry in catalogue())
    some = run("data", "ls", "tables", "20-edge").out.splitlines()
    assert [line.split()[0] for line in some] == ["tables", "sachs_20"]


def test_a_family_is_described_in_one_line():
    wide = compose("tasks", ["data=wide"]).data
    assert family_line(wide) == "erdos_renyi + scale_free; linear + mlp; noise_mixture noise"


# ----------------------------------------------------------------------------------- show, distance


def test_show_draws_into_the_store_and_finds_it_again(run, store):
    words = [
        "data",
        "show",
        "data=linear_er",
        "data.n_nodes=4",
        "data.n_rows=50",
        "n_tasks=20",
        "seed=3",
    ]
    first = run(*words)
    folder = Store(store).find(first.last).folder
    pictures = [line for line in first.out.splitlines() if line.endswith(".png")]
    assert {Path(line).name for line in pictures} >= {
        "degrees.png",
        "adjacency.png",
        "marginals.png",
        "pairs.png",
    }
    assert all(Path(line).parent == folder / "figures" for line in pictures)
    again = run(*words, "--name", "small")
    assert "in the store already" in again.err
    assert again.out == first.out
    assert (
        run(
            "data",
            "show",
            "data=linear_er",
            "data.n_nodes=4",
            "data.n_rows=50",
            "--tasks",
            "20",
            "seed=3",
            "--quiet",
        ).out
        == first.last + "\n"
    )
    for picture in (folder / "figures").iterdir():
        picture.unlink()
    assert run(*words).out == first.out
    assert all(Path(line).is_file() for line in pictures)


@pytest.mark.usefixtures("few_trees")
def test_distance_is_computed_once_whatever_the_order(run, store, tmp_path):
    first = run("data", "distance", "wide", "linear_er", *SMALL)
    assert first.status == 0
    assert "nonlinearity_gap" in first.out
    folder = Store(store).find(first.last).folder
    again = run("data", "distance", "linear_er", "wide", *SMALL, "--out", "mine.png")
    assert again.last == first.last
    assert "in the store already" in again.err
    assert (tmp_path / "mine.png").stat().st_size > 10_000
    shown = [re.search(r"edges_per_node_gap +(\S+)", ran.out).group(1) for ran in (first, again)]
    assert float(shown[0]) == -float(shown[1]) != 0
    stored = json.loads((folder / "distances.json").read_text())["distances"]["edges_per_node_gap"][
        "value"
    ]
    assert abs(float(shown[0])) == pytest.approx(abs(stored), abs=1e-4)
    (folder / "figures" / "distance.png").unlink()
    assert run("data", "distance", "wide", "linear_er", *SMALL).out == first.out
    assert (folder / "figures" / "distance.png").is_file()


@pytest.mark.usefixtures("few_trees")
def test_distance_takes_task_sets_and_models(run, store):
    ran = run("data", "distance", "first", "held_in", "n_tasks=20", "n_rows=20")
    assert ran.status == 0, ran.err
    tree = Store(store).find(ran.last).config
    families = [
        Store(store).find("first").config.data.train,
        Store(store).find("held_in").config.data,
    ]
    assert [tree.first, tree.second] in (families, families[::-1])


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["data", "distance", "wyde", "wide"], "did you mean 'wide'?"),
        (["data", "distance", "wide", "wide", "n_tasks=5"], "n_tasks is 5; it must be at least 20"),
        (["data", "distance", "wide", "wide", "third.n_nodes=5"], "no setting or input 'third'"),
        (["data", "distance", "wide", "wide", "first.n_node=5"], "did you mean 'first.n_nodes'?"),
        (["data", "distance", "wide"], "see causal-meta data distance --help"),
        (["data", "ls", "nothing_of_it"], "No predefined entry contains 'nothing_of_it'"),
        (["data", "show", "data=wyde"], "did you mean 'wide'?"),
    ],
)
def test_words_that_make_no_sense_are_refused(refused, words, saying):
    refused(*words, saying=saying)


def test_a_table_is_no_family(run, refused, table):
    run("data", "import", table, "--name", "mine")
    refused("data", "distance", "mine", "wide", saying="is not a family")


# ------------------------------------------------------------------------------------------- import


@pytest.fixture
def interventional(tmp_path):
    """A CSV of 30 rows with columns a, b, c, d and INT, and the file of its truth."""
    rows = np.random.default_rng(0).normal(size=(30, 4)) + 5
    frame = pd.DataFrame(rows, columns=list("abcd")).assign(INT=["", "none", "a", "b", "a+c"] * 6)
    frame.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "edges.csv").write_text("cause,effect\na,b\nb,c\n")
    return tmp_path / "t.csv"


def test_import_sets_the_mask_and_everything_uses_it(run, store, interventional):
    ran = run(
        "data",
        "import",
        interventional,
        "--truth",
        "edges.csv",
        "--interventions",
        "INT",
        "--name",
        "mine",
    )
    assert ran.status == 0, ran.err
    assert "30 rows, 4 variables, true graph of 2 edges" in ran.out
    assert "12 observational rows; rows by variable set: a (12), b (6), c (6)" in ran.out
    batch = load_tasks(Store(store).find("mine"))
    assert batch.intervened[0].sum(0).tolist() == [12, 6, 6, 0]
    assert batch.adjacency[0].sum() == 2
    assert (
        run(
            "build",
            "tasks",
            f"data.table={interventional}",
            "data.truth=edges.csv",
            "data.interventions=INT",
        ).last
        == ran.last
    )
    scored = run("evaluate", "of=first", "tasks=mine", "n_samples=20")
    assert scored.status == 0, scored.err
    answered = run("infer", "discover", "of=first", "tasks=mine", "n_samples=20")
    assert any(
        "trained on observational rows only" in warning
        for warning in Store(store).find(answered.last).meta["warnings"]
    )
    assert run("infer", "empty", "of=mine").status == 0
    run(
        "data",
        "import",
        interventional,
        "--columns",
        "a,b,c,d",
        "--truth",
        "edges.csv",
        "--mask",
        mask_of(interventional, 0),
        "--name",
        "unmarked",
    )
    blind = run("evaluate", "of=first", "tasks=unmarked", "n_samples=20")
    answers = [
        json.loads((Store(store).find(one.last).folder / "metrics.json").read_text())["per_task"][
            "graph_nll"
        ]
        for one in (scored, blind)
    ]
    assert answers[0] != answers[1], "the same rows without the mask must get another answer"


def mask_of(path, value):
    mask = path.with_name("mask.csv")
    pd.DataFrame({"a": [value] * 30}).to_csv(mask, index=False)
    return mask


def test_discover_reads_interventions_too(run, interventional):
    words = ["discover", interventional, "--model", "first", "--n-samples", "20", "--quiet"]
    assert "trained on observational rows only" in run(*words, "--interventions", "INT").err
    one = (interventional.parent / "answer" / "edge_probabilities.csv").read_text()
    assert "observational" not in run(*words, "--columns", "a,b,c,d").err
    assert (interventional.parent / "answer" / "edge_probabilities.csv").read_text() != one


def test_a_repeated_import_reuses_the_result_and_records_no_path(run, store, interventional):
    ran = run("data", "import", interventional, "--interventions", "INT")
    again = run(
        "data", "import", interventional, "--interventions", "INT", "--name", "mine", "--quiet"
    )
    assert again.out == ran.last + "\n"
    folder = Store(store).find(ran.last).folder
    assert (
        str(interventional.parent)
        not in (folder / "meta.json").read_text() + (folder / "config.yaml").read_text()
    )


@pytest.mark.parametrize(
    ("options", "saying"),
    [
        ([], "or say that 'INT' names the variable intervened on in each row"),
        (["--interventions", "INTT"], "did you mean 'INT'?"),
        (["--interventions", "INT", "--columns", "b,c,d"], "which is not among the columns used"),
        (["--interventions", "INT", "--truth", "cycle.csv"], "cycle"),
        (["--interventions", "INT", "--truth", "unknown.csv"], "names 'e', which is no column"),
        (["--interventions", "INT", "--transform", "logg"], "There is no transform 'logg'"),
        (["--interventions", "INT", "--mask", "short.csv"], "has 2 rows and the table 30"),
        (["--interventions", "INT", "--name", "2024_01"], "cannot be a name"),
        (["--from", "."], "There is no table called"),
    ],
)
def test_import_refuses_invalid_options(refused, interventional, options, saying):
    folder = interventional.parent
    (folder / "cycle.csv").write_text("cause,effect\na,b\nb,a\n")
    (folder / "unknown.csv").write_text("cause,effect\na,e\n")
    (folder / "short.csv").write_text("a\n1\n0\n")
    refused("data", "import", interventional, *options, saying=saying)


def test_an_unknown_variable_in_the_column_is_refused(refused, tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(12, 2)), columns=["a", "b"]).assign(
        INT=[""] * 11 + ["x"]
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    refused(
        "data",
        "import",
        tmp_path / "t.csv",
        "--interventions",
        "INT",
        saying="data row 12 names an intervention on 'x', which is no variable",
    )


# ------------------------------------------------------------------------------------- descriptions


@pytest.mark.parametrize("name", ["iris", "sklearn:iris"])
def test_bundled_tables_need_no_file(run, name):
    ran = run("data", "import", name)
    assert ran.status == 0, ran.err
    assert "150 rows, 5 variables, no true graph" in ran.out


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["sachs"], "not part of this package; fetch it"),
        (["sach"], "did you mean 'sachs'?"),
        (["iris", "--from", "."], "so no file is needed"),
        (["iris", "--columns", "species"], "leave --columns out"),
        (["sachs", "--from", "nowhere"], "nowhere"),
        (["sachs", "--from", "."], "holds none of data.csv"),
    ],
)
def test_predefined_tables_refuse_invalid_options(refused, words, saying):
    refused("data", "import", *words, saying=saying)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published tables are not here")
def test_sachs_comes_with_either_graph_and_its_logarithm(run, store, tmp_path):
    for name, edges in (("sachs", 17), ("sachs_20", 20)):
        ran = run("data", "import", name, "--from", SHARED / "sachs", "--name", name)
        assert ran.status == 0, ran.err
        assert (
            f"853 rows, 11 variables, true graph of {edges} edges, values in natural logarithm"
            in ran.out
        )
    one, two = (load_tasks(Store(store).find(name)).adjacency[0] for name in ("sachs", "sachs_20"))
    assert int((one - two).clamp(0).sum()) == 1
    assert int((two - one).clamp(0).sum()) == 4
    raw = run("data", "import", "sachs", "--from", SHARED / "sachs", "--transform", "none")
    assert "logarithm" not in raw.out
    assert run("infer", "empty", "of=sachs").status == 0
