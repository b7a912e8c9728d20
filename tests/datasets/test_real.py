"""Tables are read exactly or refused in one sentence; true graphs follow the table's column
order."""

import csv
import hashlib
import io

import numpy as np
import pandas as pd
import pytest

from causal_meta.datasets.real import TableError, read_table
from causal_meta.datasets.truths import read_truth, truth_digest


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(rng.normal(size=(12, 3)), columns=["a", "b c", "d"])


def write(path, frame, kind):
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "npz":
        np.savez(path, x=frame.to_numpy(), columns=np.array(list(frame.columns)))
    else:
        frame.to_csv(path, index=False, sep="\t" if kind == "tsv" else ",")
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "npz"])
def test_every_format_gives_the_values_names_and_digest(tmp_path, frame, kind):
    path = write(tmp_path / f"t.{kind}", frame, kind)
    table = read_table(path)
    np.testing.assert_allclose(table.x, frame.to_numpy(), rtol=1e-14)
    assert table.columns == tuple(frame.columns)
    assert table.format == kind
    assert table.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    pd.testing.assert_frame_equal(table.frame(), frame, check_index_type=False, rtol=1e-14)


@pytest.mark.parametrize(
    "text", ["\ufeffa,b\r\n{rows}", '"a","b"\n{rows}', "\n\na,b\n\n{rows}\n\n", "a,b\r{rows}"]
)
def test_bytes_order_marks_quotes_blank_lines_and_line_ends_do_not_matter(tmp_path, text):
    rows = "\n".join(f"{i},{i * i}" for i in range(10))
    path = tmp_path / "t.csv"
    path.write_bytes(text.format(rows=rows).encode())
    table = read_table(path)
    assert table.columns == ("a", "b")
    np.testing.assert_array_equal(table.x, [[i, i * i] for i in range(10)])


def test_diabetes_is_bundled_with_raw_values():
    table = read_table("sklearn:diabetes")
    assert table.columns == (
        "age",
        "sex",
        "bmi",
        "bp",
        "s1",
        "s2",
        "s3",
        "s4",
        "s5",
        "s6",
        "progression",
    )
    assert table.x.shape == (442, 11)
    assert set(table.x[:, 1]) == {1.0, 2.0}
    assert table.sha256 == read_table("sklearn:diabetes").sha256 == read_table(table.frame()).sha256


def test_columns_are_chosen_in_the_requested_order_and_log_is_the_natural_logarithm(tmp_path):
    frame = pd.DataFrame(np.random.default_rng(1).uniform(1, 9, size=(10, 3)), columns=list("abc"))
    path = write(tmp_path / "t.csv", frame, "csv")
    table = read_table(path, columns=("c", "a"), transform="log")
    np.testing.assert_allclose(table.x, np.log(frame[["c", "a"]].to_numpy()), rtol=1e-12)
    assert table.sha256 == read_table(path).sha256


def numbered(columns="a,b", n=10):
    width = columns.count(",") + 1
    return (
        columns
        + "\n"
        + "\n".join(",".join(str(i * 7 % 11 + j) for j in range(width)) for i in range(n))
        + "\n"
    )


BAD_CSV = {
    "words": (numbered().replace("\n0,", "\nred,"), "'a' (such as 'red')"),
    "truth values": ("a,b\n" + "True,1\nFalse,2\n" * 5, "'a'"),
    "constant": (
        "a,b\n" + "".join(f"{i},5\n" for i in range(10)),
        "column 'b' has always the same value",
    ),
    "missing": (
        numbered().replace("\n7,", "\n,"),
        "1 value is missing (NaN), the first in data row 2, column 'a'",
    ),
    "NaN": (numbered().replace("\n7,", "\nNaN,"), "missing"),
    "infinite": (
        numbered().replace("\n7,", "\n-inf,"),
        "1 value is infinite, the first in data row 2, column 'a'",
    ),
    "few rows": (numbered(n=9), "has 9 rows; give at least 10"),
    "only a header": ("a,b\n", "0 rows"),
    "repeated names": (numbered("a,b,a"), "'a' stands more than once"),
    "no header": ("\n".join(numbered().splitlines()[1:]), "has no header"),
    "unnamed column": (numbered(",b"), "column 1 has no name"),
    "short line": (numbered() + "3\n", "line 12 has 1 field where the header has 2"),
    "long line": (numbered("a,b", 3) + "1,2,3\n" + "4,5\n" * 9, "line 5 has 3 fields"),
    "ragged and quoted": ('"a",b\n' + "1,2\n" * 9 + '"1\n",2,3\n', "line 12 has 3 fields"),
    "open quote": ('"a",b\n' + "1,2\n" * 9 + '"1,2\n', "unexpected end of data"),
    "one column": (numbered("a"), "only one column"),
    "other separator": (numbered("a;b;c"), "only one column"),
    "empty": ("", "is empty"),
    "only blanks": (" \n\n", "is empty"),
    "zero byte": ("a,b\n1,\x002\n", "binary"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_an_unusable_csv_is_refused_in_one_sentence(tmp_path, case):
    text, words = BAD_CSV[case]
    path = tmp_path / "t.csv"
    path.write_text(text, "utf-8", newline="")
    with pytest.raises(TableError) as caught:
        read_table(path)
    sentence = str(caught.value)
    assert words in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert str(tmp_path) not in sentence


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "npz"])
def test_binary_junk_is_refused_in_every_format(tmp_path, kind):
    path = tmp_path / f"t.{kind}"
    path.write_bytes(np.random.default_rng(3).bytes(4000))
    with pytest.raises(TableError, match=r"^t\.[^\n]*\.$"):
        read_table(path)


