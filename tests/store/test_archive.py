"""An archive arrives as it left, or not at all: no byte of it can change unseen, and nothing in it
decides where it is written."""

import hashlib
import io
import json
import os
import resource
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from causal_meta.conf.evaluation import EvaluateConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import Store, StoreError, archive

QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def scored(store, target, run, new_builder):
    return store.build(EvaluateConfig(), {"of": target, "posterior": run}, new_builder(b"metrics"))


@pytest.fixture
def packed(store, target, scored, tmp_path):
    return store.pack(archive.closure(store, [target], runs=True), tmp_path / "all.tar")


@pytest.fixture
def other(tmp_path):
    return Store(tmp_path / "other", patience=0)


def listing(root):
    return (
        sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))
        if root.exists()
        else []
    )


def is_untouched(store):
    """No artifact, no name, nothing left in the staging area."""
    return (
        store.artifacts() == []
        and store.names() == {}
        and not [path for path in listing(store.root) if path not in (".staging", ".staging/lock")]
    )


def refused(store, file, saying="."):
    with pytest.raises(StoreError, match=saying) as caught:
        store.take(file)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    assert is_untouched(store)


# --------------------------------------------------------------------------------------- round trip


def test_what_is_packed_arrives_with_its_runs_and_names(store, target, run, scored, packed, other):
    taken, names = other.take(packed)
    assert {artifact.id for artifact in taken} == {target.id, run.id, scored.id}
    assert names == {"first": target.id}
    assert other.verify() == []
    assert {artifact.id: artifact.digest for artifact in other.artifacts()} == {
        artifact.id: artifact.digest for artifact in store.artifacts()
    }
    assert other.lookup(TasksConfig(seed=1)).id == target.id
    assert [line["target_id"] for line in other.catalog()] == [target.id]
    assert listing(other.staging) == ["lock"]


def test_taking_again_changes_nothing(packed, other):
    first, _ = other.take(packed)
    before = {
        path: path.stat().st_mtime_ns
        for path in other.root.rglob("*")
        if path.is_file() and ".staging" not in path.parts
    }
    again, _ = other.take(packed)
    assert again == first
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_same_artifacts_are_the_same_bytes_and_any_tar_reads_them(
    store, target, scored, packed, tmp_path
):
    again = store.pack(archive.closure(store, [target], runs=True), tmp_path / "again.tar")
    assert again.read_bytes() == packed.read_bytes()
    with tarfile.open(packed) as tar:
        names = tar.getnames()
        assert names[:2] == ["archive.sha256", "archive.json"]
        text = tar.extractfile("archive.json").read()
        assert (
            tar.extractfile("archive.sha256").read().decode()
            == f"{hashlib.sha256(text).hexdigest()}  archive.json\n"
        )
        assert names[2:] == list(json.loads(text)["files"])
        assert tar.extractfile(f"{target.id}/data.npz").read() == b"numbers"


def test_the_inputs_come_along_when_asked(store, target, run, scored, other, tmp_path):
    def ids(**options):
        return [artifact.id for artifact in archive.closure(store, [scored], **options)]

    assert ids() == [scored.id]
    assert ids(inputs=True)[0] == target.id
    assert set(ids(inputs=True)) == {target.id, run.id, scored.id}
    with pytest.raises(StoreError, match="import that first"):
        other.take(store.pack([scored], tmp_path / "alone.tar"))
    assert is_untouched(other)
    other.take(store.pack(archive.closure(store, [scored], inputs=True), tmp_path / "whole.tar"))
    assert other.verify() == []


def test_a_damaged_artifact_is_not_packed_and_nothing_is_overwritten(store, target, tmp_path):
    (tmp_path / "mine.tar").write_text("years")
    with pytest.raises(StoreError, match="exists"):
        store.pack([target], tmp_path / "mine.tar")
    assert (tmp_path / "mine.tar").read_text() == "years"
    (target.folder / "data.npz").write_bytes(b"numberz")
    with pytest.raises(StoreError, match=r"data\.npz is changed"):
        store.pack([target], tmp_path / "new.tar")
    assert not list(tmp_path.glob("*new.tar*"))


def test_other_content_under_the_same_id_stops_before_anything_is_taken(packed, other, new_builder):
    kept = other.build(TasksConfig(seed=1), {}, new_builder(b"different"))
    with pytest.raises(StoreError, match="other content"):
        other.take(packed)
    assert other.artifacts() == [kept]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 8**11 - 1, 8**11, 10**15])
