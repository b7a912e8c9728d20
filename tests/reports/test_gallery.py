"""Promoted files keep their places, name their artifact, and come from the store alone."""

import json
import re

import pytest

from causal_meta.conf.inference import EmptyConfig, PCConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.reports.gallery import promote, promote_study
from causal_meta.store import Store, StoreError, disk

PICTURE = b"\x89PNG picture of "


def draws(*plots, folder="diagnostics", **numbers):
    """A builder that leaves plots and an analysis."""

    def builder(config, attempt):
        for plot in plots:
            path = attempt.folder / folder / f"{plot}.png"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(PICTURE + attempt.artifact_id.encode())
        if numbers:
            (attempt.folder / "analysis.json").write_text(json.dumps(numbers))

    return builder


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "runs", patience=0)
    target = store.build(TasksConfig(seed=1), {}, draws("curve", folder="figures"), name="first")
    for seed in range(2):
        store.build(
            EmptyConfig(seed=seed),
            {"of": target},
            draws("trace", "rank", llc_mean=12.5 + seed, rhat=1.01),
        )
    store.build(PCConfig(), {"of": target}, draws("trace"))
    return store


def test_a_gallery_has_the_target_and_the_newest_run_of_each_kind(store, tmp_path):
    snippet = promote(store, "first", tmp_path / "gallery")
    assert snippet == tmp_path / "gallery" / "first" / "snippet.md"
    names = {path.name for path in snippet.parent.iterdir()}
    pictures = {"tasks_curve.png", "empty_trace.png", "empty_rank.png", "pc_trace.png"}
    assert names == pictures | {"empty_analysis.json", "snippet.md", "promoted.json"}
    newest = store.runs_of(store.find("first"))[1]
    assert (snippet.parent / "empty_trace.png").read_bytes() == PICTURE + newest.id.encode()
    text = snippet.read_text()
    assert set(re.findall(r"!\[[^]]*\]\(([^)]*)\)", text)) == pictures
    assert f"![trace of empty {newest.id}, LLC 13.5, R-hat 1.01](empty_trace.png)" in text.replace(
        "\\", ""
    )
    assert f"| empty | `{newest.id}` | 13.5 | 1.01 |" in text
    record = json.loads((snippet.parent / "promoted.json").read_text())
    assert record["empty_trace.png"] == {
        "from": newest.id,
        "sha256": disk.sha256(snippet.parent / "empty_trace.png"),
    }


def test_a_single_plot_is_chosen_by_name(store, tmp_path):
    run = store.runs_of(store.find("first"))[0]
    snippet = promote(store, run.id, tmp_path / "g", mode="single", plot="rank")
    assert {path.name for path in snippet.parent.iterdir()} == {
        "empty_rank.png",
        "snippet.md",
        "promoted.json",
    }
    assert promote(store, "first", tmp_path / "g", mode="single").parent.name == "first"
    with pytest.raises(StoreError, match=r"several plots.*rank, trace"):
        promote(store, run.id, tmp_path / "g", mode="single")
    with pytest.raises(StoreError, match=r"no plot 'energy'; it has rank, trace\."):
        promote(store, run.id, tmp_path / "g", mode="single", plot="energy")


def test_promoting_again_keeps_names_and_adds_new_files(store, tmp_path):
    first = promote(store, "first", tmp_path / "g")
    before = {path.name: path.read_bytes() for path in first.parent.iterdir()}
    assert promote(store, "first", tmp_path / "g") == first
    assert {path.name: path.read_bytes() for path in first.parent.iterdir()} == before
    (first.parent / "notes.txt").write_text("mine")
    newest = store.build(
        EmptyConfig(seed=9), {"of": store.find("first")}, draws("trace", llc_mean=1.0)
    )
    promote(store, "first", tmp_path / "g")
    assert (first.parent / "empty_trace.png").read_bytes() == PICTURE + newest.id.encode()
    assert (first.parent / "notes.txt").read_text() == "mine"
    assert not list(first.parent.glob("*.tmp"))