@pytest.mark.parametrize("kind", ["parquet", "npz"])
def test_truncated_archives_are_refused(tmp_path, frame, kind):
    path = write(tmp_path / f"t.{kind}", frame, kind)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(TableError, match=r"^t\.[^\n]*\.$"):
        read_table(path)


def test_npz_with_pickles_missing_arrays_or_wrong_shapes_is_refused(tmp_path):
    path = tmp_path / "t.npz"
    for arrays, words in (
        ({"x": np.array([{"a": 1}], dtype=object)}, "plain arrays"),
        ({"y": np.eye(12)}, "no array x, data or X"),
        ({"x": np.ones(12)}, "1 axes"),
        (
            {"x": np.random.default_rng(0).normal(size=(12, 2)), "columns": np.array(["a"])},
            "does not name the 2 columns",
        ),
        ({"x": np.random.default_rng(0).normal(size=(12, 2)) * 1j}, "not numbers"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(TableError, match=words):
            read_table(path)


def test_a_plain_array_under_another_name_is_refused(tmp_path):
    np.save(tmp_path / "t.npy", np.eye(12))
    (tmp_path / "t.npy").rename(tmp_path / "t.npz")
    with pytest.raises(TableError, match="plain arrays"):
        read_table(tmp_path / "t.npz")


def test_paths_that_are_no_files_are_refused(tmp_path):
    (tmp_path / "d.csv").mkdir()
    for path, words in (
        (tmp_path / "d.csv", "is a directory"),
        (tmp_path / "none.csv", "There is no file"),
        (tmp_path / "t.xls", "its format"),
    ):
        with pytest.raises(TableError, match=words):
            read_table(path)
    with pytest.raises(TableError, match="did you mean 'sklearn:diabetes'"):
        read_table("sklearn:diabets")


def test_unknown_columns_formats_transforms_and_logarithms_of_negative_values(tmp_path, frame):
    path = write(tmp_path / "t.csv", frame, "csv")
    for options, words in (
        ({"columns": ("a", "B c")}, "did you mean 'b c'"),
        ({"columns": ("a", "a")}, "twice"),
        ({"columns": ("a",)}, "only one column"),
        ({"format": "cvs"}, "did you mean 'csv'"),
        ({"transform": "logg"}, "did you mean 'log'"),
        ({"transform": "log"}, "positive values"),
    ):
        with pytest.raises(TableError, match=words):
            read_table(path, **options)


def test_a_large_table_is_checked_without_a_loop_over_its_lines(tmp_path):
    import time

    x = np.random.default_rng(0).integers(0, 9, size=(100_000, 10))
    path = tmp_path / "t.csv"
    path.write_text(",".join("abcdefghij") + "\n" + "\n".join(map(",".join, x.astype(str))) + "\n")
    start = time.process_time()
    assert read_table(path).x.shape == x.shape
    assert time.process_time() - start < 5


# -------------------------------------------------------------------------------------------- truth


def truth_file(path, names, matrix, rows=None):
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(names if rows is None else ["", *names])
    for i, row in enumerate(matrix):
        writer.writerow(row if rows is None else [rows[i], *row])
    path.write_text(out.getvalue())
    return path


def test_the_truth_is_reordered_to_the_tables_columns(tmp_path):
    matrix = [[0, 1, 0], [0, 0, 1], [0, 0, 0]]  # a -> b -> c
    expected = np.zeros((3, 3), dtype=np.int8)  # order c, a, b
    expected[1, 2] = expected[2, 0] = 1
    for rows in (None, ["a", "b", "c"]):
        truth = read_truth(
            truth_file(tmp_path / "g.csv", ["a", "b", "c"], matrix, rows), ["c", "a", "b"]
        )
        assert truth.dtype == np.int8
        np.testing.assert_array_equal(truth, expected)


@pytest.mark.parametrize(
    ("names", "matrix", "rows", "words"),
    [
        ("ab", [[0, 1], [1, 0]], None, "has a cycle"),
        ("ab", [[1, 0], [0, 0]], None, "has a cycle"),
        ("ab", [[0, 0.5], [0, 0]], None, "other entries than 0 and 1"),
        ("ab", [[0, "x"], [0, 0]], None, "other entries than 0 and 1"),
        ("ab", [[0, ""], [0, 0]], None, "other entries than 0 and 1"),
        ("ac", [[0, 1], [0, 0]], None, "'b'"),
        ("ab", [[0, 1]], None, "square"),
        ("abc", [[0] * 3] * 3, None, "'c'"),
        ("ab", [[0, 1], [0, 0]], "ba", "names of its rows"),
    ],
)
def test_a_wrong_truth_is_refused(tmp_path, names, matrix, rows, words):
    with pytest.raises(TableError, match=words):
        read_truth(truth_file(tmp_path / "g.csv", list(names), matrix, rows), ["a", "b"])


def test_the_digest_of_a_truth_depends_on_entries_and_names():
    one = np.array([[0, 1], [0, 0]], dtype=np.int8)
    digests = {truth_digest(one, "ab"), truth_digest(one.T, "ab"), truth_digest(one, "ba")}
    assert len(digests) == 3
    assert truth_digest(one.astype(float), ["a", "b"]) in digests