@pytest.mark.parametrize(
    "name",
    ["tgt_0/a", "tgt_0/" + "b" * 94, "tgt_0/" + "b" * 95, "tgt_0/é", "tgt_0/" + "d/" * 200 + "e"],
)
def test_a_header_is_what_tar_understands(name, size):
    with tarfile.open(
        fileobj=io.BytesIO(archive.header(name, size) + bytes(1024)), mode="r:", ignore_zeros=False
    ) as tar:
        head = tar.next()
    assert (head.name, head.size, head.isreg(), head.mode, head.linkname) == (
        name,
        size,
        True,
        0o644,
        "",
    )


# ------------------------------------------------------------------------------------------- damage


@QUICK
@given(data=st.data())
def test_any_damaged_byte_is_refused(packed, other, data):
    content = bytearray(packed.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    bad = packed.with_name("bad.tar")
    bad.write_bytes(content)
    refused(other, bad)


@QUICK
@given(data=st.data())
def test_an_archive_that_is_cut_or_goes_on_is_refused(packed, other, data):
    content = packed.read_bytes()
    cut = data.draw(
        st.one_of(st.integers(0, len(content) - 1), st.binary(min_size=1, max_size=2000))
    )
    bad = packed.with_name("bad.tar")
    bad.write_bytes(content[:cut] if isinstance(cut, int) else content + cut)
    refused(other, bad)


def test_every_byte_of_the_headers_counts(packed, other):
    """All of them, not a sample: a tar reader passes over many."""
    content = packed.read_bytes()
    bad = packed.with_name("bad.tar")
    for place in (*range(512), *range(len(content) - 1024, len(content), 64)):
        bad.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(StoreError):
            other.take(bad)
    assert is_untouched(other)


# ------------------------------------------------------------------------------------------- malice


def forged(path, contents, *, ids=None, names=None, headers=None, **changes):
    """An archive whose list, seal and digests agree with one another, whatever they say: {path:
    content}."""
    listed = {
        name: [len(content), hashlib.sha256(content).hexdigest()]
        for name, content in contents.items()
    }
    tree = {
        "format": archive.FORMAT,
        "artifacts": ids or ["tgt_000000000000"],
        "names": names or {},
        "files": listed,
    } | changes
    members = (
        block(name, content, (headers or {}).get(name)) for name, content in contents.items()
    )
    return sealed(path, json.dumps(tree).encode(), b"".join(members))


def sealed(path, text, rest=b""):
    """An archive with this list."""
    seal = f"{hashlib.sha256(text).hexdigest()}  archive.json\n".encode()
    path.write_bytes(
        block("archive.sha256", seal) + block("archive.json", text) + rest + bytes(1024)
    )
    return path


def block(name, content, header=None):
    return (
        (archive.header(name, len(content)) if header is None else header)
        + content
        + bytes(-len(content) % 512)
    )


TGT = "tgt_000000000000/"
EVIL = [
    "/etc/cron.d/x", "../x", TGT + "../../x", TGT + "..", TGT + "a/../../../x", TGT + "./a", TGT,
    TGT + "/etc/x", TGT + "a//b", "x",
    "tgt_111111111111/a", TGT + "a\\..\\b", TGT + "C:", TGT + "a\nb", TGT + "a\0b",
    TGT + "x" * 256, TGT + "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", EVIL, ids=ascii)
def test_a_path_that_leads_elsewhere_is_refused(other, tmp_path, name):
    headers = {name: b""}  # the list is refused before any member is looked at
    before = listing(tmp_path)
    refused(
        other,
        forged(tmp_path / "evil.tar", {name: b"evil"}, headers=headers),
        saying="is not the path of a file|cannot be the name",
    )
    assert [path for path in listing(tmp_path) if not path.startswith("other")] == sorted(
        [*before, "evil.tar"]
    )


@QUICK
@given(st.text(min_size=1, max_size=30))
def test_no_listed_path_is_ever_written_outside(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("evil")
    name = TGT + text
    try:
        header = archive.header(name, 4)
    except UnicodeEncodeError:
        header = b""
    with pytest.raises(StoreError):
        Store(folder / "inner" / "store").take(
            forged(folder / "evil.tar", {name: b"evil"}, headers={name: header})
        )
    assert {path for path in listing(folder) if not path.startswith("inner/store/.staging")} <= {
        "evil.tar",
        "inner",
        "inner/store",
    }


def member(kind, name=TGT + "data.npz", link="/etc/passwd", size=0):
    head = tarfile.TarInfo(name)
    head.type, head.linkname, head.size = kind, link, size
    return head.tobuf()


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
        b"S",
        b"L",
    ],
)
def test_links_and_special_files_are_refused(other, tmp_path, kind):
    name = TGT + "data.npz"
    refused(
        other,
        forged(tmp_path / "evil.tar", {name: b""}, headers={name: member(kind)}),
        saying="link, folder or special file",
    )


