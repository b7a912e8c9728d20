"""What is in the store is what was published; what travels arrives as it left; what can be rebuilt
is rebuilt."""

import json
import shutil

import pytest

from causal_meta.conf.inference import EmptyConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import Store, StoreError, artifact_digest, disk, read_artifact


def edit_meta(artifact, **changes):
    path = artifact.folder / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# ------------------------------------------------------------------------------------------- verify


def test_a_sound_store_has_no_problems(store, target, run):
    assert store.verify() == store.verify("first") == store.verify(run.id) == []


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda t: (t.folder / "data.npz").write_bytes(b"num"), "data.npz is changed."),
        (lambda t: (t.folder / "data.npz").write_bytes(b"numberz"), "data.npz is changed."),
        (lambda t: (t.folder / "data.npz").unlink(), "data.npz is missing."),
        (lambda t: (t.folder / "more.npz").write_bytes(b""), "more.npz is extra."),
        (
            lambda t: (t.folder / "facts" / "events.jsonl").write_text(""),
            "facts/events.jsonl is changed.",
        ),
        (lambda t: (t.folder / "facts" / "x").mkdir(), None),
        (lambda t: (t.folder / "link").symlink_to("data.npz"), "link, which is not a plain file"),
        (lambda t: edit_meta(t, revision=2), "its id should be tgt_"),
        (lambda t: edit_meta(t, kind="amortised"), "its id should be tgt_"),
        (lambda t: edit_meta(t, target_id="tgt_000000000000"), "claims to be tgt_000000000000"),
        (lambda t: (t.folder / "config.yaml").write_text("a: [b"), "config.yaml is changed."),
        (lambda t: (t.folder / "config.yaml").unlink(), "config.yaml is missing."),
    ],
    ids=[
        "truncated",
        "bit",
        "missing",
        "extra",
        "facts",
        "empty folder",
        "link",
        "revision",
        "kind",
        "id",
        "config",
        "no config",
    ],
)
def test_verify_names_what_is_wrong(store, target, damage, problem):
    damage(target)
    for problems in (store.verify(), store.verify("first")):
        if problem is None:
            assert problems == []
        else:
            assert [line for line in problems if line.startswith(target.id) and problem in line], (
                problems
            )
            assert all(line.endswith(".") and "\n" not in line for line in problems)


def test_verify_of_one_looks_at_its_runs_only(store, target, run, builder):
    other = store.build(TasksConfig(seed=2), {}, builder)
    (other.folder / "data.npz").unlink()
    (run.folder / "data.npz").unlink()
    assert store.verify("first") == store.verify(run.id) == [f"{run.id}: data.npz is missing."]
    assert store.verify(other.id) == [f"{other.id}: data.npz is missing."]
    assert len(store.verify()) == 2


def test_verify_finds_a_run_in_the_wrong_target_and_strangers(store, target, run, builder):
    other = store.build(TasksConfig(seed=2), {}, builder)
    shutil.move(run.folder, other.folder / run.id)
    (store.root / "targets" / "tgt_backup").mkdir()
    (target.folder / "run_x").mkdir()
    problems = store.verify()
    assert f"{run.id}: it is in {other.id}, but was computed on {target.id}." in problems
    assert "targets/tgt_backup is not the name of an artifact; remove or rename it." in problems
    assert (
        f"targets/{target.id}/run_x is not the name of an artifact; remove or rename it."
        in problems
    )
    assert len(problems) == 3


def test_what_can_be_rebuilt_is_not_covered(store, target, run):
    for path in ("figures/loss.png", "diagnostics/trace.png"):
        (target.folder / path).parent.mkdir()
        (target.folder / path).write_bytes(b"picture")
    (target.folder / "_runs.jsonl").write_text("")
    assert store.verify() == []


def test_the_digest_covers_results_and_not_the_diary(store, target, builder, new_builder):
    digest = artifact_digest(target)
    shutil.rmtree(target.folder)
    again = store.build(TasksConfig(seed=1, name="other"), {}, builder)
    assert again.meta["digests"] != target.meta["digests"]
    assert artifact_digest(again) == digest
    shutil.rmtree(target.folder)
    assert artifact_digest(store.build(TasksConfig(seed=1), {}, new_builder(b"other"))) != digest


# ------------------------------------------------------------------------------------------ catalog


def test_the_catalog_can_be_rebuilt(store, target, run, builder):
    store.build(TasksConfig(seed=2), {}, builder)
    files = [store.root / "targets" / "_catalog.jsonl", target.folder / "_runs.jsonl"]
    before, lines = [path.read_text() for path in files], store.catalog()
    for path in files:
        path.unlink()
    assert store.catalog() == lines  # without the file, from the artifacts
    store.rebuild_catalog()
    assert [path.read_text() for path in files] == before


