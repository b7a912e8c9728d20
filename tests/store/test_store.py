"""An artifact is built once, found by its configuration, and never taken for another one."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from causal_meta.conf.data import TableConfig
from causal_meta.conf.evaluation import EvaluateConfig
from causal_meta.conf.inference import EmptyConfig, PCConfig
from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.conf.training import TrainerConfig
from causal_meta.facts import read_events
from causal_meta.store import Store, StoreError, artifact_digest, read_artifact
from causal_meta.store.key import FORMAT


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below, its time of change and bytes."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def one_sentence(error) -> bool:
    text = str(error.value)
    return "\n" not in text and text.endswith((".", "…"))


# ----------------------------------------------------------------------------------------- building


def test_the_same_configuration_is_built_once(store, builder):
    first = store.build(TasksConfig(seed=1), {}, builder)
    again = store.build(TasksConfig(seed=1, name="x"), {}, builder)
    assert first == again
    assert len(builder.attempts) == 1
    assert store.lookup(TasksConfig(seed=1)) == first
    assert store.lookup(TasksConfig(seed=2)) is None


def test_the_layout_on_the_disk(store, target, run):
    root = store.root
    assert target.folder == root / "targets" / target.id
    assert run.folder == target.folder / run.id
    assert json.loads((root / "names.json").read_text()) == {"first": target.id}
    assert {path.name for path in target.folder.iterdir()} == {
        "meta.json",
        "config.yaml",
        "data.npz",
        "facts",
        "_runs.jsonl",
        run.id,
    }
    (line,) = [
        json.loads(text) for text in (root / "targets" / "_catalog.jsonl").read_text().splitlines()
    ]
    assert list(line) == ["target_id", "created_at", "kind", "model", "data", "seed"]
    assert line == {
        "target_id": target.id, "created_at": target.meta["created_at"], "kind": "tasks",
        "model": None, "data": "family:erdos_renyi", "seed": 1,
    }  # fmt: skip
    (line,) = [
        json.loads(text) for text in (target.folder / "_runs.jsonl").read_text().splitlines()
    ]
    assert list(line) == [
        "target_id",
        "sampler",
        "hyperparams",
        "walltime_sec",
        "artifact_path",
        "created_at",
    ]
    assert (line["target_id"], line["sampler"], line["hyperparams"]) == (
        target.id,
        "empty",
        {"seed": 0, "n_samples": 1},
    )
    assert store.root / line["artifact_path"] == run.folder
    assert not Path(line["artifact_path"]).is_absolute()


def test_meta_json_has_the_promised_keys(store, builder):
    config = ExperimentConfig(seed=4, trainer=TrainerConfig(max_steps=5))
    made = store.build(config, {}, builder, overrides=["seed=4", "trainer.max_steps=5"])
    meta = json.loads((made.folder / "meta.json").read_text())
    promised = {
        "target_id", "kind", "revision", "created_at", "code_sha", "pkg_versions", "seed",
        "model_cfg", "data_cfg", "training_cfg", "inference_cfg",
        "dims", "metrics", "overrides", "inputs", "digests", "jax_enable_x64", "threads", "python",
        "hardware", "attempt", "walltime_sec", "cpu_sec",
    }  # fmt: skip
    assert promised == meta.keys()
    assert meta["overrides"] == ["seed=4", "trainer.max_steps=5"]
    assert meta["training_cfg"]["max_steps"] == 5
    assert isinstance(meta["created_at"], float)
    assert meta["pkg_versions"]["torch"]
    assert meta["jax_enable_x64"] is None or "jax" in sys.modules
    assert store.catalog()[0]["model"] == "avici"


def test_overrides_are_recorded_outside_the_identity(store, builder):
    first = store.build(TasksConfig(seed=4), {}, builder, overrides=["seed=4"])
    assert (
        store.build(TasksConfig(seed=4), {}, builder, overrides=["n_tasks=25", "seed=4"]) == first
    )


def test_inputs_are_recorded_by_id_and_digest(store, target, run):
    assert run.meta["inputs"] == {"of": {"id": target.id, "digest": artifact_digest(target)}}
    assert run.inputs == {"of": target.id}
    assert store.inputs_of(run) == {"of": target}
    assert store.runs_of(target) == [run]
    assert store.artifacts() == [target, run]


def test_a_configuration_comes_back_as_the_object_it_was(store, builder):
    odd = TasksConfig(
        data=TableConfig(
            sha256="0" * 64,
            columns=("1e3", "on", "null", "a: b", "2024-01-01", " x", "0x1f", "-.5", "é"),
            title="1e-4",
        )
    )
    made = store.build(odd, {}, builder)
    assert store.find(made.id).config == odd
    assert store.verify() == []


def test_a_builder_sees_its_inputs_and_options(store, builder, target):
    store.build(EmptyConfig(), {"of": target}, builder, options={"path": "table.csv"})
    (attempt,) = builder.attempts
    assert attempt.inputs == {"of": target}
    assert attempt.options == {"path": "table.csv"}
    assert (attempt.number, attempt.resumed) == (1, False)
    assert not attempt.folder.exists()


def test_nothing_is_left_in_the_staging_area(store, target, run):
    assert not list(store.staging.glob("*/*"))


def test_every_artifact_has_facts_that_begin_with_on_start(target):
    (event,) = read_events(target.folder)
    assert (event["moment"], event["run_id"], event["attempt"], event["meta"]["seed"]) == (
        "on_start",
        target.id,
        1,
        1,
    )


def test_a_builder_that_fails_leaves_no_artifact_but_its_attempt(store):
    def fails(config, attempt):
        (attempt.folder / "half").write_text("half")
        raise KeyError("missing column")

    with pytest.raises(KeyError, match="missing column"):
        store.build(TasksConfig(), {}, fails, name="x")
    assert store.lookup(TasksConfig()) is None
    assert store.catalog() == []
    assert store.names() == {}
    (attempt,) = store.staging.glob("tgt_*/attempt-1-*")
    last = read_events(attempt)[-1]
    assert (last["moment"], last["type"], last["message"]) == (
        "on_exception",
        "KeyError",
        "'missing column'",
    )
    assert "in fails: raise KeyError" in last["traceback"][-1]
    assert not any(str(Path(__file__).parent) in line for line in last["traceback"])


def test_an_interrupt_is_a_fact_too(store, builder):
    def interrupted(config, attempt):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.build(TasksConfig(), {}, interrupted)
    (attempt,) = store.staging.glob("tgt_*/attempt-1-*")
    assert [event["moment"] for event in read_events(attempt)] == ["on_start", "on_exception"]
    store.build(TasksConfig(), {}, builder)
    assert builder.attempts[0].number == 2
    assert not list(store.staging.glob("tgt_*"))


def test_a_builder_cannot_write_the_keys_of_the_store(store):
    with pytest.raises(StoreError, match="returned seed"):
        store.build(TasksConfig(), {}, lambda config, attempt: {"seed": 3})


def test_numbers_that_are_not_finite_are_named_in_meta(store):
    made = store.build(
        TasksConfig(), {}, lambda config, attempt: {"metrics": {"loss": float("nan"), "auroc": 0.5}}
    )
    assert made.meta["metrics"] == {"loss": None, "auroc": 0.5}
    assert made.meta["non_finite"] == ["metrics.loss"]


@pytest.mark.parametrize("wrong", ["roles", "missing", "run as target", "unknown"])
def test_inputs_that_do_not_fit_are_refused_before_anything_is_built(
    store, builder, target, run, wrong
):
    config, inputs, words = {
        "roles": (EmptyConfig(), {"of": target, "tasks": target}, "no input 'tasks'"),
        "missing": (EmptyConfig(), {}, "needs the input of"),
        "run as target": (EvaluateConfig(), {"of": run}, "is a run"),
        "unknown": (
            EvaluateConfig(),
            {"of": target, "posteriors": run},
            "did you mean 'posterior'",
        ),
    }[wrong]
    with pytest.raises(StoreError, match=words) as caught:
        store.build(config, inputs, builder)
    assert one_sentence(caught)
    assert not builder.attempts


def test_an_input_of_another_store_must_be_installed_first(store, builder, target, tmp_path):
    with pytest.raises(StoreError, match="is not in the store"):
        Store(tmp_path / "other").build(EmptyConfig(), {"of": target}, builder)


# ------------------------------------------------------------------------------------- disagreement


def test_a_stored_configuration_that_was_altered_stops_with_a_diff(store, target, builder):
    path = target.folder / "config.yaml"
    path.write_text(path.read_text().replace("n_tasks: 25", "n_tasks: 26"))
    with pytest.raises(
        StoreError, match=r"another configuration.*config\.n_tasks: 26 -> 25"
    ) as caught:
        store.build(TasksConfig(seed=1), {}, builder)
    assert one_sentence(caught)
    with pytest.raises(StoreError, match="n_tasks"):
        store.lookup(TasksConfig(seed=1))


def test_a_stored_configuration_that_lacks_a_default_stops_with_a_diff(store, target, builder):
    path = target.folder / "config.yaml"
    path.write_text(path.read_text().replace("n_tasks: 25\n", ""))
    with pytest.raises(StoreError, match="n_tasks: 'absent' -> 25"):
        store.lookup(TasksConfig(seed=1))


def test_a_field_outside_the_identity_may_differ(store, target):
    path = target.folder / "config.yaml"
    path.write_text(path.read_text().replace("\nname: ''", "\nname: other"))
    assert store.lookup(TasksConfig(seed=1)) == target


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"target_id": "../x"}', '{"target_id": "tgt_000000000000"}']
)
def test_an_unreadable_meta_json_is_a_sentence(store, target, content):
    (target.folder / "meta.json").write_text(content)
    for read in (
        lambda: store.find("first"),
        lambda: store.lookup(TasksConfig(seed=1)),
        lambda: read_artifact(target.folder),
    ):
        with pytest.raises(StoreError, match=r"meta\.json") as caught:
            read()
        assert one_sentence(caught)
    assert store.artifacts() == []
    assert len(store.verify()) == 1


def test_a_folder_without_meta_json_stops_before_the_work(store, builder):
    (store.root / "targets" / store.key(TasksConfig()).id).mkdir(parents=True)
    with pytest.raises(StoreError, match=r"holds no meta\.json"):
        store.build(TasksConfig(), {}, builder)
    assert not builder.attempts


def test_deleting_a_folder_rebuilds_exactly_that(store, target, run, new_builder):
    for path in sorted(run.folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    run.folder.rmdir()
    target_builder, run_builder = new_builder(), new_builder(b"posterior")
    assert store.build(TasksConfig(seed=1), {}, target_builder) == target
    assert store.build(EmptyConfig(), {"of": target}, run_builder).digest == run.digest
    assert (len(target_builder.attempts), len(run_builder.attempts)) == (0, 1)
    assert store.verify() == []


# --------------------------------------------------------------------------------------- stale runs


@pytest.fixture
def scored(store, target, run, new_builder):
    return store.build(EvaluateConfig(), {"of": target, "posterior": run}, new_builder(b"metrics"))


def rebuilt(store, run, target, builder):
    import shutil

    shutil.rmtree(run.folder)
    return store.build(EmptyConfig(), {"of": target}, builder)


def test_a_run_whose_input_came_out_the_same_stays_valid(store, target, run, scored, new_builder):
    again = rebuilt(store, run, target, new_builder(b"posterior"))
    assert again.meta["created_at"] != run.meta["created_at"]
    assert store.lookup(EvaluateConfig(), {"of": target, "posterior": again}) == scored
    assert store.verify() == []


def test_a_run_whose_input_changed_is_stale_and_built_again(
    store, target, run, scored, new_builder
):
    again = rebuilt(store, run, target, new_builder(b"another posterior"))
    inputs = {"of": target, "posterior": again}
    assert [line for line in store.verify() if "is stale" in line and scored.id in line]
    assert store.lookup(EvaluateConfig(), inputs) is None
    builder = new_builder(b"new metrics")
    fresh = store.build(EvaluateConfig(), inputs, builder)
    assert fresh.id == scored.id
    assert (fresh.folder / "data.npz").read_bytes() == b"new metrics"
    assert store.verify() == []
    assert store.build(EvaluateConfig(), inputs, builder) == fresh
    assert len(builder.attempts) == 1
    assert not list(store.staging.glob("run_*"))


def test_an_outdated_input_object_is_refused(store, target, run, new_builder):
    rebuilt(store, run, target, new_builder(b"another posterior"))
    with pytest.raises(StoreError, match="other content"):
        store.build(EvaluateConfig(), {"of": target, "posterior": run}, new_builder())


def test_a_run_whose_input_is_gone_is_named(store, target, run, scored):
    import shutil

    shutil.rmtree(run.folder)
    assert store.verify() == [
        f"{scored.id}: its input posterior, {run.id}, is no longer in the store."
    ]


# ------------------------------------------------------------------------------------------ finding


def test_a_token_is_a_name_an_id_or_a_unique_beginning(store, target, run):
    assert (
        store.find("first")
        == store.find(target.id)
        == store.find(target.id[:8])
        == store.find("tgt_")
        == target
    )
    assert store.find(run.id) == store.find("run_empty") == store.find("run_") == run


def test_an_ambiguous_beginning_lists_what_it_could_be(store, target, run, builder):
    other = store.build(PCConfig(), {"of": target}, builder)
    with pytest.raises(StoreError, match="beginning of 2 ids") as caught:
        store.find("run_")
    assert run.id in str(caught.value)
    assert other.id in str(caught.value)
    assert one_sentence(caught)
    assert store.find("run_p") == other


@pytest.mark.parametrize("token", ["frist", "tgt_ffffffffffff", "run_pc_00000000"])
def test_an_unknown_token_is_answered_with_what_there_is(store, target, token):
    with pytest.raises(StoreError, match="holds nothing called") as caught:
        store.find(token)
    assert "first" in str(caught.value)
    assert one_sentence(caught)


@pytest.mark.parametrize(
    "token", ["../x", "tgt_/../x", "/etc/passwd", "", "2024_01", "tgt_*", "first\n", "targets/x"]
)
def test_a_token_that_cannot_be_one_is_refused(store, target, token):
    with pytest.raises(StoreError):
        store.find(token)


def test_a_name_whose_artifact_is_gone_says_so(store, target):
    import shutil

    shutil.rmtree(target.folder)
    with pytest.raises(StoreError, match="which is not in the store"):
        store.find("first")
    assert store.verify() == [f"names.json: 'first' means {target.id}, which is not in the store."]
    assert store.catalog() == []


def test_looking_up_writes_nothing(tmp_path, store, target, run):
    empty = Store(tmp_path / "nowhere")
    for read in (
        empty.artifacts,
        empty.catalog,
        empty.verify,
        empty.names,
        empty.rebuild_catalog,
        lambda: empty.lookup(TasksConfig()),
    ):
        read()
    with pytest.raises(StoreError, match="holds nothing"):
        empty.find("first")
    assert not (tmp_path / "nowhere").exists()
    before = snapshot(store.root)
    for path in (store.root, store.root / "targets", target.folder):
        path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    (
        store.find("first"),
        store.find("tgt_"),
        store.verify(),
        store.catalog(),
        store.runs_of(target),
        store.artifacts(),
    )
    store.build(TasksConfig(seed=1), {}, None, name="first")
    for path in (store.root, store.root / "targets", target.folder):
        path.chmod(0o755)
    assert snapshot(store.root) == before


def test_the_root_is_the_argument_the_environment_or_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CAUSAL_META_STORE", raising=False)
    assert Store().root == tmp_path / "runs"
    monkeypatch.setenv("CAUSAL_META_STORE", str(tmp_path / "elsewhere"))
    assert Store().root == tmp_path / "elsewhere"
    assert Store("here").root == tmp_path / "here"


# -------------------------------------------------------------------------------------------- names


def test_a_name_points_to_one_artifact_until_it_is_forced(store, target, builder):
    with pytest.raises(StoreError, match=f"means {target.id} already") as caught:
        store.build(TasksConfig(seed=2), {}, builder, name="first")
    assert one_sentence(caught)
    assert not builder.attempts  # refused before the work, not after it
    other = store.build(TasksConfig(seed=2), {}, builder, name="first", force=True)
    assert store.names() == {"first": other.id}
    assert store.find("first") == other


def test_a_name_can_be_given_to_what_exists(store, target, builder):
    assert store.build(TasksConfig(seed=1), {}, builder, name="second") == target
    store.name(target, "third")
    assert store.names() == {"first": target.id, "second": target.id, "third": target.id}


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        ('{"format": 2}', "is of format 2, written by a newer version"),
        ('{"format": 1e99}', "does not give the format"),
        ('{"format": true}', "does not give the format"),
        ("[]", "does not give the format"),
        ("\x00", "does not give the format"),
    ],
)
def test_a_store_of_a_newer_format_is_left_alone(store, target, text, saying):
    file = store.root / "store.json"
    assert json.loads(file.read_text()) == {"format": FORMAT}
    file.write_text(text)
    with pytest.raises(StoreError, match=saying) as caught:
        Store(store.root)
    assert "\n" not in str(caught.value)
    file.unlink()  # as stores were before they recorded their format
    assert Store(store.root).find("first") == target
    Store(store.root).build(TasksConfig(seed=1), {}, None)
    assert not file.exists()  # looking up writes nothing


@pytest.mark.parametrize("name", ["2024_01", "../x", "tgt_x"])
def test_an_odd_name_is_refused_before_the_work(store, builder, name):
    with pytest.raises(StoreError, match="cannot be a name"):
        store.build(TasksConfig(), {}, builder, name=name)
    assert not builder.attempts


def test_a_broken_names_file_is_a_sentence_and_stays(store, target):
    (store.root / "names.json").write_text('{"first": "tgt_')
    with pytest.raises(StoreError, match=r"names\.json cannot be read"):
        store.name(target, "second")
    assert (store.root / "names.json").read_text() == '{"first": "tgt_'


def test_many_processes_name_at_once_and_no_name_is_lost(store, target, python):
    code = """
