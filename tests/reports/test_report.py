"""A report agrees with its artifacts, is made from them alone, and is known by its manifest."""

import errno
import json
import shutil
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from causal_meta.conf import yaml_1_2
from causal_meta.conf.inference import BOSSConfig, EmptyConfig, SortnregressConfig
from causal_meta.reports import figures, model_card, report, run_report
from causal_meta.reports.evidence import gather
from causal_meta.reports.page import Part, section, tag
from causal_meta.store import Store, StoreError, disk

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)


@pytest.fixture
def quick(monkeypatch):
    """Figures are made but not painted: the tests that check words run fast."""
    monkeypatch.setattr(figures.drawing, "png", lambda figure: PIXEL)


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.elements, self.words, self.addresses = [], [], []

    def handle_starttag(self, name, attrs):
        self.elements.append(name)
        self.addresses += [
            value for key, value in attrs if key in ("src", "href", "srcset", "action", "data")
        ]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def read(folder):
    reader = Reader()
    reader.feed((folder / "report.html").read_text("utf-8"))
    return reader


def test_the_whole_report_is_written_and_stands_alone(full):
    folder = run_report(full.store, "first")
    assert folder.parent == full.store.root / "reports"
    assert folder.name.endswith("_first")
    files = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    expected = [
        "inference/scores.csv",
        "inference/summary.json",
        "manifest.yaml",
        "report.html",
        "training/summary.csv",
        "training/summary.json",
    ]
    assert [name for name in files if "figures" not in name] == expected
    assert sum("inference/figures" in name for name in files) == 4, (
        "calibration, bars, graph and matrix"
    )
    assert sum("training/figures" in name for name in files) == 4, "two for each model"
    page = read(folder)
    assert page.elements.count("img") == 8
    assert all(
        address.startswith(("data:image/png;base64,iVBOR", "#")) for address in page.addresses
    )
    assert not {"script", "link", "iframe", "object", "embed", "form", "base"} & set(page.elements)
    assert not list(folder.parent.glob(".draft-*"))
    assert full.store.verify() == []


def test_the_page_shows_the_answer_and_the_comparison(full, quick):
    text = read(run_report(full.store, "first")).text
    assert "bmi → progression (0.93)" in text
    assert (
        "Nothing can cause age: of the edges into it the most probable, bmi → age, has 0.07, as "
        "low as it must be" in text
    )
    assert "lower (better) than the empty graph (6.50 ± 0.01)" in text
    assert "higher (worse) than the best alternative, BOSS bootstrap (3.00 ± 0.01)" in text
    assert "AUPRC 0.400 ± 0.010, 4.0 times its chance level 0.100" in text
    assert "4,321 parameters" in text
    assert "a reversed edge costs 1" in text
    for item in full.store.artifacts():
        assert item.id in text
        assert item.digest[:16] in text


def test_only_a_clear_lead_is_bold(full, quick):
    page = (run_report(full.store, "bench") / "report.html").read_text("utf-8")
    assert '<td class="n best">• <strong>3.00</strong>' in page
    assert '<td class="n best">• 0.800' in page, "0.800 ± 0.010 does not clearly lead 0.795 ± 0.010"


def test_users_strings_stay_strings(full, quick):
    page = read(run_report(full.store))
    assert "script" not in page.elements
    assert not {"b", "i"} & set(page.elements)
    assert "<span" not in page.text, "and ours stay elements"
    assert "<script>alert(1)</script> → a|b & $x_{" in page.text
    assert "The table <i>differs</i> from the training worlds." in page.text


def test_the_same_manifest_is_the_same_report(full, quick):
    first = run_report(full.store, "first")
    before = (first / "report.html").stat().st_mtime_ns
    assert run_report(full.store, "first") == first
    assert run_report(full.store, full.store.find("first").id[:10]) == first, (
        "an id means the same as the name"
    )
    assert (first / "report.html").stat().st_mtime_ns == before
    assert run_report(full.store) != first
    bench = full.store.find("bench")
    full.evaluate({"auroc": 0.7}, of=bench, posterior=full.baseline(SortnregressConfig(), bench))
    assert run_report(full.store, "first") != first, "a new run makes a new report"