@pytest.mark.parametrize(
    ("forgery", "saying"),
    [
        ({"contents": {TGT + "a": b"", TGT + "A": b""}}, "same place"),
        ({"contents": {TGT + "a": b"", TGT + "a/b": b""}}, "same place"),
        ({"contents": {TGT + "a": b"x"}, "headers": {TGT + "a": archive.header(TGT + "b", 1)}},
        "something else"),
        ({"contents": {TGT + "a": b"x"}, "headers": {TGT + "a": archive.header(TGT + "a",
        10**12)}}, "something else"),
        ({"contents": {}, "ids": ["../x"]}, "not a list of different ids"),
        ({"contents": {}, "ids": ["tgt_000000000000"] * 2}, "not a list of different ids"),
        ({"contents": {}, "names": {"../x": "tgt_000000000000"}}, "cannot be a name"),
        ({"contents": {}, "names": {"x": "tgt_111111111111"}}, "refers to no artifact"),
        ({"contents": {}, "format": "causal_meta archive 2"}, "its format is 'causal_meta "
                                                              "archive 2'"),
        ({"contents": {TGT + "a": b"x"}}, "holds no meta.json"),
        ({"contents": {TGT + "meta.json": b"{}"}}, "incomplete or altered"),
    ],
)  # fmt: skip
def test_a_forged_list_is_refused(other, tmp_path, forgery, saying):
    refused(other, forged(tmp_path / "evil.tar", **forgery), saying=saying)


@pytest.mark.parametrize(
    "text",
    [
        '{"format": "x", "format": "causal_meta archive 1"}',
        "[" * 100_000,
        "null",
        "\x00",
        '{"format": NaN}',
    ],
    ids=len,
)
def test_keys_that_come_twice_and_deep_nests_are_refused(other, tmp_path, text):
    refused(other, sealed(tmp_path / "evil.tar", text.encode()))


def test_more_than_may_be_taken_is_refused_before_anything_is_written(packed, other, tmp_path):
    with pytest.raises(StoreError, match="would take"):
        other.take(packed, largest=10)
    assert is_untouched(other)
    name = TGT + "data.npz"
    huge = forged(tmp_path / "huge.tar", {}, files={name: [10**18, "0" * 64]})
    refused(other, huge, saying="would take 1,000,000,000,000,000,000 bytes")


def test_what_is_no_archive_is_refused(other, tmp_path):
    (tmp_path / "empty.tar").write_bytes(b"")
    with tarfile.open(tmp_path / "plain.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("hello"))
    for name in ("empty.tar", "plain.tar"):
        refused(other, tmp_path / name, saying="not an archive of artifacts")
    with pytest.raises(StoreError, match="There is no archive"):
        other.take(tmp_path / "nowhere.tar")
    os.mkfifo(tmp_path / "fifo.tar")
    with pytest.raises(StoreError, match="There is no archive"):
        other.take(tmp_path / "fifo.tar")


TAKING = """
import resource, sys
from causal_meta.store import Store, StoreError, archive

store = Store(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
try:
    store.take(sys.argv[3]) if sys.argv[2] == "take" else store.pack(store.artifacts(), sys.argv[3])
except StoreError as error:
    print("StoreError", error)
"""


@pytest.mark.parametrize("limit", [300, 0])
def test_a_full_disk_while_taking_or_packing_is_a_sentence(
    store, packed, other, python, limit, tmp_path
):
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    out, err = python(TAKING, other.root, "take", packed, limit).communicate()
    assert err == ""
    assert out.startswith("StoreError The store")
    assert "file too large" in out
    assert other.artifacts() == []
    out, err = python(TAKING, store.root, "pack", tmp_path / "new.tar", limit).communicate()
    assert err == ""
    assert out.startswith("StoreError The archive cannot be written")
    assert not list(tmp_path.glob("*new.tar*"))
    other.take(packed)
    assert other.verify() == []