import sys
from causal_meta.store import Store
store = Store(sys.argv[1])
for i in range(10):
    store.name(store.find("tgt_"), f"n{sys.argv[2]}-{i}")
"""
    processes = [python(code, store.root, number) for number in range(4)]
    assert [process.communicate()[1] for process in processes] == [""] * 4
    assert len(store.names()) == 41


def test_the_view_by_name_links_into_the_store(store, target, run, builder):
    def scores(config, attempt):
        (attempt.folder / "metrics.json").write_text("{}")

    scored = store.build(EvaluateConfig(), {"of": target, "posterior": run}, scores)
    links = store.root / "experiments" / "first"
    assert (links / "config.yaml").read_text() == (target.folder / "config.yaml").read_text()
    assert (links / "results" / scored.id / "metrics.json").is_file()
    assert (links / "inference" / run.id / "meta.json").is_file()
    assert not os.path.isabs(os.readlink(links / "config.yaml"))
    other = store.build(TasksConfig(seed=2), {}, builder, name="first", force=True)
    assert (links / "config.yaml").read_text() == (other.folder / "config.yaml").read_text()
    assert not list((links / "results").iterdir())


def test_where_links_fail_the_view_holds_pointers(store, builder, monkeypatch):
    def no_links(self, goal):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", no_links)
    made = store.build(TasksConfig(), {}, builder, name="x")
    pointer = store.root / "experiments" / "x" / "config.yaml.json"
    assert (
        pointer.parent / json.loads(pointer.read_text())["path"]
    ).resolve() == made.folder / "config.yaml"


def test_the_store_loads_neither_torch_nor_jax_nor_pandas():
    code = (
        "import sys, causal_meta.store, causal_meta.facts, causal_meta.runners.build; "
        "print({'torch', 'jax', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