def test_a_report_can_be_promoted(store, tmp_path):
    report = store.root / "reports" / "report_20261121-101500_first"
    (report / "training" / "figures").mkdir(parents=True)
    (report / "training" / "figures" / "loss.png").write_bytes(PICTURE)
    (report / "training" / "summary.csv").write_text("a,b\n1,2\n")
    (report / "manifest.yaml").write_text("key: x\n")
    snippet = promote(store, report.name, tmp_path / "g")
    assert {path.name for path in snippet.parent.iterdir()} == {
        "report_loss.png",
        "report_summary.csv",
        "snippet.md",
        "promoted.json",
    }
    with pytest.raises(StoreError, match="holds no report report_x"):
        promote(store, "report_x", tmp_path / "g")


def test_nothing_behind_a_link_leaves_the_store(store, tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    run = store.runs_of(store.find("first"))[0]
    (run.folder / "diagnostics" / "rank.png").unlink()
    (run.folder / "diagnostics" / "rank.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "all.png").write_bytes(b"secret")
    (run.folder / "figures").symlink_to(tmp_path / "figures")
    folder = promote(store, run.id, tmp_path / "g").parent
    assert all(b"secret" not in path.read_bytes() for path in folder.iterdir())
    link = store.root / "reports" / "report_1_x"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path)
    with pytest.raises(StoreError, match="is a link"):
        promote(store, "report_1_x", tmp_path / "g")


def test_odd_names_and_numbers_are_no_markdown(store, tmp_path):
    odd = store.build(TasksConfig(seed=2), {}, draws("a](x) ![b", folder="figures"))
    snippet = promote(store, odd.id, tmp_path / "g")
    assert [path.name for path in snippet.parent.glob("*.png")] == ["tasks_a__x____b.png"]
    assert len(re.findall(r"(?<!\\)!\[", snippet.read_text())) <= 2
    assert "](x)" not in snippet.read_text().replace("\\](x)", "")


def test_impossible_promotions_are_refused_in_one_sentence(store, tmp_path):
    bare = store.build(TasksConfig(seed=3), {}, lambda config, attempt: {})
    (tmp_path / "file").write_text("in the way")
    for token, place, saying in (
        (bare.id, "g", "has no plots or tables"),
        ("nothing", "g", "holds nothing called"),
        ("first", "file", "cannot be written"),
    ):
        with pytest.raises(StoreError, match=saying) as caught:
            promote(store, token, tmp_path / place)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "g").exists()


def test_a_study_keeps_its_places_whatever_is_added_to_it(store, tmp_path):
    """Files are called after the labels of artifacts, so that none is renamed when another is
    added or removed."""
    table = tmp_path / "results.csv"
    table.write_text("id\n")
    runs = {f"r{n}": run for n, run in enumerate(store.runs_of(store.find("first")))}
    snippet = promote_study(
        "s",
        runs | {"first": store.find("first")},
        [table],
        tmp_path / "g",
        lines=["| a |", "| --- |", ""],
    )
    pictures = {
        "first_curve.png",
        "r0_trace.png",
        "r0_rank.png",
        "r1_trace.png",
        "r1_rank.png",
        "r2_trace.png",
    }
    before = {path.name: path.read_bytes() for path in snippet.parent.iterdir()}
    assert set(before) == pictures | {
        "r0_analysis.json",
        "r1_analysis.json",
        "study_results.csv",
        "snippet.md",
        "promoted.json",
    }
    text = snippet.read_text()
    assert text.startswith("### s\n\n| a |\n| --- |\n")
    assert set(re.findall(r"!\[[^]]*\]\(([^)]*)\)", text)) == pictures
    assert f"| r1 | `{runs['r1'].id}` | 13.5 | 1.01 |" in text
    promote_study(
        "s",
        {key: run for key, run in reversed(runs.items()) if key != "r0"},
        [table],
        tmp_path / "g",
    )
    after = {path.name: path.read_bytes() for path in snippet.parent.iterdir()}
    assert {name: data for name, data in after.items() if name in pictures} == {
        name: before[name] for name in pictures
    }
    with pytest.raises(StoreError, match="cannot be written"):
        promote_study("s", runs, [tmp_path / "none.csv"], tmp_path / "g")