def test_a_report_that_was_altered_or_damaged_is_not_taken_for_the_answer(full, quick):
    first = run_report(full.store, "first")
    (first / "report.html").write_text("nothing")
    second = run_report(full.store, "first")
    assert second != first
    (second / "manifest.yaml").write_text("{")
    third = run_report(full.store, "first")
    assert third not in (first, second)
    assert (first / "report.html").read_text() == "nothing", "what was there is left alone"


def test_the_manifest_lists_every_artifact_with_its_digest(full, quick):
    folder = run_report(full.store, "first", out=full.store.root / "elsewhere")
    assert folder.parent.name == "elsewhere"
    manifest = yaml_1_2.load((folder / "manifest.yaml").read_text("utf-8"))
    assert {entry["id"]: entry["digest"] for entry in manifest["artifacts"]} == {
        item.id: item.digest for item in full.store.artifacts()
    }
    assert manifest["report_sha256"] == disk.sha256(folder / "report.html")


def test_the_numbers_are_there_for_programs(full, quick):
    folder = run_report(full.store, "first")
    models = pd.read_csv(folder / "training" / "summary.csv")
    assert list(models["name"]) == ["first", "second"]
    assert list(models["trainer.max_steps"]) == [200, 100]
    inference = json.loads((folder / "inference" / "summary.json").read_text())
    answer = next(item for item in inference["answers"] if item["method"] == "first")
    assert np.array(answer["edge_probabilities"])[2, 4] == pytest.approx(0.93)
    assert answer["warnings"] == ["The table <i>differs</i> from the training worlds."]
    assert len(inference["scores"]) == len(pd.read_csv(folder / "inference" / "scores.csv")) == 5


def test_a_name_brings_the_artifacts_that_belong_to_it(full):
    other = full.tasks("other", seed=9)
    full.evaluate({"auroc": 0.5}, of=other, posterior=full.baseline(EmptyConfig(), other))
    everything = {item.id for item in full.store.artifacts()}
    about = {
        name: {item.id for item in gather(full.store, name).artifacts}
        for name in ("first", "bench", "people", "other")
    }
    assert everything - about["first"] >= {other.id}
    assert full.store.find("second").id in about["first"], (
        "another model scored on the same tasks stands beside it"
    )
    assert full.store.find("people").id not in about["bench"]
    assert {item.kind for item in gather(full.store, "other").artifacts} == {
        "tasks",
        "empty",
        "evaluate",
    }
    run = full.store.runs_of(other)[0]
    assert {item.id for item in gather(full.store, run.id).artifacts} == about["other"]
    chosen = gather(full.store, artifacts=[run])
    assert {item.id for item in chosen.artifacts} == {run.id, other.id}


def test_a_missing_empty_graph_is_an_alarm(workshop, quick):
    model, bench = workshop.model(), workshop.tasks()
    workshop.evaluate({"auroc": 0.8, "e_shd": 4.0}, of=model, tasks=bench)
    page = read(run_report(workshop.store))
    assert page.text.count("no row for the empty graph") == 2, (
        "at the head of the page, and at the table"
    )
    assert f"causal-meta infer empty of={bench.id}" in page.text
    workshop.evaluate(
        {"auroc": 0.5, "e_shd": 5.0}, of=bench, posterior=workshop.baseline(EmptyConfig(), bench)
    )
    assert "no row for the empty graph" not in read(run_report(workshop.store)).text


def test_impossible_edges_raise_an_alarm(workshop, quick):
    model, people = workshop.model(), workshop.table()
    p = np.full((5, 5), 0.1)
    p[4, 0] = 0.8
    workshop.discover(model, people, p, warnings=None)
    text = read(run_report(workshop.store)).text
    assert (
        "In people, first gives impossible edges a probability of at least 0.5: "
        "progression → age (0.80)" in text
    )
    assert "which is wrong" in text
    assert "recorded no check" in text


def test_a_known_truth_is_shown_beside_the_answer(workshop, quick):
    model, people = workshop.model(), workshop.table(truth=True)
    workshop.discover(model, people, np.full((5, 5), 0.3), warnings=[])
    page = read(run_report(workshop.store))
    assert {"reversed", "yes", "no"} <= {word.strip() for word in page.words}


def test_one_task_has_no_standard_error_and_no_clear_lead(workshop, quick):
    bench = workshop.tasks(n_tasks=1)
    for config, value in ((EmptyConfig(), 0.5), (BOSSConfig(), 0.9)):
        workshop.evaluate(
            {"auroc": value}, n_tasks=1, of=bench, posterior=workshop.baseline(config, bench)
        )
    page = (run_report(workshop.store) / "report.html").read_text("utf-8")
    assert "One task, so there is no standard error" in page
    assert '<td class="n best">• 0.900</td>' in page


