"""Files of artifacts are read completely, or the error is one sentence that names the file."""

import json

import numpy as np
import pytest

from causal_meta.records.files import read_arrays, read_json


def test_written_files_are_read_unchanged(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"summary": {"auroc": 0.5}}))
    np.savez(tmp_path / "data.npz", x=np.arange(3), seeds=np.arange(2))
    assert read_json(tmp_path / "metrics.json") == {"summary": {"auroc": 0.5}}
    assert sorted(read_arrays(tmp_path / "data.npz")) == ["seeds", "x"]
    some = read_arrays(tmp_path / "data.npz", "x", "adjacency")
    assert some.keys() == {"x"}, "an absent array is left out"
    assert some["x"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("read", [read_json, read_arrays])
@pytest.mark.parametrize("content", [None, b"", b"{", b"PK\x03\x04 torn", b"\xff\xfe\x00"])
def test_an_unreadable_file_is_one_sentence(tmp_path, read, content):
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        ValueError, match="is missing" if content is None else "cannot be read"
    ) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_objects_are_not_unpickled(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="cannot be read"):
        read_arrays(tmp_path / "data.npz")
