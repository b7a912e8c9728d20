"""Study files: sweeps, patterns, references; every mistake is one sentence with its line."""

import re

import numpy as np
import pytest

from causal_meta.conf.compose import compose
from causal_meta.conf.setting import ConfigError
from causal_meta.datasets.real import read_table
from causal_meta.runners.build import make
from causal_meta.runners.tasks.task_sets import columns_of, store_table
from causal_meta.store import Store, StoreError, key_of
from causal_meta.workflow import carry_out, plan_of


def kinds(study):
    return [cell.kind for cell in study.cells]


def test_ids_are_those_of_single_commands_and_inputs_come_first(study):
    described = study(
        "targets:\n  - {target: tasks, name: a, data: wide, seed: 3, overrides: {n_tasks: 4, "
        "data.n_nodes: 5}}\n"
        "runs:\n  - {run: evaluate, of: a, posterior: empty, n_samples: 7}\n  - {run: empty, of: "
        "a}\n"
    )
    tasks = compose("tasks", ["data=wide", "n_tasks=4", "data.n_nodes=5", "seed=3"])
    ids = [key_of(tasks, {}).id]
    ids.append(key_of(compose("empty"), {"of": ids[0]}).id)
    ids.append(key_of(compose("evaluate", ["n_samples=7"]), {"of": ids[0], "posterior": ids[1]}).id)
    assert [cell.id for cell in described.cells] == ids
    assert described.cells[0].name == "a"


@pytest.mark.parametrize("seeds", ["0..2", "[0, 1, 2]", "{from: 0, to: 2}"])
def test_seeds_are_a_range_or_a_list(study, seeds):
    described = study(f"targets:\n  - {{target: tasks, name: a, seed: {seeds}, %}}\n")
    assert [(cell.config.seed, cell.name) for cell in described.cells] == [
        (0, "a-seed0"),
        (1, "a-seed1"),
        (2, "a-seed2"),
    ]


def test_lists_expand_and_overrides_go_over_the_preset_that_a_sweep_chose(study):
    described = study(
        "targets:\n  - {target: tasks, name: a, data: [wide, linear_er], overrides: "
        "{data.n_nodes: [3, 4], n_tasks: 2}}\n"
    )
    overridden = {
        (cell.name, cell.config.data.n_nodes.low, len(cell.config.data.mechanisms) > 1)
        for cell in described.cells
    }
    assert overridden == {
        (f"a-{data}-n_nodes{n}", n, data == "wide")
        for data in ("wide", "linear_er")
        for n in (3, 4)
    }


def test_a_list_of_overrides_is_tried_one_after_the_other_and_keys_may_be_nested(study):
    described = study(
        "targets:\n  - {target: tasks, overrides: [{n_tasks: 2, data: {n_nodes: 3}}, {n_tasks: "
        "5}]}\n"
    )
    assert [(cell.config.n_tasks, cell.config.data.n_nodes.low) for cell in described.cells] == [
        (2, 3),
        (5, 20),
    ]


def test_values_that_would_be_called_alike_are_numbered(study):
    described = study(
        "targets:\n  - {target: tasks, name: a, data: [{preset: wide, n_nodes: 3}, {preset: wide, "
        "n_nodes: 4}], n_tasks: 2}\n"
    )
    assert [(cell.name, cell.config.data.n_nodes.low) for cell in described.cells] == [
        ("a-wide_0", 3),
        ("a-wide_1", 4),
    ]


def test_a_pattern_takes_what_fits_and_runs_go_with_their_targets(study):
    described = study(
        "targets:\n  - {target: tasks, name: small, seed: 0..1, %}\n  - {target: tasks, name: "
        "other, seed: 9, %}\n"
        "samplers:\n  - {run: [empty, random], of: 'small*'}\n  - {run: evaluate, of: '*', "
        "posterior: '*'}\n"
    )
    assert kinds(described).count("empty") == 2
    assert kinds(described).count("evaluate") == 4
    by_id = described.by_id
    for cell in described.cells:
        if cell.kind == "evaluate":
            assert by_id[cell.inputs["posterior"]].inputs["of"] == cell.inputs["of"]


