"""From a table to an exported answer; the files of an answer are whole or not there; models are
found where they may be and refused elsewhere."""

import json
import os
import shutil

import networkx as nx
import numpy as np
import pandas as pd
import pytest

import causal_meta
from causal_meta import discover, load_model
from causal_meta.conf.convert import from_plain
from causal_meta.conf.inference import DiscoverConfig
from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.datasets.real import read_table
from causal_meta.runners.build import make
from causal_meta.runners.inference import answer_folder, answers, named_models
from causal_meta.runners.inference.discovery import from_run
from causal_meta.runners.tasks.task_sets import store_table
from causal_meta.runners.training.importing import import_artifact, settings_words
from causal_meta.store import Store, StoreError

TINY = {
    "kind": "amortised",
    "seed": 1,
    "model": {"kind": "avici", "dim": 8, "n_pairs": 1, "n_heads": 2, "key_size": 4, "dropout": 0.0},
    "data": {"train": {"n_nodes": 4, "n_rows": 30}, "tasks_per_step": 2},
    "trainer": {"max_steps": 2},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A store with one tiny trained model called tiny, and the model exported."""
    store = Store(tmp_path_factory.mktemp("discovery") / "store")
    artifact = make(store, from_plain(ExperimentConfig, TINY), name="tiny")
    store.export(artifact, store.root.parent / "exported" / artifact.id)
    return store


@pytest.fixture(scope="module")
def model(home):
    return load_model("tiny", home)


@pytest.fixture
def frame():
    x = np.random.default_rng(0).normal(size=(25, 4))
    x[:, 1] += x[:, 0]
    return pd.DataFrame(x, columns=["age", "bmi", "bp", "s1"])


# ------------------------------------------------------------------------------------------ answers


def test_a_frame_gives_a_posterior_with_its_names(model, frame):
    answer = discover(frame, model, n_samples=50)
    assert answer.columns == tuple(frame.columns)
    assert answer.graphs.shape == (50, 4, 4)
    probabilities = answer.edge_probabilities
    assert list(probabilities.index) == list(probabilities.columns) == list(frame.columns)
    assert (np.diag(probabilities) == 0).all()
    edges = answer.edges
    assert len(edges) == 12
    assert (edges["probability"].diff().dropna() <= 0).all()
    for edge in edges.itertuples():
        assert probabilities.loc[edge.cause, edge.effect] == edge.probability


def test_every_door_gives_the_same_answer(home, model, frame, tmp_path):
    file = tmp_path / "t.parquet"
    frame.to_parquet(file)
    expected = discover(frame, model).probabilities
    for table, which in (
        (file, model),
        (frame.to_numpy(), "tiny"),
        (frame, home.root.parent / "exported" / model.id),
    ):
        np.testing.assert_allclose(discover(table, which, home).probabilities, expected, atol=1e-6)
    np.testing.assert_allclose(model.posterior(frame).edge_probabilities[0], expected, atol=1e-6)


def test_the_answer_does_not_change_with_units_or_the_order_of_columns(model, frame):
    expected = discover(frame, model).edge_probabilities
    moved = frame[["s1", "bp", "age", "bmi"]] * [1e3, 1e-3, 1.0, 7.0] + [0.0, 5.0, 1e6, -3.0]
    moved_back = discover(moved, model).edge_probabilities
    np.testing.assert_allclose(moved_back.loc[frame.columns, frame.columns], expected, atol=1e-4)


def test_samples_follow_the_marginals_and_the_seed(model, frame):
    answer = discover(frame, model, n_samples=2000, seed=3)
    p = answer.probabilities
    assert (np.abs(answer.graphs.mean(axis=0) - p) <= 5 * np.sqrt(p * (1 - p) / 2000) + 1e-12).all()
    assert (answer.graphs == discover(frame, model, n_samples=2000, seed=3).graphs).all()
    assert not (answer.graphs == discover(frame, model, n_samples=2000, seed=4).graphs).all()
    by_hand = [
        nx.is_directed_acyclic_graph(nx.from_numpy_array(graph, create_using=nx.DiGraph))
        for graph in answer.graphs
    ]
    assert answer.acyclic_share == np.mean(by_hand)


def test_an_explicit_answer_is_the_command_lines(frame, tmp_path, monkeypatch):
    from causal_meta.cli import main

    monkeypatch.chdir(tmp_path)
    frame = frame.assign(site=np.where(frame["s1"] > 0, "north", "south"))
    frame.to_csv("t.csv", index=False)
    known = {"forbid": ["age -> bmi"], "tiers": [["age", "s1"], "*"], "max_parents": 2}
    words = ["t.csv", "--forbid", "age -> bmi", "--tiers", "age, s1; *", "--max-parents", "2"]
    words += ["--context", "site", "--seed", "3", "--method", "exact,boss", "starts=2", "--quiet"]
    assert main(["discover", *words, "--n-samples", "30", "--store", "store"]) == 0
    answer = discover(
        frame,
        method="exact,boss",
        settings=["starts=2"],
        knowledge=known,
        context=["site"],
        n_samples=30,
        seed=3,
    )
    with np.load("answer/graphs.npz") as arrays:
        np.testing.assert_allclose(arrays["edge_probabilities"], answer.probabilities, atol=1e-12)
        assert (arrays["graphs"] == answer.graphs).all()
    summary = json.loads((tmp_path / "answer" / "summary.json").read_text("utf-8"))
    expected = answers.summary(answer)
    for key in ("knowledge", "members", "strongest_edges", "effects", "warnings", "graph"):
        assert summary[key] == expected[key], key
    assert summary["knowledge"] == known | {"tiers": ["age, s1", "*"]}
    free = discover(frame, method="exact", context=["site"], n_samples=30, seed=3)
    assert np.abs(free.probabilities - answer.probabilities).max() > 0.1


def test_knowledge_may_be_a_configuration_and_is_refused_in_one_sentence(frame):
    from causal_meta.conf.knowledge import KnowledgeConfig

    quick = {"settings": ["score=linear"], "n_samples": 20}
    known = KnowledgeConfig(require=("bmi -> age",))
    answer = discover(frame, knowledge=known, **quick)
    assert answer.edge_probabilities.loc["bmi", "age"] == pytest.approx(1.0)
    assert answer.graphs[:, 1, 0].all()
    with pytest.raises(ValueError, match="cannot use knowledge about the graph"):
        discover(frame, method="correlation", knowledge=known)
    with pytest.raises(ValueError, match=r"'bmj', which is no variable.*did you mean 'bmi'"):
        discover(frame, knowledge={"forbid": ["bmj -> age"]}, **quick)
    with pytest.raises(ValueError, match="A trained model answers the method amortised only"):
        discover(frame, "tiny", method="exact")


def test_without_a_number_of_graphs_every_method_draws_its_own(frame):
    answer = discover(frame, method="exact,boss", settings=["score=linear"])
    assert [len(one.graphs) for one in (answer, *answer.others)] == [1000, 20]


def test_a_run_in_the_store_holds_the_librarys_answer(home, model, frame):
    table = read_table(frame)
    run = make(
        home,
        DiscoverConfig(n_samples=40, seed=2),
        {"of": home.find("tiny"), "tasks": store_table(home, table)},
    )
    stored, direct = from_run(run, model, table), discover(frame, model, n_samples=40, seed=2)
    np.testing.assert_allclose(stored.probabilities, direct.probabilities, atol=1e-6)
    assert (stored.graphs != direct.graphs).mean() < 1e-3
    assert stored.warnings == direct.warnings


def test_a_truth_gives_metrics_and_a_wrong_one_is_refused(model, frame, tmp_path):
    truth = np.zeros((4, 4), dtype=int)
    truth[0, 1] = 1
    answer = discover(frame, model, truth=truth)
    assert answer.metrics["density"] == pytest.approx(1 / 12)
    assert discover(frame, model).metrics is None
    pd.DataFrame(truth[::-1, ::-1], columns=list(frame.columns)[::-1]).to_csv(
        tmp_path / "g.csv", index=False
    )
    assert discover(frame, model, truth=tmp_path / "g.csv").metrics == answer.metrics
    labelled = pd.DataFrame(truth, index=frame.columns, columns=frame.columns)
    assert discover(frame, model, truth=labelled.iloc[::-1, ::-1]).metrics == answer.metrics
    for wrong, words in ((truth[:3], "4 by 4"), (truth * 2, "0 and 1"), (truth + truth.T, "cycle")):
        with pytest.raises(ValueError, match=words):
            discover(frame, model, truth=wrong)


def test_networkx_carries_probabilities(model, frame):
    answer = discover(frame, model)
    graph = answer.to_networkx(threshold=0.2)
    assert set(graph.nodes) == set(frame.columns)
    expected = {(e.cause, e.effect) for e in answer.edges.itertuples() if e.probability > 0.2}
    assert set(graph.edges) == expected


def test_unusual_tables_are_warned_about_and_a_missing_summary_is_told(home, model, frame):
    levels = frame.round(0)
    assert any("repeated values" in warning for warning in discover(levels, model).warnings)
    many = pd.concat([frame] * 3, ignore_index=True)
    assert any("mean log odds" in warning for warning in discover(many, model).warnings)
    bare = shutil.copytree(home.root.parent / "exported" / model.id, home.root.parent / "bare")
    (bare / "stream_summary.npz").unlink()
    assert "it was not checked whether" in discover(frame, bare).warnings[0]


@pytest.mark.parametrize("options", [{"n_samples": 0}, {"transform": "log"}, {"columns": ["age"]}])
def test_impossible_wishes_are_refused(model, frame, options):
    with pytest.raises(ValueError, match=r"\.$"):
        discover(frame, model, **options)


# ------------------------------------------------------------------------------------------- models


def test_the_default_model_is_read_where_it_lies_and_installed_where_it_is_used(
    home, model, monkeypatch, tmp_path
):
    exported = home.root.parent / "exported" / model.id
    monkeypatch.setattr(named_models, "default_model_folder", lambda: exported)
    store = Store(tmp_path / "empty")
    assert load_model().id == load_model("default", store).id == model.id
    assert not store.root.exists()
    assert named_models.installed_model(None, store).folder.parent == store.root / "targets"
    assert named_models.installed_model("default", store).id == store.find(model.id).id


def test_an_installation_without_a_default_model_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(named_models.resources, "files", lambda _: tmp_path)
    with pytest.raises(StoreError, match="holds no default model"):
        load_model()


def test_unknown_models_and_other_artifacts_are_refused(home, frame):
    with pytest.raises(StoreError, match="did you mean 'tiny'"):
        load_model("tinny", home)
    tasks = store_table(home, read_table(frame))
    with pytest.raises(ValueError, match=r"is of kind 'tasks'"):
        load_model(tasks.id, home)


def test_a_truncated_checkpoint_is_refused_in_one_sentence(home, model, tmp_path):
    broken = shutil.copytree(home.root.parent / "exported" / model.id, tmp_path / "broken")
    data = (broken / "checkpoints" / "best.pt").read_bytes()
    (broken / "checkpoints" / "best.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"best\.pt is no readable checkpoint .*\.$"):
        load_model(broken)


def test_an_imported_checkpoint_answers_as_its_source_under_an_id_of_its_own(
    home, model, frame, tmp_path
):
    file = shutil.copy(model.artifact.folder / "checkpoints" / "best.pt", tmp_path / "theirs.pt")
    config = from_plain(
        ExperimentConfig, {key: value for key, value in TINY.items() if key in ("kind", "data")}
    )
    imported = import_artifact(home, file, config, name="theirs")
    assert imported.id != model.id
    assert import_artifact(home, file, config).id == imported.id
    np.testing.assert_allclose(
        discover(frame, "theirs", home).probabilities,
        discover(frame, model).probabilities,
        atol=1e-6,
    )
    assert home.verify() == []
    with pytest.raises(ValueError, match="imported checkpoint"):
        make(Store(tmp_path / "other"), imported.config)


def test_an_exported_folder_is_imported_and_a_changed_one_refused(home, model, tmp_path):
    exported = shutil.copytree(home.root.parent / "exported" / model.id, tmp_path / "exported")
    store = Store(tmp_path / "new")
    assert import_artifact(store, exported, model.config, name="again").id == model.id
    assert store.find("again").id == model.id
    with (exported / "checkpoints" / "best.pt").open("ab") as file:
        file.write(b"x")
    with pytest.raises(StoreError, match="is changed"):
        import_artifact(Store(tmp_path / "third"), exported, model.config)


def test_settings_that_a_checkpoint_decides_are_refused():
    assert settings_words(["data=wide_stream", "seed=3"]) == ["data=wide_stream", "seed=3"]
    with pytest.raises(ValueError, match=r"model\.dim=4"):
        settings_words(["model.dim=4"])


# ------------------------------------------------------------------------------------------ exports


def test_the_exported_files_say_what_the_answer_says(model, frame, tmp_path):
    answer = discover(frame, model, n_samples=30, truth=np.triu(np.ones((4, 4)), 1))
    folder = answer.export(tmp_path / "deep" / "answer")
    assert sorted(item.name for item in folder.iterdir()) == sorted(
        {*answer_folder.FILES} - {answer_folder.PAGE}
    )
    table = pd.read_csv(folder / "edge_probabilities.csv", index_col=0)
    pd.testing.assert_frame_equal(table, answer.edge_probabilities, check_names=False, rtol=1e-12)
    with np.load(folder / "graphs.npz", allow_pickle=False) as arrays:
        assert (arrays["graphs"] == answer.graphs).all()
        assert list(arrays["columns"]) == list(frame.columns)
    graph = nx.read_graphml(folder / "graph.graphml")
    assert list(graph.nodes) == list(frame.columns)
    assert set(graph.edges) == set(answer.to_networkx(answers.LEAST).edges)
    for cause, effect, data in graph.edges(data=True):
        assert data["probability"] == pytest.approx(answer.edge_probabilities.loc[cause, effect])
    assert (folder / "graph.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["model"] == model.id
    assert summary["acyclic_share"] == answer.acyclic_share
    assert summary["metrics"]["e_shd"] == answer.metrics["e_shd"]
    assert summary["warnings"] == list(answer.warnings)


def test_an_earlier_answer_is_replaced_whole(model, frame, tmp_path):
    first, second = (discover(frame, model, n_samples=10, seed=seed) for seed in (0, 1))
    first.export(tmp_path / "a")
    second.export(tmp_path / "a")
    with np.load(tmp_path / "a" / "graphs.npz") as arrays:
        assert (arrays["graphs"] == second.graphs).all()
    assert [item.name for item in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("other", ["notes.txt", "graph.png", "sub"])
def test_a_folder_with_anything_else_is_left_alone(model, frame, tmp_path, other):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / other).mkdir() if other == "sub" else (folder / other).write_text("mine")
    with pytest.raises(ValueError, match="give a new folder"):
        discover(frame, model, n_samples=5).export(folder)
    assert [item.name for item in folder.iterdir()] == [other]


def test_a_file_in_the_way_is_left_alone(model, frame, tmp_path):
    (tmp_path / "a").write_text("mine")
    for goal in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(ValueError, match="folder"):
            discover(frame, model, n_samples=5).export(goal)
    assert (tmp_path / "a").read_text() == "mine"


@pytest.mark.parametrize("step", ["write", "rename"])
def test_a_failing_disk_leaves_the_earlier_answer_and_nothing_half(
    model, frame, tmp_path, monkeypatch, step
):
    answer = discover(frame, model, n_samples=5)
    answer.export(tmp_path / "a")
    before = {item.name: item.read_bytes() for item in (tmp_path / "a").iterdir()}
    rename = os.rename

    def full(source, goal):
        if str(source).endswith(".tmp"):
            raise OSError(28, "No space left on device", str(goal))
        rename(source, goal)

    def torn(answer, folder, page):
        (folder / "graphs.npz").write_bytes(b"half")
        raise OSError(28, "No space left on device", str(folder))

    if step == "rename":
        monkeypatch.setattr(answer_folder.os, "rename", full)
    else:
        monkeypatch.setattr(answers, "_write", torn)
    with pytest.raises(OSError, match="No space"):
        answer.export(tmp_path / "a")
    assert {item.name: item.read_bytes() for item in (tmp_path / "a").iterdir()} == before
    assert [item.name for item in tmp_path.iterdir()] == ["a"]


def test_the_front_door_knows_its_names():
    for name in causal_meta.__all__:
        assert getattr(causal_meta, name) is not None
        assert name in dir(causal_meta)
    with pytest.raises(AttributeError, match="no attribute 'discovr'"):
        _ = causal_meta.discovr
