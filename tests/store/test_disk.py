"""A disk that is full, read-only or in the way: one sentence, and nothing is lost. Nothing leads
out of the store."""

import errno
import os
import shutil
import subprocess

import pytest

from causal_meta.conf.inference import EmptyConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import Store, StoreError, disk

# Builds seed argv[2] with two million bytes, under whatever limit the caller set; prints the
# error's type and text.
WRITING = """
import resource, sys
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import Store, StoreError

if sys.argv[3] != "none":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
def builder(config, attempt):
    with (attempt.folder / "data.npz").open("wb") as file:
        file.write(bytes(2_000_000))
try:
    config, name = TasksConfig(seed=int(sys.argv[2])), "n" + sys.argv[2]
    print(Store(sys.argv[1]).build(config, {}, builder, name=name).id)
except StoreError as error:
    print("StoreError", error)
"""


def one_sentence(text: str) -> bool:
    return len(text.strip().splitlines()) == 1 and text.strip().endswith(".")


@pytest.mark.parametrize("limit", [1_000_000, 1_000, 0])
def test_a_full_disk_is_a_sentence_and_nothing_is_lost(store, target, run, python, limit):
    """The limit on file sizes refuses the result (1 MB), then meta.json too (1 kB), then
    everything."""
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    out, err = python(WRITING, store.root, 2, limit).communicate()
    assert err == ""
    assert out.startswith(f"StoreError The store {store.root} cannot be used: file too large")
    assert one_sentence(out)
    assert {path: path.read_bytes() for path in before} == before
    assert store.verify() == []
    assert store.artifacts() == [target, run]
    assert store.names() == {"first": target.id}


def test_the_same_command_works_once_the_disk_does(store, python):
    python(WRITING, store.root, 2, 1_000_000).communicate()
    out, _ = python(WRITING, store.root, 2, "none").communicate()
    assert store.find("n2").id == out.strip()
    assert not list(store.staging.glob("tgt_*"))


MOUNT = (
    shutil.which("unshare")
    and subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True
    ).returncode
    == 0
)


@pytest.mark.skipif(not MOUNT, reason="needs the right to mount in a name space of its own")
@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_real_file_system_that_is_full_or_read_only(tmp_path, python, fault):
    root = tmp_path / "mounted"
    root.mkdir()
    size, after = ("1m", "true") if fault == "full" else ("8m", f"mount -o remount,ro {root}")
    setup = f'mount -t tmpfs -o size={size} none {root} && {after} && exec "$@"'
    out, err = python(
        WRITING, root / "runs", 2, "none", before=("unshare", "-m", "sh", "-c", setup, "sh")
    ).communicate()
    assert err == ""
    assert ("no space left" if fault == "full" else "read-only file system") in out
    assert one_sentence(out)


@pytest.mark.parametrize("part", ["", "targets", ".staging", "experiments"])
def test_a_file_in_place_of_a_folder_is_a_sentence(tmp_path, builder, part):
    store = Store(tmp_path / "runs")
    (store.root / part).parent.mkdir(parents=True, exist_ok=True)
    (store.root / part).write_text("in the way")
    with pytest.raises(StoreError, match="cannot be used") as caught:
        store.build(TasksConfig(), {}, builder, name="x")
    assert one_sentence(str(caught.value))
    assert (store.root / part).read_text() == "in the way"


@pytest.mark.parametrize(
    "number",
    [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO],
    ids=errno.errorcode.get,
)
def test_a_disk_error_while_publishing_keeps_the_attempt(store, builder, monkeypatch, number):
    def refuse(source, destination):
        raise OSError(number, os.strerror(number), str(source))

    with monkeypatch.context() as patch:
        patch.setattr(disk, "rename_new", refuse)
        with pytest.raises(StoreError, match="cannot be used") as caught:
            store.build(TasksConfig(), {}, builder)
    assert one_sentence(str(caught.value))
    assert store.artifacts() == []
    assert store.build(TasksConfig(), {}, builder)


def test_a_library_that_hides_the_full_disk_in_words_of_its_own(store, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    def builder(config, attempt):
        raise RuntimeError("PytorchStreamWriter failed writing file data.pkl: file write failed")

    with pytest.raises(RuntimeError, match="PytorchStreamWriter"):
        store.build(TasksConfig(), {}, builder)
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(StoreError, match="no space left"):
        store.build(TasksConfig(), {}, builder)


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied", "/somewhere/table.csv"),
        FileNotFoundError(errno.ENOENT, "No such file", "x"),
        ValueError("bad"),
    ],
    ids=["file elsewhere", "missing file", "value"],
)
def test_a_builders_own_error_stays_what_it_is(store, error):
    def builder(config, attempt):
        raise error

    with pytest.raises(type(error)) as caught:
        store.build(TasksConfig(), {}, builder)
    assert caught.value is error


def test_a_builder_that_meets_a_file_of_its_own_is_told_so(store):
    with pytest.raises(FileExistsError):
        store.build(TasksConfig(), {}, lambda config, attempt: attempt.folder.mkdir())


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "names.json"
    disk.write_atomic(path, "old")

    def fails(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="No space"):
        disk.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["names.json"]


# -------------------------------------------------------------------------------------------- links


def test_a_link_in_the_place_of_a_target_is_refused(store, target, tmp_path, builder):
    outside = tmp_path / "outside"
    target.folder.rename(outside)
    target.folder.symlink_to(outside)
    for act in (
        lambda: store.find(target.id),
        lambda: store.lookup(TasksConfig(seed=1)),
        lambda: store.build(EmptyConfig(), {"of": target}, builder),
    ):
        with pytest.raises(StoreError, match="is a link"):
            act()
    assert store.verify() == [f"{target.id} is a link; an artifact is a folder inside the store."]
    assert not list(outside.glob("run_*"))


@pytest.mark.parametrize("part", ["targets", ".staging"])
def test_a_link_in_the_place_of_a_folder_of_the_store_is_refused(
    store, target, builder, tmp_path, part
):
    (store.root / part).rename(tmp_path / "outside")
    (store.root / part).symlink_to(tmp_path / "outside")
    before = sorted((tmp_path / "outside").rglob("*"))
    with pytest.raises(StoreError, match="is a link"):
        store.build(TasksConfig(seed=2), {}, builder)
    if part == "targets":
        with pytest.raises(StoreError, match="is a link"):
            store.find(target.id)
    assert not builder.attempts
    assert sorted((tmp_path / "outside").rglob("*")) == before


def test_the_store_itself_may_be_reached_by_a_link(store, target, tmp_path):
    (tmp_path / "link").symlink_to(store.root)
    assert Store(tmp_path / "link").find("first").id == target.id


def test_a_builder_that_makes_a_link_is_refused(store):
    with pytest.raises(StoreError, match="which is not a plain file"):
        store.build(
            TasksConfig(),
            {},
            lambda config, attempt: (attempt.folder / "data.npz").symlink_to("/etc/passwd"),
        )
    assert store.artifacts() == []


def test_a_checkpoint_that_is_a_link_does_not_come_along(tmp_path):
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "link").symlink_to("/etc/passwd")
    (tmp_path / "from" / "x.tmp").write_text("half")
    (tmp_path / "from" / "x").write_text("whole")
    disk.copy_files(tmp_path / "from", tmp_path / "to")
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["x"]


def test_a_folder_that_others_clear_away_has_no_entries(tmp_path):
    (tmp_path / "b").touch()
    (tmp_path / "a").mkdir()
    assert disk.entries(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert disk.entries(tmp_path / "a" / "gone") == disk.entries(tmp_path / "b") == []