def test_what_is_not_in_the_file_is_looked_for_in_the_store(study, store):
    stored = make(
        store, compose("tasks", ["n_tasks=2", "data.n_nodes=3", "data.n_rows=20"]), name="kept"
    )
    assert study("runs:\n  - {run: empty, of: 'kep*'}\n").cells[0].inputs == {"of": stored.id}
    described = study("runs:\n  - {run: evaluate, of: default, tasks: kept}\n")
    assert described.others.keys() == {stored.id, described.cells[0].inputs["of"]}
    assert not store.folder_of(described.cells[0].inputs["of"])  # reading a study writes nothing


def test_a_name_that_several_kinds_share_means_what_fits(study):
    described = study(
        "targets:\n  - {target: tasks, name: a, %}\nruns:\n  - {run: [empty, random], of: a, "
        "name: a}\n  - {run: evaluate, of: a, posterior: a}\n"
    )
    assert [cell.name for cell in described.cells] == ["a", "a-empty", "a-random", "", ""]


def test_the_file_goes_before_the_store(study, store):
    make(
        store,
        compose("tasks", ["n_tasks=2", "data.n_nodes=3", "data.n_rows=20", "seed=8"]),
        name="a1",
    )
    described = study(
        "targets:\n  - {target: tasks, name: a2, %}\nruns:\n  - {run: empty, of: 'a*'}\n"
    )
    assert described.cells[1].inputs == {"of": described.cells[0].id}


