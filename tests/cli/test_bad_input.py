"""Bad input: one sentence on standard error, exit status 2, nothing lost. Anything else that fails:
status 1, the first cause, where the log is."""

import errno
import io
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from causal_meta.cli import failures
from causal_meta.store import Store


class Junk:
    """An object whose unpickling leaves a trace."""

    def __reduce__(self):
        return (os.mkdir, ("unpickled",))


def rows(n=12, columns="a,b,c", change=lambda values: values):
    values = change(
        np.random.default_rng(0).normal(size=(n, columns.count(",") + 1)).astype(object)
    )
    return columns + "\n" + "".join(",".join(map(str, row)) + "\n" for row in values)


def put(row, column, value):
    def change(values):
        values[row, column] = value
        return values

    return change


def constant(values):
    values[:, 1] = 4
    return values


TABLES = {
    "words": (
        rows(change=put(3, 1, "red")),
        "the values of column 'b' (such as 'red') are not numbers",
    ),
    "constant": (rows(change=constant), "column 'b' has always the same value"),
    "NaN": (
        rows(change=put(2, 0, "nan")),
        "1 value is missing (NaN), the first in data row 3, column 'a'",
    ),
    "empty cell": (rows(change=put(2, 0, "")), "missing"),
    "infinity": (
        rows(change=put(0, 2, "inf")),
        "1 value is infinite, the first in data row 1, column 'c'",
    ),
    "few rows": (rows(n=9), "has 9 rows; give at least 10"),
    "repeated names": (rows(columns="a,b,a"), "'a' stands more than once"),
    "ragged": (rows() + "1,2\n", "line 14 has 2 fields where the header has 3"),
    "no header": (rows().partition("\n")[2], "has no header"),
    "empty": ("", "is empty"),
    "one column": (rows(columns="a"), "only one column"),
}


@pytest.mark.parametrize("case", TABLES)
def test_an_unusable_table(refused, tmp_path, case):
    text, saying = TABLES[case]
    (tmp_path / "t.csv").write_text(text)
    refused("discover", "t.csv", "--model", "first", saying=saying)
    assert not (tmp_path / "answer").exists()


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "npz"])
def test_a_binary_file(refused, tmp_path, ending):
    (tmp_path / f"t.{ending}").write_bytes(np.random.default_rng(0).bytes(3000))
    refused("discover", f"t.{ending}", "--model", "first", saying=f"t.{ending}")


def test_a_pickle_in_a_table_is_never_opened(refused, tmp_path):
    np.savez(tmp_path / "t.npz", x=np.array([Junk()], dtype=object))
    refused("discover", "t.npz", "--model", "first", saying="plain arrays")
    assert not (tmp_path / "unpickled").exists()


def test_a_directory_a_missing_file_and_an_unknown_ending(refused, tmp_path, table):
    refused("discover", tmp_path, "--model", "first", saying="is a directory")
    refused("discover", "none.csv", "--model", "first", saying="There is no file none.csv")
    refused(
        "discover",
        shutil.copy(table, tmp_path / "t.xlsx"),
        "--model",
        "first",
        saying="does not tell its format",
    )
    refused("build", "tasks", f"data.table={tmp_path}", saying="is a directory")
    refused("discover", table, "--model", "first", "--truth", tmp_path, saying="is a directory")


def test_a_wrong_truth(refused, tmp_path, table):
    (tmp_path / "g.csv").write_text("a,b,c\n0,1,0\n0,0,1\n1,0,0\n")
    refused("discover", table, "--model", "first", "--truth", "g.csv", saying="cycle")
    refused("build", "tasks", f"data.table={table}", "data.truth=g.csv", saying="cycle")
    refused("build", "tasks", "data.truth=g.csv", saying="data.table=FILE")


def test_a_folder_that_holds_other_files_is_not_written_to(refused, tmp_path, table):
    (tmp_path / "answer").mkdir()
    (tmp_path / "answer" / "thesis.tex").write_text("x")
    refused("discover", table, "--model", "first", saying="thesis.tex")
    assert [path.name for path in (tmp_path / "answer").iterdir()] == ["thesis.tex"]


# ------------------------------------------------------------------------------- settings and names


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["trainer.max_step=3"], "did you mean 'trainer.max_steps'?"),
        (["traner.max_steps=3"], "did you mean 'trainer'?"),
        (["trainer.max_steps=0"], "trainer.max_steps is 0; it must be at least 1"),
        (["trainer.max_steps=many"], "trainer.max_steps is 'many'"),
        (["trainer.optimizer.beta1=2"], "it must be at least 0 and at most"),
        (["trainer.precision=fp16"], "allowed are 'fp32', 'bf16'"),
        (["model=avicii"], "did you mean 'avici'?"),
        (["model.dim=nan"], "avici.dim is nan"),
        (["data.train.n_nodes=1"], "at least 2 nodes"),
        (["seed=-1"], "at least 0"),
        (["seed"], "write key=value"),
        (["data.train.noise=${oc.env:HOME}"], "interpolations are not allowed"),
        (["init="], "is empty; give a name"),
        (["init=frist"], "did you mean 'first'?"),
        (["init=held_in"], "cannot be taken"),
        (["data.workers=-2"], "at least 0"),
        (["--device", "gpuu"], "allowed are auto, cpu"),
        (["--threads", "-1"], "whole number"),
        (["--devise", "cpu"], "'--devise' is not an argument of build"),
        (["data.table=x.csv"], "build tasks"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else None,
)
def test_an_unusable_setting(refused, words, saying):
    refused("build", "amortised", *words, saying=saying)


