"""SQL over the manifests: its answers are those of the folders, and it reads nothing else."""

import json
import subprocess
import sys

import pytest

from causal_meta.conf.inference import EmptyConfig
from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import Store, StoreError

duckdb = pytest.importorskip("duckdb")
from causal_meta.store.query import RUN_COLUMNS, TARGET_COLUMNS, ask  # noqa: E402


@pytest.fixture
def filled(store, target):
    """Two targets of different kinds, and runs with results."""

    def scores(config, attempt):
        numbers = {
            "summary": {"shd": {"mean": 2.0 + config.seed}},
            "llc_mean": 1,
            "LLC_mean": "clash",
            "per_task": [1, 2],
            "done": True,
        }
        (attempt.folder / "metrics.json").write_text(json.dumps(numbers))

    store.build(
        ExperimentConfig(seed=7),
        {},
        lambda config, attempt: {"dims": {"p": 10}, "metrics": {"L0": 0.5}},
    )
    for seed in range(3):
        store.build(EmptyConfig(seed=seed), {"of": target}, scores)
    return store


def test_the_tables_say_what_the_artifacts_say(filled, target):
    assert ask(
        filled, "select target_id, kind, seed, name, model from targets order by seed"
    ).rows == [
        (target.id, "tasks", 1, "first", None),
        (filled.key(ExperimentConfig(seed=7)).id, "amortised", 7, None, "avici"),
    ]
    assert ask(
        filled,
        'select "dims.p", "metrics.L0", "config.trainer.max_steps" from targets where kind = '
        "'amortised'",
    ).rows == [(10, 0.5, 1000)]
    question = (
        'select seed, "result.summary.shd.mean" as shd, "result.done", '
        '"hyperparams.n_samples" from runs order by 1'
    )
    answer = ask(filled, question)
    assert answer.columns == ("seed", "shd", "result.done", "hyperparams.n_samples")
    assert answer.rows == [(seed, 2.0 + seed, True, 1) for seed in range(3)]
    (path,) = {path.rpartition("/")[0] for (path,) in ask(filled, "select path from runs").rows}
    assert filled.root / path == target.folder
    assert [json.loads(row[0]) for row in ask(filled, "select inputs from runs limit 1").rows] == [
        {"of": target.id}
    ]
    assert ask(
        filled, "select t.kind, count(*) from runs r join targets t using (target_id) group by 1"
    ).rows == [("tasks", 3)]


def test_columns_that_sql_takes_for_one_stay_apart(filled):
    columns = ask(filled, "select * from runs").columns
    assert len({column.casefold() for column in columns}) == len(columns)
    assert {"result.llc_mean", "result.LLC_mean", "result.llc_mean_2", "result.LLC_mean_2"} & set(
        columns
    )
    assert "result.per_task" not in columns


def test_an_empty_or_damaged_store_can_be_asked(tmp_path, filled):
    empty = Store(tmp_path / "nowhere")
    for table, columns in (("targets", TARGET_COLUMNS), ("runs", RUN_COLUMNS)):
        answer = ask(empty, f"select * from {table}")
        assert (answer.columns, answer.rows) == (columns, [])
    assert not (tmp_path / "nowhere").exists()
    run = filled.runs_of(filled.find("first"))[0]
    (run.folder / "metrics.json").write_text('{"summary": {"sh')
    (filled.runs_of(filled.find("first"))[1].folder / "meta.json").write_text("{")
    assert ask(filled, 'select count(*), count("result.summary.shd.mean") from runs').rows == [
        (2, 1)
    ]


@pytest.mark.parametrize(
    "question",
    [
        "select * from read_csv('/etc/passwd')", "select * from '/etc/passwd'",
        "select * from read_text('/etc/passwd')", "select * from glob('/*')",
        "copy runs to 'x.csv'", "copy (select 1) to 'x.csv'", "attach 'x.db'",
        "install httpfs", "load httpfs", "export database 'x'",
        "set enable_external_access = true", "reset enable_external_access",
        "create table x as select 1",
        "delete from runs", "drop table runs",
        "insert into runs (run_id) values ('x')",
        "update runs set seed = 1", "select 1; select 2", "", ";", "selec",
        "select nothing from runs",
        "select * from store", "select * from secret", "pragma database_size",
        "call pragma_version()", "select * from read_parquet('x')",
        "select * from duckdb_secrets()", "select * from parquet_scan('https://localhost/x')",
    ],
)  # fmt: skip
def test_a_question_reads_nothing_else_and_changes_nothing(filled, tmp_path, monkeypatch, question):
    import pandas as pd

    monkeypatch.chdir(tmp_path)
    secret = pd.DataFrame({"x": [1]})  # a variable in reach: DuckDB would take it for a table
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError) as caught:
        ask(filled, question)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith((".", "!"))
    assert sorted(tmp_path.rglob("*")) == before
    assert len(secret) == 1


def test_an_unknown_table_is_answered_with_the_tables(filled):
    with pytest.raises(
        StoreError, match=r"Table with name rusn does not exist! The tables are targets and runs\.$"
    ):
        ask(filled, "select * from rusn")


def test_quotes_in_names_are_names(filled, target):
    filled.build(
        TasksConfig(seed=9), {}, lambda config, attempt: {"metrics": {'a"; drop table runs; --': 1}}
    )
    assert ask(
        filled, 'select "metrics.a""; drop table runs; --" from targets where seed = 9'
    ).rows == [(1,)]
    assert ask(filled, "select count(*) from runs").rows == [(3,)]


def test_without_duckdb_it_says_what_to_install(tmp_path):
    words = "['store', 'query', 'select 1', '--store', sys.argv[1]]"
    code = (
        "import sys; sys.modules['duckdb'] = None\nfrom causal_meta.cli import "
        f"main\nsys.exit(main({words}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert (
        done.stderr == "store query needs the Python package duckdb; install it with pip install "
        "'causal-meta[workflow]'.\n"
    )


def test_the_module_is_light():
    heavy = "{'duckdb', 'pyarrow', 'pandas', 'torch', 'matplotlib'}"
    code = (
        f"import sys, causal_meta.store.query, causal_meta.cli.store_moves; print({heavy} & "
        "set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