WRONG = {
    "unknown kind": ("targets:\n  - {target: taks}\n", 2, "no target called 'taks'; did you mean "
                                                          "'tasks'"),
    "run among targets": ("targets:\n  - {target: boss}\n", 2, "no target called 'boss'"),
    "unknown setting": ("targets:\n  - target: tasks\n "
                        "   n_task: 3\n", 3, "no setting or input 'n_task'; "
                                             "did you mean 'n_tasks'"),
    "bad value": ("targets:\n  - target: tasks\n   "
                  " seed: 1\n    n_tasks: 0\n", 4, "must be at least 1"),
    "bad seed": ("targets:\n  - target: tasks\n    "
                 "n_tasks: 2\n    seed: -1\n", 4, "tasks.seed is -1"),
    "bad preset": ("targets:\n  - target: tasks\n    data: wode\n", 3, "did you mean 'wide'"),
    "bad override": ("targets:\n  - target: tasks\n    n_tasks: 2\n    overrides: {data.n_nods: "
                     "3}\n", 4, "did you mean 'n_nodes'"),
    "range": ("targets:\n  - target: tasks\n    seed: 4..1\n", 3, "not below the first"),
    "endless range": ("targets:\n  - target: tasks\n    seed: 0..999999999\n", 3, "at most 100000"),
    "nothing matches": ("targets:\n  - {target: tasks}\nruns:\n  - "
                        "run: empty\n    of: smal*\n", 5, "'smal*' matches nothing"),
    "no such name": ("targets:\n  - {target: tasks, name: small}\nruns:\n  - {run: empty, of: "
                     "smal}\n", 4, "did you mean 'small'"),
    "wrong kind": ("targets:\n  - {target: tasks}\nruns:\n  - {run: discover, of: tasks, tasks: "
                   "tasks}\n", 4, "can be of kind amortised"),
    "missing input": ("targets:\n  - {target: tasks}\nruns:\n "
                      " - {run: empty}\n", 4, "needs the input of"),
    "missing posterior": ("targets:\n  - {target: tasks}\nruns:\n  "
                          "- {run: evaluate, of: tasks}\n", 4, "came without posterior"),
    "two with one id": ("targets:\n  - {target: tasks}\n  "
                        "- {target: tasks, name: b}\n", 3, "the same as that of line 2"),
    "two with one name": ("targets:\n  - {target: tasks, name: b}\n  - {target: tasks, name: b, "
                          "seed: 1}\n", 3, "that of line 2 already"),
    "bad name": ("targets:\n  - {target: tasks, name: 2b}\n", 2, "cannot be a name"),
    "name of the study": ("name: b\ntargets:\n  - {target: "
                          "tasks, name: b}\n", 3, "name of the study"),
    "circle": ("targets:\n  - {target: amortised, name: a, init: b}\n  - {target: amortised, "
               "name: b, init: a}\n", 2, "cycle through lines 2, 3"),
    "circle of one": ("targets:\n  - {target: "
                      "amortised, init: amortised}\n", 2, "cycle through line 2"),
    "no pair": (
        "targets:\n  - {target: tasks, name: a}\n  - {target: tasks, name: b, seed: 1}\nruns:\n  "
        "- {run: empty, of: a}\n"
        "  - {run: evaluate, of: b, posterior: empty}\n", 6, "none of the runs",
    ),
    "unknown section": ("target:\n  - {target: tasks}\nruns: []\n", 1, "did you mean 'targets'"),
    "no list": ("targets: tasks\n", 1, "give a list"),
    "nothing": ("targets: []\n", 1, "no targets and no runs"),
    "no kind": ("targets:\n  - {seed: 1}\n", 2, "target: KIND"),
    "no YAML": ("targets:\n  - {target: tasks\n", 3, "not valid YAML"),
    "key twice": ("targets:\n  - target: tasks\n    seed: 1\n    seed: 2\n", 4, "occurs twice"),
    "anchor in itself": ("targets: &a\n  - *a\n", 1, "contains itself"),
    "empty sweep": ("targets:\n  - {target: tasks, data: []}\n", 2, "empty list"),
    "both words": ("runs: []\nsamplers: []\n", 2, "older word"),
    "table": ("targets:\n  - {target: tasks, "
              "data: {kind: table, sha256: ab}}\n", 2, "give its file"),
    "no such table": ("targets:\n  - target: tasks\n  "
                      "  data: {table: none.csv}\n", 3, "There is no file"),
    "no table": ("targets:\n  - target: tasks\n  "
                 "  data: {table: s.yaml}\n", 3, "does not tell its format"),
    "no bundled table": ("targets:\n  - {target: tasks, data: {table: "
                         "'sklearn:diabets'}}\n", 2, "did you mean 'sklearn:diabetes'"),
    "unknown word of a table": ("targets:\n  - {target: tasks, "
                                "data: {table: a.csv, trut: b}}\n", 2, "did you mean 'truth'"),
    "number for a table": ("targets:\n  - {target: "
                           "tasks, data: {table: 3}}\n", 2, "table of a table is 3"),
    "seeds of a table": ("targets:\n  - target: tasks\n    "
                         "data: {table: a.csv}\n   "
                         " seed: 0..2\n", 4, "'seed' cannot be given with a table"),
    "overrides of a table": (
        "targets:\n  - target: tasks\n    data: {table: a.csv}\n    overrides: {data.transform: "
        "log}\n", 4, "cannot be given with a table",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(WRONG))
def test_a_mistake_is_one_sentence_with_its_line(study, store, case):
    text, line, saying = WRONG[case]
    with pytest.raises(ConfigError) as error:
        study(text)
    message = str(error.value)
    assert re.search(rf"s\.yaml, line {line}\b", message), message
    assert saying in message
    assert message.endswith(".")
    assert "\n" not in message
    assert not store.root.exists()


def test_a_name_that_the_store_knows_is_taken_unless_it_means_the_same(study, store):
    make(store, compose("tasks", ["n_tasks=2", "data.n_nodes=3", "data.n_rows=20"]), name="mine")
    assert study("targets:\n  - {target: tasks, name: mine, %}\n").cells[0].name == "mine"
    with pytest.raises(ConfigError, match=r"line 2: the name 'mine' means tgt_.*--force"):
        study("targets:\n  - {target: tasks, name: mine, seed: 1, %}\n")
    assert study("targets:\n  - {target: tasks, name: mine, seed: 1, %}\n", force=True).force
    with pytest.raises(ConfigError, match="a name that an artifact has already"):
        study("targets:\n  - {target: tasks, %}\n", name="mine")


def test_the_name_of_another_study_is_taken(study, store):
    home = store.root / "experiments" / "theirs"
    home.mkdir(parents=True)
    (home / "config.yaml").write_text("targets: []")
    for force in (False, True):
        with pytest.raises(
            ConfigError, match=r"line 2: 'theirs' is the name of another study in the store"
        ):
            study("targets:\n  - {target: tasks, name: theirs, %}\n", force=force)
    with pytest.raises(StoreError, match="'theirs' is that of a study"):
        make(
            store,
            compose("tasks", ["n_tasks=2", "data.n_nodes=3", "data.n_rows=20"]),
            name="theirs",
        )
    assert store.artifacts() == []


# ------------------------------------------------------------------------------------------- tables


@pytest.fixture
def table(tmp_path):
    """A folder `tables` beside the study file with a table of 20 rows and its true graph."""
    folder = tmp_path / "tables"
    folder.mkdir()
    values = np.random.default_rng(0).lognormal(size=(20, 3))
    np.savetxt(folder / "mine.csv", values, delimiter=",", header="a,b,c", comments="")
    (folder / "graph.csv").write_text("a,b,c\n0,1,0\n0,0,1\n0,0,0\n")
    return folder / "mine.csv"


MINE = (
    "targets:\n  - {target: tasks, name: mine, data: {table: tables/mine.csv, truth: "
    "tables/graph.csv}}\n"
)


def test_a_table_is_the_target_that_the_single_command_makes(
    study, store, table, tmp_path, monkeypatch
):
    monkeypatch.chdir("/")  # paths are relative to the study file
    (cell,) = study(MINE).cells
    assert (
        cell.id
        == store_table(
            Store(tmp_path / "other"),
            read_table(table),
            truth=np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]], np.int8),
        ).id
    )
    (bundled,) = study(
        "targets:\n  - {target: tasks, data: {table: 'sklearn:iris', columns: [petal length (cm), "
        "species], title: Flowers}}\n"
    ).cells
    assert bundled.config.data.columns == ("petal length (cm)", "species")
    assert bundled.config.data.title == "Flowers"
    assert not store.root.exists()