@pytest.mark.parametrize("name", ["2024_01", "../x", "a b", "", "-x", "é", "tgt_x", "a/b", "."])
def test_an_odd_name(refused, name, tmp_path):
    refused("build", "tasks", "data=linear_er", f"name={name}", saying="cannot be a name")
    if name and not name.startswith("-"):
        refused("build", "tasks", "data=linear_er", "--name", name, saying="cannot be a name")
        refused("store", "name", "first", name, saying="cannot be a name")
    assert not (tmp_path.parent / "x").exists()


def test_a_name_in_an_experiment_file_is_checked_as_it_stands(refused, tmp_path):
    (tmp_path / "e.yaml").write_text("kind: tasks\nname: 2024_01\n")
    refused("build", "--experiment", "e.yaml", saying="'2024_01' cannot be a name")


def test_a_taken_name_is_kept_unless_forced(refused, run, store):
    first = Store(store).find("first").id
    refused("store", "name", "held_in", "first", saying="give --force")
    refused(
        "build", "tasks", "data=linear_er", "n_tasks=1", "--name", "first", saying="give --force"
    )
    assert Store(store).find("first").id == first
    assert run("store", "name", "held_in", "first", "--force").status == 0
    assert Store(store).find("first").kind == "tasks"


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["biuld"], "invalid choice: 'biuld'"),
        ([], "required"),
        (["build"], "give one"),
        (["build", "amortized"], "did you mean 'amortised'?"),
        (["build", "boss"], "no target called 'boss'"),
        (["infer", "bos", "of=held_in"], "did you mean 'boss'?"),
        (["infer", "boss"], "needs the input of"),
        (["infer", "boss", "of=held"], "did you mean 'held_in'?"),
        (["infer", "empty", "of=first"], "is of kind 'amortised'"),
        (["evaluate", "of=first"], "no tasks"),
        (["evaluate", "of=held_in"], "no posterior"),
        (["evaluate", "tasks=held_in"], "needs the input of"),
        (["evaluate", "of=first", "tasks=held_in", "shd_reversal=3"], "allowed are 1, 2"),
        (["discover"], "required"),
        (["discover", "sklearn:diabets"], "did you mean 'sklearn:diabetes'?"),
        (["discover", "sklearn:diabetes", "--model", "held_in"], "pre-trained model"),
        (["discover", "sklearn:diabetes", "--n-samples", "0"], "whole number of at least 1"),
        (["discover", "sklearn:diabetes", "--transform", "sqrt"], "no transform 'sqrt'"),
        (["discover", "sklearn:diabetes", "--columns", "age,bni"], "did you mean 'bmi'?"),
        (
            ["discover", "sklearn:diabetes", "surplus"],
            "'surplus' is not a setting; write key=value",
        ),
        (["data", "show", "data=wyde"], "did you mean 'wide'?"),
        (["store", "show", "nothing"], "holds nothing called 'nothing'"),
        (["store", "show", "tgt_"], "beginning of 2 ids"),
        (["store", "import", "nothing.pt"], "There is no file or folder nothing.pt"),
        (["report", "nothing"], "nothing"),
        (["build", "--experiment", "none.yaml"], "none.yaml is not a file"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else None,
)
def test_an_unusable_command(refused, words, saying):
    refused(*words, saying=saying)


@pytest.mark.parametrize(
    "text",
    ["kind: [", "- a", "seed: 3", "kind: tasks\nsed: 3", "kind: tasks\nseed: on", "kind: nothing"],
)
def test_an_unusable_experiment_file(refused, tmp_path, text):
    (tmp_path / "e.yaml").write_text(text)
    refused("build", "--experiment", "e.yaml")


# -------------------------------------------------------------------------------------- checkpoints