def test_other_conventions_have_a_separate_table_and_equal_methods_have_different_names(workshop):
    model, bench = workshop.model(), workshop.tasks()
    for options in ({}, {"shd_reversal": 2}, {"seed": 5}, {"n_samples": 7}):
        workshop.evaluate({"e_shd": 1.0}, of=model, tasks=bench, **options)
    group, alone = gather(workshop.store).task_sets[0].groups()
    assert [item.run.config.shd_reversal for item in (*group, *alone)] == [1, 1, 1, 2]
    assert len({item.label for item in group}) == 3
    assert alone[0].label == "first"
    workshop.baseline(BOSSConfig(penalty=3.0, n_samples=5), people := workshop.table())
    assert (
        gather(workshop.store, people.id).task_sets[0].answers[0].label
        == "BOSS bootstrap ×5, penalty 3.0"
    )


def test_unreadable_artifacts_are_left_out_and_named(full, quick):
    run = next(
        item for item in full.store.runs_of(full.store.find("bench")) if item.kind == "evaluate"
    )
    (run.folder / "metrics.json").write_text("{")
    text = read(run_report(full.store)).text
    assert f"{run.id} (evaluate) could not be read and is left out" in text


def test_artifacts_of_unknown_kinds_are_left_out_and_named(full, quick):
    (full.store.find("second").folder / "config.yaml").write_text("kind: from_the_future\n")
    text = read(run_report(full.store)).text
    assert "There is no artifact called 'from_the_future'" in text
    assert "It is left out." in text


def test_a_stale_run_is_named(full, quick):
    bench = full.store.find("bench")
    (bench.folder / "meta.json").write_text(
        json.dumps(bench.meta | {"digests": bench.meta["digests"] | {"data.npz": "0" * 64}})
    )
    assert "is stale: its input of" in read(run_report(full.store)).text


def test_nothing_to_report_and_unknown_names_are_one_sentence(tmp_path, full):
    with pytest.raises(StoreError, match="store is empty; build a target first"):
        run_report(Store(tmp_path / "new"))
    with pytest.raises(StoreError, match="'fist'; did you mean 'first'"):
        run_report(full.store, "fist")


def test_a_full_disk_is_one_sentence_and_leaves_nothing_behind(full, quick, monkeypatch):
    def full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(full.store.root))

    monkeypatch.setattr(report.disk, "write_json", full_disk)
    with pytest.raises(StoreError):
        run_report(full.store)
    assert list((full.store.root / "reports").iterdir()) == []


def test_an_unusable_folder_for_reports_is_one_sentence(full, quick, tmp_path):
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(StoreError, match="cannot be written into"):
            run_report(full.store, out=place)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_model_card_agrees_with_the_artifact(full):
    card = model_card(full.store.find("second"), "second")
    for words in (
        "# Model card: second",
        "4,321 parameters",
        "100 of 100",
        "3,200",
        "| val/auroc | 0.8000 |",
        "max_steps: 100",
        "does not prove a causal effect",
    ):
        assert words in card
    with pytest.raises(ValueError, match="only a pre-trained model has a card"):
        model_card(full.store.find("bench"))


def test_models_alone_make_a_report_of_their_training(workshop, quick):
    workshop.model()
    text = read(run_report(workshop.store)).text
    assert "No model has answered or been scored" in text
    shutil.rmtree(workshop.store.find("first").folder / "facts")
    shutil.rmtree(workshop.store.root / "reports")
    assert "Its facts hold no curves" in read(run_report(workshop.store)).text


def test_a_new_section_is_a_function_and_its_entry(full, monkeypatch):
    def counts(evidence):
        words = tag("p", f"{len(evidence.models)} models and {len(evidence.task_sets)} task sets")
        return [Part("counts", "Counts", section("Counts", words, anchor="counts"))]

    monkeypatch.setattr(report, "SECTIONS", (counts, lambda evidence: [], *report.SECTIONS[-1:]))
    page = read(run_report(full.store))
    assert "Counts Provenance" in page.text, "the list of contents, in the order of the sections"
    assert "2 models and 2 task sets" in page.text
    assert [address for address in page.addresses if address.startswith("#")] == [
        "#counts",
        "#provenance",
    ]