def test_tables_and_families_make_one_sweep(study, table):
    described = study(
        "targets:\n  - {target: tasks, name: a, data: [wide, {table: tables/mine.csv}, {table: "
        "'sklearn:wine'}]}\n"
    )
    assert [(cell.name, cell.table is None) for cell in described.cells] == [
        ("a-wide", True),
        ("a-mine", False),
        ("a-sklearn_wine", False),
    ]


def test_the_content_of_a_table_counts_and_not_its_place(study, table):
    (before,) = study(MINE).cells
    table.with_name("copy.csv").write_bytes(table.read_bytes())
    (moved,) = study(MINE.replace("mine.csv", "copy.csv")).cells
    (logs,) = study(MINE.replace("data: {", "data: {transform: log, ")).cells
    table.write_text(table.read_text().replace("1", "2"))
    (changed,) = study(MINE).cells
    assert before.id == moved.id
    assert len({before.id, changed.id, logs.id}) == 3


def test_a_table_is_made_here_and_its_runs_anywhere(study, store, table):
    text = (
        MINE
        + "runs:\n  - {run: [empty, random], of: mine}\n"
        + "  - {run: evaluate, of: mine, posterior: '*'}\n"
    )
    plan = plan_of(study(text), store)
    assert carry_out(plan, store, executor="processes", workers=1).ok
    mine = store.find("mine")
    assert columns_of(mine) == ["a", "b", "c"]
    # no path of this machine is recorded
    assert mine.meta["overrides"] == ["data.table=mine.csv", "data.truth=graph.csv"]
    assert str(table.parent) not in (mine.folder / "meta.json").read_text()
    assert store.verify() == []
    assert plan_of(study(text), store).to_make == []


def test_a_table_that_changes_after_planning_is_not_taken_for_what_was_planned(study, store, table):
    plan = plan_of(study(MINE + "runs:\n  - {run: empty, of: mine}\n"), store)
    table.write_text(table.read_text().replace("1", "2"))
    outcome = carry_out(plan, store)
    assert list(outcome.states.values()) == ["failed", "blocked"]
    assert "has changed since the study was planned" in next(iter(outcome.answers.values())).cause
    assert store.artifacts() == []