def damaged(data, how):
    if how == "truncated":
        return data[: len(data) // 2]
    if how == "pickle":
        return pickle.dumps(Junk())
    if how == "torch pickle":
        import torch

        stream = io.BytesIO()
        torch.save({"format": 1, "model": Junk()}, stream)
        return stream.getvalue()
    return b"" if how == "empty" else b"not a checkpoint at all"


DAMAGES = ["truncated", "pickle", "torch pickle", "empty", "text"]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_or_hostile_checkpoint_is_not_imported(refused, store, tmp_path, how):
    data = (Store(store).find("first").folder / "checkpoints" / "best.pt").read_bytes()
    (tmp_path / "theirs.pt").write_bytes(damaged(data, how))
    refused("store", "import", "theirs.pt", saying="theirs.pt is no readable checkpoint")
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_checkpoint_in_the_store_is_reported(run, store, tmp_path, how):
    file = Store(store).find("first").folder / "checkpoints" / "best.pt"
    file.write_bytes(damaged(file.read_bytes(), how))
    ran = run("evaluate", "of=first", "tasks=held_in")
    assert ran.status == 2
    assert ran.out == ""
    assert ran.err.splitlines() == [ran.err.strip()]
    assert "best.pt is no readable checkpoint" in ran.err
    assert not (tmp_path / "unpickled").exists()


def test_an_import_with_settings_that_the_checkpoint_decides(refused, store):
    file = Store(store).find("first").folder / "checkpoints" / "best.pt"
    refused("store", "import", file, "model.dim=4", saying="the checkpoint decides it")


# -------------------------------------------------------------------------------------------- disks


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT], ids=errno.errorcode.get
)
@pytest.mark.parametrize("where", ["staging", "results"])
def test_a_full_or_read_only_disk_under_the_store(
    refused, run, store, table, monkeypatch, number, where
):
    """The disk answers with an error, at the first write or while results are written; afterwards
    the same command succeeds."""
    words = ("build", "tasks", f"data.table={table}")

    def failing(*args, **options):
        raise OSError(number, os.strerror(number), str(store / ".staging" / "x"))

    with monkeypatch.context() as broken:
        if where == "staging":
            broken.setattr("causal_meta.store.disk.write_atomic", failing)
        else:
            broken.setattr("causal_meta.runners.tasks.task_sets.np.savez", failing)
        refused(*words, saying=os.strerror(number).lower())
    assert run(*words).status == 0
    assert Store(store).verify() == []


def test_a_store_below_a_file(refused, tmp_path, table):
    (tmp_path / "file").write_text("mine")
    refused(
        "build", "tasks", f"data.table={table}", "--store", tmp_path / "file", saying="cannot be"
    )
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_store_without_permission(refused, tmp_path, table):
    (tmp_path / "locked").mkdir(mode=0o500)
    refused(
        "build",
        "tasks",
        f"data.table={table}",
        "--store",
        tmp_path / "locked" / "s",
        saying="permission denied",
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_really_full_disk_under_an_answer(run, table, monkeypatch, tmp_path):
    """The samples are written into /dev/full: the error is the kernel's own."""
    savez = np.savez_compressed

    def full(file, **arrays):
        if Path(file).name != "graphs.npz":
            return savez(file, **arrays)
        with Path("/dev/full").open("wb", buffering=0) as device:
            return savez(device, **arrays)

    monkeypatch.setattr(np, "savez_compressed", full)
    ran = run("discover", table, "--model", "first", "--n-samples", "5", "--quiet")
    assert ran.status == 2
    assert "No space left on device" in ran.err
    assert not (tmp_path / "answer").exists()


# ----------------------------------------------------------------------------------- other failures


def test_a_failure_of_ours_gives_status_1_the_first_cause_and_the_log(
    run, table, monkeypatch, store
):
    def broken(*args):
        try:
            _ = {}["key"]
        except KeyError as error:
            raise RuntimeError("the sky fell") from error

    monkeypatch.setattr("causal_meta.runners.tasks.task_sets._table_batch", broken)
    ran = run("build", "tasks", f"data.table={table}")
    assert ran.status == 1
    assert "Failed: RuntimeError: the sky fell" in ran.err
    assert "first cause: KeyError: 'key'" in ran.err
    log = ran.err.split("log: ")[1].strip()
    assert "the sky fell" in Path(log).read_text()
    assert "Traceback" not in ran.err


def test_an_interruption_gives_status_130(run, table, monkeypatch):
    def stopped(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("causal_meta.runners.tasks.task_sets._table_batch", stopped)
    ran = run("build", "tasks", f"data.table={table}")
    assert ran.status == 130
    assert "Interrupted" in ran.err


def test_errors_of_libraries_do_not_pass_for_sentences():
    with pytest.raises(ValueError, match="could not convert") as ours:
        float("x.")
    assert failures.described(ours.value)[0] == 1
    with pytest.raises(ValueError, match="could not be broadcast") as numpys:
        np.ones(2) + np.ones(3)
    status, lines = failures.described(numpys.value)
    assert status == 1
    assert lines[0].startswith("Failed: ValueError")


def test_a_missing_package_is_named_with_its_extra():
    status, lines = failures.described(
        ModuleNotFoundError("No module named 'causallearn'", name="causallearn.search")
    )
    assert status == 2
    assert "causal-meta[baselines]" in lines[0]


def test_the_real_program_ends_with_the_status(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "causal_meta", "discover", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"{tmp_path} is a directory; give the table's file.\n"