def test_a_torn_catalog_is_read_and_appended_to(store, target, builder):
    path = store.root / "targets" / "_catalog.jsonl"
    lines = store.catalog()
    path.write_text(path.read_text()[:-20])
    assert store.catalog() == lines
    other = store.build(TasksConfig(seed=2), {}, builder)
    assert path.read_text().count("\n") == 2  # the torn line is closed, the new one whole
    assert [line["target_id"] for line in store.catalog()] == [target.id, other.id]


def test_a_deleted_target_is_no_longer_in_the_catalog(store, target, builder):
    other = store.build(TasksConfig(seed=2), {}, builder)
    shutil.rmtree(target.folder)
    assert [line["target_id"] for line in store.catalog()] == [other.id]
    store.rebuild_catalog()
    assert (store.root / "targets" / "_catalog.jsonl").read_text().count("\n") == 1


# ------------------------------------------------------------------------------------------- travel


@pytest.fixture
def exported(store, target, run, tmp_path):
    (target.folder / "figures").mkdir()
    return store.export(target, tmp_path / "exported")


def test_an_export_stands_alone(exported, target):
    assert {path.name for path in exported.iterdir()} == {
        "meta.json",
        "config.yaml",
        "data.npz",
        "facts",
    }
    alone = read_artifact(exported)
    assert (alone.id, alone.config, alone.digest) == (target.id, target.config, target.digest)


def test_an_exported_artifact_can_be_installed_again_and_again(exported, target, tmp_path):
    other = Store(tmp_path / "other")
    assert other.install(exported).id == target.id
    assert other.install(exported) == other.find(target.id)
    assert other.verify() == []
    assert [line["target_id"] for line in other.catalog()] == [target.id]
    assert other.lookup(TasksConfig(seed=1)).digest == target.digest
    assert not list(other.staging.glob("tgt_*"))


def test_a_run_is_installed_into_its_target(store, exported, target, run, tmp_path):
    other, folder = Store(tmp_path / "other"), store.export(run, tmp_path / "run")
    with pytest.raises(StoreError, match="install that first"):
        other.install(folder)
    other.install(exported)
    assert other.install(folder).folder == other.find(target.id).folder / run.id
    assert other.lookup(EmptyConfig(), {"of": other.find(target.id)}).id == run.id
    assert other.verify() == []


@pytest.mark.parametrize(
    "damage", ["changed", "missing", "extra", "config", "meta", "link", "escape"]
)
def test_an_altered_export_is_refused_and_leaves_nothing(exported, tmp_path, damage):
    if damage == "changed":
        (exported / "data.npz").write_bytes(b"evil")
    elif damage == "missing":
        (exported / "data.npz").unlink()
    elif damage == "extra":
        (exported / "extra").write_bytes(b"")
    elif damage == "config":  # with digests that fit: the id then does not
        path = exported / "config.yaml"
        path.write_text(path.read_text().replace("n_tasks: 25", "n_tasks: 26"))
        edit_meta(read_artifact(exported), digests=disk.digests(exported))
    elif damage == "meta":
        (exported / "meta.json").write_text("{")
    elif damage == "link":
        (exported / "link").symlink_to("/etc/passwd")
    else:
        edit_meta(read_artifact(exported), digests={"../../escaped": "0" * 64})
    other = Store(tmp_path / "other")
    with pytest.raises(StoreError) as caught:
        other.install(exported)
    assert "\n" not in str(caught.value)
    assert other.artifacts() == []
    assert not (tmp_path / "other").exists()


def test_other_content_under_the_same_id_is_not_installed(exported, target, tmp_path, new_builder):
    other = Store(tmp_path / "other")
    other.build(TasksConfig(seed=1), {}, new_builder(b"different"))
    with pytest.raises(StoreError, match="other content"):
        other.install(exported)


def test_an_export_overwrites_nothing(store, target, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    with pytest.raises(StoreError, match="not empty"):
        store.export(target, tmp_path / "mine")
    with pytest.raises(StoreError, match="not empty"):
        store.export(target, tmp_path / "mine" / "thesis.tex")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years"


def test_a_damaged_artifact_is_not_exported(store, target, tmp_path):
    (target.folder / "data.npz").write_bytes(b"num")
    with pytest.raises(StoreError, match=r"data\.npz is changed"):
        store.export(target, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
