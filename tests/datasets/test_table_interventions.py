"""Cells set by interventions are named in a column or marked in a mask; a word that names no column
is refused in one sentence."""

import dataclasses
import hashlib

import numpy as np
import pandas as pd
import pytest

from causal_meta.datasets.real import TableError, read_table
from causal_meta.datasets.table_interventions import is_intervention_column, read_mask
from causal_meta.datasets.truths import read_truth

WORDS = [
    "",
    "none",
    "a",
    "b c",
    "a+b c",
    "Observational",
    "a; d",
    "obs",
    "-",
    "b c|d|a",
    "d",
    "a, d",
]
CELLS = [(), (), (0,), (1,), (0, 1), (), (0, 2), (), (), (0, 1, 2), (2,), (0, 2)]
EXPECTED = np.array([[k in row for k in range(3)] for row in CELLS])


@pytest.fixture
def frame():
    rows = np.random.default_rng(0).normal(size=(12, 3))
    return pd.DataFrame(rows, columns=["a", "b c", "d"]).assign(INT=WORDS)


@pytest.mark.parametrize("kind", ["csv", "parquet", "frame"])
def test_a_column_names_the_cells(tmp_path, frame, kind):
    path = tmp_path / f"t.{kind}"
    if kind != "frame":
        frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    table = read_table(frame if kind == "frame" else path, interventions=["INT"])
    assert table.columns == ("a", "b c", "d")
    np.testing.assert_array_equal(table.intervened, EXPECTED)
    np.testing.assert_allclose(table.x, frame[["a", "b c", "d"]].to_numpy())
    some = read_table(
        frame.assign(INT=["a"] * 10 + ["", "none"]), columns=["d", "a"], interventions=["INT"]
    )
    assert some.columns == ("d", "a")
    assert some.intervened.sum(0).tolist() == [0, 10]


def test_several_columns_add_up_and_names_are_taken_whole_first(frame):
    frame = frame.rename(columns={"b c": "b+c"}).assign(
        INT=[""] * 11 + ["b+c"], also=["a"] + [None] * 11
    )
    cells = read_table(frame, interventions=["INT", "also"]).intervened
    assert np.argwhere(cells).tolist() == [[0, 0], [11, 1]]


def test_columns_named_by_numbers(tmp_path):
    """A column of whole numbers with empty cells is read as floats."""
    path = tmp_path / "t.csv"
    rows = "\n".join(f"{i},{i * i},{'2' if i > 5 else ''}" for i in range(12))
    path.write_text(f"1,2,target\n{rows}\n")
    assert read_table(path, interventions=["target"]).intervened.sum(0).tolist() == [0, 6]


def test_a_table_without_interventions_has_no_mask_and_keeps_its_digest(frame):
    plain = read_table(frame.drop(columns="INT"))
    assert plain.intervened is None
    named, other = (
        read_table(frame, interventions=["INT"]),
        read_table(frame.assign(INT=WORDS[::-1]), interventions=["INT"]),
    )
    assert len({plain.sha256, named.sha256, other.sha256}) == 3, (
        "who was set is part of what the table says"
    )


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        (
            {},
            {"interventions": ["INTT"]},
            "no column 'INTT' to name the interventions; did you mean 'INT'",
        ),
        ({}, {"interventions": ["INT", "INT"]}, "named twice"),
        (
            {"INT": ["e"] * 12},
            {"interventions": ["INT"]},
            "data row 1 names an intervention on 'e', which is no variable",
        ),
        (
            {"INT": [""] * 11 + ["a+x"]},
            {"interventions": ["INT"]},
            "data row 12 names an intervention on 'x'",
        ),
        ({"INT": ["INT"] * 12}, {"interventions": ["INT"]}, "which is no variable"),
        (
            {},
            {"interventions": ["INT"], "columns": ["a", "d"]},
            "data row 4 is an intervention on 'b c', which is not among the columns used",
        ),
        (
            {},
            {"interventions": ["INT"], "columns": ["a", "INT"]},
            "cannot be a variable and name the interventions",
        ),
        (
            {},
            {"interventions": ["a", "b c", "d", "INT"]},
            "no column beside those of the interventions",
        ),
        ({}, {}, "or say that 'INT' names the variable intervened on in each row"),
        ({"INT": ["x", "y"] * 6}, {}, "code them as numbers, or name them as categorical."),
    ],
)
def test_nonsensical_interventions_are_refused(frame, changes, options, sentence):
    with pytest.raises(TableError) as caught:
        read_table(frame.assign(**changes), **options)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_column_of_text_is_recognised_only_if_it_names_columns():
    assert is_intervention_column(["", None, "a", "a+b"], ["a", "b"])
    assert not is_intervention_column(["", "a", "x"], ["a", "b"])
    assert not is_intervention_column(["", None], ["a", "b"])


# -------------------------------------------------------------------------------------------- masks


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_a_mask_marks_cells_whatever_the_order_of_its_columns(tmp_path, frame, kind):
    path = tmp_path / f"mask.{kind}"
    order, names = [2, 0], np.array(["d", "a"])
    cells = EXPECTED[:, order].astype(int)
    pd.DataFrame(cells, columns=names).to_csv(path, index=False) if kind == "csv" else np.savez(
        path, x=cells, columns=names
    )
    table = read_table(frame.drop(columns="INT"), mask=path)
    np.testing.assert_array_equal(table.intervened, EXPECTED & [True, False, True])
    assert table.mask_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (
        read_table(frame, interventions=["INT"], mask=path).intervened.tolist() == EXPECTED.tolist()
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a,e\n" + "0,1\n" * 12, "its column 'e' is none of the table's"),
        ("a,a\n" + "0,1\n" * 12, "more than once"),
        ("a,d\n" + "0,1\n" * 11, "has 11 rows and the table 12"),
        ("a,d\n" + "0,2\n" * 12, "other entries than 0 and 1"),
        ("a,d\n" + "0,x\n" * 12, "other entries than 0 and 1"),
        ("a,d\n" + "0,\n" * 12, "other entries than 0 and 1"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(tmp_path, text, sentence):
    path = tmp_path / "mask.csv"
    path.write_text(text)
    with pytest.raises(TableError) as caught:
        read_mask(path, ("a", "b c", "d"), 12)
    assert sentence in str(caught.value)
    with pytest.raises(TableError, match="no file"):
        read_mask(tmp_path / "nothing.csv", ("a",), 12)


# -------------------------------------------------------------------------------------------- truth


def test_a_truth_may_be_a_list_of_edges(tmp_path):
    path = tmp_path / "edges.csv"
    path.write_text("cause,effect\na,b\n d , a\n")
    assert read_truth(path, ("a", "b", "d")).tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    for text, sentence in (
        ("cause,effect\na,x\n", "names 'x', which is no column"),
        ("cause,effect\na,b\nb,a\n", "has a cycle"),
        ("cause,effect\na,a\n", "cycle"),
    ):
        path.write_text(text)
        with pytest.raises(TableError, match=sentence):
            read_truth(path, ("a", "b", "d"))
    square = tmp_path / "square.csv"
    square.write_text("cause,effect\n0,1\n0,0\n")
    assert read_truth(square, ("cause", "effect")).tolist() == [[0, 1], [0, 0]], (
        "a table may have columns of these names"
    )


def test_a_read_table_is_not_changed(frame):
    table = read_table(frame, interventions=["INT"])
    assert dataclasses.replace(table, title="other").interventions == ("INT",)
